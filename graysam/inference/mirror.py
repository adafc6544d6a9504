"""A second look at an image, mirrored left to right: the mean of both answers is better than either.

A network answers a mirrored image a little differently, with mistakes of its own. The names of left and right mean
nothing to it, as half of the images are mirrored in training.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box
from graysam.models.registry import ENCODERS
from graysam.models.spec import ModelSpec
from graysam.prompts import Click, Neighbour, Prompt

Mirror = Literal["auto", "always", "never"]
"""When an image is looked at twice: "auto" where that takes little time, see `looks_twice`."""

Pixel = TypeVar("Pixel", bound=np.generic)

FEW_BOXES: Final = 7
"""Up to this number of boxes the second look takes a few hundredths of a second, less than loading the model."""


def looks_twice(mirror: Mirror, spec: ModelSpec, boxes: int) -> bool:
    """Tell whether an image with so many boxes is looked at twice."""
    if mirror == "auto":
        return ENCODERS[spec.encoder].is_quick and boxes <= FEW_BOXES
    return mirror == "always"


def mirrored_pixels(pixels: NDArray[Pixel]) -> NDArray[Pixel]:
    """Mirror (H, W) or (H, W, 3) left to right; a copy, as OpenCV wants rows without gaps."""
    return np.ascontiguousarray(pixels[:, ::-1])


def mirrored_prompt(prompt: Prompt, width_px: int) -> Prompt:
    """Give what is known of an object as it is in the mirrored slice, which is `width_px` wide."""
    last = width_px - 1
    box, near, previous = prompt.box, prompt.neighbour, prompt.previous
    return replace(
        prompt,
        box=Box(last - box.x_max, box.y_min, last - box.x_min, box.y_max),
        neighbour=None if near is None else Neighbour(mirrored_pixels(near.image), mirrored_pixels(near.mask)),
        others=prompt.others[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (last, 0, last, 0),
        clicks=tuple(Click(last - click.x, click.y, click.is_inside) for click in prompt.clicks),
        previous=None if previous is None else mirrored_pixels(previous),
    )
