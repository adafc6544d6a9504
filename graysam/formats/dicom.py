"""Read DICOM: a series of slices, an enhanced multi-frame file, or one picture; pydicom does the decoding.

A series is put together here and not by a library, so that every slice is looked at: orientation, size, position,
step and scale. What does not stack is refused by name; what stacks with a doubt is read with a warning.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pydicom
import pydicom.pixels
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from graysam.errors import PrepareError
from graysam.formats.grids import Grid, make_grid, straightened
from graysam.formats.pet import suv_scale
from graysam.formats.record import (
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    VOLUME_SUFFIXES,
    Remarks,
    Volume,
    finite_voxels,
    scaled_voxels,
    suffix_of,
)
from graysam.image.windows import Units
from graysam.isolation import CrashedError, isolated

pydicom_pixels: Any = pydicom.pixels  # which does not say what it exports
Header: TypeAlias = Any  # pydicom.Dataset

# Slices are parallel within 0.1 degrees (cosine) and evenly spaced within 1 % of a step or 0.1 mm.
PARALLEL = 1e-3
EVEN_SHARE, EVEN_MM = 0.01, 0.1
TILT_DEGREES = 0.5
# A damaged header may ask for any number of pixels; JPEG packs blank pictures a few thousand times.
LARGEST_PACKING, SMALL_BYTES = 20_000, 1 << 24
# In a series folder that are no slices.
_NOT_SLICES = ("dicomdir", "thumbs.db", ".ds_store")
# Frames of these follow each other in time.
_MOVING = ("US", "XA", "RF", "ES", "IVUS", "GM", "XC")
_NOT_IMAGES = {
    "SEG": "a DICOM segmentation, no image",
    "RTSTRUCT": "contours (RT structure set), no voxels; export them as a label map (NIfTI or NRRD)",
    "SR": "a report, no image",
    "PR": "a presentation state, no image",
    "REG": "a registration, no image",
}
_PHYSICAL = ("CT", "PT")
# Who decodes where there is a choice. All other compressed pixels are decoded in a process of their own: gdcm, which
# alone knows JPEG lossless, ends its process over some damaged files.
_UNCOMPRESSED = (
    pydicom.uid.ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ExplicitVRBigEndian,
    pydicom.uid.DeflatedExplicitVRLittleEndian,
)  # fmt: skip
_SAFE_DECODERS: dict[str, str] = {pydicom.uid.JPEGBaseline8Bit: "pillow", pydicom.uid.RLELossless: "pydicom"}


@dataclass(frozen=True, eq=False)
class _Frame:
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


def read_dicom(path: Path) -> Volume:
    """Read a folder that holds one series, or one file.

    Raises:
        PrepareError: no DICOM, several series, slices that are no stack, damaged or cut off.
    """
    if path.is_dir():
        headers = _headers_in(path)
        found = sorted({_series_of(header) for _, header in headers})
        if not found:
            raise PrepareError(f"{path.name}: no DICOM series in this folder.")
        if len(found) > 1:
            told = "; ".join(_describe(uid, headers) for uid in found)
            raise PrepareError(
                f"{path.name}: {len(found)} DICOM series in one folder ({told}); give each a folder of its own."
            )
    else:
        headers = [(path, _read_header(path))]
    return _volume_of(path.name, headers)


def series_in(folder: Path) -> dict[str, list[Path]]:
    """Give the files of each series (by SeriesInstanceUID) that lie in a folder; empty when there are none."""
    series: dict[str, list[Path]] = defaultdict(list)
    for path in _candidates(folder):
        header = _peek(path)
        if header is not None:
            series[_series_of(header)].append(path)
    return dict(series)


@dataclass(frozen=True, eq=False)
class Frames:
    """The slices of a stack in the order of the volume that was made of them."""

    slices: tuple[_Frame, ...]

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
    modality, frames = _stack_of(name, [(path, _read_header(path)) for path in files], remarks)
    return _volume_from(name, modality, frames, remarks), Frames(tuple(frames))


def frames_of_series(name: str, files: Sequence[Path]) -> Frames:
    """Give the slices of one series by their headers alone.

    Raises:
        PrepareError: slices that are no stack, or damaged headers.
    """
    return Frames(tuple(_stack_of(name, [(path, _read_header(path)) for path in files], Remarks())[1]))


def sorted_series(files: Sequence[Path]) -> list[tuple[Header, list[Path]]]:
    """Sort files by series: the first header of each series, and its files; damaged files stand for themselves."""
    series: dict[str, tuple[Header, list[Path]]] = {}
    for path in files:
        try:
            header = _read_header(path)
        except PrepareError:  # named when the case is read
            header = pydicom.Dataset()
        series.setdefault(_series_of(header) or str(path), (header, []))[1].append(path)
    return list(series.values())


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM with pixels or at least a series, by its content."""
    return _peek(path) is not None


