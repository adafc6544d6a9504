"""Trains the systems of the field for the same time on the same data, and puts their quality and cost into one table.

    python -m benchmarks.race --list
    python -m benchmarks.race --store S --out runs/race --minutes 20 --stage-one 5
    python -m benchmarks.race --store S --out runs/race --minutes 20 --designs graysam graysam-narrow l0 l0-lean

A design is a name of `--list`, the name of a config in train/configs, or the path of one; without `--designs` the whole
list runs. Systems with published weights are judged with them, and once more after training from them (NAME-tuned);
those whose weights cannot be had are timed with random ones. The ellipse in the box is always a row.

Given again, the command goes on where it was stopped, and tries again what failed: a design that fails costs no other.
The folder gets a run for each design; after each one come race.md with the table, race.json, and curves.csv with all
validations. `benchmarks.peers` makes docs/peers.md of race.json.

Evaluation is kept short: a dozen objects of each modality and split, drawn by a fixed seed, the same for all rows, two
boxes each; fewer timed runs where they are slow; and few prompts where a training validates. With 20 minutes of
training that is about a fifth of them over all rows, and half of them for a row with 50 GMAC an image.
"""

from __future__ import annotations

import argparse
import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import ROOT
from benchmarks.entrants import Entrant, RaceError, Way, entrant, entrants, prepare_weights, training_precision
from benchmarks.judge import SHOWN_KINDS, Judged, as_judged, judge, judge_ellipse, prompts_of
from benchmarks.machine import machine_facts
from benchmarks.recorded import read_figures, write_figures
from benchmarks.rows import listing
from evaluation.prompts import BOX_KIND_TITLES, BOX_KINDS, ValidationPrompt
from evaluation.tables import markdown_table
from graysam.console import EXIT_CASE_FAILED, EXIT_FINE, EXIT_NOTHING_DONE, kill_interrupts, run_command
from graysam.errors import GraySamError
from graysam.store import index_hash, open_store
from train.run_folder import only_one, read_rows

logger = logging.getLogger("benchmarks")

SETTINGS_FILE: Final = "settings.json"
NOT_YET: Final = "not yet run"
IF_INTERRUPTED: Final = "stopped; what was done is kept: the same command goes on from there"

TURNS: Final[tuple[Way, ...]] = ("as it is", "trained", "tuned", "random")
"""In which order the ways come: what is soon done first, and what has no quality to show last."""


def race_table(rows: Sequence[Judged]) -> str:
    """Lay out the rows: those with scores by the first split's tight boxes, then those timed only; DSC/NSD in %."""
    splits = list(dict.fromkeys(split for row in rows for split in row.scores))
    header = ["design", "weights", "M params", "GMAC image + box"]
    header += [f"{split}, {BOX_KIND_TITLES[kind]}" for split in splits for kind in SHOWN_KINDS]
    header += ["ms slice + box, fp32", "the same, int8", "2D: s, MiB", "3D: s, MiB"]
    ordered = sorted(rows, key=lambda row: -row.scores[splits[0]]["tight"][0] if row.scores else 1.0)
    return markdown_table(header, [_cells(row, splits) for row in ordered]) + "\n"


def _cells(row: Judged, splits: Sequence[str]) -> list[str]:
    costs = ["" if row.million_parameters is None else f"{row.million_parameters:.2f}"]
    costs.append("" if row.gmac_encode is None else f"{row.gmac_encode:.2f} + {row.gmac_box:.2f}")
    scores = [_percent(row.scores[split][kind]) if row.scores else "" for split in splits for kind in SHOWN_KINDS]
    times = []
    for precision in ("fp32", "int8"):
        took = row.milliseconds.get(precision)
        times.append(f"{took['encode_ms_median']:.0f} + {took['decode_ms_median']:.1f}" if took else "")
    for kind in ("2d", "3d"):
        process = row.processes.get(kind)
        times.append(f"{process['seconds']:.2f}, {process['mebibytes']:.0f}" if process else "")
    return [row.name, row.weights, *costs, *scores, *times]


def _percent(score: tuple[float, float]) -> str:
    return f"{100 * score[0]:.1f}/{100 * score[1]:.1f}"


