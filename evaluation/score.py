"""Scores a folder of predictions into a table: python -m evaluation.score --help."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from evaluation.folder_scores import CaseScore, ScoreOptions, score_folder
from evaluation.policy import MODES, SPACING_ORDERS, Mode, Scores, ScoringPolicy, SpacingOrder, policy_for
from evaluation.surface_dice import TOLERANCE
from evaluation.tables import write_csv
from graysam.console import run_command

logger = logging.getLogger("evaluation.score")  # also when run as __main__

EXAMPLE = """\
examples:
  python -m evaluation.score --segs predictions --gts references --out scores.csv
  python -m evaluation.score --segs predictions --gts references --out scores.csv --mode honest \\
      --labels-out scores_by_label.csv

exit status: 0 when every reference was scored (predictions that score 0 are listed), 1 when a reference could
not be scored, 2 when nothing could be done.
"""


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
