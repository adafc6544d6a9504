"""Objects that nobody labelled: drawn shapes, and superpixels of real slices.

Both teach that an object is what stands out from its surroundings within a box, whatever it is called; ScribblePrompt
(Wong et al. 2024) trains on such objects and on labelled ones to keep a model from learning its data sets by heart.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.image.geometry import PictureFit

SIDE_PX = 256
SMALLEST_OBJECT_PX = 60
MOST_SHAPES = 6
MARKER_SPACING_PX = (14, 40)
"""Least and largest mean distance of the markers that superpixels grow from, on a slice of `SIDE_PX`."""


def synthetic_slice(objects: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """Draw a gray slice of wobbly shapes with textures of their own, and give `objects` of their masks.

    Returns:
        image (256, 256) uint8, and masks (256, 256); a mask is repeated where there are fewer shapes.
    """
    canvas = _texture(rng, level=float(rng.uniform(0.1, 0.9)))
    shapes: list[NDArray[np.bool_]] = []
    while len(shapes) < rng.integers(1, MOST_SHAPES + 1) or not shapes:
        mask = _wobbly_disc(rng)
        if mask.sum() < SMALLEST_OBJECT_PX:
            continue
        shade = _texture(rng, level=float(rng.uniform(0.1, 0.9)))
        softness = float(rng.uniform(0.3, 2.0))
        weight = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), softness)
        canvas = canvas * (1 - weight) + shade * weight
        # What lies under a later shape is no longer seen, so it is no longer part of the earlier object.
        shapes = [visible for each in shapes if (visible := each & ~mask).sum() >= SMALLEST_OBJECT_PX]
        shapes.append(mask)
    image = np.clip(np.rint(canvas * 255), 0, 255).astype(np.uint8)
    return image, [shapes[index % len(shapes)] for index in range(objects)]


def _texture(rng: np.random.Generator, *, level: float) -> NDArray[np.float32]:
    """Give (256, 256) about a level: smooth clouds of a random scale, with some noise on them."""
    cells = int(rng.integers(3, 32))
    clouds = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    smooth = cv2.resize(clouds, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, rng.uniform(0, 0.06), (SIDE_PX, SIDE_PX))
    texture: NDArray[np.float32] = (level + rng.uniform(0.01, 0.12) * smooth + noise).astype(np.float32)
    return texture


def _wobbly_disc(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Give the mask of an ellipse whose radius swings as one goes round; it may reach over the border."""
    angles = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    radius = np.ones_like(angles)
    for wave in range(2, 8):
        radius += rng.normal(0, 0.25 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    radii = np.exp(rng.uniform(np.log(6), np.log(90), 2))
    turn = rng.uniform(0, np.pi)
    x = np.clip(radius, 0.2, 3) * radii[0] * np.cos(angles)
    y = np.clip(radius, 0.2, 3) * radii[1] * np.sin(angles)
    centre = rng.uniform(0.1 * SIDE_PX, 0.9 * SIDE_PX, 2)
    outline = np.stack(
        [
            centre[0] + x * np.cos(turn) - y * np.sin(turn),
            centre[1] + x * np.sin(turn) + y * np.cos(turn),
        ],
        axis=1,
    )
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
    return mask.astype(bool)


def superpixel_mask(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Give the mask of a random superpixel of a slice, or None where the one that was drawn is too small.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        rng: source of the draws.
    """
    height, width = image.shape[:2]
    regions, count = superpixel_regions(image, float(rng.uniform(*MARKER_SPACING_PX)), rng)
    if count < 2:
        return None
    region = (regions == rng.integers(1, count + 1)).astype(np.uint8)
    if region.sum() < SMALLEST_OBJECT_PX:
        return None
    grown = cv2.dilate(region, np.ones((3, 3), np.uint8))  # the watershed's lines belong to no region
    full: NDArray[np.bool_] = cv2.resize(grown, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return full


def superpixel_regions(
    image: NDArray[np.uint8], spacing_px: float, rng: np.random.Generator
) -> tuple[NDArray[np.int32], int]:
    """Divide a slice into superpixels.

    A watershed (Meyer 1992) grows regions from markers on a jittered lattice over the smoothed slice.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        spacing_px: mean distance of the markers, on a slice of `SIDE_PX`.
        rng: source of the jitter.

    Returns:
        (h, w), the slice with `SIDE_PX` on its longer side: regions from 1 on, lines of -1 between them; and the number
        of markers, some of which may have no region as they fell on others or on the border.
    """
    size_wh = PictureFit.for_image((image.shape[0], image.shape[1]), SIDE_PX).size_wh
    small = cv2.GaussianBlur(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    colour = small if small.ndim == 3 else cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    markers = np.zeros((size_wh[1], size_wh[0]), np.int32)
    rows, columns = np.mgrid[spacing_px / 2 : size_wh[1] : spacing_px, spacing_px / 2 : size_wh[0] : spacing_px]
    jitter = rng.uniform(-spacing_px / 3, spacing_px / 3, (2, rows.size))
    places_y = np.clip(rows.ravel() + jitter[0], 0, size_wh[1] - 1).astype(int)
    places_x = np.clip(columns.ravel() + jitter[1], 0, size_wh[0] - 1).astype(int)
    if places_y.size < 2:
        return markers, places_y.size
    markers[places_y, places_x] = np.arange(1, places_y.size + 1)
    return np.asarray(cv2.watershed(np.ascontiguousarray(colour), markers), np.int32), places_y.size
