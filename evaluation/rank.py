"""The leaderboard as one command: what any number of teams brought in; CSV, JSON and HTML out.

The arithmetic is in ``ranking.py``, the page in ``report.py``.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation import score
from evaluation.overlay import draw_panels
from evaluation.ranking import (
    Ranking,
    TeamScores,
    as_document,
    build_table,
    case_rows,
    leaderboard_rows,
    rank_teams,
    read_runtimes,
    read_scores,
)
from evaluation.report import Example, PageText, render_report
from graysam.errors import CaseError, GraySamError, ScoreError
from graysam.formats.npz import find_cases, read_case, read_labels

logger = logging.getLogger(__name__)

EXAMPLE = """\
example, two teams; the first brings a CSV of evaluation.score, the second a folder that is scored here:
  python -m evaluation.rank --gts references --inputs cases --out leaderboard \\
      --team gray=gray/scores.csv --runtime gray=gray/runtime.csv --segs gray=gray/segs \\
      --team peer=peer/segs --runtime peer=peer/runtime.csv
writes leaderboard/leaderboard.csv, cases.csv, leaderboard.json and leaderboard.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the leaderboard was written, 2 when the input cannot be used."""
    options = _parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        rank_to_folder(options)
    except GraySamError as error:
        logger.error("error: %s", error)
        return 2
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.rank",
        description=("Rank teams per case over DSC, NSD and runtime, average the ranks, and write a leaderboard."),
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pair: dict[str, Any] = {"action": "append", "default": [], "type": _named_path}
    parser.add_argument(
        "--team",
        required=True,
        metavar="NAME=PATH",
        **pair,
        help=("a CSV of evaluation.score, or a folder of predictions (then --gts is needed); repeat for each team"),
    )
    parser.add_argument(
        "--runtime",
        metavar="NAME=CSV",
        **pair,
        help="a CSV of evaluation.runtime (columns case, seconds); a team without one is last in runtime",
    )
    parser.add_argument(
        "--segs",
        metavar="NAME=DIR",
        **pair,
        help="predictions, for the pictures; implied where --team is a folder",
    )
    parser.add_argument(
        "--gts",
        type=Path,
        metavar="DIR",
        help="references: they decide which cases count; without, every case that any team names",
    )
    parser.add_argument(
        "--inputs", type=Path, metavar="DIR", help="cases, for the pictures (with --gts and predictions)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the leaderboard's files")
    parser.add_argument(
        "--mode",
        choices=("official", "honest"),
        default="official",
        help="how folders are scored, and what the page says of the scores (default: %(default)s)",
    )
    _add_ranking_options(parser)
    options = parser.parse_args(argv)
    if options.resamples < 0 or options.examples < 0 or not 0.0 < options.confidence < 1.0:
        parser.error("wanted --resamples and --examples of at least 0 and 0 < --confidence < 1.")
    return options


def _add_ranking_options(parser: argparse.ArgumentParser) -> None:
    """Add how to rank and what to show."""
    parser.add_argument(
        "--weighting",
        choices=("modality", "case"),
        default="modality",
        help="what weighs equally in a mean (default: %(default)s)",
    )
    parser.add_argument("--resamples", type=int, default=2000, help="bootstrap competitions (default: %(default)s)")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2024, help="of the bootstrap (default: %(default)s)")
    parser.add_argument(
        "--examples",
        type=int,
        default=3,
        help="worst and as many best cases pictured for each team (default: %(default)s)",
    )
    parser.add_argument(
        "--title", default="Segment Anything in Medical Images on Laptop: leaderboard", help="of the page"
    )


def _named_path(text: str) -> tuple[str, Path]:
    """Split NAME=PATH at the first equals sign."""
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"wanted NAME=PATH, got '{text}'")
    return name, Path(path)


def rank_to_folder(options: argparse.Namespace) -> Ranking:
    """Gather, rank, and write the four files.

    Raises:
        ScoreError: teams, scores or cases that cannot be ranked.
        CaseError: a folder of references that cannot be listed.
    """
    sources = _by_name(options.team, "--team")
    runtimes = _by_name(options.runtime, "--runtime")
    predictions = _by_name(options.segs, "--segs")
    for flag, named in (("--runtime", runtimes), ("--segs", predictions)):
        if strangers := sorted(set(named) - set(sources)):
            raise ScoreError(f"{flag} names {', '.join(strangers)}, which no --team does.")
    options.out.mkdir(parents=True, exist_ok=True)
    cases = [path.name.removesuffix(".npz") for path in find_cases(options.gts)] if options.gts else None
    notes: list[str] = []
    teams = []
    for name, source in sources.items():
        if source.is_dir():
            predictions.setdefault(name, source)
            source = _score_folder(name, source, options)
        team = _read_team(name, source, runtimes.get(name))
        if cases is not None and (extra := sorted(set(team.values) - set(cases))):
            notes.append(f"{name}: {len(extra)} cases without a reference are ignored ({', '.join(extra[:5])}).")
        if runtimes and name not in runtimes:
            notes.append(f"{name} brought no runtimes and is last in that metric.")
        teams.append(team)
    ranking = rank_teams(
        build_table(teams, cases=cases), weighting=options.weighting, resamples=options.resamples,
        confidence=options.confidence, seed=options.seed,
    )  # fmt: skip
    for row in ranking.rows:
        if row.missing and (not runtimes or row.team in runtimes):
            notes.append(
                f"{row.team}: without a value for at least one metric: {row.missing} of "
                f"{len(ranking.table.cases)} cases."
            )
    _write(ranking, options, predictions=predictions, notes=notes)
    return ranking


def _by_name(pairs: Sequence[tuple[str, Path]], flag: str) -> dict[str, Path]:
    """Turn NAME=PATH pairs into a dict; a name twice is an error."""
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ScoreError(f"{flag}: a name stands twice among {', '.join(name for name, _ in pairs)}.")
    return named


def _score_folder(name: str, folder: Path, options: argparse.Namespace) -> Path:
    """Score a team's predictions into OUT/scores and give the CSV's path."""
    if options.gts is None:
        raise ScoreError(f"--team {name}={folder} is a folder of predictions: --gts is needed to score it.")
    # The name is the user's and may hold anything; the file's name only has to be unlike the other teams'.
    position = [team for team, _ in options.team].index(name) + 1
    target = Path(options.out) / "scores" / f"team-{position}.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    logger.info("%s: scoring %s (%s)", name, folder, options.mode)
    score.main(["--segs", str(folder), "--gts", str(options.gts), "--out", str(target), "--mode", options.mode])
    if not target.is_file():
        raise ScoreError(f"{name}: {folder} could not be scored; see the messages above.")
    return target


def _read_team(name: str, scores: Path, runtime: Path | None) -> TeamScores:
    """Join a team's scores and runtimes by case."""
    values: dict[str, dict[str, float]] = {case: dict(row) for case, row in read_scores(scores).items()}
    for case, row in (read_runtimes(runtime) if runtime else {}).items():
        values.setdefault(case, {}).update(row)
    return TeamScores(name=name, values=values)


