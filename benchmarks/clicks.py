"""Measures what clicks mend: DSC after 0, 1, 3 and 5 simulated clicks, for a model that takes them.

    python -m benchmarks.clicks --weights W --store S --split far --out benchmarks/results/clicks.json

Prompts are those of `benchmarks.validate`, with boxes off outwards. After each answer one click is set where a person
would: on the innermost point of the largest error (`train.augment.corrections`, which training uses, too). The model is
shown all clicks so far and its last answer. Figures go to the model card (`benchmarks.model_card --clicks`).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.model_options import add_engine_options, engine_facts
from benchmarks.recorded import BenchmarkError, rounded_means, write_figures
from benchmarks.weights_id import weights_id
from evaluation.dice import dice
from evaluation.prompts import BoxKind, ValidationPrompt, validation_prompts
from evaluation.tables import markdown_table
from graysam.api import Segmenter, default_weights
from graysam.console import run_command
from graysam.corrections import Corrections, VolumeClick
from graysam.engines.protocol import Engine
from graysam.inference.images import PromptedSlice, corrected
from graysam.prompts import USUAL_FIT, Prompt
from graysam.store import index_hash, open_store
from train.augment.corrections import correcting_clicks

COUNTS: Final = (0, 1, 3, 5)
"""After how many clicks the figures are given."""
BOXES: Final[BoxKind] = "outwards"


def dsc_by_clicks(engine: Engine, prompt: ValidationPrompt, most: int = COUNTS[-1]) -> list[float]:
    """Give the DSC after 0, 1, ... `most` clicks on one object; an answer without an error gets no further click."""
    prepared, asked = PromptedSlice(engine, prompt.image), Prompt(prompt.boxes[BOXES], fit=USUAL_FIT)
    answer = prepared.answer([asked])[0].mask(prepared.size_hw)
    scores, clicks = [dice(prompt.mask, answer)], list[VolumeClick]()
    for _ in range(most):
        clicks += [VolumeClick(click, 0) for click in correcting_clicks(prompt.mask, answer, count=1)]
        if clicks:
            corrections = Corrections((tuple(clicks),), answer.astype(np.uint8))
            answer = prepared.answer([corrected(asked, corrections, 0)])[0].mask(prepared.size_hw)
        scores.append(dice(prompt.mask, answer))
    return scores


def click_means(engine: Engine, prompts: Sequence[ValidationPrompt]) -> dict[str, list[float]]:
    """Give for each modality the mean DSC after `COUNTS` clicks, and under "mean" that over the modalities."""
    by_modality: dict[str, list[list[float]]] = defaultdict(list)
    for prompt in prompts:
        scores = dsc_by_clicks(engine, prompt)
        by_modality[prompt.entry.modality].append([scores[count] for count in COUNTS])
    return rounded_means(by_modality)


def click_table(figures: Mapping[str, Any]) -> str:
    """Lay out mean DSC in %, a row for each modality and a column for each number of clicks."""
    header = ["", *(f"{count} click{'s' * (count != 1)}" for count in figures["clicks"])]
    rows = [[name, *(f"{100 * value:.1f}" for value in values)] for name, values in figures["dsc"].items()]
    return markdown_table(header, rows)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder of a model, or a checkpoint (default: those that ship)")
    add_engine_options(parser, precision="fp32")
    parser.add_argument("--store", type=Path, required=True, help="packed store")
    parser.add_argument("--split", default="far", help="split of the store (default: far)")
    parser.add_argument("--per-modality", type=int, default=55, help="objects of each modality (default: 55)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; exit status 2 when the model takes no clicks, or there is nothing to measure on."""
    options = parse_options(argv)
    return run_command(lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    """Measure, print the table and write the figures.

    Raises:
        BenchmarkError: the model takes no clicks.
        StoreError: the split holds no objects.
    """
    weights = options.weights or default_weights()
    segmenter = Segmenter.load(weights, options.engine, options.precision, options.threads)
    engine = segmenter.engine
    if not segmenter.takes_clicks:
        raise BenchmarkError(f"{weights}: the model {engine.spec.name!r} takes no clicks; give weights with hints.")
    prompts = validation_prompts(open_store(options.store), split=options.split, per_modality=options.per_modality)
    figures = {
        **engine_facts(engine),
        **weights_id(weights),
        "split": options.split,
        "boxes": BOXES,
        "prompts": len(prompts),
        "store_index_sha256": index_hash(options.store),
        "clicks": list(COUNTS),
        "dsc": click_means(engine, prompts),
    }
    print(click_table(figures))
    if options.out:
        write_figures(options.out, figures)


if __name__ == "__main__":
    sys.exit(main())
