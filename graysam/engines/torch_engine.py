"""PyTorch as it is: the reference that the other engines are compared with, and the paper's dynamic int8."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch

from graysam.engines.protocol import FloatArray, Precision
from graysam.models.frames import DecoderInputs
from graysam.models.network import Network
from graysam.models.spec import ModelSpec


class TorchEngine:
    """Runs a network of `build_network` eagerly on the CPU.

    bf16 computes convolutions and products in bfloat16 by autocast; int8 is `quantize_dynamic`, which reaches linear
    layers only.
    """

    name: Literal["torch"] = "torch"

    def __init__(self, model: Network, *, precision: Precision = "fp32", threads: int = 1) -> None:
        """Take a model in evaluation mode; sets the thread count of the whole process, as torch knows no other.

        Raises:
            EngineError: int8 is asked of a torch that cannot quantize.
        """
        torch.set_num_threads(threads)
        self.spec: ModelSpec = model.spec
        self.precision: Precision = precision
        self.threads = threads
        model = model.eval().requires_grad_(False)
        if precision == "int8":
            from graysam.models.quantize import quantize_dynamic

            model = quantize_dynamic(model)
        self._model: Network = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, weights: Path, *, precision: Precision = "fp32", threads: int = 1) -> TorchEngine:
        """Read a checkpoint with its spec.

        Raises:
            CheckpointError: the file is damaged or its weights do not fit its spec.
        """
        from graysam.models.checkpoint import load_model

        return cls(load_model(weights), precision=precision, threads=threads)

    @property
    def boxes_at_once(self) -> None:
        """Any number of boxes go together; see `Engine.boxes_at_once`."""
        return None

    def begin(self, *, many: bool) -> int:
        """Be ready at once, for one call at a time; see `Engine.begin`."""
        return 1

    @torch.inference_mode()
    def encode(self, canvas: FloatArray) -> FloatArray:
        """Embed a canvas; see `Engine.encode`."""
        batch = torch.from_numpy(canvas)[None].contiguous(memory_format=torch.channels_last)
        with self._casting():
            embedding = self._model.encode(batch)
        return _to_numpy(embedding[0])

    @torch.inference_mode()
    def decode(self, embedding: FloatArray, inputs: DecoderInputs) -> tuple[FloatArray, FloatArray]:
        """Segment boxes; see `Engine.decode`."""
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        with self._casting():
            logits, iou = self._model.decode(torch.from_numpy(embedding)[None], **tensors)
        return _to_numpy(logits), _to_numpy(iou)

    def _casting(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else nullcontext()


def _to_numpy(tensor: torch.Tensor) -> FloatArray:
    """Give a C-ordered float32 array that shares nothing with the model."""
    array: FloatArray = tensor.float().contiguous().numpy().copy()
    return array