def _write(ranking: Ranking, options: argparse.Namespace, *, predictions: Mapping[str, Path], notes: list[str]) -> None:
    """Write leaderboard.csv, cases.csv, leaderboard.json and leaderboard.html."""
    out: Path = options.out
    write_rows(out / "leaderboard.csv", leaderboard_rows(ranking))
    write_rows(out / "cases.csv", case_rows(ranking))
    document = {"title": options.title, "scoring": options.mode, "notes": notes, **as_document(ranking)}
    (out / "leaderboard.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    examples: list[Example] = []
    if options.gts and options.inputs and predictions and options.examples:
        examples = draw_examples(
            ranking,
            inputs=options.inputs,
            references=options.gts,
            predictions=predictions,
            count=options.examples,
        )
    text = PageText(title=options.title, scoring=options.mode, notes=tuple(notes))
    (out / "leaderboard.html").write_text(render_report(ranking, text=text, examples=examples), encoding="utf-8")
    for row in ranking.rows:
        logger.info("%3d  %-20s mean rank %.3f", row.place, row.team, row.mean_rank.mean)
    logger.info("wrote %s", out / "leaderboard.html")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write dicts of equal keys as CSV with a header."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw_examples(
    ranking: Ranking, *, inputs: Path, references: Path, predictions: Mapping[str, Path], count: int
) -> list[Example]:
    """Draw the worst and the best cases by DSC of every team that has a folder of predictions.

    A case is not shown as both. One whose image or reference cannot be read is passed over with a warning.
    """
    examples = []
    for team in ranking.table.teams:
        if team not in predictions:
            continue
        for case, kind in pick_cases(ranking, team, count):
            try:
                image = read_case(inputs / f"{case}.npz", need_boxes=False).image
                reference = read_labels(references / f"{case}.npz", "gts")
            except CaseError as error:
                logger.warning("no picture of %s: %s", case, error)
                continue
            try:
                prediction = read_labels(predictions[team] / f"{case}.npz", "segs")
            except CaseError:
                prediction = None
            examples.append(Example(team=team, case=case, kind=kind, panels=draw_panels(image, reference, prediction)))
    return examples


def pick_cases(ranking: Ranking, team: str, count: int) -> list[tuple[str, str]]:
    """Give (case, "worst") and (case, "best") of a team, the most extreme DSC first; ties by name."""
    table = ranking.table
    column = [metric.key for metric in table.metrics].index("dsc")
    scores = table.filled()[table.teams.index(team), :, column]
    order = sorted(range(len(table.cases)), key=lambda index: (scores[index], table.cases[index]))
    worst = order[:count]
    best = [index for index in reversed(order) if index not in worst][:count]
    return [(table.cases[i], "worst") for i in worst] + [(table.cases[i], "best") for i in best]


if __name__ == "__main__":
    sys.exit(main())
