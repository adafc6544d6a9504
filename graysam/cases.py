"""What a case is, whatever file it came from: an image or a volume with its boxes, plain data; numpy only.

The readers in `graysam.formats` make cases, and clean their pixels with `clean_image` and their boxes with
`graysam.boxes.clean_boxes`. What takes a case may therefore trust it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, Notes, VolumeBox
from graysam.corrections import Corrections
from graysam.errors import CaseError

# OpenCV's remapping counts in 16 bits; an image of 2**28 pixels (16384 x 16384) takes about 3 GB on its way
# through.
MAX_SIDE = 32767
MAX_SLICE_PIXELS = 2**28
LARGEST_LABEL = 65535  # labels have 16 bits
MAX_BOXES = LARGEST_LABEL  # label 0 is background and label i + 1 box i

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
Labels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
Kind = Literal["2D", "3D"]
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


@dataclass(frozen=True, eq=False)
class Original:
    """The values of a case before its intensity window, for programs that show them.

    Attributes:
        values: of the shape of the case's image, any integer or float dtype, finite.
        low, high: the values that became 0 and 255.
    """

    values: NDArray[Any]
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ImageCase:
    """One image with its boxes, checked and cleaned.

    Attributes:
        name: what the case is called: the file's name without what its format adds.
        path: where it came from, None when it was made in memory.
        image: (H, W) or (H, W, 3); uint8, or float32 where the file's values do not fit. Finite.
        boxes: in the file's order, inside the image, in original pixels.
        spacing_mm: distance of pixel centres along z, y, x, or None when the file has none that makes sense.
        warnings: what was changed or looked odd, in words.
        notes: what was decided, in words: the intensity window, say.
        box_names: a name for each box, () where the file names none.
        original: the values before their window, where the reader was told to keep them and there was a window.
        corrections: clicks, and the earlier answer that they correct; None where the file has no clicks.
    """

    kind: ClassVar[Kind] = "2D"
    name: str
    path: Path | None
    image: Pixels
    boxes: tuple[Box, ...]
    spacing_mm: tuple[float, float, float] | None = None
    warnings: Notes = ()
    notes: Notes = ()
    box_names: Notes = ()
    original: Original | None = None
    corrections: Corrections | None = None

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Give the shape of the label map, (H, W)."""
        return self.image.shape[:2]

    @property
    def modality(self) -> Modality | None:
        """Give the modality that the name tells, if any."""
        return modality_of(self.name)


