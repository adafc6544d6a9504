"""Measures at which threshold of the logits masks are best, and puts it into the weights.

    python -m benchmarks.threshold --weights weights/graysam --store all.store --out benchmarks/results/threshold.json
    python -m benchmarks.threshold --weights weights/graysam --store all.store --apply

Prediction calls an object what has a logit above 0, whatever the model: the threshold belongs to the weights, in the
bias of the last layer, so that every engine and number format has the same. A network that was trained by cross-entropy
answers a little too small a mask (`train.soup`). Here the mean DSC at thresholds round 0 is measured, on the prompts of
`benchmarks.validate`, and the best one is chosen: by boxes off outwards, which people draw, over the means of the
splits. 0 stays unless another is better by more than 0.1 points.

`--apply` adds to the logits what moves the chosen threshold to 0, exports the folder anew, int8 with the slices of the
store, and measures again. Then confidences have to be measured anew, too (`benchmarks.confidence`).
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.model_options import add_engine_options, engine_facts
from benchmarks.recorded import BenchmarkError, rounded_means, write_figures
from benchmarks.weights_id import weights_id
from evaluation.dice import dice
from evaluation.prompts import BOX_KIND_TITLES, BOX_KINDS, BoxKind, ValidationPrompt, validation_prompts
from evaluation.tables import markdown_table
from graysam.api import Segmenter, default_weights
from graysam.console import run_command, tracked
from graysam.engines.protocol import Engine
from graysam.engines.select import OPENVINO_FOLDERS, TORCH_FILE
from graysam.export import export
from graysam.inference.images import BoxAnswer, PromptedSlice
from graysam.prompts import USUAL_FIT, Prompt
from graysam.store import index_hash, open_store
from train.soup import write_soup

logger = logging.getLogger("benchmarks")

THRESHOLDS: Final = tuple(round(0.15 * step, 2) for step in range(-6, 5))
"""-0.9 to 0.6; of a probability, 0.29 to 0.65."""
LEAST_GAIN: Final = 0.001
"""By how much another threshold than 0 must be better: 0.1 points of DSC."""
CHOSEN_BY: Final[BoxKind] = "outwards"

Curves = dict[BoxKind, dict[str, list[float]]]
"""A kind of box and a modality, or "mean", to the mean DSC at each of THRESHOLDS."""


def dsc_curves(engine: Engine, prompts: Sequence[ValidationPrompt]) -> Curves:
    """Give the mean DSC at each threshold, by kind of box and modality; every box is taken for loose, as usual."""
    found: dict[BoxKind, dict[str, list[list[float]]]] = {kind: defaultdict(list) for kind in BOX_KINDS}
    for prompt in tracked(prompts, total=len(prompts), what="prompts"):
        said = [Prompt(prompt.boxes[kind], fit=USUAL_FIT) for kind in BOX_KINDS]
        answers = PromptedSlice(engine, prompt.image).answer(said)
        for kind, answer in zip(BOX_KINDS, answers, strict=True):
            found[kind][prompt.entry.modality].append(_dsc_by_threshold(answer, prompt.mask))
    return {kind: rounded_means(by_modality) for kind, by_modality in found.items()}


def _dsc_by_threshold(answer: BoxAnswer, mask: NDArray[np.bool_]) -> list[float]:
    whole = np.full(mask.shape, -np.inf, np.float32)
    whole[answer.window] = answer.logits
    return [dice(mask, whole > threshold) for threshold in THRESHOLDS]


def choose_threshold(by_split: Mapping[str, Curves]) -> float:
    """Give the threshold with the best mean over the splits, the nearest to 0 of equals; 0 unless it gains enough."""
    curve = np.mean([curves[CHOSEN_BY]["mean"] for curves in by_split.values()], axis=0)
    best = min(range(len(THRESHOLDS)), key=lambda place: (-round(float(curve[place]), 6), abs(THRESHOLDS[place])))
    gain = round(float(curve[best] - curve[THRESHOLDS.index(0)]), 6)
    return THRESHOLDS[best] if gain > LEAST_GAIN else 0.0


def threshold_table(figures: Mapping[str, Any]) -> str:
    """Lay out mean DSC in %: a row for each split and kind of box, a column for each threshold."""
    rows = [
        [f"{split}, {BOX_KIND_TITLES[kind]}", *(f"{100 * value:.1f}" for value in curves[kind]["mean"])]
        for split, curves in figures["dsc"].items()
        for kind in BOX_KINDS
    ]
    return markdown_table(["", *(f"{threshold:g}" for threshold in figures["thresholds"])], rows)


def in_words(figures: Mapping[str, Any]) -> str:
    """Say which threshold is best."""
    splits = " and ".join(figures["dsc"])
    chosen = figures["threshold"]
    said = f"is best at {chosen:g}" if chosen else f"is best at 0, within {100 * LEAST_GAIN:g} points"
    return f"The mean DSC of {splits} with boxes {BOX_KIND_TITLES[CHOSEN_BY]} {said}."


# --- command ----------------------------------------------------------------------------------------------------------


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder of the exported model (default: those that ship)")
    parser.add_argument("--store", type=Path, required=True, help="packed store")
    parser.add_argument("--splits", nargs="+", default=["val", "far"], help="of the store (default: val far)")
    parser.add_argument("--per-modality", type=int, default=55, help="prompts of each modality (default: 55)")
    add_engine_options(parser, engine="openvino", precision="fp32")
    parser.add_argument("--apply", action="store_true", help="move the best threshold to 0, and export the folder anew")
    parser.add_argument("--out", type=Path, help="JSON file for every figure")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and change the weights if that was wanted; exit status 2 when nothing could be measured."""
    options = parse_options(argv)
    return run_command(lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    """Measure, apply, print and write.

    Raises:
        BenchmarkError: there is no checkpoint to be changed.
        StoreError: a split holds no objects.
    """
    weights = options.weights or default_weights()
    if options.apply and not (weights / TORCH_FILE).is_file():
        raise BenchmarkError(f"{weights}: --apply: wanted a folder with {TORCH_FILE}, which is changed and exported.")
    figures = measured(weights, options)
    if options.apply and figures["threshold"]:
        apply_shift(weights, -figures["threshold"], options.store)
        figures = {**measured(weights, options), "before": figures}
        logger.info("confidences are others now: run python -m benchmarks.confidence for %s", weights)
    print(f"{in_words(figures)}\n\n{threshold_table(figures)}")
    if options.out:
        write_figures(options.out, figures)


def measured(weights: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Give all figures of the weights as they are, the best threshold among them."""
    engine = Segmenter.load(weights, options.engine, options.precision, options.threads).engine
    store = open_store(options.store)
    curves = {
        split: dsc_curves(engine, validation_prompts(store, split=split, per_modality=options.per_modality))
        for split in options.splits
    }
    return {
        **engine_facts(engine),
        **weights_id(weights),
        "per_modality": options.per_modality,
        "store_index_sha256": index_hash(options.store),
        "thresholds": list(THRESHOLDS),
        "threshold": choose_threshold(curves),
        "dsc": curves,
    }


def apply_shift(weights: Path, shift: float, store: Path) -> None:
    """Add to the logits of a folder of weights, and make all of its files anew.

    Raises:
        CheckpointError: its decoder has no logits that could be shifted.
    """
    calibration = store if (weights / OPENVINO_FOLDERS["int8"]).is_dir() else None
    with tempfile.TemporaryDirectory() as folder:
        shifted = Path(folder) / TORCH_FILE
        write_soup([weights / TORCH_FILE], None, shifted, shift=shift)
        export(shifted, weights, calibration=calibration)


if __name__ == "__main__":
    sys.exit(main())
