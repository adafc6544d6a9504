"""Measures how well the model's confidence tells poor masks, and chooses the one below which objects are flagged.

    python -m benchmarks.confidence --weights weights/graysam --store all.store --volumes data

writes benchmarks/results/confidence.json, from which `benchmarks.model_card` makes its part of the card, the paragraph
of docs/files.md, and confidence.json in the folder of the weights, with which it travels. New weights want it anew.

A mask is poor with a DSC below 0.7. The threshold is the hundredth at which flagging finds the poor masks with the best
F1 (the lowest of several), over all prompts of the split val, each with all three kinds of boxes. What the flag is then
worth is told on those prompts, on the split far, which no training and no choice saw, and on whole volumes, where an
object's confidence is the mean over its slices.
"""

from __future__ import annotations

import argparse
import logging
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.model_options import add_engine_options, engine_facts
from benchmarks.recorded import BenchmarkError, write_figures
from benchmarks.volume_scores import drawn_boxes, load_objects, volumes_of
from benchmarks.weights_id import weights_id
from data_prep.objects import paint
from data_prep.sources import Source
from evaluation.dice import dice
from evaluation.prompts import BOX_KIND_TITLES, BOX_KINDS, ValidationPrompt, validation_prompts
from evaluation.tables import markdown_table
from graysam.api import Segmenter, default_weights
from graysam.console import run_command, tracked
from graysam.engines.protocol import Engine
from graysam.errors import GraySamError
from graysam.export.folder import write_checksums
from graysam.inference.confidence import CONFIDENCE_FILE, FlagRule
from graysam.inference.images import PromptedSlice
from graysam.noisy_boxes import LARGEST_SHIFT_PX
from graysam.prompts import USUAL_FIT, Prompt
from graysam.store import PackedStore, index_hash, open_store

logger = logging.getLogger("benchmarks")

RESULT: Final = Path("benchmarks/results/confidence.json")
PAGE: Final = Path("docs/files.md")
_PARAGRAPH: Final = re.compile(r"Objects with a confidence below .*?\n(?=Objects of whole volumes)", re.DOTALL)
POOR_DSC: Final = 0.7
"""A mask with a DSC below this is called poor: one that somebody has to draw anew rather than touch up."""
CHOSEN_ON: Final = "val"
CHECKED_ON: Final = "far"
PAGE_WIDTH: Final = 120
LEVELS: Final = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)
"""Bounds of the groups of confidence of which the mean DSC is told."""


@dataclass(frozen=True)
class Judged:
    """One mask: what the model predicts of it, and what it is worth.

    Attributes:
        group: the modality.
        kind: of the box; "volume" for an object of a whole volume.
        confidence: the predicted IoU.
        dsc: with the reference, 0 to 1.
    """

    group: str
    kind: str
    confidence: float
    dsc: float


def judged_slices(engine: Engine, prompts: Sequence[ValidationPrompt]) -> list[Judged]:
    """Answer every prompt with a box of each kind; one encoding serves them all."""
    found = []
    for prompt in tracked(prompts, total=len(prompts), what="prompts"):
        prompted = PromptedSlice(engine, prompt.image)
        answers = prompted.answer([Prompt(prompt.boxes[kind], fit=USUAL_FIT) for kind in BOX_KINDS])
        for kind, answer in zip(BOX_KINDS, answers, strict=True):
            worth = dice(prompt.mask, answer.mask(prompted.size_hw))
            found.append(Judged(prompt.entry.modality, kind, answer.confidence, worth))
    return found


def judged_volume(segmenter: Segmenter, source: Source) -> list[Judged]:
    """Segment a whole volume from boxes off outwards; one judgement for each object that was found at all.

    Raises:
        PrepareError: the volume cannot be read.
    """
    loaded, objects = load_objects(source)
    if not objects:
        return []
    boxes = drawn_boxes(loaded, objects, source.name, margin=LARGEST_SHIFT_PX)
    labels = segmenter.segment_volume(loaded.image, boxes)
    reference = paint(objects, loaded.labels.shape)
    return [
        Judged(loaded.modality, "volume", float(np.mean([*slices.values()])), dice(reference == n, labels == n))
        for n, slices in ((index + 1, told) for index, told in sorted(segmenter.confidences.items()))
    ]


# --- figures ----------------------------------------------------------------------------------------------------------


def choose_threshold(judged: Sequence[Judged]) -> float:
    """Give the hundredth below which flagging finds poor masks with the best F1; the lowest of several.

    Raises:
        BenchmarkError: there is no poor mask to be found.
    """
    confidence, is_poor = _arrays(judged)
    if not is_poor.any():
        raise BenchmarkError(f"none of {len(judged)} masks is poor (DSC below {POOR_DSC}): no threshold can be chosen.")
    candidates = [hundredth / 100 for hundredth in range(1, 101)]
    return max(candidates, key=lambda each: (round(_f1(confidence < each, is_poor), 9), -each))


