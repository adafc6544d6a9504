"""Puts a network under training behind the predictor's Engine protocol, so that validation answers as prediction does.

Unlike graysam/engines/torch_engine.py it leaves the network as it is, on its own device, and the threads alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from graysam.engines.protocol import FloatArray, Precision
from graysam.models.frames import DecoderInputs
from graysam.models.network import Network


class NetworkEngine:
    """Runs a network in evaluation mode on its device in fp32; a view of it, whose answers follow its weights."""

    name: Literal["torch"] = "torch"
    precision: Precision = "fp32"

    def __init__(self, network: Network) -> None:
        self.spec = network.spec
        self._network = network

    @property
    def threads(self) -> int:
        """Number of CPU threads in use."""
        return torch.get_num_threads()

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
        embedding = self._network.encode(self._on_device(canvas)[None])
        return _to_numpy(embedding[0])

    @torch.inference_mode()
    def decode(self, embedding: FloatArray, inputs: DecoderInputs) -> tuple[FloatArray, FloatArray]:
        """Segment boxes; see `Engine.decode`."""
        tensors = {name: self._on_device(value) for name, value in inputs.items()}
        logits, iou = self._network.decode(self._on_device(embedding)[None], **tensors)
        return _to_numpy(logits), _to_numpy(iou)

    def _on_device(self, array: FloatArray) -> Tensor:
        return torch.from_numpy(array).to(next(self._network.parameters()).device)


def _to_numpy(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.float().cpu().contiguous().numpy()
    return array
