"""Owns how teams are ranked per case and metric, how ranks are averaged, and how sure one can be of the result.

The rule is the one the challenge's organisers publish for their sister challenges (FLARE: "rank then
average"): every team gets a rank per case and per metric, and the ranks are averaged. Here, as in the
challenge's own tables, the means of the modalities weigh equally, so that a modality with many cases does not
decide alone.

A team that brought no runtimes is ranked over the other metrics. The ranks of those that did are spread over the places
of all teams, so that taking part in a metric is in itself neither a gain nor a loss: their mean is that of any metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evaluation.rank.read import UNKNOWN_MODALITY, FloatArray, ScoreTable
from graysam.cases import modality_of

SMALL_SAMPLE = 13

Weighting = Literal["modality", "case"]


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
    """Mean of each metric in which the team takes part."""
    metric_ranks: Mapping[str, float]
    """Mean rank in each metric in which the team is ranked."""
    missing_predictions: tuple[str, ...]
    """Cases without a score."""
    missing_runtimes: tuple[str, ...]
    """Cases without a runtime; empty for a team that does not take part in it."""


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
    """(teams, cases, metrics), 1 is best, ties share their average; NaN where a team is not ranked."""
    rows: tuple[TeamRow, ...]
    modality_means: Mapping[str, Mapping[str, Mapping[str, float]]]
    """team -> modality -> metric key (and "rank") -> mean, of the metrics in which the team takes part."""
    tests: tuple[PairTest, ...]
    weighting: Weighting
    confidence: float
    resamples: int
    seed: int


def rank_cases(table: ScoreTable) -> FloatArray:
    """Rank the teams on each case and metric, (teams, cases, metrics); 1 is best.

    Ties share an average rank, and so do gaps. Three teams of which one has no value: it gets 3.
    Two without: both get 2.5. None has one: all get 2.

    A team that does not take part in a metric has NaN there, and the m ranks of the others are spread over the places
    1 to n of all teams; of three teams, two that take part get 1 and 3. A metric of one among several ranks nobody.
    """
    ranks = np.full(table.values.shape, np.nan)
    for index, metric in enumerate(table.metrics):
        present = table.takes_part[:, index]
        costs = table.values[present, :, index] * (-1.0 if metric.higher_is_better else 1.0)
        costs = np.where(np.isnan(costs), np.inf, costs)  # a gap is worse than the worst value
        among = stats.rankdata(costs, method="average", axis=0)
        teams, those = len(present), int(present.sum())
        if those == teams:
            ranks[present, :, index] = among
        elif those > 1:
            ranks[present, :, index] = 1.0 + (among - 1.0) * (teams - 1) / (those - 1)
    return ranks


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
    quantities = np.concatenate([_mean_ranks(ranks)[..., None], filled, ranks], axis=-1)
    found = _estimates(
        quantities, table.modalities, weighting=weighting, resamples=resamples, confidence=confidence, seed=seed
    )
    rows = [_team_row(table, team, found) for team in range(len(table.teams))]
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


@dataclass(frozen=True)
class _Estimates:
    """Means of all quantities, places, and the ends of their bootstrap intervals."""

    means: FloatArray
    """(teams, quantities), as are the two ends; NaN in a metric in which a team does not take part."""
    low: FloatArray
    high: FloatArray
    places: NDArray[np.intp]
    """(teams,), as are the two ends."""
    place_low: NDArray[np.intp]
    place_high: NDArray[np.intp]

    def interval(self, team: int, quantity: int) -> Interval:
        ends = (self.means, self.low, self.high)
        return Interval(*(float(values[team, quantity]) for values in ends))


def _estimates(
    quantities: FloatArray,
    modalities: Sequence[str],
    *,
    weighting: Weighting,
    resamples: int,
    confidence: float,
    seed: int,
) -> _Estimates:
    """Average the quantities (teams, cases, quantities), of which the first is the mean rank, and resample."""
    means = np.einsum("n,tnq->tq", case_weights(modalities, weighting), quantities)
    samples = means[None]
    if resamples:
        samples = _bootstrap(quantities, modalities, weighting=weighting, resamples=resamples, seed=seed)
    tail = (1.0 - confidence) / 2.0
    low, high = (np.quantile(samples, q, axis=0) for q in (tail, 1.0 - tail))
    sampled_places = _places(samples[..., 0])
    place_low, place_high = (
        np.quantile(sampled_places, q, axis=0, method="inverted_cdf").astype(np.intp) for q in (tail, 1.0 - tail)
    )
    return _Estimates(means, low, high, _places(means[None, :, 0])[0], place_low, place_high)


def _places(mean_ranks: FloatArray) -> NDArray[np.intp]:
    """Give the places by mean rank, (competitions, teams); equal ones share the better place.

    Rounded, because sums in another order differ in the last digits.
    """
    return np.asarray(stats.rankdata(np.round(mean_ranks, 12), method="min", axis=1), dtype=np.intp)


def _team_row(table: ScoreTable, team: int, found: _Estimates) -> TeamRow:
    """Put together a team's line of the leaderboard."""
    name, count = table.teams[team], len(table.metrics)
    mean_ranks = {m.key: float(found.means[team, 1 + count + i]) for i, m in enumerate(table.metrics)}
    return TeamRow(
        team=name,
        place=int(found.places[team]),
        mean_rank=found.interval(team, 0),
        place_low=int(found.place_low[team]),
        place_high=int(found.place_high[team]),
        metrics={m.key: found.interval(team, 1 + i) for i, m in enumerate(table.metrics) if table.takes_part[team, i]},
        metric_ranks={key: rank for key, rank in mean_ranks.items() if not math.isnan(rank)},
        missing_predictions=table.missing(name, measured=True),
        missing_runtimes=table.missing(name, measured=False),
    )


def _mean_ranks(ranks: FloatArray) -> FloatArray:
    """Average the ranks over the metrics in which a team is ranked, (teams, cases)."""
    return np.asarray(np.nanmean(ranks, axis=-1), dtype=np.float64)


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
    part = np.concatenate([np.ones((len(table.teams), 1), bool), table.takes_part], axis=1)
    return {
        team: {
            str(name): {
                key: float(quantities[index, labels == name, column].mean())
                for column, key in enumerate(keys)
                if part[index, column]
            }
            for name in np.unique(labels)
        }
        for index, team in enumerate(table.teams)
    }


def _all_tests(table: ScoreTable, ranks: FloatArray, filled: FloatArray) -> list[PairTest]:
    """Test every pair of teams on the mean rank per case and on each metric, corrected within each."""
    gains = {"rank": -_mean_ranks(ranks)}
    for index, metric in enumerate(table.metrics):
        gains[metric.key] = (1.0 if metric.higher_is_better else -1.0) * filled[..., index]
    tests: list[PairTest] = []
    for key, gain in gains.items():
        # A team that does not take part has nothing but NaN, and is compared with nobody.
        present = [team for team in range(len(table.teams)) if not np.isnan(gain[team]).any()]
        found = [
            _test_pair(key, (table.teams[a], gain[a]), (table.teams[b], gain[b]))
            for place, a in enumerate(present)
            for b in present[place + 1 :]
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
