"""SAM's prompt encoder: boxes become pairs of tokens, pixels get a position code.

Source of the facts: github.com/facebookresearch/segment-anything at dca509f; Kirillov et al., Segment
Anything, 2023. All published parameters are held, so that official checkpoints load and save whole; only
boxes are prompts here, so the weights for points and for mask prompts are carried and not used.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from graysam.models.encoders.efficientvit import LayerNorm2d

POINT_KINDS: Final = 4
"""Background point, foreground point, upper left corner, lower right corner: in this order in checkpoints."""
CORNERS: Final = (2, 3)
MASK_CHANNELS: Final = 16


class PositionCode(nn.Module):
    """Random Fourier features of a position; the random frequencies are part of the weights."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, position: Tensor) -> Tensor:
        """Map (..., 2) positions x, y as fractions of the canvas, 0 to 1, to (..., width)."""
        phase = 2.0 * math.pi * ((2.0 * position - 1.0) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Encode boxes for SAM's mask decoder."""

    def __init__(self, *, width: int, embedding_size: int, canvas: int) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        self.canvas = canvas
        self.pe_layer = PositionCode(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(POINT_KINDS))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, MASK_CHANNELS // 4, 2, stride=2),
            LayerNorm2d(MASK_CHANNELS // 4),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS // 4, MASK_CHANNELS, 2, stride=2),
            LayerNorm2d(MASK_CHANNELS),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(self, boxes_canvas: Tensor) -> Tensor:
        """Give two tokens per box.

        boxes_canvas: (N, 4) float, x_min, y_min, x_max, y_max in pixels of the canvas; pixel centres lie half
            a pixel further, which is added here as the public code does.
        Gives (N, 2, width): upper left, lower right.
        """
        corners = (boxes_canvas + 0.5).reshape(-1, 2, 2) / self.canvas
        kinds = torch.cat([self.point_embeddings.get_parameter(f"{kind}.weight") for kind in CORNERS])
        tokens: Tensor = self.pe_layer(corners) + kinds
        return tokens

    def position_of_pixels(self) -> Tensor:
        """Give the position code of each pixel of the embedding: (1, width, h, h), h being its side."""
        frequencies = self.pe_layer.positional_encoding_gaussian_matrix
        steps = torch.arange(self.embedding_size, device=frequencies.device, dtype=frequencies.dtype)
        y, x = torch.meshgrid(*[(steps + 0.5) / self.embedding_size] * 2, indexing="ij")
        code: Tensor = self.pe_layer(torch.stack([x, y], dim=-1))  # (size, size, width)
        return code.permute(2, 0, 1).unsqueeze(0)

    def no_mask(self) -> Tensor:
        """Give what stands for an absent mask prompt, to be added to every pixel: (1, width, 1, 1)."""
        return self.no_mask_embed.weight[:, :, None, None]
