"""The command `inspect`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from data_prep.cli.options import PROBLEMS_SHOWN, Commands, add_soft_masks, add_source, inventory_of
from data_prep.inspection import inspect
from graysam.console import harmless


def add_commands(commands: Commands) -> None:
    """Add `inspect`."""
    command = commands.add_parser("inspect", help="say what is there, and what is wrong with it; writes nothing")
    add_source(command)
    add_soft_masks(command)
    command.add_argument("--json", type=Path, help="also write the whole report here")
    command.set_defaults(run=_run_inspect)


def _run_inspect(options: argparse.Namespace) -> int:
    inspection = inspect(inventory_of(options), workers=options.workers, soft_masks=options.soft_masks)
    print("\n".join(inspection.as_lines()))
    worst_first = sorted(inspection.problems, key=lambda problem: ("error", "warning", "note").index(problem.severity))
    for problem in worst_first[:PROBLEMS_SHOWN]:
        print(harmless(f"  {problem}"))
    hidden = len(inspection.problems) - PROBLEMS_SHOWN
    if hidden > 0:
        print(f"  ... and {hidden} more; --json FILE lists all")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(inspection.as_record(), indent=1), encoding="utf-8")
    return 1 if options.strict and any(problem.severity != "note" for problem in inspection.problems) else 0
