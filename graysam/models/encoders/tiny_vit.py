"""The image encoder of LiteMedSAM, a TinyViT without its first stride of 4, equal to the public definition.

Source of the facts (widths, depths, windows, key names, epsilons): github.com/bowang-lab/MedSAM, branch LiteMedSAM, at
b0fab47, file tiny_vit_sam.py; Wu et al., TinyViT, ECCV 2022; Ma et al., MedSAM, 2024. Attribute names below
(`patch_embed`, `layers`, `blocks`, `c`, `bn`, ...) are those of the published checkpoint, so that it loads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graysam.models.encoders.efficientvit import LayerNorm2d
from graysam.models.network import EmbeddingShape, Encoder
from graysam.models.spec import ModelSpec

STAGE_WIDTHS: Final = (64, 128, 160, 320)
STAGE_STRIDES: Final = (1, 2, 4, 4)
"""Canvas pixels per cell of each stage: the last one keeps the resolution, which a TinyViT would halve again."""
STAGE_DEPTHS: Final = (2, 2, 6, 2)
STAGE_HEADS: Final = (2, 4, 5, 10)
"""Attention heads; the first stage has convolutions only and no use for its number."""
STAGE_WINDOWS: Final = (7, 7, 14, 7)
"""Side in cells of the square windows that attention stays within."""
EXPAND: Final = 4
"""How much wider the middle of a bottleneck or of an MLP is."""
STRIDE: Final = 4
"""Canvas pixels per cell of the embedding."""
EMBEDDING_WIDTH: Final = 256


class ConvNorm(nn.Sequential):
    """Convolution without bias and BatchNorm, "same" padding; `c` and `bn` are the names in the checkpoint."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            OrderedDict(
                c=nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
                bn=nn.BatchNorm2d(outputs),
            )
        )


class PatchEmbedding(nn.Module):
    """Two 1x1 convolutions: each pixel is a patch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, width // 2), nn.GELU(), ConvNorm(width // 2, width))

    def forward(self, canvas: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, width, S, S)."""
        result: Tensor = self.seq(canvas)
        return result


class Bottleneck(nn.Module):
    """An inverted bottleneck with a way round it, and a GELU after their sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        middle = EXPAND * width
        self.conv1 = ConvNorm(width, middle)
        self.conv2 = ConvNorm(middle, middle, kernel=3, groups=middle)
        self.conv3 = ConvNorm(middle, width)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        inner = F.gelu(self.conv2(F.gelu(self.conv1(features))))
        return F.gelu(features + self.conv3(inner))


class Merging(nn.Module):
    """Widen the features for the next stage and, with a stride of 2, halve their resolution."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, kernel=3, stride=stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        result: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))
        return result


