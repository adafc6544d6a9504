"""Compares models on held-out objects and on drawn ones: the numbers that `graysam adapt` decides and reports by.

Models are networks, old and new; held-out prompts come from `train.adapt.folds`. All models answer the same prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evaluation.dice import dice
from evaluation.prompts import BoxKind, ValidationPrompt, answer_ellipse, answer_masks, validation_prompts
from evaluation.prompts.validation_set import SMALLEST_OBJECT_PX
from evaluation.surface_dice import contour_nsd
from examples.phantoms import make_phantoms
from graysam.boxes import Box, box_around
from graysam.engines.protocol import Engine
from graysam.errors import StoreError
from graysam.models.network import Network
from graysam.store import PackedStore, StoreEntry
from train.adapt.cases import AdaptError
from train.adapt.folds import in_split
from train.sampling import generator_for
from train.synthetic import synthetic_slice

KINDS: Final[tuple[BoxKind, ...]] = ("tight", "outwards")
METRICS: Final = ("DSC", "NSD")
MOST_PROMPTS: Final = 60
MOST_ROUNDS: Final = 4
"""Draws of one object from every slice, where there are few slices with several objects."""
DRAWN_SEED: Final = 2026
DRAWN_SLICES: Final = 8
OBJECTS_PER_PICTURE: Final = 3
MOST_OF_THE_GAIN: Final = 0.85
CLEAR_GAIN: Final = 0.005

Masks = Sequence[NDArray[np.bool_]]
AnswerBoth = Callable[[NDArray[np.uint8], Sequence[Box]], Masks]
Scores = NDArray[np.float64]
"""(prompts, kinds of boxes, metrics), each 0 to 1."""


@dataclass(frozen=True, eq=False)
class DrawnObject:
    """An object of a drawn picture, with its tight box."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    box: Box


def held_out_prompts(
    store: PackedStore, entries: Sequence[StoreEntry], *, most: int = MOST_PROMPTS
) -> list[ValidationPrompt]:
    """Draw at most `most` objects of some slices, patients in turn, each with a tight and a loose box."""
    view = store.with_entries(in_split(entries, "judged"))
    found: dict[tuple[str, str, int, Box], ValidationPrompt] = {}
    for seed in range(MOST_ROUNDS):
        if len(found) >= most:
            break
        try:
            drawn = validation_prompts(view, split="judged", per_modality=most, seed=seed)
        except StoreError as error:
            raise AdaptError(
                f"held-out cases have no object of {SMALLEST_OBJECT_PX} pixels or more on an image of 256 pixels, and "
                "smaller ones cannot be judged; are the labels at the images' scale?"
            ) from error
        for prompt in drawn:
            entry = prompt.entry
            found.setdefault((entry.dataset, entry.case, entry.z, prompt.boxes["tight"]), prompt)
    return list(found.values())[:most]


def scores_of(prompts: Sequence[ValidationPrompt], answer: AnswerBoth) -> Scores:
    """Answer every prompt with its boxes of both kinds, and compare."""
    rows = []
    for prompt in prompts:
        answers = answer(prompt.image, [prompt.boxes[kind] for kind in KINDS])
        rows.append([[dice(prompt.mask, each), contour_nsd(prompt.mask, each)] for each in answers])
    return np.array(rows, np.float64).reshape(-1, len(KINDS), len(METRICS))


def answer_of(engine: Engine) -> AnswerBoth:
    """Give an engine as a function that answers boxes; the slice is encoded once."""
    return lambda image, boxes: answer_masks(engine, image, boxes)


@dataclass(frozen=True, eq=False)
class Judged:
    """The held-out prompts of one fold, and how they were answered.

    Attributes:
        prompts: what was asked.
        ellipse: scores of the ellipse.
        by_share: scores by the share of the new weights in the mean with the old ones; 0 has those of the old ones.
        watched: the mean DSC of the watched cases by that share; empty where none are watched.
    """

    prompts: list[ValidationPrompt]
    ellipse: Scores
    by_share: dict[float, Scores]
    watched: dict[float, float]

    def qualities(self) -> dict[float, float]:
        """Give the mean DSC of the held-out prompts by share."""
        return {share: quality(scores) for share, scores in self.by_share.items()}


