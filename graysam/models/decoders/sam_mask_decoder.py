"""SAM's mask decoder, which shares over the boxes of one image whatever does not depend on the box.

Source of the facts: github.com/facebookresearch/segment-anything at dca509f; Kirillov et al., Segment
Anything, 2023. There is one code path: the image enters with a batch of 1 and is broadcast, so the first
layer's projections of the image (its keys, values and queries) are computed once for all boxes; with a batch
of N it is the original computation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graysam.models.encoders.efficientvit import LayerNorm2d

LAYERS: Final = 2
HEADS: Final = 8
HIDDEN: Final = 2048
MASK_TOKENS: Final = 4
"""Token 0 answers an unambiguous prompt such as a box; 1 to 3 are SAM's answers to an ambiguous point."""
UNANSWERED_HEADS: Final = tuple(f"mask_decoder.output_hypernetworks_mlps.{token}" for token in range(1, MASK_TOKENS))
"""The heads of tokens 1 to 3, by their names in a decoder of ours: only token 0 is answered with."""
CROSS_SHRINK: Final = 2
"""Attention between tokens and image works at half the width."""


class Attention(nn.Module):
    """Softmax attention with several heads, at `width / shrink` inside."""

    def __init__(self, width: int, *, shrink: int = 1) -> None:
        super().__init__()
        inner = width // shrink
        self.scale = (inner // HEADS) ** -0.5
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, *, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from each query to all keys.

        query: (B or 1, Q, width).  key, value: (B or 1, K, width).  A batch of 1 is shared and projected
            once.
        Gives (B, Q, width).
        """
        q = _split_heads(self.q_proj(query))  # (B or 1, HEADS, Q, inner / HEADS)
        k = _split_heads(self.k_proj(key))
        v = _split_heads(self.v_proj(value))
        weights = torch.softmax((q * self.scale) @ k.transpose(-1, -2), dim=-1)  # (B, HEADS, Q, K)
        result: Tensor = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return result


class TokenMlp(nn.Module):
    """Two linear layers with a ReLU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, HIDDEN)
        self.lin2 = nn.Linear(HIDDEN, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T, width) to the same shape."""
        result: Tensor = self.lin2(F.relu(self.lin1(tokens)))
        return result


class TwoWayLayer(nn.Module):
    """Tokens look at each other, then at the image, think, and the image looks at them."""

    def __init__(self, width: int, *, first: bool, epsilon: float) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width)
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.cross_attn_token_to_image = Attention(width, shrink=CROSS_SHRINK)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = TokenMlp(width)
        self.norm3 = nn.LayerNorm(width, eps=epsilon)
        self.norm4 = nn.LayerNorm(width, eps=epsilon)
        self.cross_attn_image_to_token = Attention(width, shrink=CROSS_SHRINK)

    def forward(self, tokens: Tensor, image: Tensor, *, tokens_at: Tensor, image_at: Tensor) -> tuple[Tensor, Tensor]:
        """Update both sides.

        tokens: (N, T, width).  image: (N or 1, P, width).  tokens_at, image_at: what is added to say who and
            where.
        Gives tokens (N, T, width) and image (N, P, width).
        """
        if self.first:  # the tokens are still their own position code, and are replaced, not added to
            tokens = self.self_attn(query=tokens, key=tokens, value=tokens)
        else:
            placed = tokens + tokens_at
            tokens = tokens + self.self_attn(query=placed, key=placed, value=tokens)
        tokens = self.norm1(tokens)
        image_placed = image + image_at
        tokens = tokens + self.cross_attn_token_to_image(query=tokens + tokens_at, key=image_placed, value=image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = image + self.cross_attn_image_to_token(query=image_placed, key=tokens + tokens_at, value=tokens)
        return tokens, self.norm4(image)


class TwoWayTransformer(nn.Module):
    """Two such layers, then the tokens look at the image once more."""

    def __init__(self, width: int, *, epsilon: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(width, first=index == 0, epsilon=epsilon) for index in range(LAYERS))
        self.final_attn_token_to_image = Attention(width, shrink=CROSS_SHRINK)
        self.norm_final_attn = nn.LayerNorm(width, eps=epsilon)

    def forward(self, tokens: Tensor, image: Tensor, *, image_at: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens (N, T, width), image (N or 1, P, width) to (N, T, width), (N, P, width)."""
        tokens_at = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, tokens_at=tokens_at, image_at=image_at)
        tokens = tokens + self.final_attn_token_to_image(query=tokens + tokens_at, key=image + image_at, value=image)
        return self.norm_final_attn(tokens), image


