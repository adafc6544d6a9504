"""Owns which cases the leaderboard's page pictures: the worst and the best of every team, drawn as three panels."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation.labels import read_prediction, read_reference
from evaluation.policy import Mode
from evaluation.rank.panels import Panels, draw_panels
from evaluation.rank.statistics import Ranking
from graysam.errors import CaseError, ScoreError
from graysam.formats.npz import read_case

logger = logging.getLogger(__name__)

Kind = Literal["worst", "best"]


@dataclass(frozen=True)
class Example:
    """One case of one team, drawn."""

    team: str
    case: str
    kind: Kind
    panels: Panels


def draw_examples(
    ranking: Ranking, *, inputs: Path, references: Path, predictions: Mapping[str, Path], count: int, mode: Mode
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
                reference = read_reference(references / f"{case}.npz", mode=mode)
            except (CaseError, ScoreError) as error:
                logger.warning("no picture of %s: %s", case, error)
                continue
            try:
                prediction, _ = read_prediction(predictions[team] / f"{case}.npz", mode=mode)
            except (CaseError, ScoreError):
                examples.append(Example(team, case, kind, draw_panels(image, reference, None)))
            else:
                examples.append(Example(team, case, kind, draw_panels(image, reference, prediction)))
    return examples


def pick_cases(ranking: Ranking, team: str, count: int) -> list[tuple[str, Kind]]:
    """Give (case, "worst") and (case, "best") of a team, the most extreme DSC first; ties by name."""
    table = ranking.table
    scores = table.filled()[table.teams.index(team), :, table.column("dsc")]
    order = sorted(range(len(table.cases)), key=lambda index: (scores[index], table.cases[index]))
    worst = order[:count]
    best = [index for index in reversed(order) if index not in worst][:count]
    picked: list[tuple[str, Kind]] = [(table.cases[i], "worst") for i in worst]
    return picked + [(table.cases[i], "best") for i in best]
