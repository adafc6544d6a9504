"""Changes to a slice that leave its objects what they are, and the noise on the boxes that prompt them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, VolumeBox, box_around
from graysam.inference.volumes import expected_box
from train.config import DataConfig

SMALLEST_BOX_PX = 2.0
SMALLEST_OBJECT_PX = 12
JITTER_AMPLITUDES = (0.4, 1.0)  # of the largest shift
JITTER_TRIES = 20
OUTWARDS_BY_SHARE = 1 / 3  # of the outward boxes, those whose shifts grow with the box
OUTWARDS_SLIP_CANVAS_PX = 1.0  # how far a side meant to be outside may cut into the object
# An object of which a warp leaves less than this share within the slice is no longer what its label says.
KEPT_AREA_SHARE = 0.5
BEND_NODES = (4, 12)  # along the longer side of a slice, the last not included
# What a walk through a volume knows of an object is wrong in three ways: its mask on the slice beside is a model's
# answer, the box that the walk was given may be loose, and so the next box is off.
TRUE_MASK_SHARE = 0.2
MASK_BLUR_SHARES = (0.02, 0.12)
MASK_LEVELS = (0.3, 0.7)
MASK_WAVES = 0.12
MASK_SHIFT_SHARE = 0.03
# Mistakes add up along a walk: after ten slices an object may have half or twice its size. Unless that is shown in
# training, a model learns to repeat the mask before.
DRIFTED_SHARE = 0.6
DRIFTED_SIZE_SPREAD = 0.4
DRIFTED_SHIFT_SHARE = 0.1
NEXT_BOX_OFF_CANVAS_PX = 1.5


@dataclass(frozen=True)
class Strength:
    """How far slices are changed.

    Attributes:
        flip_y: share of the slices that are turned upside down.
        warped: share that is rotated, scaled and shifted, which blurs; the others are flipped alone.
        turned: share of these that is rotated by any angle, and not by some degrees.
        scale, stretch: spread of the logarithms of size and of width by height.
        toned: share of the slices whose intensities are changed.
        gamma, contrast: spread of the logarithms of both.
        bent: share of the slices that are bent by a smooth random field (Simard et al. 2003).
        bend: spread of the field at its nodes, as a share of the distance between them.
    """

    flip_y: float
    warped: float
    turned: float
    scale: float
    stretch: float
    toned: float
    gamma: float
    contrast: float
    bent: float
    bend: float


FULL = Strength(
    flip_y=0.25,
    warped=0.5,
    turned=0.0,
    scale=0.15,
    stretch=0.08,
    toned=0.65,
    gamma=0.25,
    contrast=0.15,
    bent=0.0,
    bend=0.0,
)
STRONG = Strength(
    flip_y=0.35,
    warped=0.85,
    turned=0.2,
    scale=0.2,
    stretch=0.15,
    toned=0.85,
    gamma=0.35,
    contrast=0.25,
    bent=0.5,
    bend=0.12,
)


@dataclass(frozen=True)
class Warp:
    """Where the pixels of a slice go.

    Attributes:
        matrix: (2, 3), maps a pixel of the slice to where it goes, but for the bending.
        sources: (H, W, 2) float32, where each pixel (x, y) of the warped slice comes from, bending included; None where
            the matrix says all.
    """

    matrix: NDArray[np.float64]
    sources: NDArray[np.float32] | None = None

    def moved(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Move (H, W) or (H, W, 3), bilinear; what comes from beyond the slice is 0."""
        if self.sources is not None:
            across, down = cv2.split(self.sources)
            return cv2.remap(image, across, down, cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        size_wh = (image.shape[1], image.shape[0])
        return cv2.warpAffine(image, self.matrix, size_wh, flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def draw_warp(
    size_hw: tuple[int, int],
    masks: Sequence[NDArray[np.bool_]],
    rng: np.random.Generator,
    strength: Strength = FULL,
) -> Warp | None:
    """Draw how a slice is flipped, rotated, scaled, shifted and bent; None where one of the masks would be lost."""
    warp = Warp(random_affine(*size_hw, rng, strength))
    if rng.random() < strength.bent:
        warp = bent(warp, size_hw, rng, strength)
    grown = abs(float(np.linalg.det(warp.matrix[:, :2])))
    for mask in masks:
        if warp_mask(mask, warp).sum() < max(SMALLEST_OBJECT_PX, KEPT_AREA_SHARE * grown * mask.sum()):
            return None
    return warp


def warp_mask(mask: NDArray[np.bool_], warp: Warp) -> NDArray[np.bool_]:
    """Move a (H, W) mask; what comes from beyond the slice is background."""
    return warp.moved(mask.astype(np.uint8) * 255) > 127


def bent(warp: Warp, size_hw: tuple[int, int], rng: np.random.Generator, strength: Strength) -> Warp:
    """Add a smooth random field to where the pixels of an (H, W) slice come from.

    The field is drawn at a few nodes along the longer side, and is gentle enough there to fold hardly any of it.
    """
    height, width = size_hw
    pitch_px = max(size_hw) / rng.integers(*BEND_NODES)
    nodes = rng.normal(0, strength.bend * pitch_px, (*(math.ceil(size / pitch_px) + 1 for size in size_hw), 2))
    field = cv2.resize(nodes.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    back = cv2.invertAffineTransform(warp.matrix).astype(np.float32)
    across = np.arange(width, dtype=np.float32)[None, :, None]
    down = np.arange(height, dtype=np.float32)[:, None, None]
    return Warp(warp.matrix, across * back[:, 0] + down * back[:, 1] + back[:, 2] + field)


def random_affine(height: int, width: int, rng: np.random.Generator, strength: Strength = FULL) -> NDArray[np.float64]:
    """Give a (2, 3) map about the middle of a slice; some draws are flips alone, and blur nothing."""
    flip_x, flip_y = (-1.0 if rng.random() < 0.5 else 1.0), (-1.0 if rng.random() < strength.flip_y else 1.0)
    linear = np.diag([flip_x, flip_y])
    shift = np.zeros(2)
    if rng.random() < strength.warped:
        angle = rng.uniform(-math.pi, math.pi) if rng.random() < strength.turned else math.radians(rng.normal(0, 15))
        scale = math.exp(rng.normal(0, strength.scale))
        stretch = math.exp(rng.normal(0, strength.stretch))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        linear = turn @ np.diag([scale * stretch, scale / stretch]) @ linear
        shift = rng.normal(0, 0.03, 2) * (width, height)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.concatenate([linear, (middle + shift - linear @ middle)[:, None]], axis=1)


def change_intensity(
    image: NDArray[np.uint8], rng: np.random.Generator, strength: Strength = FULL
) -> NDArray[np.uint8]:
    """Change gamma, contrast, colour, sharpness and noise; some slices stay as they are."""
    if rng.random() > strength.toned:
        return image
    levels = np.linspace(0, 1, 256, dtype=np.float32)
    curves = [_tone_curve(levels, rng, strength)]
    if image.ndim == 3:
        if rng.random() < 0.15:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        shared = curves[0]
        curves = [np.clip(shared * rng.normal(1, 0.08) + rng.normal(0, 0.04), 0, 1) for _ in range(3)]
    table = np.stack([np.rint(curve * 255) for curve in curves], axis=-1).astype(np.uint8)
    changed = cv2.LUT(image, table[None]).reshape(image.shape)
    if rng.random() < 0.15:
        changed = cv2.GaussianBlur(changed, (0, 0), float(rng.uniform(0.4, 1.2)))
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(2, 12), image.shape).astype(np.float32)
        changed = np.clip(changed + noise, 0, 255).astype(np.uint8)
    return changed.astype(np.uint8, copy=False)


def _tone_curve(levels: NDArray[np.float32], rng: np.random.Generator, strength: Strength) -> NDArray[np.float32]:
    curve = levels ** np.float32(math.exp(rng.normal(0, strength.gamma)))
    curve = (curve - 0.5) * math.exp(rng.normal(0, strength.contrast)) + 0.5 + rng.normal(0, 0.05)
    if rng.random() < 0.04:
        curve = 1 - curve
    clipped: NDArray[np.float32] = np.clip(curve, 0, 1).astype(np.float32)
    return clipped


def noisy_box(
    box: Box, *, canvas_scale: float, size_hw: tuple[int, int], config: DataConfig, rng: np.random.Generator
) -> Box:
    """Move the sides of a tight box as people, scripts and propagation do.

    Args:
        box: tight, in original pixels.
        canvas_scale: canvas pixels per original pixel; `config.jitter_px` counts canvas pixels.
        size_hw: of the slice; the box stays within it.
        config: shares and sizes of the noise.
        rng: source of the draws.
    """
    kind = rng.random()
    if kind < config.tight:
        return box
    width, height = box.x_max - box.x_min + 1, box.y_max - box.y_min + 1
    if kind < config.tight + config.proportional:
        shifts = rng.uniform(-1, 1, 4) * config.jitter_share * (width, height, width, height)
    elif kind < config.tight + config.proportional + config.outwards:
        shifts = _outward_shifts(box, config, rng, canvas_scale)
    else:
        return _jittered(box, config.jitter_px / canvas_scale, size_hw, rng)
    return _moved(box, shifts, size_hw)


def _outward_shifts(box: Box, config: DataConfig, rng: np.random.Generator, canvas_scale: float) -> NDArray[np.float64]:
    """Draw shifts of the sides, outwards but for a pixel: people keep clear of the object, on some sides by a lot."""
    largest_px = np.full(4, config.outwards_px / canvas_scale)
    if rng.random() < OUTWARDS_BY_SHARE:
        largest_px = config.outwards_share * np.array([box.width, box.height, box.width, box.height])
    inwards_px = OUTWARDS_SLIP_CANVAS_PX / canvas_scale
    shifts: NDArray[np.float64] = rng.uniform(-inwards_px, largest_px) * np.array([-1, -1, 1, 1])
    return shifts


def _jittered(box: Box, largest_px: float, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    """Move the sides by pixels that do not depend on the box, as the paper trains and the validation measures.

    What leaves less than half of a side is drawn again, as in the validation: were the box left as it was instead, the
    small objects that need it most would hardly ever be asked for with noise.
    """
    amplitude = largest_px * rng.uniform(*JITTER_AMPLITUDES)
    for _ in range(JITTER_TRIES):
        moved = _moved(box, rng.uniform(-1, 1, 4) * amplitude, size_hw)
        if moved.width >= box.width / 2 and moved.height >= box.height / 2 and moved != box:
            return moved
    return box


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


def walked_box(
    found: NDArray[np.bool_],
    middle: NDArray[np.bool_],
    *,
    place: int,
    length: int,
    canvas_scale: float,
    noise: DataConfig,
    rng: np.random.Generator,
) -> Box | None:
    """Give the box that a walk through a volume asks for, by the predictor's own rule, and a little off.

    Args:
        found: (H, W), the object on the slice before.
        middle: (H, W), the object on its middle slice, where the walk was given a box.
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
    given = noisy_box(given, canvas_scale=canvas_scale, size_hw=(height, width), config=noise, rng=rng)
    cross_section = VolumeBox(given, 0, length - 1).cross_section(place)
    expected = expected_box(tight, cross_section).within((height, width))
    error_px = NEXT_BOX_OFF_CANVAS_PX / canvas_scale
    return _moved(expected, rng.uniform(-error_px, error_px, 4), (height, width))


def _moved(box: Box, shifts: NDArray[np.float64], size_hw: tuple[int, int]) -> Box:
    """Add shifts to the sides, whole pixels, within the slice; a box that would collapse stays as it was."""
    height, width = size_hw
    x_min, y_min, x_max, y_max = np.rint(box.as_array() + shifts)
    x_min, x_max = np.clip([x_min, x_max], 0, width - 1)
    y_min, y_max = np.clip([y_min, y_max], 0, height - 1)
    if x_max - x_min < SMALLEST_BOX_PX or y_max - y_min < SMALLEST_BOX_PX:
        return box
    return Box(float(x_min), float(y_min), float(x_max), float(y_max))