class TokenHead(nn.Module):
    """Three linear layers with ReLUs between, from a token to some numbers."""

    def __init__(self, width: int, *, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, outputs)])

    def forward(self, token: Tensor) -> Tensor:
        """Map (N, width) to (N, outputs)."""
        first, second, last = self.layers
        result: Tensor = last(F.relu(second(F.relu(first(token)))))
        return result


class TokenDecoder(nn.Module):
    """From an image embedding and the tokens of N prompts to N masks; how the image grows is for a subclass to say.

    norm_epsilon: of the transformer's normalisations; published weights differ in it, see `ModelSpec`.
    """

    def __init__(self, *, width: int, norm_epsilon: float) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(width, epsilon=norm_epsilon)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, width)
        self.output_hypernetworks_mlps = nn.ModuleList(TokenHead(width, outputs=width // 8) for _ in range(MASK_TOKENS))
        self.iou_prediction_head = TokenHead(width, outputs=MASK_TOKENS)

    def answer(
        self,
        embedding: Tensor,
        prompt_tokens: Tensor,
        *,
        position: Tensor,
        upscale: Callable[[Tensor], Tensor],
        masks: int,
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts, as `MaskDecoder` does; `upscale` maps (N, width, h, w) to (N, width / 8, 4 h, 4 w)."""
        height, width = embedding.shape[-2:]
        own_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])  # (1 + MASK_TOKENS, width)
        tokens = torch.cat([own_tokens.expand(prompt_tokens.shape[0], -1, -1), prompt_tokens], dim=1)
        tokens, image = self.transformer(
            tokens, embedding.flatten(2).transpose(1, 2), image_at=position.flatten(2).transpose(1, 2)
        )
        image = image.transpose(1, 2).unflatten(2, (height, width))  # (N, width, h, w)
        fine = upscale(image)  # (N, width / 8, 4 h, 4 w)
        weights = torch.stack(
            [head(tokens[:, 1 + i]) for i, head in enumerate(self.output_hypernetworks_mlps[:masks])], dim=1
        )  # (N, masks, width / 8)
        logits: Tensor = (weights @ fine.flatten(2)).unflatten(2, fine.shape[-2:])  # type: ignore[no-untyped-call]
        iou: Tensor = self.iou_prediction_head(tokens[:, 0])
        return logits, iou[:, :masks]


class MaskDecoder(TokenDecoder):
    """SAM's own: the image grows by itself, in two steps."""

    def __init__(self, *, width: int, norm_epsilon: float) -> None:
        super().__init__(width=width, norm_epsilon=norm_epsilon)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )

    def forward(
        self, embedding: Tensor, prompt_tokens: Tensor, *, position: Tensor, masks: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts.

        embedding: (1, width, h, w), one image for all prompts, or (N, width, h, w), one image each; the
            embedding of the mask prompt, or of its absence, already added.
        prompt_tokens: (N, T, width).  position: (1, width, h, w), the code of
            `PromptEncoder.position_of_pixels`.
        masks: how many of SAM's MASK_TOKENS masks to compute, in their order; the first is the one for boxes.
        Gives logits (N, masks, 4 h, 4 w) and the decoder's estimate of each mask's IoU (N, masks).
        """
        return self.answer(embedding, prompt_tokens, position=position, upscale=self.output_upscaling, masks=masks)


def _split_heads(projected: Tensor) -> Tensor:
    """Map (B, T, inner) to (B, HEADS, T, inner / HEADS)."""
    batch, count, inner = projected.shape
    return projected.reshape(batch, count, HEADS, inner // HEADS).transpose(1, 2)
