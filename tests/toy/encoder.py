"""A toy encoder: the mean colour of each square of 8 x 8 pixels, through one convolution."""

from torch import Tensor, nn
from torch.nn import functional

from graysam.models.network import EmbeddingShape, Encoder
from graysam.models.spec import ModelSpec


class ToyEncoder(Encoder):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.mix = nn.Conv2d(3, spec.embedding_width, 1)

    @classmethod
    def embedding_shape(cls, spec: ModelSpec) -> EmbeddingShape:
        return spec.embedding_width, spec.canvas // 8, spec.canvas // 8

    def forward(self, canvas: Tensor) -> Tensor:
        return self.mix(functional.avg_pool2d(canvas, 8))
