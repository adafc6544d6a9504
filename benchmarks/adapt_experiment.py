"""Does `graysam adapt` help on data sets that the weights never saw, and what does it cost on those that they know?

    python -m benchmarks.adapt_experiment --data data --val-store store/all.store --out runs/adapt

For every set, number of cases and seed: cases are drawn patient by patient, the weights are adapted to them as `graysam
adapt` does it, and old and new weights answer the cases that were not drawn, and the validation split. Each run is a
row in the JSON of figures, written when it is done; the same command goes on, also within a run, and tries again what
failed. All sets and numbers of cases are run with the first seed before any is with the second, so that the table is
whole early; `--sets`, `--cases` and `--seeds` run a part. `--docs` writes the rows into docs/adapt.md, and says which
are missing.

The sets must be of the split `far`, on which nothing that is shipped was trained; nothing of this enters the shipped
weights.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks import ROOT
from benchmarks.machine import machine_facts
from benchmarks.pages import page_with
from benchmarks.recorded import RESULTS, BenchmarkError, read_figures, write_figures
from evaluation.prompts import ValidationPrompt, validation_prompts
from graysam.api import default_weights
from graysam.console import EXIT_CASE_FAILED, EXIT_FINE, kill_interrupts, run_command
from graysam.engines.select import TORCH_FILE
from graysam.errors import GraySamError
from graysam.machine import usable_cores
from graysam.models.checkpoint import load_model
from graysam.models.network import Network
from graysam.store import StoreEntry, index_hash, open_store
from train.adapt.cases import Gathered, Reading, gather
from train.adapt.folds import Patient, patients_of
from train.adapt.judge import KINDS, Scores, answer_of, held_out_prompts, quality, scores_of
from train.adapt.recipe import METHODS
from train.adapt.run import FINAL_FILE, Settings, adapt_to
from train.engine import NetworkEngine
from train.run_folder import only_one

logger = logging.getLogger(__name__)

SETS: Final = ("MR/KidneyT2_antillia", "Microscopy/CornealEndothelium_Alizarine", "X-Ray/KneeXray_femur")
"""One of CT or MR, one of microscopy or OCT, one of X-ray or endoscopy."""
CASES: Final = (20, 100)
SEEDS: Final = (0, 1, 2)
TESTED_SHARE: Final = 1 / 3
"""Of a set's cases at least so many are left to test with; where 100 would leave fewer, less are adapted to."""
TEST_PROMPTS: Final = 90
VALIDATION_PROMPTS: Final = 12
"""Of each modality of the validation split."""
OUT: Final = RESULTS / "adapt.json"
PAGE: Final = ROOT / "docs" / "adapt.md"
HEADING: Final = "## Measured"
IF_INTERRUPTED: Final = "stopped; what was done is kept: the same command goes on from there"
FULL_MINUTES: Final = 10
"""Shorter runs are trials, which the page does not show."""
WANTED_CLOSED: Final = 0.25
WANTED_LOSS: Final = 0.005

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, or write the page; exit status 2 for what a user can mend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets, with index.csv")
    parser.add_argument("--val-store", type=Path, help="packed store whose split val is answered before and after")
    parser.add_argument("--out", type=Path, help="folder for unfinished work")
    parser.add_argument("--results", type=Path, default=OUT, help="JSON of figures (default: %(default)s)")
    parser.add_argument("--weights", type=Path, default=default_weights())
    parser.add_argument("--sets", nargs="+", default=SETS, help="MODALITY/NAME below the folder of the data sets")
    parser.add_argument("--cases", type=int, nargs="+", default=CASES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--method", choices=("auto", *METHODS), default="auto")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each run")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--docs", action="store_true", help="only write the figures into docs/adapt.md")
    options = parser.parse_args(argv)
    if options.docs:
        return run_command(lambda: write_page(options.results))
    for name in ("data", "val_store", "out"):
        if getattr(options, name) is None:
            parser.error(f"--{name.replace('_', '-')} is wanted")
    with kill_interrupts():
        return run_command(lambda: run_missing(options), with_time=True, if_interrupted=IF_INTERRUPTED)


def run_missing(options: argparse.Namespace) -> int:
    """Do every run that has no row yet; status 1 when one failed. What is planned is in the figures from the start."""
    with only_one(options.out):
        wholes = {
            name: far_cases(options.data / name, options.out / f"{name.replace('/', '_')}.store", name)
            for name in options.sets
        }
        there = options.results.is_file()
        figures: dict[str, Any] = read_figures(options.results) if there else {"machine": machine_facts(["torch"])}
        rows: list[Row] = list(figures.get("rows", []))
        keys = [
            (name, asked, seed, options.minutes, options.method)
            for seed, name, asked in cells(wholes, options.cases, options.seeds)
        ]
        told = [list(key) for key in keys]
        figures["planned"] = [*(each for each in figures.get("planned", []) if each not in told), *told]
        write_figures(options.results, {**figures, "rows": rows})
        failed = False
        for key in keys:
            if key in {key_of(row) for row in rows}:
                continue
            name, asked, seed = key[:3]
            logger.info("%s, %d cases, seed %d", name, asked, seed)
            try:
                rows.append(one_run(options, wholes[name], name, asked, seed))
            except Exception as error:  # hours of other runs must not be lost for one
                logger.error("%s: %s", name, error, exc_info=not isinstance(error, GraySamError))
                failed = True
            write_figures(options.results, {**figures, "rows": rows})
    return EXIT_CASE_FAILED if failed else EXIT_FINE


