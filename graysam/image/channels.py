"""The three channels that a grayscale slice is turned into: owns the presets and their names.

The idea is section 2.1 of Gray's Anatomy for SAM. Every preset is a pure function from (H, W) or (H, W, 3) float32
in [0, 1] to (H, W, 3) float32 in [0, 1], and is meant to run after the resize to the canvas and before the padding: the
cost is then that of 256 x 256 pixels whatever the image's size, and the padding cannot leak into the statistics.
Training and prediction use the same preset, because its name travels with the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.image.geometry import resample, resample_by_area

FloatImage = NDArray[np.float32]
Image = NDArray[np.generic]
SliceAt = Callable[[int], Image | None]
"""Gives a slice of a volume by its number, None where there is no such slice."""

# Luma weights of ITU-R BT.601, as in MATLAB's rgb2gray.
LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)


def diffuse_edges(image: FloatImage, *, steps: int, edge_intensity: float, rate: float = 0.2) -> FloatImage:
    """Smooth within regions and keep edges: Perona and Malik, TPAMI 1990, conduction g1 = exp(-(d/K)^2).

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
    pairs = ((smooth[:-1], smooth[1:]), (smooth[:, :-1], smooth[:, 1:]))
    flows = [np.empty_like(before) for before, _ in pairs]
    weights = [np.empty_like(before) for before, _ in pairs]
    for _ in range(steps):
        for (before, after), flow, weight in zip(pairs, flows, weights, strict=True):
            np.subtract(after, before, out=flow)
            np.multiply(flow, flow, out=weight)
            weight *= negative_inverse_square
            np.exp(weight, out=weight)
            weight *= np.float32(rate)
            flow *= weight
        for (before, after), flow in zip(pairs, flows, strict=True):
            before += flow
            after -= flow
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
    """Give (H, W) luma of an (H, W, 3) image; a gray one, or one of three equal channels, passes through."""
    if not is_colour(image):
        return image if image.ndim == 2 else image[..., 0]
    return (image @ LUMA).astype(np.float32)


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


def equalize(image: FloatImage) -> FloatImage:
    """Spread the intensities of the whole image evenly (global histogram equalisation, by OpenCV on 8 bits).

    image: (H, W) in [0, 1].  A constant image comes out as it is, to 8 bits.
    """
    eight_bit = np.rint(image * 255).astype(np.uint8)
    return cv2.equalizeHist(eight_bit).astype(np.float32) / np.float32(255)


def paper_channels(image: FloatImage) -> FloatImage:
    """Give raw, diffused, and equalised diffused, as the paper's section 2.1 says; colour becomes gray.

    The released code's single step, rate 0.1 and kappa 20 are kept, kappa on the scale of 0 to 255 where it
    has a meaning, and the borders are closed; see `released_bytes` for what that code does instead.
    """
    gray = to_gray(image)
    diffused = diffuse_edges(gray, steps=1, edge_intensity=20 / 255, rate=0.1)
    return np.dstack([gray, diffused, equalize(diffused)])


def released_channels(image: FloatImage) -> FloatImage:
    """Give the three channels of the released code, for weights trained with it; 8-bit steps on [0, 1]."""
    return released_bytes(image).astype(np.float32) / np.float32(255)


def released_bytes(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Do what the released code does, bit for bit, with its oddities.

    Source of the facts: github.com/Ninebell/GraysAnatomySAM at a8f6ddc, module/preprocess.py. The image's
    range is stretched to 0 to 255 and turned to gray; one diffusion step has kappa 20 on an image in [0, 1],
    which makes it a plain blur, and its borders are joined to the opposite ones; the third channel equalises
    the gray one.

    image: (H, W) or (H, W, 3), any integer or float dtype.  Gives (H, W, 3).
    A constant image gives zeros, where the released code divides by zero; an (H, W) image, which that code
    does not take, gives what three copies of it do.
    """
    values = image if np.issubdtype(image.dtype, np.floating) else image.astype(np.float64)
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros((*image.shape[:2], 3), np.uint8)
    stretched = (values - low) / (high - low) * 255
    colour = stretched if stretched.ndim == 3 else np.repeat(stretched[..., None], 3, axis=2)
    gray = np.rint(np.dot(colour[..., :3], np.array([0.2989, 0.5870, 0.1140]))).astype(np.uint8)
    return np.dstack([gray, _released_blur(gray), cv2.equalizeHist(gray)])


def _released_blur(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take one step of the released diffusion; the order of the sum and the truncation matter for the bits."""
    unit = gray.astype(np.float32) / 255
    flux = np.zeros_like(unit)
    for shift, axis in ((-1, 0), (1, 0), (1, 1), (-1, 1)):  # from below, above, the left, the right
        jump = np.roll(unit, shift, axis=axis) - unit
        flux = flux + np.exp(-((jump / 20) ** 2)) * jump
    return ((unit + 0.1 * flux) * 255).astype(np.uint8)


def adjacent_channels(image: FloatImage) -> FloatImage:
    """Give the previous, this and the next slice, which `stack_neighbours` laid side by side as (H, W, 3).

    An (H, W) image, having no neighbours, stands in for them itself.
    """
    return plain_channels(image)


def slice_alone(slice_of: SliceAt, z: int) -> Image:
    """Give slice z as it is."""
    image = slice_of(z)
    assert image is not None, f"slice {z} is to be cut, so the volume has it"
    return image


def stack_neighbours(slice_of: SliceAt, z: int) -> Image:
    """Give slice z of a volume with its neighbours as (H, W, 3): previous, this, next.

    All three are resized and stretched together afterwards. The slice itself stands in for a neighbour that is not
    there, as at either end, or that is of another size. A colour slice (H, W, 3) stays as it is.
    """
    here = slice_alone(slice_of, z)
    if here.ndim == 3:
        return here
    around = [slice_of(z - 1), here, slice_of(z + 1)]
    return np.stack([here if each is None or each.shape != here.shape else each for each in around], axis=-1)


@dataclass(frozen=True)
class ChannelPreset:
    """How a slice becomes three channels.

    Attributes:
        make: maps (H, W) or (H, W, 3) in [0, 1] to (H, W, 3) in [0, 1].
        cut: gives slice z of a volume as `make` wants to see it.
        resize: brings a slice to the height and width that it has on the canvas.
    """

    make: Callable[[FloatImage], FloatImage]
    cut: Callable[[SliceAt, int], Image] = slice_alone
    resize: Callable[[Image, tuple[int, int]], Image] = resample


CHANNEL_PRESETS: dict[str, ChannelPreset] = {
    "graysam": ChannelPreset(graysam_channels),
    "paper": ChannelPreset(paper_channels),
    "released": ChannelPreset(released_channels),
    "adjacent": ChannelPreset(adjacent_channels, cut=stack_neighbours),
    "plain": ChannelPreset(plain_channels),
    # All else that LiteMedSAM does to an image (its own range to [0, 1], zeros below and at the right) is done for all.
    "litemedsam": ChannelPreset(plain_channels, resize=resample_by_area),
}
"""The names that a spec's `channels` may give."""
