"""Owns how two boundaries are compared: normalised surface Dice with its tolerance, and Hausdorff distances.

After Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck anatomy"
(2018): every lattice corner that the boundary passes is an element, weighed by its length or area
(`evaluation.surfels`), and the distance from one boundary's element to the other boundary is measured between
corners.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from evaluation.surfels import CornerTable, contour_table, corner_codes

TOLERANCE = 2.0  # of the normalised surface Dice: the challenge's 2 mm, 2 pixels in 2D; stands here alone
_MARGIN = 3  # lattice steps in which an element looks around itself before the tree is asked


@dataclass(frozen=True)
class _Surface:
    """The boundary elements of one mask on a lattice of corners."""

    lattice: NDArray[np.bool_]
    """(H, W) or (D, H, W), True at the elements; a margin of `_MARGIN` corners around them is False."""
    places: NDArray[np.intp]
    """(N,) positions of the elements in the flattened lattice."""
    measure: NDArray[np.float64]
    """(N,) length (mm) or area (mm^2) of each element."""


@dataclass(frozen=True)
class SurfaceDistances:
    """For each element of either boundary, its weight and its distance to the other one (inf without one)."""

    reference_measure: NDArray[np.float64]
    prediction_measure: NDArray[np.float64]
    reference_to_prediction: NDArray[np.float64]
    prediction_to_reference: NDArray[np.float64]


def contour_nsd(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], tolerance_px: float = TOLERANCE) -> float:
    """Give the share of the two contours that lies within a tolerance of the other one, in [0, 1].

    One empty mask gives 0, two give NaN.

    Args:
        reference: (H, W) mask.
        prediction: (H, W) mask.
        tolerance_px: in pixels.

    Raises:
        ValueError: the shapes differ, or are not (H, W).
    """
    distances = surface_distances(reference, prediction, spacing=(1.0, 1.0), table=contour_table((1.0, 1.0)))
    return surface_dice(distances, tolerance=tolerance_px)


def surface_distances(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    *,
    spacing: Sequence[float],
    table: CornerTable,
    up_to: float = math.inf,
) -> SurfaceDistances:
    """Measure each boundary element's distance to the other mask's boundary.

    Args:
        reference: (H, W) or (D, H, W) mask.
        prediction: mask of the same shape.
        spacing: distance of neighbouring voxels along each axis of the arrays, mm.
        table: what a corner weighs; made for the same spacing.
        up_to: what is farther off may be given as inf, which is faster; mm.

    Raises:
        ValueError: the shapes differ, or do not fit the table and the spacing.
    """
    if reference.shape != prediction.shape or not reference.ndim == table.ndim == len(spacing):
        raise ValueError(
            f"two {table.ndim}D masks of one shape and {table.ndim} spacings are wanted; "
            f"got shapes {reference.shape} and {prediction.shape}, spacing {tuple(spacing)}"
        )
    window = _united_window(reference, prediction)
    ours, theirs = (_surface_of(mask[window], table) for mask in (reference, prediction))
    return SurfaceDistances(
        reference_measure=ours.measure,
        prediction_measure=theirs.measure,
        reference_to_prediction=_nearest(ours, theirs, spacing=spacing, up_to=up_to),
        prediction_to_reference=_nearest(theirs, ours, spacing=spacing, up_to=up_to),
    )


def surface_dice(distances: SurfaceDistances, *, tolerance: float) -> float:
    """Give the share, by measure, of both boundaries that lies within `tolerance` of the other, in [0, 1].

    One empty mask gives 0, two give NaN.

    Args:
        distances: of one pair of masks.
        tolerance: unit of the spacing (mm); a distance equal to it still counts as agreement.
    """
    whole = distances.reference_measure.sum() + distances.prediction_measure.sum()
    if whole == 0.0:
        return float("nan")
    within = (
        distances.reference_measure[distances.reference_to_prediction <= tolerance].sum()
        + distances.prediction_measure[distances.prediction_to_reference <= tolerance].sum()
    )
    return float(within / whole)


def hausdorff(distances: SurfaceDistances, *, percentile: float = 100.0) -> float:
    """Give the larger of the two directed Hausdorff distances, unit of the spacing (mm).

    A percentile weighs elements by their measure: at 95, elements that make up 95 % of the boundary are at
    most so far. One empty mask gives inf, two give NaN.

    Args:
        distances: of one pair of masks.
        percentile: above 0, up to 100.
    """
    directions = (
        (distances.reference_to_prediction, distances.reference_measure),
        (distances.prediction_to_reference, distances.prediction_measure),
    )
    present = [direction for direction in directions if direction[0].size]
    if not present:
        return float("nan")
    return max(_weighed_percentile(values, weights, percentile) for values, weights in present)


def _weighed_percentile(values: NDArray[np.float64], weights: NDArray[np.float64], percentile: float) -> float:
    order = np.argsort(values)
    covered = np.cumsum(weights[order])
    index = int(np.searchsorted(covered, covered[-1] * percentile / 100.0))
    return float(values[order[min(index, values.size - 1)]])


def _united_window(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Give the smallest box around both masks; distances between them need nothing outside it."""
    united = reference | prediction
    window = []
    for axis in range(united.ndim):
        used = np.flatnonzero(united.any(axis=tuple(other for other in range(united.ndim) if other != axis)))
        window.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0))
    return tuple(window)


