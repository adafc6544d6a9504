"""The image encoder of SAM, a vision transformer at any width and depth, equal to the public definition.

Source of the facts (blocks, key names, epsilons): github.com/facebookresearch/segment-anything at dca509f; Kirillov et
al., Segment Anything, 2023; Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, 2022.
Attribute names below (`patch_embed`, `blocks`, `rel_pos_h`, ...) are those of the published checkpoints, so that these
load.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graysam.errors import CheckpointError
from graysam.models.encoders.efficientvit import LayerNorm2d
from graysam.models.encoders.tiny_vit import join_windows, split_windows
from graysam.models.network import EmbeddingShape, Encoder
from graysam.models.options import VitOptions
from graysam.models.spec import ModelSpec

EXPAND: Final = 4
"""How much wider the middle of an MLP is."""
NORM_EPSILON: Final = 1e-6


class PatchEmbedding(nn.Module):
    """One linear map for each square patch."""

    def __init__(self, width: int, *, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, canvas: Tensor) -> Tensor:
        """Map (B, 3, S, S) to cells (B, S / patch, S / patch, width)."""
        result: Tensor = self.proj(canvas).permute(0, 2, 3, 1)
        return result


class Attention(nn.Module):
    """Softmax attention among all cells of a square.

    A learned vector for each number of rows, and of columns, that two cells lie apart is multiplied with the query and
    added to their weight.
    """

    apart: Tensor

    def __init__(self, width: int, *, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        steps = torch.arange(side)
        self.register_buffer("apart", steps[:, None] - steps[None] + side - 1, persistent=False)  # (side, side)

    def forward(self, cells: Tensor) -> Tensor:
        """Map (B, side * side, width), in reading order, to the same shape."""
        batch, count, width = cells.shape
        joined = self.qkv(cells).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = joined.unbind(0)  # each (B, heads, cells, head width)
        scale = (width // self.heads) ** -0.5
        weights = (query * scale) @ key.transpose(-2, -1) + self._place_bias(query)
        mixed = torch.softmax(weights, dim=-1) @ value
        result: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return result

    def _place_bias(self, query: Tensor) -> Tensor:
        """Give (B, heads, cells, cells): what the places of two cells add to the weight between them."""
        batch, heads, count, width = query.shape
        rows = self.rel_pos_h[self.apart]  # (side, side, head width), of the query's row and the key's
        columns = self.rel_pos_w[self.apart]
        placed = query.reshape(batch, heads, self.side, self.side, width)
        by_rows = placed @ rows.transpose(1, 2)  # (B, heads, row, column, key's row)
        by_columns = (placed.transpose(2, 3) @ columns.transpose(1, 2)).transpose(2, 3)
        bias = by_rows[..., :, None] + by_columns[..., None, :]
        return bias.reshape(batch, heads, count, count)


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, EXPAND * width)
        self.lin2 = nn.Linear(EXPAND * width, width)

    def forward(self, cells: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        result: Tensor = self.lin2(F.gelu(self.lin1(cells)))
        return result


class Block(nn.Module):
    """Attention, within windows or among all cells, then an MLP; both added to what was there."""

    def __init__(self, width: int, *, heads: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.attn = Attention(width, heads=heads, side=side)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.mlp = Mlp(width)

    def forward(self, cells: Tensor) -> Tensor:
        """Map (B, H, W, width) to the same shape."""
        windows, grid = split_windows(self.norm1(cells), self.side)  # one window, where all cells are looked at
        cells = cells + join_windows(self.attn(windows), grid, size_hw=(cells.shape[1], cells.shape[2]))
        result: Tensor = cells + self.mlp(self.norm2(cells))
        return result


class ViTEncoder(Encoder):
    """SAM's image encoder; with the default options of `VitOptions` its ViT-B: 89.7 million parameters.

    SAM's own weights were trained on images with the mean and the spread of its photographs taken off; MedSAM's, of the
    same keys, on images in [0, 1] as they come here.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        options, out = cast(VitOptions, spec.options), spec.embedding_width
        side = spec.canvas // options.patch
        self.patch_embed = PatchEmbedding(options.width, patch=options.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, options.width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            Block(options.width, heads=options.heads, side=side if index in options.global_blocks else options.window)
            for index in range(options.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(options.width, out, 1, bias=False),
            LayerNorm2d(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            LayerNorm2d(out),
        )

    @classmethod
    def embedding_shape(cls, spec: ModelSpec) -> EmbeddingShape:
        """Give channels, height and width of the embedding; see `Encoder`."""
        patch = cast(VitOptions, spec.options).patch
        if spec.canvas % patch:
            raise CheckpointError(f"spec {spec.name!r}: canvas {spec.canvas} must be a multiple of the patch {patch}.")
        return spec.embedding_width, spec.canvas // patch, spec.canvas // patch

    def forward(self, canvas: Tensor) -> Tensor:
        """Embed images.

        canvas: (B, 3, S, S) float in [0, 1], S the spec's canvas.  Gives (B, C, S / patch, S / patch).
        """
        cells = self.patch_embed(canvas) + self.pos_embed
        for block in self.blocks:
            cells = block(cells)
        result: Tensor = self.neck(cells.permute(0, 3, 1, 2))
        return result
