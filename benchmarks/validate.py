"""Scores weights on a split of the data that was not trained on, and what needs no model on the same prompts.

    python -m benchmarks.validate --weights weights/graysam --store S --precision int8 --volumes DATA --out f.json
    python -m benchmarks.validate --checkpoint runs/x/best.pt --store S --split far

Prompts come from slices of the packed store (DSC, contour NSD at 2 px of 256; a box of every kind of
evaluation/prompts) and from whole volumes of the source data (one box for each object, tight and off outwards, and
propagation by `segment_volume`). Tables go to the terminal, all figures to a JSON file for the README and the model
card. Everything is answered by the predictor's own engine.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.recorded import BenchmarkError, write_figures
from data_prep.convert import CaseSettings, LoadedSource, boxes_for, load_source
from data_prep.objects import ObjectMask, objects_of, paint
from data_prep.sources import Source, find_sources
from evaluation.dice import dice
from evaluation.prompts import (
    BASELINES,
    BOX_KIND_TITLES,
    BOX_KINDS,
    BoxKind,
    Means,
    engine_answer,
    means_by_kind,
    validation_prompts,
)
from evaluation.tables import markdown_table
from graysam.api import Segmenter, default_weights
from graysam.console import run_command
from graysam.engines.protocol import Engine
from graysam.errors import GraySamError
from graysam.inference.baselines import BaselineSegmenter
from graysam.noisy_boxes import LARGEST_SHIFT_PX
from graysam.store import index_hash, open_store

logger = logging.getLogger("benchmarks")

SliceMeans = Mapping[BoxKind, Means]


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


def slice_table(by_name: Mapping[str, SliceMeans]) -> str:
    """Lay out DSC/NSD in %, a row for each modality and a column for each way and kind of box.

    A modality where the first way stays below the ellipse is marked with "<".
    """
    model, *_ = by_name.values()
    columns = [(name, kind) for name in by_name for kind in BOX_KINDS if kind in model]
    rows = []
    for modality in model["tight"]:
        cells = [modality]
        for name, kind in columns:
            dsc, nsd = by_name[name][kind][modality]
            mark = " <" if by_name[name] is model and dsc < by_name["ellipse"][kind][modality][0] else ""
            cells.append(f"{100 * dsc:.1f}/{100 * nsd:.1f}{mark}")
        rows.append(cells)
    return markdown_table(["", *(f"{name}, {BOX_KIND_TITLES[kind]}" for name, kind in columns)], rows)


def volumes_of(data: Path, split: str) -> list[Source]:
    """Find the volumes of a split, in the data sets <Modality>/<data set> that have a folder "volumes"."""
    found: list[Source] = []
    for folder in sorted(data.glob("*/*/volumes")):
        sources = find_sources(folder.parent).sources
        found += [source for source in sources if source.split == split and source.is_volume]
    return found


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
    loaded = load_source(source)
    objects, _ = objects_of(loaded.labels, source.labels, spacing_mm=loaded.spacing_mm)
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


def volume_table(figures: Mapping[str, Any]) -> str:
    """Lay out the means of volumes, two columns for each kind of box that there are figures of."""
    kinds = [kind for kind in VOLUME_BOX_KINDS if volume_key(kind) in figures]
    header = ["", "volumes"]
    for kind in kinds:
        header += [f"DSC, {BOX_KIND_TITLES[kind]}", f"ellipsoid, {BOX_KIND_TITLES[kind]}"]
    rows = []
    for name, first in figures[volume_key(kinds[0])].items():
        row = [name, f"{first['volumes']:.0f}"]
        for kind in kinds:
            means = figures[volume_key(kind)][name]
            row += [f"{means['dsc']:.3f}", f"{means['ellipsoid_dsc']:.3f}"]
        rows.append(row)
    return markdown_table(header, rows)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--weights", type=Path, help="folder with model.pt, openvino, openvino-int8")
    which.add_argument("--checkpoint", type=Path, help="best.pt of a run; runs on torch")
    parser.add_argument("--engine", default="auto", choices=("auto", "openvino", "torch"))
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "int8"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--store", type=Path, help="packed store: score its slices of the split")
    parser.add_argument("--split", default="val", help="split of the store and of the volumes (default: val)")
    parser.add_argument("--per-modality", type=int, default=55, help="prompts of each modality (default: 55)")
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--volumes", type=Path, help="source data: score its volumes of the split")
    parser.add_argument("--most-volumes", type=int, help="of each data set, to be quick")
    parser.add_argument("--out", type=Path, help="JSON file for every figure")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; exit status 1 when a volume could not be scored, 2 when nothing could."""
    options = parse_options(argv)
    return run_command(lambda: validate(options))


def validate(options: argparse.Namespace) -> int:
    """Score what the options name, print the tables and write the figures; 1 when a volume could not be scored."""
    weights = options.checkpoint or options.weights or default_weights()
    engine_name = "torch" if options.checkpoint and options.engine == "auto" else options.engine
    segmenter = Segmenter.load(weights, engine_name, options.precision, options.threads)
    engine = segmenter.engine
    figures: dict[str, Any] = {
        "model": engine.spec.name,
        "engine": engine.name,
        "precision": engine.precision,
        "split": options.split,
    }
    if options.store:
        figures |= slice_figures(engine, options)
        print(slice_table(figures["slices"]), flush=True)
    failed = 0
    if options.volumes:
        scores, failed = score_volumes(options.volumes, options.split, segmenter, most=options.most_volumes)
        if scores:
            figures |= volume_figures(scores)
            print(volume_table(figures))
    if "slices" not in figures and "volumes" not in figures and not failed:
        raise BenchmarkError(
            f"split {options.split!r}: found nothing to score; give --store, or --volumes with a folder whose "
            "index.csv puts volumes into that split."
        )
    if options.out:
        write_figures(options.out, figures)
    return 1 if failed else 0


def slice_figures(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Score the slices of a split, by the engine and by what needs no model."""
    prompts = validation_prompts(open_store(options.store), split=options.split, per_modality=options.per_modality)
    name = f"{engine.spec.name} ({engine.name} {engine.precision})"
    guesses = BASELINES if options.baselines else {"ellipse": BASELINES["ellipse"]}
    answers = {name: engine_answer(engine), **guesses}
    means = {each: means_by_kind(prompts, answer) for each, answer in answers.items()}
    return {"slices": means, "prompts": len(prompts), "store_index_sha256": index_hash(options.store)}


def volume_figures(scores: Sequence[VolumeScore]) -> dict[str, Any]:
    """Give the means for each kind of box, and every score."""
    by_kind = {kind: [score for score in scores if score.boxes == kind] for kind in VOLUME_BOX_KINDS}
    means = {volume_key(kind): volume_means(group) for kind, group in by_kind.items()}
    return {**means, "volume_scores": [asdict(score) for score in scores]}


def score_volumes(
    data: Path, split: str, segmenter: Segmenter, *, most: int | None = None
) -> tuple[list[VolumeScore], int]:
    """Score the volumes of a split, the first `most` of each data set; give also how many could not be scored."""
    scores: list[VolumeScore] = []
    failed, taken = 0, defaultdict[str, int](int)
    for source in volumes_of(data, split):
        taken[source.dataset] += 1
        if most is not None and taken[source.dataset] > most:
            continue
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


if __name__ == "__main__":
    raise SystemExit(main())
