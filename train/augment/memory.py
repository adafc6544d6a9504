"""What propagation knows of an object when it comes to a slice, with the mistakes that a model makes on the way.

Propagation segments a volume slice after slice, from the middle outwards, and takes mask and box of each slice from
the neighbouring one. That is wrong in three ways: the neighbour's mask is a model's answer, the box that was given on
the middle slice may be noisy, and so the next box is off.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, VolumeBox, box_around
from graysam.inference.propagation import expected_box
from train.augment.boxes import noisy_box, shifted_unless_lost
from train.config import DataConfig

TRUE_MASK_SHARE = 0.2
MASK_BLUR_SHARES = (0.02, 0.12)
MASK_LEVELS = (0.3, 0.7)
MASK_WAVES = 0.12
MASK_SHIFT_SHARE = 0.03
# Mistakes add up from slice to slice: after ten, an object may have half or twice its size. Unless that is shown in
# training, a model learns to repeat the neighbour's mask.
DRIFTED_SHARE = 0.6
DRIFTED_SIZE_SPREAD = 0.4
DRIFTED_SHIFT_SHARE = 0.1
NEXT_BOX_OFF_CANVAS_PX = 1.5


def mistaken_mask(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw what a model might have answered where the (H, W) mask is right: smoother, wavy, larger or smaller, shifted.

    Some draws are the mask itself; an empty mask stays empty, and none becomes so.
    """
    tight = box_around(mask)
    if tight is None or rng.random() < TRUE_MASK_SHARE:
        return mask
    breadth_px = _breadth(mask)
    room = math.ceil(0.6 * max(tight.width, tight.height)) + 2  # for twice the size
    rows = slice(max(0, int(tight.y_min) - room), int(tight.y_max) + 1 + room)
    columns = slice(max(0, int(tight.x_min) - room), int(tight.x_max) + 1 + room)
    window = mask[rows, columns].astype(np.float32)
    size_wh = (window.shape[1], window.shape[0])
    soft = cv2.GaussianBlur(window, (0, 0), max(0.4, breadth_px * rng.uniform(*MASK_BLUR_SHARES)))
    waves = cv2.resize(rng.normal(0, 1, (5, 5)).astype(np.float32), size_wh, interpolation=cv2.INTER_CUBIC)
    has_drifted = rng.random() < DRIFTED_SHARE
    sizes = np.exp(rng.normal(0, DRIFTED_SIZE_SPREAD) + rng.normal(0, DRIFTED_SIZE_SPREAD / 3, 2))
    scale = np.diag(sizes if has_drifted else np.ones(2))
    shift = rng.normal(0, DRIFTED_SHIFT_SHARE if has_drifted else MASK_SHIFT_SHARE, 2) * (tight.width, tight.height)
    centre = np.array(tight.centre) - (columns.start, rows.start)
    matrix = np.concatenate([scale, (centre + shift - scale @ centre)[:, None]], axis=1)
    moved = cv2.warpAffine(soft + np.float32(rng.uniform(0, MASK_WAVES)) * waves, matrix, size_wh)
    found = moved > rng.uniform(*MASK_LEVELS)
    if not found.any():
        return mask
    mistaken = np.zeros_like(mask)
    mistaken[rows, columns] = found
    return mistaken


def _breadth(mask: NDArray[np.bool_]) -> float:
    """Give four times area by perimeter: a disc's diameter, and twice the thickness of a ring, in pixels."""
    edges = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
    # A border drawn along pixel sides is 4 / pi times as long as the smooth one, on average.
    return float(4 * mask.sum() / max(1.0, edges * math.pi / 4))


def propagated_box(
    found: NDArray[np.bool_],
    middle: NDArray[np.bool_],
    *,
    place: int,
    length: int,
    canvas_scale: float,
    noise: DataConfig,
    rng: np.random.Generator,
) -> Box | None:
    """Give the box that propagation would prompt with, by the predictor's own rule, and a little off.

    Args:
        found: (H, W), the object on the slice before.
        middle: (H, W), the object on its middle slice, where propagation was given its box.
        place: the slice at hand, counted from the object's first.
        length: slices that the object spans.
        canvas_scale: canvas pixels per original pixel.
        noise: shares and sizes of the noise on the box that was given on the middle slice.
        rng: source of the draws.

    Returns:
        The box; None where one of the masks is empty.
    """
    tight, given = box_around(found), box_around(middle)
    if tight is None or given is None:
        return None
    height, width = found.shape
    given, _ = noisy_box(given, canvas_scale=canvas_scale, size_hw=(height, width), config=noise, rng=rng)
    cross_section = VolumeBox(given, 0, length - 1).cross_section(place)
    expected = expected_box(tight, cross_section).within((height, width))
    error_px = NEXT_BOX_OFF_CANVAS_PX / canvas_scale
    return shifted_unless_lost(expected, rng.uniform(-error_px, error_px, 4), (height, width))
