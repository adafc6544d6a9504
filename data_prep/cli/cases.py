"""The command `cases`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.options import (
    Commands,
    add_prepared_source,
    chosen_sources,
    specks_of,
    tell,
)
from data_prep.convert import CaseRecord, CaseSettings, make_cases


def add_commands(commands: Commands) -> None:
    """Add `cases`."""
    command = commands.add_parser("cases", help="make challenge cases, with their references in a folder of their own")
    add_prepared_source(command)
    command.add_argument("--out", type=Path, required=True, help="folder that gets inputs/, gts/ and manifest.jsonl")
    command.add_argument("--box-margin", type=int, default=5, help="random outward margin, pixels of a 256-pixel image")
    command.add_argument("--overwrite", action="store_true", help="make cases anew that are there already")
    command.set_defaults(run=_run_cases)


def _run_cases(options: argparse.Namespace) -> int:
    settings = CaseSettings(
        options.box_margin, options.seed, options.window, specks_of(options), options.soft_masks, options.strict
    )
    sources = chosen_sources(options)
    records = list(make_cases(sources, options.out, settings, workers=options.workers, overwrite=options.overwrite))
    return _report_cases(records, options.out, strict=options.strict)


def _report_cases(records: Sequence[CaseRecord], out: Path, *, strict: bool) -> int:
    empty = [record for record in records if record.error.startswith("no object")]
    failed = [record for record in records if record.error and record not in empty]
    for record in (*empty, *failed):
        tell(f"{record.source}: {record.error}")
    doubtful = [record for record in records if record.details.get("warnings")]
    for record in doubtful:
        tell(f"{record.source}: warning: {'; '.join(record.details['warnings'])}")
    made = Counter("_".join(record.case.split("_")[:2]) for record in records if record.case)
    for kind, count in sorted(made.items()):
        print(f"{count:6d}  {kind}")
    dropped = [record.details["dropped"] for record in records if "dropped" in record.details]
    print(
        f"{made.total()} cases in {out}; {len(empty)} without objects, {len(failed)} failed, {len(doubtful)} with "
        "warnings; dropped "
        f"{sum(drop['pieces'] for drop in dropped)} specks of "
        f"{sum(drop['elements'] for drop in dropped)} pixels or voxels, "
        f"of {sum(drop['objects'] for drop in dropped)} objects nothing was left"
    )
    return 1 if failed or (strict and (empty or doubtful)) else 0
