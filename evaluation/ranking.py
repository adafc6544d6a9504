"""Ranks teams per case and metric, averages the ranks, and says how sure one can be.

The rule is the one the challenge's organisers publish for their sister challenges (FLARE: "rank then
average"): every team gets a rank per case and per metric, and the ranks are averaged. Here, as in the
challenge's own tables, the means of the modalities weigh equally, so that a modality with many cases does not
decide alone.

Arrays of scores are (teams, cases, metrics), float64. NaN means that the team has no value there, which is
the worst rank.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from graysam.cases import modality_of
from graysam.errors import ScoreError

# FLARE22's rule for a failed case: DSC = 0, NSD = 0, time = 3600 s (flare22.grand-challenge.org, Evaluation).
MISSING_SECONDS = 3600.0
UNKNOWN_MODALITY = "other"
SMALL_SAMPLE = 13

Weighting = Literal["modality", "case"]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One quantity that teams are ranked by."""

    key: str
    """Column name in the CSV and key in the JSON."""
    label: str
    """Heading for people."""
    higher_is_better: bool
    worst: float
    """What a missing value counts as in a mean; its rank is the last whatever the others have."""


DSC = Metric(key="dsc", label="DSC", higher_is_better=True, worst=0.0)
NSD = Metric(key="nsd", label="NSD", higher_is_better=True, worst=0.0)
SECONDS = Metric(key="seconds", label="Runtime (s)", higher_is_better=False, worst=MISSING_SECONDS)


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
    undefined_cases: tuple[str, ...]
    """Cases left out because the reference defines no score for anybody (DSC of nothing with nothing)."""

    def filled(self) -> FloatArray:
        """Give the values with every gap replaced by the metric's worst, (teams, cases, metrics)."""
        worst = np.array([metric.worst for metric in self.metrics])
        return np.where(np.isnan(self.values), worst, self.values)


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class TeamRow:
    """One line of the leaderboard."""

    team: str
    place: int
    """1 is best; equal mean ranks share a place."""
    mean_rank: Interval
    place_low: int
    place_high: int
    """Places between which the team stood in 95 % (or as asked) of the resampled competitions."""
    metrics: Mapping[str, Interval]
    metric_ranks: Mapping[str, float]
    missing: int
    """Cases for which at least one value is missing."""


@dataclass(frozen=True)
class PairTest:
    """Wilcoxon signed-rank test of one pair of teams on one metric, two-sided."""

    metric: str
    better: str
    """The team favoured by the signed ranks; alphabetical where they favour neither."""
    worse: str
    p: float
    p_holm: float
    """p after Holm's correction over all pairs of this metric."""


