"""A toy decoder: answers on 16 x 16 cells of the canvas, at first with the box itself."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from graysam.errors import CheckpointError
from graysam.models.network import Decoder, EmbeddingShape
from graysam.models.spec import ModelSpec
from toy.frame import CELLS

WANTED_SIDE = 8


class ToyDecoder(Decoder):
    def __init__(self, spec: ModelSpec, shape: EmbeddingShape) -> None:
        super().__init__(spec, shape)
        self.to_logits = nn.Conv2d(shape[0] + 1, 1, 3, padding=1)
        nn.init.normal_(self.to_logits.weight, std=0.01)

    @classmethod
    def check_embedding(cls, spec: ModelSpec, shape: EmbeddingShape) -> None:
        wanted = (shape[0], WANTED_SIDE, WANTED_SIDE)
        if shape != wanted:
            raise CheckpointError(f"spec {spec.name!r}: the decoder 'toy' wanted an embedding {wanted}, found {shape}.")

    @classmethod
    def answer_side(cls, spec: ModelSpec, shape: EmbeddingShape) -> int:
        return CELLS

    def forward(self, embedding: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        seen = functional.interpolate(embedding, scale_factor=2.0, mode="nearest")
        seen = seen.expand(inside.shape[0], -1, -1, -1)
        logits = (self.to_logits(torch.cat([seen, inside], dim=1)) + 8 * (inside - 0.5))[:, 0]
        return logits, torch.sigmoid(logits.mean(dim=(1, 2)))
