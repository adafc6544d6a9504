"""Several maps of an image as one array: how an encoder hands on more than its embedding.

Engines, caches and files know one array for each image. An encoder whose decoder also wants the maps of its stages lays
them behind the embedding, as further channels: a map on a finer grid is cut into squares, one for each cell, whose
pixels become channels. Nothing is lost, and `unpack` gives the maps back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from graysam.models.network import EmbeddingShape


def packed_shape(maps: Sequence[EmbeddingShape]) -> EmbeddingShape:
    """Give channels, height and width of what `pack` makes of such maps; the first one gives the grid."""
    _, height, width = maps[0]
    return sum(each[0] * f**2 for each, f in zip(maps, _factors(maps), strict=True)), height, width


def pack(tensors: Sequence[Tensor], maps: Sequence[EmbeddingShape]) -> Tensor:
    """Lay maps (B, C, f h, f w), of the shapes given, behind each other: (B, all channels, h, w)."""
    finer = _factors(maps)
    return torch.cat(
        [F.pixel_unshuffle(each, f) if f > 1 else each for each, f in zip(tensors, finer, strict=True)], dim=1
    )


def unpack(packed: Tensor, maps: Sequence[EmbeddingShape]) -> list[Tensor]:
    """Give the maps that `pack` laid into an array, by their shapes."""
    finer = _factors(maps)
    parts = torch.split(packed, [each[0] * f**2 for each, f in zip(maps, finer, strict=True)], dim=1)
    return [F.pixel_shuffle(part, f) if f > 1 else part for part, f in zip(parts, finer, strict=True)]


def _factors(maps: Sequence[EmbeddingShape]) -> list[int]:
    """Give how many times finer each map's grid is than the first one's."""
    return [rows // maps[0][1] for _, rows, _ in maps]
