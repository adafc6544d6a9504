"""Compares a decoder's answers with the objects: cross-entropy, Dice, and the squared error of the predicted IoU.

Logits come from the network and targets from its frame, both on the decoder's grid; the sum, weighted as [loss] of the
config says, goes back to `train.trainer`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from train.config import LossConfig

CONTOUR_CELLS = 7  # width of the band round a contour that `LossConfig.boundary` weighs


@dataclass(frozen=True)
class LossTerms:
    """The loss and its parts, each a scalar; the parts are not yet weighted."""

    total: Tensor
    cross_entropy: Tensor
    dice: Tensor
    iou: Tensor


def prompt_loss(logits: Tensor, iou: Tensor, target: Tensor, config: LossConfig) -> LossTerms:
    """Compare N answers with what was drawn.

    Args:
        logits: (N, g, g).
        iou: (N,) predicted intersection over union.
        target: (N, g, g) share of the object in each cell, 0 to 1.
        config: weights of the terms.
    """
    logits, iou = logits.float(), iou.float()
    weights = contour_weights(target, config.boundary)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    cross_entropy = ((entropy * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))).mean()
    dice = dice_loss(torch.sigmoid(logits), target, squared=config.dice_form == "squared")
    with torch.no_grad():
        true_iou = hard_iou(logits, target)
    iou_error = functional.mse_loss(iou, true_iou)
    total = config.cross_entropy * cross_entropy + config.dice * dice + config.iou * iou_error
    return LossTerms(total, cross_entropy, dice, iou_error)


def contour_weights(target: Tensor, boundary: float) -> Tensor:
    """Give 1 everywhere and up to 1 + boundary on contours, fading within `CONTOUR_CELLS` cells."""
    if boundary == 0:
        return torch.ones_like(target)
    smooth = functional.avg_pool2d(target[:, None], CONTOUR_CELLS, 1, CONTOUR_CELLS // 2, count_include_pad=False)
    return 1 + 2 * boundary * (smooth[:, 0] - target).abs()


def dice_loss(probability: Tensor, target: Tensor, *, squared: bool) -> Tensor:
    """Give the mean of 1 - Dice over N soft masks (N, g, g); an empty target costs 1 wherever it is answered.

    squared: sum squares in the denominator (Milletari et al. 2016), as SAM's fine-tunings do, or plain values.
    """
    power = 2 if squared else 1
    overlap = (probability * target).sum(dim=(1, 2))
    extent = (probability**power).sum(dim=(1, 2)) + (target**power).sum(dim=(1, 2))
    return (1 - 2 * overlap / (extent + 1e-5)).mean()


def hard_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Give the intersection over union (N,) of the masks that would be answered."""
    answered, wanted = logits > 0, target > 0.5
    union = (answered | wanted).sum(dim=(1, 2)).clamp_min(1)
    return (answered & wanted).sum(dim=(1, 2)) / union
