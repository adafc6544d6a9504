"""Cases in .npz files, as the challenge stores them; no other file knows their keys, prefixes and order of axes.

A case is one file. `imgs` is (H, W, 3) or (H, W) in 2D and (D, H, W) in 3D, values 0 to 255; `boxes`
is (N, 4) as x_min, y_min, x_max, y_max in 2D and (N, 6) as x_min, y_min, z_min, x_max, y_max, z_max in 3D,
maxima inclusive, z closed. `spacing` (x, y, z, in mm) and `gts` (reference labels) may be there. A result
holds `segs`, labels of the image's shape. Volumes of the CVPR 2025 challenge of interactive segmentation are cases,
too; `graysam.formats.npz_prompts` reads their boxes, `clicks` and `prev_pred`.

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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, VolumeBox, clean_boxes
from graysam.cases import (
    MAX_BOXES,
    Case,
    ImageCase,
    VolumeCase,
    case_kind,
    check_size,
    clean_image,
    narrow_labels,
)
from graysam.corrections import ObjectClicks, clean_corrections
from graysam.errors import CaseError
from graysam.formats.archives import Archive, write_archive
from graysam.formats.base import Answer, CaseListing, list_entries, naming
from graysam.formats.npz_prompts import clicks_array, read_clicks, read_described_boxes, read_previous

if TYPE_CHECKING:
    from graysam.formats.reading_options import Reading

logger = logging.getLogger(__name__)

SUFFIX = ".npz"
MAX_BOXES_BYTES = 64 * 1024**2


class NpzFormat:
    """The challenge's format as the runner sees it; a result has its case's file name."""

    name = "npz"
    cases = "*.npz"

    def __init__(self, reading: Reading | None = None) -> None:
        """Take the user's words on how cases are read; of these files they say only whether boxes are needed."""
        self._need_boxes = reading is None or not reading.boxes.optional

    def claims(self, path: Path) -> bool:
        """Tell whether an entry of a folder is called .npz, in any case of letters; folders are not."""
        return path.suffix.lower() == SUFFIX and not path.is_dir()

    def case_name(self, path: Path) -> str:
        """Give the file's name without .npz."""
        return path.stem

    def result_name(self, path: Path) -> str:
        """Give the case's own file name."""
        return path.name

    def describe(self, path: Path) -> tuple[int, ...] | None:
        """Give `read_label_shape`."""
        return read_label_shape(path)

    def read(self, path: Path) -> Case:
        """Give `read_case`."""
        return read_case(path, need_boxes=self._need_boxes)

    def write(self, result: Path, answer: Answer, *, source: Path) -> None:
        """Do `write_labels`."""
        write_labels(result, answer.labels, failure=answer.failure, clicks=answer.clicks)

    def is_finished(self, result: Path, label_shape: tuple[int, ...] | None) -> bool:
        """Give `is_finished`."""
        return is_finished(result, label_shape)


# --- folders ----------------------------------------------------------------------------------------------------------


def list_folder(folder: Path) -> CaseListing:
    """List a folder's .npz files, sorted by name; other files, hidden files and sub-folders are no cases.

    Raises:
        CaseError: the folder is missing, is a file, or may not be listed.
    """
    return list_entries(folder, NpzFormat().claims)


def find_cases(folder: Path) -> list[Path]:
    """Give `list_folder(folder).cases`, and log what was refused.

    Raises:
        CaseError: the folder cannot be listed.
    """
    listing = list_folder(folder)
    for _, reason in listing.refused:
        logger.warning("%s", reason)
    return list(listing.cases)


# --- reading ----------------------------------------------------------------------------------------------------------


