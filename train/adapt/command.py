"""The command line of `graysam adapt`.

    graysam adapt --data FOLDER --out my-weights --minutes 10

Fine-tunes the weights on 5 to 500 labelled cases: images with label maps in any form that `data_prep` reads, or .npz
cases with `gts`. Some patients are held out, or all in turn; `my-weights/report.html` says what the model could do
before and can do after. Weights are written only where adapting helped clearly. Stopped, it goes on when given again.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from data_prep.objects import LABEL_KINDS
from graysam.api import default_weights
from graysam.console import EXIT_CASE_FAILED, EXIT_FINE, kill_interrupts, run_command
from graysam.machine import usable_cores
from train.adapt.cases import Reading
from train.adapt.recipe import METHODS
from train.adapt.report import REPORT_FILE, verdict
from train.adapt.run import Settings, adapt

logger = logging.getLogger("adapt")

IF_INTERRUPTED = "stopped; what was done is kept: the same command goes on from there"


def main(argv: Sequence[str] | None = None) -> int:
    """Adapt; exit status 0 when it helped, 1 when only the report was written, 2 when nothing could be done."""
    options = _parser().parse_args(argv)
    settings = Settings(
        data=options.data,
        out=options.out.absolute(),
        weights=options.weights or default_weights(),
        minutes=options.minutes,
        method=None if options.method == "auto" else options.method,
        seed=options.seed,
        threads=options.threads,
        reading=Reading(options.modality, options.labels, options.patients, options.workers),
    )
    with kill_interrupts():
        return run_command(lambda: _run(settings), if_interrupted=IF_INTERRUPTED)


def _run(settings: Settings) -> int:
    outcome = adapt(settings)
    logger.info("%s", verdict(outcome))
    logger.info("report: %s", settings.out / REPORT_FILE)
    if outcome.helped:
        logger.info("use it: graysam predict -i inputs -o outputs --weights %s", settings.out.name)
    return EXIT_FINE if outcome.helped else EXIT_CASE_FAILED


def _positive(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted more than 0, got {text}")
    return minutes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="graysam adapt",
        description=(__doc__ or "").split("\n\n", 2)[2],
        epilog="exit status: 0 it helped; 1 it did not, only the report was written; 2 nothing could be done",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the labelled cases")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets the weights and report.html")
    parser.add_argument("--minutes", type=_positive, default=10.0, help="of training in all (default: %(default)g)")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="to start from (default: those of the program)")
    parser.add_argument("--modality", default="", help="of all cases, where they do not say it themselves")
    parser.add_argument("--labels", choices=LABEL_KINDS, help="what one object is, where dataset.json does not say it")
    parser.add_argument(
        "--patients",
        default="",
        metavar="PATTERN",
        help=r"regular expression that finds the patient in a case's name, say 'patient(\d+)'",
    )
    parser.add_argument(
        "--method", choices=("auto", *METHODS), default="auto", help="what is trained (default: by the number of cases)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the division of cases and of every draw")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="CPU threads (default: all cores)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read the cases (default: this one)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
