"""Ranks, means, intervals and tests of small competitions, worked out by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.metrics import DSC, NSD
from evaluation.rank import command
from evaluation.rank.examples import pick_cases
from evaluation.rank.page import PageText, render_report
from evaluation.rank.read import TeamScores, build_table, read_runtimes, read_scores, read_team
from evaluation.rank.statistics import (
    Ranking,
    case_weights,
    holm,
    mean_by_modality,
    rank_cases,
    rank_teams,
    signed_rank_p,
)
from evaluation.rank.write import as_document, leaderboard_rows, remarks
from graysam.boxes import Box
from graysam.errors import ScoreError
from graysam.formats.npz import write_case, write_labels, write_reference


def team(name: str, **cases: tuple[float, ...]) -> TeamScores:
    """Three numbers a case: DSC, NSD, seconds; two: no seconds."""
    keys = ("dsc", "nsd", "seconds")
    return TeamScores(name, {case: dict(zip(keys, row, strict=False)) for case, row in cases.items()})


def three_teams() -> list[TeamScores]:
    """Two CT cases and one MR case.

              CT_1                CT_2                MR_1
    A   0.9  0.9  1 s       0.8  0.7  2 s       0.5  0.5  1 s
    B   0.8  0.9  2 s       0.9  0.8  1 s       0.6  0.6  2 s
    C   0.7  0.6  3 s       missing             0.4  0.4  3 s
    """
    return [
        team("A", CT_1=(0.9, 0.9, 1), CT_2=(0.8, 0.7, 2), MR_1=(0.5, 0.5, 1)),
        team("B", CT_1=(0.8, 0.9, 2), CT_2=(0.9, 0.8, 1), MR_1=(0.6, 0.6, 2)),
        team("C", CT_1=(0.7, 0.6, 3), MR_1=(0.4, 0.4, 3)),
    ]


def row_of(ranking: Ranking, name: str):
    return next(row for row in ranking.rows if row.team == name)


def test_each_case_and_metric_is_ranked_with_ties_sharing_and_gaps_last():
    ranks = rank_cases(build_table(three_teams()))
    # teams x (dsc, nsd, seconds)
    assert ranks[:, 0].tolist() == [[1, 1.5, 1], [2, 1.5, 2], [3, 3, 3]]  # CT_1: A and B tie on NSD
    assert ranks[:, 1].tolist() == [[2, 2, 2], [1, 1, 1], [3, 3, 3]]  # CT_2: C has nothing
    assert ranks[:, 2].tolist() == [[2, 2, 1], [1, 1, 2], [3, 3, 3]]


@st.composite
def competitions(draw):
    """Two to five teams on one to six cases of two modalities; few scores, so that ties and gaps are common."""
    scores = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    cases = [f"2DBox_{'CT' if index % 2 else 'MR'}_{index}" for index in range(draw(st.integers(1, 6)))]
    teams = []
    for index in range(draw(st.integers(2, 5))):
        rows = {case: (draw(scores), draw(scores), draw(scores)) for case in cases}
        values = {
            case: {key: value for key, value in zip(("dsc", "nsd", "seconds"), row, strict=True) if value is not None}
            for case, row in rows.items()
        }
        teams.append(TeamScores(f"team {index}", values))
    return cases, teams


@settings(max_examples=60, deadline=None)
@given(competitions())
def test_the_ranks_of_a_case_always_add_up_and_stay_between_first_and_last(competition):
    cases, teams = competition
    table = build_table(teams, cases=cases)
    ranks = rank_cases(table)
    count = len(teams)
    assert (np.isnan(ranks).all(axis=1) | ~np.isnan(ranks).any(axis=1)).all()  # ranked on all cases or on none
    for metric in range(len(table.metrics)):
        present = ranks[~np.isnan(ranks[:, 0, metric]), :, metric]
        assert len(present) in (0, table.takes_part[:, metric].sum())
        if len(present):
            # Whoever takes part: the mean rank is that of all places, and nobody is better than 1 or worse than n.
            assert np.allclose(present.mean(axis=0), (count + 1) / 2)
            assert present.min() >= 1
            assert present.max() <= count


@settings(max_examples=30, deadline=None)
@given(competitions(), st.randoms(use_true_random=False))
def test_the_order_in_which_teams_are_named_decides_nothing(competition, random):
    cases, teams = competition
    shuffled = random.sample(teams, len(teams))
    one, other = (rank_teams(build_table(t, cases=cases), resamples=20) for t in (teams, shuffled))
    assert [(row.team, row.place) for row in one.rows] == [(row.team, row.place) for row in other.rows]
    assert [row.mean_rank.low for row in one.rows] == pytest.approx([row.mean_rank.low for row in other.rows])
    for test in one.tests:
        twin = next(
            t for t in other.tests if (t.metric, {t.better, t.worse}) == (test.metric, {test.better, test.worse})
        )
        assert (twin.better, twin.p) == (test.better, pytest.approx(test.p))


@settings(max_examples=30, deadline=None)
@given(competitions(), st.floats(0.1, 10.0))
def test_a_machine_that_is_slower_for_all_changes_no_rank(competition, factor):
    cases, teams = competition
    slower = [
        TeamScores(
            t.name, {c: {k: v * factor if k == "seconds" else v for k, v in row.items()} for c, row in t.values.items()}
        )
        for t in teams
    ]
    as_fast, slow = (rank_cases(build_table(each, cases=cases)) for each in (teams, slower))
    assert np.array_equal(as_fast, slow, equal_nan=True)


def test_two_teams_without_a_value_share_the_last_ranks():
    table = build_table([team("A", CT_1=(0.0, 0.0)), team("B"), team("C")])
    assert rank_cases(table)[:, 0, 0].tolist() == [1.0, 2.5, 2.5]  # a score of 0 still beats no score


def test_ranks_are_averaged_over_metrics_and_cases_with_modalities_weighing_equally():
    ranking = rank_teams(build_table(three_teams()), resamples=0)
    # A: CT_1 mean rank 3.5/3, CT_2 6/3, MR_1 5/3; CT mean 9.5/6, MR mean 5/3; half of each: 1.625
    assert row_of(ranking, "A").mean_rank.mean == pytest.approx((9.5 / 6 + 5 / 3) / 2)
    # B: CT (5.5/3 + 3/3)/2 = 8.5/6, MR 4/3; mean 1.375
    assert row_of(ranking, "B").mean_rank.mean == pytest.approx((8.5 / 6 + 4 / 3) / 2)
    assert row_of(ranking, "C").mean_rank.mean == 3.0
    assert [(row.place, row.team) for row in ranking.rows] == [(1, "B"), (2, "A"), (3, "C")]


def test_with_case_weighting_every_case_counts_the_same():
    ranking = rank_teams(build_table(three_teams()), weighting="case", resamples=0)
    assert row_of(ranking, "A").mean_rank.mean == pytest.approx((3.5 + 6 + 5) / 9)


def test_missing_values_count_as_worst_in_the_means_and_are_counted():
    row = row_of(rank_teams(build_table(three_teams()), resamples=0), "C")
    assert row.metrics["dsc"].mean == pytest.approx(((0.7 + 0.0) / 2 + 0.4) / 2)
    assert row.metrics["seconds"].mean == pytest.approx(((3 + 3600) / 2 + 3) / 2)
    assert (row.missing_predictions, row.missing_runtimes) == (("CT_2",), ("CT_2",))


def test_teams_with_equal_ranks_share_a_place_and_the_next_place_is_left_free():
    same = {"CT_1": (0.5, 0.5)}
    rows = rank_teams(build_table([team("B", **same), team("A", **same), team("C", CT_1=(0.1, 0.1))])).rows
    assert [(row.place, row.team) for row in rows] == [(1, "A"), (1, "B"), (3, "C")]


def test_weights_of_modalities_and_cases():
    assert case_weights(["CT", "CT", "MR"], "modality").tolist() == [0.25, 0.25, 0.5]
    assert case_weights(["CT", "CT", "MR"], "case").tolist() == pytest.approx([1 / 3] * 3)


def test_the_references_decide_which_cases_count():
    teams = [team("A", CT_1=(1, 1), stray=(1, 1))]
    table = build_table(teams, cases=["CT_1", "CT_2"])
    assert table.cases == ("CT_1", "CT_2")
    assert np.isnan(table.values[0, 1]).all()


def test_a_case_that_the_reference_leaves_undefined_for_all_is_left_out_and_named():
    nan = math.nan
    table = build_table([team("A", CT_1=(1, 1), CT_2=(nan, nan)), team("B", CT_1=(1, 1), CT_2=(nan, nan))])
    assert (table.cases, table.undefined_cases) == (("CT_1",), ("CT_2",))


def test_a_score_that_is_nan_for_one_team_only_is_its_missing_value():
    table = build_table([team("A", CT_1=(math.nan, 0.1)), team("B", CT_1=(0.2, 0.2))])
    assert table.undefined_cases == ()
    assert rank_cases(table)[:, 0].tolist() == [[2, 2], [1, 1]]


def test_runtime_is_a_metric_only_where_somebody_has_one():
    assert [m.key for m in build_table([team("A", CT_1=(1, 1))]).metrics] == ["dsc", "nsd"]
    assert [m.key for m in build_table(three_teams()).metrics] == ["dsc", "nsd", "seconds"]


def test_a_ranking_of_nothing_and_a_name_given_twice_are_refused():
    with pytest.raises(ScoreError, match="no case to rank"):
        build_table([team("A")])
    with pytest.raises(ScoreError, match="every name once"):
        build_table([team("A", CT_1=(1, 1)), team("A", CT_1=(1, 1))])
    with pytest.raises(ScoreError, match="at least one team"):
        build_table([])


def test_bootstrap_repeats_with_its_seed_and_differs_with_another():
    rng = np.random.default_rng(0)
    teams = [team(name, **{f"CT_{i}": tuple(rng.uniform(size=2)) for i in range(20)}) for name in "AB"]
    table = build_table(teams)
    first, again, other = (rank_teams(table, resamples=200, seed=seed).rows for seed in (1, 1, 2))
    assert first == again
    assert first != other
    interval = first[0].metrics["dsc"]
    assert interval.low < interval.mean < interval.high


def test_bootstrap_of_cases_that_are_all_alike_has_no_width():
    alike = {f"CT_{i}": (0.5, 0.25) for i in range(6)}
    row = rank_teams(build_table([team("A", **alike), team("B", CT_1=(0.1, 0.1))]), resamples=100).rows[0]
    assert (row.metrics["nsd"].low, row.metrics["nsd"].high) == pytest.approx((0.25, 0.25))
    assert (row.mean_rank.low, row.mean_rank.mean, row.mean_rank.high) == pytest.approx((1.0, 1.0, 1.0))
    assert (row.place_low, row.place_high) == (1, 1)


def test_bootstrap_draws_within_a_modality_so_that_one_case_of_its_own_modality_is_always_there():
    # MR has one case: if draws crossed modalities, its 1.0 would sometimes be absent and A's mean vary.
    row = rank_teams(build_table([team("A", CT_1=(0, 0), CT_2=(0, 0), MR_1=(1, 1))]), resamples=100).rows[0]
    assert (row.metrics["dsc"].low, row.metrics["dsc"].high) == pytest.approx((0.5, 0.5))


def test_bootstrap_interval_of_a_mean_is_near_the_normal_one():
    values = np.linspace(0.0, 1.0, 101)  # mean 0.5, standard deviation 0.2915, of the mean 0.029
    scores = team("A", **{f"CT_{i}": (v, v) for i, v in enumerate(values)})
    interval = rank_teams(build_table([scores]), resamples=4000).rows[0].metrics["dsc"]
    assert (interval.low, interval.high) == pytest.approx((0.5 - 1.96 * 0.029, 0.5 + 1.96 * 0.029), abs=0.006)


def test_six_wins_of_six_have_the_exact_two_sided_p_of_wilcoxon():
    better = team("good", **{f"CT_{i}": (0.9 + i / 100, 0.5) for i in range(6)})
    worse = team("bad", **{f"CT_{i}": (0.5 - i / 100, 0.5) for i in range(6)})
    tests = {test.metric: test for test in rank_teams(build_table([worse, better]), resamples=0).tests}
    # All 6 signed ranks positive: 2 of the 2**6 sign patterns are as extreme.
    assert tests["dsc"].p == pytest.approx(2 / 64)
    assert (tests["dsc"].better, tests["dsc"].worse) == ("good", "bad")
    assert (tests["nsd"].p, tests["nsd"].p_holm) == (1.0, 1.0)  # equal everywhere


@pytest.mark.parametrize("differences", [[3.0, -1.0, 2.0, 4.0, -0.5], [1.0, 1.0, -1.0, 2.0, 2.0, 3.0]])
def test_the_signed_rank_test_of_few_cases_is_scipys_exact_one_with_and_without_ties(differences):
    assert signed_rank_p(np.array(differences)) == pytest.approx(stats.wilcoxon(differences).pvalue)


def test_the_signed_rank_test_of_three_wins_and_a_loss_worked_out_by_hand():
    # Ranks 1 2 3 4, the loss has rank 1: sum 8. Of 16 patterns only +-(all), +-(all but rank 1) reach 8 or
    # more.
    assert signed_rank_p(np.array([-1.0, 2.0, 3.0, 4.0])) == pytest.approx(4 / 16)


def test_less_time_is_better_in_the_test_too():
    quick = team("quick", **{f"CT_{i}": (0.5, 0.5, 1 + i) for i in range(6)})
    slow = team("slow", **{f"CT_{i}": (0.5, 0.5, 10 + 2 * i) for i in range(6)})
    tests = rank_teams(build_table([slow, quick]), resamples=0).tests
    assert next(test.better for test in tests if test.metric == "seconds") == "quick"


def test_holm_multiplies_the_smallest_by_the_number_and_never_decreases():
    # sorted: 0.01 x 3 = 0.03;  0.02 x 2 = 0.04;  0.03 x 1 = 0.03, raised to 0.04
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_one_teams_means_by_modality():
    values = {"2DBox_CT_1": {"dsc": 1.0}, "2DBox_CT_2": {"dsc": math.nan}, "2DBox_OCT_1": {"dsc": 0.2}}
    overall, by_modality = mean_by_modality(values, keys=["dsc"])
    assert by_modality == {"CT": {"dsc": 0.5}, "OCT": {"dsc": 0.2}}
    assert overall["dsc"] == pytest.approx(0.35)


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_scores_are_read_with_or_without_the_suffix_and_an_empty_field_is_nan(tmp_path):
    scores = read_scores(write_csv(tmp_path / "s.csv", "case,dsc,nsd,more\n2DBox_CT_1.npz,0.5,,x\nb,1,0,\n"))
    assert scores["2DBox_CT_1"]["dsc"] == 0.5
    assert math.isnan(scores["2DBox_CT_1"]["nsd"])
    assert scores["b"] == {"dsc": 1.0, "nsd": 0.0}


def test_a_case_without_a_usable_prediction_is_missing_and_not_a_score_of_zero(tmp_path):
    text = "case,dsc,nsd,status\na,0.0,0.0,scored\nb,0.0,0.0,missing\nc,0.0,0.0,misshapen\n"
    scores = read_team("A", write_csv(tmp_path / "s.csv", text), None)
    assert scores.values == {"a": {"dsc": 0.0, "nsd": 0.0}, "b": {}, "c": {}}
    table = build_table([scores, team("B", a=(0, 0), b=(0, 0))])
    assert table.missing("A", measured=True) == ("b", "c")
    assert rank_cases(table)[:, :, 0].tolist() == [[1.5, 2.0, 1.5], [1.5, 1.0, 1.5]]  # nobody has c: it still counts
    assert table.undefined_cases == ()


def test_runtimes_are_read_from_our_column_and_from_the_official_one(tmp_path):
    ours = read_runtimes(write_csv(tmp_path / "a.csv", "case,seconds,peak_memory_mib,status\na,1.5,2,ok\n"))
    theirs = read_runtimes(write_csv(tmp_path / "b.csv", "case,time\na.npz,1.5\n"))
    assert ours == theirs == {"a": {"seconds": 1.5}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,dice\na,1\n", "found case, dice"),
        ("case,dsc,nsd\na,1,1\na.npz,1,1\n", "line 3: case 'a' stands here a second time"),
        ("case,dsc,nsd\na,high,1\n", "line 2: wanted a finite number, got 'high'"),
        ("case,dsc,nsd\na,inf,1\n", "got 'inf'"),
        ("", "found none"),
    ],
)
def test_a_csv_that_is_not_one_of_scores_is_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(ScoreError, match=message):
        read_scores(write_csv(tmp_path / "s.csv", text))


def test_the_document_is_json_without_nan(tmp_path):
    document = as_document(rank_teams(build_table(three_teams()), resamples=10))
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text)["leaderboard"][0]["team"] == "B"
    missing = [row for row in document["per_case"] if (row["team"], row["case"]) == ("C", "CT_2")]
    assert missing[0]["dsc"] is None


def test_worst_and_best_cases_do_not_overlap():
    scores = team("A", CT_1=(0.3, 0), CT_2=(0.1, 0), CT_3=(0.2, 0))
    ranking = rank_teams(build_table([scores], metrics=[DSC, NSD]), resamples=0)
    assert pick_cases(ranking, "A", 2) == [("CT_2", "worst"), ("CT_3", "worst"), ("CT_1", "best")]


def teams_of_which_one_has_no_runtimes() -> list[TeamScores]:
    """A is best but brought no runtimes; B is the faster of the other two; C is without its runtime of CT_2."""
    return [
        team("A", CT_1=(0.9, 0.9), CT_2=(0.9, 0.9)),
        team("B", CT_1=(0.8, 0.8, 1), CT_2=(0.8, 0.8, 1)),
        team("C", CT_1=(0.7, 0.7, 2), CT_2=(0.7, 0.7)),
    ]


def test_a_team_without_runtimes_is_ranked_over_the_other_metrics():
    ranking = rank_teams(build_table(teams_of_which_one_has_no_runtimes()), resamples=20)
    a, b, c = (row_of(ranking, name) for name in "ABC")
    assert a.mean_rank.mean == 1.0  # first in DSC and NSD; an hour's runtime is not held against it
    # Of three teams two are ranked by runtime: they get 1 and 3. B: 2, 2, 1; C: 3, 3, 3.
    assert (b.mean_rank.mean, c.mean_rank.mean) == (pytest.approx(5 / 3), 3.0)
    assert "seconds" not in a.metrics
    assert "seconds" not in a.metric_ranks
    assert b.metric_ranks["seconds"] == 1.0
    pairs = [{test.better, test.worse} for test in ranking.tests if test.metric == "seconds"]
    assert pairs == [{"B", "C"}]


def test_a_missing_runtime_is_not_a_missing_prediction_and_no_runtimes_are_neither():
    rows = {row.team: row for row in rank_teams(build_table(teams_of_which_one_has_no_runtimes()), resamples=0).rows}
    assert {name: (row.missing_predictions, row.missing_runtimes) for name, row in rows.items()} == {
        "A": ((), ()),
        "B": ((), ()),
        "C": ((), ("CT_2",)),
    }
    assert rows["C"].metrics["seconds"].mean == (2 + 3600) / 2


def test_it_is_said_who_is_ranked_without_runtimes_and_which_are_missing():
    ranking = rank_teams(build_table(teams_of_which_one_has_no_runtimes()), resamples=0)
    assert remarks(ranking) == [
        "A brought no table of runtimes and is ranked over DSC and NSD alone.",
        "C: no runtime for 1 of 2 cases, which rank last: CT_2.",
    ]
    page = render_report(ranking, text=PageText(title="t", scoring="official", remarks=tuple(remarks(ranking))))
    assert "A brought no table of runtimes" in page
    assert "not ranked by it" in page
    assert "spread over the places of all teams" in page
    assert '0<small class="warn">1 runtime</small>' in page  # in the column of what is missing
    document = json.loads(json.dumps(as_document(ranking), allow_nan=False))
    assert document["missing"]["C"] == {"predictions": [], "runtimes": ["CT_2"]}
    by_team = {row["team"]: row for row in leaderboard_rows(ranking)}
    assert [by_team[name]["missing_runtimes"] for name in "ABC"] == ["", 0, 1]


def test_many_missing_cases_are_named_up_to_twenty():
    some = {f"CT_{i:02}": (0.5, 0.5) for i in range(30)}
    ranking = rank_teams(build_table([team("A", **some), team("B", CT_00=(0.4, 0.4))]), resamples=0)
    [said] = remarks(ranking)
    assert said.startswith("B: no usable prediction for 29 of 30 cases, which rank last: CT_01, CT_02,")
    assert said.endswith("CT_20 and 9 more (all in leaderboard.json).")


def test_runtimes_of_one_team_alone_decide_nothing():
    ranking = rank_teams(build_table([team("A", CT_1=(0.5, 0.5, 9)), team("B", CT_1=(0.5, 0.5))]), resamples=0)
    assert [(row.team, row.place) for row in ranking.rows] == [("A", 1), ("B", 1)]
    assert remarks(ranking)[0].startswith("Only A brought runtimes")
    assert row_of(ranking, "A").metrics["seconds"].mean == 9.0
    alone = rank_teams(build_table([team("A", CT_1=(0.5, 0.5, 9))]), resamples=0)
    assert row_of(alone, "A").mean_rank.mean == 1.0
    assert remarks(alone) == []


def test_a_table_of_runtimes_for_other_cases_is_an_error_and_not_a_team_without_runtimes(tmp_path):
    scores = write_csv(tmp_path / "s.csv", "case,dsc,nsd\n2DBox_CT_1.npz,0.5,0.5\n")
    runtime = write_csv(tmp_path / "r.csv", "case,seconds\nanother,3\n")
    with pytest.raises(ScoreError, match=r"A: .*r\.csv has no runtime of any case that counts; it names another"):
        read_team("A", scores, runtime)


def write_competition(folder: Path) -> list[str]:
    """Two 2D cases and two teams: "folder" brings predictions, "table" a CSV and one runtime; give the arguments.

    Both references are a 4x4 square in 8x8. "folder" predicts the first exactly and misses the second.
    """
    for name in ("inputs", "gts", "segs"):
        (folder / name).mkdir()
    labels = np.zeros((8, 8), np.uint8)
    labels[2:6, 2:6] = 1
    for case in ("2DBox_CT_1", "2DBox_MR_1"):
        write_case(folder / f"inputs/{case}.npz", image=labels * 100, boxes=[Box(2, 2, 5, 5)])
        write_reference(folder / f"gts/{case}.npz", labels)
    write_labels(folder / "segs/2DBox_CT_1.npz", labels)
    scores = write_csv(folder / "t.csv", "case,dsc,nsd\n2DBox_CT_1.npz,0.5,0.5\n2DBox_MR_1.npz,0.5,0.5\nold,1,1\n")
    runtime = write_csv(folder / "r.csv", "case,seconds\n2DBox_CT_1,3\n2DBox_MR_1,3\n")
    return [
        "--team", f"folder={folder / 'segs'}", "--team", f"table={scores}", "--runtime", f"table={runtime}",
        "--gts", str(folder / "gts"), "--inputs", str(folder / "inputs"), "--out", str(folder / "out"),
    ]  # fmt: skip


def test_the_command_scores_a_folder_ranks_it_against_a_csv_and_writes_four_files(tmp_path):
    assert command.main(write_competition(tmp_path)) == 0
    with (tmp_path / "out/leaderboard.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    # DSC and NSD: each team wins one case. Runtime: only "table" has one, so that it decides nothing.
    assert [(row["team"], row["place"]) for row in rows] == [("folder", "1"), ("table", "1")]
    assert float(rows[0]["mean_rank"]) == float(rows[1]["mean_rank"]) == 1.5
    assert float(rows[0]["dsc"]) == 0.5  # 1.0 on the case that is there, 0 on the missing one
    assert [(row["seconds"], row["missing_predictions"], row["missing_runtimes"]) for row in rows] == [
        ("", "1", ""),
        ("3.0", "0", "0"),
    ]
    document = json.loads((tmp_path / "out/leaderboard.json").read_text())
    assert any("table: 1 cases without a reference are ignored (old)" in note for note in document["notes"])
    page = (tmp_path / "out/leaderboard.html").read_text()
    assert "data:image/png;base64," in page
    assert "no prediction" in page
    assert (tmp_path / "out/cases.csv").read_text().count("\n") == 1 + 4


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--runtime", "stranger=x.csv"], "--runtime names stranger"),
        (["--team", "table=again.csv"], "a name stands twice"),
        (["--team", "nowhere=none.csv"], "none.csv: cannot be read as CSV"),
    ],
)
def test_the_command_refuses_names_that_do_not_fit(tmp_path, caplog, extra, message):
    assert command.main([*write_competition(tmp_path), *extra]) == 2
    assert message in caplog.text
    assert [record.getMessage()[:7] for record in caplog.records if record.levelname == "ERROR"] == ["error: "]


def test_a_team_without_name_is_refused_by_the_parser(tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main(["--team", "scores.csv", "--out", str(tmp_path)])
    assert "wanted NAME=PATH" in capsys.readouterr().err
