"""The small image encoder: plain 3x3 convolutions and a feature pyramid, made for CPUs.

Plain convolutions run near the arithmetic peak of a CPU, in training as well as in int8; depthwise ones and attention
do not. The encoder only supplies context (what surrounds the object, at an eighth of the canvas): contours come from
the box-frame decoder, which sees the image itself.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from graysam.models.network import EmbeddingShape, Encoder
from graysam.models.spec import ModelSpec

STRIDE = 8  # pixels of the canvas, along each side, for one cell of the embedding


def conv_norm(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Give convolution and BatchNorm, "same" padding, no bias: the norm has one."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            norm=nn.BatchNorm2d(outputs),
        )
    )


class ConvUnit(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.body = conv_norm(inputs, outputs, kernel=kernel, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return functional.relu(self.body(features))


class ResidualUnit(nn.Module):
    """Two convolutions with a way round them (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvUnit(width, width)
        self.second = conv_norm(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        return functional.relu(features + self.second(self.first(features)))


class ConvEncoder(Encoder):
    """(B, 3, S, S) in [0, 1] to (B, embedding_width, S / 8, S / 8)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        stem, early, middle, late, last = spec.encoder_widths
        self.stem = ConvUnit(3, stem, stride=2)
        self.stride_4 = nn.Sequential(ConvUnit(stem, early, stride=2), ResidualUnit(early))
        self.stride_8 = nn.Sequential(ConvUnit(early, middle, stride=2), ResidualUnit(middle), ResidualUnit(middle))
        self.stride_16 = nn.Sequential(ConvUnit(middle, late, stride=2), ResidualUnit(late), ResidualUnit(late))
        self.stride_32 = nn.Sequential(ConvUnit(late, last, stride=2), ResidualUnit(last))
        width = spec.embedding_width
        self.lateral_8 = conv_norm(middle, width, kernel=1)
        self.lateral_16 = conv_norm(late, width, kernel=1)
        self.lateral_32 = conv_norm(last, width, kernel=1)
        self.merge = ConvUnit(width, width)

    @classmethod
    def embedding_shape(cls, spec: ModelSpec) -> EmbeddingShape:
        """Give channels, height and width of the embedding; see `Encoder`."""
        return spec.embedding_width, spec.canvas // STRIDE, spec.canvas // STRIDE

    def forward(self, canvas: Tensor) -> Tensor:
        """Embed a batch of canvases."""
        at_8 = self.stride_8(self.stride_4(self.stem(canvas - 0.5)))
        at_16 = self.stride_16(at_8)
        at_32 = self.stride_32(at_16)
        coarse = self.lateral_16(at_16) + upsample(self.lateral_32(at_32))
        embedding: Tensor = self.merge(self.lateral_8(at_8) + upsample(coarse))
        return embedding


def upsample(features: Tensor) -> Tensor:
    """Double both sides, each cell repeated: cheap, and exact in int8."""
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")
