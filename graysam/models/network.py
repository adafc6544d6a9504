"""Owns how an image encoder and a mask decoder are put together from a spec, and what either of them must offer.

Training, export and the torch engine know models only through `Network`. The registry says which parts there are; the
base classes `Encoder` and `Decoder` say what a part must offer. Any encoder goes with any decoder that takes the shape
of its embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graysam.boxes import Box
from graysam.errors import CheckpointError
from graysam.image.preprocessing import PreparedSlice, prepare_slice
from graysam.models.adapters import add_adapters
from graysam.models.frames import PromptFrame, frame_prompts
from graysam.models.registry import DECODERS, ENCODERS, resolve
from graysam.models.spec import ModelSpec
from graysam.prompts import Prompt

EmbeddingShape = tuple[int, int, int]
"""Channels, height and width of the embedding of one image."""

State = Mapping[str, Tensor]


class Encoder(nn.Module):
    """An image encoder. A subclass is built from the spec alone: `__init__(spec)`.

    Its `forward(canvas)` maps (B, 3, S, S) float in [0, 1] to (B, C, h, w), the shape that `embedding_shape` promises.

    Attributes:
        unread_weights: parts of the names of published weights that are of no use here, and are passed over in loading.
    """

    unread_weights: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()

    @classmethod
    def stays_float(cls, operation: str, shape: Sequence[int], spec: ModelSpec) -> bool:
        """Tell whether an operation of the exported network stays in floats when the rest is quantized to int8.

        Args:
            operation: its type as OpenVINO names it, say "GroupConvolution".
            shape: of its first output.
            spec: what the encoder was built from.
        """
        return False

    @classmethod
    def embedding_shape(cls, spec: ModelSpec) -> EmbeddingShape:
        """Give channels, height and width of the embedding that a spec's encoder makes.

        Raises:
            CheckpointError: the spec asks for what this encoder cannot be.
        """
        raise NotImplementedError(cls.__name__)

    @classmethod
    def maps(cls, spec: ModelSpec) -> tuple[EmbeddingShape, ...]:
        """Give the shapes of the maps that are packed into the embedding, the embedding alone first.

        Most encoders have no further ones; see `graysam.models.packing` for those that have.
        """
        return (cls.embedding_shape(spec),)


class Decoder(nn.Module):
    """A mask decoder. A subclass is built from the spec and the shape of the embedding: `__init__(spec, shape)`.

    Its `forward(embedding, ...)` takes the embedding, (1, C, h, w) for N boxes of one image or (N, C, h, w) with one
    image for each box, and by name the arrays of its frame's `inputs`, leading axis N. It gives logits (N, g, g) in the
    frame of its answers, above 0 where the object is, and the predicted IoU (N,).

    Attributes:
        boxes_at_once: how many boxes an exported decoder takes in one call; None for any number.
        float_parts: submodules, by name, whose arithmetic stays in floats when the rest is quantized to int8.
        unread_weights: parts of the names of published weights that are of no use here, and are passed over in loading.
        unreached_parts: submodules, by name, that no prompt reaches. They are there so that published weights load and
            save whole; training leaves them as they are.
    """

    boxes_at_once: ClassVar[int | None] = None
    float_parts: ClassVar[tuple[str, ...]] = ()
    unread_weights: ClassVar[tuple[str, ...]] = ()
    unreached_parts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spec: ModelSpec, shape: EmbeddingShape) -> None:
        super().__init__()

    @classmethod
    def check_embedding(cls, spec: ModelSpec, shape: EmbeddingShape) -> None:
        """Refuse an embedding that this decoder cannot read; by default any is taken.

        Raises:
            CheckpointError: with the wanted and the found shape.
        """

    @classmethod
    def answer_side(cls, spec: ModelSpec, shape: EmbeddingShape) -> int:
        """Give the side g of the square grid of logits that a box is answered with."""
        raise NotImplementedError(cls.__name__)

    @classmethod
    def shifted(cls, state: State, shift: float) -> dict[str, Tensor]:
        """Give the decoder's own weights, changed so that every logit of the contour is higher by `shift`.

        Raises:
            CheckpointError: this decoder has no single bias behind all its logits.
        """
        raise CheckpointError(f"{cls.__name__} has no logits that could be shifted; only box-frame decoders have.")


class Network(nn.Module):
    """An image encoder and a mask decoder: one encoding per image, then any number of boxes.

    Attributes:
        spec: what the network was built from.
        encoder, decoder: its parts; their weights have these names before their own.
    """

    def __init__(self, spec: ModelSpec, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, canvas: Tensor) -> Tensor:
        """Embed images: (B, 3, S, S) float in [0, 1] to (B, C, h, w)."""
        embedding: Tensor = self.encoder(canvas)
        return embedding

    def embed(self, canvas: Tensor) -> Tensor:
        """Embed images, without the maps that an encoder may pack behind the embedding: (B, C, h, w)."""
        return self.encode(canvas)[:, : encoder_maps(self.spec)[0][0]]

    def decode(self, embedding: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Segment N boxes of one image, or of N images.

        Args:
            embedding: (1, C, h, w) or (N, C, h, w).
            inputs: the arrays of the frame's `inputs`, leading axis N.

        Returns:
            Logits (N, g, g), above 0 where the object is, and the predicted IoU (N,).
        """
        logits, iou = self.decoder(embedding, **inputs)
        return logits, iou

    def frame(self, prepared: PreparedSlice, prompts: Sequence[Prompt]) -> PromptFrame:
        """Put at least one prompt into the frame that the decoder works in."""
        return frame_prompts(prepared, prompts, self.spec)

    def targets(self, frame: PromptFrame, masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.float32]:
        """Give what the decoder should answer: (N, g, g), the share of the object in each cell, 0 to 1."""
        return frame.targets(masks, side=answer_side(self.spec))

    def example_inputs(self) -> dict[str, Tensor]:
        """Give a canvas and the inputs for two boxes on it, as `encode` and `decode` take them, for tracing.

        Two boxes: with one, tracing could take the number of boxes for a constant.
        """
        drawn = np.random.default_rng(0).integers(0, 256, (self.spec.canvas, self.spec.canvas)).astype(np.uint8)
        prepared = prepare_slice(drawn, self.spec)
        low, high = 0.25 * self.spec.canvas, 0.6 * self.spec.canvas
        frame = self.frame(prepared, [Prompt(Box(low, low, high, high)), Prompt(Box(low, 0.0, high, low))])
        inputs = {"canvas": torch.from_numpy(prepared.canvas)[None]}
        return inputs | {name: torch.from_numpy(value) for name, value in frame.inputs().items()}


