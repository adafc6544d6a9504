"""Writes a ranking as one HTML page that needs nothing but itself: no network, no fonts from elsewhere."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

import numpy as np

from evaluation.overlay import Panels
from evaluation.ranking import Interval, Metric, PairTest, Ranking, TeamRow

# Distinguishable with the common colour-vision deficiencies in this order, and dark enough on white and light
# enough on black.
TEAM_COLOURS = ("#2f6fb5", "#d97e26", "#249a76", "#b8477a", "#7b61b8", "#4ba3cf", "#8c8a2a", "#747a82")
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Example:
    """One case of one team, drawn."""

    team: str
    case: str
    kind: str
    """"worst" or "best"."""
    panels: Panels


@dataclass(frozen=True)
class PageText:
    """What a page says beside the numbers."""

    title: str
    scoring: str
    """How the scores were made, e.g. "official"."""
    notes: tuple[str, ...] = ()


def render_report(ranking: Ranking, *, text: PageText, examples: Sequence[Example] = ()) -> str:
    """Give the whole page as HTML; every name is escaped."""
    assets = resources.files("evaluation") / "assets"
    style = (assets / "report.css").read_text(encoding="utf-8")
    script = (assets / "report.js").read_text(encoding="utf-8")
    body = "\n".join(
        [
            _header(ranking, text),
            _leaderboard(ranking),
            _rank_plot(ranking),
            _modality_bars(ranking),
            _significance(ranking),
            _examples(ranking, examples),
            _method(ranking, text),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(text.title)}</title>\n<style>\n{style}</style>\n'
        f"</head>\n<body>\n"
        f'<main>\n{body}\n</main>\n<dialog id="zoom" aria-label="Enlarged case">'
        '<div class="zoom-body"></div><button type="button" class="close">Close</button></dialog>\n'
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _colour(ranking: Ranking, team: str) -> str:
    """Give a team's colour; teams keep the order in which they were given, whatever their place."""
    return TEAM_COLOURS[ranking.table.teams.index(team) % len(TEAM_COLOURS)]


def _swatch(ranking: Ranking, team: str) -> str:
    return f'<span class="swatch" style="--team:{_colour(ranking, team)}"></span>'


def _team(ranking: Ranking, team: str) -> str:
    return f'<span class="team">{_swatch(ranking, team)}<span>{escape(team)}</span></span>'


def _show(metric: Metric, value: float) -> str:
    """Format a value: scores as percent with two decimals, as the published tables do; NaN as a dash."""
    if math.isnan(value):
        return "\u2013"
    if metric.key == "seconds":
        return f"{value:.2f}" if value < 100 else f"{value:.0f}"
    return f"{100 * value:.2f}"


def _heading(metric: Metric) -> str:
    return metric.label if metric.key == "seconds" else f"{metric.label} %"


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _header(ranking: Ranking, text: PageText) -> str:
    table = ranking.table
    facts = [
        _count(len(table.teams), "team"),
        _count(len(table.cases), "case"),
        _count(len(set(table.modalities)), "modality"),
        f"{text.scoring} scoring",
    ]
    winners = [row for row in ranking.rows if row.place == 1]
    names = " and ".join(f"<strong>{escape(row.team)}</strong>" for row in winners)
    lead = (
        f"{names} {'leads' if len(winners) == 1 else 'lead together'} with a mean rank of "
        f"{winners[0].mean_rank.mean:.2f} of {len(table.teams)}."
    )
    items = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    return f'<header><h1>{escape(text.title)}</h1><ul class="facts">{items}</ul><p class="lead">{lead}</p></header>'


def _leaderboard(ranking: Ranking) -> str:
    metrics = ranking.table.metrics
    columns = ["Place", "Team", "Mean rank", *(_heading(metric) for metric in metrics), "Missing"]
    ascending_first = [True, True, True, *(not metric.higher_is_better for metric in metrics), True]
    head = "".join(
        f'<th scope="col"{" aria-sort=ascending" if index == 0 else ""}>'
        f'<button type="button" data-first="{"ascending" if first else "descending"}">{escape(column)}'
        f"</button></th>"
        for index, (column, first) in enumerate(zip(columns, ascending_first, strict=True))
    )
    rows = "\n".join(_leaderboard_row(ranking, row) for row in ranking.rows)
    percent = f"{100 * ranking.confidence:g} %"
    return (
        '<section id="leaderboard"><h2>Leaderboard</h2>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Leaderboard"><table class="sortable">'
        f"<thead><tr>{head}</tr>"
        f"</thead><tbody>\n{rows}\n</tbody></table></div>"
        f'<p class="hint">Small figures: {percent} bootstrap interval. Choose a heading to sort by it.</p>'
        f"</section>"
    )


