"""Keeps what a model knew while it learns a few cases: on what nobody labelled it is to answer as before.

The old network answers superpixels of the cases and drawn shapes, fresh ones at every step, and the new one is pulled
to these answers (learning without forgetting, Li and Hoiem 2016). `train.adapt.fit` adds the gradient to that of the
labelled objects; how much, and what is asked, says `train.adapt.recipe`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from graysam.models.network import Network
from train.dataset import Batch, BatchSource
from train.trainer import PromptedForward


class Keeper:
    """An old network, and prompts that it is to be followed on."""

    def __init__(self, old: Network, source: BatchSource, *, weight: float) -> None:
        """Take the network, which is never changed, the source of prompts, and how much a deviation costs."""
        self._old = PromptedForward(old.eval().to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        self._source, self._weight = source, weight

    def loss(self, forward: nn.Module, step: int) -> Tensor:
        """Give the weighted deviation of the new network's answers; a scalar, 0 where both answer the same.

        Args:
            forward: the new network, from a batch to logits and IoU.
            step: the number of the batch that is asked; the same number asks the same.
        """
        batch: Batch = self._source.batch(step).to(torch.device("cpu"))
        with torch.no_grad():
            wanted, _ = self._old(batch)
        answered, _ = forward(batch)
        return self._weight * deviation(answered, wanted)


def deviation(answered: Tensor, wanted: Tensor) -> Tensor:
    """Give the mean Kullback-Leibler divergence of pixels' probabilities from wanted ones, both as logits."""
    probability = torch.sigmoid(wanted.float())
    entropy = functional.binary_cross_entropy_with_logits(wanted.float(), probability)
    return functional.binary_cross_entropy_with_logits(answered.float(), probability) - entropy
