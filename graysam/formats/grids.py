"""Where voxels lie in the patient, and the one rule by which a label map is laid on its image: numpy only.

The rule, for every format and for image and label alike:

* One transform of a file counts. NIfTI: the sform if its code is above 0, else the qform if its code is above 0, else
  the file states no place; where both codes are above 0 and the two disagree, a warning names it. DICOM: position and
  orientation of the slices. MHA and NRRD: the one transform that they have.
* A label map is turned (axes swapped and flipped) so that its axes run as the image's, by direction cosines.
* If its corners then lie within 0.05 voxels of the image's, it fits. Up to 1.5 voxels, with the same size, it is taken
  as drawn on this image, with a warning: half a voxel is a corner taken for a centre, and a spacing off by 0.2 % is one
  voxel at the far end of 512.
* If it covers a part of the image, voxel upon voxel (3D Slicer cuts segmentations so), it is put at its place.
* Voxel order counts only where a header is evidently lost and the sizes are equal; a warning names it. Lost is a header
  without a transform, and one with origin 0, axes along the patient's, and 1 mm or the image's spacing, whose place is
  far from the image's; an image's own header only if its spacing of 1 mm contradicts the labels', too.
* Anything else is refused: a mask laid mirrored or shifted on its image is worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graysam.errors import PrepareError

# A label map that was drawn on the image agrees with it to a fraction of a voxel; headers are often stored as float32.
EXACT_VOXELS = 0.05
NEAR_VOXELS = 1.5
FAR_SHARE = 0.1  # of the longest side
# Axes count as at right angles while their cosine is below this; 0.001 is 0.06 degrees.
RIGHT_ANGLE_COSINE = 1e-3

# NIfTI counts towards right, anterior, superior; DICOM and ITK towards left, posterior, superior.
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class ShapeMismatchError(PrepareError):
    """An image and its labels do not lie on one grid."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The places of voxels.

    Attributes:
        size: number of voxels along x, y, z.
        affine: (4, 4) float64, from the index (x, y, z, 1) of a voxel to its centre in mm, towards left, posterior and
            superior (LPS).
        is_stated: whether the file says where it lies; False leaves origin and directions made up.
    """

    size: tuple[int, int, int]
    affine: NDArray[np.float64]
    is_stated: bool = True

    @property
    def steps_mm(self) -> NDArray[np.float64]:
        """Give (3,) the distance of voxel centres along x, y, z."""
        steps: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return steps

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Give the distance of voxel centres along z, y, x."""
        x, y, z = (float(step) for step in self.steps_mm)
        return (z, y, x)

    @property
    def directions(self) -> NDArray[np.float64]:
        """Give (3, 3): column i is where index i runs, of length 1."""
        directions: NDArray[np.float64] = self.affine[:3, :3] / self.steps_mm
        return directions

    @property
    def axes(self) -> str:
        """Give towards which x, y, z run as the index grows: L(eft), R, P(osterior), A, S(uperior), I.

        An oblique axis has the letter that is nearest.
        """
        order = _nearest_axes(self.directions)
        signs = [self.directions[row, column] for column, row in enumerate(order)]
        return "".join("LPS"[row] if sign >= 0 else "RAI"[row] for row, sign in zip(order, signs, strict=True))

    @property
    def is_sheared(self) -> bool:
        """Tell whether the axes are not at right angles."""
        cosines = self.directions.T @ self.directions
        return bool(np.abs(cosines - np.eye(3)).max() > RIGHT_ANGLE_COSINE)


def make_grid(size: Sequence[int], affine: NDArray[Any], name: str, *, is_stated: bool = True) -> Grid:
    """Give the grid of an affine.

    Raises:
        PrepareError: numbers that are not finite, steps of 0 mm, or axes that lie in one plane.
    """
    affine = np.asarray(affine, np.float64)
    x, y, z = (int(count) for count in size)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (steps > 0).all():
        raise PrepareError(f"{name}: spacing {steps.tolist()} mm makes no sense; correct the header and save it again.")
    if abs(float(np.linalg.det(affine[:3, :3] / steps))) < 1e-3:
        raise PrepareError(f"{name}: the header's axes lie in one plane; correct its transform and save it again.")
    return Grid((x, y, z), affine, is_stated)


