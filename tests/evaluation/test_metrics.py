"""The list of metrics: a new one is a `Metric` and a line in the list, and is then scored, tabled and described."""

from __future__ import annotations

import csv
import dataclasses
import math

import numpy as np
import pytest

from evaluation import metrics, score
from evaluation.folder_scores import ScoreOptions
from evaluation.metrics import Metric, ranked_scores
from evaluation.metrics.base import MaskPair
from evaluation.metrics.surface import HD
from evaluation.rank import command
from evaluation.surface_dice import TOLERANCE, contour_nsd
from graysam.formats.npz import write_labels, write_reference

VOLUME_ERROR = Metric(
    key="volume_error",
    label="Volume error",
    unit="%",
    higher_is_better=False,
    best=0.0,
    worst=1.0,
    measure=lambda pair: abs(pair.overlap.n_prediction / pair.overlap.n_reference - 1.0),
)

FOUR, THREE = np.array([[1, 1], [1, 1]], np.uint8), np.array([[1, 1], [1, 0]], np.uint8)


@pytest.fixture
def one_more(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, VOLUME_ERROR))


def test_a_new_metric_is_scored_and_gets_its_column(one_more, tmp_path):
    (tmp_path / "gts").mkdir()
    (tmp_path / "segs").mkdir()
    for name in ("2D_a", "2D_b"):
        write_reference(tmp_path / f"gts/{name}.npz", FOUR)
    write_labels(tmp_path / "segs/2D_a.npz", THREE)
    command = ["--gts", str(tmp_path / "gts"), "--segs", str(tmp_path / "segs"), "--workers", "1", "--mode", "honest"]
    assert score.main([*command, "--out", str(tmp_path / "scores.csv")]) == 0
    with (tmp_path / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["volume_error"] for row in rows] == ["0.25", "1.0"]  # a quarter is missing; no prediction: the worst


def test_a_new_metric_that_teams_are_ranked_by_is_on_the_leaderboard(monkeypatch, tmp_path):
    ranked = dataclasses.replace(VOLUME_ERROR, official=True, ranked=True)
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, ranked))
    for folder, labels in {"gts": FOUR, "exact": FOUR, "short": THREE}.items():
        (tmp_path / folder).mkdir()
        write = write_reference if folder == "gts" else write_labels
        write(tmp_path / folder / "2D_CT_a.npz", labels)
    teams = [word for name in ("exact", "short") for word in ("--team", f"{name}={tmp_path / name}")]
    assert command.main([*teams, "--gts", str(tmp_path / "gts"), "--out", str(tmp_path / "board")]) == 0
    with (tmp_path / "board/leaderboard.csv").open() as stream:
        rows = {row["team"]: row for row in csv.DictReader(stream)}
    assert [(rows[name]["volume_error"], rows[name]["rank_volume_error"]) for name in ("exact", "short")] == [
        ("0.0", "1.0"),
        ("0.25", "2.0"),
    ]
    assert "Volume error %" in (tmp_path / "board/leaderboard.html").read_text()


def test_a_metric_without_a_finite_worst_value_ranks_nobody():
    with pytest.raises(ValueError, match=r"hd_mm: .* finite worst"):
        dataclasses.replace(HD, ranked=True)


def test_the_challenge_s_mode_measures_what_the_challenge_does(one_more):
    assert [metric.key for metric in ranked_scores()] == ["dsc", "nsd"]
    assert [metric.key for metric in metrics.METRICS if metric.official] == ["dsc", "nsd"]


def test_keys_are_free_of_doubles_and_best_is_better_than_worst():
    assert len({metric.key for metric in metrics.METRICS}) == len(metrics.METRICS)
    for metric in metrics.METRICS:
        assert (metric.best > metric.worst) == metric.higher_is_better
        assert metric.best != metric.worst


def test_what_metrics_share_is_worked_out_once():
    pair = MaskPair(FOUR > 0, THREE > 0)
    assert pair.overlap is pair.overlap
    assert pair.overlap.dice == pytest.approx(6 / 7)


def test_the_tolerance_is_the_challenges_two_and_has_one_owner():
    assert TOLERANCE == 2.0
    two_off, three_off = (np.eye(1, 9, k, dtype=bool) for k in (2, 3))
    origin = np.eye(1, 9, 0, dtype=bool)
    assert contour_nsd(origin, two_off) > contour_nsd(origin, three_off)
    assert ScoreOptions().tolerance_mm == TOLERANCE
    assert math.isclose(contour_nsd(origin, origin), 1.0)