def _leaderboard_row(ranking: Ranking, row: TeamRow) -> str:
    def cell(label: str, value: float, shown: str, below: str) -> str:
        small = f"<small>{below}</small>" if below else ""
        return f'<td class="number" data-label="{escape(label)}" data-value="{value:.6f}">{shown}{small}</td>'

    places = f"{row.place_low}\u2013{row.place_high}" if row.place_low != row.place_high else ""
    rank = row.mean_rank
    cells = [
        cell("Place", row.place, str(row.place), places),
        f'<th scope="row" data-value="{escape(row.team, quote=True)}">{_team(ranking, row.team)}</th>',
        cell("Mean rank", rank.mean, f"{rank.mean:.2f}", f"{rank.low:.2f}\u2013{rank.high:.2f}"),
    ]
    for metric in ranking.table.metrics:
        interval: Interval = row.metrics[metric.key]
        below = f"{_show(metric, interval.low)}\u2013{_show(metric, interval.high)}"
        best = max if metric.higher_is_better else min
        leads = interval.mean == best(other.metrics[metric.key].mean for other in ranking.rows)
        shown = _show(metric, interval.mean)
        cells.append(cell(_heading(metric), interval.mean, f"<b>{shown}</b>" if leads else shown, below))
    warn = ' class="number warn"' if row.missing else ' class="number"'
    cells.append(f'<td{warn} data-label="Missing" data-value="{row.missing}">{row.missing}</td>')
    return f'<tr data-team="{escape(row.team, quote=True)}">{"".join(cells)}</tr>'


def _rank_plot(ranking: Ranking) -> str:
    """Draw each team's mean rank as a dot with its interval, on an axis from 1 to the number of teams."""
    last = max(2, len(ranking.table.teams))

    def at(rank: float) -> str:
        return f"{100 * (rank - 1) / (last - 1):.2f}%"

    lines = "".join(
        f'<div class="interval"><span class="name">{_swatch(ranking, row.team)}{escape(row.team)}</span>'
        f'<span class="track"><span class="whisker" '
        f'style="--team:{_colour(ranking, row.team)};left:{at(row.mean_rank.low)};'
        f'right:calc(100% - {at(row.mean_rank.high)})"></span>'
        f'<span class="dot" style="--team:{_colour(ranking, row.team)};left:{at(row.mean_rank.mean)}">'
        f"</span></span>"
        f'<span class="value">{row.mean_rank.mean:.2f}</span></div>'
        for row in ranking.rows
    )
    step = max(1, math.ceil((last - 1) / 8))
    ticks = "".join(f'<i style="left:{at(tick)}">{tick}</i>' for tick in range(1, last + 1, step))
    axis = (
        '<div class="interval axis"><span class="name">best is 1</span>'
        f'<span class="track">{ticks}</span><span></span></div>'
    )
    return (
        '<section id="ranks"><h2>Mean rank and its uncertainty</h2>'
        f'<div class="intervals">{lines}{axis}</div></section>'
    )


def _tabs(label: str, names: Sequence[tuple[str, str]]) -> str:
    """Give the buttons of a tab list; (id of the panel, name shown)."""
    buttons = "".join(
        f'<button type="button" role="tab" aria-controls="{panel}" '
        f'aria-selected="{"true" if index == 0 else "false"}">'
        f"{shown}</button>"
        for index, (panel, shown) in enumerate(names)
    )
    return (
        f'<div class="tabs" role="tablist" aria-label="{escape(label, quote=True)}">{buttons}</div>'
        if len(names) > 1
        else ""
    )


