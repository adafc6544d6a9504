"""`python -m data_prep inspect | cases | store | import-store | pack | join | split | check`.

Every command takes a folder of sources (see sources.py), shows its progress on stderr and gives an exit
status: 0 when all went well, 1 when a case failed or `--strict` found a problem, 2 when the command itself
makes no sense.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, get_args

from data_prep.convert import CaseRecord, CaseSettings, make_cases, select
from data_prep.dataset_facts import Assumptions
from data_prep.duplicates import HASH_BITS_APART, SMALLEST_CORRELATION, NearDuplicate, find_near_duplicates
from data_prep.inspection import inspect
from data_prep.objects import LABEL_KINDS, SpeckRule
from data_prep.pack import PackSettings, pack
from data_prep.paper_import import import_paper_store
from data_prep.paper_store import make_store, pack_store
from data_prep.sources import Inventory, Source, find_sources
from data_prep.split import assign_splits, complete_splits, find_leaks, group_by_pattern, write_index
from graysam.console import harmless
from graysam.errors import GraySamError, PrepareError
from graysam.formats.labels import SoftMasks
from graysam.machine import usable_cores
from graysam.store import join_files, split_file

logger = logging.getLogger(__name__)

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

PROBLEMS_SHOWN = 20
MEGABYTE = 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see the module's head."""
    parser = _build_parser()
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = options.run(options)
    except GraySamError as error:
        _tell(f"data_prep: {error}")
        return 2
    return status


def _tell(line: str) -> None:
    """Print one line to stderr, whatever a file's name holds."""
    print(harmless(line), file=sys.stderr)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_prep", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_inspect(commands)
    _add_cases(commands)
    _add_store(commands)
    _add_import_store(commands)
    _add_pack(commands)
    _add_join(commands)
    _add_split(commands)
    _add_check(commands)
    return parser


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", type=Path, help="folder that holds the data sets")
    command.add_argument("--modality", default="", help="modality of all data sets, whatever they state")
    command.add_argument("--labels", choices=LABEL_KINDS, help="what is one object, whatever dataset.json states")
    _add_workers(command)
    command.add_argument("--strict", action="store_true", help="any problem or warning in the sources is fatal")


def _add_workers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workers",
        type=int,
        default=usable_cores(),
        help="processes (default: all cores); 0: in this one, which a crash of a decoder would end",
    )


def _add_soft_masks(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--soft-masks",
        choices=get_args(SoftMasks),
        default="refuse",
        help="a smoothed mask of one object is refused, cut at half of its maximum, or kept as labels",
    )


def _inventory(options: argparse.Namespace) -> Inventory:
    return find_sources(options.source, Assumptions(options.modality, options.labels))


def _chosen(options: argparse.Namespace) -> list[Source]:
    """Give the sources of the folder that the options ask for; the folder's problems are printed.

    Raises:
        PrepareError: with --strict, at the first problem.
    """
    inventory = _inventory(options)
    for problem in inventory.problems:
        _tell(str(problem))
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


def _add_selection(command: argparse.ArgumentParser) -> None:
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


# --- inspect -----------------------------------------------------------------------------------------------


def _add_inspect(commands: Commands) -> None:
    command = commands.add_parser("inspect", help="say what is there, and what is wrong with it; writes nothing")
    _add_source(command)
    _add_soft_masks(command)
    command.add_argument("--json", type=Path, help="also write the whole report here")
    command.set_defaults(run=_run_inspect)


def _run_inspect(options: argparse.Namespace) -> int:
    inspection = inspect(_inventory(options), workers=options.workers, soft_masks=options.soft_masks)
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


# --- cases -------------------------------------------------------------------------------------------------


def _add_cases(commands: Commands) -> None:
    command = commands.add_parser("cases", help="make challenge cases, with their references in a folder of their own")
    _add_source(command)
    command.add_argument("--out", type=Path, required=True, help="folder that gets inputs/, gts/ and manifest.jsonl")
    command.add_argument(
        "--split", default="", help="only sources of this split of index.csv (train, val, or any other name)"
    )
    command.add_argument("--datasets", default="*", help="only data sets whose name fits this pattern")
    command.add_argument("--limit", type=int, help="at most so many of each modality and dimension, drawn by --seed")
    command.add_argument("--seed", type=int, default=0, help="of the draw and of the boxes' margins")
    command.add_argument("--box-margin", type=int, default=5, help="random outward margin, pixels of a 256-pixel image")
    command.add_argument(
        "--window",
        default="auto",
        help="soft_tissue, lung, brain, bone, LEVEL/WIDTH, percentiles, suv, range, as_is",
    )
    command.add_argument("--overwrite", action="store_true", help="make cases anew that are there already")
    _add_specks(command)
    _add_soft_masks(command)
    command.set_defaults(run=_run_cases)


def _add_specks(command: argparse.ArgumentParser) -> None:
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


def _specks(options: argparse.Namespace) -> SpeckRule:
    return SpeckRule(options.min_voxels, options.min_pixels, options.min_slice_pixels, options.min_mm3, options.min_mm2)


def _run_cases(options: argparse.Namespace) -> int:
    settings = CaseSettings(
        options.box_margin, options.seed, options.window, _specks(options), options.soft_masks, options.strict
    )
    sources = _chosen(options)
    records = list(make_cases(sources, options.out, settings, workers=options.workers, overwrite=options.overwrite))
    return _report_cases(records, options.out, strict=options.strict)


def _report_cases(records: Sequence[CaseRecord], out: Path, *, strict: bool) -> int:
    empty = [record for record in records if record.error.startswith("no object")]
    failed = [record for record in records if record.error and record not in empty]
    for record in (*empty, *failed):
        _tell(f"{record.source}: {record.error}")
    doubtful = [record for record in records if record.details.get("warnings")]
    for record in doubtful:
        _tell(f"{record.source}: warning: {'; '.join(record.details['warnings'])}")
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


