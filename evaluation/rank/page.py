"""Owns the leaderboard's HTML page: numbers are put into words and lengths here, the templates lay them out.

The page needs nothing but itself: style, script and pictures stand in it, and nothing is fetched from elsewhere. The
templates are in evaluation/assets/leaderboard; Jinja escapes every name that gets into them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.metrics import Metric
from evaluation.rank.examples import Example
from evaluation.rank.statistics import Interval, PairTest, Ranking, TeamRow

TEMPLATES = Path(__file__).resolve().parents[1] / "assets" / "leaderboard"
# Distinguishable with the common colour-vision deficiencies in this order, and dark enough on white and light
# enough on black.
TEAM_COLOURS = ("#2f6fb5", "#d97e26", "#249a76", "#b8477a", "#7b61b8", "#4ba3cf", "#8c8a2a", "#747a82")
SIGNIFICANT = 0.05
DASH = "\u2013"
LAST_PLACE = 1e12  # sorts an absent value behind every other, whichever end comes first


@dataclass(frozen=True)
class PageText:
    """What a page says besides the numbers."""

    title: str
    scoring: str
    """How the scores were made, e.g. "official"."""
    remarks: tuple[str, ...] = ()
    """What is to be known of single teams; stands below the leaderboard."""
    notes: tuple[str, ...] = ()
    """What else is to be known; stands at the end."""


def render_report(ranking: Ranking, *, text: PageText, examples: Sequence[Example] = ()) -> str:
    """Give the whole page as HTML; every name is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["team"] = lambda name: _team(ranking, name)
    environment.filters["count"] = _count
    return environment.get_template("page.html").render(
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        text=text,
        ranking=ranking,
        facts=_facts(ranking, text),
        winners=[row.team for row in ranking.rows if row.place == 1],
        leaderboard=_leaderboard(ranking),
        ranks=_rank_plot(ranking),
        modalities=_modality_panels(ranking),
        significance=_significance_panels(ranking),
        examples=_example_panels(ranking, examples),
        method=_method(ranking, text),
        significant=SIGNIFICANT,
    )


def _team(ranking: Ranking, name: str) -> dict[str, str]:
    """Give a team's name and colour; teams keep the order in which they were given, whatever their place."""
    return {"name": name, "colour": TEAM_COLOURS[ranking.table.teams.index(name) % len(TEAM_COLOURS)]}


def _show(metric: Metric, value: float) -> str:
    """Format a value: scores as percent with two decimals, as the published tables do; NaN as a dash."""
    if math.isnan(value):
        return DASH
    if metric.unit == "%":
        return f"{100 * value:.2f}"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _heading(metric: Metric) -> str:
    return f"{metric.label} %" if metric.unit == "%" else metric.label


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _facts(ranking: Ranking, text: PageText) -> list[str]:
    table = ranking.table
    return [
        _count(len(table.teams), "team"),
        _count(len(table.cases), "case"),
        _count(len(set(table.modalities)), "modality"),
        f"{text.scoring} scoring",
    ]


# --- the leaderboard --------------------------------------------------------------------------------------------------


def _leaderboard(ranking: Ranking) -> dict[str, Any]:
    metrics = ranking.table.metrics
    columns = [("Place", True), ("Team", True), ("Mean rank", True)]
    columns += [(_heading(metric), not metric.higher_is_better) for metric in metrics]
    columns.append(("Missing", True))
    return {
        "columns": [{"text": text, "first": "ascending" if up else "descending"} for text, up in columns],
        "rows": [_leaderboard_row(ranking, row) for row in ranking.rows],
        "percent": f"{100 * ranking.confidence:g} %",
    }


def _cell(label: str, value: float, shown: str, below: str = "", *, leads: bool = False) -> dict[str, Any]:
    return {"label": label, "value": f"{value:.6f}", "shown": shown, "below": below, "leads": leads}


