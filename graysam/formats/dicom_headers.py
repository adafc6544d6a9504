"""Read the headers of DICOM files: which file belongs to which series, and what each frame says of its place.

Nothing of pixels is read here. A frame's own group wins over the file's shared group, and that over the file's tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from graysam.errors import PrepareError
from graysam.formats.image_volume import DICOM_SUFFIXES, IMAGE_SUFFIXES, VOLUME_SUFFIXES, suffix_of

Header: TypeAlias = Any  # pydicom.Dataset

# In a series folder that are no slices.
_NOT_SLICES = ("dicomdir", "thumbs.db", ".ds_store")


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice: its header, and what its own tags or its frame's group say.

    Attributes:
        path: the file.
        index: number of the frame in the file.
        header: the file's header.
        position: (3,) mm of the first pixel, None when not stated.
        orientation: (6,) cosines along a row and along a column, None when not stated.
        spacing: (2,) mm between rows and between columns, None when not stated.
        slope, intercept: from stored to real values.
        slope_is_stated: whether the file has that slope, or it is taken as 1.
    """

    path: Path
    index: int
    header: Header
    position: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None
    spacing: NDArray[np.float64] | None
    slope: float
    intercept: float
    slope_is_stated: bool

    @property
    def normal(self) -> NDArray[np.float64]:
        """Give (3,) at right angles to the slice."""
        assert self.orientation is not None
        normal: NDArray[np.float64] = np.cross(self.orientation[:3], self.orientation[3:])
        return normal

    @property
    def name(self) -> str:
        """Give the file's name, with the frame's number where there are several."""
        return f"{self.path.name}[{self.index}]" if int(self.header.get("NumberOfFrames") or 1) > 1 else self.path.name


def candidates(folder: Path) -> list[Path]:
    """Give the files of a folder that may be slices, by name."""
    return [
        entry
        for entry in sorted(folder.iterdir())
        if not entry.name.startswith(".") and entry.name.lower() not in _NOT_SLICES and entry.is_file()
    ]


def peek(path: Path) -> Header | None:
    """Give the few tags that tell a DICOM file, None when it is none."""
    if suffix_of(path) in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES):
        return None
    try:
        with path.open("rb") as file:
            begun = file.read(132)
        if begun[128:] != b"DICM" and suffix_of(path) not in (*DICOM_SUFFIXES, ""):
            return None
        tags = ["SOPClassUID", "SeriesInstanceUID", "Modality", "Rows", "NumberOfFrames"]
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=begun[128:] != b"DICM")
        return header if "SeriesInstanceUID" in header or "Rows" in header else None
    except Exception:  # pydicom raises whatever a damaged file leads to; the reader names it
        return None


def read_header(path: Path) -> Header:
    """Read all tags before the pixels.

    Raises:
        PrepareError: no DICOM file, or a damaged one.
    """
    try:
        try:
            return pydicom.dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:  # files older than the standard's Part 10 begin without its mark
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            if "Rows" not in header:
                raise
            return header
    except Exception as error:  # pydicom raises whatever a damaged file leads to
        raise PrepareError(f"{path.name}: no DICOM file, or damaged: {first_line(error)}; copy it again.") from error


def headers_in(folder: Path) -> list[tuple[Path, Header]]:
    """Give the headers of a folder's DICOM files; others are skipped unless their suffix says DICOM."""
    headers = []
    for path in candidates(folder):
        if peek(path) is None and suffix_of(path) not in DICOM_SUFFIXES:
            continue
        headers.append((path, read_header(path)))
    return headers


def series_uid(header: Header) -> str:
    """Give the SeriesInstanceUID, "" where it is not stated."""
    return str(header.get("SeriesInstanceUID", "") or "")


def first_line(error: BaseException) -> str:
    """Give the first line of what a library says of an error, or the error's name where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__


def frames_of(path: Path, header: Header) -> list[Frame]:
    """Give a file's frames, with each frame's own place and scale where the file has such groups."""
    count = int(header.get("NumberOfFrames") or 1)
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    if groups and len(groups) != count:
        raise PrepareError(f"{path.name}: {count} frames, but groups for {len(groups)}; damaged, export it again.")
    frames = []
    for index in range(count):
        own = [groups[index]] if groups else []
        places = [*own, *([shared] if shared is not None else [])]
        position = _tag(places, "PlanePositionSequence", "ImagePositionPatient", header)
        orientation = _tag(places, "PlaneOrientationSequence", "ImageOrientationPatient", header)
        spacing = _tag(places, "PixelMeasuresSequence", "PixelSpacing", header)
        slope = _tag(places, "PixelValueTransformationSequence", "RescaleSlope", header)
        intercept = _tag(places, "PixelValueTransformationSequence", "RescaleIntercept", header)
        frames.append(
            Frame(
                path,
                index,
                header,
                _numbers(position, 3),
                _unit_cosines(_numbers(orientation, 6)),
                _numbers(spacing if spacing is not None else header.get("ImagerPixelSpacing"), 2),
                1.0 if slope in (None, "") else float(slope),
                0.0 if intercept in (None, "") else float(intercept),
                slope not in (None, ""),
            )
        )
    return frames


def _tag(groups: Sequence[Header], sequence: str, name: str, header: Header) -> Any:  # noqa: ANN401  a tag's value
    for group in groups:
        items = group.get(sequence)
        if items and items[0].get(name) is not None:
            return items[0].get(name)
    return header.get(name)


def _numbers(value: Any, count: int) -> NDArray[np.float64] | None:  # noqa: ANN401  a tag's value
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != count:
        return None
    numbers = np.array([float(number) for number in value])
    return numbers if np.isfinite(numbers).all() else None


def _unit_cosines(cosines: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    if cosines is None:
        return None
    row, column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.5 or abs(float(row @ column)) > 0.1:
        return None
    return np.concatenate([row / lengths[0], column / lengths[1]])
