"""Owns the command that packs for CodaBench: a submission of predictions, or a whole competition.

python -m evaluation.package submission --segs DIR --inputs DIR --out submission.zip
python -m evaluation.package bundle --inputs DIR --gts DIR --out bundle.zip
"""

from __future__ import annotations

import argparse
import datetime
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation import submission
from evaluation.bundle import DOCKER_IMAGE, MODE_TEXTS, BundleOptions, write_bundle
from graysam.console import run_command
from graysam.errors import ScoreError

logger = logging.getLogger("evaluation.package")  # also when run as __main__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the zip was written, 1 for a submission with problems, 2 for unusable input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["submission"]:
        return submission.main(arguments[1:])
    options = _parse(arguments)
    return run_command(lambda: _make_bundle(options))


def _make_bundle(options: argparse.Namespace) -> int:
    try:
        wanted = BundleOptions(
            title=options.title,
            description=options.description,
            mode=options.mode,
            docker_image=options.docker_image,
            start=options.start or datetime.date.today(),
            submissions_per_day=options.submissions_per_day,
            contact=options.contact,
        )
    except ValueError as error:
        raise ScoreError(str(error)) from error
    for note in write_bundle(options.out, inputs=options.inputs, references=options.gts, options=wanted):
        logger.warning("note: %s", note)
    logger.info(
        "wrote %s (%.1f MiB). Put your own terms into pages/terms.md, then upload it on CodaBench: "
        "Benchmarks, Management, "
        "Upload.", options.out, options.out.stat().st_size / 2**20,
    )  # fmt: skip
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.package", description="Pack predictions or a competition for CodaBench."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("submission", help="check predictions and make the flat zip to upload")
    bundle = commands.add_parser("bundle", help="make a competition of your own cases")
    default = BundleOptions()
    bundle.add_argument(
        "--inputs", type=Path, required=True, metavar="DIR", help="cases: .npz with imgs, boxes (spacing)"
    )
    bundle.add_argument(
        "--gts", type=Path, required=True, metavar="DIR", help="references of the same names: gts, spacing"
    )
    bundle.add_argument("--out", type=Path, required=True, metavar="ZIP", help="the bundle")
    bundle.add_argument("--title", default=default.title)
    bundle.add_argument("--description", default=default.description)
    bundle.add_argument(
        "--mode", choices=tuple(MODE_TEXTS), default=default.mode, help="of the scorer (default: %(default)s)"
    )
    bundle.add_argument(
        "--docker-image",
        default=DOCKER_IMAGE,
        help="in which CodaBench runs the scorer; needs Python 3.11, NumPy, SciPy (default: %(default)s)",
    )
    bundle.add_argument("--start", type=datetime.date.fromisoformat, metavar="YYYY-MM-DD", help="default: today")
    bundle.add_argument(
        "--submissions-per-day",
        type=int,
        default=default.submissions_per_day,
        metavar="N",
        help="for each participant (default: %(default)s)",
    )
    bundle.add_argument("--contact", metavar="EMAIL", help="shown to participants")  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