class WindowAttention(nn.Module):
    """Softmax attention among the cells of one window; a learned bias tells how far apart two cells lie."""

    offset_index: Tensor

    def __init__(self, width: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.register_buffer("offset_index", offset_index(window), persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """Map (number of windows, cells, width) to the same shape; each window is on its own."""
        count, cells, width = windows.shape
        joined = self.qkv(self.norm(windows))
        joined = joined.reshape(count, cells, self.heads, -1).transpose(1, 2)  # (count, heads, cells, 3 * head width)
        query, key, value = joined.chunk(3, dim=-1)
        scale = (width // self.heads) ** -0.5
        bias = self.attention_biases[:, self.offset_index]  # (heads, cells, cells)
        weights = torch.softmax((query @ key.transpose(-2, -1)) * scale + bias, dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(count, cells, width)
        result: Tensor = self.proj(mixed)
        return result


class Mlp(nn.Module):
    """LayerNorm and two linear layers with a GELU between, for each cell on its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, EXPAND * width)
        self.fc2 = nn.Linear(EXPAND * width, width)

    def forward(self, cells: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        result: Tensor = self.fc2(F.gelu(self.fc1(self.norm(cells))))
        return result


class AttentionBlock(nn.Module):
    """Attention within windows, a depthwise convolution across their borders, and an MLP."""

    def __init__(self, width: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads=heads, window=window)
        self.mlp = Mlp(width)
        self.local_conv = ConvNorm(width, width, kernel=3, groups=width)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        cells = features.permute(0, 2, 3, 1)  # (B, H, W, width)
        windows, grid = split_windows(cells, self.window)
        attended = join_windows(self.attn(windows), grid, size_hw=(cells.shape[1], cells.shape[2]))
        features = self.local_conv((cells + attended).permute(0, 3, 1, 2))
        cells = features.permute(0, 2, 3, 1)
        result: Tensor = (cells + self.mlp(cells)).permute(0, 3, 1, 2)
        return result


class Stage(nn.Module):
    """Some blocks at one resolution, then perhaps the step to the next stage."""

    def __init__(self, index: int) -> None:
        super().__init__()
        width, depth = STAGE_WIDTHS[index], STAGE_DEPTHS[index]
        if index == 0:
            self.blocks = nn.ModuleList(Bottleneck(width) for _ in range(depth))
        else:
            heads, window = STAGE_HEADS[index], STAGE_WINDOWS[index]
            self.blocks = nn.ModuleList(AttentionBlock(width, heads=heads, window=window) for _ in range(depth))
        self.downsample: Merging | None = None
        if index + 1 < len(STAGE_WIDTHS):
            stride = STAGE_STRIDES[index + 1] // STAGE_STRIDES[index]
            self.downsample = Merging(width, STAGE_WIDTHS[index + 1], stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """Map the features of this stage to those that the next one starts from."""
        for block in self.blocks:
            features = block(features)
        if self.downsample is not None:
            features = self.downsample(features)
        return features


class TinyViTEncoder(Encoder):
    """The image encoder of LiteMedSAM: 5.74 million parameters.

    Half of its cost lies in the first stage, which works on every pixel of the canvas.
    """

    @classmethod
    def stays_float(cls, operation: str, shape: Sequence[int], spec: ModelSpec) -> bool:
        """Keep depthwise convolutions, and those on every pixel of the canvas, in floats.

        With all inputs on 256 levels, two slices' embeddings correlated 0.84 and 0.73 with those of floats; with the
        depthwise convolutions of all stages alone 0.85 and 0.73, with the linear layers alone 0.996 and 0.997.
        """
        on_canvas = operation == "Convolution" and shape[-1] >= spec.canvas
        return operation == "GroupConvolution" or on_canvas

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.patch_embed = PatchEmbedding(STAGE_WIDTHS[0])
        self.layers = nn.ModuleList(Stage(index) for index in range(len(STAGE_WIDTHS)))
        self.neck = nn.Sequential(
            nn.Conv2d(STAGE_WIDTHS[-1], EMBEDDING_WIDTH, 1, bias=False),
            LayerNorm2d(EMBEDDING_WIDTH),
            nn.Conv2d(EMBEDDING_WIDTH, EMBEDDING_WIDTH, 3, padding=1, bias=False),
            LayerNorm2d(EMBEDDING_WIDTH),
        )

    @classmethod
    def embedding_shape(cls, spec: ModelSpec) -> EmbeddingShape:
        """Give channels, height and width of the embedding; see `Encoder`."""
        return EMBEDDING_WIDTH, spec.canvas // STRIDE, spec.canvas // STRIDE

    def forward(self, canvas: Tensor) -> Tensor:
        """Embed images.

        canvas: (B, 3, S, S) float in [0, 1], S a multiple of 4.  Gives (B, 256, S / 4, S / 4).
        """
        features = self.patch_embed(canvas)
        for stage in self.layers:
            features = stage(features)
        result: Tensor = self.neck(features)
        return result


def offset_index(window: int) -> Tensor:
    """Number the pairs of cells of a window by how many rows and columns they lie apart.

    Gives (cells, cells) int64, cells = window ** 2 in reading order: rows apart * window + columns apart.
    """
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    rows_apart = (rows[:, None] - rows[None]).abs()
    columns_apart = (columns[:, None] - columns[None]).abs()
    return rows_apart * window + columns_apart


def split_windows(cells: Tensor, window: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Cut a map into windows, filled up with zeros below and at the right.

    cells: (B, H, W, C).
    Gives (B * rows * columns, window ** 2, C) and the grid (rows, columns, window). The zeros take part in the
    attention of their window, as in the public code.
    """
    batch, height, width, channels = cells.shape
    rows, columns = -(-height // window), -(-width // window)
    filled = F.pad(cells, (0, 0, 0, columns * window - width, 0, rows * window - height))
    blocks = filled.reshape(batch, rows, window, columns, window, channels).transpose(2, 3)
    return blocks.reshape(-1, window * window, channels), (rows, columns, window)


def join_windows(windows: Tensor, grid: tuple[int, int, int], *, size_hw: tuple[int, int]) -> Tensor:
    """Lay what `split_windows` cut side by side again: (B, H, W, C), without what was filled up."""
    rows, columns, window = grid
    blocks = windows.reshape(-1, rows, columns, window, window, windows.shape[-1]).transpose(2, 3)
    cells = blocks.reshape(-1, rows * window, columns * window, windows.shape[-1])
    return cells[:, : size_hw[0], : size_hw[1]]
