"""Boxes that people draw, and their cleaning: plain data in pixels of the original image; numpy only.

Files and the Python API hand over numbers; `clean_boxes` makes boxes of them, once, and tells what it changed. Whoever
gets a `Box` or `VolumeBox` may trust it.

Boxes are x_min, y_min, x_max, y_max with *inclusive* maxima, so that a box of one pixel has x_min == x_max, and the
area that a box covers reaches from x_min to x_max + 1 when pixel edges are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graysam.errors import CaseError

Notes = tuple[str, ...]


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels, maxima inclusive; the frame stands in the variable's name."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def numbers(self) -> tuple[float, ...]:
        """Give x_min, y_min, x_max, y_max, as the challenge's files store them."""
        return self.x_min, self.y_min, self.x_max, self.y_max

    def as_array(self) -> NDArray[np.float32]:
        """Give (4,) float32 in the order x_min, y_min, x_max, y_max."""
        return np.array([self.x_min, self.y_min, self.x_max, self.y_max], np.float32)

    @property
    def centre(self) -> tuple[float, float]:
        """Give x and y of the middle, in pixels counted at their centres."""
        return (self.x_min + self.x_max) / 2, (self.y_min + self.y_max) / 2

    @property
    def width(self) -> float:
        """Give the number of columns."""
        return self.x_max - self.x_min + 1

    @property
    def height(self) -> float:
        """Give the number of rows."""
        return self.y_max - self.y_min + 1

    @classmethod
    def about(cls, centre: tuple[float, float], *, width: float, height: float) -> Box:
        """Give the box of a size about a centre; of at least one pixel."""
        half_width, half_height = (max(1.0, width) - 1) / 2, (max(1.0, height) - 1) / 2
        x, y = centre
        return cls(x - half_width, y - half_height, x + half_width, y + half_height)

    def within(self, size_hw: tuple[int, int]) -> Box:
        """Cut the box at the borders of an image; one wholly outside becomes the nearest border pixels."""
        height, width = size_hw
        x_min, x_max = (min(max(0.0, side), width - 1.0) for side in (self.x_min, self.x_max))
        y_min, y_max = (min(max(0.0, side), height - 1.0) for side in (self.y_min, self.y_max))
        return Box(x_min, y_min, x_max, y_max)

    def holding(self, x: float, y: float) -> Box:
        """Give the smallest box that holds this one and a pixel."""
        return Box(min(self.x_min, x), min(self.y_min, y), max(self.x_max, x), max(self.y_max, y))


@dataclass(frozen=True)
class VolumeBox:
    """The box of an object on one of its slices, and the slices that it spans, both ends included.

    Attributes:
        box: where the object is on its key slice.
        z_min, z_max: its first and last slice.
        z_box: the key slice, where that is not the middle one.
    """

    box: Box
    z_min: int
    z_max: int
    z_box: int | None = None

    @property
    def key_slice(self) -> int:
        """Give the slice that the box is of: the middle, the lower one of two, unless it is said to be another."""
        return (self.z_min + self.z_max) // 2 if self.z_box is None else self.z_box

    @property
    def numbers(self) -> tuple[float, ...]:
        """Give x_min, y_min, z_min, x_max, y_max, z_max, as the challenge's files store them."""
        flat = self.box
        return flat.x_min, flat.y_min, self.z_min, flat.x_max, flat.y_max, self.z_max

    def place(self, z: int) -> float:
        """Tell where slice `z` lies: 0 in the middle, within -1 and 1 on the object's slices, beyond them outside.

        Where the box is of another slice than the middle, that slice has 0, and both sides are stretched to their ends.
        """
        if self.z_box is not None:
            return (z - self.z_box) / ((self.z_max - self.z_box if z > self.z_box else self.z_box - self.z_min) + 0.5)
        return (z - (self.z_min + self.z_max) / 2) / ((self.z_max - self.z_min + 1) / 2)

    def cross_section(self, z: int) -> Box:
        """Give the box round slice `z` of the ellipsoid that touches the sides of this box; one pixel beyond them."""
        share = ellipsoid_share(self.place(z))
        return Box.about(self.box.centre, width=share * self.box.width, height=share * self.box.height)


def ellipsoid_share(place: float) -> float:
    """Give how wide an ellipsoid is at a place along its axis, by its middle: 1 at 0, and 0 from -1 and 1 outwards."""
    return math.sqrt(max(0.0, 1 - place * place))


