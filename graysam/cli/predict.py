"""`graysam predict`: segment a folder of cases on the CPU, one label map out for each case in.

`graysam predict --help` explains the options. The challenge's door, predict.py in the repository's root, is this
command with the judges' folders as defaults.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from graysam.cli.predict_options import FolderPairs, parse_options
from graysam.console import progress, run_command

if TYPE_CHECKING:
    from graysam.runner.account import CaseAccount, RunAccount
    from graysam.runner.run import CaseSegmenter, Runner

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, *, prog: str = "graysam predict", mounted: FolderPairs = ()) -> int:
    """Predict a folder, and give the exit status.

    Args:
        argv: the command line without the command, None for that of this process.
        prog: the command's name in its help.
        mounted: pairs of input and output folder, of which one is taken when the command line names none.
    """
    start = perf_counter()
    options = parse_options(argv, prog=prog, mounted=mounted)
    return run_command(
        lambda: predict(options, start),
        verbosity=options.verbosity,
        if_interrupted="interrupted; run again with --resume to continue",
    )


def predict(options: argparse.Namespace, start: float) -> int:
    """Run the cases, draw the progress, write the report.

    Raises:
        GraySamError: nothing could be run.
    """
    # Imported late, so that --help and wrong options answer at once.
    from graysam.formats.reading_options import BoxSource, Reading
    from graysam.runner.parts import choose_part
    from graysam.runner.run import Runner, RunOptions

    part = choose_part(options.num_parts, options.part_id, os.environ)
    if part.count > 1:
        logger.info("part %d of %d, counted from 0 (%s)", part.index, part.count, part.source)
    runner = Runner(
        RunOptions(
            input_dir=options.input,
            output_dir=options.output,
            part=part,
            resume=options.resume,
            overlap=options.overlap,
            overlay_dir=options.overlay,
            reading=Reading(
                BoxSource(options.boxes, options.boxes_from, options.box_margin or 0),
                options.modality,
                options.window,
            ),
            strict=options.strict,
        ),
        segmenter_loader(options),
    )
    try:
        account = run_with_progress(runner)
    finally:  # also for an interrupted run, whose account is then of the cases so far
        reported = options.report is None or report(runner.account, options, perf_counter() - start)
        reported = write_table(runner) and reported
    logger.info(
        "%d done, %d failed, %d skipped in %.1f s; results in %s",
        *(account.count(status) for status in ("done", "failed", "skipped")),
        perf_counter() - start,
        options.output,
    )
    if account.flagged:
        logger.info(
            "%d objects flagged: the model's confidence in them is below %g; look at these first",
            account.flagged,
            account.flag_below,
        )
    return account.exit_status if reported else 1


def segmenter_loader(options: argparse.Namespace) -> Callable[[int], CaseSegmenter]:
    """Give what makes the segmenter that the options ask for; importing it waits until then."""

    def load(expected_calls: int) -> CaseSegmenter:
        if options.engine in ("box", "ellipse"):
            from graysam.inference.baselines import BaselineSegmenter

            return BaselineSegmenter(options.engine)
        from graysam.api import Segmenter

        return Segmenter.load(
            weights=options.weights,
            engine=options.engine,
            precision=options.precision,
            threads=options.threads,
            box_fit=options.box_fit,
            expected_calls=expected_calls,
            mirror=options.mirror,
        )

    return load


def run_with_progress(runner: Runner) -> RunAccount:
    """Run, with a bar on a terminal and a line for each case otherwise; what went wrong is said in both."""
    total = len(runner.cases)
    with progress(total, seconds_between_lines=None) as shown:

        def on_case(case: CaseAccount) -> None:
            for warning in case.warnings:
                logger.warning("%s: warning: %s", case.name, warning)
            if case.error is not None:
                logger.error("%s: FAILED: %s", case.name, case.error)
            else:
                level = logging.DEBUG if shown.on_terminal else logging.INFO
                logger.log(level, "%d/%d %s", shown.done + 1, total, case.line())
            shown.advance(case.name)

        return runner.run(on_case=on_case)


def report(account: RunAccount, options: argparse.Namespace, seconds: float) -> bool:
    """Write the report, and tell whether that went well; results must not be lost for it."""
    from graysam import __version__
    from graysam.errors import CaseError
    from graysam.runner.account import write_report

    facts = {
        "graysam": __version__,
        "input": str(options.input),
        "output": str(options.output),
        "weights": None if options.weights is None else str(options.weights),
        "overlap": options.overlap,
        "box_fit": options.box_fit,
        "seconds": round(seconds, 4),
    }
    try:
        path = write_report(options.report, account, facts)
    except CaseError as error:
        logger.error("error: report %s", error)
        return False
    logger.debug("report in %s", path)
    return True


def write_table(runner: Runner) -> bool:
    """Write the table of objects, and tell whether that went well; results must not be lost for it."""
    from graysam.errors import CaseError

    try:
        path = runner.write_table()
    except CaseError as error:
        logger.error("error: table %s", error)
        return False
    if path is not None:
        logger.debug("objects in %s", path)
    return True
