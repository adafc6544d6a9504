"""The three channels that a grayscale slice is turned into, by named preset (Gray's Anatomy for SAM, section 2.1).

Every preset is a pure function from (H, W) or (H, W, 3) float32 in [0, 1] to (H, W, 3) float32 in [0, 1], and is meant
to run after the resize to the canvas and before the padding: the cost is then that of 256 x 256 pixels whatever the
image's size, and the padding cannot leak into the statistics. Training and prediction use the same preset, because its
name travels with the weights.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]

# Luma weights of ITU-R BT.601, as in MATLAB's rgb2gray.
LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)


def diffuse_edges(image: FloatImage, *, steps: int, edge_intensity: float, rate: float = 0.2) -> FloatImage:
    """Smooth within regions and keep edges (Perona and Malik, TPAMI 1990, with conduction g1 = exp(-(d/K)^2)).

    image: (H, W), intensities in [0, 1].  steps: number of iterations, 0 gives a copy.
    edge_intensity: K, the jump regarded as an edge, on the image's own scale.
    rate: share of the flux applied per step; above 0.25 the scheme diverges.
    The borders are closed (nothing flows in or out), so the mean stays; a constant image is unchanged.

    Raises:
        ValueError: `rate` outside (0, 0.25], or `edge_intensity` not positive.
    """
    if not 0 < rate <= 0.25 or edge_intensity <= 0:
        raise ValueError(f"rate {rate} must lie in (0, 0.25] and edge_intensity {edge_intensity} above 0.")
    smooth = image.astype(np.float32, copy=True)
    negative_inverse_square = np.float32(-1.0 / edge_intensity**2)
    for _ in range(steps):
        down = np.diff(smooth, axis=0)
        right = np.diff(smooth, axis=1)
        down *= np.exp(down * down * negative_inverse_square) * np.float32(rate)
        right *= np.exp(right * right * negative_inverse_square) * np.float32(rate)
        smooth[:-1] += down
        smooth[1:] -= down
        smooth[:, :-1] += right
        smooth[:, 1:] -= right
    return smooth


def clahe(image: FloatImage, *, clip_limit: float = 2.0, tiles: int = 8) -> FloatImage:
    """Equalise contrast within tiles, with a limit (Zuiderveld 1994, by OpenCV on 8 bits).

    image: (H, W) in [0, 1].  clip_limit: height at which a tile's histogram is cut, in units of its mean.
    tiles: number of tiles along each side.  A constant image comes out constant.
    """
    if image.min() == image.max():
        return image.copy()
    eight_bit = np.rint(image * 255).astype(np.uint8)
    equalised = cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(eight_bit)
    return equalised.astype(np.float32) / np.float32(255)


def to_gray(image: FloatImage) -> FloatImage:
    """Give (H, W) luma of an (H, W, 3) image; a gray one passes through."""
    return image if image.ndim == 2 else (image @ LUMA).astype(np.float32)


def is_colour(image: NDArray[np.generic]) -> bool:
    """Tell whether an (H, W, 3) image holds colour; (H, W), or three equal channels, is gray."""
    if image.ndim == 2:
        return False
    first = image[..., 0]
    return not (np.array_equal(first, image[..., 1]) and np.array_equal(first, image[..., 2]))


def plain_channels(image: FloatImage) -> FloatImage:
    """Give the image alone: gray three times, colour as it is."""
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def graysam_channels(image: FloatImage) -> FloatImage:
    """Give raw, edge-preserving diffusion, and CLAHE of the diffused; a colour image keeps its colour."""
    if is_colour(image):
        return image
    gray = image if image.ndim == 2 else image[..., 0]
    diffused = diffuse_edges(gray, steps=5, edge_intensity=0.06)
    return np.dstack([gray, diffused, clahe(diffused)])


CHANNEL_PRESETS: dict[str, Callable[[FloatImage], FloatImage]] = {
    "graysam": graysam_channels,
    "plain": plain_channels,
}
