"""Owns how a folder of predictions is scored against a folder of references: python -m evaluation.score --help.

The references decide what is scored. A prediction that is missing, unreadable or of another shape scores 0
and is listed; a prediction without a reference is listed and otherwise ignored.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from evaluation.labels import Labels, read_prediction, read_reference
from evaluation.pair import LabelScore, mean_score, score_pair, worst_scores
from evaluation.policy import MODES, SPACING_ORDERS, Mode, Scores, ScoringPolicy, SpacingOrder, policy_for
from evaluation.surface_dice import TOLERANCE
from evaluation.tables import write_csv
from graysam.console import progress, run_command
from graysam.errors import CaseError, ScoreError
from graysam.formats.npz import list_folder, read_spacing_as_stored
from graysam.machine import usable_cores

__all__ = [
    "CaseScore",
    "LabelScore",
    "Scores",
    "main",
    "mean_score",
    "score_case",
    "score_folder",
    "score_pair",
]

logger = logging.getLogger("evaluation.score")  # also when run as __main__

EXAMPLE = """\
examples:
  python -m evaluation.score --segs predictions --gts references --out scores.csv
  python -m evaluation.score --segs predictions --gts references --out scores.csv --mode honest \\
      --labels-out scores_by_label.csv

exit status: 0 when every reference was scored (predictions that score 0 are listed), 1 when a reference could
not be scored, 2 when nothing could be done.
"""

Status = Literal["scored", "missing", "unreadable", "misshapen", "reference unusable"]


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """How to score."""

    mode: Mode = "official"
    spacing_order: SpacingOrder = "official"
    """How x, y, z spacing in a file is put on z, y, x arrays."""
    tolerance_mm: float = TOLERANCE

    @property
    def policy(self) -> ScoringPolicy:
        """What the mode decides."""
        return policy_for(self.mode)


@dataclass(frozen=True, kw_only=True)
class CaseScore:
    """What became of one reference."""

    case: str
    """File name, with .npz as in the challenge's table."""
    means: Scores
    labels: tuple[LabelScore, ...]
    status: Status
    note: str = ""
    """Why the case was not simply scored, or what was odd about it."""


