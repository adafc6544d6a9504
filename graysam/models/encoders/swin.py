"""The image encoder of Swin-LiteMedSAM, a tiny Swin transformer whose four stages go to the decoder, too.

Source of the facts (widths, depths, heads, key names, epsilons): github.com/RuochenGao/Swin_LiteMedSAM at 71d72a8, file
models/swin.py; Gao et al., Swin-LiteMedSAM, 2024; Liu et al., Swin Transformer, ICCV 2021. Attribute names below
(`stage1`, `attention_block`, `fn`, `net`, ...) are those of the published checkpoint, so that it loads.
"""

from __future__ import annotations

from typing import ClassVar, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graysam.models.encoders.efficientvit import LayerNorm2d
from graysam.models.encoders.tiny_vit import ConvNorm, PatchEmbedding, join_windows, split_windows
from graysam.models.network import EmbeddingShape, Encoder
from graysam.models.options import SwinOptions
from graysam.models.packing import pack, packed_shape
from graysam.models.spec import ModelSpec

STAGE_STRIDES: Final = (2, 4, 4, 4)
"""Canvas pixels per cell of each stage."""
WINDOW: Final = 8
"""Side in cells of the square windows that attention stays within; every second block shifts them by half of it."""
HEAD_WIDTH: Final = 32
EXPAND: Final = 4
"""How much wider the middle of an MLP is."""


