"""The command line of the export: arguments in, exit status out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import graysam.export
from graysam.console import run_command
from graysam.export.calibration import CALIBRATION_SLICES
from graysam.export.folder import export
from graysam.models.spec import SPECS


def main(argv: Sequence[str] | None = None) -> int:
    """Export a checkpoint, and give the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m graysam.export", description=(graysam.export.__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="trained weights with their spec"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the exported files")
    parser.add_argument(
        "--spec",
        choices=sorted(SPECS),
        help="what a checkpoint is that does not say so itself: l0 for the official EfficientViT-SAM-L0's",
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="PATH", help="packed store or folder of cases; makes the int8 files"
    )
    parser.add_argument(
        "--calibration-slices", type=int, default=CALIBRATION_SLICES, metavar="N", help="default: %(default)s"
    )
    options = parser.parse_args(argv)
    return run_command(
        lambda: export(
            options.checkpoint,
            options.out,
            calibration=options.calibration,
            count=options.calibration_slices,
            spec=SPECS[options.spec] if options.spec else None,
        )
    )
