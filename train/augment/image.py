"""Changes to a slice that leave its objects what they are: where pixels go, and how bright they are.

Slices and masks come from `train.dataset` as the store has them, and go back moved and toned alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_OBJECT_PX = 12
# An object of which a warp leaves less than this share within the slice is no longer what its label says.
KEPT_AREA_SHARE = 0.5
BEND_NODES = (4, 12)  # along the longer side of a slice, the last not included


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