class Merging(nn.Module):
    """Squares of `factor` x `factor` cells become one, by a linear map of all their numbers."""

    def __init__(self, inputs: int, outputs: int, *, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(inputs * factor**2, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to cells (B, H / factor, W / factor, outputs)."""
        squares = F.pixel_unshuffle(features, self.factor)  # the order of a channel's pixels is that of unfolding
        result: Tensor = self.linear(squares.permute(0, 2, 3, 1))
        return result


class WindowAttention(nn.Module):
    """Softmax attention among the cells of one window; a learned bias tells how two cells lie to each other.

    Shifted windows reach over the right and the lower border to the other side; there, cells that do not touch in the
    image do not see each other.
    """

    offset_index: Tensor
    barred: Tensor | None

    def __init__(self, width: int, *, heads: int, side: int, shifted: bool) -> None:
        """Take a map of `side` x `side` cells, a multiple of the window."""
        super().__init__()
        self.heads = heads
        self.shift = WINDOW // 2 if shifted else 0
        self.to_qkv = nn.Linear(width, 3 * heads * HEAD_WIDTH, bias=False)
        self.pos_embedding = nn.Parameter(torch.randn(2 * WINDOW - 1, 2 * WINDOW - 1))
        self.to_out = nn.Linear(heads * HEAD_WIDTH, width)
        self.register_buffer("offset_index", offset_index(), persistent=False)
        self.register_buffer("barred", barred_pairs(side) if shifted else None, persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Map (B, H, W, width) to the same shape."""
        size_hw = (cells.shape[1], cells.shape[2])
        if self.shift:
            cells = torch.roll(cells, (-self.shift, -self.shift), dims=(1, 2))
        windows, grid = split_windows(cells, WINDOW)
        mixed = join_windows(self._attend(windows, grid[0] * grid[1]), grid, size_hw=size_hw)
        if self.shift:
            mixed = torch.roll(mixed, (self.shift, self.shift), dims=(1, 2))
        return mixed

    def _attend(self, windows: Tensor, windows_per_image: int) -> Tensor:
        """Map (B * windows, cells, width) to the same shape; each window is on its own."""
        count, cells, _ = windows.shape
        joined = self.to_qkv(windows).reshape(-1, windows_per_image, cells, 3, self.heads, HEAD_WIDTH)
        query, key, value = joined.permute(3, 0, 1, 4, 2, 5).unbind(0)  # each (B, windows, heads, cells, HEAD_WIDTH)
        weights = (query @ key.transpose(-2, -1)) * HEAD_WIDTH**-0.5
        weights = weights + self.pos_embedding.flatten()[self.offset_index]
        if self.barred is not None:
            weights = weights.masked_fill(self.barred, float("-inf"))
        mixed = torch.softmax(weights, dim=-1) @ value
        result: Tensor = self.to_out(mixed.transpose(2, 3).reshape(count, cells, self.heads * HEAD_WIDTH))
        return result


class Mlp(nn.Module):
    """Two linear layers with a GELU between, for each cell on its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, EXPAND * width), nn.GELU(), nn.Linear(EXPAND * width, width))

    def forward(self, cells: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        result: Tensor = self.net(cells)
        return result


class Normed(nn.Module):
    """A LayerNorm before a part."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, cells: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        result: Tensor = self.fn(self.norm(cells))
        return result


class Residual(nn.Module):
    """A part and a way round it."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, cells: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        result: Tensor = self.fn(cells) + cells
        return result


class Block(nn.Module):
    """Attention within windows, a depthwise convolution across their borders, and an MLP."""

    def __init__(self, width: int, *, heads: int, side: int, shifted: bool) -> None:
        super().__init__()
        attention = WindowAttention(width, heads=heads, side=side, shifted=shifted)
        self.attention_block = Residual(Normed(width, attention))
        self.local_conv = ConvNorm(width, width, kernel=3, groups=width)
        self.mlp_block = Residual(Normed(width, Mlp(width)))

    def forward(self, cells: Tensor) -> Tensor:
        """Map (B, H, W, width) to the same shape."""
        features = self.local_conv(self.attention_block(cells).permute(0, 3, 1, 2))
        result: Tensor = self.mlp_block(features.permute(0, 2, 3, 1))
        return result


class Stage(nn.Module):
    """A step to another width, perhaps to a coarser grid, then pairs of blocks: windows as they are, and shifted."""

    def __init__(self, inputs: int, outputs: int, *, factor: int, depth: int, heads: int, side: int) -> None:
        super().__init__()
        self.downsample = Merging(inputs, outputs, factor=factor)
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(outputs, heads=heads, side=side, shifted=shifted) for shifted in (False, True))
            for _ in range(depth // 2)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / factor, W / factor)."""
        cells = self.downsample(features)
        for pair in self.blocks:
            for block in cast(nn.ModuleList, pair):
                cells = block(cells)
        result: Tensor = cells.permute(0, 3, 1, 2)
        return result


class SwinEncoder(Encoder):
    """The image encoder of Swin-LiteMedSAM.

    Its embedding is packed with what the four stages gave: see `graysam.models.packing`.
    """

    # Published: which cells of shifted windows do not see each other, though this follows from the window alone.
    unread_weights: ClassVar = (".upper_lower_mask", ".left_right_mask")

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        options = cast(SwinOptions, spec.options)
        widths = options.widths
        self._shapes = self.maps(spec)
        self.patch_embed = PatchEmbedding(widths[0])
        strides = (1, *STAGE_STRIDES)
        for index, (inputs, outputs) in enumerate(zip(widths, (*widths[1:], widths[-1]), strict=True)):
            stage = Stage(
                inputs,
                outputs,
                factor=strides[index + 1] // strides[index],
                depth=options.depths[index],
                heads=options.heads[index],
                side=spec.canvas // STAGE_STRIDES[index],
            )
            self.add_module(f"stage{index + 1}", stage)
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], options.embedding, 1, bias=False),
            LayerNorm2d(options.embedding),
            nn.Conv2d(options.embedding, options.embedding, 3, padding=1, bias=False),
            LayerNorm2d(options.embedding),
        )

    @classmethod
    def maps(cls, spec: ModelSpec) -> tuple[EmbeddingShape, ...]:
        """Give the shapes of the embedding and of what the four stages give; see `Encoder`."""
        options = cast(SwinOptions, spec.options)
        channels = (options.embedding, *options.widths[1:], options.widths[-1])
        sides = [spec.canvas // stride for stride in (STAGE_STRIDES[-1], *STAGE_STRIDES)]
        return tuple((each, side, side) for each, side in zip(channels, sides, strict=True))

    @classmethod
    def embedding_shape(cls, spec: ModelSpec) -> EmbeddingShape:
        """Give channels, height and width of the packed embedding; see `Encoder`."""
        return packed_shape(cls.maps(spec))

    def forward(self, canvas: Tensor) -> Tensor:
        """Embed images.

        canvas: (B, 3, S, S) float in [0, 1], S the spec's canvas.  Gives (B, C, S / 4, S / 4), packed.
        """
        features = self.patch_embed(canvas)
        stages = []
        for index in range(len(STAGE_STRIDES)):
            features = self.get_submodule(f"stage{index + 1}")(features)
            stages.append(features)
        return pack([self.neck(features), *stages], self._shapes)


def offset_index() -> Tensor:
    """Number the pairs of cells of a window by the rows and the columns from one to the other.

    Gives (cells, cells) int64, cells in reading order: row of the bias * its columns + column.
    """
    steps = torch.arange(WINDOW)
    rows, columns = (each.flatten() for each in torch.meshgrid(steps, steps, indexing="ij"))
    down = rows[None] - rows[:, None] + WINDOW - 1
    right = columns[None] - columns[:, None] + WINDOW - 1
    return down * (2 * WINDOW - 1) + right


def barred_pairs(side: int) -> Tensor:
    """Tell which cells of shifted windows do not see each other, on a map of `side` x `side` cells.

    Gives (windows, 1, cells, cells) bool. Windows of the last row, and of the last column, hold cells of both borders.
    """
    count, half = side // WINDOW, WINDOW // 2
    wraps = torch.arange(WINDOW) >= half  # of the rows, or columns, of a window at the border: from the other side
    of_row, of_column = (each.flatten() for each in torch.meshgrid(wraps, wraps, indexing="ij"))
    is_last = torch.arange(count) == count - 1
    by_rows = is_last[:, None, None, None] & (of_row[:, None] != of_row[None])
    by_columns = is_last[None, :, None, None] & (of_column[:, None] != of_column[None])
    return (by_rows | by_columns).flatten(0, 1)[:, None]
