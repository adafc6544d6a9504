"""What a person says of an earlier answer: clicks on objects, and that answer; plain data and its cleaning, numpy only.

Files and the Python API hand over points and labels; `clean_corrections` makes `Corrections` of them, once, and tells
what it changed. Whoever gets `Corrections` may trust them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graysam.boxes import Notes, VolumeBox
from graysam.errors import CaseError
from graysam.prompts import Click

MOST_CLICKS: Final = 1000
"""Clicks of one object; more are no person's, and each is drawn on the map that the decoder is shown."""


@dataclass(frozen=True)
class VolumeClick:
    """A voxel that a person pointed at: the click, and its slice."""

    click: Click
    z: int

    @property
    def numbers(self) -> tuple[float, float, int, bool]:
        """Give x, y, z, and whether it belongs to the object."""
        return self.click.x, self.click.y, self.z, self.click.is_inside


ObjectClicks = Sequence[Sequence[VolumeClick]]
"""Clicks of each object, in the order of the labels."""


@dataclass(frozen=True, eq=False)
class Corrections:
    """Clicks on the objects of a case, and the answer that they correct.

    Attributes:
        clicks: for each box, in order; () where there is nothing to say. In an image all lie on slice 0.
        previous: labels of the case's shape, (H, W) or (D, H, W): i + 1 inside the object of box i; None where there
            was no answer yet.
    """

    clicks: tuple[tuple[VolumeClick, ...], ...]
    previous: NDArray[np.integer[Any]] | None = None

    def clicks_on(self, index: int, z: int = 0) -> tuple[Click, ...]:
        """Give the clicks of one object on one slice."""
        return tuple(each.click for each in self.clicks[index] if each.z == z)

    def clicked_slices(self, index: int) -> tuple[int, ...]:
        """Give the slices with clicks of one object, in order."""
        return tuple(sorted({each.z for each in self.clicks[index]}))

    def previous_on(self, index: int, z: int = 0) -> NDArray[np.bool_] | None:
        """Give an object's earlier answer on one slice, (H, W); None where there was none, or it is empty there."""
        if self.previous is None:
            return None
        plane = self.previous if self.previous.ndim == 2 else self.previous[z]
        mask = plane == index + 1
        return mask if mask.any() else None


def clean_corrections(
    clicks: Sequence[Sequence[VolumeClick | Click | Sequence[float]]] | None,
    previous: ArrayLike | None,
    *,
    boxes: int | Sequence[VolumeBox],
    label_shape: tuple[int, ...],
) -> tuple[Corrections | None, Notes]:
    """Make corrections of what a caller or a file says; None where it says nothing.

    Args:
        clicks: for each box its clicks: x, y, is_inside in an image, x, y, z, is_inside in a volume; pixels counted
            from 0, fractions allowed in x and y, z rounded. None: no clicks at all.
        previous: labels of the case's shape, i + 1 inside the object of box i; None: no earlier answer.
        boxes: of a volume its boxes, of an image their number.
        label_shape: (H, W) or (D, H, W).

    Returns:
        The corrections, and a note for each kind of change.

    Raises:
        CaseError: another number of lists than of boxes, a click that is no place or lies outside the image, an earlier
            answer of another shape or with labels that no box has, or one without any click to correct it.
    """
    count = boxes if isinstance(boxes, int) else len(boxes)
    lists = [] if clicks is None else list(clicks)
    if lists and len(lists) != count:
        raise CaseError(f"clicks: wanted a list for each of {count} boxes, found {len(lists)}.")
    cleaned = [
        [_clean(each, label_shape, f"clicks of box {index}") for each in listed] for index, listed in enumerate(lists)
    ]
    for index, listed in enumerate(cleaned):
        if len(listed) > MOST_CLICKS:
            raise CaseError(f"clicks of box {index}: {len(listed):,}; at most {MOST_CLICKS:,} are taken.")
    notes: list[str] = []
    if not isinstance(boxes, int):
        cleaned = [_on_its_slices(listed, boxes[index], index, notes) for index, listed in enumerate(cleaned)]
    labels = None if previous is None else _clean_labels(previous, label_shape, count)
    if not any(cleaned):
        if labels is not None and labels.any():
            notes.append("an earlier answer without clicks corrects nothing; it is not used")
        return None, tuple(notes)
    return Corrections(tuple(tuple(listed) for listed in cleaned), labels), tuple(notes)


def _clean(given: VolumeClick | Click | Sequence[float], label_shape: tuple[int, ...], name: str) -> VolumeClick:
    """Make one click of what stands for it."""
    is_volume = len(label_shape) == 3
    if isinstance(given, VolumeClick):
        numbers: Sequence[float] = given.numbers
    elif isinstance(given, Click) and not is_volume:
        numbers = given.x, given.y, 0, given.is_inside
    else:
        numbers = _numbers(given, name, wanted="x, y, z, is_inside" if is_volume else "x, y, is_inside")
    x, y, z, is_inside = numbers
    limits = (label_shape[-1], label_shape[-2], label_shape[0] if is_volume else 1)
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise CaseError(f"{name}: x {x}, y {y}, z {z} is no place; wanted numbers.")
    z = round(z)
    if not all(0 <= value <= limit - 1 for value, limit in zip((x, y, z), limits, strict=True)):
        place = f"x {x:g}, y {y:g}" + (f", z {z:g}" if is_volume else "")
        size = f"width {limits[0]}, height {limits[1]}" + (f", depth {limits[2]}" if is_volume else "")
        raise CaseError(f"{name}: {place} lies outside the image of {size}; coordinates count from 0.")
    return VolumeClick(Click(float(x), float(y), bool(is_inside)), z)


def _numbers(given: object, name: str, *, wanted: str) -> list[float]:
    """Give x, y, z and is_inside of a sequence, with z 0 for an image."""
    try:
        values = [float(value) for value in given]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as cause:
        raise CaseError(f"{name}: wanted {wanted}, found {given!r:.60}.") from cause
    count = len(wanted.split(", "))
    if len(values) != count or values[-1] not in (0, 1):
        raise CaseError(f"{name}: wanted {wanted} (true or false), found {given!r:.60}.")
    return values if count == 4 else [*values[:2], 0.0, values[2]]


def _on_its_slices(clicks: list[VolumeClick], box: VolumeBox, index: int, notes: list[str]) -> list[VolumeClick]:
    """Leave out clicks beyond an object's first and last slice, where it is never looked for, with a note."""
    kept = [each for each in clicks if box.z_min <= each.z <= box.z_max]
    if len(kept) < len(clicks):
        notes.append(
            f"{len(clicks) - len(kept)} clicks of box {index} lie beyond its slices {box.z_min} to {box.z_max}; not "
            "used"
        )
    return kept


def _clean_labels(previous: ArrayLike, label_shape: tuple[int, ...], count: int) -> NDArray[np.integer[Any]]:
    """Check an earlier answer."""
    labels = np.asarray(previous)
    if labels.shape != label_shape or labels.dtype.kind not in "bui":
        raise CaseError(
            f"previous: wanted labels of shape {label_shape}, integers; found {labels.shape} of {labels.dtype}."
        )
    if labels.dtype.kind == "b":
        labels = labels.astype(np.uint8)
    if labels.size and (int(labels.max()) > count or int(labels.min()) < 0):
        raise CaseError(
            f"previous: holds labels {int(labels.min())} to {int(labels.max())}, but there are {count} boxes; wanted "
            "0, and i + 1 inside the object of box i."
        )
    return labels
