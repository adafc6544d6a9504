"""Read plain pictures (PNG, JPEG, TIFF, BMP): pixels by OpenCV, what the file says of them by Pillow.

OpenCV keeps 16 bits and colours, but fills up cut-off files, ignores how a photograph is to be turned, and shows
palettes as colours. Pillow tells all that.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from graysam.cases import MAX_SIDE, MAX_SLICE_PIXELS
from graysam.errors import PrepareError
from graysam.formats.image_volume import LOSSY_SUFFIXES, suffix_of
from graysam.formats.labels import SoftMasks, check_labels, doubts_of_labels, plateaus_between
from graysam.isolation import CrashedError, isolated

ORIENTATION_TAG = 0x0112
UPRIGHT = 1
# Pixels of a JPEG mask within these bounds are neither black nor white.
_GRAY_FROM, _GRAY_TO = 48, 207


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it is to be looked at.

    Attributes:
        array: (H, W) or (H, W, 3) RGB, in the file's own depth, without transparency.
        notes: what was decided while reading.
        warnings: what looks wrong.
    """

    array: NDArray[Any]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Opened:
    """A file's bytes and what Pillow says of them.

    Attributes:
        content: the whole file.
        image: Pillow's picture, None for a kind that only OpenCV knows.
        orientation: 1 to 8, as in EXIF; 1 is upright.
    """

    content: bytes
    image: Image.Image | None
    orientation: int


def read_picture(path: Path) -> Picture:
    """Read PNG, JPEG, TIFF or BMP; a photograph is turned as its EXIF orientation says.

    Raises:
        PrepareError: unreadable, cut off, empty, or a TIFF of several pages (its other pages would be lost silently).
    """
    opened = _open(path)
    array = _turn_upright(_decode(path, opened), opened.orientation)
    notes: tuple[str, ...] = ()
    if opened.orientation != UPRIGHT:
        notes = (f"turned as EXIF orientation {opened.orientation} says",)
    if array.ndim == 2:
        return Picture(array, notes)
    if array.shape[2] < 3:  # gray with transparency
        return Picture(np.ascontiguousarray(array[..., 0]), notes)
    return Picture(np.ascontiguousarray(array[..., 2::-1]), notes)


def read_image(path: Path) -> NDArray[Any]:
    """Give `read_picture`'s array."""
    return read_picture(path).array


def is_stored_upright(path: Path) -> bool:
    """Tell whether a decoder that ignores EXIF sees the picture as it is to be looked at."""
    return _open(path).orientation == UPRIGHT


def read_mask(path: Path, *, soft_masks: SoftMasks = "refuse") -> NDArray[Any]:
    """Give `read_label_picture`'s array."""
    return read_label_picture(path, soft_masks=soft_masks).array


def read_label_picture(path: Path, *, soft_masks: SoftMasks = "refuse") -> Picture:
    """Read a label picture as (H, W) unsigned integers: gray values, or the indices of a palette.

    A JPEG mask is cut at half of 255, with a warning; it cannot keep the numbers of classes.

    Raises:
        PrepareError: unreadable, in colours (which colour means which label is not for us to guess), in the
            transparency, smoothed, or classes in a JPEG.
    """
    opened = _open(path)
    notes, remarks = [], []
    if opened.orientation != UPRIGHT:
        notes.append(f"mask turned as EXIF orientation {opened.orientation} says")
    if opened.image is not None and opened.image.mode in ("P", "PA"):
        mask, told = _palette_numbers(opened.image)
        notes.append(told)
    else:
        mask, about_colours = _one_channel(path, _decode(path, opened))
        notes += about_colours
    mask = _turn_upright(mask, opened.orientation)
    is_lossy = suffix_of(path) in LOSSY_SUFFIXES or (opened.image is not None and opened.image.format == "JPEG")
    if is_lossy:
        remarks.append("a label map stored as JPEG; values from 128 up were taken as label 1, export it as PNG")
        return Picture(_cut_jpeg(path, mask), tuple(notes), tuple(remarks))
    labels = check_labels(mask, path.name, soft_masks=soft_masks)
    return Picture(labels, tuple(notes), (*remarks, *doubts_of_labels(mask, labels)))


def _palette_numbers(image: Image.Image) -> tuple[NDArray[Any], str]:
    """Give the palette's indices; gray values instead where index 0 is not the darkest of a gray palette."""
    indices = np.array(image if image.mode == "P" else image.convert("P"))
    colours = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    known = colours[used[used < len(colours)]].astype(int)
    is_gray = bool(len(known)) and bool((known == known[:, :1]).all())
    if is_gray and len(used) == len(known) and known[0, 0] > known[:, 0].min():
        return np.ascontiguousarray(
            colours[indices][..., 0]
        ), "gray values of a palette taken as labels: index 0 is bright"
    return np.ascontiguousarray(indices), "a palette's indices taken as labels"


