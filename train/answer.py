"""A network under training as something that answers prompts, by the predictor's own way in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from evaluation.prompts import Answer, Masks
from graysam.boxes import Box
from graysam.image.preprocessing import prepare_slice
from graysam.models.frames import frame_prompts
from graysam.models.spec import ModelSpec


def network_answer(model: nn.Module, spec: ModelSpec) -> Answer:
    """Give a function that segments boxes of one slice with a network in evaluation mode."""

    @torch.inference_mode()
    def answer(image: NDArray[np.uint8], boxes: Sequence[Box]) -> Masks:
        device = next(model.parameters()).device
        prepared = prepare_slice(image, spec)
        frame = frame_prompts(prepared, boxes, spec)
        embedding = model.encode(torch.from_numpy(prepared.canvas)[None].to(device))  # type: ignore[operator]
        inputs = {name: torch.from_numpy(value).to(device) for name, value in frame.inputs().items()}
        logits, _ = model.decode(embedding, **inputs)  # type: ignore[operator]
        masks = []
        for index, grid in enumerate(logits.float().cpu().numpy()):
            window, values = frame.to_original(index, grid)
            mask = np.zeros(image.shape[:2], bool)
            mask[window] = values > 0
            masks.append(mask)
        return masks

    return answer
