"""Owns the leaderboard's command: what any number of teams brought in; CSV, JSON and HTML out."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.policy import MODES
from evaluation.rank.examples import Example, draw_examples
from evaluation.rank.page import PageText, render_report
from evaluation.rank.read import build_table, read_team
from evaluation.rank.statistics import Ranking, rank_teams
from evaluation.rank.write import as_document, case_rows, leaderboard_rows, remarks
from evaluation.score import score_to_table
from evaluation.tables import write_csv
from graysam.console import run_command
from graysam.errors import ScoreError
from graysam.files import written_whole
from graysam.formats.npz import find_cases

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

    def body() -> int:
        rank_to_folder(options)
        return 0

    return run_command(body)


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
        help="a CSV of evaluation.runtime (columns case, seconds); a team without one is ranked over the other metrics",
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
        choices=MODES,
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
    cases = [path.name.removesuffix(".npz") for path in find_cases(options.gts)] if options.gts else None
    notes: list[str] = []
    teams = []
    for name, source in sources.items():
        if source.is_dir():
            predictions.setdefault(name, source)
            source = _score_folder(name, source, options)
        team = read_team(name, source, runtimes.get(name), cases=cases)
        if cases is not None and (extra := sorted(set(team.values) - set(cases))):
            notes.append(f"{name}: {len(extra)} cases without a reference are ignored ({', '.join(extra[:5])}).")
        teams.append(team)
    ranking = rank_teams(
        build_table(teams, cases=cases), weighting=options.weighting, resamples=options.resamples,
        confidence=options.confidence, seed=options.seed,
    )  # fmt: skip
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
    logger.info("%s: scoring %s (%s)", name, folder, options.mode)
    score_to_table(folder, options.gts, target, mode=options.mode)
    return target


def _write(ranking: Ranking, options: argparse.Namespace, *, predictions: Mapping[str, Path], notes: list[str]) -> None:
    """Write leaderboard.csv, cases.csv, leaderboard.json and leaderboard.html."""
    out: Path = options.out
    write_csv(out / "leaderboard.csv", leaderboard_rows(ranking))
    write_csv(out / "cases.csv", case_rows(ranking))
    said = remarks(ranking)
    for sentence in said:
        logger.warning("%s", sentence)
    document = {"title": options.title, "scoring": options.mode, "notes": [*said, *notes], **as_document(ranking)}
    _write_text(out / "leaderboard.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
    examples: list[Example] = []
    if options.gts and options.inputs and predictions and options.examples:
        examples = draw_examples(
            ranking,
            inputs=options.inputs,
            references=options.gts,
            predictions=predictions,
            count=options.examples,
            mode=options.mode,
        )
    text = PageText(title=options.title, scoring=options.mode, remarks=tuple(said), notes=tuple(notes))
    _write_text(out / "leaderboard.html", render_report(ranking, text=text, examples=examples))
    for row in ranking.rows:
        logger.info("%3d  %-20s mean rank %.3f", row.place, row.team, row.mean_rank.mean)
    logger.info("wrote %s", out / "leaderboard.html")


def _write_text(path: Path, text: str) -> None:
    with written_whole(path, ScoreError) as temporary:
        temporary.write_text(text, encoding="utf-8")
