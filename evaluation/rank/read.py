"""Owns how tables of scores and runtimes are read and lined up on one list of cases.

From here goes a `ScoreTable`: an array of (teams, cases, metrics), float64. Two gaps in it are told apart: a team that
takes part in a metric but has no value for a case (NaN, the worst rank), and a team that brought no runtimes at all
(it does not take part in that metric, and is ranked without it).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation import metrics as registry
from evaluation.metrics import Metric, ranked_scores
from graysam.cases import modality_of
from graysam.errors import ScoreError

UNKNOWN_MODALITY = "other"
# Names of the runtime's column: ours, and that of the official loop.
SECONDS_COLUMNS = ("seconds", "time")

# What the scorer says of a case without a usable prediction.
NO_PREDICTION = ("missing", "unreadable", "misshapen")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class TeamScores:
    """What one team brought: a value per case and metric key; absent cases are simply not in the mapping."""

    name: str
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ScoreTable:
    """All teams on all cases, in one array."""

    teams: tuple[str, ...]
    cases: tuple[str, ...]
    modalities: tuple[str, ...]
    """One per case."""
    metrics: tuple[Metric, ...]
    values: FloatArray
    """(teams, cases, metrics); NaN where a team has no value."""
    takes_part: NDArray[np.bool_]
    """(teams, metrics); False for a team that brought no table of that metric."""
    undefined_cases: tuple[str, ...]
    """Cases left out because the reference defines no score for anybody (DSC of nothing with nothing)."""

    def filled(self) -> FloatArray:
        """Give the values with gaps replaced by the metric's worst, (teams, cases, metrics).

        NaN stays where a team does not take part.
        """
        worst = np.array([metric.worst for metric in self.metrics])
        return np.where(np.isnan(self.values) & self.takes_part[:, None], worst, self.values)

    def column(self, key: str) -> int:
        """Give the place of a metric on the last axis."""
        return [metric.key for metric in self.metrics].index(key)

    def missing(self, team: str, *, measured: bool) -> tuple[str, ...]:
        """Name the cases of which a team has no value for a metric in which it takes part.

        measured: True for metrics read off masks (then the prediction is missing), False for the others (runtime).
        """
        index = self.teams.index(team)
        kind = np.array([(metric.measure is not None) == measured for metric in self.metrics])
        gaps = np.isnan(self.values[index]) & self.takes_part[index] & kind
        return tuple(case for case, gap in zip(self.cases, gaps.any(axis=-1), strict=True) if gap)


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Read the column case and those of the ranked metrics of a CSV of scores: case -> {"dsc": ..., "nsd": ...}.

    Case names lose a trailing ``.npz``, so that the official script's names and ours meet. An empty field is
    NaN. Where the column ``status`` of `evaluation.score` says that there was no usable prediction, the row is empty:
    such a case is missing, and not a prediction that scores 0.

    Raises:
        ScoreError: the file cannot be read, lacks a column, names a case twice, or holds something that is no
          number.
    """
    return _read_columns(path, {metric.key: (metric.key,) for metric in ranked_scores()})


def read_runtimes(path: Path) -> dict[str, dict[str, float]]:
    """Read a CSV of runtimes: case -> {"seconds": ...}.

    The column is called ``seconds`` (ours) or ``time`` (the official loop's).

    Raises:
        ScoreError: as in :func:`read_scores`.
    """
    return _read_columns(path, {registry.SECONDS.key: SECONDS_COLUMNS})


def read_team(name: str, scores: Path, runtime: Path | None, *, cases: Iterable[str] | None = None) -> TeamScores:
    """Join a team's scores and runtimes by case.

    cases: those that count; None for all.

    Raises:
        ScoreError: as in :func:`read_scores`; also a table of runtimes that has none of the cases.
    """
    values: dict[str, dict[str, float]] = {case: dict(row) for case, row in read_scores(scores).items()}
    if runtime is not None:
        times = read_runtimes(runtime)
        wanted = set(values if cases is None else cases)
        if not wanted & set(times):
            raise ScoreError(
                f"{name}: {runtime} has no runtime of any case that counts; it names "
                f"{', '.join([*times][:3]) or 'none'}, wanted names "
                f"such as {', '.join(sorted(wanted)[:3]) or 'those of the scores'}."
            )
        for case, row in times.items():
            values.setdefault(case, {}).update(row)
    return TeamScores(name=name, values=values)


