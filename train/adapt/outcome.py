"""What an adaptation came to, as plain data: for the report, the experiment script and the exit status."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box
from train.adapt.judge import Scores
from train.adapt.recipe import Method


@dataclass(frozen=True)
class Drawn:
    """How the model answers drawn pictures, which it should still know: DSC with the truth, and of old with new."""

    objects: int
    before: float
    after: float
    agreement: float


@dataclass(frozen=True, eq=False)
class Worst:
    """A held-out object that the adapted weights answer badly; image and masks at 256 pixels, DSC 0 to 1."""

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    before: NDArray[np.bool_]
    after: NDArray[np.bool_]
    box: Box
    dsc_before: float
    dsc_after: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an adaptation came to.

    Attributes:
        cases, patients, slices: what there was.
        folds: 1 where a part was held out, else the folds of the cross-validation.
        method: what was trained.
        steps: of the training whose weights are kept.
        minutes: that training might take in all.
        share: of the new weights in the mean with the old ones.
        judged_cases: how many cases the scores are of.
        ellipse, untouched, adapted: scores of held-out objects, the same prompts in the same order.
        drawn: what became of the general ability.
        helped: whether the DSC rose clearly; only then there are weights.
        worst: held-out objects answered worst.
        notes: what else is to be known, a sentence each.
        modalities: of the cases.
        int8_agreement: DSC of the answers in int8 with those in fp32; None where there is no int8.
    """

    cases: int
    patients: int
    slices: int
    folds: int
    method: Method
    steps: int
    minutes: float
    share: float
    judged_cases: int
    ellipse: Scores
    untouched: Scores
    adapted: Scores
    drawn: Drawn
    helped: bool
    worst: tuple[Worst, ...] = ()
    notes: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    int8_agreement: float | None = None