@dataclass(frozen=True)
class _Job:
    reference: Path
    prediction: Path | None
    note: str
    """Why there is no prediction, or why the reference is refused."""
    refused: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Score as the command line says and give the exit status; see the module and --help."""
    options = _parse(argv)
    return run_command(lambda: score_to_files(options))


def score_to_files(options: argparse.Namespace) -> int:
    """Score as the options say; the exit status.

    Raises:
        CaseError, ScoreError: as in `score_to_table`.
    """
    return score_to_table(
        options.segs,
        options.gts,
        options.out,
        mode=options.mode,
        spacing_order=options.spacing_order,
        tolerance_mm=options.tolerance_mm,
        labels_out=options.labels_out,
        workers=options.workers,
    )


def score_to_table(
    predictions: Path,
    references: Path,
    out: Path,
    *,
    mode: Mode,
    spacing_order: SpacingOrder | None = None,
    tolerance_mm: float = TOLERANCE,
    labels_out: Path | None = None,
    workers: int | None = None,
) -> int:
    """Score a folder, write the tables, and log what was found; 1 where a reference could not be scored, else 0.

    Args:
        predictions: as in `score_folder`.
        references: as in `score_folder`.
        out: CSV of cases.
        mode: official or honest.
        spacing_order: how x, y, z spacing in a file is put on z, y, x arrays; None takes the mode's own.
        tolerance_mm: of NSD; pixels in 2D.
        labels_out: CSV of cases and labels; None writes none.
        workers: as in `score_folder`.

    Raises:
        CaseError: a folder cannot be listed.
        ScoreError: no references, a scoring process was killed, or a table cannot be written.
    """
    order = spacing_order or policy_for(mode).spacing_order
    how = ScoreOptions(mode=mode, spacing_order=order, tolerance_mm=tolerance_mm)
    scores = score_folder(predictions, references, options=how, workers=workers)
    write_csv(out, case_rows(scores, how.policy))
    if labels_out is not None:
        write_csv(labels_out, label_rows(scores, how.policy))
    return _report(scores, out)


def score_folder(
    predictions: Path,
    references: Path,
    *,
    options: ScoreOptions,
    workers: int | None = None,
) -> list[CaseScore]:
    """Score every reference of a folder, in the order of their names.

    Args:
        predictions: folder of .npz files with `segs`.
        references: folder of .npz files with `gts` and, for volumes, `spacing`.
        options: how to score.
        workers: cases, or labels of a single case, worked on at once; None takes one per core that this
            process may use.

    Raises:
        CaseError: a folder cannot be listed.
        ScoreError: no references, or a scoring process was killed.
    """
    jobs = _plan(predictions, references)
    scores = {}
    with progress(len(jobs), what="score") as shown:
        for score in _run(jobs, options, workers=workers or usable_cores()):
            scores[score.case] = score
            shown.advance(score.case)
    return [scores[case] for case in sorted(scores)]


def score_case(
    reference: Path,
    prediction: Path | None,
    *,
    options: ScoreOptions,
    note: str = "no prediction",
    threads: int = 1,
) -> CaseScore:
    """Score one pair of files; what is wrong with either of them is told by the status, not raised.

    Args:
        reference: .npz with `gts` and, for volumes, `spacing`.
        prediction: .npz with `segs`, or None.
        options: how to score.
        note: why there is no prediction.
        threads: labels worked on at once.
    """
    try:
        truth, spacing = _read_truth(reference, options)
    except (CaseError, ScoreError) as error:
        return _unusable(reference, str(error), options)
    labels: Labels | None = None
    status: Status = "missing"
    if prediction is not None:
        try:
            (labels, note), status = read_prediction(prediction, mode=options.mode), "scored"
        except (CaseError, ScoreError) as error:
            status, note = "unreadable", str(error)
    if labels is not None and labels.shape != truth.shape:
        status, note = "misshapen", f"segs has shape {labels.shape}, the reference {truth.shape}"
    if labels is None or status != "scored":
        worst = tuple(worst_scores(truth, mode=options.mode))
        return CaseScore(case=reference.name, means=options.policy.worst, labels=worst, status=status, note=note)
    scores = score_pair(
        truth,
        labels,
        spacing_mm=spacing,
        mode=options.mode,
        tolerance_mm=options.tolerance_mm,
        threads=threads,
    )
    means = mean_score(scores, mode=options.mode)
    return CaseScore(case=reference.name, means=means, labels=tuple(scores), status="scored", note=note)


def case_rows(scores: Iterable[CaseScore], policy: ScoringPolicy) -> Iterator[dict[str, str]]:
    """Give the table of cases; numbers rounded to 4 decimals as in the challenge's table, NaN left empty."""
    for score in scores:
        yield {
            "case": score.case,
            **_measures(score.means, policy),
            "labels": str(len(score.labels)),
            "status": score.status,
            "note": score.note,
        }


def label_rows(scores: Iterable[CaseScore], policy: ScoringPolicy) -> Iterator[dict[str, str]]:
    """Give the table of labels, numbers as in `case_rows`."""
    for score in scores:
        for label in score.labels:
            yield {
                "case": score.case,
                "label": str(label.label),
                **_measures(label.measures, policy),
                "reference_voxels": str(label.reference_voxels),
                "prediction_voxels": str(label.prediction_voxels),
                "status": score.status,
            }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.score",
        description="Score predictions against references: DSC, NSD; in honest mode also Jaccard, HD, HD95.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--segs", type=Path, required=True, help="folder of predictions (.npz: segs)")
    parser.add_argument("--gts", type=Path, required=True, help="folder of references (.npz: gts, spacing)")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write, one row per case")
    parser.add_argument("--labels-out", type=Path, help="CSV to write, one row per case and label")
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="official",
        help="official: number for number the challenge's script; honest: true contours and spacing "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--spacing-order",
        choices=SPACING_ORDERS,
        help="official: stored x, y, z put on z, y, x arrays as it is, as the challenge does; zyx: reordered "
        "(default: official in official mode, zyx in honest mode)",
    )
    parser.add_argument(
        "--tolerance-mm",
        type=_positive,
        default=TOLERANCE,
        help="of NSD; pixels in 2D (default: %(default)s)",
    )
    parser.add_argument("--workers", type=_count, help="cases, or labels of one case, at once (default: cores)")
    return parser.parse_args(argv)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"wanted a positive number, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"wanted 1 or more, got {text}")
    return value


