"""Measures the rules of --overlap against each other on cases whose objects may meet: DSC of the labels as written.

    python -m benchmarks.overlap --data DATA --out benchmarks/results/overlap.json

Cases come from the source data, of every data set of a split the same share, with boxes loosened outwards by 0 to 5 px
of 256, as in `benchmarks.validate`; a case with one object is passed over. The model answers each case once, and each
rule of `graysam.inference.overlap` paints the same answers. The file is written after every case, so that a run that
was stopped goes on where it was. Figures go to docs/results.md (`benchmarks.readme`).
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.case_rows import Row, add_rows, sources_of
from benchmarks.model_options import add_engine_options, engine_facts
from benchmarks.recorded import BenchmarkError, read_figures
from benchmarks.volume_scores import drawn_boxes, load_objects, mean_dice
from benchmarks.weights_id import weights_id
from data_prep.loading import LoadedSource
from data_prep.objects import ObjectMask, paint
from data_prep.sources import Source
from evaluation.tables import markdown_table
from graysam.api import Segmenter, default_weights
from graysam.cases import label_dtype
from graysam.console import run_command
from graysam.engines.protocol import Engine
from graysam.inference.images import BoxAnswer, PromptedSlice
from graysam.inference.overlap import PAINTERS, Overlap
from graysam.inference.volumes import answer_volume
from graysam.noisy_boxes import LARGEST_SHIFT_PX
from graysam.prompts import USUAL_FIT, Prompt, box_rows

Scores = dict[Overlap, float]
RULES: tuple[Overlap, ...] = ("last", "confident", "auto")
"""The columns of the table: the challenge's rule first, the default last."""


def score_rules(reference: NDArray[np.integer[Any]], answers: Iterable[tuple[int, BoxAnswer]]) -> Scores:
    """Let every rule paint the same answers, and give the mean DSC over the objects for each.

    Args:
        reference: (H, W) or (D, H, W), i + 1 for object i, at least one object.
        answers: the slice of each, 0 for an image, and what was answered there.
    """
    shape = (1, *reference.shape)[-3:]
    labels = {rule: np.zeros(shape, label_dtype(int(reference.max()))) for rule in RULES}
    painters = {rule: [PAINTERS[rule](plane) for plane in labels[rule]] for rule in RULES}
    for z, answer in answers:
        for rule in RULES:
            painters[rule][z].paint(answer.window, answer.logits, label=answer.index + 1)
    return {rule: mean_dice(reference, labels[rule].reshape(reference.shape)) for rule in RULES}


def answers_to(
    engine: Engine, loaded: LoadedSource, objects: Sequence[ObjectMask], name: str
) -> Iterator[tuple[int, BoxAnswer]]:
    """Prompt with a loose box for each object, and give the slice of each answer, and the answer."""
    boxes = drawn_boxes(loaded, objects, name, margin=LARGEST_SHIFT_PX)
    if loaded.is_volume:
        return ((step.z, answer) for step, answer in answer_volume(engine, loaded.image, boxes))
    prompted, others = PromptedSlice(engine, loaded.image), box_rows(boxes)
    return ((0, answer) for answer in prompted.answer([Prompt(box, others=others, fit=USUAL_FIT) for box in boxes]))


def chosen(sources: Sequence[Source], *, most_images: int, most_volumes: int) -> list[Source]:
    """Choose sources that are spread evenly over each data set: at most so many images, or volumes, of each."""
    of_set: dict[tuple[str, bool], list[Source]] = defaultdict(list)
    for source in sources:
        of_set[source.dataset, source.is_volume].append(source)
    taken = []
    for (_, is_volume), group in sorted(of_set.items()):
        count = min(len(group), most_volumes if is_volume else most_images)
        taken += [group[round(place * (len(group) - 1) / max(1, count - 1))] for place in range(count)]
    return taken


def score_source(engine: Engine, source: Source) -> Row:
    """Score one case; without "dsc" where it has fewer than two objects, which cannot meet.

    Raises:
        PrepareError: it cannot be read.
    """
    loaded, objects = load_objects(source)
    row: Row = {"name": source.name, "dataset": source.dataset, "split": source.split}
    row["objects"] = len(objects)
    if len(objects) >= 2:
        reference = paint(objects, loaded.labels.shape)
        scores = score_rules(reference, answers_to(engine, loaded, objects, source.name))
        row["dsc"] = {rule: round(scores[rule], 5) for rule in RULES}
    return row


def overlap_table(rows: Iterable[Row], *, differing: bool = False) -> str:
    """Lay out mean DSC in %, a row for each data set with cases of several objects, and the mean of the data sets.

    differing: leave out the rows of data sets for which all rules give the same; the means are still of all.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if "dsc" in row:
            groups[row["split"], row["dataset"]].append(row)
    lines, means, counts = [], defaultdict[str, list[list[float]]](list), defaultdict[str, int](int)
    for (split, dataset), group in sorted(groups.items()):
        mean = [100 * float(np.mean([row["dsc"][rule] for row in group])) for rule in RULES]
        means[split].append(mean)
        counts[split] += len(group)
        cells = [f"{value:.1f}" for value in mean]
        if not differing or len(set(cells)) > 1:
            lines.append([split, dataset, str(len(group)), *cells])
    for split, of_sets in sorted(means.items()):
        cells = [f"{value:.1f}" for value in np.mean(of_sets, axis=0)]
        lines.append([split, f"mean of {len(of_sets)} data sets", str(counts[split]), *cells])
    return markdown_table(["split", "data set", "cases", *RULES], lines)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="source data with its index.csv")
    parser.add_argument("--splits", nargs="+", default=["far", "val"], help="splits to measure (default: far val)")
    parser.add_argument("--weights", type=Path, help="folder of a model, or a checkpoint (default: those that ship)")
    add_engine_options(parser, precision="fp32")
    parser.add_argument("--most-images", type=int, default=6, help="of each data set (default: 6)")
    parser.add_argument("--most-volumes", type=int, default=2, help="of each data set (default: 2)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; a run that was stopped goes on from it")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; exit status 1 when a case could not be read, 2 when nothing could be measured."""
    options = parse_options(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(lambda: measure(options))


def measure(options: argparse.Namespace) -> int:
    """Score the cases that the file does not hold yet, and print the table.

    Raises:
        BenchmarkError: the file is of other weights, or there is nothing to measure.
    """
    weights = options.weights or default_weights()
    engine = Segmenter.load(weights, options.engine, options.precision, options.threads).engine
    facts = {**engine_facts(engine), **weights_id(weights)}
    figures: dict[str, Any] = {**facts, "rows": []}
    if options.out.is_file():
        figures = read_figures(options.out)
        if any(figures.get(key) != value for key, value in facts.items()):
            raise BenchmarkError(f"{options.out}: holds figures of another model or engine; remove it or name another.")
    wanted = chosen(
        sources_of(options.data, options.splits), most_images=options.most_images, most_volumes=options.most_volumes
    )
    failed = add_rows(options.out, figures, wanted, lambda source, known: dict(known) or score_source(engine, source))
    if not any("dsc" in row for row in figures["rows"]):
        raise BenchmarkError(f"{options.data}: no case with several objects in the splits {options.splits}.")
    print(overlap_table(figures["rows"]))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
