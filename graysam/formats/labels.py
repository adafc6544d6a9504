"""Tell label maps from what only looks like one, and say why: numpy only.

A label map holds small whole numbers in flat areas. Smoothing (resampling, JPEG, a soft brush) puts bands of other
numbers round an object; read as labels they would make one disc twenty objects.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.cases import LARGEST_LABEL
from graysam.errors import PrepareError

# Whole numbers that went through float32 and a scale miss by this much; a smoothed label misses by more.
ROUNDING = 1e-3

SoftMasks = Literal["refuse", "threshold", "keep"]

# A mask of black and white is at least this bright where it is white; below, numbers are labels.
SMALLEST_WHITE = 64
# What tells a smoothed mask from a map of many small cells, measured on both (600 maps of DSB2018; masks enlarged,
# shrunk, blurred, once JPEG): the share of pixels between black and white whose four neighbours have the same number
# (smoothed: below 0.01; maps: 0.09 and more), the share of pixels below white in the object (smoothed: below 0.5; maps:
# 0.97 and more), and the brightness beside black (blurred beyond that: 0.05 of white; maps: half of it).
FLAT_SHARE = 0.2
EDGE_SHARE = 0.9
FIRST_STEP = 0.15
# Beside white: 254 next to 255.
NEAR_WHITE = 0.95


def check_labels(labels: NDArray[Any], name: str, *, soft_masks: SoftMasks = "refuse") -> NDArray[Any]:
    """Give the labels as unsigned integers.

    Args:
        labels: (H, W) or (D, H, W).
        name: of the file.
        soft_masks: what becomes of a smoothed mask of one object: refused, cut at half of its maximum, or kept.

    Raises:
        PrepareError: fractions, negative numbers, numbers above 65,535, or a smoothed mask.
    """
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise PrepareError(f"{name}: labels must be numbers, got NaN or infinite ones; export it again.")
        whole = np.rint(labels)
        if soft_masks == "threshold" and _is_soft(labels, whole):
            return cut_at_half(labels)
        if float(np.abs(labels - whole).max(initial=0)) > ROUNDING:
            raise PrepareError(
                f"{name}: labels must be whole numbers, got fractions; was the mask resampled smoothly? Resample it "
                "without smoothing, or cut a mask of one object at half with --soft-masks threshold."
            )
        labels = whole
    elif labels.dtype.kind not in "uib":
        raise PrepareError(f"{name}: labels must be numbers, got dtype {labels.dtype}.")
    low, high = (float(labels.min()), float(labels.max())) if labels.size else (0.0, 0.0)
    if low < 0:
        raise PrepareError(
            f"{name}: labels must lie in 0..{LARGEST_LABEL}, got {low:g} (an 'ignore' or background number?); "
            "give what is no object the number 0."
        )
    if high > LARGEST_LABEL:
        raise PrepareError(f"{name}: labels must lie in 0..{LARGEST_LABEL}, got {low:g}..{high:g}.")
    if labels.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        labels = labels.astype(np.uint8 if high <= 255 else np.uint16)
    reason = smoothed(labels) if soft_masks != "keep" else ""
    if not reason:
        return labels
    if soft_masks == "threshold":
        return cut_at_half(labels)
    raise PrepareError(
        f"{name}: looks like a smoothed mask of one object, not like labels: {reason}; save it without smoothing (and "
        "not as JPEG), cut it at half with --soft-masks threshold, or say that they are labels with --soft-masks keep."
    )


def _is_soft(labels: NDArray[Any], whole: NDArray[Any]) -> bool:
    """Tell whether fractions are those of one object's share of each pixel, 0 to 1."""
    return bool(np.abs(labels - whole).max(initial=0) > ROUNDING and labels.min() >= 0 and labels.max() <= 1 + ROUNDING)


def cut_at_half(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Give 1 where the mask has more than half of its maximum."""
    return (mask > float(mask.max(initial=0)) / 2).astype(np.uint8)


def doubts_of_labels(stored: NDArray[Any], labels: NDArray[Any]) -> tuple[str, ...]:
    """Give what looks odd about labels that were accepted, in words.

    Args:
        stored: as the file has them.
        labels: what `check_labels` made of them.
    """
    told = []
    top = float(stored.max(initial=0))
    if int(labels.max(initial=0)) == 1 and top != 1:
        if np.unique(stored).size > 2:
            told.append(f"a smoothed mask, cut at half of its maximum {top:g}")
    elif int(labels.max(initial=0)) == 1 and stored.dtype.kind == "f" and np.abs(stored - labels).max() > ROUNDING:
        told.append("a smoothed mask, cut at half")
    numbers = np.unique(labels)
    if 255 in numbers and 1 < np.count_nonzero(numbers < 255) < 64:
        told.append("label 255 beside smaller ones: often 'ignore' or a border, not an object")
    if labels.size and numbers[0] > 0:
        told.append(f"no pixel is background (0), the lowest label is {numbers[0]}: is the mask inverted?")
    return tuple(told)


def smoothed(labels: NDArray[Any]) -> str:
    """Give why a map of whole numbers looks like a smoothed mask of black and white, "" when it does not.

    labels: (H, W) or (D, H, W) unsigned integers.
    """
    white = int(labels.max(initial=0))
    if white < SMALLEST_WHITE or labels.ndim not in (2, 3):
        return ""
    between = (labels > 0) & (labels < white)
    count = int(np.count_nonzero(between))
    if not count:
        return ""
    values = np.unique(labels[between])
    if white >= 200 and white - int(values[0]) <= white * (1 - NEAR_WHITE):
        return f"{values[0]}..{values[-1]} beside {white}"
    if np.count_nonzero(between & _like_neighbours(labels)) >= FLAT_SHARE * count:
        return ""
    is_edge = count <= EDGE_SHARE * np.count_nonzero(labels)
    if not is_edge and _first_step(labels) > FIRST_STEP * white:
        return ""
    return f"{values.size} gray levels in bands between 0 and {white}"


def _like_neighbours(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell where a pixel has the number of its four neighbours in the slice; beyond the border counts as alike."""
    alike = np.ones(labels.shape, bool)
    for axis in (-1, -2):
        same = np.diff(labels, axis=axis) == 0
        ends = [slice(None)] * labels.ndim
        ends[axis] = slice(1, None)
        alike[tuple(ends)] &= same
        ends[axis] = slice(None, -1)
        alike[tuple(ends)] &= same
    return alike


def _first_step(labels: NDArray[Any]) -> float:
    """Give the median number of the pixels that lie beside background, within the slice."""
    beside = []
    for axis in (-1, -2):
        ahead, behind = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
        beside += [ahead[behind == 0], behind[ahead == 0]]
    numbers = np.concatenate(beside)
    numbers = numbers[numbers > 0]
    return float(np.median(numbers)) if numbers.size else 0.0


def plateaus_between(mask: NDArray[np.uint8], low: int, high: int) -> int:
    """Give the number of pixels in flat areas of (H, W) whose numbers lie between black and white.

    Such areas are classes, not edges: a pixel counts when it and its four neighbours all lie within low..high.
    """
    inside = (mask >= low) & (mask <= high)
    core = inside.copy()
    core[1:] &= inside[:-1]
    core[:-1] &= inside[1:]
    core[:, 1:] &= inside[:, :-1]
    core[:, :-1] &= inside[:, 1:]
    return int(np.count_nonzero(core))