def _longest_bar(ranking: Ranking, metric: Metric) -> float:
    """Give the value of a full bar: the greatest mean of a modality in which the team has every case.

    One missing runtime counts as an hour; scaled to that, all other bars would be invisible.
    """
    table = ranking.table
    labels = np.array(table.modalities)
    values = table.values[..., [m.key for m in table.metrics].index(metric.key)]
    means = [values[:, labels == name].mean(axis=1) for name in sorted(set(table.modalities))]
    complete = [float(mean) for by_team in means for mean in by_team if not math.isnan(mean)]
    return max([*complete, 1e-9])


def _bar(ranking: Ranking, team: str, metric: Metric, value: float, top: float) -> str:
    """Draw one bar; one that is longer than the scale is cut off with a ragged end."""
    cut = ' class="cut"' if value > top else ""
    return (
        f'<div class="bar" title="{escape(team, quote=True)}"><span{cut} '
        f'style="--team:{_colour(ranking, team)};'
        f'width:{100 * min(1.0, value / top):.2f}%"></span><em>{_show(metric, value)}</em></div>'
    )


def _modality_bars(ranking: Ranking) -> str:
    table = ranking.table
    tabs = _tabs("Metric", [(f"bars-{metric.key}", escape(metric.label)) for metric in table.metrics])
    legend = "".join(f"<li>{_swatch(ranking, row.team)}{escape(row.team)}</li>" for row in ranking.rows)
    panels = []
    for metric in table.metrics:
        means = {team: {m: v[metric.key] for m, v in by.items()} for team, by in ranking.modality_means.items()}
        top = 1.0 if metric.higher_is_better else _longest_bar(ranking, metric)
        groups = []
        for modality in sorted(set(table.modalities)):
            bars = "".join(_bar(ranking, row.team, metric, means[row.team][modality], top) for row in ranking.rows)
            cases = _count(table.modalities.count(modality), "case")
            groups.append(
                f'<div class="group"><div class="name">{escape(modality)}<small>{cases}</small></div>'
                f"<div>{bars}</div></div>"
            )
        better = "more is better" if metric.higher_is_better else "less is better"
        panels.append(
            f'<div class="panel" role="tabpanel" id="bars-{metric.key}"><h3>{escape(_heading(metric))}, '
            f"{better}</h3>"
            f'<div class="bars">{"".join(groups)}</div></div>'
        )
    return (
        f'<section id="modalities"><h2>By modality</h2>{tabs}<ul class="legend">{legend}</ul>'
        f"{''.join(panels)}</section>"
    )


def _significance(ranking: Ranking) -> str:
    """Draw one matrix a metric: is the team of the row better than the team of the column?"""
    if len(ranking.table.teams) < 2:
        return ""
    labels = {"rank": "Mean rank", **{metric.key: metric.label for metric in ranking.table.metrics}}
    panels = []
    for key, label in labels.items():
        tests = {frozenset((test.better, test.worse)): test for test in ranking.tests if test.metric == key}
        head = "".join(f'<th scope="col"><span>{escape(row.team)}</span></th>' for row in ranking.rows)
        rows = "".join(
            f'<tr><th scope="row">{_swatch(ranking, row.team)}{escape(row.team)}</th>'
            + "".join(
                '<td class="self">·</td>' if row.team == other.team
                else _test_cell(tests[frozenset((row.team, other.team))], row.team)
                for other in ranking.rows
            )
            + "</tr>"
            for row in ranking.rows
        )  # fmt: skip
        panels.append(
            f'<div class="panel" role="tabpanel" id="tests-{key}"><h3>{escape(label)}</h3><div '
            f'class="scroll" tabindex="0" '
            f'role="region" aria-label="Tests on {escape(label, quote=True)}"><table class="matrix"><thead>'
            f"<tr><td></td>{head}"
            f"</tr></thead><tbody>{rows}</tbody></table></div></div>"
        )
    tabs = _tabs("Metric", [(f"tests-{key}", escape(label)) for key, label in labels.items()])
    return (
        f'<section id="significance"><h2>Is the difference more than chance?</h2>{tabs}{"".join(panels)}'
        '<p class="hint">Each cell compares the row with the column: <b class="win">better</b>, <b '
        'class="loss">worse</b>, or no '
        f"difference shown at {SIGNIFICANT:g}. Figures are p after Holm's correction (Wilcoxon signed-rank "
        f"over cases).</p></section>"
    )