def straightened(grid: Grid) -> tuple[Grid, ...]:
    """Give how programs without shear state a sheared stack: z at right angles to x and y, by either step.

    Some keep the distance of neighbouring slices along their line (ITK), some the distance of their planes.
    """
    if not grid.is_sheared:
        return ()
    x, y = grid.directions[:, 0], grid.directions[:, 1]
    normal = np.cross(x, y)
    normal /= np.linalg.norm(normal)
    along = float(normal @ grid.affine[:3, 2])
    steps = (float(np.copysign(grid.steps_mm[2], along)), along)
    grids = []
    for step in steps:
        affine = grid.affine.copy()
        affine[:3, 2] = normal * step
        grids.append(Grid(grid.size, affine))
    return tuple(grids)


def lay_on(
    labels: NDArray[Any], grid: Grid, image: Grid, others: Sequence[Grid], name: str
) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    """Give a label map in its image's voxel order, with notes and warnings, by the rule of this module.

    Args:
        labels: (D, H, W), on `grid`.
        grid: where the label map's header puts it.
        image: where the image lies.
        others: other statements of the image's place; see `Volume.other_grids`.
        name: of the label file.

    Raises:
        ShapeMismatchError: it does not lie on the image.
    """
    turned, turned_grid = _turn(labels, grid, image)
    notes: tuple[str, ...] = ()
    if turned_grid is not grid:
        notes = (f"labels turned from {grid.axes} to the image's {image.axes}",)
    gap = _gap_voxels(turned_grid, image)
    placed = grid.is_stated and image.is_stated
    if placed and gap <= EXACT_VOXELS:
        return turned, notes, ()
    if placed and gap <= NEAR_VOXELS:
        what = f"labels lie up to {gap:.2g} voxels beside the image's grid; taken as drawn on it"
        return turned, notes, (what,)
    if placed:
        for other in others:
            straight, straight_grid = _turn(labels, grid, other)
            if _gap_voxels(straight_grid, other) <= NEAR_VOXELS:
                return (
                    straight,
                    notes,
                    ("labels lie on the image as programs put it that know no shear or uneven steps",),
                )
        part = _put_in_place(turned, turned_grid, image)
        if part is not None:
            return part, (*notes, "labels cover a part of the image; put at their place"), ()
    if grid.size == image.size and _voxel_order_counts(grid, image, gap):
        what = "labels and image have the same shape but another place or spacing, and a header is lost"
        if image.is_stated or grid.is_stated:
            return labels, (), (f"{what}; taken voxel by voxel",)
        return labels, (), ()  # neither says where it lies: there is no contradiction
    raise _mismatch(grid, image, gap, name)


def _mismatch(grid: Grid, image: Grid, gap: float, name: str) -> ShapeMismatchError:
    if grid.size != image.size:
        return ShapeMismatchError(
            f"{name}: wanted the image's shape {image.size[::-1]} (z, y, x), got {grid.size[::-1]}; "
            "resample the labels onto the image without smoothing."
        )
    return ShapeMismatchError(
        f"{name}: the labels' header puts them elsewhere than the image, up to {gap:.3g} voxels apart "
        f"(axes {grid.axes} and {image.axes}, spacing {_in_words(grid)} and {_in_words(image)} mm); resample them "
        "onto the image without smoothing, or, if they were drawn on its voxels, copy the image's header to them."
    )


def _in_words(grid: Grid) -> str:
    return "x".join(f"{step:.4g}" for step in grid.spacing_mm)


