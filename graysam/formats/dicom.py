"""Read DICOM: a series of slices, an enhanced multi-frame file, or one picture; pydicom does the decoding.

A series is put together here (`dicom_headers`, `dicom_stack`, `dicom_pixels`) and not by a library, so that every
slice is looked at: orientation, size, position, step and scale.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from graysam.errors import PrepareError
from graysam.formats.dicom_headers import Frame, Header, candidates, headers_in, peek, read_header, series_uid
from graysam.formats.dicom_pixels import decoded_slices
from graysam.formats.dicom_stack import evened_grids, grid_of, stack_of
from graysam.formats.grids import straightened
from graysam.formats.image_volume import Remarks, Volume, finite_voxels
from graysam.formats.pet import suv_scale
from graysam.image.windows import Units


def read_dicom(path: Path) -> Volume:
    """Read a folder that holds one series, or one file.

    Raises:
        PrepareError: no DICOM, several series, slices that are no stack, damaged or cut off.
    """
    if path.is_dir():
        headers = headers_in(path)
        found = sorted({series_uid(header) for _, header in headers})
        if not found:
            raise PrepareError(f"{path.name}: no DICOM series in this folder.")
        if len(found) > 1:
            told = "; ".join(_describe(uid, headers) for uid in found)
            raise PrepareError(
                f"{path.name}: {len(found)} DICOM series in one folder ({told}); give each a folder of its own."
            )
    else:
        headers = [(path, read_header(path))]
    return _volume_of(path.name, headers)


def series_in(folder: Path) -> dict[str, list[Path]]:
    """Give the files of each series (by SeriesInstanceUID) that lie in a folder; empty when there are none."""
    series: dict[str, list[Path]] = defaultdict(list)
    for path in candidates(folder):
        header = peek(path)
        if header is not None:
            series[series_uid(header)].append(path)
    return dict(series)


@dataclass(frozen=True, eq=False)
class Frames:
    """The slices of a stack in the order of the volume that was made of them."""

    slices: tuple[Frame, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Give (D, H, W)."""
        header = self.slices[0].header
        return len(self.slices), int(header.Rows), int(header.Columns)


def read_series(name: str, files: Sequence[Path]) -> tuple[Volume, Frames]:
    """Read the files of one series, wherever they lie, and tell which slice came from which.

    Raises:
        PrepareError: slices that are no stack, damaged or cut off.
    """
    remarks = Remarks()
    modality, frames = stack_of(name, [(path, read_header(path)) for path in files], remarks)
    return _volume_from(name, modality, frames, remarks), Frames(tuple(frames))


def frames_of_series(name: str, files: Sequence[Path]) -> Frames:
    """Give the slices of one series by their headers alone.

    Raises:
        PrepareError: slices that are no stack, or damaged headers.
    """
    return Frames(tuple(stack_of(name, [(path, read_header(path)) for path in files], Remarks())[1]))


def sorted_series(files: Sequence[Path]) -> list[tuple[Header, list[Path]]]:
    """Sort files by series: the first header of each series, and its files; damaged files stand for themselves."""
    series: dict[str, tuple[Header, list[Path]]] = {}
    for path in files:
        try:
            header = read_header(path)
        except PrepareError:  # named when the case is read
            header = pydicom.Dataset()
        series.setdefault(series_uid(header) or str(path), (header, []))[1].append(path)
    return list(series.values())


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM with pixels or at least a series, by its content."""
    return peek(path) is not None


def _describe(uid: str, headers: Sequence[tuple[Path, Header]]) -> str:
    files = [(path, header) for path, header in headers if series_uid(header) == uid]
    path, header = files[0]
    told = str(header.get("SeriesDescription", "") or header.get("Modality", "") or "without description")
    return f"{told}: {len(files)} files from {path.name}"


def _volume_of(name: str, headers: Sequence[tuple[Path, Header]]) -> Volume:
    remarks = Remarks()
    return _volume_from(name, *stack_of(name, headers, remarks), remarks)


def _volume_from(name: str, modality: str, frames: list[Frame], remarks: Remarks) -> Volume:
    slices = decoded_slices(frames, modality, remarks)
    array = np.stack(slices)
    grid = grid_of(name, frames, array, remarks)
    units: Units = "unknown"
    if modality == "CT":
        units = "HU"
    elif modality == "PT":
        array, units = _as_suv(array, [frame.header for frame in frames], remarks)
    if array.ndim == 3:
        array = finite_voxels(array, name, remarks)
    other_grids = (*straightened(grid), *evened_grids(grid, frames)) if grid.is_stated else ()
    return remarks.on(Volume(array, grid, other_grids, units, modality, is_picture=len(frames) == 1))


def _as_suv(array: NDArray[Any], headers: Sequence[Header], remarks: Remarks) -> tuple[NDArray[Any], Units]:
    scale = suv_scale(headers)
    if scale.factor is None:
        remarks.warnings.append(f"PET without SUV: {scale.missing}")
        return array, "Bq/ml" if headers[0].get("Units") == "BQML" else "unknown"
    if scale.factor != 1.0:
        remarks.notes.append(f"PET scaled to SUV (body weight) by {scale.factor:.6g}")
    return (array.astype(np.float64) * scale.factor).astype(np.float32), "SUV"