@dataclass(frozen=True)
class Ranking:
    """The result: rows in order of place, the ranks behind them, and the tests."""

    table: ScoreTable
    ranks: FloatArray
    """(teams, cases, metrics), 1 is best, ties share their average."""
    rows: tuple[TeamRow, ...]
    modality_means: Mapping[str, Mapping[str, Mapping[str, float]]]
    """team -> modality -> metric key (and "rank") -> mean."""
    tests: tuple[PairTest, ...]
    weighting: Weighting
    confidence: float
    resamples: int
    seed: int


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Read the columns case, dsc and nsd of a CSV of scores: case -> {"dsc": ..., "nsd": ...}.

    Case names lose a trailing ``.npz``, so that the official script's names and ours meet. An empty field is
    NaN.

    Raises:
        ScoreError: the file cannot be read, lacks a column, names a case twice, or holds something that is no
          number.
    """
    return _read_columns(path, {"dsc": ("dsc",), "nsd": ("nsd",)})


def read_runtimes(path: Path) -> dict[str, dict[str, float]]:
    """Read a CSV of runtimes: case -> {"seconds": ...}.

    The column is called ``seconds`` (ours) or ``time`` (the official loop's).

    Raises:
        ScoreError: as in :func:`read_scores`.
    """
    return _read_columns(path, {"seconds": ("seconds", "time")})


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
                rows[case] = {
                    key: _number(row[column], path=path, line=reader.line_num)
                    for key, column in columns.items()
                    if column
                }
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
    metrics: None takes DSC and NSD, and the runtime where at least one team has one.

    Raises:
        ScoreError: no team, two teams of one name, or not a single case.
    """
    names = [team.name for team in teams]
    if not names or len(set(names)) != len(names):
        raise ScoreError(f"Wanted at least one team and every name once; got {names}.")
    if metrics is None:
        timed = any("seconds" in values for team in teams for values in team.values.values())
        metrics = (DSC, NSD, SECONDS) if timed else (DSC, NSD)
    every_case = sorted(set(cases) if cases is not None else {case for team in teams for case in team.values})
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


def rank_cases(table: ScoreTable) -> FloatArray:
    """Rank the teams on each case and metric, (teams, cases, metrics); 1 is best.

    Ties share an average rank, and so do gaps. Three teams of which one has no value: it gets 3.
    Two without: both get 2.5. None has one: all get 2.
    """
    costs = np.stack(
        [
            -table.values[..., index] if metric.higher_is_better else table.values[..., index]
            for index, metric in enumerate(table.metrics)
        ],
        axis=-1,
    )
    costs = np.where(np.isnan(costs), np.inf, costs)  # a gap is worse than the worst value
    return np.asarray(stats.rankdata(costs, method="average", axis=0), dtype=np.float64)


def case_weights(modalities: Sequence[str], weighting: Weighting) -> FloatArray:
    """Give each case its share of a mean, (cases,), summing to 1.

    "modality": each modality has the same share, divided evenly among its cases; "case": every case has the
    same share.
    """
    _, group, sizes = np.unique(np.array(modalities), return_inverse=True, return_counts=True)
    if weighting == "case":
        return np.full(len(modalities), 1.0 / len(modalities))
    return np.asarray(1.0 / (sizes[group] * len(sizes)), dtype=np.float64)


def rank_teams(
    table: ScoreTable,
    *,
    weighting: Weighting = "modality",
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 2024,
) -> Ranking:
    """Rank the teams and attach bootstrap intervals and pairwise tests.

    resamples: competitions drawn with replacement from the cases, within each modality; 0 gives intervals of
      no width.
    confidence: share of them between the ends of an interval, in (0, 1).
    """
    ranks = rank_cases(table)
    filled = table.filled()
    # Quantities per team and case: the mean rank over metrics, then each metric's value, then each metric's
    # rank.
    quantities = np.concatenate([ranks.mean(axis=-1, keepdims=True), filled, ranks], axis=-1)
    means = np.einsum("n,tnq->tq", case_weights(table.modalities, weighting), quantities)
    samples = _bootstrap(quantities, table.modalities, weighting=weighting, resamples=resamples, seed=seed)
    tail = (1.0 - confidence) / 2.0
    low, high = (np.quantile(samples, q, axis=0) if resamples else means for q in (tail, 1.0 - tail))
    places = stats.rankdata(np.round(means[:, 0], 12), method="min").astype(int)
    sampled_places = stats.rankdata(np.round(samples[..., 0], 12), method="min", axis=1) if resamples else places[None]
    place_low = np.quantile(sampled_places, tail, axis=0, method="inverted_cdf").astype(int)
    place_high = np.quantile(sampled_places, 1.0 - tail, axis=0, method="inverted_cdf").astype(int)

    def interval(team: int, quantity: int) -> Interval:
        return Interval(float(means[team, quantity]), float(low[team, quantity]), float(high[team, quantity]))

    count = len(table.metrics)
    rows = [
        TeamRow(
            team=name,
            place=int(places[team]),
            mean_rank=interval(team, 0),
            place_low=int(place_low[team]),
            place_high=int(place_high[team]),
            metrics={metric.key: interval(team, 1 + index) for index, metric in enumerate(table.metrics)},
            metric_ranks={m.key: float(means[team, 1 + count + index]) for index, m in enumerate(table.metrics)},
            missing=int(np.isnan(table.values[team]).any(axis=-1).sum()),
        )
        for team, name in enumerate(table.teams)
    ]
    return Ranking(
        table=table,
        ranks=ranks,
        rows=tuple(sorted(rows, key=lambda row: (row.place, row.team))),
        modality_means=_modality_means(table, quantities),
        tests=tuple(_all_tests(table, ranks, filled)),
        weighting=weighting,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def _bootstrap(
    quantities: FloatArray, modalities: Sequence[str], *, weighting: Weighting, resamples: int, seed: int
) -> FloatArray:
    """Give the means of resampled competitions, (resamples, teams, quantities).

    Cases are drawn within their modality, so that every draw has all modalities with their own numbers of
    cases. A draw is a vector of how often each case was taken (multinomial), which turns resampling into one
    matrix product a modality.
    """
    generator = np.random.default_rng(seed)
    labels = np.array(modalities)
    total = np.zeros((resamples, *quantities[:, 0].shape))
    names = np.unique(labels)
    for name in names:
        members = np.flatnonzero(labels == name)
        size = len(members)
        taken = generator.multinomial(size, np.full(size, 1.0 / size), size=resamples).astype(np.float64)
        share = 1.0 / len(names) if weighting == "modality" else size / len(labels)
        total += share * np.einsum("bn,tnq->btq", taken / size, quantities[:, members], optimize=True)
    return total


def _modality_means(table: ScoreTable, quantities: FloatArray) -> dict[str, dict[str, dict[str, float]]]:
    """Average each metric and the rank within each modality."""
    labels = np.array(table.modalities)
    keys = ["rank", *(metric.key for metric in table.metrics)]
    return {
        team: {
            str(name): {key: float(quantities[index, labels == name, column].mean()) for column, key in enumerate(keys)}
            for name in np.unique(labels)
        }
        for index, team in enumerate(table.teams)
    }


def _all_tests(table: ScoreTable, ranks: FloatArray, filled: FloatArray) -> list[PairTest]:
    """Test every pair of teams on the mean rank per case and on each metric, corrected within each."""
    tests: list[PairTest] = []
    for key in ("rank", *(metric.key for metric in table.metrics)):
        if key == "rank":
            gains = -ranks.mean(axis=-1)
        else:
            index = [metric.key for metric in table.metrics].index(key)
            sign = 1.0 if table.metrics[index].higher_is_better else -1.0
            gains = sign * filled[..., index]
        found = [
            _test_pair(key, (table.teams[a], gains[a]), (table.teams[b], gains[b]))
            for a in range(len(table.teams))
            for b in range(a + 1, len(table.teams))
        ]
        corrected = holm([test.p for test in found])
        tests += [
            PairTest(metric=t.metric, better=t.better, worse=t.worse, p=t.p, p_holm=p)
            for t, p in zip(found, corrected, strict=True)
        ]
    return tests


def _test_pair(metric: str, first: tuple[str, FloatArray], second: tuple[str, FloatArray]) -> PairTest:
    """Compare two teams' values per case, larger is better; equal on every case gives p = 1."""
    # Rounded, because 0.3 - 0.2 and 0.2 - 0.1 are a tie for a reader and for Wilcoxon's ranks, but not for a
    # processor.
    difference = np.round(first[1] - second[1], 9)
    names = (first[0], second[0])
    if not difference.any():
        better, worse = sorted(names)
        return PairTest(metric=metric, better=better, worse=worse, p=1.0, p_holm=1.0)
    nonzero = difference[difference != 0.0]
    p = signed_rank_p(nonzero)
    balance = float((np.sign(nonzero) * stats.rankdata(np.abs(nonzero))).sum())
    better, worse = names if balance > 0 else names[::-1] if balance < 0 else sorted(names)
    return PairTest(metric=metric, better=better, worse=worse, p=p, p_holm=p)


def signed_rank_p(differences: FloatArray) -> float:
    """Give Wilcoxon's two-sided p of differences of which none is zero.

    differences: (n,). Up to 13 of them all 2**n patterns of signs are counted, which is exact with ties too
      (SciPy does the same, but takes seconds for it); beyond, SciPy's exact distribution, or with ties its
      normal approximation.
    """
    count = len(differences)
    if count > SMALL_SAMPLE:
        return float(stats.wilcoxon(differences, zero_method="wilcox", alternative="two-sided").pvalue)
    ranks = stats.rankdata(np.abs(differences))
    signs = 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1) - 1.0  # (2**n, n)
    observed = abs(float(np.sign(differences) @ ranks))
    return float(np.mean(np.abs(signs @ ranks) >= observed - 1e-9))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm, 1979).

    The k-th smallest of m is multiplied by m - k + 1, never decreasing with k, at most 1.
    """
    corrected = [0.0] * len(p_values)
    running = 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - position) * p_values[index]))
        corrected[index] = running
    return corrected


def mean_by_modality(
    values: Mapping[str, Mapping[str, float]], *, keys: Sequence[str], missing: float = 0.0
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Average one team's scores: (key -> equal-weight mean over modalities, modality -> key -> mean).

    NaN counts as ``missing``. An empty mapping gives means of ``missing``.
    """
    groups: dict[str, list[Mapping[str, float]]] = {}
    for case, row in values.items():
        groups.setdefault(modality_of(case) or UNKNOWN_MODALITY, []).append(row)
    per_modality = {
        name: {
            key: float(np.mean([missing if math.isnan(row.get(key, math.nan)) else row[key] for row in rows]))
            for key in keys
        }
        for name, rows in sorted(groups.items())
    }
    overall = {
        key: float(np.mean([means[key] for means in per_modality.values()])) if per_modality else missing
        for key in keys
    }
    return overall, per_modality


