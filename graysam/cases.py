"""Cases of the challenge: what an .npz file holds and how it is named; no other file knows keys and prefixes.

A case is one file. `imgs` is (H, W, 3) or (H, W) in 2D and (D, H, W) in 3D, values 0 to 255; `boxes`
is (N, 4) as x_min, y_min, x_max, y_max in 2D and (N, 6) as x_min, y_min, z_min, x_max, y_max, z_max in 3D,
maxima inclusive, z closed. `spacing` (x, y, z, in mm) and `gts` (reference labels) may be there. A result
holds `segs`, labels of the image's shape.

Whether a case is a volume is read from its arrays, because names lie:

* `imgs` with two axes is an image. Boxes of six numbers are then those of a volume of one slice.
* `imgs` with three axes is a volume when the boxes have six numbers, even if the last axis has size 3, and an
  image when they have four, if the last axis is a channel axis (size 1, 3 or 4).
* Without boxes it is an image when the last axis has size 3 and the name does not begin with 3D, else a volume.

A name that says otherwise is worth a warning, no more.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, VolumeBox
from graysam.errors import CaseError
from graysam.formats.archives import Archive, write_archive

logger = logging.getLogger(__name__)

SUFFIX = ".npz"
# OpenCV's remapping counts in 16 bits; an image of 2**28 pixels (16384 x 16384) takes about 3 GB on its way
# through.
MAX_SIDE = 32767
MAX_SLICE_PIXELS = 2**28
# Label 0 is background and label i + 1 box i, so that 16 bits hold this many boxes.
MAX_BOXES = 65535
MAX_BOXES_BYTES = 64 * 1024**2

Modality = Literal[
    "CT", "MR", "PET", "US", "X-Ray", "Dermoscopy", "Endoscopy", "Fundus", "Microscopy", "OCT", "Mammography"
]
# Spellings seen in the challenge's, its peers' and its demo's files. A token must not touch other letters, so
# that "OCT" is never "CT"; it stands first all the same.
_SPELLINGS: tuple[tuple[Modality, str], ...] = (
    ("OCT", "OCT"),
    ("CT", "CT"),
    ("X-Ray", "CXR|DX|XR|X[-_ ]?Rays?"),
    ("MR", "MRI?|T[12]"),
    ("PET", "PET"),
    ("US", "US|Ultra[a-z]*"),
    ("Dermoscopy", "Derm[a-z]*"),
    ("Endoscopy", "Endo[a-z]*"),
    ("Fundus", "Fundus[a-z]*"),
    ("Microscopy", "Micro[a-z]*"),
    ("Mammography", "Mamm[a-z]*|MG"),
)
_MODALITY = re.compile(
    "(?<![A-Za-z])(?:" + "|".join(f"({spellings})" for _, spellings in _SPELLINGS) + ")(?![A-Za-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Case:
    """One image or volume with its prompts, checked and cleaned.

    Attributes:
        name: the file's name without .npz.
        path: where it came from, None when it was made in memory.
        image: (H, W), (H, W, 3) or (D, H, W); uint8, or float32 where the file's values do not fit. Finite.
        is_volume: whether `image` is (D, H, W).
        boxes: `Box` in 2D, `VolumeBox` in 3D, in the file's order, inside the image, in original pixels.
        spacing_mm: distance of voxel centres along z, y, x, or None when the file has none that makes sense.
        warnings: what was changed or looked odd, in words.
    """

    name: str
    path: Path | None
    image: NDArray[np.uint8] | NDArray[np.float32]
    is_volume: bool
    boxes: tuple[Box, ...] | tuple[VolumeBox, ...]
    spacing_mm: tuple[float, float, float] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Give the shape of the label map: (H, W) or (D, H, W)."""
        return self.image.shape if self.is_volume else self.image.shape[:2]

    @property
    def modality(self) -> Modality | None:
        """Give the modality that the name tells, if any."""
        return modality_of(self.name)


