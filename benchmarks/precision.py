"""Measures what each engine and number format costs in quality and gains in speed; one run, one table.

    python -m benchmarks.precision --weights weights/graysam --store data.store

The fixed validation prompts (evaluation/prompts) are put to every engine in turn through the predictor's own code.
Differences are given against torch fp32, per prompt, so that a gain on one modality cannot hide a loss on another.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import ROOT
from benchmarks.machine import machine_facts
from benchmarks.recorded import RESULTS, write_figures
from benchmarks.weights_id import weights_id
from evaluation.prompts import (
    BOX_KIND_TITLES,
    BOX_KINDS,
    BoxKind,
    PromptScore,
    ValidationPrompt,
    engine_answer,
    modality_means,
    score_kinds,
    validation_prompts,
)
from graysam.api import Segmenter
from graysam.console import run_command
from graysam.engines.protocol import Engine
from graysam.errors import EngineError
from graysam.image.preprocessing import prepare_slice
from graysam.models.frames import frame_prompts
from graysam.prompts import Prompt
from graysam.store import open_store

logger = logging.getLogger(__name__)

# The first is what the others are compared with.
ROWS = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("torch", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
TIMED_RUNS = 30
TIMED_SECONDS = 20.0
FEWEST_TIMED = 3
"""Of runs that are so slow that 30 of them would take longer than the seconds above."""
Scores = dict[BoxKind, list[PromptScore]]


def measure_row(engine: Engine, prompts: Sequence[ValidationPrompt]) -> tuple[dict[str, Any], Scores]:
    """Give a row of the table, and the scores behind it by kind of box."""
    scores: Scores = score_kinds(prompts, engine_answer(engine))
    row: dict[str, Any] = {
        "engine": engine.name,
        "precision": engine.precision,
        "threads": engine.threads,
        **median_milliseconds(engine, prompts[0]),
    }
    for kind in BOX_KINDS:
        row[kind] = {
            modality: {"dsc": round(100 * dsc, 2), "nsd": round(100 * nsd, 2)}
            for modality, (dsc, nsd) in modality_means(scores[kind]).items()
        }
    return row, scores


def median_milliseconds(engine: Engine, prompt: ValidationPrompt) -> dict[str, float]:
    """Time encoding a slice and decoding one box of it; also the fastest run, which other programs disturb least.

    There are 30 runs, or as many as 20 seconds hold, but at least 3.
    """
    prepared = prepare_slice(prompt.image, engine.spec)
    inputs = frame_prompts(prepared, [Prompt(prompt.boxes["tight"])], engine.spec).inputs()
    embedding = engine.encode(prepared.canvas)
    engine.decode(embedding, inputs)
    encode: list[float] = []
    decode: list[float] = []
    ends = perf_counter() + TIMED_SECONDS
    while len(encode) < FEWEST_TIMED or (len(encode) < TIMED_RUNS and perf_counter() < ends):
        start = perf_counter()
        embedding = engine.encode(prepared.canvas)
        middle = perf_counter()
        engine.decode(embedding, inputs)
        encode.append(1e3 * (middle - start))
        decode.append(1e3 * (perf_counter() - middle))
    return {
        "encode_ms_median": round(float(np.median(encode)), 2),
        "encode_ms_min": round(min(encode), 2),
        "decode_ms_median": round(float(np.median(decode)), 2),
        "decode_ms_min": round(min(decode), 2),
    }


def compare(scores: Sequence[PromptScore], reference: Sequence[PromptScore]) -> dict[str, float]:
    """Give how far a row lies from the reference, in points: the mean over modalities, and single prompts' changes."""
    own, other = modality_means(scores)["mean"], modality_means(reference)["mean"]
    changes = np.array([100 * (a.dsc - b.dsc) for a, b in zip(scores, reference, strict=True)])
    return {
        "dsc_change": round(100 * (own[0] - other[0]), 3),
        "nsd_change": round(100 * (own[1] - other[1]), 3),
        "dsc_change_worst_prompt": round(float(changes.min()), 2),
        "dsc_change_best_prompt": round(float(changes.max()), 2),
        "prompts_changed_by_a_point": int((np.abs(changes) > 1).sum()),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all rows that this machine can run, write and print them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "graysam", metavar="DIR")
    parser.add_argument(
        "--store", type=Path, required=True, metavar="FILE", help="packed store with a validation split"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "precision.json", metavar="FILE")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--per-modality", type=int, default=55, metavar="N", help="prompts of each modality (55)")
    options = parser.parse_args(argv)
    return run_command(lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    """Measure, print and write."""
    prompts = validation_prompts(open_store(options.store), per_modality=options.per_modality)
    rows: list[dict[str, Any]] = []
    reference: Scores = {}
    for name, precision in ROWS:
        try:
            engine = Segmenter.load(options.weights, name, precision, options.threads).engine
        except EngineError as error:
            logger.warning("%s %s: left out, %s", name, precision, error)
            continue
        row, scores = measure_row(engine, prompts)
        reference = reference or scores
        row["against_first_row"] = {kind: compare(scores[kind], reference[kind]) for kind in BOX_KINDS}
        rows.append(row)
        print(
            f"{name:9} {precision:5} DSC "
            + ", ".join(
                f"{BOX_KIND_TITLES[kind]} {row[kind]['mean']['dsc']:.2f} "
                f"({row['against_first_row'][kind]['dsc_change']:+.3f})"
                for kind in BOX_KINDS
            )
            + f"; encode {row['encode_ms_min']} ms, decode {row['decode_ms_min']} ms"
        )
    result = {
        "command": "python -m benchmarks.precision --store STORE",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(("numpy", "opencv-python-headless", "openvino", "torch", "nncf")),
        "weights": options.weights.name,
        **weights_id(options.weights),
        "prompts": len(prompts),
        "units": "DSC and contour NSD (2 px) in points of 100; milliseconds for one slice, one box",
        "rows": rows,
    }
    write_figures(options.out, result)


if __name__ == "__main__":
    sys.exit(main())
