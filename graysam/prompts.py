"""What a model is told of one object on one slice: owns `Prompt`, the only form in which prompts travel.

Training, calibration and prediction each make prompts; the frames of `graysam.models.frames` turn them into the arrays
that a decoder reads. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box
from graysam.errors import CaseError

BoxFit = Literal["unknown", "tight", "loose"]
"""How a box is said to fit its object: exactly, with room on each side as people draw it, or not said."""

USUAL_FIT: Final[BoxFit] = "loose"
"""What is taken for granted of a given box where nobody says: people and the challenge draw a little outside."""


@dataclass(frozen=True, eq=False)
class Neighbour:
    """The neighbouring slice of a volume, and the object that was found on it.

    Attributes:
        image: that slice as `slice_at` cuts it, (H, W) or (H, W, 3), of the size of the slice at hand.
        mask: (H, W), the object there, not empty.
    """

    image: NDArray[np.generic]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Click:
    """A pixel that a person pointed at: x and y in original pixels, and whether it belongs to the object."""

    x: float
    y: float
    is_inside: bool


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is known of one object that a model is to segment on one slice.

    Only the box is always there. A decoder reads the fields that it was trained with and ignores the others, so a new
    kind of knowledge is a further optional field here.

    Attributes:
        box: round the object, in original pixels of the slice.
        neighbour: the slice next to it with the object found there; None for images, and where nothing is known.
        others: (M, 4) x_min, y_min, x_max, y_max of the slice's other objects; a row equal to `box` counts as its own.
        clicks: pixels that belong to the object, or do not.
        previous: (H, W), an earlier answer for this object, which the clicks correct; None where there is none.
        place: of a volume, where the slice lies between the object's first (-1) and last (1) one; 0 for images.
        fit: how the box fits the object.
        seed: of what a decoder draws at random to see more of the object, in training; None at prediction, where all
            that is drawn follows from the box.
    """

    box: Box
    neighbour: Neighbour | None = None
    others: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    clicks: tuple[Click, ...] = ()
    previous: NDArray[np.bool_] | None = None
    place: float = 0.0
    fit: BoxFit = "unknown"
    seed: int | None = None

    @property
    def is_correction(self) -> bool:
        """Tell whether it asks for more than an answer to a box: it has clicks, or an earlier answer."""
        return bool(self.clicks) or self.previous is not None

    def check(self, size_hw: tuple[int, int], *, name: str) -> None:
        """Refuse clicks off the slice and an earlier answer of another size.

        Raises:
            CaseError: beginning with `name`.
        """
        height, width = size_hw
        for click in self.clicks:
            if not (math.isfinite(click.x) and math.isfinite(click.y)):
                raise CaseError(f"{name}: a click at x {click.x}, y {click.y} is no place; wanted numbers.")
            if not (0 <= click.x <= width - 1 and 0 <= click.y <= height - 1):
                raise CaseError(
                    f"{name}: a click at x {click.x:g}, y {click.y:g} lies outside the image of width {width}, height "
                    f"{height}; coordinates count from 0."
                )
        if self.previous is not None and self.previous.shape != size_hw:
            raise CaseError(f"{name}: the earlier answer has shape {self.previous.shape}, the image {size_hw}.")


def box_rows(boxes: Sequence[Box]) -> NDArray[np.float64]:
    """Give boxes as (N, 4) x_min, y_min, x_max, y_max, as `Prompt.others` holds them."""
    return np.array([box.numbers for box in boxes], np.float64).reshape(-1, 4)