def write_results(folder: Path, rows: Sequence[Judged], facts: Mapping[str, Any]) -> None:
    """Write race.md, race.json and curves.csv."""
    (folder / "race.md").write_text(race_table(rows), encoding="utf-8")
    write_figures(folder / "race.json", {**facts, "rows": [asdict(row) for row in rows]})
    columns = ("step", "minutes", *(f"{kind}_mean_{metric}" for kind in BOX_KINDS for metric in ("dsc", "nsd")))
    with (folder / "curves.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("design", *columns))
        for each in rows:
            for row in read_rows(folder / each.name / "validation.csv"):
                writer.writerow((each.name, *(row[column] for column in columns)))


def judged_row(
    one: Entrant, options: argparse.Namespace, prompts: Mapping[str, Sequence[ValidationPrompt]], held: int
) -> Judged:
    """Train and judge a design, or read what was found when it was.

    held: see `run_stage`.

    Raises:
        RaceError: weights are not there, or the training failed.
    """
    folder: Path = options.out / one.name
    judged = folder / "judged.json"
    if not judged.exists():
        folder.mkdir(parents=True, exist_ok=True)
        weights, words = prepare_weights(one, folder, options, held)
        row = judge(one.name, weights, words, prompts, threads=options.threads, for_speed_only=one.way == "random")
        write_figures(judged, asdict(row))
        logger.info("race: %s judged", one.name)
    return as_judged(read_figures(judged))


def check_settings(options: argparse.Namespace) -> None:
    """Keep the settings on which figures depend with the first call, and refuse others in the same folder.

    Raises:
        RaceError: naming what differs.
    """
    names = ("minutes", "splits", "per_modality", "validate_prompts", "calibration_slices", "threads", "processes")
    told = {name: getattr(options, name) for name in (*names, "stage_one", "stage_one_slices")}
    told["store_index_sha256"] = index_hash(options.store)
    path = options.out / SETTINGS_FILE
    before = read_figures(path) if path.is_file() else told
    if differing := [name for name, value in told.items() if before.get(name) != value]:
        words = ", ".join(f"{name} was {before.get(name)} and is {told[name]}" for name in differing)
        raise RaceError(f"{options.out}: holds a race with other settings ({words}); give those, or another --out.")
    write_figures(path, told)


def chosen_splits(store: Path, wanted: Sequence[str]) -> list[str]:
    """Give those of the wanted splits that a store has; the others are named in a warning.

    Raises:
        RaceError: it has none.
    """
    present = {entry.split for entry in open_store(store).entries}
    if missing := [split for split in wanted if split not in present]:
        logger.warning("%s: has no split %s; the table goes without", store.name, ", ".join(missing))
    chosen = [split for split in wanted if split in present]
    if not chosen:
        raise RaceError(f"{store}: wanted a split {' or '.join(wanted)}, found {', '.join(sorted(present))}.")
    return chosen


class ListRows(argparse.Action):
    """Shows the rows and ends the program, whatever else was given, as `--help` does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print a line for each row."""
        print(listing())
        parser.exit()


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action=ListRows, nargs=0, help="show the systems of the field, and do nothing else")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--minutes", type=float, required=True, help="of training for each design")
    parser.add_argument("--designs", nargs="+", help="names of the list or of configs, or files (all of the list)")
    parser.add_argument("--splits", nargs="+", default=["val", "far"], help="of the store, to score (default: val far)")
    parser.add_argument("--stage-one", type=float, default=0.0, metavar="MINUTES", help="of distillation (default: 0)")
    parser.add_argument("--stage-one-slices", type=int, default=300, metavar="N", help="to distil from (300)")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights", metavar="DIR", help="published weights")
    parser.add_argument("--calibration-slices", type=int, default=60, metavar="N", help="for int8; 0: none (60)")
    parser.add_argument("--processes", type=int, default=2, help="training processes of one thread (default: 2)")
    parser.add_argument("--threads", type=int, default=2, help="threads for the timings (default: 2)")
    parser.add_argument(
        "--per-modality", type=int, default=12, metavar="N", help="objects that rows are scored on (12)"
    )
    parser.add_argument("--validate-prompts", type=int, default=2, metavar="N", help="the same during training (2)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the race and print its table; exit status 1 when a design failed, 2 when no row could be had."""
    options = parse_options(argv)
    with kill_interrupts():
        return run_command(lambda: race(options), with_time=True, if_interrupted=IF_INTERRUPTED)


def race(options: argparse.Namespace) -> int:
    """Run the race, write its files after each row, and print its table."""
    with only_one(options.out) as held:
        check_settings(options)
        splits = chosen_splits(options.store, options.splits)
        chosen = [entrant(design) for design in options.designs or entrants()]
        chosen.sort(key=lambda one: TURNS.index(one.way))
        prompts = prompts_of(open_store(options.store), splits, per_modality=options.per_modality)
        ellipse = judge_ellipse(prompts)
        rows: list[Judged] = []
        missing = {one.name: NOT_YET for one in chosen}
        for one in chosen:
            try:
                rows.append(judged_row(one, options, prompts, held))
                del missing[one.name]
            except Exception as error:  # hours of other designs must not be lost for one
                logger.error("race: %s: %s", one.name, error, exc_info=not isinstance(error, GraySamError))
                missing[one.name] = f"failed: {error}"
            write_results(options.out, [*rows, ellipse], {**facts_of(options, prompts), "missing": missing})
    print(race_table([*rows, ellipse]))
    return EXIT_FINE if not missing else EXIT_CASE_FAILED if rows else EXIT_NOTHING_DONE


def facts_of(options: argparse.Namespace, prompts: Mapping[str, Sequence[ValidationPrompt]]) -> dict[str, Any]:
    """Say how, when and on what the rows were made."""
    return {
        "command": "python -m benchmarks.race --store STORE --minutes MINUTES",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(("numpy", "opencv-python-headless", "openvino", "torch")),
        "threads": options.threads,
        "training_precision": training_precision(),
        "per_modality": options.per_modality,
        "prompts": {split: len(chosen) for split, chosen in prompts.items()},
    }


if __name__ == "__main__":
    raise SystemExit(main())
