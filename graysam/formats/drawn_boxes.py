"""Boxes as the programs of people store them, and their way into voxels of an image: numpy only.

Four frames are in use; a file's format says which one counts, and a table names it.

* voxel: numbers of the first and last voxel, counted from 0 as the file stores them, both inside the box.
* edges: pixels of a picture, counted along their edges: pixel i reaches from i to i + 1 (labelme, COCO).
* LPS: mm in the patient, towards left, posterior and superior (DICOM, ITK, and files of 3D Slicer).
* RAS: mm in the patient, towards right, anterior and superior (NIfTI, and 3D Slicer's own displays).

A voxel belongs to a box in mm, or along edges, when its centre lies in it. A box in mm that stands askew in the volume
becomes the smallest box of voxels round it. A box so thin that it holds no centre becomes the nearest voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from graysam.errors import CaseError
from graysam.formats.grids import Grid

Frame = Literal["voxel", "edges", "LPS", "RAS"]
FRAMES: tuple[Frame, ...] = get_args(Frame)

# Numbers in text files are rounded; a voxel's centre within this share of a voxel of the box's side lies inside.
ROUNDING_VOXELS = 1e-3


@dataclass(frozen=True, eq=False)
class DrawnBox:
    """One box as it was drawn.

    Attributes:
        frame: what its numbers count; see the module.
        corners: (n, 2) or (n, 3): points in the order x, y, z whose hull is the box.
        name: of the object, "" without one.
        case: file name or name of the image that it belongs to, "" where the file of boxes does not say.
    """

    frame: Frame
    corners: NDArray[np.float64]
    name: str = ""
    case: str = ""


def box_between(low: Sequence[float], high: Sequence[float], frame: Frame, name: str = "", case: str = "") -> DrawnBox:
    """Give the box whose sides run along the frame's axes.

    low, high: two or three numbers, in the order x, y, z.
    """
    return DrawnBox(frame, np.array(list(product(*zip(low, high, strict=True))), np.float64), name, case)


def oriented_box(
    centre: NDArray[np.float64], size: NDArray[np.float64], axes: NDArray[np.float64], frame: Frame, name: str = ""
) -> DrawnBox:
    """Give a box by its centre, the lengths of its sides, and their directions.

    axes: (3, 3), column i is where side i runs.
    """
    offsets = np.array(list(product((-0.5, 0.5), repeat=3))) * size
    return DrawnBox(frame, centre + offsets @ axes.T, name)


def box_table(boxes: Iterable[DrawnBox], grid: Grid | None, *, is_volume: bool) -> NDArray[np.float64]:
    """Give boxes as (N, 4) or (N, 6) numbers in the order of the challenge's files.

    Args:
        boxes: in any frame.
        grid: where the image's voxels lie, None for a picture.
        is_volume: whether six numbers are wanted.

    Raises:
        CaseError: mm for an image that states no place, or a flat box for a volume.
    """
    n_axes = 3 if is_volume else 2
    rows = []
    for number, box in enumerate(boxes):
        low, high = _span(box, grid, number)
        if len(low) < n_axes:
            raise CaseError(f"box {number} is flat, but the image is a volume: wanted z_min and z_max, too.")
        rows.append([*low[:n_axes], *high[:n_axes]])
    return np.array(rows, np.float64).reshape(-1, 2 * n_axes)


def _span(box: DrawnBox, grid: Grid | None, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give the first and last voxel along each axis."""
    if box.frame == "voxel":
        return box.corners.min(axis=0), box.corners.max(axis=0)
    places = box.corners - 0.5 if box.frame == "edges" else _indices(box, grid, number)
    low, high = places.min(axis=0), places.max(axis=0)
    first, last = np.ceil(low - ROUNDING_VOXELS), np.floor(high + ROUNDING_VOXELS)
    middle = np.rint((low + high) / 2)
    thin = last < first
    return np.where(thin, middle, first), np.where(thin, middle, last)


def _indices(box: DrawnBox, grid: Grid | None, number: int) -> NDArray[np.float64]:
    """Give the corners of a box in mm as fractional voxel numbers."""
    if grid is None or not grid.is_stated:
        raise CaseError(
            f"box {number} is in mm ({box.frame}), but the image does not state where it lies; give voxels instead."
        )
    if box.corners.shape[1] != 3:
        raise CaseError(f"box {number} in mm ({box.frame}) has {box.corners.shape[1]} axes, wanted x, y and z.")
    points = box.corners * ([-1.0, -1.0, 1.0] if box.frame == "RAS" else 1.0)
    matrix = np.linalg.inv(grid.affine)
    indices: NDArray[np.float64] = points @ matrix[:3, :3].T + matrix[:3, 3]
    return indices
