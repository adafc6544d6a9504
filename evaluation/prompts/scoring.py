"""Puts prompts to a model or a guess, and compares the answers with the reference: DSC and contour NSD at 2 px.

An `Answer` is any function from an image and boxes to masks. `engine_answer` makes one of an inference engine, and
evaluation/prompts/baselines.py has those that need no model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.dice import dice
from evaluation.prompts.validation_set import BOX_KINDS, BoxKind, ValidationPrompt
from evaluation.surface_dice import contour_nsd
from graysam.boxes import Box
from graysam.engines.protocol import Engine
from graysam.inference.images import PromptedSlice
from graysam.prompts import USUAL_FIT, BoxFit, Prompt

Masks = list[NDArray[np.bool_]]
Answer = Callable[[NDArray[np.uint8], Sequence[Box]], Masks]
Means = dict[str, tuple[float, float]]
"""A modality, or "mean", to DSC and NSD."""


@dataclass(frozen=True)
class PromptScore:
    """How one prompt was answered; DSC and contour NSD at 2 px, 0 to 1."""

    modality: str
    dataset: str
    dsc: float
    nsd: float


def answer_masks(engine: Engine, image: NDArray[np.uint8], boxes: Sequence[Box], fit: BoxFit = USUAL_FIT) -> Masks:
    """Segment boxes of one image as the predictor does; one (H, W) mask for each box, which may overlap."""
    prompted = PromptedSlice(engine, image)
    return [answer.mask(prompted.size_hw) for answer in prompted.answer([Prompt(box, fit=fit) for box in boxes])]


def engine_answer(engine: Engine, fit: BoxFit = USUAL_FIT) -> Answer:
    """Give an engine as a function that answers prompts, and tells a model with hints how the boxes fit."""
    return lambda image, boxes: answer_masks(engine, image, boxes, fit)


def score_kinds(
    prompts: Iterable[ValidationPrompt], answer: Answer, kinds: Sequence[BoxKind] = BOX_KINDS
) -> dict[BoxKind, list[PromptScore]]:
    """Answer every prompt with its boxes of several kinds and compare.

    There is one call of `answer` per prompt, so that a slice is encoded once, which is most of the work of a large
    encoder.
    """
    scores: dict[BoxKind, list[PromptScore]] = {kind: [] for kind in kinds}
    for prompt in prompts:
        answers = answer(prompt.image, [prompt.boxes[kind] for kind in kinds])
        for kind, mask in zip(kinds, answers, strict=True):
            dsc, nsd = dice(prompt.mask, mask), contour_nsd(prompt.mask, mask)
            scores[kind].append(PromptScore(prompt.entry.modality, prompt.entry.dataset, dsc, nsd))
    return scores


def modality_means(scores: Sequence[PromptScore]) -> Means:
    """Give mean (DSC, NSD) per modality, and under "mean" the mean over modalities, which weigh the same."""
    by_modality: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for score in scores:
        by_modality[score.modality].append((score.dsc, score.nsd))
    return {name: (float(dsc), float(nsd)) for name, (dsc, nsd) in means_with_mean(by_modality).items()}


def means_with_mean(by_modality: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, NDArray[np.float64]]:
    """Average rows of K numbers per modality, and under "mean" over the modalities, which weigh the same: (K,) each."""
    means = {modality: np.mean(rows, axis=0) for modality, rows in sorted(by_modality.items())}
    means["mean"] = np.mean(list(means.values()), axis=0)
    return means


def means_by_kind(
    prompts: Iterable[ValidationPrompt], answer: Answer, kinds: Sequence[BoxKind] = BOX_KINDS
) -> dict[BoxKind, Means]:
    """Score one way of answering with several kinds of boxes."""
    return {kind: modality_means(scores) for kind, scores in score_kinds(prompts, answer, kinds).items()}
