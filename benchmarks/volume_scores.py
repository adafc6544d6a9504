"""Scores whole volumes of a split, one box for each object, by propagation: for `benchmarks.validate`.

Each volume is segmented by `segment_volume` from tight boxes and from boxes off outwards; DSC is the mean over its
objects, by the labels as written.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_prep.convert import CaseSettings, boxes_for
from data_prep.loading import LoadedSource, load_source
from data_prep.objects import ObjectMask, objects_of, paint
from data_prep.sources import Source, find_sources
from evaluation.dice import dice
from evaluation.prompts import BOX_KIND_TITLES, BoxKind
from graysam.api import Segmenter
from graysam.errors import GraySamError
from graysam.inference.baselines import BaselineSegmenter
from graysam.noisy_boxes import LARGEST_SHIFT_PX

logger = logging.getLogger("benchmarks")

VOLUME_BOX_KINDS: Final[tuple[BoxKind, ...]] = ("tight", "outwards")
"""The boxes that whole volumes are prompted with: those that people draw are seldom smaller than the object."""


@dataclass(frozen=True)
class VolumeScore:
    """How one whole volume was answered with one kind of box.

    Attributes:
        name: "<data set>/<case>".
        dataset: "<Modality>/<data set>".
        boxes: the kind of box.
        objects: how many boxes were given.
        slices: of the volume.
        dsc: mean over the objects, by the labels as written.
        ellipsoid_dsc: the same of the ellipsoid in each box.
        seconds: of `segment_volume`.
    """

    name: str
    dataset: str
    boxes: BoxKind
    objects: int
    slices: int
    dsc: float
    ellipsoid_dsc: float
    seconds: float


def volumes_of(data: Path, split: str) -> list[Source]:
    """Find the volumes of a split, in the data sets <Modality>/<data set> that have a folder "volumes"."""
    found: list[Source] = []
    for folder in sorted(data.glob("*/*/volumes")):
        sources = find_sources(folder.parent).sources
        found += [source for source in sources if source.split == split and source.is_volume]
    return found


def load_objects(source: Source) -> tuple[LoadedSource, tuple[ObjectMask, ...]]:
    """Read a case and give its objects, as `python -m data_prep` takes them from the labels.

    Raises:
        PrepareError: it cannot be read.
    """
    loaded = load_source(source)
    objects, _ = objects_of(loaded.labels, source.labels, spacing_mm=loaded.spacing_mm)
    return loaded, objects


def drawn_boxes(loaded: LoadedSource, objects: Sequence[ObjectMask], name: str, *, margin: int) -> list[Any]:
    """Give a `Box` or `VolumeBox` for each object, each side up to `margin` px of 256 outwards.

    The draws are those of `python -m data_prep cases`, which go by the case's name.
    """
    return boxes_for(
        objects,
        is_volume=loaded.is_volume,
        size_hw=(loaded.labels.shape[-2], loaded.labels.shape[-1]),
        margin=margin,
        random=CaseSettings().random_for(name),
    )


def score_volume(source: Source, segmenter: Segmenter) -> list[VolumeScore]:
    """Segment a whole volume from boxes on each object's middle slice; a score for each kind, none without objects.

    Raises:
        PrepareError: the volume cannot be read.
    """
    loaded, objects = load_objects(source)
    if not objects:
        return []
    reference = paint(objects, loaded.labels.shape)
    scores = []
    for kind in VOLUME_BOX_KINDS:
        margin = LARGEST_SHIFT_PX if kind == "outwards" else 0
        boxes = drawn_boxes(loaded, objects, source.name, margin=margin)
        started = time.perf_counter()
        labels = segmenter.segment_volume(loaded.image, boxes)
        seconds = time.perf_counter() - started
        ellipsoids = BaselineSegmenter("ellipse").segment_volume(loaded.image, boxes)
        scores.append(
            VolumeScore(
                name=source.name,
                dataset=source.dataset,
                boxes=kind,
                objects=len(objects),
                slices=loaded.image.shape[0],
                dsc=mean_dice(reference, labels),
                ellipsoid_dsc=mean_dice(reference, ellipsoids),
                seconds=round(seconds, 3),
            )
        )
    return scores


def mean_dice(reference: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """Give the mean DSC over the labels of a reference that has at least one."""
    present = [value for value in np.unique(reference) if value]
    return float(np.mean([dice(reference == value, labels == value) for value in present]))


def volume_means(scores: Sequence[VolumeScore]) -> dict[str, dict[str, float]]:
    """Give means per data set, over all volumes ("all volumes") and over the data sets ("mean of data sets")."""
    groups: dict[str, list[VolumeScore]] = defaultdict(list)
    for score in scores:
        groups[score.dataset].append(score)
    means = {dataset: _volume_mean(group) for dataset, group in sorted(groups.items())}
    over_sets = {
        "volumes": float(len(scores)),
        **{key: float(np.mean([each[key] for each in means.values()])) for key in ("dsc", "ellipsoid_dsc")},
    }
    return {**means, "mean of data sets": over_sets, "all volumes": _volume_mean(scores)}


def _volume_mean(scores: Sequence[VolumeScore]) -> dict[str, float]:
    return {
        "volumes": float(len(scores)),
        "dsc": float(np.mean([score.dsc for score in scores])),
        "ellipsoid_dsc": float(np.mean([score.ellipsoid_dsc for score in scores])),
        "seconds_per_slice": sum(score.seconds for score in scores) / sum(score.slices for score in scores),
    }


def volume_key(kind: BoxKind) -> str:
    """Give the key of the means of volumes in a file of figures: "volumes" for tight boxes, as it always was."""
    return "volumes" if kind == "tight" else f"volumes_{kind}"


def volume_figures(scores: Sequence[VolumeScore]) -> dict[str, Any]:
    """Give the means for each kind of box, and every score."""
    by_kind = {kind: [score for score in scores if score.boxes == kind] for kind in VOLUME_BOX_KINDS}
    means = {volume_key(kind): volume_means(group) for kind, group in by_kind.items()}
    return {**means, "volume_scores": [asdict(score) for score in scores]}


def score_volumes(
    data: Path, split: str, segmenter: Segmenter, *, most: int | None = None, every: int = 1
) -> tuple[list[VolumeScore], int]:
    """Score the volumes of a split; give also how many could not be scored.

    most: of each data set, the first ones.
    every: of these every n-th, the first one included.
    """
    scores: list[VolumeScore] = []
    failed, taken, chosen = 0, defaultdict[str, int](int), list[Source]()
    for source in volumes_of(data, split):
        taken[source.dataset] += 1
        if most is None or taken[source.dataset] <= most:
            chosen.append(source)
    for source in chosen[::every]:
        try:
            of_volume = score_volume(source, segmenter)
        except GraySamError as error:
            logger.error("%s: %s", source.name, error)
            failed += 1
            continue
        for score in of_volume:
            logger.info(
                "%s, boxes %s: %d objects, DSC %.3f, %.1f s",
                score.name,
                BOX_KIND_TITLES[score.boxes],
                score.objects,
                score.dsc,
                score.seconds,
            )
        scores += of_volume
    return scores, failed