def _f1(flagged: NDArray[np.bool_], is_poor: NDArray[np.bool_]) -> float:
    right, n_flagged, n_poor = (int(np.count_nonzero(each)) for each in (flagged & is_poor, flagged, is_poor))
    return 2 * right / max(1, n_flagged + n_poor)


def _arrays(judged: Sequence[Judged]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.array([each.confidence for each in judged]), np.array([each.dsc for each in judged]) < POOR_DSC


def worth_of(judged: Sequence[Judged], flag_below: float) -> dict[str, float | None]:
    """Give the figures of one group: how many, correlations, and what the flag finds; None for what is undefined."""
    confidence, is_poor = _arrays(judged)
    dsc = np.array([each.dsc for each in judged])
    flagged = confidence < flag_below
    right, n_flagged, n_poor = (int(np.count_nonzero(each)) for each in (flagged & is_poor, flagged, is_poor))
    varied = len(judged) > 2 and np.ptp(confidence) > 0 and np.ptp(dsc) > 0
    return {
        "masks": len(judged),
        "mean_confidence": _rounded(confidence.mean()),
        "mean_dsc": _rounded(dsc.mean()),
        "pearson": _rounded(np.corrcoef(confidence, dsc)[0, 1]) if varied else None,
        "spearman": _rounded(spearmanr(confidence, dsc).statistic) if varied else None,
        "poor": n_poor,
        "flagged": n_flagged,
        "precision": _rounded(right / n_flagged) if n_flagged else None,
        "recall": _rounded(right / n_poor) if n_poor else None,
    }


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)


def grouped(judged: Sequence[Judged], flag_below: float) -> dict[str, Any]:
    """Give the figures of all masks, by kind of box, by modality, and the mean DSC by level of confidence."""

    def by(key: str, names: Iterable[str]) -> dict[str, Any]:
        groups = {name: [each for each in judged if getattr(each, key) == name] for name in names}
        return {name: worth_of(group, flag_below) for name, group in groups.items() if group}

    levels = []
    for low, high in pairwise(LEVELS):
        within = [each.dsc for each in judged if low <= each.confidence < high]
        if within:
            tenth = _rounded(np.percentile(within, 10))
            levels.append({"from": low, "masks": len(within), "mean_dsc": _rounded(np.mean(within)), "tenth": tenth})
    return {
        "all": worth_of(judged, flag_below),
        "by_boxes": by("kind", (*BOX_KINDS, "volume")),
        "by_modality": by("group", sorted({each.group for each in judged})),
        "levels": levels,
    }


# --- what the card and the docs say -----------------------------------------------------------------------------------

SPLIT_TITLES: Final = {
    "val": "validation slices",
    "far": "slices of the unseen split far",
    "volumes": "objects of validation volumes",
}


def worth_table(figures: Mapping[str, Any]) -> str:
    """Lay out what confidence and flag are worth, a row for each set of masks."""
    rows = []
    for name, title in SPLIT_TITLES.items():
        if name in figures["sets"]:
            rows.append(_row(title, figures["sets"][name]["all"]))
    for kind in BOX_KINDS:
        rows.append(_row(f"validation slices, boxes {BOX_KIND_TITLES[kind]}", figures["sets"]["val"]["by_boxes"][kind]))
    header = ["", "masks", "Pearson", "Spearman", "poor", "flagged", "precision", "recall"]
    return markdown_table(header, rows)


def _row(title: str, worth: Mapping[str, Any]) -> list[str]:
    return [
        title,
        str(worth["masks"]),
        *(_cell(worth[key], "{:.2f}") for key in ("pearson", "spearman")),
        *(f"{100 * worth[key] / worth['masks']:.0f} %" for key in ("poor", "flagged")),
        *("-" if worth[key] is None else f"{100 * worth[key]:.0f} %" for key in ("precision", "recall")),
    ]


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def modality_table(figures: Mapping[str, Any]) -> str:
    """Lay out the same for the modalities of the validation slices."""
    header = ["", "masks", "mean confidence", "mean DSC", "Spearman", "poor", "flagged", "precision", "recall"]
    rows = []
    for modality, worth in figures["sets"]["val"]["by_modality"].items():
        name, masks, _, spearman, *rest = _row(modality, worth)
        rows.append([name, masks, f"{worth['mean_confidence']:.2f}", f"{worth['mean_dsc']:.2f}", spearman, *rest])
    return markdown_table(header, rows)


def level_table(figures: Mapping[str, Any]) -> str:
    """Lay out which DSC masks of a confidence have on the validation slices."""
    levels = figures["sets"]["val"]["levels"]
    ends = [level["from"] for level in levels[1:]] + [1.0]
    rows = [
        [f"{level['from']:.1f} to {end:.1f}", level["masks"], f"{level['mean_dsc']:.2f}", f"{level['tenth']:.2f}"]
        for level, end in zip(levels, ends, strict=True)
    ]
    return markdown_table(["confidence", "masks", "mean DSC", "nine of ten have at least"], rows)