def _test_cell(test: PairTest, team: str) -> str:
    """Give a matrix cell from the row team's point of view."""
    shown = "&lt; 0.001" if test.p_holm < 0.001 else f"{test.p_holm:.3f}"
    if test.p_holm >= SIGNIFICANT:
        return f'<td class="even">{shown}<small>no difference</small></td>'
    won = test.better == team
    return f'<td class="{"win" if won else "loss"}">{shown}<small>{"better" if won else "worse"}</small></td>'


def _examples(ranking: Ranking, examples: Sequence[Example]) -> str:
    if not examples:
        return ""
    teams = [row.team for row in ranking.rows if any(example.team == row.team for example in examples)]
    panels = []
    for index, team in enumerate(teams):
        parts = [
            f'<div class="panel" role="tabpanel" id="cases-{index}"><h3>{_swatch(ranking, team)}{escape(team)}</h3>'
        ]
        for kind in ("worst", "best"):
            chosen = [example for example in examples if example.team == team and example.kind == kind]
            if chosen:
                figures = "".join(_figure(ranking, example) for example in chosen)
                parts.append(f'<h4>{kind.capitalize()} cases by DSC</h4><div class="gallery">{figures}</div>')
        panels.append("".join(parts) + "</div>")
    tabs = _tabs("Team", [(f"cases-{index}", escape(team)) for index, team in enumerate(teams)])
    return (
        f'<section id="cases"><h2>Worst and best cases</h2>{tabs}{"".join(panels)}<p class="hint">Dashed line '
        "in the prediction: the reference's outline. A click enlarges a case. Volumes show the slice on which "
        "the reference is largest.</p></section>"
    )


def _figure(ranking: Ranking, example: Example) -> str:
    table = ranking.table
    values = table.values[table.teams.index(example.team), table.cases.index(example.case)]
    shown = ", ".join(
        f"{escape(_heading(metric))} <b>{_show(metric, float(value))}</b>"
        for metric, value in zip(table.metrics, values, strict=True)
    )
    where = "" if example.panels.slice_index is None else f", slice {example.panels.slice_index}"
    pictures = [
        ("Image", example.panels.image),
        ("Reference", example.panels.reference),
        ("Prediction", example.panels.prediction),
    ]
    cells = "".join(
        f'<span><img alt="{name} of {escape(example.case, quote=True)}" src="{_data_uri(data)}">'
        f"<small>{name}</small></span>"
        if data is not None
        else f'<span><i class="absent">no prediction</i><small>{name}</small></span>'
        for name, data in pictures
    )
    return (
        f'<figure><button type="button" class="pictures" aria-label="Enlarge '
        f'{escape(example.case, quote=True)}">{cells}</button>'
        f"<figcaption><strong>{escape(example.case)}</strong>{where}<br>{shown}</figcaption></figure>"
    )


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _method(ranking: Ranking, text: PageText) -> str:
    table = ranking.table
    labels = ", ".join(metric.label for metric in table.metrics)
    weighting = "modalities weigh equally" if ranking.weighting == "modality" else "cases weigh equally"
    worst = "; ".join(f"{metric.label} {metric.worst:g}" for metric in table.metrics)
    lines = [
        f"Teams are ranked on every case for each of {labels}; ties share the average rank, a missing value "
        f"ranks last "
        f"(and counts as {worst} in a mean). Ranks and scores are then averaged; {weighting}.",
        f"Intervals: {ranking.resamples} bootstrap competitions, cases drawn within their modality, "
        f"{100 * ranking.confidence:g} %, seed {ranking.seed}.",
        *text.notes,
    ]
    if table.undefined_cases:
        names = ", ".join(table.undefined_cases)
        lines.append(f"Left out, because the reference defines no score for anybody: {names}.")
    return f'<section id="method"><h2>How to read this</h2><ul>{_list_items(lines)}</ul></section>'


def _list_items(lines: Iterable[str]) -> str:
    return "".join(f"<li>{escape(line)}</li>" for line in lines)
