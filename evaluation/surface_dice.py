"""Agreement of two boundaries: normalised surface Dice and Hausdorff distances.

After Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck anatomy"
(2018): every lattice corner that the boundary passes is an element, weighed by its length or area
(`evaluation.surfels`), and the distance from one boundary's element to the other boundary is measured between
corners.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from evaluation.surfels import CornerTable, contour_table, corner_codes


@dataclass(frozen=True)
class Surface:
    """The boundary elements of one mask."""

    corners: NDArray[np.int64]
    """(N, ndim) lattice positions."""
    measure: NDArray[np.float64]
    """(N,) length (mm) or area (mm^2) of each element."""


@dataclass(frozen=True)
class SurfaceDistances:
    """For each element of either boundary, its weight and its distance to the other one (inf without one)."""

    reference_measure: NDArray[np.float64]
    prediction_measure: NDArray[np.float64]
    reference_to_prediction: NDArray[np.float64]
    prediction_to_reference: NDArray[np.float64]


def contour_nsd(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], tolerance_px: float = 2.0
) -> float:
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
) -> SurfaceDistances:
    """Measure each boundary element's distance to the other mask's boundary.

    Args:
        reference: (H, W) or (D, H, W) mask.
        prediction: mask of the same shape.
        spacing: distance of neighbouring voxels along each axis of the arrays, mm.
        table: what a corner weighs; made for the same spacing.

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
    shape = tuple(part.stop - part.start + 1 for part in window)
    return SurfaceDistances(
        reference_measure=ours.measure,
        prediction_measure=theirs.measure,
        reference_to_prediction=_nearest(ours, theirs, shape=shape, spacing=spacing),
        prediction_to_reference=_nearest(theirs, ours, shape=shape, spacing=spacing),
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


def _weighed_percentile(
    values: NDArray[np.float64], weights: NDArray[np.float64], percentile: float
) -> float:
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


def _surface_of(mask: NDArray[np.bool_], table: CornerTable) -> Surface:
    codes = corner_codes(mask)
    corners = np.nonzero(table.on_surface[codes])
    return Surface(corners=np.stack(corners, axis=1), measure=table.measure[codes[corners]])


def _nearest(
    sources: Surface, targets: Surface, *, shape: tuple[int, ...], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Give each source's distance to the nearest target; inf without targets.

    A tree is an order of magnitude faster than a distance transform where the boundary is a small part of its
    box (volumes); where it fills the box (the official 2D faces) the transform is.
    """
    if not targets.measure.size or not sources.measure.size:
        return np.full(sources.measure.size, np.inf)
    steps = np.asarray(spacing, np.float64)
    if 8 * (targets.measure.size + sources.measure.size) > np.prod(shape):
        far = np.ones(shape, bool)
        far[tuple(targets.corners.T)] = False
        to_targets: NDArray[np.float64] = ndimage.distance_transform_edt(far, sampling=steps)
        here: NDArray[np.float64] = to_targets[tuple(sources.corners.T)]
        return here
    # Neither balanced nor compact: surfaces are evenly spread already, and building would be half the time.
    tree = cKDTree(targets.corners * steps, balanced_tree=False, compact_nodes=False)
    _, index = tree.query(sources.corners * steps)
    # Measured again from whole lattice steps: 5 steps of 0.4 mm are exactly 2.0 mm, wherever they stand.
    away = (sources.corners - targets.corners[index]) * steps
    distances: NDArray[np.float64] = np.sqrt((away**2).sum(axis=1))
    return distances
