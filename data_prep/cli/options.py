"""What the commands share: options, the sources that they choose, and what is told on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, get_args

from data_prep.dataset_facts import Assumptions
from data_prep.objects import LABEL_KINDS, SpeckRule
from data_prep.selection import select
from data_prep.sources import Inventory, Source, find_sources
from graysam.console import harmless
from graysam.errors import PrepareError
from graysam.formats.labels import SoftMasks
from graysam.machine import usable_cores

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

PROBLEMS_SHOWN = 20


def add_prepared_source(command: argparse.ArgumentParser) -> None:
    """Add the folder, which of its sources are taken, and how they are read: for all that make files of them."""
    add_source(command)
    add_selection(command)
    add_specks(command)
    add_soft_masks(command)


def add_source(command: argparse.ArgumentParser) -> None:
    """Add the folder, and what is known of its data sets."""
    command.add_argument("source", type=Path, help="folder that holds the data sets")
    command.add_argument("--modality", default="", help="modality of all data sets, whatever they state")
    command.add_argument("--labels", choices=LABEL_KINDS, help="what is one object, whatever dataset.json states")
    add_workers(command)
    command.add_argument("--strict", action="store_true", help="any problem or warning in the sources is fatal")


def add_workers(command: argparse.ArgumentParser) -> None:
    """Add the number of processes."""
    command.add_argument(
        "--workers",
        type=int,
        default=usable_cores(),
        help="processes (default: all cores); 0: in this one, which a crash of a decoder would end",
    )


def add_soft_masks(command: argparse.ArgumentParser) -> None:
    """Add what becomes of smoothed masks."""
    command.add_argument(
        "--soft-masks",
        choices=get_args(SoftMasks),
        default="refuse",
        help="a smoothed mask of one object is refused, cut at half of its maximum, or kept as labels",
    )


def add_selection(command: argparse.ArgumentParser) -> None:
    """Add which of the sources are taken, and their intensity window."""
    command.add_argument(
        "--split", default="", help="only sources of this split of index.csv (train, val, or any other name)"
    )
    command.add_argument("--datasets", default="*", help="only data sets whose name fits this pattern")
    command.add_argument("--limit", type=int, help="at most so many of each modality and dimension, drawn by --seed")
    command.add_argument("--seed", type=int, default=0, help="of every random draw")
    command.add_argument(
        "--window",
        default="auto",
        help="soft_tissue, lung, brain, bone, LEVEL/WIDTH, percentiles, suv, range, as_is",
    )


def add_specks(command: argparse.ArgumentParser) -> None:
    """Add which pieces are too small to be objects."""
    default = SpeckRule()
    command.add_argument("--min-voxels", type=int, default=default.voxels, help="smallest connected piece in 3D")
    command.add_argument("--min-pixels", type=int, default=default.pixels, help="smallest connected piece in 2D")
    command.add_argument(
        "--min-slice-pixels",
        type=int,
        default=default.slice_pixels,
        help="smallest piece on a slice; 0 keeps all",
    )
    command.add_argument("--min-mm3", type=float, help="smallest connected piece in 3D, instead of --min-voxels")
    command.add_argument("--min-mm2", type=float, help="smallest piece on a slice, instead of --min-slice-pixels")


def specks_of(options: argparse.Namespace) -> SpeckRule:
    """Give the rule that `add_specks` asked for."""
    return SpeckRule(options.min_voxels, options.min_pixels, options.min_slice_pixels, options.min_mm3, options.min_mm2)


def inventory_of(options: argparse.Namespace) -> Inventory:
    """Look through the folder of sources."""
    return find_sources(options.source, Assumptions(options.modality, options.labels))


def chosen_sources(options: argparse.Namespace) -> list[Source]:
    """Give the sources of the folder that the options ask for; the folder's problems are printed.

    Raises:
        PrepareError: with --strict, at the first problem.
    """
    inventory = inventory_of(options)
    for problem in inventory.problems:
        tell(str(problem))
    fatal = [problem for problem in inventory.problems if problem.severity != "note"]
    if fatal and options.strict:
        raise PrepareError(f"{len(fatal)} problems in the sources; --strict makes them fatal.")
    chosen = select(
        inventory.sources, split=options.split, limit=options.limit, seed=options.seed, datasets=options.datasets
    )
    if not chosen:
        raise PrepareError(
            f"nothing to do: of {len(inventory.sources)} sources none is of split {options.split or 'any'!r} "
            f"and data set {options.datasets!r}; `inspect` tells what is there."
        )
    return chosen


def tell(line: str) -> None:
    """Print one line to stderr, whatever a file's name holds."""
    print(harmless(line), file=sys.stderr)


def report_errors(errors: Sequence[str], warnings: Sequence[str] = ()) -> int:
    """Tell errors and warnings, and give the exit status."""
    for error in errors:
        tell(error)
    for warning in warnings:
        tell(f"warning: {warning}")
    return 1 if errors else 0