def _surface_of(mask: NDArray[np.bool_], table: CornerTable) -> _Surface:
    codes = corner_codes(np.pad(mask, _MARGIN))
    lattice = table.is_surface(codes)
    places = np.flatnonzero(lattice)
    return _Surface(lattice, places, table.measure[codes.ravel()[places]])


def _nearest(sources: _Surface, targets: _Surface, *, spacing: Sequence[float], up_to: float) -> NDArray[np.float64]:
    """Give each source's distance to the nearest target; inf without targets, or where it is above `up_to`.

    Boundaries worth comparing lie close together, so each element first looks at the lattice around it, nearest
    corner first; what is still without a target then asks a tree. Both are many times faster than a distance
    transform of the whole box.
    """
    distances = np.full(sources.places.size, np.inf)
    if not targets.places.size:
        return distances
    is_target = targets.lattice.ravel()
    waiting = np.arange(sources.places.size)
    reach = _MARGIN * min(spacing)  # a ball, or a corner farther off could be taken for the nearest
    for distance, step in _steps_around(targets.lattice.shape, spacing=spacing, reach=reach):
        here = is_target[sources.places[waiting] + step]
        distances[waiting[here]] = distance
        waiting = waiting[~here]
    if not waiting.size or up_to <= reach:
        return distances
    corners = np.stack(np.unravel_index(sources.places[waiting], targets.lattice.shape), axis=1)
    distances[waiting] = _nearest_by_tree(corners, _rim(targets), spacing=spacing)
    return distances


def _steps_around(shape: tuple[int, ...], *, spacing: Sequence[float], reach: float) -> list[tuple[float, int]]:
    """Give (distance, step in the flattened lattice) of a corner and of those within `reach`, nearest first."""
    axes = [range(-_MARGIN, _MARGIN + 1)] * len(shape)
    offsets = np.array(list(itertools.product(*axes)))
    distances = np.sqrt(((offsets * np.asarray(spacing, np.float64)) ** 2).sum(axis=1))
    steps = offsets @ _strides(shape)
    order = np.argsort(distances, kind="stable")
    return [(float(distances[i]), int(steps[i])) for i in order if distances[i] <= reach]


def _strides(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Give how far one step along each axis goes in the flattened lattice."""
    return np.cumprod([1, *shape[:0:-1]])[::-1]


def _rim(surface: _Surface) -> NDArray[np.intp]:
    """Give the positions (N, ndim) of the elements that have a neighbour which is none.

    Only these can be nearest to a corner elsewhere: from any other, one step towards that corner is an element
    too. It leaves out most of a face; in 3D a surface is nearly all rim.
    """
    is_element = surface.lattice.ravel()
    inner = np.ones(surface.places.size, bool)
    for step in _strides(surface.lattice.shape):
        inner &= is_element[surface.places - step] & is_element[surface.places + step]
    return np.stack(np.unravel_index(surface.places[~inner], surface.lattice.shape), axis=1)


def _nearest_by_tree(
    sources: NDArray[np.intp], targets: NDArray[np.intp], *, spacing: Sequence[float]
) -> NDArray[np.float64]:
    steps = np.asarray(spacing, np.float64)
    # Neither balanced nor compact: surfaces are evenly spread already, and building would be half the time.
    tree = cKDTree(targets * steps, balanced_tree=False, compact_nodes=False)
    _, index = tree.query(sources * steps)
    # Measured again from whole lattice steps: 5 steps of 0.4 mm are exactly 2.0 mm, wherever they stand.
    away = (sources - targets[index]) * steps
    distances: NDArray[np.float64] = np.sqrt((away**2).sum(axis=1))
    return distances