@dataclass(frozen=True)
class CaseListing:
    """The cases of a folder, and the entries that look like cases but are refused, each with the reason."""

    cases: tuple[Path, ...]
    refused: tuple[tuple[Path, str], ...]


# --- names and folders --------------------------------------------------------------------------------------


def case_kind(name: str) -> Literal["2D", "3D"] | None:
    """Give what a file name claims of the dimension, None when it claims nothing."""
    if name.startswith("2D"):
        return "2D"
    return "3D" if name.startswith("3D") else None


def modality_of(name: str) -> Modality | None:
    """Give the modality that a file name tells first, in whatever spelling; None when it tells none."""
    match = _MODALITY.search(Path(name).name)
    if match is None or match.lastindex is None:
        return None
    return _SPELLINGS[match.lastindex - 1][0]


def list_folder(folder: Path) -> CaseListing:
    """List a folder's .npz files, sorted by name; other files, hidden files and sub-folders are no cases.

    Refused are links that lead out of the folder or nowhere, and pipes, sockets and devices (reading one
    could hang).

    Raises:
        CaseError: the folder is missing, is a file, or may not be listed.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
        root = folder.resolve(strict=True)
    except OSError as error:
        raise CaseError(f"folder {folder}: cannot be listed: {error.strerror or error}.") from error
    cases, refused = [], []
    for entry in entries:
        # Hidden: macOS puts "._name.npz" beside each file that it copies to a foreign file system.
        if entry.suffix != SUFFIX or entry.name.startswith("."):
            continue
        reason = _refusal(entry, root)
        if reason is not None:
            refused.append((entry, f"{entry.name}: {reason}"))
        elif entry.is_file():
            cases.append(entry)
    return CaseListing(tuple(cases), tuple(refused))


def find_cases(folder: Path) -> list[Path]:
    """Give `list_folder(folder).cases`, and log what was refused.

    Raises:
        CaseError: the folder cannot be listed.
    """
    listing = list_folder(folder)
    for _, reason in listing.refused:
        logger.warning("%s", reason)
    return list(listing.cases)


def _refusal(entry: Path, root: Path) -> str | None:
    try:
        if entry.is_symlink() and not entry.resolve(strict=True).is_relative_to(root):
            return "a link that leads out of the input folder is not followed; copy the file instead."
        if not entry.is_file() and not entry.is_dir():
            return "not a regular file."
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        return f"cannot be looked at: {error}."
    return None


# --- reading ------------------------------------------------------------------------------------------------


def read_case(path: Path, *, need_boxes: bool = True) -> Case:
    """Read and check one case; see the module for what is expected and `Case` for what comes out.

    Boxes that are swapped, or reach over the border, are put right with a warning as long as some of the
    image remains in them. Pixels that are not finite become the nearest finite extreme (NaN: the minimum),
    with a warning.

    Args:
        path: the .npz file. Nothing in it is ever unpickled.
        need_boxes: False accepts a file without `boxes` (training data) and gives it none.

    Raises:
        CaseError: the file, or something in it, cannot be used; the message names file, field, found and wanted.
    """
    notes: list[str] = []
    with Archive(path) as archive:
        box_array = _read_box_array(path, archive, need_boxes=need_boxes)
        box_width = 0 if box_array is None else box_array.shape[1]
        is_volume, shape = _decide_shape(path, archive.header("imgs").shape, box_width, notes)
        pixels = archive.read("imgs").reshape(shape)
        if not is_volume and shape[2:] == (4,):
            pixels = np.ascontiguousarray(pixels[:, :, :3])
        image = _clean_image(path.name, pixels, notes)
        spacing = _read_spacing(archive, notes)
    boxes = _clean_boxes(path.name, box_array, is_volume=is_volume, image_shape=image.shape, notes=notes)
    spacing_mm = None if spacing is None else (spacing[2], spacing[1], spacing[0])
    return Case(path.name.removesuffix(SUFFIX), path, image, is_volume, boxes, spacing_mm, tuple(notes))


def read_label_shape(path: Path) -> tuple[int, ...] | None:
    """Give the shape that a case's label map must have, from headers alone, or None when it cannot be told.

    Meant for cases that `read_case` refuses: it never raises, and gives no shape that is empty or beyond the limits.
    """
    try:
        with Archive(path) as archive:
            try:
                box_shape = archive.header("boxes").shape
            except CaseError:
                box_shape = ()
            box_width = box_shape[-1] if box_shape and box_shape[-1] in (4, 6) else 0
            is_volume, shape = _decide_shape(path, archive.header("imgs").shape, box_width, [])
            return shape if is_volume else shape[:2]
    except CaseError:
        return None


def read_labels(path: Path, key: Literal["segs", "gts"]) -> NDArray[np.integer[Any]]:
    """Read a label map, (H, W) or (D, H, W); dtype as in the file, bool as uint8.

    Raises:
        CaseError: no such array, not integers, not two or three axes, negative labels, or a damaged file.
    """
    with Archive(path) as archive:
        header = archive.header(key)
        if header.dtype.kind not in "bui":
            raise CaseError(f"{path.name}: {key!r} has dtype {header.dtype}, wanted integer labels.")
        if len(header.shape) not in (2, 3):
            raise CaseError(f"{path.name}: {key!r} has shape {header.shape}, wanted (H, W) or (D, H, W).")
        labels = archive.read(key)
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.kind == "i" and labels.size and int(labels.min()) < 0:
        raise CaseError(f"{path.name}: {key!r} holds the negative label {int(labels.min())}.")
    return labels


def read_spacing_as_stored(path: Path) -> tuple[float, float, float] | None:
    """Give `spacing` in the file's own order, x, y, z.

    The official scorer applies it to z, y, x arrays unreordered. None when the file has no spacing of three
    positive numbers.

    Raises:
        CaseError: the file cannot be opened.
    """
    with Archive(path) as archive:
        return _read_spacing(archive, [])


def _read_box_array(path: Path, archive: Archive, *, need_boxes: bool) -> NDArray[np.float64] | None:
    """Give `boxes` as (N, 4) or (N, 6) float64, (0, 0) when there are none, None when the file lacks them."""
    if "boxes" not in archive:
        if not need_boxes:
            return None
        raise CaseError(
            f"{path.name}: no array 'boxes'; found {list(archive.keys)}. A prompted case needs one box for each object."
        )
    header = archive.header("boxes")
    shape, dtype = header.shape, header.dtype
    if dtype.kind not in "uif":
        raise CaseError(f"{path.name}: 'boxes' has dtype {dtype}, wanted integers or floats.")
    if math.prod(shape) == 0:
        return np.zeros((0, shape[-1] if len(shape) == 2 and shape[-1] in (4, 6) else 0))
    if len(shape) not in (1, 2) or shape[-1] not in (4, 6):
        raise CaseError(
            f"{path.name}: 'boxes' has shape {shape}, wanted (N, 4) as x_min, y_min, x_max, y_max "
            "or (N, 6) as x_min, y_min, z_min, x_max, y_max, z_max."
        )
    if len(shape) == 2 and shape[0] > MAX_BOXES:
        raise CaseError(
            f"{path.name}: {shape[0]:,} boxes, but a 16-bit label map holds at most {MAX_BOXES:,}; split the case."
        )
    # float64 holds every pixel coordinate exactly and has no unsigned wrap-around.
    return archive.read("boxes", max_bytes=MAX_BOXES_BYTES).astype(np.float64).reshape(-1, shape[-1])


def _decide_shape(path: Path, shape: tuple[int, ...], box_width: int, notes: list[str]) -> tuple[bool, tuple[int, ...]]:
    """Tell whether the case is a volume, and its image's shape without a channel axis of size 1."""
    claimed = case_kind(path.name)
    if len(shape) == 2:
        is_volume = False
    elif len(shape) == 3 and box_width == 6:
        is_volume = True
    elif len(shape) == 3 and box_width == 0:
        is_volume = shape[2] != 3 or claimed == "3D"
    elif len(shape) == 3 and shape[2] in (1, 3, 4):
        is_volume = False
    else:
        raise CaseError(
            f"{path.name}: 'imgs' has shape {shape} and 'boxes' {box_width} numbers each, wanted (H, W) or "
            "(H, W, 3) with 4 or (D, H, W) with 6."
        )
    if claimed is not None and (claimed == "3D") != is_volume:
        notes.append(
            f"the name says {claimed}, but 'imgs' of shape {shape} is "
            f"{'a volume' if is_volume else 'an image'}; treated as the latter"
        )
    if not is_volume and len(shape) == 3 and shape[2] == 4:
        notes.append("'imgs' has four channels; the fourth (alpha) is ignored")
    height, width = shape[-2:] if is_volume else shape[:2]
    if math.prod(shape) == 0:
        raise CaseError(f"{path.name}: 'imgs' is empty, shape {shape}.")
    if max(height, width) > MAX_SIDE or height * width > MAX_SLICE_PIXELS:
        raise CaseError(
            f"{path.name}: 'imgs' has shape {shape}; a slice may have {MAX_SLICE_PIXELS:,} pixels and sides "
            f"of {MAX_SIDE:,}."
        )
    return is_volume, shape[:2] if not is_volume and shape[2:] == (1,) else shape


