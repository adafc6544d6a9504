"""What inference wants of a back end, whatever runs the networks.

Canvases and the arrays of a prompt frame come from `graysam.inference` as numpy arrays, and embeddings and logits go
back as such.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from graysam.models.frames import DecoderInputs
from graysam.models.spec import ModelSpec

EngineName = Literal["torch", "openvino"]
Precision = Literal["fp32", "bf16", "int8"]
FloatArray = NDArray[np.float32]


class Engine(Protocol):
    """One loaded model on one back end.

    As many threads may call `encode` and `decode` at once as `begin` said.
    """

    @property
    def spec(self) -> ModelSpec:
        """The model's description."""

    @property
    def name(self) -> EngineName:
        """The back end."""

    @property
    def precision(self) -> Precision:
        """The number format of the convolutions and matrix products."""

    @property
    def threads(self) -> int:
        """Number of CPU threads in use."""

    @property
    def boxes_at_once(self) -> int | None:
        """How many boxes the decoder takes in one call, however many it is given; None for any number."""

    def begin(self, *, many: bool) -> int:
        """Get ready, without waiting for it, for one slice (`many` false) or for hundreds of calls (`many` true).

        Returns:
            How many calls may run at the same time: 1 for one slice, where each call is to be as fast as it can be.
        """

    def encode(self, canvas: FloatArray) -> FloatArray:
        """Embed a canvas (3, S, S) in [0, 1] as (C, h, w); the array is the caller's own."""

    def decode(self, embedding: FloatArray, inputs: DecoderInputs) -> tuple[FloatArray, FloatArray]:
        """Segment N boxes of one slice.

        Args:
            embedding: what `encode` gave.
            inputs: what `PromptFrame.inputs` gave for the N boxes, leading axis N.

        Returns:
            logits (N, g, g) in the frame of the spec's decoder, above 0 where the object is; predicted IoU (N,).
            Both are the caller's own.
        """