def judge_fold(
    prompts: list[ValidationPrompt],
    watched: list[ValidationPrompt],
    answer_with: Callable[[float], AnswerBoth],
    shares: Sequence[float],
) -> Judged:
    """Score held-out and watched prompts with every share of the new weights, and with none of them."""
    by_share, by_watched = {}, {}
    for share in (0.0, *shares):
        answer = answer_with(share)
        by_share[share] = scores_of(prompts, answer)
        if watched:
            by_watched[share] = quality(scores_of(watched, answer))
    return Judged(prompts, scores_of(prompts, answer_ellipse), by_share, by_watched)


def pooled(scores: Sequence[Scores]) -> Scores:
    """Put the scores of several folds one behind the other."""
    return np.concatenate(list(scores))


def drawn_objects() -> list[DrawnObject]:
    """Draw pictures of eleven modalities and of shapes, the same on every call: what a model should still know.

    They stand in for the images that the model was trained on, which are not shipped.
    """
    drawn = []
    for phantom in make_phantoms(seed=DRAWN_SEED):
        image, labels = phantom.image, phantom.labels
        if phantom.spacing_mm is not None:
            z = int((labels > 0).sum(axis=(1, 2)).argmax())
            image, labels = image[z], labels[z]
        values = [int(value) for value in np.unique(labels) if value][:OBJECTS_PER_PICTURE]
        drawn += [_drawn(image, labels == value) for value in values]
    for number in range(DRAWN_SLICES):
        image, masks = synthetic_slice(2, generator_for(DRAWN_SEED, number))
        drawn += [_drawn(image, mask) for mask in masks]
    return drawn


def _drawn(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> DrawnObject:
    box = box_around(mask)
    assert box is not None, "drawn objects are not empty"
    return DrawnObject(image, mask, box)


def answers_to_drawn(objects: Sequence[DrawnObject], answer: AnswerBoth) -> list[NDArray[np.bool_]]:
    """Answer the tight box of every drawn object."""
    return [answer(each.image, [each.box])[0] for each in objects]


def mean_dice(first: Masks, second: Masks) -> float:
    """Give the mean DSC of pairs of masks; two empty ones agree."""
    pairs = zip(first, second, strict=True)
    return float(np.mean([dice(one, other) if one.any() or other.any() else 1.0 for one, other in pairs]))


def blended(old: Mapping[str, Tensor], new: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Give a mean of old and new weights (WiSE-FT, Wortsman et al. 2022), `share` of the new; counters are old ones."""
    return {
        name: value.float().lerp(new[name].float(), share) if value.is_floating_point() else value
        for name, value in old.items()
    }


def quality(scores: Scores) -> float:
    """Give the mean DSC over prompts and kinds of boxes."""
    return float(scores[:, :, 0].mean())


def best_share(by_share: Mapping[float, float]) -> float:
    """Choose a share of the new weights: the smallest one with most of what the best one gains, as it forgets less.

    Args:
        by_share: the mean DSC that each share gave; 0 has that of the old weights, and is not chosen.
    """
    old, new = by_share[0.0], {share: value for share, value in by_share.items() if share > 0}
    best = max(new.values())
    wanted = old + MOST_OF_THE_GAIN * (best - old) if best > old else best
    return min(share for share, value in new.items() if value >= wanted)


def is_clear_gain(before: Scores, after: Scores, cases: Sequence[str]) -> bool:
    """Tell whether the DSC rose by half a point, and by more than its standard error over cases."""
    gains = (after - before)[:, :, 0].mean(axis=1)
    names = np.array(cases)
    by_case = np.array([gains[names == case].mean() for case in sorted(set(cases))])
    error = by_case.std(ddof=1) / np.sqrt(len(by_case)) if len(by_case) > 1 else 0.0
    return bool(gains.mean() > CLEAR_GAIN and gains.mean() > error)


def loaded(network: Network, weights: Mapping[str, Tensor]) -> Network:
    """Put weights into a network, and give it in evaluation mode."""
    network.load_state_dict(dict(weights), strict=False)  # counters of norms may be absent
    return network.eval()
