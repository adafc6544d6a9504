"""Boxes that people draw: plain data in pixels of the original image; numpy only.

Boxes are x_min, y_min, x_max, y_max with *inclusive* maxima, so that a box of one pixel has x_min == x_max, and the
area that a box covers reaches from x_min to x_max + 1 when pixel edges are counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels, maxima inclusive; the frame stands in the variable's name."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

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


@dataclass(frozen=True)
class VolumeBox:
    """The box of an object on its middle slice, and the slices that it spans, both ends included."""

    box: Box
    z_min: int
    z_max: int

    def cross_section(self, z: int) -> Box:
        """Give the box round slice `z` of the ellipsoid that touches the sides of this box; one pixel beyond them."""
        radius = (self.z_max - self.z_min + 1) / 2
        offset = (z - (self.z_min + self.z_max) / 2) / radius
        share = math.sqrt(max(0.0, 1 - offset * offset))
        return Box.about(self.box.centre, width=share * self.box.width, height=share * self.box.height)


def box_around(mask: NDArray[np.bool_]) -> Box | None:
    """Give the smallest box that holds every true pixel of a (H, W) mask, or None for an empty one."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))
