"""From a volume or an image to the tensor that an image encoder reads: one way for training, calibration, prediction.

`slice_at` is the only place where a slice is cut out of a volume, and `prepare_slice` the only one that makes a canvas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graysam.image.channels import CHANNEL_PRESETS
from graysam.image.geometry import CanvasFit


class SliceSpec(Protocol):
    """What must be known of a model to prepare its slices; a `ModelSpec` is one."""

    @property
    def canvas(self) -> int:
        """The side of the canvas in pixels."""

    @property
    def channels(self) -> str:
        """The name of a preset of `graysam.image.channels`."""


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


def slice_at(volume: NDArray[Any] | Mapping[int, NDArray[Any]], z: int, spec: SliceSpec) -> NDArray[Any]:
    """Cut slice z out of a volume, as the model's channel preset wants to see it.

    Args:
        volume: (D, H, W), any integer or float dtype; or the slices at hand by their number, (H, W) or (H, W, 3), as a
            training store has them.
        z: the slice, counted from 0.
        spec: gives the channel preset.

    Returns:
        (H, W); or (H, W, 3) with the neighbouring slices, for a preset that shows them. uint8 stays, all else becomes
        float32.
    """

    def slice_of(number: int) -> NDArray[Any] | None:
        if isinstance(volume, Mapping):
            return volume.get(number)
        return volume[number] if 0 <= number < len(volume) else None

    return _sampled(CHANNEL_PRESETS[spec.channels].cut(slice_of, z))


def prepare_slice(image: NDArray[np.generic], spec: SliceSpec) -> PreparedSlice:
    """Fit a slice to the canvas, stretch its own range to [0, 1], make the three channels and pad.

    The range is taken over all channels after the resize, so that a single hot pixel of a huge image weighs little,
    and the padding equals the darkest intensity, as in the challenge's baseline.

    Args:
        image: (H, W) or (H, W, 3), any integer or float dtype, finite; of a volume what `slice_at` gives.
        spec: gives the canvas size and the channel preset.

    Returns:
        The prepared slice. A constant image, whatever its value, gives a canvas of zeros.
    """
    fit = CanvasFit.for_image((image.shape[0], image.shape[1]), spec.canvas)
    sampled = _sampled(image)
    preset = CHANNEL_PRESETS[spec.channels]
    content = preset.resize(sampled, fit.content_hw)
    low, high = float(content.min()), float(content.max())
    prepared = PreparedSlice(np.empty(0, np.float32), fit, sampled, low, high)
    channels = preset.make(np.clip(prepared.to_unit(content), 0, 1))
    canvas = np.ascontiguousarray(fit.pad(channels).transpose(2, 0, 1), np.float32)
    return PreparedSlice(canvas, fit, sampled, low, high)


def _sampled(image: NDArray[Any]) -> NDArray[Any]:
    """Give the image in a dtype that OpenCV resamples without rounding to whole steps of the original's."""
    return image if image.dtype in (np.uint8, np.float32) else image.astype(np.float32)
