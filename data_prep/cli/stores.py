"""The commands that make training stores: `store`, `import-store`, `pack` and `join`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.options import (
    Commands,
    add_prepared_source,
    add_workers,
    chosen_sources,
    report_errors,
    specks_of,
)
from data_prep.pack import PackSettings, pack
from data_prep.paper_import import import_paper_store
from data_prep.paper_store import make_store, pack_store
from data_prep.sources import Source
from data_prep.split import complete_splits
from graysam.store import join_files, split_file

logger = logging.getLogger(__name__)

MEGABYTE = 1_000_000


def add_commands(commands: Commands) -> None:
    """Add all four."""
    _add_store(commands)
    _add_import_store(commands)
    _add_pack(commands)
    _add_join(commands)


def _placed(sources: Sequence[Source], options: argparse.Namespace) -> list[Source]:
    """Give every source a split: those without one are drawn by patient, one in ten for val; the others keep theirs."""
    unplaced = sum(not source.split for source in sources)
    if not unplaced:
        return list(sources)
    logger.info("%d of %d cases are in no split: they are drawn by patient, one in ten for val", unplaced, len(sources))
    return complete_splits(sources, val_share=0.1, seed=options.seed)


def _add_store(commands: Commands) -> None:
    command = commands.add_parser("store", help="make the paper's training store: 256x256 PNG and run lengths in JSON")
    add_prepared_source(command)
    command.add_argument("--out", type=Path, required=True, help="folder that gets imgs/, gts/ and index.jsonl")
    command.set_defaults(run=_run_store)


def _run_store(options: argparse.Namespace) -> int:
    sources = _placed(chosen_sources(options), options)
    count, errors, warnings = make_store(
        sources,
        options.out,
        workers=options.workers,
        window=options.window,
        specks=specks_of(options),
        soft_masks=options.soft_masks,
        strict=options.strict,
    )
    print(f"{count} slices in {options.out}")
    return report_errors(errors, warnings)


def _add_import_store(commands: Commands) -> None:
    command = commands.add_parser("import-store", help="take over the paper's own store, without running its pickles")
    command.add_argument("source", type=Path, help="folder with imgs/*.png and gts/*.pkl")
    command.add_argument("--out", type=Path, required=True, help="folder that gets imgs/, gts/ and index.jsonl")
    add_workers(command)
    command.set_defaults(run=_run_import_store)


def _run_import_store(options: argparse.Namespace) -> int:
    count, errors = import_paper_store(options.source, options.out, workers=options.workers)
    print(f"{count} slices in {options.out}")
    return report_errors(errors)


def _add_pack(commands: Commands) -> None:
    command = commands.add_parser("pack", help="pack everything into one file that a trainer maps into memory")
    add_prepared_source(command)
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
        settings = PackSettings(options.codec, options.window, specks_of(options), options.soft_masks, options.strict)
        report = pack(_placed(chosen_sources(options), options), options.out, settings, workers=options.workers)
        count, errors, warnings = report.slices, report.errors, report.warnings
        told = f" with {report.objects} objects; dropped {report.drops.pieces} specks"
    print(f"{count} slices{told} in {options.out}, {options.out.stat().st_size / MEGABYTE:.1f} MB")
    if options.pieces_mb:
        pieces = split_file(options.out, options.out.parent, piece_bytes=int(options.pieces_mb * MEGABYTE))
        print(f"{len(pieces)} pieces: {pieces[0].name} to {pieces[-1].name}")
    return report_errors(errors, warnings)


def _add_join(commands: Commands) -> None:
    command = commands.add_parser("join", help="put the pieces of a packed file together again")
    command.add_argument("pieces", type=Path, nargs="+", help="all pieces")
    command.add_argument("--out", type=Path, required=True, help="file to write")
    command.set_defaults(run=_run_join)


def _run_join(options: argparse.Namespace) -> int:
    join_files(options.pieces, options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes of {len(options.pieces)} pieces")
    return 0
