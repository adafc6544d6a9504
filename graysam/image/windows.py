"""Bring intensities to 0..255 as the challenge's preparation scripts did, and say which window was used.

Facts (the organisers' `utils/README.md` and `pre_CT_MR.py`): CT by level and width, soft tissue 40/400, chest
-600/1500, brain 40/80; MR, ultrasound, mammography and OCT cut at the 0.5 and 99.5 percentile of the
foreground, background kept 0; colour images left alone while they are within 0..255. Results are cut off to
whole numbers, not rounded, as theirs.

Decided here: the bone window 400/1800 (the organisers name none; radiology's usual), SUV 0 to 10 for PET, and
that a window's ends map to 0 and 255 even if the volume does not reach them (their script stretches what is
there).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.errors import PrepareError

Units = Literal["HU", "SUV", "Bq/ml", "unknown"]
WindowKind = Literal["levels", "percentiles", "range", "as_is"]

# name: (level, width) in Hounsfield units
CT_WINDOWS: dict[str, tuple[float, float]] = {
    "soft_tissue": (40.0, 400.0),
    "lung": (-600.0, 1500.0),
    "brain": (40.0, 80.0),
    "bone": (400.0, 1800.0),
}
SUV_HIGHEST = 10.0
# A 99.9th percentile above this is no SUV by body weight but counts or Bq/ml.
SUV_PLAUSIBLE = 100.0
FOREGROUND_PERCENTILES = (0.5, 99.5)
# Values below 0 are tissue when their half per cent reaches this share of the top; ringing stays below.
SIGNED_SHARE = 0.05
# Padding goes down to -3024 or so, metal up to 30,000 and more.
HU_LOWEST, HU_HIGHEST = 10_000, 40_000
# A volume is taken for CT where at least this share is air or lung, and something is tissue.
AIR_HU, SOFT_TISSUE_HU, AIR_SHARE = -300, 60, 0.01
PIXELS_AT_ONCE = 1 << 22  # a large volume in float64 at once would take gigabytes

_BODY_PARTS = (
    ("lung", re.compile(r"lung|covid|pneumon|nodule|airway|lidc", re.IGNORECASE)),
    ("brain", re.compile(r"brain|head|stroke|h(a)?emorrhage|intracranial", re.IGNORECASE)),
    ("bone", re.compile(r"bone|spine|vertebra|\bribs?\b|fracture|skull", re.IGNORECASE)),
)


@dataclass(frozen=True)
class Window:
    """How intensities become 0..255.

    Attributes:
        name: "soft_tissue", "percentiles", "percentiles_signed" (of all voxels, not of those above 0), "suv", ...
        kind: "levels" maps low..high, in the file's unit; "percentiles" and "range" find them in the image.
        low, high: the intensities that become 0 and 255; NaN where the image decides.
        why: what led to this window, in words.
    """

    name: str
    kind: WindowKind
    low: float = float("nan")
    high: float = float("nan")
    why: str = ""

    def as_record(self) -> dict[str, Any]:
        """Give plain values for JSON; an unknown end is None."""
        record = asdict(self)
        for end in ("low", "high"):
            record[end] = None if np.isnan(record[end]) else float(record[end])
        return record


def ct_window(name: str, why: str) -> Window:
    """Give a CT window by name.

    Raises:
        PrepareError: no such window.
    """
    if name not in CT_WINDOWS:
        raise PrepareError(f"window {name!r}: wanted one of {sorted(CT_WINDOWS)}, or LEVEL/WIDTH such as 40/400.")
    level, width = CT_WINDOWS[name]
    return Window(name, "levels", level - width / 2, level + width / 2, why)


def parse_window(text: str) -> Window:
    """Read what a user asks for: a CT window's name, LEVEL/WIDTH, "percentiles", "suv", "range" or "as_is".

    Raises:
        PrepareError: none of these.
    """
    why = "as given"
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", text)
    if match:
        level, width = float(match[1]), float(match[2])
        if width <= 0:
            raise PrepareError(f"window {text!r}: the width must be above 0.")
        return Window(text, "levels", level - width / 2, level + width / 2, why)
    if text == "suv":
        return Window("suv", "levels", 0.0, SUV_HIGHEST, why)
    if text == "percentiles":
        return Window(text, "percentiles", why=why)
    if text == "range":
        return Window(text, "range", why=why)
    if text == "as_is":
        return Window(text, "as_is", why=why)
    return ct_window(text, why)


def choose_window(
    image: NDArray[Any], *, modality: str, is_volume: bool, named: str = "", units: Units = "unknown"
) -> Window:
    """Choose the window that the challenge would use.

    Args:
        image: (D, H, W), (H, W) or (H, W, 3).
        modality: canonical name ("CT", "MR", ...).
        is_volume: 8-bit *images* have been through a window already and stay as they are.
        named: names of data set and case, in which a body part may stand.
        units: what the file says of its values.
    """
    if not is_volume and image.dtype == np.uint8:
        return Window("as_is", "as_is", why="8-bit image")
    if not is_volume and image.ndim == 3:
        return Window("range", "range", why="colour image above 8 bit")
    if modality == "CT" and image.dtype != np.uint8 and (is_volume or units == "HU"):
        for part, pattern in _BODY_PARTS:
            found = pattern.search(named)
            if found:
                return ct_window(part, f"{found[0]!r} in the name")
        return ct_window("soft_tissue", "no other body part named")
    if modality == "PET" and is_volume and image.dtype != np.uint8:
        if units == "Bq/ml":
            return Window("percentiles", "percentiles", why="PET in Bq/ml")
        if units == "SUV" or float(np.percentile(image, 99.9)) <= SUV_PLAUSIBLE:
            return Window("suv", "levels", 0.0, SUV_HIGHEST, "PET in SUV" if units == "SUV" else "values look like SUV")
        return Window("percentiles", "percentiles", why="PET, but the values are no SUV")
    if _is_signed(image):
        return Window(
            "percentiles_signed", "percentiles", why=f"{modality or 'gray'} with values below 0: over all voxels"
        )
    return Window("percentiles", "percentiles", why=f"{modality or 'gray'} of unknown scale")


def looks_like_hu(image: NDArray[Any]) -> bool:
    """Tell whether values can hardly be anything but Hounsfield units: air far below 0, tissue and bone above.

    MR, ultrasound and counts have no such values; z-scored images stay within a few units of 0.
    """
    if image.dtype.kind == "u":
        return False
    low, high = float(image.min()), float(image.max())
    if not (-HU_LOWEST < low <= AIR_HU and SOFT_TISSUE_HU <= high < HU_HIGHEST):
        return False
    share = float(np.count_nonzero(image <= AIR_HU)) / image.size
    return share >= AIR_SHARE and share < 1 - AIR_SHARE


def _is_signed(image: NDArray[Any]) -> bool:
    """Tell whether values below 0 are tissue (z-scored MR, signed storage) and not the ringing of an interpolation."""
    if image.dtype.kind == "u" or float(image.min()) >= 0:
        return False
    low, high = (float(end) for end in np.percentile(image, FOREGROUND_PERCENTILES))
    return low < -SIGNED_SHARE * max(high, 0.0)


def doubts(
    image: NDArray[Any], *, modality: str, is_volume: bool, units: Units = "unknown", window: Window | None = None
) -> tuple[str, ...]:
    """Give what makes it doubtful that the values are what the modality claims, in words; () when they may be.

    Args:
        image: (D, H, W), (H, W) or (H, W, 3), before its window.
        modality: canonical name.
        is_volume: whether the image is (D, H, W).
        units: what the file says of its values.
        window: what it is to go through; doubts about a scale count only where the window relies on it.
    """
    low, high = float(image.min()), float(image.max())
    if low == high:
        return (f"every value is {low:g}: there is nothing to see",)
    relies = window is None or window.kind == "levels"
    if modality == "CT" and image.dtype != np.uint8 and relies and (is_volume or units == "HU"):
        return _doubts_of_ct(image, low, high)
    if modality == "PET" and is_volume and image.dtype != np.uint8:
        return _doubts_of_pet(image, low, units)
    if image.dtype.kind == "u" and image.dtype.itemsize > 1 and _is_wrapped(image, low, high):
        return ("values lie near 0 and near the type's end: negative numbers stored as unsigned?",)
    if modality == "MR" and window is not None and window.name == "percentiles_signed":
        return ("MR with values below 0 (z-scored?); the window runs over the whole range",)
    return ()


def _doubts_of_ct(image: NDArray[Any], low: float, high: float) -> tuple[str, ...]:
    if image.dtype.kind == "u" and _is_wrapped(image, low, high):
        return (f"CT from {low:g} to {high:g}: negative HU stored as unsigned numbers (64,536 for -1000)?",)
    if low >= 0 and high <= 1.0001:
        return (f"CT from {low:g} to {high:g}: no HU but scaled to 0..1; give --window range",)
    if low >= 0 and high <= 255:
        return (f"CT from {low:g} to {high:g}: no HU but gray values of 8 bits? Then give --window as_is",)
    if low >= 0:
        return (f"CT without a value below 0 ({low:g} to {high:g}): no HU, but HU + 1024 whose intercept was lost?",)
    if high - low <= 20:
        return (f"CT from {low:g} to {high:g}: no HU but normalised values; give --window range",)
    if low < -HU_LOWEST or high > HU_HIGHEST:
        return (f"CT from {low:g} to {high:g}: beyond what HU can be; is the scale lost?",)
    return ()


def _doubts_of_pet(image: NDArray[Any], low: float, units: Units) -> tuple[str, ...]:
    told = []
    top = float(np.percentile(image, 99.9))
    if units == "SUV" and top > SUV_PLAUSIBLE:
        told.append(f"PET in SUV reaches {top:g}: no SUV by body weight")
    elif units == "unknown" and top > SUV_PLAUSIBLE:
        told.append(f"PET reaches {top:g}: counts or Bq/ml, no SUV; a window by percentiles is used")
    if low < -0.05 * max(top, 1e-9):
        told.append(f"PET has values down to {low:g}: activity is never below 0")
    return tuple(told)


def _is_wrapped(image: NDArray[Any], low: float, high: float) -> bool:
    """Tell whether negative numbers were read as unsigned: most values lie near the type's two ends, few between."""
    end = float(np.iinfo(image.dtype).max)
    if image.dtype.kind != "u" or high < 0.9 * end or low > 0.1 * end:
        return False
    between = np.count_nonzero((image > 0.1 * end) & (image < 0.9 * end))
    near_end = np.count_nonzero(image >= 0.9 * end)
    return bool(between <= 0.001 * image.size and near_end >= 0.005 * image.size)