def _leaderboard_row(ranking: Ranking, row: TeamRow) -> dict[str, Any]:
    places = f"{row.place_low}{DASH}{row.place_high}" if row.place_low != row.place_high else ""
    rank = row.mean_rank
    late = len(row.missing_runtimes)
    return {
        "team": row.team,
        "place": _cell("Place", row.place, str(row.place), places),
        "rank": _cell("Mean rank", rank.mean, f"{rank.mean:.2f}", f"{rank.low:.2f}{DASH}{rank.high:.2f}"),
        "metrics": [_metric_cell(ranking, row, metric) for metric in ranking.table.metrics],
        "missing": len(row.missing_predictions),
        "missing_below": _count(late, "runtime") if late else "",
    }


def _metric_cell(ranking: Ranking, row: TeamRow, metric: Metric) -> dict[str, Any]:
    interval: Interval | None = row.metrics.get(metric.key)
    if interval is None:
        return _cell(_heading(metric), LAST_PLACE, DASH, "not ranked by it")
    best = max if metric.higher_is_better else min
    leads = interval.mean == best(r.metrics[metric.key].mean for r in ranking.rows if metric.key in r.metrics)
    below = f"{_show(metric, interval.low)}{DASH}{_show(metric, interval.high)}"
    return _cell(_heading(metric), interval.mean, _show(metric, interval.mean), below, leads=leads)


def _rank_plot(ranking: Ranking) -> dict[str, Any]:
    """Give each team's mean rank as a dot with its interval, on an axis from 1 to the number of teams."""
    last = max(2, len(ranking.table.teams))

    def at(rank: float) -> str:
        return f"{100 * (rank - 1) / (last - 1):.2f}%"

    rows = [
        {
            "team": row.team,
            "low": at(row.mean_rank.low),
            "mean": at(row.mean_rank.mean),
            "high": at(row.mean_rank.high),
            "shown": f"{row.mean_rank.mean:.2f}",
        }
        for row in ranking.rows
    ]
    step = max(1, math.ceil((last - 1) / 8))
    return {"rows": rows, "ticks": [{"at": at(tick), "text": tick} for tick in range(1, last + 1, step)]}


# --- panels under tabs ------------------------------------------------------------------------------------------------


def _modality_panels(ranking: Ranking) -> list[dict[str, Any]]:
    """Give one panel a metric, with a group of bars for each modality."""
    table = ranking.table
    panels = []
    for metric in table.metrics:
        top = 1.0 if metric.unit == "%" else _longest_bar(ranking, metric)
        groups = [
            {
                "modality": modality,
                "cases": _count(table.modalities.count(modality), "case"),
                "bars": [
                    _bar(row.team, metric, ranking.modality_means[row.team][modality].get(metric.key, math.nan), top)
                    for row in ranking.rows
                ],
            }
            for modality in sorted(set(table.modalities))
        ]
        better = "more is better" if metric.higher_is_better else "less is better"
        heading = f"{_heading(metric)}, {better}"
        panels.append({"id": f"bars-{metric.key}", "tab": metric.label, "heading": heading, "groups": groups})
    return panels


def _longest_bar(ranking: Ranking, metric: Metric) -> float:
    """Give the value of a full bar: the greatest mean of a modality in which the team has every case.

    One missing runtime counts as an hour; scaled to that, all other bars would be invisible.
    """
    table = ranking.table
    labels = np.array(table.modalities)
    values = table.values[..., table.column(metric.key)]
    means = [values[:, labels == name].mean(axis=1) for name in sorted(set(table.modalities))]
    complete = [float(mean) for by_team in means for mean in by_team if not math.isnan(mean)]
    return max([*complete, 1e-9])


def _bar(team: str, metric: Metric, value: float, top: float) -> dict[str, Any]:
    """Give one bar; one that is longer than the scale is cut off with a ragged end, one without a value has none."""
    share = 0.0 if math.isnan(value) else min(1.0, value / top)
    return {"team": team, "width": f"{100 * share:.2f}%", "cut": value > top, "shown": _show(metric, value)}