# --- stores ------------------------------------------------------------------------------------------------


def _placed(sources: Sequence[Source], options: argparse.Namespace) -> list[Source]:
    """Give every source a split: those without one are drawn by patient, one in ten for val; the others keep theirs."""
    unplaced = sum(not source.split for source in sources)
    if not unplaced:
        return list(sources)
    logger.info("%d of %d cases are in no split: they are drawn by patient, one in ten for val", unplaced, len(sources))
    return complete_splits(sources, val_share=0.1, seed=options.seed)


def _report_errors(errors: Sequence[str], warnings: Sequence[str] = ()) -> int:
    for error in errors:
        _tell(error)
    for warning in warnings:
        _tell(f"warning: {warning}")
    return 1 if errors else 0


def _add_store(commands: Commands) -> None:
    command = commands.add_parser("store", help="make the paper's training store: 256x256 PNG and run lengths in JSON")
    _add_source(command)
    _add_selection(command)
    _add_specks(command)
    _add_soft_masks(command)
    command.add_argument("--out", type=Path, required=True, help="folder that gets imgs/, gts/ and index.jsonl")
    command.set_defaults(run=_run_store)


def _run_store(options: argparse.Namespace) -> int:
    sources = _placed(_chosen(options), options)
    count, errors, warnings = make_store(
        sources,
        options.out,
        workers=options.workers,
        window=options.window,
        specks=_specks(options),
        soft_masks=options.soft_masks,
        strict=options.strict,
    )
    print(f"{count} slices in {options.out}")
    return _report_errors(errors, warnings)


def _add_import_store(commands: Commands) -> None:
    command = commands.add_parser("import-store", help="take over the paper's own store, without running its pickles")
    command.add_argument("source", type=Path, help="folder with imgs/*.png and gts/*.pkl")
    command.add_argument("--out", type=Path, required=True, help="folder that gets imgs/, gts/ and index.jsonl")
    _add_workers(command)
    command.set_defaults(run=_run_import_store)


def _run_import_store(options: argparse.Namespace) -> int:
    count, errors = import_paper_store(options.source, options.out, workers=options.workers)
    print(f"{count} slices in {options.out}")
    return _report_errors(errors)


def _add_pack(commands: Commands) -> None:
    command = commands.add_parser("pack", help="pack everything into one file that a trainer maps into memory")
    _add_source(command)
    _add_selection(command)
    _add_specks(command)
    _add_soft_masks(command)
    command.add_argument("--out", type=Path, required=True, help="file to write")
    command.add_argument("--codec", choices=["png", "jpeg"], default="png", help="jpeg is smaller, png exact")
    command.add_argument("--pieces-mb", type=float, help="also cut the file into pieces of at most so many megabytes")
    command.set_defaults(run=_run_pack)


def _run_pack(options: argparse.Namespace) -> int:
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    if (options.source / "index.jsonl").is_file():  # a training store, made by `store` or `import-store`
        count, told = pack_store(options.source, options.out), ""
    else:
        settings = PackSettings(options.codec, options.window, _specks(options), options.soft_masks, options.strict)
        report = pack(_placed(_chosen(options), options), options.out, settings, workers=options.workers)
        count, errors, warnings = report.slices, report.errors, report.warnings
        told = f" with {report.objects} objects; dropped {report.drops.pieces} specks"
    print(f"{count} slices{told} in {options.out}, {options.out.stat().st_size / MEGABYTE:.1f} MB")
    if options.pieces_mb:
        pieces = split_file(options.out, options.out.parent, piece_bytes=int(options.pieces_mb * MEGABYTE))
        print(f"{len(pieces)} pieces: {pieces[0].name} to {pieces[-1].name}")
    return _report_errors(errors, warnings)


def _add_join(commands: Commands) -> None:
    command = commands.add_parser("join", help="put the pieces of a packed file together again")
    command.add_argument("pieces", type=Path, nargs="+", help="all pieces")
    command.add_argument("--out", type=Path, required=True, help="file to write")
    command.set_defaults(run=_run_join)


def _run_join(options: argparse.Namespace) -> int:
    join_files(options.pieces, options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes of {len(options.pieces)} pieces")
    return 0


# --- splits ------------------------------------------------------------------------------------------------


def _add_split(commands: Commands) -> None:
    command = commands.add_parser("split", help="divide the cases into train and val by patient, into an index.csv")
    _add_source(command)
    command.add_argument("--out", type=Path, required=True, help="index.csv to write")
    command.add_argument("--val-share", type=float, default=0.1, help="share of each family of data sets for val")
    command.add_argument("--seed", type=int, default=0, help="of the draw")
    command.add_argument(
        "--group-pattern", help=r"regular expression of the patient within a case's name: 'patient(\d+)'"
    )
    command.set_defaults(run=_run_split)


def _run_split(options: argparse.Namespace) -> int:
    inventory = _inventory(options)
    for problem in inventory.problems:
        if problem.kind != "not in index.csv":  # that is what this command is for
            _tell(str(problem))
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
    _add_source(command)
    command.add_argument("--bits", type=int, default=HASH_BITS_APART, help="bits of 64 in which hashes may differ")
    command.add_argument("--correlation", type=float, default=SMALLEST_CORRELATION, help="of thumbnails, at least")
    command.add_argument("--out", type=Path, help="CSV with every pair")
    command.set_defaults(run=_run_check)


def _run_check(options: argparse.Namespace) -> int:
    sources = _inventory(options).sources
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