def leaderboard_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """Flatten the leaderboard to one dict a team, in order of place, for a CSV."""
    flat = []
    for row in ranking.rows:
        line: dict[str, Any] = {
            "place": row.place,
            "team": row.team,
            "mean_rank": round(row.mean_rank.mean, 4),
        }
        line |= {"mean_rank_low": round(row.mean_rank.low, 4), "mean_rank_high": round(row.mean_rank.high, 4)}
        line |= {"place_low": row.place_low, "place_high": row.place_high}
        for key, value in row.metrics.items():
            line |= {
                key: round(value.mean, 4),
                f"{key}_low": round(value.low, 4),
                f"{key}_high": round(value.high, 4),
            }
            line |= {f"rank_{key}": round(row.metric_ranks[key], 4)}
        flat.append(line | {"missing": row.missing})
    return flat


def case_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """Flatten values and ranks to one dict a team and case, for a CSV; a missing value is an empty field."""
    table = ranking.table
    flat = []
    for case_index, case in enumerate(table.cases):
        for team_index, team in enumerate(table.teams):
            line: dict[str, Any] = {"case": case, "modality": table.modalities[case_index], "team": team}
            for index, metric in enumerate(table.metrics):
                value = float(table.values[team_index, case_index, index])
                line[metric.key] = "" if math.isnan(value) else round(value, 4)
                line[f"rank_{metric.key}"] = float(ranking.ranks[team_index, case_index, index])
            flat.append(line)
    return flat


def as_document(ranking: Ranking) -> dict[str, Any]:
    """Give everything as plain values for JSON; no NaN, which JSON lacks: a missing value is None."""
    table = ranking.table
    return {
        "method": {
            "rule": "rank per case and metric (ties: average rank; missing: last), then average",
            "weighting": ranking.weighting,
            "metrics": [metric.key for metric in table.metrics],
            "missing_counts_as": {metric.key: metric.worst for metric in table.metrics},
            "bootstrap": {
                "resamples": ranking.resamples,
                "confidence": ranking.confidence,
                "seed": ranking.seed,
            },
            "test": "Wilcoxon signed-rank, two-sided, Holm's correction over the pairs of each metric",
        },
        "cases": len(table.cases),
        "modalities": {name: table.modalities.count(name) for name in sorted(set(table.modalities))},
        "undefined_cases": list(table.undefined_cases),
        "leaderboard": leaderboard_rows(ranking),
        "modality_means": ranking.modality_means,
        "tests": [vars(test) for test in ranking.tests],
        "per_case": [{key: None if value == "" else value for key, value in row.items()} for row in case_rows(ranking)],
    }
