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
    """One loaded model on one back end. Not safe for use by several threads at once."""

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
