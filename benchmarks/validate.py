"""Score weights on the validation split, and ways that need no learning.

    python -m benchmarks.validate --weights weights/graysam --store S --precision int8 --volumes DATA --out f.json
    python -m benchmarks.validate --checkpoint runs/x/best.pt --store S

Slices of the packed store (DSC, contour NSD at 2 px of 256; tight boxes and boxes off by up to 5 px a side), and whole
volumes of the source data, one box for each object, followed by `segment_volume`. Everything goes through the
predictor's own engine.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.convert import boxes_for, load_source
from data_prep.objects import objects_of, paint
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
from graysam.errors import GraySamError
from graysam.inference.baselines import BaselineSegmenter
from graysam.store import open_store
from train.run_folder import index_hash

logger = logging.getLogger("benchmarks")

SliceMeans = Mapping[BoxKind, Means]


@dataclass(frozen=True)
class VolumeScore:
    """How one whole volume was answered.

    Attributes:
        name: "<data set>/<case>".
        dataset: "<Modality>/<data set>".
        objects: how many boxes were given.
        slices: of the volume.
        dsc: mean over the objects, by the labels as written.
        ellipsoid_dsc: the same of the ellipsoid in each box.
        seconds: of `segment_volume`.
    """

    name: str
    dataset: str
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
        cells = []
        for name, kind in columns:
            dsc, nsd = by_name[name][kind][modality]
            mark = " <" if by_name[name] is model and dsc < by_name["ellipse"][kind][modality][0] else ""
            cells.append(f"{100 * dsc:.1f}/{100 * nsd:.1f}{mark}")
        rows.append([modality, *cells])
    return markdown_table(["", *(f"{name}, {BOX_KIND_TITLES[kind]}" for name, kind in columns)], rows)


def validation_volumes(data: Path) -> list[Source]:
    """Find the volumes of the validation split, in the data sets <Modality>/<data set> that have a folder "volumes"."""
    found: list[Source] = []
    for folder in sorted(data.glob("*/*/volumes")):
        sources = find_sources(folder.parent).sources
        found += [source for source in sources if source.split == "val" and source.is_volume]
    return found


def score_volume(source: Source, segmenter: Segmenter) -> VolumeScore | None:
    """Segment a whole volume from the tight box of each object's middle slice; None where it has no object.

    Raises:
        PrepareError: the volume cannot be read.
    """
    loaded = load_source(source)
    objects, _ = objects_of(loaded.labels, source.labels, spacing_mm=loaded.spacing_mm)
    if not objects:
        return None
    height, width = loaded.image.shape[1:3]
    tight = np.random.default_rng(0)  # not drawn from: the margin is 0
    boxes: Any = boxes_for(objects, is_volume=True, size_hw=(height, width), margin=0, random=tight)
    reference = paint(objects, loaded.labels.shape)
    started = time.perf_counter()
    labels = segmenter.segment_volume(loaded.image, boxes)
    seconds = time.perf_counter() - started
    ellipsoids = BaselineSegmenter("ellipse").segment_volume(loaded.image, boxes)
    return VolumeScore(
        name=source.name,
        dataset=source.dataset,
        objects=len(objects),
        slices=loaded.image.shape[0],
        dsc=mean_dice(reference, labels),
        ellipsoid_dsc=mean_dice(reference, ellipsoids),
        seconds=round(seconds, 3),
    )


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


def volume_table(means: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out the means of volumes."""
    rows = [
        [name, f"{row['volumes']:.0f}", f"{row['dsc']:.3f}", f"{row['ellipsoid_dsc']:.3f}"]
        for name, row in means.items()
    ]
    return markdown_table(["", "volumes", "DSC", "ellipsoid DSC"], rows)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--weights", type=Path, help="folder with model.pt, openvino, openvino-int8")
    which.add_argument("--checkpoint", type=Path, help="best.pt of a run; runs on torch")
    parser.add_argument("--engine", default="auto", choices=("auto", "openvino", "torch"))
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "int8"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--store", type=Path, help="packed store: score its validation slices")
    parser.add_argument("--per-modality", type=int, default=55, help="prompts of each modality (default: 55)")
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--volumes", type=Path, help="source data: score the volumes of its validation split")
    parser.add_argument("--most-volumes", type=int, help="of each data set, to be quick")
    parser.add_argument("--out", type=Path, help="JSON file for every figure")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; exit status 1 when a volume could not be scored."""
    options = parse_options(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    weights = options.checkpoint or options.weights or default_weights()
    engine_name = "torch" if options.checkpoint and options.engine == "auto" else options.engine
    segmenter = Segmenter.load(weights, engine_name, options.precision, options.threads)
    engine = segmenter.engine
    name = f"{engine.spec.name} ({engine.name} {engine.precision})"
    figures: dict[str, Any] = {"model": engine.spec.name, "engine": engine.name, "precision": engine.precision}
    if options.store:
        prompts = validation_prompts(open_store(options.store), per_modality=options.per_modality)
        answers = {name: engine_answer(engine), **(BASELINES if options.baselines else {})}
        if "ellipse" not in answers:
            answers["ellipse"] = BASELINES["ellipse"]
        means = {each: means_by_kind(prompts, answer) for each, answer in answers.items()}
        figures |= {"slices": means, "prompts": len(prompts), "store_index_sha256": index_hash(options.store)}
        print(slice_table(means), flush=True)
    failed = 0
    if options.volumes:
        scores, failed = score_volumes(options.volumes, segmenter, most=options.most_volumes)
        if scores:
            figures |= {"volumes": volume_means(scores), "volume_scores": [asdict(score) for score in scores]}
            print(volume_table(figures["volumes"]))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if failed else 0


def score_volumes(data: Path, segmenter: Segmenter, *, most: int | None = None) -> tuple[list[VolumeScore], int]:
    """Score the validation volumes, the first `most` of each data set; give also how many could not be scored."""
    scores: list[VolumeScore] = []
    failed, taken = 0, defaultdict[str, int](int)
    for source in validation_volumes(data):
        taken[source.dataset] += 1
        if most is not None and taken[source.dataset] > most:
            continue
        try:
            score = score_volume(source, segmenter)
        except GraySamError as error:
            logger.error("%s: %s", source.name, error)
            failed += 1
            continue
        if score:
            scores.append(score)
            logger.info("%s: %d objects, DSC %.3f, %.1f s", score.name, score.objects, score.dsc, score.seconds)
    return scores, failed


if __name__ == "__main__":
    raise SystemExit(main())
