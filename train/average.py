"""The moving average of a model's weights: smoother than any single step, and what is validated and shipped.

It follows the trainer's model step by step as a `torch.optim.swa_utils.AveragedModel`; its weights go into best.pt.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Give a copy of a model in evaluation mode that follows it with an exponential decay.

    PyTorch's own exponential average has a fixed decay. A young average here forgets faster, so that the start leaves
    no trace.

    Args:
        model: what is followed by calls of `update_parameters`.
        decay: of an average that is no longer young.
    """

    @torch.no_grad()
    def follow(averages: Tensors, values: Tensors, count: Tensor | int) -> None:
        weights = int(count)
        share = 1 - min(decay, weights / (9 + weights))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)

    average = AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
    average.eval().requires_grad_(False)
    set_steps(average, 0)
    return average


def set_steps(average: AveragedModel, steps: int) -> None:
    """Say how many steps an average has followed; the weights that it began with count as one more."""
    average.n_averaged.fill_(1 + steps)
