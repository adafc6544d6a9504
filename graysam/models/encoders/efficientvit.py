"""The image encoder of EfficientViT-SAM-L0, equal to the public definition on the same weights.

Source of the facts (widths, depths, key names, epsilons): github.com/mit-han-lab/efficientvit at de7d773, the
model named "efficientvit-sam-l0"; Cai et al., EfficientViT, ICCV 2023; Zhang et al., EfficientViT-SAM, 2024.
Attribute names below (`op_list`, `main`, `input_ops`, ...) are those of the published checkpoints, so that
these load.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graysam.models.network import EmbeddingShape, Encoder
from graysam.models.spec import ModelSpec

STAGE_WIDTHS: Final = (32, 64, 128, 256, 512)
"""Channels after each stage; stage i works at stride 2 ** (i + 1)."""
STAGE_DEPTHS: Final = (1, 1, 1, 4, 4)
"""Blocks of each stage after the one that halves the resolution."""
HEAD_WIDTH: Final = 32
"""Channels of one attention head."""
NECK_DEPTH: Final = 4
EMBEDDING_WIDTH: Final = 256
NORM_EPSILON: Final = 1e-6
"""Set on every normalisation by the public loader; PyTorch's own default would be 1e-5."""
ATTENTION_EPSILON: Final = 1e-15


class ConvNormAct(nn.Module):
    """A convolution that keeps the size (or halves it), then perhaps a BatchNorm, then perhaps a GELU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm: bool = True,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=NORM_EPSILON) if norm else nn.Identity()
        # The public code uses the tanh form of GELU in the encoder (and the exact one in SAM's decoder).
        self.act: nn.Module = nn.GELU(approximate="tanh") if act else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        result: Tensor = self.act(self.norm(self.conv(features)))
        return result


class Chain(nn.Module):
    """Blocks applied one after the other; `op_list` is the name in published checkpoints."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.op_list = nn.ModuleList(blocks)

    def forward(self, features: Tensor) -> Tensor:
        """Apply the blocks in order."""
        for block in self.op_list:
            features = block(features)
        return features


class Residual(nn.Module):
    """`main(x) + x`, or `main(x)` alone where the block changes the shape."""

    def __init__(self, main: nn.Module, *, add: bool = True) -> None:
        super().__init__()
        self.main = main
        self.add = add

    def forward(self, features: Tensor) -> Tensor:
        """Apply `main`; the input's shape is kept where it is added."""
        result: Tensor = self.main(features)
        return result + features if self.add else result


class LinearAttention(nn.Module):
    """Multi-scale attention whose cost grows linearly with the pixels (ReLU features instead of a softmax).

    The keys and values are summed once to a (head, head) matrix; two scales: the pixel itself, and a 5x5
    neighbourhood. The public code switches to the quadratic order of the same product below 32 pixels; the
    value is the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        joined = 3 * width  # queries, keys and values of all heads
        heads = width // HEAD_WIDTH
        self.qkv = ConvNormAct(width, joined, kernel=1, norm=False, act=False)
        self.aggreg = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(joined, joined, 5, padding=2, groups=joined, bias=False),
                    nn.Conv2d(joined, joined, 1, groups=3 * heads, bias=False),
                )
            ]
        )
        self.proj = ConvNormAct(2 * width, width, kernel=1, act=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        qkv = self.qkv(features)
        scales = torch.cat([qkv, *(aggregate(qkv) for aggregate in self.aggreg)], dim=1)
        result: Tensor = self.proj(_linear_attention(scales).to(features.dtype))
        return result


def _linear_attention(qkv: Tensor) -> Tensor:
    """Attend within each head: (B, heads * 3 * 32, H, W) to (B, heads * 32, H, W), at least float32."""
    batch, channels, height, width = qkv.shape
    heads = channels // (3 * HEAD_WIDTH)
    # Sums over all pixels, then a quotient of them: half precision is too coarse (the public code agrees). A tensor
    # without memory, by whose shape costs are counted, has no autocast that could be switched off.
    with nullcontext() if qkv.is_meta else torch.autocast(device_type=qkv.device.type, enabled=False):
        if qkv.dtype in (torch.float16, torch.bfloat16):
            qkv = qkv.float()
        qkv = qkv.reshape(batch, heads, 3 * HEAD_WIDTH, height * width)
        query, key, value = qkv.chunk(3, dim=2)  # each (B, heads, HEAD_WIDTH, pixels)
        query, key = F.relu(query), F.relu(key)
        # A further value row of ones carries the denominator through the same two products.
        value = F.pad(value, (0, 0, 0, 1), value=1.0)
        summed = value @ key.transpose(-1, -2)  # (B, heads, HEAD_WIDTH + 1, HEAD_WIDTH)
        attended = summed @ query  # (B, heads, HEAD_WIDTH + 1, pixels)
        attended = attended[:, :, :-1] / (attended[:, :, -1:] + ATTENTION_EPSILON)
        return attended.reshape(batch, heads * HEAD_WIDTH, height, width)


class AttentionBlock(nn.Module):
    """Linear attention for the context, then an inverted bottleneck for the neighbourhood; both residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.context_module = Residual(LinearAttention(width))
        self.local_module = Residual(_inverted_bottleneck(width, width, expand=6))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        result: Tensor = self.local_module(self.context_module(features))
        return result


