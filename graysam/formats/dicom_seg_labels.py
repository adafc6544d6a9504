"""Read a DICOM SEG as a label map: the segments' numbers, in a grid made of the frames' own positions.

Read are segments that do not overlap (BINARY) and label maps (LABELMAP). Probabilities (FRACTIONAL) and segments that
overlap are no label map; they are refused by name. Frames without an object are often left out, so that the grid is
that of the positions that are there; laying it on the image puts it in its place (grids.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pydicom
from numpy.typing import NDArray

from graysam.errors import PrepareError
from graysam.formats.grids import Grid, make_grid
from graysam.formats.image_volume import Volume

Header: TypeAlias = Any  # pydicom.Dataset
_PARALLEL = 1e-3
_EVEN = 0.02  # of a step


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a frame lies: position (3,) mm, orientation (6,) cosines, spacing (2,) between rows and columns, step."""

    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: NDArray[np.float64]
    step: float


def is_segmentation(path: Path) -> bool:
    """Tell whether a file is a DICOM SEG."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality"])
    except Exception:  # no DICOM, or damaged, which its reader names
        return False
    return bool(header.get("Modality") == "SEG")


def read_segmentation(path: Path, image: Grid) -> Volume:
    """Read the label map, (D, H, W): the number of the segment that a voxel belongs to, 0 for none.

    Args:
        path: a DICOM SEG.
        image: the grid of the image that it belongs to, whose distance of slices counts where frames were left out.

    Raises:
        PrepareError: damaged, fractional, overlapping, or without the places of its frames.
    """
    dataset, frames = _decoded(path)
    places = _places_of(path, dataset, len(frames))
    numbers = _segment_numbers(path, dataset, len(frames))
    first = places[0]
    if any(np.abs(each.orientation - first.orientation).max() > _PARALLEL for each in places):
        raise PrepareError(f"{path.name}: a DICOM SEG whose frames are not parallel; export it as NIfTI or NRRD.")
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    heights = np.array([float(each.position @ normal) for each in places])
    step = _step_of(heights, first.step, image, normal)
    rows = np.rint((heights - heights.min()) / step).astype(int)
    if np.abs(heights - heights.min() - rows * step).max() > _EVEN * step:
        raise PrepareError(f"{path.name}: a DICOM SEG whose frames are not evenly spaced; export it as NIfTI or NRRD.")
    lowest = places[int(np.argmin(heights))]
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[:3] * first.spacing[1]
    affine[:3, 1] = first.orientation[3:] * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = normal * step, lowest.position
    height, width = frames.shape[1:]
    labels = _painted(path, frames, rows, numbers, (int(rows.max()) + 1, height, width))
    return Volume(labels, make_grid((width, height, len(labels)), affine, path.name))


def _decoded(path: Path) -> tuple[Header, NDArray[Any]]:
    try:
        dataset = pydicom.dcmread(path)
        if dataset.get("SegmentationType") == "FRACTIONAL":
            raise PrepareError(
                f"{path.name}: a DICOM SEG of probabilities (FRACTIONAL), no labels; export it as BINARY, or as NIfTI."
            )
        frames = np.asarray(dataset.pixel_array)
    except PrepareError:
        raise
    except Exception as error:  # pydicom raises whatever a damaged file leads to
        raise PrepareError(f"{path.name}: a DICOM SEG that cannot be decoded ({error}); copy it again.") from error
    frames = frames[None] if frames.ndim == 2 else frames
    if frames.ndim != 3 or not frames.size:
        raise PrepareError(f"{path.name}: a DICOM SEG without frames, shape {frames.shape}.")
    return dataset, frames


def _groups_of(path: Path, dataset: Header, count: int) -> list[tuple[Header, ...]]:
    """Give for each frame the groups that may state its facts: its own, then the shared one."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = tuple(dataset.get("SharedFunctionalGroupsSequence") or [])
    if len(own) != count:
        raise PrepareError(f"{path.name}: a DICOM SEG of {count} frames, but groups for {len(own)}; damaged.")
    return [(each, *shared) for each in own]


def _fact(groups: Sequence[Header], sequence: str, name: str) -> Any:  # noqa: ANN401  a tag's value
    for group in groups:
        items = group.get(sequence)
        if items and items[0].get(name) is not None:
            return items[0].get(name)
    return None


def _places_of(path: Path, dataset: Header, count: int) -> list[_Place]:
    places = []
    for groups in _groups_of(path, dataset, count):
        position = _fact(groups, "PlanePositionSequence", "ImagePositionPatient")
        orientation = _fact(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _fact(groups, "PixelMeasuresSequence", "PixelSpacing")
        if position is None or orientation is None or spacing is None:
            raise PrepareError(
                f"{path.name}: a DICOM SEG that does not say where its frames lie (position, orientation or spacing); "
                "export it as a label map (PNG, NIfTI or NRRD)."
            )
        step = _fact(groups, "PixelMeasuresSequence", "SpacingBetweenSlices") or 0
        places.append(_Place(_array(position), _array(orientation), _array(spacing), float(step)))
    return places


def _array(value: Any) -> NDArray[np.float64]:  # noqa: ANN401  a tag's value
    return np.array([float(number) for number in value])


def _segment_numbers(path: Path, dataset: Header, count: int) -> list[int | None]:
    """Give the number of each frame's segment; None where the pixels are the numbers."""
    if dataset.get("SegmentationType") == "LABELMAP":
        return [None] * count
    numbers = [
        _fact(groups, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
        for groups in _groups_of(path, dataset, count)
    ]
    if any(number is None for number in numbers):
        raise PrepareError(f"{path.name}: a DICOM SEG with a frame that names no segment; damaged.")
    return [int(number) for number in numbers]


def _step_of(heights: NDArray[np.float64], stated: float, image: Grid, normal: NDArray[np.float64]) -> float:
    """Give the distance of slices: the image's along this direction where it fits, else the least between frames."""
    gaps = np.diff(np.unique(np.round(heights, 3)))
    least = float(gaps.min()) if gaps.size else 0.0
    along = [step for step, axis in zip(image.steps_mm, image.directions.T, strict=True) if abs(axis @ normal) > 0.999]
    for step in (*(float(step) for step in along), stated):
        if step > 0 and (not least or abs(least / step - max(1, round(least / step))) <= _EVEN):
            return step
    return least or 1.0


def _painted(
    path: Path,
    frames: NDArray[Any],
    rows: NDArray[np.intp],
    numbers: Sequence[int | None],
    shape: tuple[int, int, int],
) -> NDArray[np.uint16]:
    """Give the frames as one label map.

    Raises:
        PrepareError: segments that overlap.
    """
    labels = np.zeros(shape, np.uint16)
    for frame, row, number in zip(frames, rows, numbers, strict=True):
        inside = frame > 0
        there = labels[row][inside]
        taken = there[(there > 0) & (there != number)] if number is not None else there[there > 0]
        if taken.size:
            raise PrepareError(
                f"{path.name}: a DICOM SEG whose segments overlap ({taken[0]} and {number or 'others'}, "
                f"{taken.size} pixels of a frame); a label map has one number for each voxel: export them one by one."
            )
        labels[row][inside] = number if number is not None else frame[inside]
    return labels
