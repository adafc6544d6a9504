"""The commands for splits: `split` and `check`."""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.options import PROBLEMS_SHOWN, Commands, add_source, inventory_of, tell
from data_prep.duplicates import HASH_BITS_APART, SMALLEST_CORRELATION, NearDuplicate, find_near_duplicates
from data_prep.sources import Source
from data_prep.split import assign_splits, find_leaks, group_by_pattern, write_index


def add_commands(commands: Commands) -> None:
    """Add both."""
    _add_split(commands)
    _add_check(commands)


def _add_split(commands: Commands) -> None:
    command = commands.add_parser("split", help="divide the cases into train and val by patient, into an index.csv")
    add_source(command)
    command.add_argument("--out", type=Path, required=True, help="index.csv to write")
    command.add_argument("--val-share", type=float, default=0.1, help="share of each family of data sets for val")
    command.add_argument("--seed", type=int, default=0, help="of the draw")
    command.add_argument(
        "--group-pattern", help=r"regular expression of the patient within a case's name: 'patient(\d+)'"
    )
    command.set_defaults(run=_run_split)


def _run_split(options: argparse.Namespace) -> int:
    inventory = inventory_of(options)
    for problem in inventory.problems:
        if problem.kind != "not in index.csv":  # that is what this command is for
            tell(str(problem))
    sources: Sequence[Source] = inventory.sources
    if options.group_pattern:
        sources = group_by_pattern(sources, options.group_pattern)
    placed = assign_splits(sources, val_share=options.val_share, seed=options.seed)
    write_index(placed, options.out)
    counts = Counter(source.split for source in placed)
    print(f"{options.out}: {counts['train']} train, {counts['val']} val")
    return 0


def _add_check(commands: Commands) -> None:
    command = commands.add_parser("check", help="find patients on both sides, and images that look the same")
    add_source(command)
    command.add_argument("--bits", type=int, default=HASH_BITS_APART, help="bits of 64 in which hashes may differ")
    command.add_argument("--correlation", type=float, default=SMALLEST_CORRELATION, help="of thumbnails, at least")
    command.add_argument("--out", type=Path, help="CSV with every pair")
    command.set_defaults(run=_run_check)


def _run_check(options: argparse.Namespace) -> int:
    sources = inventory_of(options).sources
    leaks = find_leaks(sources)
    for leak in leaks:
        print(leak)
    pairs = find_near_duplicates(
        sources, workers=options.workers, bits_apart=options.bits, correlation=options.correlation
    )
    across = [pair for pair in pairs if pair.across_splits]
    for pair in across[:PROBLEMS_SHOWN]:
        print(
            f"alike: {pair.first.name} ({pair.first.split}) and {pair.second.name} ({pair.second.split}), "
            f"correlation {pair.correlation:.3f}, {pair.bits_apart} bits apart"
        )
    if options.out:
        _write_pairs(pairs, options.out)
    print(
        f"{len(sources)} cases: {len(leaks)} patients in several splits; "
        f"{len(pairs)} pairs of different patients look the same, {len(across)} of them across splits"
    )
    return 1 if leaks or (options.strict and across) else 0


def _write_pairs(pairs: Sequence[NearDuplicate], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["first", "first_split", "second", "second_split", "bits_apart", "correlation"])
        for pair in pairs:
            first, second = pair.first, pair.second
            row = [
                first.name,
                first.split,
                second.name,
                second.split,
                pair.bits_apart,
                f"{pair.correlation:.4f}",
            ]
            writer.writerow(row)
