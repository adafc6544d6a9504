"""`python -m data_prep inspect | cases | store | import-store | pack | join | split | check | duplicates`.

Every command takes a folder of sources (see sources.py), shows its progress on stderr and gives an exit status: 0 when
all went well, 1 when a case failed or `--strict` found a problem, 2 when the command itself makes no sense.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_prep.convert import CaseRecord, CaseSettings, make_cases, select
from data_prep.objects import LABEL_KINDS, SpeckRule
from data_prep.parallel import usable_cores
from data_prep.sources import Assumptions, Inventory, find_sources
from graysam.errors import GraySamError

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see the module's head."""
    parser = _build_parser()
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        status: int = options.run(options)
    except GraySamError as error:
        print(f"data_prep: {error}", file=sys.stderr)
        return 2
    return status


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_prep", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_cases(commands)
    return parser


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", type=Path, help="folder that holds the data sets")
    command.add_argument("--modality", default="", help="modality of data sets that do not state it")
    command.add_argument("--labels", choices=LABEL_KINDS, help="what is one object, where dataset.json does not say")
    command.add_argument("--workers", type=int, default=usable_cores(), help="processes (default: all cores)")
    command.add_argument("--strict", action="store_true", help="any problem in the sources is fatal")


def _inventory(options: argparse.Namespace) -> Inventory:
    return find_sources(options.source, Assumptions(options.modality, options.labels))


def _add_cases(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser("cases", help="make challenge cases, with their references in a folder of their own")
    _add_source(command)
    command.add_argument("--out", type=Path, required=True, help="folder that gets inputs/, gts/ and manifest.jsonl")
    command.add_argument("--split", default="", help="only sources of this split of index.csv (train, val)")
    command.add_argument("--datasets", default="*", help="only data sets whose name fits this pattern")
    command.add_argument("--limit", type=int, help="at most so many of each modality and dimension, drawn by --seed")
    command.add_argument("--seed", type=int, default=0, help="of the draw and of the boxes' margins")
    command.add_argument("--box-margin", type=int, default=5, help="random outward margin, pixels of a 256-pixel image")
    command.add_argument(
        "--window", default="auto", help="soft_tissue, lung, brain, bone, LEVEL/WIDTH, percentiles, suv, range, as_is"
    )
    command.add_argument("--overwrite", action="store_true", help="make cases anew that are there already")
    _add_specks(command)
    command.set_defaults(run=_run_cases)


def _add_specks(command: argparse.ArgumentParser) -> None:
    default = SpeckRule()
    command.add_argument("--min-voxels", type=int, default=default.voxels, help="smallest connected piece in 3D")
    command.add_argument("--min-pixels", type=int, default=default.pixels, help="smallest connected piece in 2D")
    command.add_argument(
        "--min-slice-pixels", type=int, default=default.slice_pixels, help="smallest piece on a slice; 0 keeps all"
    )
    command.add_argument("--min-mm3", type=float, help="smallest connected piece in 3D, instead of --min-voxels")
    command.add_argument("--min-mm2", type=float, help="smallest piece on a slice, instead of --min-slice-pixels")


def _specks(options: argparse.Namespace) -> SpeckRule:
    return SpeckRule(
        options.min_voxels, options.min_pixels, options.min_slice_pixels, options.min_mm3, options.min_mm2
    )


def _run_cases(options: argparse.Namespace) -> int:
    inventory = _inventory(options)
    for problem in inventory.problems:
        print(problem, file=sys.stderr)
    if inventory.problems and options.strict:
        return 1
    settings = CaseSettings(options.box_margin, options.seed, options.window, _specks(options))
    sources = select(
        inventory.sources, split=options.split, limit=options.limit, seed=options.seed, datasets=options.datasets
    )
    records = list(
        make_cases(sources, options.out, settings, workers=options.workers, overwrite=options.overwrite)
    )
    return _report_cases(records, options.out, strict=options.strict)


def _report_cases(records: Sequence[CaseRecord], out: Path, *, strict: bool) -> int:
    empty = [record for record in records if record.error.startswith("no object")]
    failed = [record for record in records if record.error and record not in empty]
    for record in (*empty, *failed):
        print(f"{record.source}: {record.error}", file=sys.stderr)
    made = Counter("_".join(record.case.split("_")[:2]) for record in records if record.case)
    for kind, count in sorted(made.items()):
        print(f"{count:6d}  {kind}")
    dropped = [record.details["dropped"] for record in records if "dropped" in record.details]
    print(
        f"{made.total()} cases in {out}; {len(empty)} without objects, {len(failed)} failed; dropped "
        f"{sum(drop['pieces'] for drop in dropped)} specks of {sum(drop['elements'] for drop in dropped)} pixels or "
        f"voxels, of {sum(drop['objects'] for drop in dropped)} objects nothing was left"
    )
    return 1 if failed or (strict and empty) else 0
