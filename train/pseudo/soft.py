"""What a teacher says of labelled objects, kept small: its probabilities on a coarse grid, in 8 bits.

A student learns more of a teacher from how sure it is at every place than from its mask (Hinton et al. 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box
from graysam.image.geometry import resample
from train.pseudo.keep import TeacherAnswer

SIDE: Final = 64
MARGIN_SHARE: Final = 0.25
"""How far the grid reaches beyond each side of the object's box; the teacher is taken to see nothing farther out."""


@dataclass(frozen=True)
class SoftTarget:
    """A teacher's probabilities for one labelled object.

    Attributes:
        item: which of the slice's labelled objects.
        window: first row, row after the last, first column, column after the last.
        values: (64, 64) uint8 over the window, 255 for certainty.
    """

    item: int
    window: tuple[int, int, int, int]
    values: NDArray[np.uint8]

    def map(self, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """Give the probabilities of the whole slice, (H, W), 255 for certainty."""
        top, bottom, left, right = self.window
        whole = np.zeros(size_hw, np.uint8)
        whole[top:bottom, left:right] = np.rint(resample(self.values.astype(np.float32), (bottom - top, right - left)))
        return whole


def soft_target(answer: TeacherAnswer, item: int, box: Box, size_hw: tuple[int, int]) -> SoftTarget:
    """Keep an answer round the box of the labelled object that it is about."""
    probabilities = np.zeros(size_hw, np.float32)
    probabilities[answer.window] = 1 / (1 + np.exp(-np.clip(answer.logits, -30, 30)))
    room = 1 + 2 * MARGIN_SHARE
    view = Box.about(box.centre, width=room * box.width, height=room * box.height).within(size_hw)
    window = int(view.y_min), int(view.y_max) + 1, int(view.x_min), int(view.x_max) + 1
    cut = probabilities[window[0] : window[1], window[2] : window[3]]
    return SoftTarget(item, window, np.rint(255 * resample(cut, (SIDE, SIDE))).astype(np.uint8))