@dataclass(frozen=True, eq=False)
class VolumeCase:
    """One volume with its boxes, checked and cleaned.

    Attributes:
        image: (D, H, W); uint8, or float32 where the file's values do not fit. Finite.
        boxes: in the file's order, inside the volume, in original voxels.
        spacing_mm: distance of voxel centres along z, y, x, or None when the file has none that makes sense.
        name, path, warnings, notes, box_names, original, corrections: as in `ImageCase`.
    """

    kind: ClassVar[Kind] = "3D"
    name: str
    path: Path | None
    image: Pixels
    boxes: tuple[VolumeBox, ...]
    spacing_mm: tuple[float, float, float] | None = None
    warnings: Notes = ()
    notes: Notes = ()
    box_names: Notes = ()
    original: Original | None = None
    corrections: Corrections | None = None

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Give the shape of the label map, (D, H, W)."""
        return self.image.shape

    @property
    def modality(self) -> Modality | None:
        """Give the modality that the name tells, if any."""
        return modality_of(self.name)


Case: TypeAlias = ImageCase | VolumeCase


# --- names ------------------------------------------------------------------------------------------------------------


def case_kind(name: str) -> Kind | None:
    """Give what a file name claims of the dimension, None when it claims nothing."""
    if name.startswith("2D"):
        return "2D"
    return "3D" if name.startswith("3D") else None


def modality_of(name: str) -> Modality | None:
    """Give the modality that a file name tells first, in whatever spelling; None when it tells none."""
    match = _modality_pattern().search(Path(name).name)
    if match is None or match.lastindex is None:
        return None
    return _SPELLINGS[match.lastindex - 1][0]


@cache
def _modality_pattern() -> re.Pattern[str]:
    # Made when a modality is asked for: the start of a prediction is timed, and most ask for none.
    spellings = "|".join(f"({spelling})" for _, spelling in _SPELLINGS)
    return re.compile(f"(?<![A-Za-z])(?:{spellings})(?![A-Za-z])", re.IGNORECASE)


# --- pixels and labels ------------------------------------------------------------------------------------------------


def check_size(shape: tuple[int, ...], *, size_hw: tuple[int, int], field: str) -> None:
    """Refuse what is empty, or larger than the way from file to mask can carry.

    Args:
        shape: of the whole array.
        size_hw: height and width of one slice.
        field: what the array is called in messages.

    Raises:
        CaseError: empty or too large.
    """
    height, width = size_hw
    if math.prod(shape) == 0:
        raise CaseError(f"{field} is empty, shape {shape}.")
    if max(height, width) > MAX_SIDE or height * width > MAX_SLICE_PIXELS:
        raise CaseError(
            f"{field} has shape {shape}; a slice may have {MAX_SLICE_PIXELS:,} pixels and sides of {MAX_SIDE:,}."
        )


def clean_image(pixels: NDArray[Any], *, field: str) -> tuple[Pixels, Notes]:
    """Give the pixels as uint8 where that is exact, else as finite float32, with a note for each change.

    Pixels that are not finite become the nearest finite extreme (NaN: the minimum).

    Args:
        pixels: of any shape and any integer or float dtype; may be changed.
        field: what the array is called in messages.

    Raises:
        CaseError: no numbers, or no finite value among them.
    """
    if pixels.dtype == np.uint8:
        return pixels, ()
    if pixels.dtype.kind == "b":
        return pixels.view(np.uint8), ()
    if pixels.dtype.kind not in "uif":
        raise CaseError(f"{field} has dtype {pixels.dtype}, wanted integers or floats with values 0 to 255.")
    notes: list[str] = []
    integers = pixels.dtype.kind != "f"
    if not integers:
        with np.errstate(over="ignore"):  # beyond float32 counts as infinite
            pixels = pixels.astype(np.float32, copy=False)
    low, high = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        pixels, low, high = _replace_non_finite(pixels, field, notes)
    if low < 0 or high > 255:
        notes.append(
            f"{field} has values from {low:g} to {high:g}, expected 0 to 255; its own range is used. Window "
            "CT beforehand"
        )
    elif integers:
        return pixels.astype(np.uint8), tuple(notes)
    return pixels.astype(np.float32, copy=False), tuple(notes)


def _replace_non_finite(
    pixels: NDArray[np.float32], field: str, notes: list[str]
) -> tuple[NDArray[np.float32], float, float]:
    """Give the pixels with NaN and -inf at the finite minimum, +inf at the maximum, and both values."""
    finite = np.isfinite(pixels)
    if not finite.any():
        raise CaseError(f"{field} holds no finite value (all are NaN or infinite).")
    low = float(pixels.min(where=finite, initial=np.inf))
    high = float(pixels.max(where=finite, initial=-np.inf))
    notes.append(
        f"{pixels.size - int(finite.sum())} pixels are NaN or infinite; replaced by the range's ends {low:g}, {high:g}"
    )
    return np.nan_to_num(pixels, copy=False, nan=low, neginf=low, posinf=high), low, high


def label_dtype(n_labels: int) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
    """Give the smallest dtype that holds labels 0 to `n_labels`: uint8 up to 255, uint16 up to 65,535.

    Raises:
        CaseError: more labels than 16 bits hold.
    """
    if n_labels > LARGEST_LABEL:
        raise CaseError(f"{n_labels:,} labels do not fit 16 bits; at most {LARGEST_LABEL:,} do.")
    return np.dtype(np.uint8) if n_labels <= np.iinfo(np.uint8).max else np.dtype(np.uint16)


def narrow_labels(labels: NDArray[np.integer[Any]]) -> Labels:
    """Give a label map as uint8 while it fits, else as uint16.

    Raises:
        CaseError: not integers, not (H, W) or (D, H, W), negative, or beyond 16 bits.
    """
    if labels.dtype.kind not in "ui" or labels.ndim not in (2, 3):
        raise CaseError(
            f"labels of shape {labels.shape} and dtype {labels.dtype}, wanted integers (H, W) or (D, H, W)."
        )
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0:
        raise CaseError(f"the negative label {low}.")
    if label_dtype(high) == np.uint8:
        return labels.astype(np.uint8, copy=False)
    return labels.astype(np.uint16, copy=False)
