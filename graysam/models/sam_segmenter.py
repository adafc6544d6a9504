"""EfficientViT-SAM-L0 whole: one encoding per image, then any number of boxes."""

from __future__ import annotations

from torch import Tensor, nn

from graysam.errors import CheckpointError
from graysam.models.decoders.sam_mask_decoder import MaskDecoder
from graysam.models.decoders.sam_prompt_encoder import PromptEncoder
from graysam.models.encoders.efficientvit import EMBEDDING_WIDTH, build_image_encoder
from graysam.models.spec import ModelSpec


class SamSegmenter(nn.Module):
    """The paper's model, 34,792,784 parameters; with `neck_size` 32 its lean variant of the same shapes."""

    def __init__(self, spec: ModelSpec) -> None:
        """Build the network with random weights.

        Raises:
            CheckpointError: the spec asks for an encoder or an embedding that SAM's decoder does not take.
        """
        super().__init__()
        if spec.encoder != "efficientvit_l0":
            raise CheckpointError(
                f"spec {spec.name!r}: decoder 'sam' needs encoder 'efficientvit_l0', found {spec.encoder!r}."
            )
        self.spec = spec
        self.image_encoder = build_image_encoder(spec)
        self.prompt_encoder = PromptEncoder(width=EMBEDDING_WIDTH, embedding_size=spec.neck_size, canvas=spec.canvas)
        self.mask_decoder = MaskDecoder(width=EMBEDDING_WIDTH)

    def encode(self, canvas: Tensor) -> Tensor:
        """Embed images.

        canvas: (B, 3, S, S) float in [0, 1].  Gives (B, 256, neck_size, neck_size).
        """
        embedding: Tensor = self.image_encoder(canvas)
        return embedding

    def decode(self, embedding: Tensor, boxes_canvas: Tensor) -> tuple[Tensor, Tensor]:
        """Segment boxes.

        embedding: (1, 256, h, w), one image for all boxes, or (N, 256, h, w), one image for each box.
        boxes_canvas: (N, 4) float, x_min, y_min, x_max, y_max in pixels of the canvas.
        Gives logits (N, 4 h, 4 w) in the frame of the canvas, and the estimated IoU (N,); N may be 0.
        Memory grows by about 25 MB a box at h = 64, so callers cut many boxes into chunks.
        """
        logits, iou = self.mask_decoder(
            embedding + self.prompt_encoder.no_mask(),
            self.prompt_encoder(boxes_canvas),
            position=self.prompt_encoder.position_of_pixels(),
        )
        return logits[:, 0], iou[:, 0]

    def forward(self, canvas: Tensor, boxes_canvas: Tensor) -> tuple[Tensor, Tensor]:
        """Encode and decode, for training: one box for each image (B, 3, S, S), or N boxes for one image."""
        return self.decode(self.encode(canvas), boxes_canvas)