def _clean_image(file_name: str, pixels: NDArray[Any], notes: list[str]) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Give the pixels as uint8 where that is exact, else as finite float32."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind == "b":
        return pixels.view(np.uint8)
    if pixels.dtype.kind not in "uif":
        raise CaseError(
            f"{file_name}: 'imgs' has dtype {pixels.dtype}, wanted integers or floats with values 0 to 255."
        )
    integers = pixels.dtype.kind != "f"
    if not integers:
        with np.errstate(over="ignore"):  # beyond float32 counts as infinite
            pixels = pixels.astype(np.float32, copy=False)
    low, high = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        pixels, low, high = _replace_non_finite(file_name, pixels, notes)
    if low < 0 or high > 255:
        notes.append(
            f"'imgs' has values from {low:g} to {high:g}, expected 0 to 255; its own range is used. Window "
            "CT beforehand"
        )
    elif integers:
        return pixels.astype(np.uint8)
    return pixels.astype(np.float32, copy=False)


def _replace_non_finite(
    file_name: str, pixels: NDArray[np.float32], notes: list[str]
) -> tuple[NDArray[np.float32], float, float]:
    """Give the pixels with NaN and -inf at the finite minimum, +inf at the maximum, and both values."""
    finite = np.isfinite(pixels)
    if not finite.any():
        raise CaseError(f"{file_name}: 'imgs' holds no finite value (all are NaN or infinite).")
    low = float(pixels.min(where=finite, initial=np.inf))
    high = float(pixels.max(where=finite, initial=-np.inf))
    notes.append(
        f"{pixels.size - int(finite.sum())} pixels are NaN or infinite; replaced by the range's ends {low:g}, {high:g}"
    )
    return np.nan_to_num(pixels, copy=False, nan=low, neginf=low, posinf=high), low, high


