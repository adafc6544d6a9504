"""Owns how a folder of predictions is scored against a folder of references, case by case, on several cores.

The references decide what is scored. A prediction that is missing, unreadable or of another shape scores 0
and is listed; a prediction without a reference is listed and otherwise ignored.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation.labels import Labels, read_prediction, read_reference
from evaluation.pair import LabelScore, mean_score, score_pair, worst_scores
from evaluation.policy import Mode, Scores, ScoringPolicy, SpacingOrder, policy_for
from evaluation.surface_dice import TOLERANCE
from graysam.console import progress
from graysam.errors import CaseError, ScoreError
from graysam.formats.npz import list_folder, read_spacing_as_stored
from graysam.machine import usable_cores

logger = logging.getLogger("evaluation.score")

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
