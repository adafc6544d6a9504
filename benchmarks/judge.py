"""Measures one row of the field: its quality on splits of a store, its cost, and whole cold processes with it.

`benchmarks.race` judges what it has trained with it, and the rows that come with weights or without any. A row is a
folder of exported weights (`graysam.export`), so that all are answered and timed by the predictor's own engine.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from benchmarks.precision import median_milliseconds
from benchmarks.rows import size_of
from benchmarks.startup import Row, draw_cases, run_once
from evaluation.prompts import BASELINES, Answer, BoxKind, ValidationPrompt, engine_answer, means_by_kind
from evaluation.prompts import validation_prompts as drawn_prompts
from graysam.api import Segmenter
from graysam.engines.protocol import Precision
from graysam.engines.select import OPENVINO_FILES, OPENVINO_FOLDERS, SPEC_FILE
from graysam.export import export
from graysam.models.checkpoint import save_checkpoint
from graysam.models.network import build_network
from graysam.models.spec import ModelSpec
from graysam.store import PackedStore

Scores = dict[str, dict[BoxKind, tuple[float, float]]]
"""Mean (DSC, NSD) over the modalities, by split and kind of box."""

PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "int8")
PROCESS_RUNS: Final = 3
PROCESS_SECONDS: Final = 60.0
"""No further process is timed once those of a row and case have taken so long: large encoders take minutes a volume."""
SHOWN_KINDS: Final[tuple[BoxKind, ...]] = ("tight", "outwards")
"""The boxes that rows are scored with: each further one costs a decoding of every slice."""


@dataclass(frozen=True)
class Judged:
    """What is known of a row.

    Attributes:
        name: of the row.
        weights: where its weights come from, in words.
        million_parameters: of the whole model; None for a guess without a model.
        gmac_encode: thousand million multiply-accumulates of an image.
        gmac_box: the same of one box.
        scores: by split; empty where the weights are random.
        milliseconds: medians to encode a slice and to decode one box, by number format.
        processes: seconds and MiB of a whole cold process, by kind of case ("2d", "3d").
        load_average: of the machine before the row was timed; None for a guess, which is not timed.
    """

    name: str
    weights: str
    million_parameters: float | None = None
    gmac_encode: float | None = None
    gmac_box: float | None = None
    scores: Scores = field(default_factory=dict)
    milliseconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    processes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    load_average: float | None = None


def judge(
    name: str,
    folder: Path,
    weights: str,
    prompts: Mapping[str, Sequence[ValidationPrompt]],
    *,
    threads: int,
    for_speed_only: bool = False,
) -> Judged:
    """Measure a row.

    Args:
        name: of the row.
        folder: its exported weights.
        weights: where they come from.
        prompts: of each split, at least one split with one prompt.
        threads: of the engine.
        for_speed_only: whether its answers mean nothing.
    """
    load_average = round(os.getloadavg()[0], 2)
    spec = ModelSpec.from_json((folder / SPEC_FILE).read_text(encoding="utf-8"))
    first = next(iter(prompts.values()))[0]
    milliseconds: dict[str, dict[str, float]] = {}
    scores: Scores = {}
    for precision in PRECISIONS:
        if not has_files(folder, precision):
            continue
        engine = Segmenter.load(folder, "openvino", precision, threads).engine
        milliseconds[precision] = median_milliseconds(engine, first)
        if precision == "fp32" and not for_speed_only:
            scores = split_scores(prompts, engine_answer(engine))
    size = size_of(spec)
    return Judged(
        name=name,
        weights=weights,
        million_parameters=round(size.parameters / 1e6, 2),
        gmac_encode=round(size.gmac_encode, 2),
        gmac_box=round(size.gmac_box, 2),
        scores=scores,
        milliseconds=milliseconds,
        processes=cold_processes(folder, threads=threads),
        load_average=load_average,
    )


def judge_ellipse(prompts: Mapping[str, Sequence[ValidationPrompt]]) -> Judged:
    """Score the ellipse in the box, which needs no model."""
    return Judged("ellipse", "no model", scores=split_scores(prompts, BASELINES["ellipse"]))


def split_scores(prompts: Mapping[str, Sequence[ValidationPrompt]], answer: Answer) -> Scores:
    """Score a way of answering on every split with every kind of box in `SHOWN_KINDS`."""
    return {
        split: {kind: means["mean"] for kind, means in means_by_kind(chosen, answer, SHOWN_KINDS).items()}
        for split, chosen in prompts.items()
    }


def prompts_of(store: PackedStore, splits: Sequence[str], *, per_modality: int) -> dict[str, list[ValidationPrompt]]:
    """Draw the fixed prompts of each split."""
    return {split: drawn_prompts(store, split=split, per_modality=per_modality) for split in splits}


def has_files(folder: Path, precision: Precision) -> bool:
    """Tell whether a folder of weights holds the networks of a number format."""
    return all((folder / OPENVINO_FOLDERS[precision] / name).is_file() for name in OPENVINO_FILES)


def cold_processes(folder: Path, *, threads: int, runs: int = PROCESS_RUNS) -> dict[str, dict[str, float]]:
    """Time fresh `python predict.py` on the drawn cases of `benchmarks.startup`, without a compile cache.

    runs: of each case at most, fewer where they are slow.
    """
    environment = {**os.environ, "GRAYSAM_CACHE": ""}
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        drawn = Path(scratch)
        draw_cases(drawn)
        for kind in ("2d", "3d"):
            row = Row(kind, "openvino", "auto")
            command = [sys.executable, "predict.py", "-q", "-i", str(drawn / kind), "-o", str(drawn / "out")]
            command += ["--engine", "openvino", "--threads", str(threads), "--weights", str(folder.resolve())]
            while len(row.seconds) < runs and sum(row.seconds) < PROCESS_SECONDS:
                run_once(row, command, environment)
            facts = row.to_dict()
            found[kind] = {"seconds": facts["seconds_median"], "mebibytes": facts["peak_mebibytes"]}
    return found


def export_random(spec: ModelSpec, out: Path, *, calibration: Path | None, count: int) -> None:
    """Export a spec with random weights, for its speed alone."""
    torch.manual_seed(0)
    network: nn.Module = build_network(spec).eval()
    checkpoint = out.parent / "random.pt"
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(checkpoint, network, spec)
    export(checkpoint, out, calibration=calibration, count=count)
    checkpoint.unlink()


def as_judged(values: Mapping[str, Any]) -> Judged:
    """Read what `dataclasses.asdict` made of a row, as it comes from a JSON file."""
    scores = {
        split: {kind: (float(each[0]), float(each[1])) for kind, each in kinds.items()}
        for split, kinds in values["scores"].items()
    }
    return Judged(**{**values, "scores": scores})