def cells(wholes: Mapping[str, Gathered], asked: Sequence[int], seeds: Sequence[int]) -> list[tuple[int, str, int]]:
    """Give seed, set and number of cases of every run: a seed after the other, in it the fewest cases first."""
    counts = {name: possible_counts(whole, asked) for name, whole in wholes.items()}
    return [
        (seed, name, counts[name][place])
        for seed, place, name in itertools.product(seeds, range(len(asked)), wholes)
        if place < len(counts[name])
    ]


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give what a run is told by."""
    return row["set"], row["asked"], row["seed"], row["minutes"], row["asked_method"]


def far_cases(folder: Path, store: Path, name: str) -> Gathered:
    """Read a data set, and make sure that the weights never saw it.

    Raises:
        BenchmarkError: it is not of the split far.
    """
    whole = gather(folder, store, Reading())
    if not_far := {split for split in whole.given.values() if split != "far"}:
        raise BenchmarkError(f"{name}: wanted a data set of the split far alone, found {sorted(not_far)}.")
    return whole


def possible_counts(whole: Gathered, asked: Sequence[int]) -> list[int]:
    """Give the numbers of cases that a set can be adapted to, smallest first; those that come to the same once."""
    most = round((1 - TESTED_SHARE) * len({(entry.dataset, entry.case) for entry in whole.store.entries}))
    return sorted({min(each, most) for each in asked})


def one_run(options: argparse.Namespace, whole: Gathered, name: str, asked: int, seed: int) -> Row:
    """Adapt once, and compare."""
    torch.set_num_threads(options.threads)
    chosen, tested = drawn_cases(whole, asked, seed)
    old = load_model(options.weights / TORCH_FILE)
    far = held_out_prompts(whole.store, tested, most=TEST_PROMPTS)
    before = {"far": means(_scored(old, far)), "val": validation_means(options, old)}
    settings = Settings(
        data=options.data / name,
        out=options.out,
        weights=options.weights,
        minutes=options.minutes,
        method=None if options.method == "auto" else options.method,
        seed=seed,
        threads=options.threads,
    )
    work = options.out / f"{name.replace('/', '_')}-{asked}-{seed}-{options.minutes:g}-{options.method}"
    work.mkdir(exist_ok=True)
    began = time.monotonic()
    adapting = Gathered(whole.store.with_entries(chosen), {}, ())
    outcome = adapt_to(adapting, old, settings, work)
    seconds = time.monotonic() - began
    new = load_model(work / FINAL_FILE)
    after = {"far": means(_scored(new, far)), "val": means(_scored(new, _validation(options)))}
    shutil.rmtree(work)
    return {
        "set": name,
        "asked": asked,
        "asked_method": options.method,
        "cases": outcome.cases,
        "tested_cases": len({(entry.dataset, entry.case) for entry in tested}),
        "tested_objects": len(far),
        "seed": seed,
        "minutes": options.minutes,
        "threads": options.threads,
        "seconds": round(seconds),
        "method": outcome.method,
        "steps": outcome.steps,
        "share": outcome.share,
        "helped": outcome.helped,
        "drawn": [round(outcome.drawn.before, 4), round(outcome.drawn.after, 4)],
        **{f"{split}_before": scores for split, scores in before.items()},
        **{f"{split}_after": scores for split, scores in after.items()},
    }


def drawn_cases(whole: Gathered, asked: int, seed: int) -> tuple[list[StoreEntry], list[StoreEntry]]:
    """Draw whole patients until there are `asked` cases, and give their slices and those of the others."""
    patients, _ = patients_of(whole.store)
    order: list[Patient] = [patients[int(each)] for each in np.random.default_rng(seed).permutation(len(patients))]
    chosen: set[tuple[str, str]] = set()
    for patient in order:
        if len(chosen) + len(patient) <= asked:
            chosen.update(patient)
    parts: tuple[list[StoreEntry], list[StoreEntry]] = ([], [])
    for entry in whole.store.entries:
        parts[(entry.dataset, entry.case) not in chosen].append(entry)
    return parts


def validation_means(options: argparse.Namespace, old: Network) -> dict[str, float]:
    """Give what the weights that all runs start from are worth on the validation split; they are asked once."""
    origin = [
        hashlib.sha256((options.weights / TORCH_FILE).read_bytes()).hexdigest(),
        index_hash(options.val_store),
        VALIDATION_PROMPTS,
    ]
    path: Path = options.out / "validation-before.json"
    known = read_figures(path) if path.is_file() else {}
    if known.get("origin") != origin:
        known = {"origin": origin, "means": means(_scored(old, _validation(options)))}
        write_figures(path, known)
    found: dict[str, float] = known["means"]
    return found


def _validation(options: argparse.Namespace) -> list[ValidationPrompt]:
    return validation_prompts(open_store(options.val_store), per_modality=VALIDATION_PROMPTS)


def _scored(network: Network, prompts: Sequence[ValidationPrompt]) -> Scores:
    return scores_of(prompts, answer_of(NetworkEngine(network.eval())))


def means(scores: Scores) -> dict[str, float]:
    """Give the mean DSC and NSD by kind of box, and the mean DSC over both kinds as "dsc"."""
    by_kind = {
        f"{kind}_{metric}": round(float(scores[:, place, column].mean()), 4)
        for place, kind in enumerate(KINDS)
        for column, metric in enumerate(("dsc", "nsd"))
    }
    return {"dsc": round(quality(scores), 4), **by_kind}


# --- the page ---------------------------------------------------------------------------------------------------------


def write_page(results: Path, page: Path = PAGE) -> None:
    """Write the figures into the page."""
    page.write_text(page_with(page, HEADING, measured(results)), encoding="utf-8")


def measured(results: Path) -> str:
    """Give the last part of the page: a row for each set and number of cases, the mean over seeds."""
    figures = read_figures(results) if results.is_file() else {}
    rows: list[Row] = [row for row in figures.get("rows", []) if row["asked_method"] == "auto"]
    full = [row for row in rows if row["minutes"] >= FULL_MINUTES]
    if not full:
        return (
            "Nothing yet. `benchmarks/adapt_experiment.py` is to measure three data sets of the split far with 20 "
            "cases and with up to 100 (two thirds of a set at most, the others test), 10 minutes of two cores, three "
            "seeds; its figures will stand here, whatever they are. Until then nobody knows how much adapting helps on "
            "patients.\n"
        )
    lines = [
        f"`benchmarks/results/{results.name}`: data sets that the shipped weights never saw. Before, after: mean DSC "
        "in % over tight and loose boxes, on cases not adapted to. Closed: how much of the distance from before to "
        "100. Validation: change in points on the validation split, held-out cases of the data sets that the shipped "
        f"weights were trained on. {figures['machine']['cpu']}, {full[0]['threads']} threads.",
        "",
        "| set | cases | minutes | seeds | before | after | closed | validation | trained |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key in sorted({(row["set"], row["asked"], row["minutes"]) for row in full}):
        lines.append(_line(key, [row for row in full if (row["set"], row["asked"], row["minutes"]) == key]))
    return "\n".join([*lines, "", *_not_run(figures, full), _judged(full), ""])


def _line(key: tuple[str, int, float], group: Sequence[Row]) -> str:
    before, after = (float(np.mean([row[f"far_{when}"]["dsc"] for row in group])) for when in ("before", "after"))
    change = float(np.mean([row["val_after"]["dsc"] - row["val_before"]["dsc"] for row in group]))
    cases = sorted({row["cases"] for row in group})
    return (
        f"| {key[0]} | {'-'.join(map(str, (cases[0], cases[-1])[: len(cases)]))} | {key[2]:g} | {len(group)} "
        f"| {100 * before:.1f} | {100 * after:.1f} | {100 * (after - before) / (1 - before):.0f} % "
        f"| {100 * change:+.2f} | {', '.join(sorted({row['method'] for row in group}))} |"
    )


def _not_run(figures: Mapping[str, Any], full: Sequence[Row]) -> list[str]:
    """Name the planned runs that there are no figures of, in a line and an empty one; nothing where there are all."""
    done = {key_of(row) for row in full}
    planned = [key for key in map(tuple, figures.get("planned", [])) if key[3] >= FULL_MINUTES and key[4] == "auto"]
    missing = [
        f"{name} with {asked} cases, seed {seed}"
        for name, asked, seed, *rest in planned
        if (name, asked, seed, *rest) not in done
    ]
    return [f"Not yet run: {'; '.join(missing)}.", ""] if missing else []


def _judged(rows: Sequence[Row]) -> str:
    """Say how far the aims are met, set by set with the most cases."""
    reached, losses = [], []
    for name in sorted({row["set"] for row in rows}):
        most = max(row["asked"] for row in rows if row["set"] == name)
        group = [row for row in rows if row["set"] == name and row["asked"] == most]
        before, after = (float(np.mean([row[f"far_{when}"]["dsc"] for row in group])) for when in ("before", "after"))
        if (after - before) / (1 - before) >= WANTED_CLOSED:
            reached.append(name)
        losses.append(float(np.mean([row["val_before"]["dsc"] - row["val_after"]["dsc"] for row in group])))
    sets = len({row["set"] for row in rows})
    return (
        "The aim is to close a quarter or more on two of three sets, and to lose at most 0.5 points on the validation "
        f"split. With the most cases measured, a quarter was closed on {len(reached)} of {sets} sets; the largest loss "
        f"is {100 * max(0.0, *losses):.2f} points{'' if max(losses) <= WANTED_LOSS else ', which is more than that'}."
    )


if __name__ == "__main__":
    raise SystemExit(main())