# --- headers -----------------------------------------------------------------------------------------------


def _candidates(folder: Path) -> list[Path]:
    return [
        entry
        for entry in sorted(folder.iterdir())
        if not entry.name.startswith(".") and entry.name.lower() not in _NOT_SLICES and entry.is_file()
    ]


def _peek(path: Path) -> Header | None:
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


def _read_header(path: Path) -> Header:
    try:
        try:
            return pydicom.dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:  # files older than the standard's Part 10 begin without its mark
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            if "Rows" not in header:
                raise
            return header
    except Exception as error:  # pydicom raises whatever a damaged file leads to
        raise PrepareError(f"{path.name}: no DICOM file, or damaged: {_short(error)}; copy it again.") from error


def _headers_in(folder: Path) -> list[tuple[Path, Header]]:
    """Give the headers of a folder's DICOM files; others are skipped unless their suffix says DICOM."""
    headers = []
    for path in _candidates(folder):
        if _peek(path) is None and suffix_of(path) not in DICOM_SUFFIXES:
            continue
        headers.append((path, _read_header(path)))
    return headers


def _series_of(header: Header) -> str:
    return str(header.get("SeriesInstanceUID", "") or "")


def _describe(uid: str, headers: Sequence[tuple[Path, Header]]) -> str:
    files = [(path, header) for path, header in headers if _series_of(header) == uid]
    path, header = files[0]
    told = str(header.get("SeriesDescription", "") or header.get("Modality", "") or "without description")
    return f"{told}: {len(files)} files from {path.name}"


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__


