"""The one home of the validation prompts, of the boxes that they are given, and of how answers to them are scored.

Slices come from a packed store (`validation_set`), are answered by an engine or by a guess (`baselines`), and leave as
DSC and NSD (`scoring`), for training, which chooses weights by them, and for benchmarks, which publish them.
"""

from evaluation.prompts.baselines import BASELINES, answer_ellipse, answer_filled_box, answer_grabcut
from evaluation.prompts.scoring import (
    Answer,
    Masks,
    Means,
    PromptScore,
    answer_masks,
    engine_answer,
    means_by_kind,
    means_with_mean,
    modality_means,
    score_kinds,
)
from evaluation.prompts.validation_set import (
    BOX_KIND_MEANINGS,
    BOX_KIND_TITLES,
    BOX_KINDS,
    BoxKind,
    ValidationPrompt,
    box_kind,
    validation_prompts,
)

__all__ = [
    "BASELINES",
    "BOX_KINDS",
    "BOX_KIND_MEANINGS",
    "BOX_KIND_TITLES",
    "Answer",
    "BoxKind",
    "Masks",
    "Means",
    "PromptScore",
    "ValidationPrompt",
    "answer_ellipse",
    "answer_filled_box",
    "answer_grabcut",
    "answer_masks",
    "box_kind",
    "engine_answer",
    "means_by_kind",
    "means_with_mean",
    "modality_means",
    "score_kinds",
    "validation_prompts",
]