def _read_spacing(archive: Archive, notes: list[str]) -> tuple[float, float, float] | None:
    """Give `spacing` as stored (x, y, z); prediction does without, so nonsense costs only a warning."""
    if "spacing" not in archive:
        return None
    try:
        header = archive.header("spacing")
        if header.dtype.kind not in "uif" or math.prod(header.shape) != 3:
            raise CaseError(f"'spacing' has shape {header.shape} of {header.dtype}, wanted three numbers")
        x, y, z = (float(value) for value in archive.read("spacing", max_bytes=1024).ravel())
    except CaseError as error:
        notes.append(f"spacing is ignored: {error}")
        return None
    if not all(math.isfinite(value) and value > 0 for value in (x, y, z)):
        notes.append(f"spacing is ignored: wanted positive numbers, found {(x, y, z)}")
        return None
    return x, y, z


# --- boxes --------------------------------------------------------------------------------------------------


def _clean_boxes(
    file_name: str,
    boxes: NDArray[np.float64] | None,
    *,
    is_volume: bool,
    image_shape: tuple[int, ...],
    notes: list[str],
) -> tuple[Box, ...] | tuple[VolumeBox, ...]:
    """Put boxes in order and inside the image, noting what was changed.

    Fractions stay in x and y, whose boxes are floats anyway, and are rounded to the nearest slice in z.

    Raises:
        CaseError: a box with NaN, or wholly outside the image.
    """
    if boxes is None or len(boxes) == 0:
        return ()
    depth = image_shape[0] if is_volume else 1
    height, width = image_shape[1:3] if is_volume else image_shape[:2]
    n_axes = boxes.shape[1] // 2
    last = np.array([width - 1.0, height - 1.0, depth - 1.0])[:n_axes]
    given_low, given_high = boxes[:, :n_axes], boxes[:, n_axes:]
    low, high = np.minimum(given_low, given_high), np.maximum(given_low, given_high)
    if n_axes == 3:  # whole slices first, so that z_max = depth - 0.6 is not thought outside
        low[:, 2], high[:, 2] = np.rint(low[:, 2]), np.rint(high[:, 2])
    lost = ~np.all((high >= 0) & (low <= last), axis=1)  # NaN compares false, so it is lost too
    if lost.any():
        index = int(np.flatnonzero(lost)[0])
        reason = "is not a number" if np.isnan(boxes[index]).any() else "lies wholly outside the image"
        raise CaseError(
            f"{file_name}: box {index} {_in_words(boxes[index])} {reason}; the image has width {width}, "
            f"height {height}{f', depth {depth}' if is_volume else ''}, and coordinates count from 0."
        )
    fractional = np.any(boxes != np.rint(boxes), axis=1)
    swapped = np.any(given_low > given_high, axis=1)
    outside = np.any((low < 0) | (high > last), axis=1)
    low, high = np.clip(low, 0, last), np.clip(high, 0, last)
    for rows, what in (
        (fractional, "fractional; x and y are used as they are, z is rounded"),
        (swapped, "minimum and maximum swapped; put in order"),
        (outside, f"partly outside the image of width {width}, height {height}, depth {depth}; clipped"),
    ):
        _note_boxes(notes, rows, boxes, what)
    if not is_volume:
        return tuple(Box(*map(float, (*start[:2], *end[:2]))) for start, end in zip(low, high, strict=True))
    return tuple(
        VolumeBox(Box(*map(float, (*start[:2], *end[:2]))), int(start[2]), int(end[2]))
        for start, end in zip(low, high, strict=True)
    )