def build_network(spec: ModelSpec) -> Network:
    """Build the network that a spec describes, with fresh weights.

    Weights that no prompt reaches want no gradient; all others get one from every batch, so that several processes
    need not look for those without.

    Raises:
        CheckpointError: the encoder's embedding is not what the spec says, or not what the decoder takes.
    """
    shape = _fitting_shape(spec)
    decoder = _decoder_class(spec)(spec, shape)
    for part in decoder.unreached_parts:
        decoder.get_submodule(part).requires_grad_(False)
    network = Network(spec, _encoder_class(spec)(spec), decoder)
    if spec.adapters:
        add_adapters(network.encoder, network.decoder, spec, network.example_inputs())
    return network


def encoder_maps(spec: ModelSpec) -> tuple[EmbeddingShape, ...]:
    """Give the shapes of the maps that a spec's encoder packs into its embedding, the embedding alone first."""
    return _encoder_class(spec).maps(spec)


def answer_side(spec: ModelSpec) -> int:
    """Give the side of the square grid of logits that a spec's decoder answers a box with."""
    return _decoder_class(spec).answer_side(spec, _fitting_shape(spec))


def shifted_logits(state: State, shift: float, spec: ModelSpec) -> dict[str, Tensor]:
    """Give a network's weights, changed so that every logit of a contour is higher by `shift`.

    Raises:
        CheckpointError: the spec's decoder has no logits that could be shifted, or they are not among the weights.
    """
    prefix = "decoder."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    changed = _decoder_class(spec).shifted(own, shift)
    return {**state, **{prefix + name: value for name, value in changed.items()}}


def _fitting_shape(spec: ModelSpec) -> EmbeddingShape:
    """Give the shape of the embedding, after the spec and the decoder have agreed to it."""
    shape = _encoder_class(spec).embedding_shape(spec)
    if shape[0] != spec.embedding_width:
        raise CheckpointError(
            f"spec {spec.name!r}: wanted an embedding of {spec.embedding_width} channels (embedding_width), but the "
            f"encoder {spec.encoder!r} gives {shape}; set embedding_width={shape[0]}."
        )
    _decoder_class(spec).check_embedding(spec, shape)
    return shape


def _encoder_class(spec: ModelSpec) -> type[Encoder]:
    return cast("type[Encoder]", resolve(ENCODERS[spec.encoder].place))


def _decoder_class(spec: ModelSpec) -> type[Decoder]:
    return cast("type[Decoder]", resolve(DECODERS[spec.decoder].place))