def box_around(mask: NDArray[np.bool_]) -> Box | None:
    """Give the smallest box that holds every true pixel of a (H, W) mask, or None for an empty one."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))


def volume_box_around(mask: NDArray[np.bool_]) -> VolumeBox | None:
    """Give the box of a (D, H, W) mask: tight on its middle slice, with all its slices; None for an empty mask.

    The middle is (z_min + z_max) // 2. Where the object leaves it out (a ring on edge, two pieces), the nearest slice
    that has the object is taken, the lower one of two.
    """
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    if filled.size == 0:
        return None
    first, last = int(filled[0]), int(filled[-1])
    nearest = int(filled[np.argmin(np.abs(filled - (first + last) // 2))])
    box = box_around(mask[nearest])
    assert box is not None
    return VolumeBox(box, first, last)


# --- from numbers to boxes --------------------------------------------------------------------------------------------


def box_numbers(boxes: Iterable[Box] | Iterable[VolumeBox] | ArrayLike, *, columns: int) -> NDArray[np.float64]:
    """Give boxes, or what a caller has in their place, as (N, columns) numbers in the order of the challenge's files.

    columns: 4 for an image, 6 for a volume.

    Raises:
        CaseError: no table of numbers of that width.
    """
    listed: list[Box | VolumeBox | Sequence[float]] = list(boxes)  # type: ignore[arg-type]
    rows = [each.numbers if isinstance(each, Box | VolumeBox) else each for each in listed]
    try:
        # float64 holds every pixel coordinate exactly and has no unsigned wrap-around
        numbers = np.array(rows, np.float64) if rows else np.zeros((0, columns))
    except (TypeError, ValueError) as cause:
        raise CaseError(f"boxes: not a table of numbers ({cause}).") from cause
    if numbers.ndim != 2 or numbers.shape[1] != columns:
        raise CaseError(f"boxes: wanted shape (N, {columns}), found {numbers.shape}.")
    return numbers


@overload
def clean_boxes(
    numbers: NDArray[np.float64], *, size_hw: tuple[int, int], depth: None = None
) -> tuple[tuple[Box, ...], Notes]: ...
@overload
def clean_boxes(
    numbers: NDArray[np.float64], *, size_hw: tuple[int, int], depth: int
) -> tuple[tuple[VolumeBox, ...], Notes]: ...
def clean_boxes(
    numbers: NDArray[np.float64], *, size_hw: tuple[int, int], depth: int | None = None
) -> tuple[tuple[Box, ...] | tuple[VolumeBox, ...], Notes]:
    """Make boxes of numbers: in order, inside the image, with a note for each kind of change.

    Fractions stay in x and y, whose boxes are floats anyway, and are rounded to the nearest slice in z.

    Args:
        numbers: (N, 4) as x_min, y_min, x_max, y_max, or (N, 6) as x_min, y_min, z_min, x_max, y_max, z_max; pixels
            counted from 0, maxima inclusive. Six numbers for an image are those of a volume of one slice.
        size_hw: height and width of the image or slice.
        depth: number of slices, None for an image.

    Returns:
        `Box`es for an image, `VolumeBox`es for a volume, in the given order; and the notes.

    Raises:
        CaseError: a box with NaN, or wholly outside the image; boxes in shares of the image instead of pixels.
    """
    if len(numbers) == 0:
        return (), ()
    n_axes = numbers.shape[1] // 2
    _refuse_shares(numbers, n_axes, size_hw)
    last = np.array([size_hw[1], size_hw[0], depth or 1], np.float64)[:n_axes] - 1
    given_low, given_high = numbers[:, :n_axes], numbers[:, n_axes:]
    low, high = np.minimum(given_low, given_high), np.maximum(given_low, given_high)
    if n_axes == 3:  # whole slices first, so that z_max = depth - 0.6 is not thought outside
        low[:, 2], high[:, 2] = np.rint(low[:, 2]), np.rint(high[:, 2])
    image = f"width {size_hw[1]}, height {size_hw[0]}" + ("" if depth is None else f", depth {depth}")
    lost = ~np.all((high >= 0) & (low <= last), axis=1)  # NaN compares false, so it is lost too
    if lost.any():
        index = int(np.flatnonzero(lost)[0])
        reason = "is not a number" if np.isnan(numbers[index]).any() else "lies wholly outside the image"
        raise CaseError(
            f"box {index} {_in_words(numbers[index])} {reason}; the image has {image}, and coordinates count from 0."
        )
    changes = (
        (np.any(numbers != np.rint(numbers), axis=1), "fractional; x and y are used as they are, z is rounded"),
        (np.any(given_low > given_high, axis=1), "minimum and maximum swapped; put in order"),
        (np.any((low < 0) | (high > last), axis=1), f"partly outside the image of {image}; clipped"),
    )
    notes = tuple(_note(rows, numbers, what) for rows, what in changes if rows.any())
    low, high = np.clip(low, 0, last), np.clip(high, 0, last)
    flat = (Box(*map(float, (*start[:2], *end[:2]))) for start, end in zip(low, high, strict=True))
    if depth is None:
        return tuple(flat), notes
    spans = zip(flat, low[:, 2], high[:, 2], strict=True)
    return tuple(VolumeBox(box, int(z_min), int(z_max)) for box, z_min, z_max in spans), notes


def _refuse_shares(numbers: NDArray[np.float64], n_axes: int, size_hw: tuple[int, int]) -> None:
    """Refuse boxes of which every x and y lies within 0..1 and some are fractions: no object is that small.

    Raises:
        CaseError: with the remedy.
    """
    sides = numbers[:, [0, 1, n_axes, n_axes + 1]]
    if np.all((sides >= 0) & (sides <= 1)) and np.any(sides != np.rint(sides)) and min(size_hw) > 2:
        raise CaseError(
            f"box 0 {_in_words(numbers[0])} looks normalised: all x and y lie between 0 and 1; multiply x by the width "
            f"{size_hw[1]} and y by the height {size_hw[0]} of the image."
        )


def _note(rows: NDArray[np.bool_], numbers: NDArray[np.float64], what: str) -> str:
    """Give one line for all the boxes of `rows`, showing the first."""
    first = int(np.flatnonzero(rows)[0])
    return f"{int(rows.sum())} of {len(numbers)} boxes {what} (first: box {first} {_in_words(numbers[first])})"


def _in_words(box: NDArray[np.float64]) -> str:
    return "[" + ", ".join(f"{value:.12g}" for value in box) + "]"