def apply_window(image: NDArray[Any], window: Window) -> tuple[NDArray[np.uint8], Window]:
    """Give the image as uint8, and the window with both ends filled in.

    A constant image becomes all zeros. Where percentiles are wanted and the foreground has one value, or there is none,
    the whole range counts.

    Raises:
        PrepareError: "as_is" for an image that is not within 0..255.
    """
    if window.kind == "as_is":
        if image.dtype != np.uint8 and (float(image.min()) < 0 or float(image.max()) > 255):
            raise PrepareError(
                f"window as_is: wanted values in 0..255, got {float(image.min()):g}..{float(image.max()):g}."
            )
        return image.astype(np.uint8, copy=False), Window("as_is", "as_is", 0.0, 255.0, window.why)
    low, high = window.low, window.high
    foreground = image > 0 if window.name != "percentiles_signed" else np.ones(image.shape, bool)
    if window.kind == "range":
        low, high = float(image.min()), float(image.max())
    elif window.kind == "percentiles":
        values = image[foreground]
        low, high = (float(end) for end in np.percentile(values, FOREGROUND_PERCENTILES)) if values.size else (0.0, 0.0)
        if low == high:  # a foreground of one value (a drawn picture, a mask) is seen against the rest
            low, high = float(image.min()), float(image.max())
    filled = Window(window.name, window.kind, low, high, window.why)
    if not high > low:
        return np.zeros(image.shape, np.uint8), filled
    scaled = np.empty(image.shape, np.uint8)
    step = max(1, PIXELS_AT_ONCE // max(1, int(np.prod(image.shape[1:]))))
    for start in range(0, image.shape[0], step):
        part = slice(start, start + step)
        # float64, multiplied last: the truncation then agrees with the challenge's script to the last unit.
        values = (np.clip(image[part].astype(np.float64), low, high) - low) / (high - low) * 255.0
        scaled[part] = values.astype(np.uint8)
    if window.kind == "percentiles":
        scaled[~foreground] = 0
    return scaled, filled
