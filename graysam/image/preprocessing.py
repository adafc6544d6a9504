"""From a slice to the tensor that the image encoder reads: one function, for training and for prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graysam.image.channels import CHANNEL_PRESETS
from graysam.image.geometry import CanvasFit
from graysam.models.spec import ModelSpec


@dataclass(frozen=True)
class PreparedSlice:
    """A slice ready for an encoder, and what a decoder needs to look at it more closely.

    Attributes:
        canvas: (3, S, S) float32 in [0, 1], the three channels; the padding is 0.
        fit: how the slice lies on the canvas.
        image: the slice as given, (H, W) or (H, W, 3).
        low, high: the intensities that map to 0 and 1.
    """

    canvas: NDArray[np.float32]
    fit: CanvasFit
    image: NDArray[np.generic]
    low: float
    high: float

    def to_unit(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Map intensities of the slice to [0, 1] by its own range; a constant slice becomes all zeros."""
        if self.high <= self.low:
            return np.zeros(values.shape, np.float32)
        return (values.astype(np.float32) - np.float32(self.low)) * np.float32(1 / (self.high - self.low))


def prepare_slice(image: NDArray[np.generic], spec: ModelSpec) -> PreparedSlice:
    """Fit a slice to the canvas, stretch its own range to [0, 1], make the three channels and pad.

    The range is taken over all channels after the resize, so that a single hot pixel of a huge image weighs little,
    and the padding equals the darkest intensity, as in the challenge's baseline.

    Args:
        image: (H, W) or (H, W, 3), any integer or float dtype, finite.
        spec: gives the canvas size and the channel preset.

    Returns:
        The prepared slice. A constant image, whatever its value, gives a canvas of zeros.
    """
    fit = CanvasFit.for_image((image.shape[0], image.shape[1]), spec.canvas)
    sampled = image if image.dtype in (np.uint8, np.float32) else image.astype(np.float32)
    content = fit.to_content(sampled)
    low, high = float(content.min()), float(content.max())
    prepared = PreparedSlice(np.empty(0, np.float32), fit, sampled, low, high)
    channels = CHANNEL_PRESETS[spec.channels](np.clip(prepared.to_unit(content), 0, 1))
    canvas = np.ascontiguousarray(fit.pad(channels).transpose(2, 0, 1), np.float32)
    return PreparedSlice(canvas, fit, sampled, low, high)