def _read_columns(path: Path, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, dict[str, float]]:
    """Read the wanted columns, each under the first of its names that the file has."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or []
            columns = {key: next((n for n in names if n in header), None) for key, names in wanted.items()}
            absent = [" or ".join(wanted[key]) for key, column in columns.items() if column is None]
            if "case" not in header or absent:
                raise ScoreError(
                    f"{path}: wanted the columns case, {', '.join(wanted)}; found {', '.join(header) or 'none'}."
                )
            rows: dict[str, dict[str, float]] = {}
            for row in reader:
                case = (row["case"] or "").removesuffix(".npz")
                if case in rows:
                    raise ScoreError(f"{path}: line {reader.line_num}: case '{case}' stands here a second time.")
                unanswered = row.get("status") in NO_PREDICTION
                rows[case] = (
                    {}
                    if unanswered
                    else {
                        key: _number(row[column], path=path, line=reader.line_num)
                        for key, column in columns.items()
                        if column
                    }
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ScoreError(f"{path}: cannot be read as CSV: {error}") from error
    return rows


def _number(text: str | None, *, path: Path, line: int) -> float:
    """Turn a field into a float; empty is NaN, infinities are refused."""
    try:
        value = float(text) if text and text.strip() else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise ScoreError(f"{path}: line {line}: wanted a finite number, got '{text}'.")
    return value


def build_table(
    teams: Sequence[TeamScores],
    *,
    cases: Iterable[str] | None = None,
    metrics: Sequence[Metric] | None = None,
) -> ScoreTable:
    """Line up all teams on one list of cases.

    cases: names without ``.npz`` that decide what counts; None takes every case that any team names, so that
      a case left out by one team still counts against it.
    metrics: None takes the ranked ones of masks, and the runtime where at least one team has one.

    Raises:
        ScoreError: no team, two teams of one name, or not a single case.
    """
    names = [team.name for team in teams]
    if not names or len(set(names)) != len(names):
        raise ScoreError(f"Wanted at least one team and every name once; got {names}.")
    every_case = sorted(set(cases) if cases is not None else {case for team in teams for case in team.values})
    brought = [{key for case in every_case for key in team.values.get(case, {})} for team in teams]
    if metrics is None:
        anybody = set().union(*brought)
        metrics = [m for m in registry.METRICS if m.ranked and (m.measure is not None or m.key in anybody)]
    nowhere: Mapping[str, float] = {}
    values = np.array(
        [
            [[team.values.get(case, nowhere).get(metric.key, math.nan) for metric in metrics] for case in every_case]
            for team in teams
        ],
        dtype=np.float64,
    ).reshape(len(teams), len(every_case), len(metrics))
    undefined = _undefined_by_reference(teams, every_case)
    kept = [index for index, case in enumerate(every_case) if case not in undefined]
    if not kept:
        raise ScoreError(
            f"There is no case to rank by: {len(every_case)} named, {len(undefined)} without a defined score."
        )
    return ScoreTable(
        teams=tuple(names),
        cases=tuple(every_case[index] for index in kept),
        modalities=tuple(modality_of(every_case[index]) or UNKNOWN_MODALITY for index in kept),
        metrics=tuple(metrics),
        values=values[:, kept],
        takes_part=np.array([[m.measure is not None or m.key in keys for m in metrics] for keys in brought]),
        undefined_cases=tuple(sorted(undefined)),
    )


def _undefined_by_reference(teams: Sequence[TeamScores], cases: Sequence[str]) -> set[str]:
    """Find the cases where a DSC or NSD is NaN for every team that brought a row, and one did."""
    undefined = set()
    for case in cases:
        rows = [team.values[case] for team in teams if "dsc" in team.values.get(case, {})]
        if rows and any(all(math.isnan(row.get(key, 0.0)) for row in rows) for key in ("dsc", "nsd")):
            undefined.add(case)
    return undefined