def _note_boxes(notes: list[str], rows: NDArray[np.bool_], boxes: NDArray[np.float64], what: str) -> None:
    """Add one line for all the boxes of `rows`, showing the first."""
    if rows.any():
        first = int(np.flatnonzero(rows)[0])
        count = int(rows.sum())
        notes.append(f"{count} of {len(boxes)} boxes {what} (first: box {first} {_in_words(boxes[first])})")


def _in_words(box: NDArray[np.float64]) -> str:
    return "[" + ", ".join(f"{value:.12g}" for value in box) + "]"


# --- writing ------------------------------------------------------------------------------------------------


def label_dtype(n_labels: int) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
    """Give the smallest dtype that holds labels 0 to `n_labels`: uint8 up to 255, uint16 up to 65,535.

    Raises:
        CaseError: more labels than 16 bits hold.
    """
    if n_labels > MAX_BOXES:
        raise CaseError(f"{n_labels:,} labels do not fit 16 bits; at most {MAX_BOXES:,} do.")
    return np.dtype(np.uint8) if n_labels <= np.iinfo(np.uint8).max else np.dtype(np.uint16)


def write_labels(path: Path, labels: NDArray[np.integer[Any]], *, failure: str | None = None) -> None:
    """Write a label map as `segs`, whole or not at all, replacing an older file.

    Args:
        path: the .npz file to make; its folder exists.
        labels: (H, W) or (D, H, W), integers from 0 to 65,535; stored as uint8 while they fit, else as
            uint16.
        failure: why the map is only a stand-in, stored as `failure`; `is_finished` then says no, and scorers,
            which read `segs` alone, take no notice.

    Raises:
        CaseError: labels of another kind, or the file cannot be written (the message says why).
    """
    arrays: dict[str, NDArray[Any]] = {"segs": _narrow_labels(path, labels)}
    if failure is not None:
        arrays["failure"] = np.array(failure)
    write_archive(path, arrays)


