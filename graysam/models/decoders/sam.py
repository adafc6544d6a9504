"""SAM's decoder: boxes in canvas pixels and the embedding of the whole canvas to logits on the whole canvas.

Its two parts are the published ones, under their published names: the prompt encoder and the mask decoder.
"""

from __future__ import annotations

from torch import Tensor

from graysam.errors import CheckpointError
from graysam.models.decoders.sam_mask_decoder import HEADS, UNANSWERED_HEADS, MaskDecoder
from graysam.models.decoders.sam_prompt_encoder import PromptEncoder
from graysam.models.network import Decoder, EmbeddingShape
from graysam.models.spec import ModelSpec

LOGITS_PER_CELL = 4
"""The mask decoder answers on a grid of 4 x 4 logits for each cell of the embedding."""
WIDTH_UNIT = 2 * HEADS
"""Attention works at half the width, shared evenly among the heads."""


class SamDecoder(Decoder):
    """Boxes are shown by their corners; any number goes into one call, as they share the first layer's work."""

    unreached_parts = (
        "prompt_encoder.point_embeddings.0",  # points outside and inside the object
        "prompt_encoder.point_embeddings.1",
        "prompt_encoder.not_a_point_embed",
        "prompt_encoder.mask_downscaling",
        *UNANSWERED_HEADS,
    )

    def __init__(self, spec: ModelSpec, shape: EmbeddingShape) -> None:
        super().__init__(spec, shape)
        width, side, _ = shape
        self.prompt_encoder = PromptEncoder(width=width, embedding_size=side, canvas=spec.canvas)
        self.mask_decoder = MaskDecoder(width=width, norm_epsilon=spec.norm_epsilon)

    @classmethod
    def check_embedding(cls, spec: ModelSpec, shape: EmbeddingShape) -> None:
        """Take square embeddings whose channels the attention heads can share; see `Decoder`."""
        width, height, columns = shape
        if height != columns or width % WIDTH_UNIT:
            raise CheckpointError(
                f"spec {spec.name!r}: the decoder 'sam' wanted an embedding (C, h, h) with C a multiple of "
                f"{WIDTH_UNIT}, found {shape} from the encoder {spec.encoder!r}."
            )

    @classmethod
    def answer_side(cls, spec: ModelSpec, shape: EmbeddingShape) -> int:
        """Give the side of the grid of logits, which covers the canvas."""
        return LOGITS_PER_CELL * shape[1]

    def forward(self, embedding: Tensor, boxes_canvas: Tensor) -> tuple[Tensor, Tensor]:
        """Segment boxes.

        embedding: (1, C, h, h), one image for all boxes, or (N, C, h, h), one image for each box.
        boxes_canvas: (N, 4) float, x_min, y_min, x_max, y_max in pixels of the canvas.
        Gives logits (N, 4 h, 4 h) in the frame of the canvas, and the estimated IoU (N,); N may be 0.
        Memory grows by about 25 MB a box at C = 256 and h = 64, so callers cut many boxes into chunks.
        """
        logits, iou = self.mask_decoder(
            embedding + self.prompt_encoder.no_mask(),
            self.prompt_encoder(boxes_canvas),
            position=self.prompt_encoder.position_of_pixels(),
        )
        return logits[:, 0], iou[:, 0]
