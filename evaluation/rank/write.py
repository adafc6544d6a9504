"""Owns the leaderboard's other files than the page: what stands in leaderboard.csv, cases.csv and leaderboard.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evaluation.rank.statistics import Ranking

MOST_NAMES = 20


def leaderboard_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """Flatten the leaderboard to one dict a team, in order of place, for a CSV.

    A metric in which a team does not take part is an empty field.
    """
    flat = []
    for row in ranking.rows:
        line: dict[str, Any] = {"place": row.place, "team": row.team, "mean_rank": round(row.mean_rank.mean, 4)}
        line |= {"mean_rank_low": round(row.mean_rank.low, 4), "mean_rank_high": round(row.mean_rank.high, 4)}
        line |= {"place_low": row.place_low, "place_high": row.place_high}
        for metric in ranking.table.metrics:
            key, value = metric.key, row.metrics.get(metric.key)
            line[key] = _rounded(value.mean if value else math.nan)
            line[f"{key}_low"] = _rounded(value.low if value else math.nan)
            line[f"{key}_high"] = _rounded(value.high if value else math.nan)
            line[f"rank_{key}"] = _rounded(row.metric_ranks.get(key, math.nan))
        line["missing_predictions"] = len(row.missing_predictions)
        line["missing_runtimes"] = len(row.missing_runtimes) if "seconds" in row.metrics else ""
        flat.append(line)
    return flat


def _rounded(number: float) -> float | str:
    """Give four decimals; NaN is an empty field."""
    return "" if math.isnan(number) else round(number, 4)


def case_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """Flatten values and ranks to one dict a team and case, for a CSV; a missing value or rank is an empty field."""
    table = ranking.table
    flat = []
    for case_index, case in enumerate(table.cases):
        for team_index, team in enumerate(table.teams):
            line: dict[str, Any] = {"case": case, "modality": table.modalities[case_index], "team": team}
            for index, metric in enumerate(table.metrics):
                line[metric.key] = _rounded(float(table.values[team_index, case_index, index]))
                line[f"rank_{metric.key}"] = _rounded(float(ranking.ranks[team_index, case_index, index]))
            flat.append(line)
    return flat


def as_document(ranking: Ranking) -> dict[str, Any]:
    """Give everything as plain values for JSON; no NaN, which JSON lacks: a missing value is None."""
    table = ranking.table
    return {
        "method": {
            "rule": "rank per case and metric (ties: average rank; missing: last), then average; a team without "
            "runtimes is ranked over the other metrics",
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
        "leaderboard": _without_gaps(leaderboard_rows(ranking)),
        "missing": {
            row.team: {"predictions": list(row.missing_predictions), "runtimes": list(row.missing_runtimes)}
            for row in ranking.rows
        },
        "modality_means": ranking.modality_means,
        "tests": [vars(test) for test in ranking.tests],
        "per_case": _without_gaps(case_rows(ranking)),
    }


def _without_gaps(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: None if value == "" else value for key, value in row.items()} for row in rows]


def remarks(ranking: Ranking) -> list[str]:
    """Say which team is without which predictions or runtimes, and what follows from it; one sentence each."""
    said = []
    table = ranking.table
    for metric in (metric for metric in table.metrics if metric.measure is None):
        others = " and ".join(other.label for other in table.metrics if other is not metric)
        part = table.takes_part[:, table.column(metric.key)]
        for team, present in zip(table.teams, part, strict=True):
            if not present:
                said.append(f"{team} brought no table of runtimes and is ranked over {others} alone.")
            elif part.sum() == 1 < len(part):
                said.append(f"Only {team} brought runtimes: with nobody to compare with, they are shown, not ranked.")
    for row in ranking.rows:
        for kind, cases in (("usable prediction", row.missing_predictions), ("runtime", row.missing_runtimes)):
            if cases:
                said.append(
                    f"{row.team}: no {kind} for {len(cases)} of {len(table.cases)} cases, which rank last: "
                    f"{_named(cases)}."
                )
    return said


def _named(cases: Sequence[str]) -> str:
    rest = len(cases) - MOST_NAMES
    return ", ".join(cases[:MOST_NAMES]) + (f" and {rest} more (all in leaderboard.json)" if rest > 0 else "")
