"""Compares models on data sets that none of ours was trained on: whole cases of the split far, loose boxes.

    python -m benchmarks.unseen --data DATA --out benchmarks/results/unseen.json
    python -m benchmarks.unseen --data DATA --weights weights/litemedsam --out benchmarks/results/unseen.json

Every case is answered as `graysam predict` would, images and volumes, with a box for each object of which each side
lies 0 to 5 px (of 256) outside. The ellipse in the box is always compared. Rows are kept by case: called with other
weights, the command adds their scores to the same cases, and a run that was stopped goes on where it was. Figures go to
the README and to docs/results.md (`benchmarks.readme`).
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.case_rows import Row, add_rows, sources_of
from benchmarks.model_options import add_engine_options, engine_facts
from benchmarks.recorded import BenchmarkError, read_figures
from benchmarks.volume_scores import drawn_boxes, load_objects, mean_dice
from benchmarks.weights_id import weights_id
from data_prep.loading import LoadedSource
from data_prep.objects import paint
from data_prep.sources import Source
from evaluation.tables import markdown_table
from graysam.api import Segmenter, default_weights
from graysam.console import run_command
from graysam.inference.baselines import BaselineSegmenter
from graysam.noisy_boxes import LARGEST_SHIFT_PX

ELLIPSE: Final = "ellipse"
SPLIT: Final = "far"
NOT_MEASURED: Final = "not measured"

Answer = Callable[[LoadedSource, list[Any]], NDArray[np.integer[Any]]]
"""From a case and its boxes to labels, i + 1 for box i."""


def answer_of(segmenter: Segmenter | BaselineSegmenter) -> Answer:
    """Give a model as a function that answers an image or a volume with several boxes."""
    return lambda loaded, boxes: (
        segmenter.segment_volume(loaded.image, boxes)
        if loaded.is_volume
        else segmenter.segment_image(loaded.image, boxes)
    )


def scored(source: Source, known: Mapping[str, Any], answers: Mapping[str, Answer]) -> Row:
    """Score those models on a case whose scores are not known yet; without "dsc" where the case has no object.

    Args:
        source: the case.
        known: its row so far.
        answers: the models, by name.

    Raises:
        PrepareError: it cannot be read.
    """
    missing = {name: answer for name, answer in answers.items() if name not in known.get("dsc", {})}
    if known and ("dsc" not in known or not missing):
        return dict(known)
    loaded, objects = load_objects(source)
    row = {
        "name": source.name,
        "dataset": source.dataset,
        "group": f"{loaded.modality} volumes" if loaded.is_volume else loaded.modality,
        "objects": len(objects),
    }
    if not objects:
        return row
    reference = paint(objects, loaded.labels.shape)
    boxes = drawn_boxes(loaded, objects, source.name, margin=LARGEST_SHIFT_PX)
    new = {name: round(mean_dice(reference, answer(loaded, boxes)), 5) for name, answer in missing.items()}
    return {**row, "dsc": {**known.get("dsc", {}), **new}}


def group_means(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Give the mean DSC of every group and model, 0 to 1, and under "mean" that of the groups.

    Models that lack a case which others have are left out: their means would be of other cases.
    """
    with_objects = [row for row in rows if "dsc" in row]
    if not with_objects:
        return {}
    names = [name for name in with_objects[0]["dsc"] if all(name in row["dsc"] for row in with_objects)]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in with_objects:
        groups[row["group"]].append(row)
    means = {
        group: {name: float(np.mean([row["dsc"][name] for row in of_group])) for name in names}
        for group, of_group in sorted(groups.items())
    }
    over_groups = {name: float(np.mean([of_group[name] for of_group in means.values()])) for name in names}
    return {**means, "mean": over_groups}


def unseen_table(figures: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Lay out the means in %, a row for each group; `titles` says which models are shown, and their columns' titles."""
    rows = [row for row in figures["rows"] if "dsc" in row]
    lines = []
    for group, means in group_means(rows).items():
        cases = sum(group in (row["group"], "mean") for row in rows)
        cells = (f"{100 * means[name]:.1f}" if name in means else NOT_MEASURED for name in titles)
        lines.append([group, str(cases), *cells])
    return markdown_table(["", "cases", *titles.values()], lines)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="source data with its index.csv")
    parser.add_argument("--split", default=SPLIT, help="the split to answer (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="folder of a model, or a checkpoint (default: those that ship)")
    add_engine_options(parser, precision="fp32")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; a run that was stopped goes on from it")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; exit status 1 when a case could not be read, 2 when nothing could be compared."""
    options = parse_options(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(lambda: compare(options))


def compare(options: argparse.Namespace) -> int:
    """Score the cases that the file has no scores of, and print the table.

    Raises:
        BenchmarkError: the file is of other weights or of another split, or there is nothing to score.
    """
    weights = options.weights or default_weights()
    segmenter = Segmenter.load(weights, options.engine, options.precision, options.threads)
    own = {**engine_facts(segmenter.engine), **weights_id(weights)}
    name = own["model"]
    figures: dict[str, Any] = {"split": options.split, "models": {}, "rows": []}
    if options.out.is_file():
        figures = read_figures(options.out)
        if figures.get("split") != options.split or figures["models"].get(name, own) != own:
            raise BenchmarkError(
                f"{options.out}: holds figures of another split, or of other weights or another engine of {name}; "
                "remove it or name another."
            )
    figures["models"][name] = own
    answers = {name: answer_of(segmenter), ELLIPSE: answer_of(BaselineSegmenter("ellipse"))}
    sources = sources_of(options.data, [options.split])
    failed = add_rows(options.out, figures, sources, lambda source, known: scored(source, known, answers))
    if not any("dsc" in row for row in figures["rows"]):
        raise BenchmarkError(f"{options.data}: no case with an object in the split {options.split}.")
    print(unseen_table(figures, {each: each for each in (*figures["models"], ELLIPSE)}))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
