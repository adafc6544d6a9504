"""The decoder of Swin-LiteMedSAM: SAM's, shown four points, a scribble and the maps of the encoder's stages, too.

Source of the facts (shapes, key names): github.com/RuochenGao/Swin_LiteMedSAM at 71d72a8, files models/mask_decoder.py
(`MaskDecoder_Prompt`) and models/prompt_encoder.py; Gao et al., Swin-LiteMedSAM, 2024.
"""

from __future__ import annotations

from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graysam.errors import CheckpointError
from graysam.models.decoders.sam import LOGITS_PER_CELL, WIDTH_UNIT
from graysam.models.decoders.sam_mask_decoder import UNANSWERED_HEADS, TokenDecoder
from graysam.models.decoders.sam_prompt_encoder import PromptEncoder
from graysam.models.encoders.efficientvit import LayerNorm2d
from graysam.models.network import Decoder, EmbeddingShape, encoder_maps
from graysam.models.packing import unpack
from graysam.models.spec import ModelSpec

INSIDE: Final = 1
"""Place of what stands for a point inside the object, among the prompt encoder's kinds of points."""
STAGES: Final = 4


class PointPromptEncoder(PromptEncoder):
    """Encode boxes, points inside the object and scribbles."""

    def forward(self, boxes_canvas: Tensor, points_canvas: Tensor | None = None) -> Tensor:
        """Give a token for each point, then two for the box.

        boxes_canvas: (N, 4) float, as in `PromptEncoder`.
        points_canvas: (N, P, 2) float, x and y in pixels of the canvas; half a pixel is added, too.
        Gives (N, P + 2, width).
        """
        corners = super().forward(boxes_canvas)
        if points_canvas is None:
            return corners
        inside = self.point_embeddings.get_parameter(f"{INSIDE}.weight")
        points = self.pe_layer((points_canvas + 0.5) / self.canvas) + inside
        return torch.cat([points, corners], dim=1)

    def of_scribble(self, scribble: Tensor) -> Tensor:
        """Give what is added to every cell of the image: (N, 1, 4 h, 4 h), 1 on the scribble, to (N, width, h, h)."""
        result: Tensor = self.mask_downscaling(scribble)
        return result


class SkipMaskDecoder(TokenDecoder):
    """SAM's mask decoder, whose image grows together with the maps of the encoder's stages.

    What does not depend on the prompt is computed once for all prompts of an image: a convolution of two maps laid
    behind each other is the sum of two convolutions.
    """

    def __init__(self, *, width: int, norm_epsilon: float, stages: tuple[int, ...]) -> None:
        """Take the channels of the four stages; the first is on a grid of twice the embedding's, the others on its."""
        super().__init__(width=width, norm_epsilon=norm_epsilon)
        first, *others = stages
        self.neck = nn.Sequential(
            nn.Conv2d(sum(others), width, 1, bias=False),
            LayerNorm2d(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            LayerNorm2d(width),
        )
        self.output_upscaling1 = nn.Sequential(
            nn.Conv2d(2 * width, width, 1),
            LayerNorm2d(width),
            nn.GELU(),
            nn.ConvTranspose2d(width, width // 2, 2, stride=2),
            nn.GELU(),
        )
        self.output_upscaling2 = nn.Sequential(
            nn.Conv2d(width // 2 + first, width // 4, 1),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )

    def forward(
        self, embedding: Tensor, prompt_tokens: Tensor, *, position: Tensor, stages: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts.

        embedding, prompt_tokens, position: as in `MaskDecoder`.
        stages: maps of the encoder's stages, of one image for all prompts or of one image each.
        Gives logits (N, 1, 4 h, 4 w) and the estimate of the IoU (N, 1).
        """
        first, *others = stages
        seen = self.neck(torch.cat(others, dim=1))

        def upscale(image: Tensor) -> Tensor:
            finer = _grown(self.output_upscaling1, image, seen)
            return _grown(self.output_upscaling2, finer, first)

        return self.answer(embedding, prompt_tokens, position=position, upscale=upscale, masks=1)


class SkipDecoder(Decoder):
    """Box, four points and a scribble to logits on the whole canvas."""

    # Published, but read by no line of the public code: maps of learned prompts, 21 million numbers.
    unread_weights: ClassVar = ("mask_decoder.prompt1.", "mask_decoder.prompt2.")
    unreached_parts: ClassVar = (
        "prompt_encoder.point_embeddings.0",  # points outside the object
        "prompt_encoder.not_a_point_embed",
        "prompt_encoder.no_mask_embed",
        *UNANSWERED_HEADS,
    )

    def __init__(self, spec: ModelSpec, shape: EmbeddingShape) -> None:
        super().__init__(spec, shape)
        self.maps = encoder_maps(spec)
        (width, side, _), *stages = self.maps
        self.prompt_encoder = PointPromptEncoder(width=width, embedding_size=side, canvas=spec.canvas)
        self.mask_decoder = SkipMaskDecoder(
            width=width, norm_epsilon=spec.norm_epsilon, stages=tuple(each[0] for each in stages)
        )

    @classmethod
    def check_embedding(cls, spec: ModelSpec, shape: EmbeddingShape) -> None:
        """Take embeddings with four stages packed behind them, the first on the next finer grid; see `Decoder`."""
        (width, side, _), *stages = encoder_maps(spec)
        sides = [each[1] for each in stages]
        if sides != [2 * side, *[side] * (STAGES - 1)] or width % WIDTH_UNIT or LOGITS_PER_CELL * side != spec.canvas:
            raise CheckpointError(
                f"spec {spec.name!r}: the decoder 'sam_skips' wanted cells of 4 pixels, C a multiple of {WIDTH_UNIT}, "
                f"and four stages behind the embedding, the first on twice its grid; found {encoder_maps(spec)} from "
                f"the encoder {spec.encoder!r}."
            )

    @classmethod
    def answer_side(cls, spec: ModelSpec, shape: EmbeddingShape) -> int:
        """Give the side of the grid of logits, which covers the canvas."""
        return LOGITS_PER_CELL * shape[1]

    def forward(
        self, embedding: Tensor, boxes_canvas: Tensor, points_canvas: Tensor, scribble: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Segment objects.

        embedding: (1, C, h, h), packed, one image for all prompts, or (N, C, h, h), one image each.
        boxes_canvas: (N, 4) float, x_min, y_min, x_max, y_max in pixels of the canvas.
        points_canvas: (N, 4, 2) float, x and y in pixels of the canvas, inside the objects.
        scribble: (N, 1, S, S) float, 1 on the scribble and 0 elsewhere, in the frame of the canvas.
        Gives logits (N, S, S) in the frame of the canvas, and the estimated IoU (N,); N may be 0.
        """
        image, *stages = unpack(embedding, self.maps)
        logits, iou = self.mask_decoder(
            image + self.prompt_encoder.of_scribble(scribble),
            self.prompt_encoder(boxes_canvas, points_canvas),
            position=self.prompt_encoder.position_of_pixels(),
            stages=stages,
        )
        return logits[:, 0], iou[:, 0]


def _grown(growing: nn.Sequential, own: Tensor, shared: Tensor) -> Tensor:
    """Apply `growing` to two maps laid behind each other, of which the second may be one for all prompts."""
    joining = growing[0]
    assert isinstance(joining, nn.Conv2d)
    channels = own.shape[1]
    result: Tensor = F.conv2d(own, joining.weight[:, :channels], joining.bias)
    result = result + F.conv2d(shared, joining.weight[:, channels:])
    for step in list(growing)[1:]:
        result = step(result)
    return result