def _frames_of(path: Path, header: Header) -> list[_Frame]:
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
            _Frame(
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


# --- a stack -----------------------------------------------------------------------------------------------


def _stack_of(name: str, headers: Sequence[tuple[Path, Header]], remarks: Remarks) -> tuple[str, list[_Frame]]:
    """Give modality and slices in their order."""
    modality = _modality_of(name, headers)
    frames = [frame for path, header in headers for frame in _frames_of(path, header)]
    _check_alike(name, frames, remarks)
    frames = _without_copies(frames, remarks)
    if len(frames) > 1:
        frames = _in_order(name, frames, modality, remarks)
    return modality, frames


def _volume_of(name: str, headers: Sequence[tuple[Path, Header]]) -> Volume:
    remarks = Remarks()
    return _volume_from(name, *_stack_of(name, headers, remarks), remarks)


def _volume_from(name: str, modality: str, frames: list[_Frame], remarks: Remarks) -> Volume:
    slices = _Pixels(remarks).of(frames, modality)
    array = np.stack(slices)
    grid = _grid_of(name, frames, array, remarks)
    units: Units = "unknown"
    if modality == "CT":
        units = "HU"
    elif modality == "PT":
        array, units = _as_suv(array, [frame.header for frame in frames], remarks)
    if array.ndim == 3:
        array = finite_voxels(array, name, remarks)
    return Volume(
        array,
        grid,
        (*straightened(grid), *_evened(grid, frames)) if grid.is_stated else (),
        units,
        modality,
        is_picture=len(frames) == 1,
        notes=tuple(remarks.notes),
        warnings=tuple(remarks.warnings),
        not_finite=remarks.not_finite,
    )


def _modality_of(name: str, headers: Sequence[tuple[Path, Header]]) -> str:
    modality = str(headers[0][1].get("Modality", "") or "")
    if modality in _NOT_IMAGES:
        raise PrepareError(f"{name}: {_NOT_IMAGES[modality]}.")
    without = [path.name for path, header in headers if not header.get("Rows") or not header.get("Columns")]
    if without:
        raise PrepareError(f"{name}: {without[0]} has no picture (no Rows and Columns).")
    return modality


def _as_suv(array: NDArray[Any], headers: Sequence[Header], remarks: Remarks) -> tuple[NDArray[Any], Units]:
    scale = suv_scale(headers)
    if scale.factor is None:
        remarks.warnings.append(f"PET without SUV: {scale.missing}")
        return array, "Bq/ml" if headers[0].get("Units") == "BQML" else "unknown"
    if scale.factor != 1.0:
        remarks.notes.append(f"PET scaled to SUV (body weight) by {scale.factor:.6g}")
    return (array.astype(np.float64) * scale.factor).astype(np.float32), "SUV"


def _check_alike(name: str, frames: Sequence[_Frame], remarks: Remarks) -> None:
    """Refuse slices of another size or orientation than most: localizers, or several scans in one series."""
    sizes = Counter(_size_of(frame) for frame in frames)
    if len(sizes) > 1:
        usual = sizes.most_common(1)[0][0]
        odd = [frame for frame in frames if _size_of(frame) != usual]
        raise PrepareError(
            f"{name}: {_odd(odd, frames)} of size {_size_of(odd[0])[:2]}, the others {usual[:2]} (a localizer or "
            "another scan in the same series); move them out of the folder."
        )
    known = [frame for frame in frames if frame.orientation is not None]
    if known and len(known) < len(frames):
        odd = [frame for frame in frames if frame.orientation is None]
        raise PrepareError(f"{name}: {_odd(odd, frames)} without orientation; move them out of the folder.")
    groups: list[list[_Frame]] = []
    for frame in known:
        for group in groups:
            if np.abs(group[0].orientation - frame.orientation).max() <= PARALLEL:  # type: ignore[operator]
                group.append(frame)
                break
        else:
            groups.append([frame])
    if len(groups) > 1:
        usual_group = max(groups, key=len)
        odd = [frame for group in groups if group is not usual_group for frame in group]
        raise PrepareError(
            f"{name}: {_odd(odd, frames)} with another orientation than the others (a localizer, or several scans in "
            "one series); move them out of the folder."
        )
    stated = [frame.slope_is_stated for frame in frames]
    if any(stated) and not all(stated):
        odd = [frame for frame in frames if not frame.slope_is_stated]
        remarks.warnings.append(f"{_odd(odd, frames)} without a RescaleSlope, which the others have; taken as 1")
    spacings = [frame.spacing for frame in frames if frame.spacing is not None]
    if (
        spacings
        and max(float(np.abs(spacing - spacings[0]).max()) for spacing in spacings) > PARALLEL * spacings[0].max()
    ):
        raise PrepareError(f"{name}: slices of different pixel spacing in one series; give each scan its own folder.")


def _size_of(frame: _Frame) -> tuple[int, int, int]:
    header = frame.header
    return int(header.Rows), int(header.Columns), int(header.get("SamplesPerPixel") or 1)


def _odd(odd: Sequence[_Frame], frames: Sequence[_Frame]) -> str:
    return f"{len(odd)} of {len(frames)} slices ({', '.join(frame.name for frame in odd[:3])})"


def _without_copies(frames: Sequence[_Frame], remarks: Remarks) -> list[_Frame]:
    """Give the frames without files that are there twice (the same SOPInstanceUID and place)."""
    seen: dict[tuple[str, int], _Frame] = {}
    kept: list[_Frame] = []
    copies: list[_Frame] = []
    for frame in frames:
        key = (str(frame.header.get("SOPInstanceUID", "") or frame.path.name), frame.index)
        twin = seen.setdefault(key, frame)
        same = twin is frame or (
            (twin.position is None) != (frame.position is None)
            or (twin.position is not None and frame.position is not None and (twin.position != frame.position).any())
            or _digest(twin.path) != _digest(frame.path)
        )
        (kept if same else copies).append(frame)
    if copies:
        remarks.warnings.append(f"{len(copies)} files are there twice ({copies[0].name}); each is read once")
    return kept


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(bytes(pydicom.dcmread(path).get("PixelData", b""))).digest()
    except Exception:  # damaged: the reader of pixels names it
        return str(path).encode(errors="surrogateescape")


def _in_order(name: str, frames: list[_Frame], modality: str, remarks: Remarks) -> list[_Frame]:
    """Give the frames sorted by their place along the slices' normal, and look at their steps."""
    if any(frame.position is None or frame.orientation is None for frame in frames):
        return _in_numbered_order(name, frames, modality, remarks)
    normal = frames[0].normal
    heights = np.array([float(frame.position @ normal) for frame in frames])  # type: ignore[operator]
    order = np.argsort(heights, kind="stable")
    frames, heights = [frames[int(place)] for place in order], heights[order]
    steps = np.diff(heights)
    step = float(np.median(steps))
    doubled = np.flatnonzero(steps < max(1e-3, 0.01 * step))
    if doubled.size:
        first, second = frames[int(doubled[0])], frames[int(doubled[0]) + 1]
        raise PrepareError(
            f"{name}: {doubled.size + 1} slices or more lie on one another ({first.name} and {second.name} at "
            f"{heights[int(doubled[0])]:.2f} mm): several phases, echoes or scans in one series; give each its folder."
        )
    spread = float(steps.max() - steps.min())
    if spread > max(EVEN_MM, EVEN_SHARE * step):
        wide = int(np.argmax(steps))
        remarks.warnings.append(
            f"slices are not evenly spaced (distances differ by {spread:.2f} mm; {steps[wide]:.2f} mm between "
            f"{frames[wide].name} and {frames[wide + 1].name}, {step:.2f} mm in the middle of all); is a slice missing?"
        )
    _look_at_line(name, frames, heights, normal, remarks)
    return frames


def _look_at_line(
    name: str, frames: Sequence[_Frame], heights: NDArray[np.float64], normal: NDArray[np.float64], remarks: Remarks
) -> None:
    """Refuse slices that lie on no straight line; warn of a line that is not at right angles to them."""
    positions = np.stack([frame.position for frame in frames])  # type: ignore[misc]
    across = positions - heights[:, None] * normal
    slope = (across[-1] - across[0]) / (heights[-1] - heights[0])
    off = np.linalg.norm(across - across[0] - (heights - heights[0])[:, None] * slope, axis=1)
    pixel = float(frames[0].spacing.max()) if frames[0].spacing is not None else 1.0
    if float(off.max()) > max(1.0, pixel):
        odd = frames[int(np.argmax(off))]
        raise PrepareError(
            f"{name}: {odd.name} lies {off.max():.1f} mm beside the line of the other slices: no stack; "
            "give each scan its own folder."
        )
    tilt = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    if tilt > TILT_DEGREES:
        remarks.warnings.append(
            f"the stack leans by {tilt:.1f} degrees against the slices' normal (gantry tilt): the volume is sheared, "
            "taken slice upon slice"
        )


def _in_numbered_order(name: str, frames: list[_Frame], modality: str, remarks: Remarks) -> list[_Frame]:
    """Give frames without position by their numbers; frames in time are refused."""
    one_file = len({frame.path for frame in frames}) == 1
    if one_file and modality in _MOVING:
        raise PrepareError(
            f"{name}: {len(frames)} frames of a film ({modality}), no volume; save the frames that are labelled as "
            "pictures of their own."
        )
    if not one_file:
        numbers = [int(frame.header.get("InstanceNumber") or -1) for frame in frames]
        if min(numbers) < 0 or len(set(numbers)) < len(numbers):
            raise PrepareError(
                f"{name}: {len(frames)} pictures without position or different numbers: no stack; "
                "give each a folder of its own."
            )
        frames = [frame for _, frame in sorted(zip(numbers, frames, strict=True), key=lambda pair: pair[0])]
    remarks.warnings.append("the slices state no position; stacked by their numbers")
    return frames


def _grid_of(name: str, frames: Sequence[_Frame], array: NDArray[Any], remarks: Remarks) -> Grid:
    first = frames[0]
    height, width = array.shape[1:3]
    size = (width, height, len(frames))
    rows_mm, columns_mm = (float(step) for step in first.spacing) if first.spacing is not None else (1.0, 1.0)
    if not min(rows_mm, columns_mm) > 0:
        raise PrepareError(f"{name}: pixel spacing {rows_mm}, {columns_mm} mm makes no sense; correct the header.")
    if first.spacing is None and len(frames) > 1:
        remarks.warnings.append("no pixel spacing is stated; taken as 1 mm")
    is_stated = first.position is not None and first.orientation is not None
    affine = np.eye(4)
    if first.orientation is not None:
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = first.orientation[:3], first.orientation[3:], first.normal
    affine[:3, 0] *= columns_mm
    affine[:3, 1] *= rows_mm
    if is_stated and len(frames) > 1:
        positions = np.stack([frame.position for frame in frames])  # type: ignore[misc]
        heights = positions @ first.normal
        # The median step, so that a missing slice does not stretch the others; along the line of the stack.
        line = (positions[-1] - positions[0]) / (heights[-1] - heights[0])
        affine[:3, 2] = line * float(np.median(np.diff(heights)))
    else:
        affine[:3, 2] *= _stated_step(first)
    if is_stated:
        affine[:3, 3] = first.position
    return make_grid(size, affine, name, is_stated=is_stated)


def _evened(grid: Grid, frames: Sequence[_Frame]) -> tuple[Grid, ...]:
    """Give the grid of a series with uneven steps as ITK states it: by the mean step instead of the median one."""
    if len(frames) < 3 or frames[0].position is None or frames[-1].position is None:
        return ()
    affine = grid.affine.copy()
    affine[:3, 2] = (frames[-1].position - frames[0].position) / (len(frames) - 1)
    return () if np.allclose(affine, grid.affine, atol=1e-3) else (Grid(grid.size, affine),)


def _stated_step(frame: _Frame) -> float:
    """Give the distance of slices that a lone slice or a stack without positions states; 1 mm when it states none."""
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        try:
            value = abs(float(frame.header.get(name) or 0))
        except (TypeError, ValueError):
            value = 0.0
        if np.isfinite(value) and value > 0:
            return value
    return 1.0


# --- pixels ------------------------------------------------------------------------------------------------


class _Pixels:
    """Decodes frames one after the other, each file once."""

    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._path: Path | None = None
        self._stored: NDArray[Any] | None = None

    def of(self, frames: Sequence[_Frame], modality: str) -> list[NDArray[Any]]:
        """Give each frame's real values, (H, W) or (H, W, 3); all of one dtype."""
        slices = [self._real(frame, modality) for frame in frames]
        dtype = np.result_type(*{part.dtype for part in slices})
        return [part.astype(dtype, copy=False) for part in slices]

    def _real(self, frame: _Frame, modality: str) -> NDArray[Any]:
        stored = self._frame(frame)
        header = frame.header
        if stored.ndim == 3:
            return stored
        if header.get("PhotometricInterpretation") == "MONOCHROME1" and modality not in _PHYSICAL:
            # HU and SUV keep their meaning however they are shown.
            self._note("MONOCHROME1: turned so that dense is bright")
            stored = _turned_bright(stored, header)
        if header.get("ModalityLUTSequence"):
            return np.asarray(pydicom_pixels.apply_modality_lut(stored, header))
        return scaled_voxels(stored, frame.slope, frame.intercept)

    def _note(self, note: str) -> None:
        if note not in self._remarks.notes:
            self._remarks.notes.append(note)

    def _frame(self, frame: _Frame) -> NDArray[Any]:
        if frame.path != self._path:
            self._path, self._stored = frame.path, None
            self._stored = _decoded(frame.path, frame.header)
        assert self._stored is not None
        count = int(frame.header.get("NumberOfFrames") or 1)
        return self._stored[frame.index] if count > 1 else self._stored


def _decoded(path: Path, header: Header) -> NDArray[Any]:
    """Give a file's stored pixels: (H, W), (H, W, 3), or these with frames first.

    Raises:
        PrepareError: they cannot be decoded, or the decoder crashed over them.
    """
    if _may_crash(header):
        try:
            return isolated(_decode, path)
        except CrashedError as error:
            raise PrepareError(f"{path.name}: {error}.") from error
    return _decode(path)


def _may_crash(header: Header) -> bool:
    """Tell whether pixels are unpacked by a library that ends its process over damaged data."""
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    return syntax is not None and syntax not in (*_SAFE_DECODERS, *_UNCOMPRESSED)


def _decode(path: Path) -> NDArray[Any]:
    """Do as `_decoded` does, in this process."""
    try:
        dataset = pydicom.dcmread(path, force=True)
        if "PixelData" not in dataset:
            raise PrepareError(f"{path.name}: no pixels (or a kind that is not read: float or double); cut off?")
        _check_size(path, dataset)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            stored = np.asarray(pydicom_pixels.apply_color_lut(pydicom_pixels.pixel_array(dataset, raw=True), dataset))
            stored = (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored
        else:
            syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
            stored = pydicom_pixels.pixel_array(dataset, decoding_plugin=_SAFE_DECODERS.get(syntax, ""))
    except PrepareError:
        raise
    except Exception as error:  # pydicom and its decoders raise whatever a damaged file leads to
        raise PrepareError(
            f"{path.name}: pixels cannot be decoded ({_short(error)}); copy the file again, or save it uncompressed."
        ) from error
    return np.asarray(stored)


def _check_size(path: Path, dataset: Header) -> None:
    pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    wanted = pixels * int(dataset.get("SamplesPerPixel") or 1) * max(1, int(dataset.BitsAllocated) // 8)
    if wanted > max(SMALL_BYTES, LARGEST_PACKING * path.stat().st_size):
        raise PrepareError(f"{path.name}: the header wants {wanted:,} bytes of pixels; the file is damaged.")


def _turned_bright(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    """Give the stored values mirrored within the range of their bits, so that black becomes white."""
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    is_signed = bool(int(header.get("PixelRepresentation") or 0))
    mirrored = (-1 if is_signed else 2**bits - 1) - stored.astype(np.int64)
    turned: NDArray[Any] = (mirrored if is_signed else np.clip(mirrored, 0, None)).astype(stored.dtype)
    return turned