def is_finished(path: Path, label_shape: tuple[int, ...] | None) -> bool:
    """Tell whether `path` is a whole result of that shape, and not the stand-in for a case that failed.

    Reads the directory and one header; any file that cannot be read, and a None for the shape, count as not finished.
    """
    try:
        with Archive(path) as archive:
            return "failure" not in archive and archive.header("segs").shape == label_shape
    except CaseError:
        return False


def write_case(
    path: Path,
    *,
    image: NDArray[Any],
    boxes: Sequence[Box] | Sequence[VolumeBox],
    spacing_mm: tuple[float, float, float] | None = None,
    labels: NDArray[np.integer[Any]] | None = None,
) -> None:
    """Write a case as the challenge stores it, whole or not at all, replacing an older file.

    Args:
        path: the .npz file to make; its folder exists.
        image: (H, W), (H, W, 3) or (D, H, W); stored as it is.
        boxes: whole coordinates are stored as int64, others as float64. Without any, (0, 6) is stored for a
            volume (three axes, the last not 3) and (0, 4) otherwise.
        spacing_mm: z, y, x; stored as x, y, z under `spacing`.
        labels: reference labels, stored under `gts`.

    Raises:
        CaseError: the file cannot be written, or the labels are no labels.
    """
    rows = [
        (b.x_min, b.y_min, b.x_max, b.y_max)
        if isinstance(b, Box)
        else (b.box.x_min, b.box.y_min, b.z_min, b.box.x_max, b.box.y_max, b.z_max)
        for b in boxes
    ]
    empty_width = 6 if image.ndim == 3 and image.shape[2] != 3 else 4
    box_array = np.array(rows, np.float64) if rows else np.zeros((0, empty_width))
    if np.array_equal(box_array, np.rint(box_array)):
        box_array = box_array.astype(np.int64)
    arrays: dict[str, NDArray[Any]] = {"imgs": image, "boxes": box_array}
    if spacing_mm is not None:
        arrays["spacing"] = np.array(spacing_mm[::-1], np.float64)
    if labels is not None:
        arrays["gts"] = _narrow_labels(path, labels)
    write_archive(path, arrays)


def write_reference(
    path: Path, labels: NDArray[np.integer[Any]], *, spacing_mm: tuple[float, float, float] | None = None
) -> None:
    """Write reference labels as the scorer reads them: `gts` and `spacing`, no image; whole or not at all.

    Args:
        path: the .npz file to make; its folder exists.
        labels: (H, W) or (D, H, W), integers from 0 to 65,535; stored as uint8 while they fit, else as
            uint16.
        spacing_mm: z, y, x; stored as x, y, z under `spacing`.

    Raises:
        CaseError: labels of another kind, or the file cannot be written (the message says why).
    """
    arrays: dict[str, NDArray[Any]] = {"gts": _narrow_labels(path, labels)}
    if spacing_mm is not None:
        arrays["spacing"] = np.array(spacing_mm[::-1], np.float64)
    write_archive(path, arrays)


def _narrow_labels(path: Path, labels: NDArray[np.integer[Any]]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if labels.dtype.kind not in "ui" or labels.ndim not in (2, 3):
        raise CaseError(
            f"{path.name}: labels of shape {labels.shape} and dtype {labels.dtype}, wanted integers (H, W) "
            "or (D, H, W)."
        )
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0:
        raise CaseError(f"{path.name}: the negative label {low}.")
    if label_dtype(high) == np.uint8:
        return labels.astype(np.uint8, copy=False)
    return labels.astype(np.uint16, copy=False)
