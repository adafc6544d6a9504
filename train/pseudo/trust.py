"""Measures where a teacher may be trusted: how well it agrees with the labels of each data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from evaluation.dice import dice
from evaluation.prompts import answer_masks
from graysam.boxes import box_around
from graysam.engines.protocol import Engine
from graysam.noisy_boxes import LARGEST_SHIFT_PX, loosened
from train.pseudo.order import balanced_order
from train.pseudo.slices import TrainingSlices

OBJECTS_A_SLICE: Final = 4


class Trust(NamedTuple):
    """Agreement of a teacher with the labels of a data set.

    Attributes:
        dsc: mean DSC, 0 to 1, of its answers to boxes that lie 0 to 5 px of 256 outside of labelled objects.
        objects: how many were asked for.
    """

    dsc: float
    objects: int


def datasets_of(slices: TrainingSlices) -> dict[str, list[int]]:
    """Give the slices of every data set, patients in turn; the data sets in the order of their first visits."""
    found: dict[str, list[int]] = defaultdict(list)
    for number in balanced_order(slices.entries, seed=0):
        found[slices.entries[number].dataset].append(number)
    return dict(found)


def measure_trust(
    engine: Engine, slices: TrainingSlices, numbers: list[int], *, is_stopped: Callable[[], bool] = lambda: False
) -> Trust | None:
    """Ask for labelled objects of some slices of one data set; None when stopped before the end."""
    scores: list[float] = []
    for number in numbers:
        if is_stopped():
            return None
        masks, size_hw = slices.masks(number), slices.entries[number].size_hw
        rng = np.random.default_rng([0, number])
        chosen = [masks[place] for place in rng.permutation(len(masks))[:OBJECTS_A_SLICE]]
        boxes = [
            loosened(box, margin=LARGEST_SHIFT_PX, size_hw=size_hw, rng=rng)
            for mask in chosen
            if (box := box_around(mask))
        ]
        answers = answer_masks(engine, slices.slice_for(engine.spec, number), boxes)
        scores += [dice(mask, answer) for mask, answer in zip(chosen, answers, strict=True)]
    return Trust(float(np.mean(scores)) if scores else 0.0, len(scores))
