"""Four points and a scribble for each box: what the decoder of Swin-LiteMedSAM is shown besides it. Free of torch.

Source of the facts (quarters, shares of the box, steps and turns of a scribble): github.com/RuochenGao/Swin_LiteMedSAM
at 71d72a8, files infer.py, npz_dataset.py and visual_sampler/; Gao et al., Swin-LiteMedSAM, 2024. Two things differ: a
point is a pixel of its quarter (the public code draws its column and its row from two different pixels), and at
prediction all is drawn from numbers that follow from the box alone, so that a case is always answered alike.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box
from graysam.image.geometry import CanvasFit
from graysam.image.preprocessing import PreparedSlice
from graysam.models.frames import CanvasFrame, DecoderInputs
from graysam.models.spec import ModelSpec
from graysam.prompts import Click, Prompt

POINTS: Final = 4
POINT_MARGIN: Final = (1 / 5, 1 / 2)
"""What is taken off each side of a box, as shares of it, before points are drawn at prediction: from, to below."""
SCRIBBLE_MARGIN: Final = (1 / 8, 1 / 6)
"""The same, before a scribble is drawn."""
SCRIBBLE_BENDS: Final = (10, 30)
LONGEST_STEP: Final = 20 / 256
"""Of a scribble, as a share of the canvas; a step is up to three quarters of this longer or shorter than the last."""
LARGEST_TURN: Final = 0.5
"""From one step to the next, in radians to either side."""
PEN: Final = (3, 10)
"""Width of the pen in pixels of a canvas of 256: from, to below."""


@dataclass(frozen=True)
class ScribbleFrame(CanvasFrame):
    """Boxes with four points and a scribble each, for a decoder that answers on the whole canvas.

    Attributes:
        drawn: of each prompt, where its points and its scribble lie.
    """

    drawn: tuple[Drawn, ...] = ()

    @classmethod
    def of(cls, prepared: PreparedSlice, prompts: Sequence[Prompt], spec: ModelSpec) -> Self:
        """Put prompts into the frame; what a prompt does not say is drawn in the middle of its box."""
        drawn = tuple(_drawn(prompt, prepared.fit) for prompt in prompts)
        return cls(prepared, tuple(prompts), drawn)

    @classmethod
    def taught(cls, prompt: Prompt, mask: NDArray[np.bool_], rng: np.random.Generator) -> Prompt:
        """Add what training shows: a pixel of the object in each quarter of the box, and another scribble each time."""
        points = object_points(prompt.box, mask, rng)
        clicks = tuple(Click(x, y, is_inside=True) for x, y in points)
        return replace(prompt, clicks=clicks, seed=int(rng.integers(1 << 32)))

    def inputs(self) -> DecoderInputs:
        """Give boxes_canvas (N, 4), points_canvas (N, 4, 2) in canvas pixels, and scribble (N, 1, S, S), 0 or 1."""
        points = np.stack([each.points for each in self.drawn])
        scribbles = np.stack([each.scribble for each in self.drawn])
        return {**super().inputs(), "points_canvas": points, "scribble": scribbles[:, None]}


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is shown of one object besides its box: points (4, 2), x and y in canvas pixels; scribble (S, S), 0 or 1."""

    points: NDArray[np.float32]
    scribble: NDArray[np.float32]


def _drawn(prompt: Prompt, fit: CanvasFit) -> Drawn:
    """Take the points that a prompt gives, and draw the others and the scribble."""
    box = fit.box_to_canvas(prompt.box)
    is_training = prompt.seed is not None
    rng = np.random.default_rng(prompt.seed if is_training else seed_of(box))
    drawn = middle_points(box, rng)
    given = [(each.x * fit.scale, each.y * fit.scale) for each in prompt.clicks if each.is_inside][:POINTS]
    drawn[: len(given)] = np.array(given, np.float32).reshape(-1, 2)
    inner = box if is_training else shrunk(box, SCRIBBLE_MARGIN, rng)
    return Drawn(drawn, drawn_scribble(inner, fit.canvas, rng))