def _plan(predictions: Path, references: Path) -> list[_Job]:
    """Pair each reference with its prediction by file name, the largest references first."""
    truths, results = list_folder(references), list_folder(predictions)
    if not truths.cases and not truths.refused:
        raise ScoreError(f"{references}: no .npz files with references there.")
    found = {path.name: path for path in results.cases}
    refused = {path.name: note for path, note in results.refused}
    jobs = [_Job(path, None, note, refused=True) for path, note in truths.refused]
    # Largest first, so that no worker is left with a big volume at the end.
    for path in sorted(truths.cases, key=lambda path: path.stat().st_size, reverse=True):
        note = refused.get(path.name, f"no {path.name} in {predictions}")
        jobs.append(_Job(path, found.pop(path.name, None), note))
    for name in found:
        logger.warning("%s: a prediction without a reference, not scored", name)
    return jobs


def _run(jobs: list[_Job], options: ScoreOptions, *, workers: int) -> Iterator[CaseScore]:
    """Score the jobs, in parallel where that pays, and give the results as they come."""
    processes = min(workers, len(jobs))
    threads = workers // processes  # more cores than cases: they share the labels of one
    if processes == 1:
        yield from (_score_job(job, options, threads) for job in jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        tasks = [pool.submit(_score_job, job, options, threads) for job in jobs]
        try:
            for task in as_completed(tasks):
                yield task.result()
        except BrokenProcessPool as error:
            raise ScoreError(
                "a scoring process was killed, most likely for want of memory; try --workers 1."
            ) from error
        finally:  # an interrupted run does not wait for the cases that have not begun
            pool.shutdown(wait=False, cancel_futures=True)


def _score_job(job: _Job, options: ScoreOptions, threads: int) -> CaseScore:
    if job.refused:
        return _unusable(job.reference, job.note, options)
    return score_case(job.reference, job.prediction, options=options, note=job.note, threads=threads)


def _unusable(reference: Path, note: str, options: ScoreOptions) -> CaseScore:
    undefined = {metric.key: math.nan for metric in options.policy.measured}
    return CaseScore(case=reference.name, means=undefined, labels=(), status="reference unusable", note=note)


def _read_truth(path: Path, options: ScoreOptions) -> tuple[Labels, tuple[float, ...] | None]:
    """Give the reference labels, and in 3D the spacing to use on their axes."""
    labels = read_reference(path, mode=options.mode)
    if labels.ndim == 2:
        return labels, None
    spacing = read_spacing_as_stored(path)
    if spacing is None:
        raise ScoreError(f"{path.name}: a volume is scored in mm and needs 'spacing': x, y, z, positive numbers.")
    return labels, spacing if options.spacing_order == "official" else spacing[::-1]


def _measures(scores: Scores, policy: ScoringPolicy) -> dict[str, str]:
    return {metric.key: _shown(scores[metric.key]) for metric in policy.measured}


def _shown(value: float) -> str:
    return "" if math.isnan(value) else str(float(np.round(value, 4)))


def _report(scores: Sequence[CaseScore], out: Path) -> int:
    """Log what was found and give the exit status."""
    for score in scores:
        if score.status == "reference unusable":
            logger.error("%s: not scored: %s", score.case, score.note)
        elif score.status != "scored":
            logger.warning("%s: %s, scores 0: %s", score.case, score.status, score.note)
        elif score.note:
            logger.warning("%s: %s; as in the challenge, they match no label", score.case, score.note)
    unusable = sum(score.status == "reference unusable" for score in scores)
    zeros = sum(score.status not in ("scored", "reference unusable") for score in scores)
    logger.info("%d of %d references scored: %s", len(scores) - unusable, len(scores), out)
    if zeros:
        logger.warning("%d of them score 0 for want of a usable prediction", zeros)
    defined = [score.means for score in scores if not math.isnan(score.means["dsc"])]
    if defined:
        dsc, nsd = (float(np.mean([means[key] for means in defined])) for key in ("dsc", "nsd"))
        logger.info("mean DSC %.4f, mean NSD %.4f over the %d cases that have a DSC", dsc, nsd, len(defined))
    return 1 if unusable else 0


if __name__ == "__main__":
    sys.exit(main())