def _one_channel(path: Path, array: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Give the one channel that holds the labels, with notes; one colour on black is label 1.

    Raises:
        PrepareError: several colours, or labels in the transparency.
    """
    if array.ndim == 2:
        return array, []
    visible = array[..., :3] if array.shape[2] >= 3 else array[..., :1]
    if array.shape[2] in (2, 4) and visible.min() == visible.max() and array[..., -1].min() != array[..., -1].max():
        raise PrepareError(
            f"{path.name}: the mask lies in the transparency (alpha) channel, the visible channels are constant; "
            "save it as one gray channel whose numbers are the labels."
        )
    if visible.shape[2] == 3 and not (visible == visible[..., :1]).all():
        return _one_colour(path, visible)
    return np.ascontiguousarray(visible[..., 0]), []


def _one_colour(path: Path, visible: NDArray[Any]) -> tuple[NDArray[np.uint8], list[str]]:
    """Give 1 where a picture of black and one colour has that colour.

    visible: (H, W, 3), blue first.

    Raises:
        PrepareError: several colours, or no black; which of them is which label is not for us to guess.
    """
    colours = np.unique(visible.reshape(-1, 3), axis=0)
    named = ["#" + "".join(f"{int(value):02x}" for value in colour[::-1]) for colour in colours]
    if len(colours) == 2 and not colours[0].any():
        return np.asarray(visible.any(axis=2), np.uint8), [f"the colour {named[1]} on black taken as label 1"]
    shown = ", ".join(named[:4]) + (", ..." if len(named) > 4 else "")
    raise PrepareError(
        f"{path.name}: a mask in colours ({len(colours)} of them: {shown}); which one is which label, and which is no "
        "object, it does not say: save it with one channel whose numbers are the labels, or one colour on black."
    )


def _cut_jpeg(path: Path, mask: NDArray[Any]) -> NDArray[np.uint8]:
    cut = (mask >= 128).astype(np.uint8)
    white = int(mask.max(initial=0))
    if 0 < white < 128:
        raise PrepareError(
            f"{path.name}: a JPEG whose brightest value is {white}: classes as small numbers, which JPEG does not "
            "keep; export the mask as PNG."
        )
    flat = plateaus_between(mask, _GRAY_FROM, _GRAY_TO)
    if flat > max(16, 0.1 * int(np.count_nonzero(cut))):
        raise PrepareError(
            f"{path.name}: a JPEG with areas of gray between black and white ({flat} pixels): several classes, whose "
            "numbers JPEG does not keep; export the mask as PNG."
        )
    return cut


# --- files -------------------------------------------------------------------------------------------------


def _open(path: Path) -> _Opened:
    """Read a file whole, and decode it once with Pillow to find out whether it is whole.

    Raises:
        PrepareError: empty, cut off or damaged, several pages, or larger than can be used.
    """
    content = path.read_bytes()
    if not content:
        raise PrepareError(f"{path.name}: the file is empty; copy it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's words about odd metadata; what matters is raised
            image = Image.open(io.BytesIO(content))
            _check_size(path, *image.size)
            pages = int(getattr(image, "n_frames", 1))
            if image.format == "TIFF" and pages > 1:
                raise PrepareError(
                    f"{path.name}: {pages} pages in one TIFF; save it as a volume (NIfTI, NRRD) or one file each."
                )
            # OpenCV and Pillow turn a TIFF themselves, both as its tag says.
            orientation = UPRIGHT if image.format == "TIFF" else _orientation_of(image)
            image.load()
    except PrepareError:
        raise
    except UnidentifiedImageError as error:
        if suffix_of(path) in (".tif", ".tiff"):  # kinds of TIFF that only OpenCV knows
            return _Opened(content, None, UPRIGHT)
        raise PrepareError(f"{path.name}: no readable image; copy the file again or save it anew as PNG.") from error
    except Exception as error:  # Pillow raises whatever a damaged file leads to
        if suffix_of(path) in (".tif", ".tiff") and "truncated" not in str(error):
            return _Opened(content, None, UPRIGHT)  # kinds of TIFF that only OpenCV knows
        raise PrepareError(
            f"{path.name}: cut off or damaged ({error}); copy it again or save it anew as PNG."
        ) from error
    if image.format == "PNG" and b"IEND" not in content[-64:] and b"IEND" not in content:
        raise PrepareError(f"{path.name}: cut off: the end mark is missing; copy it again.")
    return _Opened(content, image, orientation)


def _check_size(path: Path, width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_SLICE_PIXELS):
        raise PrepareError(
            f"{path.name}: {width} x {height} pixels; at most {MAX_SIDE:,} a side and {MAX_SLICE_PIXELS:,} can be "
            "used. Damaged, or cut it into tiles."
        )


def _orientation_of(image: Image.Image) -> int:
    try:
        found = int(image.getexif().get(ORIENTATION_TAG, UPRIGHT))
    except Exception:  # metadata that are nonsense turn nothing
        return UPRIGHT
    return found if 1 <= found <= 8 else UPRIGHT


def _decode(path: Path, opened: _Opened) -> NDArray[Any]:
    """Give OpenCV's pixels as stored: (H, W), or (H, W, channels) blue first."""
    try:
        # Where Pillow did not see that it is whole, it may do anything to the decoder.
        is_known = opened.image is not None
        image = _decode_bytes(opened.content) if is_known else isolated(_decode_bytes, opened.content)
    except CrashedError as error:
        raise PrepareError(f"{path.name}: {error}.") from error
    except cv2.error as error:
        raise PrepareError(f"{path.name}: no readable image: {error.err}; save it anew as PNG.") from error
    if image is None or image.size == 0:
        raise PrepareError(f"{path.name}: no readable image; copy the file again or save it anew as PNG.")
    return image


def _decode_bytes(content: bytes) -> NDArray[Any] | None:
    image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return image


def _turn_upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Give (H, W, ...) as EXIF's orientation 1 to 8 wants it shown."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)
