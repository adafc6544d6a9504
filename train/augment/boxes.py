"""The noise on the boxes that prompt objects in training, in three kinds whose shares the config's [data] says.

Tight boxes come from the masks of a batch, and go back as people, scripts and propagation would draw them; sides are
shifted by graysam/noisy_boxes.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box
from graysam.noisy_boxes import OUTWARDS, drawn_until_half_is_left, shifted
from graysam.prompts import BoxFit
from train.config import DataConfig

SMALLEST_BOX_PX = 2.0
AMPLITUDES = (0.4, 1.0)  # of the largest shift
TRIES = 20
OUTWARDS_BY_SHARE = 1 / 3  # of the outward boxes, those whose shifts grow with the box
OUTWARDS_SLIP_CANVAS_PX = 1.0  # how far a side meant to be outside may cut into the object


def noisy_box(
    box: Box, *, canvas_scale: float, size_hw: tuple[int, int], config: DataConfig, rng: np.random.Generator
) -> tuple[Box, BoxFit]:
    """Move the sides of a tight box as people, scripts and propagation do, and say how the result fits the object.

    Args:
        box: tight, in original pixels.
        canvas_scale: canvas pixels per original pixel; `config.jitter_px` counts canvas pixels.
        size_hw: of the slice; the box stays within it.
        config: shares and sizes of the noise.
        rng: source of the draws.

    Returns:
        The box, and "tight", "loose" for one that is off outwards, or "unknown" for one that may also cut in.
    """
    kind = rng.random()
    if kind < config.tight:
        return box, "tight"
    width, height = box.x_max - box.x_min + 1, box.y_max - box.y_min + 1
    if kind < config.tight + config.proportional:
        shifts = rng.uniform(-1, 1, 4) * config.jitter_share * (width, height, width, height)
        return shifted_unless_lost(box, shifts, size_hw), "unknown"
    if kind < config.tight + config.proportional + config.outwards:
        return shifted_unless_lost(box, _outward_shifts(box, config, rng, canvas_scale), size_hw), "loose"
    return _off_by_pixels(box, config.jitter_px / canvas_scale, size_hw, rng), "unknown"


def _outward_shifts(box: Box, config: DataConfig, rng: np.random.Generator, canvas_scale: float) -> NDArray[np.float64]:
    """Draw shifts of the sides, outwards but for a pixel: people keep clear of the object, on some sides by a lot."""
    largest_px = np.full(4, config.outwards_px / canvas_scale)
    if rng.random() < OUTWARDS_BY_SHARE:
        largest_px = config.outwards_share * np.array([box.width, box.height, box.width, box.height])
    inwards_px = OUTWARDS_SLIP_CANVAS_PX / canvas_scale
    shifts: NDArray[np.float64] = rng.uniform(-inwards_px, largest_px) * OUTWARDS
    return shifts


def _off_by_pixels(box: Box, largest_px: float, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    """Shift the sides by pixels that do not depend on the box, as the paper trains and the validation measures.

    What leaves less than half of a side is drawn again, as in the validation: were the box left as it was instead, the
    small objects that need it most would hardly ever get a noisy box.
    """
    amplitude = largest_px * rng.uniform(*AMPLITUDES)

    def draw() -> Box | None:
        drawn = shifted_unless_lost(box, rng.uniform(-1, 1, 4) * amplitude, size_hw)
        return None if drawn == box else drawn

    return drawn_until_half_is_left(box, draw, tries=TRIES)


def shifted_unless_lost(box: Box, shifts: NDArray[np.float64], size_hw: tuple[int, int]) -> Box:
    """Add shifts to the sides, to whole pixels within the slice; a box that would collapse stays as it was."""
    moved = shifted(box, shifts, size_hw, whole=True)
    if moved.x_max - moved.x_min < SMALLEST_BOX_PX or moved.y_max - moved.y_min < SMALLEST_BOX_PX:
        return box
    return moved