def _significance_panels(ranking: Ranking) -> list[dict[str, Any]]:
    """Give one matrix a metric: is the team of the row better than the team of the column?"""
    if len(ranking.table.teams) < 2:
        return []
    labels = {"rank": "Mean rank", **{metric.key: metric.label for metric in ranking.table.metrics}}
    panels = []
    for key, label in labels.items():
        tests = {frozenset((test.better, test.worse)): test for test in ranking.tests if test.metric == key}
        rows = [
            {"team": row.team, "cells": [_test_cell(tests, row.team, other.team) for other in ranking.rows]}
            for row in ranking.rows
        ]
        panels.append({"id": f"tests-{key}", "tab": label, "heading": label, "rows": rows})
    return panels


def _test_cell(tests: Mapping[frozenset[str], PairTest], team: str, other: str) -> dict[str, str]:
    """Give a matrix cell from the row team's point of view."""
    test = tests.get(frozenset((team, other)))
    if team == other or test is None:
        return {"kind": "self", "shown": "\u00b7" if team == other else DASH, "verdict": ""}
    shown = "< 0.001" if test.p_holm < 0.001 else f"{test.p_holm:.3f}"
    if test.p_holm >= SIGNIFICANT:
        return {"kind": "even", "shown": shown, "verdict": "no difference"}
    won = test.better == team
    return {"kind": "win" if won else "loss", "shown": shown, "verdict": "better" if won else "worse"}


def _example_panels(ranking: Ranking, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Give one panel a team, with its worst and then its best cases."""
    teams = [row.team for row in ranking.rows if any(example.team == row.team for example in examples)]
    panels = []
    for index, team in enumerate(teams):
        kinds = {
            kind: [_figure(ranking, example) for example in examples if (example.team, example.kind) == (team, kind)]
            for kind in ("worst", "best")
        }
        panels.append({"id": f"cases-{index}", "tab": team, "team": team, "kinds": kinds})
    return panels


def _figure(ranking: Ranking, example: Example) -> dict[str, Any]:
    table = ranking.table
    values = table.values[table.teams.index(example.team), table.cases.index(example.case)]
    panels = example.panels
    pictures = (("Image", panels.image), ("Reference", panels.reference), ("Prediction", panels.prediction))
    return {
        "case": example.case,
        "slice": panels.slice_index,
        "scores": [(_heading(m), _show(m, float(value))) for m, value in zip(table.metrics, values, strict=True)],
        "pictures": [{"name": name, "source": None if data is None else _data_uri(data)} for name, data in pictures],
    }


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _method(ranking: Ranking, text: PageText) -> list[str]:
    """Say how the numbers came about, a sentence or two a line."""
    table = ranking.table
    labels = ", ".join(metric.label for metric in table.metrics)
    weighting = "modalities weigh equally" if ranking.weighting == "modality" else "cases weigh equally"
    worst = "; ".join(f"{metric.label} {metric.worst:g}" for metric in table.metrics)
    lines = [
        f"Teams are ranked on every case for each of {labels}; ties share the average rank, a missing value "
        f"ranks last "
        f"(and counts as {worst} in a mean). Ranks and scores are then averaged; {weighting}.",
    ]
    if not table.takes_part.all():
        lines.append(
            "A team that brought no table of runtimes is ranked over the other metrics. The runtime ranks of the "
            "others are spread over the places of all teams, so having runtimes is in itself neither gain nor loss."
        )
    lines += [
        f"Intervals: {ranking.resamples} bootstrap competitions, cases drawn within their modality, "
        f"{100 * ranking.confidence:g} %, seed {ranking.seed}.",
        *text.notes,
    ]
    if table.undefined_cases:
        names = ", ".join(table.undefined_cases)
        lines.append(f"Left out, because the reference defines no score for anybody: {names}.")
    return lines