def _nearest_axes(cosines: NDArray[np.float64]) -> tuple[int, ...]:
    """Give for each column of (3, 3) cosines the row that it is nearest to, each row once."""
    return max(permutations(range(3)), key=lambda rows: sum(abs(cosines[row, i]) for i, row in enumerate(rows)))


def _turn(labels: NDArray[Any], grid: Grid, image: Grid) -> tuple[NDArray[Any], Grid]:
    """Give the labels and their grid with axes swapped and flipped to run as the image's; the same objects if so."""
    cosines = np.linalg.inv(image.directions) @ grid.directions
    rows = _nearest_axes(cosines)
    flipped = [cosines[row, column] < 0 for column, row in enumerate(rows)]
    if rows == (0, 1, 2) and not any(flipped):
        return labels, grid
    # old index = turn @ new index: axis `column` of the labels becomes axis `row`.
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    size = [0, 0, 0]
    for column, row in enumerate(rows):
        turn[column, row] = -1 if flipped[column] else 1
        turn[column, 3] = grid.size[column] - 1 if flipped[column] else 0
        size[row] = grid.size[column]
    flips = tuple(slice(None, None, -1) if flipped[2 - axis] else slice(None) for axis in range(3))
    source = [0, 0, 0]  # of each new array axis, the old one; array axes are z, y, x
    for column, row in enumerate(rows):
        source[2 - row] = 2 - column
    turned = np.ascontiguousarray(labels[flips].transpose(source))
    return turned, Grid((size[0], size[1], size[2]), grid.affine @ turn, grid.is_stated)


def _gap_voxels(first: Grid, second: Grid) -> float:
    """Give how far apart the corners of two grids lie, in voxels of the second; infinite for other sizes."""
    if first.size != second.size:
        return float("inf")
    corners = np.array(list(product(*((0, count - 1) for count in second.size))), np.float64)
    return float(np.abs(_index_in(second, first, corners) - corners).max())


def _index_in(target: Grid, source: Grid, indices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give (N, 3) indices of `source` as fractional indices of `target`."""
    matrix = np.linalg.inv(target.affine) @ source.affine
    moved: NDArray[np.float64] = indices @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def _put_in_place(labels: NDArray[Any], grid: Grid, image: Grid) -> NDArray[Any] | None:
    """Give the labels within zeros of the image's size, if they cover a part of it voxel upon voxel; else None."""
    corners = np.array(list(product(*((0, count - 1) for count in grid.size))), np.float64)
    moved = _index_in(image, grid, corners)
    start = np.rint(moved[0])
    if np.abs(moved - corners - start).max() > EXACT_VOXELS:
        return None
    if (start < 0).any() or (start + np.array(grid.size) > np.array(image.size)).any():
        return None
    full = np.zeros(image.size[::-1], labels.dtype)
    x, y, z = (int(value) for value in start)
    depth, height, width = labels.shape
    full[z : z + depth, y : y + height, x : x + width] = labels
    return full


def _voxel_order_counts(grid: Grid, image: Grid, gap: float) -> bool:
    """Tell whether a header is so evidently lost that the order of voxels is all there is."""
    if not grid.is_stated or not image.is_stated:
        return True
    if gap <= FAR_SHARE * max(image.size):  # nearly there, so the header knows something
        return False
    if _is_default(grid):
        return _has_steps(grid, 1.0) or _has_steps(grid, image.steps_mm)
    return _is_default(image) and _has_steps(image, 1.0) and not _has_steps(grid, 1.0)


def _is_default(grid: Grid) -> bool:
    """Tell whether origin and directions are what programs write that know none."""
    identities = (np.eye(3), LPS_FROM_RAS[:3, :3])
    straight = any(np.abs(grid.directions - identity).max() < 1e-4 for identity in identities)
    return straight and float(np.abs(grid.affine[:3, 3]).max()) < 1e-4


def _has_steps(grid: Grid, steps_mm: float | NDArray[np.float64]) -> bool:
    return bool(np.allclose(grid.steps_mm, steps_mm, rtol=1e-3))