def read_case(path: Path, *, need_boxes: bool = True) -> Case:
    """Read and check one case; see the module for what is expected, `ImageCase` and `VolumeCase` for what comes out.

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
        numbers, key_slices = _read_box_array(path, archive, need_boxes=need_boxes)
        is_volume, shape = _decide_shape(path, archive.header("imgs").shape, numbers.shape[1], notes)
        pixels = archive.read("imgs").reshape(shape)
        if not is_volume and shape[2:] == (4,):
            pixels = np.ascontiguousarray(pixels[:, :, :3])
        with naming(path):
            image, image_notes = clean_image(pixels, field="'imgs'")
        notes += image_notes
        spacing = _read_spacing(archive, notes)
        clicks, previous = read_clicks(path, archive), read_previous(path, archive, shape) if is_volume else None
    name, spacing_mm = path.stem, None if spacing is None else (spacing[2], spacing[1], spacing[0])
    with naming(path):
        if is_volume:
            solid, box_notes = clean_boxes(numbers, size_hw=image.shape[1:3], depth=len(image))
            solid = tuple(_at_slice(box, z) for box, z in zip(solid, key_slices, strict=True)) if key_slices else solid
            corrections, more = clean_corrections(clicks, previous, boxes=solid, label_shape=image.shape)
            warnings = (*notes, *box_notes, *more)
            return VolumeCase(name, path, image, solid, spacing_mm, warnings, corrections=corrections)
        if clicks is not None:
            raise CaseError("'clicks' are points z, y, x of volumes, and this is an image; take them out.")
        flat, box_notes = clean_boxes(numbers, size_hw=image.shape[:2])
        return ImageCase(name, path, image, flat, spacing_mm, (*notes, *box_notes))


def read_label_shape(path: Path) -> tuple[int, ...] | None:
    """Give the shape that a case's label map must have, from headers alone, or None when it cannot be told.

    Meant for cases that `read_case` refuses: it never raises, and gives no shape that is empty or beyond the limits.
    """
    try:
        with Archive(path) as archive:
            try:
                box_shape = (1, 6) if archive.holds_objects("boxes") else archive.header("boxes").shape
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
    labels = read_map(path, key)
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.kind == "i" and labels.size and int(labels.min()) < 0:
        raise CaseError(f"{path.name}: {key!r} holds the negative label {int(labels.min())}.")
    return labels


def read_map(path: Path, key: Literal["segs", "gts"], *, floats: bool = False) -> NDArray[Any]:
    """Read the array of a label map as it is stored, (H, W) or (D, H, W); which numbers are labels is not looked at.

    Args:
        path: the file.
        key: name of the array.
        floats: whether floating-point numbers will do, too, as they do for the scorer.

    Raises:
        CaseError: no such array, another dtype, not two or three axes, or a damaged file.
    """
    with Archive(path) as archive:
        header = archive.header(key)
        if header.dtype.kind not in ("buif" if floats else "bui"):
            raise CaseError(f"{path.name}: {key!r} has dtype {header.dtype}, wanted integer labels.")
        if len(header.shape) not in (2, 3):
            raise CaseError(f"{path.name}: {key!r} has shape {header.shape}, wanted (H, W) or (D, H, W).")
        return archive.read(key)


def read_spacing_as_stored(path: Path) -> tuple[float, float, float] | None:
    """Give `spacing` in the file's own order, x, y, z.

    The official scorer applies it to z, y, x arrays unreordered. None when the file has no spacing of three
    positive numbers.

    Raises:
        CaseError: the file cannot be opened.
    """
    with Archive(path) as archive:
        return _read_spacing(archive, [])


def _at_slice(box: VolumeBox, z: int | None) -> VolumeBox:
    """Say which slice a box is of, where the file does; one beyond the object's slices is a defect of the file.

    Raises:
        CaseError: it is.
    """
    if z is None or z == box.key_slice:
        return box
    if not box.z_min <= z <= box.z_max:
        raise CaseError(f"'boxes': z_mid {z} lies beyond the object's slices, {box.z_min} to {box.z_max}.")
    return replace(box, z_box=z)


def _read_box_array(path: Path, archive: Archive, *, need_boxes: bool) -> tuple[NDArray[np.float64], list[int | None]]:
    """Give `boxes` as (N, 4) or (N, 6) float64, and the slices that they are of where the file says so.

    With no rows, and perhaps no columns, when there are none.
    """
    if archive.holds_objects("boxes"):
        return read_described_boxes(path, archive)
    return _read_numbers(path, archive, need_boxes=need_boxes), []


def _read_numbers(path: Path, archive: Archive, *, need_boxes: bool) -> NDArray[np.float64]:
    """Give boxes that are rows of numbers."""
    if "boxes" not in archive:
        if not need_boxes:
            return np.zeros((0, 0))
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
    with naming(path):
        check_size(shape, size_hw=(height, width), field="'imgs'")
    return is_volume, shape[:2] if not is_volume and shape[2:] == (1,) else shape


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


# --- writing ----------------------------------------------------------------------------------------------------------


def write_labels(
    path: Path, labels: NDArray[np.integer[Any]], *, failure: str | None = None, clicks: ObjectClicks = ()
) -> None:
    """Write a label map as `segs`, whole or not at all, replacing an older file.

    Args:
        path: the .npz file to make; its folder exists.
        labels: (H, W) or (D, H, W), integers from 0 to 65,535; stored as uint8 while they fit, else as
            uint16.
        failure: why the map is only a stand-in, stored as `failure`; `is_finished` then says no, and scorers,
            which read `segs` alone, take no notice.
        clicks: of each object; stored as `clicks` next to the labels of a volume, where there are any. An image has no
            such array.

    Raises:
        CaseError: labels of another kind, or the file cannot be written (the message says why).
    """
    arrays: dict[str, NDArray[Any]] = {"segs": _narrowed(path, labels)}
    if failure is not None:
        arrays["failure"] = np.array(failure)
    if labels.ndim == 3 and any(clicks):
        arrays["clicks"] = clicks_array(clicks)
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
    rows = [box.numbers for box in boxes]
    empty_width = 6 if image.ndim == 3 and image.shape[2] != 3 else 4
    box_array = np.array(rows, np.float64) if rows else np.zeros((0, empty_width))
    if np.array_equal(box_array, np.rint(box_array)):
        box_array = box_array.astype(np.int64)
    arrays: dict[str, NDArray[Any]] = {"imgs": image, "boxes": box_array}
    if spacing_mm is not None:
        arrays["spacing"] = np.array(spacing_mm[::-1], np.float64)
    if labels is not None:
        arrays["gts"] = _narrowed(path, labels)
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
    arrays: dict[str, NDArray[Any]] = {"gts": _narrowed(path, labels)}
    if spacing_mm is not None:
        arrays["spacing"] = np.array(spacing_mm[::-1], np.float64)
    write_archive(path, arrays)


def _narrowed(path: Path, labels: NDArray[np.integer[Any]]) -> NDArray[Any]:
    with naming(path):
        return narrow_labels(labels)
