"""What a model is asked about one object on one slice: owns `Prompt`, the only form in which prompts travel.

Training, calibration and prediction each make prompts; the frames of `graysam.models.frames` turn them into the arrays
that a decoder reads. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box


@dataclass(frozen=True, eq=False)
class Neighbour:
    """The neighbouring slice of a volume, and the object that was found on it.

    Attributes:
        image: that slice as `slice_at` cuts it, (H, W) or (H, W, 3), of the size of the slice at hand.
        mask: (H, W), the object there, not empty.
    """

    image: NDArray[np.generic]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is known of one object when a model is asked for it on one slice.

    Only the box is always there. A decoder reads the fields that it was trained with and ignores the others, so a new
    kind of knowledge is a further optional field here.

    Attributes:
        box: round the object, in original pixels of the slice.
        neighbour: the slice next to it with the object found there; None for images, and where nothing is known.
    """

    box: Box
    neighbour: Neighbour | None = None
