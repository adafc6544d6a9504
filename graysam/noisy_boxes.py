"""Owns how the sides of a box are shifted: a noisy box is a box that fits its object only roughly.

Boxes that people or programs draw are noisy. The challenge's own boxes are off by up to 5 pixels of an image of 256.
Training, calibration, validation and the making of cases each draw the shifts in their own way, and apply them here;
numpy only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box

REFERENCE_SIDE_PX: Final = 256
"""Shifts are stated in pixels of an image whose longer side has this many."""

LARGEST_SHIFT_PX: Final = 5
"""How far a side of the challenge's boxes is off at most, in its training script and in its test data."""

OUTWARDS: Final = np.array([-1, -1, 1, 1])
"""Turns four distances from 0 on into shifts away from the middle of the box."""


def reference_pixel(size_hw: tuple[int, int]) -> float:
    """Give how many pixels of an image make one pixel of the reference size."""
    return max(size_hw) / REFERENCE_SIDE_PX


def shifted(box: Box, shifts: NDArray[Any], size_hw: tuple[int, int], *, whole: bool = False) -> Box:
    """Add a shift to each side, and cut the box at the borders of the image.

    Args:
        box: in pixels of the image.
        shifts: (4,) pixels, added to x_min, y_min, x_max, y_max.
        size_hw: of the image.
        whole: round the new sides to whole pixels, as boxes of files are.

    Returns:
        The box; shifts inwards may turn it inside out (a minimum above its maximum), which the caller has to refuse.
    """
    sides = box.as_array() + shifts
    x_min, y_min, x_max, y_max = (float(side) for side in (np.rint(sides) if whole else sides))
    return Box(max(0.0, x_min), max(0.0, y_min), min(size_hw[1] - 1.0, x_max), min(size_hw[0] - 1.0, y_max))


def drawn_until_half_is_left(box: Box, draw: Callable[[], Box | None], *, tries: int) -> Box:
    """Draw noisy versions of a box until one keeps at least half of its width and of its height.

    An object of a few pixels would otherwise get a box that does not touch it, which is no prompt at all.

    Args:
        box: the tight one.
        draw: gives a noisy version; None stands for one that cannot be used.
        tries: draws before the tight box itself is given.
    """
    for _ in range(tries):
        drawn = draw()
        if drawn is not None and drawn.width >= box.width / 2 and drawn.height >= box.height / 2:
            return drawn
    return box


def loosened(box: Box, *, margin: int, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    """Move each side outwards by a random 0 to `margin` pixels of the reference size, whole pixels of the image."""
    drawn = rng.integers(0, margin + 1, 4)
    distances = np.rint(drawn * reference_pixel(size_hw))
    return shifted(box, distances * OUTWARDS, size_hw)
