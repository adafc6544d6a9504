"""The one door to the networks: a spec in, a module with `encode` and `decode` out."""

from __future__ import annotations

from torch import Tensor, nn

from graysam.models.decoders.box_frame import BoxDecoder
from graysam.models.encoders.conv import ConvEncoder
from graysam.models.spec import ModelSpec


class BoxFrameSegmenter(nn.Module):
    """An image encoder and a decoder that works in the frame of each enlarged box."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder: nn.Module
        if spec.encoder == "conv":
            self.encoder = ConvEncoder(spec)
        else:
            from graysam.models.encoders.efficientvit import build_image_encoder

            self.encoder = build_image_encoder(spec)
        self.decoder = BoxDecoder(spec)

    def encode(self, canvas: Tensor) -> Tensor:
        """Embed (B, 3, S, S) canvases in [0, 1] as (B, C, h, w)."""
        return self.encoder(canvas)  # type: ignore[no-any-return]

    def decode(self, embedding: Tensor, **inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        """Segment N boxes of one image, or of N embeddings; `inputs` are those of `BoxDecoder.forward`, by name."""
        logits, iou = self.decoder(embedding, **inputs)
        return logits, iou


def build_model(spec: ModelSpec) -> nn.Module:
    """Build the network that a spec describes, with fresh weights."""
    if spec.decoder == "box_frame":
        return BoxFrameSegmenter(spec)
    from graysam.models.sam_segmenter import SamSegmenter

    return SamSegmenter(spec)