def in_words(figures: Mapping[str, Any]) -> str:
    """Say in one paragraph what the flag is and what it is worth."""
    worth = figures["sets"]["val"]["all"]
    return (
        f"Objects with a confidence below {figures['flag_below']:g} are flagged. That threshold was chosen on the "
        f"validation split: at it, masks with a DSC below {figures['poor_below']:g} are found with the best F1. There, "
        f"{_percent(worth['recall'])} of such masks are flagged, and {_percent(worth['precision'])} of the flagged "
        f"masks are such; confidence and true DSC correlate by {worth['pearson']:.2f} (Pearson) and "
        f"{worth['spearman']:.2f} (Spearman)."
    )


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.0f} %"


# --- command ----------------------------------------------------------------------------------------------------------


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder of the exported model; gets its confidence.json")
    parser.add_argument("--store", type=Path, required=True, help="packed store with the splits val and far")
    parser.add_argument("--volumes", type=Path, metavar="DATA", help="source data: judge its volumes of val, too")
    parser.add_argument("--most-volumes", type=int, help="of each data set, to be quick")
    parser.add_argument("--per-modality", type=int, default=30, help="prompts of each modality (default: 30)")
    add_engine_options(parser, engine="openvino", precision="fp32")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that gets the figures (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for every figure (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables and write both files; exit status 2 when nothing could be measured."""
    options = parse_options(argv)
    return run_command(lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    """Judge masks, choose the threshold, write the figures and the weights' own file, and print the tables."""
    weights = options.weights or default_weights()
    segmenter = Segmenter.load(weights, options.engine, options.precision, options.threads)
    figures = measured(segmenter, options) | weights_id(weights)
    record(figures, options.out, weights)
    if options.page.is_file():
        options.page.write_text(with_figures(options.page.read_text(encoding="utf-8"), figures), encoding="utf-8")
    print("\n\n".join((in_words(figures), worth_table(figures), modality_table(figures), level_table(figures))))


def measured(segmenter: Segmenter, options: argparse.Namespace) -> dict[str, Any]:
    """Give all figures, the threshold among them."""
    store = open_store(options.store)
    judged = {
        split: judged_slices(
            segmenter.engine, validation_prompts(store, split=split, per_modality=options.per_modality)
        )
        for split in (CHOSEN_ON, CHECKED_ON)
        if split == CHOSEN_ON or _has_split(store, split)
    }
    if options.volumes:
        judged["volumes"] = judged_volumes(segmenter, options.volumes, most=options.most_volumes)
    flag_below = choose_threshold(judged[CHOSEN_ON])
    return {
        **engine_facts(segmenter.engine),
        "poor_below": POOR_DSC,
        "flag_below": flag_below,
        "per_modality": options.per_modality,
        "sets": {name: grouped(each, flag_below) for name, each in judged.items() if each},
        "store_index_sha256": index_hash(options.store),
    }


def record(figures: Mapping[str, Any], out: Path, weights: Path) -> None:
    """Write the figures, and into a folder of weights their threshold, with the folder's checksums."""
    write_figures(out, figures)
    if not weights.is_dir():
        return
    why = (
        f"best F1 for masks with a DSC below {POOR_DSC} among {figures['sets'][CHOSEN_ON]['all']['masks']} of the "
        f"validation split (benchmarks/results/{RESULT.name})"
    )
    (weights / CONFIDENCE_FILE).write_text(FlagRule(figures["flag_below"], why).to_json(), encoding="utf-8")
    write_checksums(weights)


def with_figures(page: str, figures: Mapping[str, Any]) -> str:
    """Give a page with the paragraph on the flag made anew."""
    paragraph = textwrap.fill(in_words(figures), PAGE_WIDTH, break_long_words=False, break_on_hyphens=False)
    return _PARAGRAPH.sub(lambda _: paragraph + "\n", page)


def _has_split(store: PackedStore, split: str) -> bool:
    return any(entry.split == split for entry in store.entries)


def judged_volumes(segmenter: Segmenter, data: Path, *, most: int | None = None) -> list[Judged]:
    """Judge the volumes of the validation split, the first `most` of each data set; what cannot be read is named."""
    found: list[Judged] = []
    taken: dict[str, int] = {}
    for source in volumes_of(data, CHOSEN_ON):
        taken[source.dataset] = taken.get(source.dataset, 0) + 1
        if most is not None and taken[source.dataset] > most:
            continue
        try:
            found += judged_volume(segmenter, source)
        except GraySamError as error:
            logger.error("%s: %s", source.name, error)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