class Backbone(nn.Module):
    """Five stages, each at half the resolution of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stage(index) for index in range(len(STAGE_WIDTHS)))

    def forward(self, canvas: Tensor) -> list[Tensor]:
        """Map (B, 3, S, S) to the features of every stage, (B, STAGE_WIDTHS[i], S / 2 ** (i + 1), ...)."""
        features = []
        for stage in self.stages:
            canvas = stage(canvas)
            features.append(canvas)
        return features


class Neck(nn.Module):
    """Bring the last three stages to one size, add them, refine, and widen to the embedding."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.size = size
        width = EMBEDDING_WIDTH
        self.input_ops = nn.ModuleList(
            Chain(ConvNormAct(inputs, width, kernel=1, act=False)) for inputs in reversed(STAGE_WIDTHS[2:])
        )
        self.middle = Chain(*(Residual(_fused_bottleneck(width, width, expand=1)) for _ in range(NECK_DEPTH)))
        self.output_ops = nn.ModuleList([Chain(ConvNormAct(width, width, kernel=1, bias=True, norm=False, act=False))])

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Map the features of all stages to (B, EMBEDDING_WIDTH, size, size)."""
        maps = [
            F.interpolate(op(features), (self.size, self.size), mode="bicubic", align_corners=False)
            for op, features in zip(self.input_ops, reversed(stages[2:]), strict=True)
        ]
        result: Tensor = self.output_ops[0](self.middle(maps[0] + maps[1] + maps[2]))
        return result


class LayerNorm2d(nn.Module):
    """Normalise the channels of each pixel to mean 0 and variance 1, then scale and shift them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape; a pixel of equal channels becomes the bias."""
        centred = features - features.mean(1, keepdim=True)
        variance = centred.square().mean(1, keepdim=True)
        normal = centred / torch.sqrt(variance + NORM_EPSILON)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


class EfficientViTEncoder(Encoder):
    """The image encoder of EfficientViT-SAM-L0: 30.73 million parameters, 16.95 GMAC at 256x256.

    The neck's size is free of weights: 64 as published, or 32, which takes a quarter of the neck's cost (two
    thirds of the whole encoder's) and asks for weights trained so.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.backbone = Backbone()
        self.neck = Neck(size=spec.neck_size)
        self.norm = LayerNorm2d(EMBEDDING_WIDTH)

    @classmethod
    def embedding_shape(cls, spec: ModelSpec) -> EmbeddingShape:
        """Give channels, height and width of the embedding; see `Encoder`."""
        return EMBEDDING_WIDTH, spec.neck_size, spec.neck_size

    def forward(self, canvas: Tensor) -> Tensor:
        """Embed images.

        canvas: (B, 3, S, S) float, S a multiple of 32.  Gives (B, 256, neck_size, neck_size).
        """
        result: Tensor = self.norm(self.neck(self.backbone(canvas)))
        return result


def _stage(index: int) -> Chain:
    """Give one stage: the stem, two of fused bottlenecks, one of inverted bottlenecks, one of attention."""
    width, depth = STAGE_WIDTHS[index], STAGE_DEPTHS[index]
    if index == 0:
        return Chain(ConvNormAct(3, width, stride=2), *(Residual(_two_convs(width)) for _ in range(depth)))
    narrow = STAGE_WIDTHS[index - 1]
    if index <= 2:
        down = _fused_bottleneck(narrow, width, expand=16, stride=2)
        return Chain(
            Residual(down, add=False),
            *(Residual(_fused_bottleneck(width, width, expand=4)) for _ in range(depth)),
        )
    down = _inverted_bottleneck(narrow, width, expand=16 if index == 3 else 24, stride=2)
    blocks: list[nn.Module]
    if index == 3:
        blocks = [Residual(_inverted_bottleneck(width, width, expand=4)) for _ in range(depth)]
    else:
        blocks = [AttentionBlock(width) for _ in range(depth)]
    return Chain(Residual(down, add=False), *blocks)


def _two_convs(width: int) -> nn.Sequential:
    """Give two 3x3 convolutions at full width."""
    return nn.Sequential(OrderedDict(conv1=ConvNormAct(width, width), conv2=ConvNormAct(width, width, act=False)))


def _fused_bottleneck(inputs: int, outputs: int, *, expand: int, stride: int = 1) -> nn.Sequential:
    """Give a full 3x3 convolution to `expand` times the width and a 1x1 convolution back."""
    middle = inputs * expand
    return nn.Sequential(
        OrderedDict(
            spatial_conv=ConvNormAct(inputs, middle, stride=stride),
            point_conv=ConvNormAct(middle, outputs, kernel=1, act=False),
        )
    )


def _inverted_bottleneck(inputs: int, outputs: int, *, expand: int, stride: int = 1) -> nn.Sequential:
    """Give 1x1 out, 3x3 on each channel alone, 1x1 back; the last is normalised, the others have a bias."""
    middle = inputs * expand
    return nn.Sequential(
        OrderedDict(
            inverted_conv=ConvNormAct(inputs, middle, kernel=1, bias=True, norm=False),
            depth_conv=ConvNormAct(middle, middle, stride=stride, groups=middle, bias=True, norm=False),
            point_conv=ConvNormAct(middle, outputs, kernel=1, act=False),
        )
    )