def seed_of(box: Box) -> int:
    """Give a number that follows from a box alone."""
    return zlib.crc32(box.as_array().astype(np.float32).tobytes())


def shrunk(box: Box, margin: tuple[float, float], rng: np.random.Generator) -> Box:
    """Take a random share of a box off each of its sides, the same left and right, and above and below."""
    across = rng.uniform(*margin) * (box.x_max - box.x_min)
    down = rng.uniform(*margin) * (box.y_max - box.y_min)
    return Box(box.x_min + across, box.y_min + down, box.x_max - across, box.y_max - down)


def middle_points(box: Box, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a point in each quarter of the middle of a box: (4, 2), x and y.

    Quarters: upper left, lower left, lower right, upper right, as the public code has them.
    """
    middle = shrunk(box, POINT_MARGIN, rng)
    x, y = box.centre
    columns = [(middle.x_min, x), (middle.x_min, x), (x, middle.x_max), (x, middle.x_max)]
    rows = [(middle.y_min, y), (y, middle.y_max), (y, middle.y_max), (middle.y_min, y)]
    return np.array([(rng.uniform(*c), rng.uniform(*r)) for c, r in zip(columns, rows, strict=True)], np.float32)


def object_points(box: Box, mask: NDArray[np.bool_], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw a pixel of the object in each quarter of a box; the middle of the box where a quarter has none.

    box: in pixels of the mask (H, W).  Quarters: as in `middle_points`.  Gives x and y.
    """
    x_middle, y_middle = (round(each) for each in box.centre)
    left, right = (max(0, round(box.x_min)), x_middle), (x_middle, round(box.x_max) + 1)
    upper, lower = (max(0, round(box.y_min)), y_middle), (y_middle, round(box.y_max) + 1)
    points = []
    for (y_first, y_end), (x_first, x_end) in ((upper, left), (lower, left), (lower, right), (upper, right)):
        rows, columns = np.nonzero(mask[y_first:y_end, x_first:x_end])
        if len(rows):
            chosen = int(rng.integers(len(rows)))
            points.append((float(columns[chosen] + x_first), float(rows[chosen] + y_first)))
        else:
            points.append((float(x_middle), float(y_middle)))
    return points


def drawn_scribble(box: Box, canvas: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a bending line inside a box: (S, S), 1 on it and 0 elsewhere; a pixel at least.

    The pen starts anywhere in the box, turns a little at every step, and stops at the sides.
    """
    longest = LONGEST_STEP * canvas
    speed, angle = rng.uniform(0, longest), rng.uniform(0, 2 * math.pi)
    places = [(rng.uniform(box.x_min, box.x_max), rng.uniform(box.y_min, box.y_max))]
    for _ in range(int(rng.integers(*SCRIBBLE_BENDS))):
        speed = float(np.clip(speed + rng.uniform(-0.75, 0.75) * longest, 0, longest))
        angle += rng.uniform(-LARGEST_TURN, LARGEST_TURN)
        x, y = places[-1][0] + speed * math.cos(angle), places[-1][1] + speed * math.sin(angle)
        places.append((float(np.clip(x, box.x_min, box.x_max)), float(np.clip(y, box.y_min, box.y_max))))
    pixels = _pixels(places, canvas)
    drawn = np.zeros((canvas, canvas), np.uint8)
    pen = max(1, round(int(rng.integers(*PEN)) * canvas / 256))
    cv2.polylines(drawn, [pixels], isClosed=False, color=1, thickness=pen)
    (x_first, y_first), (x_last, y_last) = _pixels([(box.x_min, box.y_min), (box.x_max, box.y_max)], canvas)
    inside = np.zeros((canvas, canvas), np.float32)
    inside[y_first : y_last + 1, x_first : x_last + 1] = drawn[y_first : y_last + 1, x_first : x_last + 1]
    return inside


def _pixels(places: Sequence[tuple[float, float]], canvas: int) -> NDArray[np.int32]:
    """Give the pixels (N, 2) of the canvas that places x, y lie in."""
    return np.clip(np.floor(np.array(places) + 0.5), 0, canvas - 1).astype(np.int32)
