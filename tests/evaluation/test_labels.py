"""Which stored numbers are labels, and that official scores are those of the challenge's comparison by ``==``."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from evaluation.dice import dice
from evaluation.folder_scores import ScoreOptions, score_case
from evaluation.labels import labels_by_equality, read_prediction, read_reference
from evaluation.pair import mean_score, score_pair
from evaluation.surface_dice import surface_dice, surface_distances
from evaluation.surfels import face_table
from graysam.errors import CaseError, ScoreError

OFFICIAL, HONEST = ScoreOptions(mode="official"), ScoreOptions(mode="honest", spacing_order="zyx")

TRUTH = np.array(
    [[0, 1, 1, 0],
     [0, 1, 1, 0],
     [0, 0, 2, 2]], np.uint8)  # fmt: skip


def store(folder, *, gts, segs):
    """Write a 2D reference and its prediction, and give their paths."""
    paths = folder / "gts.npz", folder / "segs.npz"
    np.savez_compressed(paths[0], gts=gts)
    np.savez_compressed(paths[1], segs=segs)
    return paths


def challenge_scores(gts, segs) -> tuple[float, float]:
    """Give DSC and NSD of a 2D case as the challenge's script defines them: ``gts == i`` against ``segs == i``."""
    numbers = range(1, int(gts.max()) + 1)
    pairs = [(gts == i, segs == i) for i in numbers]
    mean_dsc = float(np.mean([dice(ours, theirs) for ours, theirs in pairs])) if pairs else math.nan
    if not mean_dsc > 0.2:
        return mean_dsc, 0.0
    surfaces = [surface_distances(*pair, spacing=(1.0, 1.0), table=face_table()) for pair in pairs]
    return mean_dsc, float(np.mean([surface_dice(each, tolerance=2.0) for each in surfaces]))


@pytest.mark.parametrize(
    "segs",
    [
        TRUTH.astype(np.float32),
        TRUTH.astype(np.float16),
        TRUTH.astype(np.int64) - (TRUTH == 0),  # -1 for background
        np.where(TRUTH == 1, 0.5, TRUTH),
        np.where(TRUTH == 1, 0.99999994, TRUTH),  # not equal to 1: no label, as in the challenge
        np.where(TRUTH == 1, 1e300, TRUTH),
        np.where(TRUTH == 1, np.nan, TRUTH),
        np.where(TRUTH == 1, -np.inf, TRUTH),
        np.where(TRUTH == 1, 70000, TRUTH),
        np.where(TRUTH == 1, 65537, TRUTH).astype(np.int64),  # not label 1 of 16 bits
        TRUTH == 1,
        TRUTH.astype(">i4"),
    ],
    ids=str,
)
def test_official_scores_of_any_numbers_are_those_of_equality(tmp_path, segs):
    score = score_case(*store(tmp_path, gts=TRUTH, segs=segs), options=OFFICIAL)
    assert score.status == "scored"
    assert (score.means["dsc"], score.means["nsd"]) == pytest.approx(challenge_scores(TRUTH, segs), nan_ok=True)


NUMBERS = st.sampled_from([-1.0, 0.0, 0.5, 0.99999994, 1.0, 2.0, 3.0, 2.0000002, 65536.0, math.nan, math.inf])


@settings(max_examples=80, deadline=None)
@given(
    arrays.arrays(np.int16, (3, 4), elements=st.integers(-1, 3)), arrays.arrays(np.float64, (3, 4), elements=NUMBERS)
)
def test_official_scores_of_drawn_maps_are_those_of_equality(tmp_path_factory, gts, segs):
    score = score_case(*store(tmp_path_factory.mktemp("maps"), gts=gts, segs=segs), options=OFFICIAL)
    wanted = challenge_scores(gts, segs)
    assert (score.means["dsc"], score.means["nsd"]) == pytest.approx(wanted, nan_ok=True)


def test_minus_one_in_a_reference_is_no_label_officially_and_refused_honestly(tmp_path):
    gts = TRUTH.astype(np.int16) - (TRUTH == 0)
    paths = store(tmp_path, gts=gts, segs=TRUTH)
    assert score_case(*paths, options=OFFICIAL).means["dsc"] == 1.0
    honest = score_case(*paths, options=HONEST)
    assert honest.status == "reference unusable"
    assert "-1 to 2" in honest.note


@pytest.mark.parametrize("mode", ["official", "honest"])
@pytest.mark.parametrize("off", [0.0, 6e-8, -6e-8, 0.0009, -0.0009])
def test_a_reference_off_whole_numbers_by_less_than_a_thousandth_is_rounded(tmp_path, mode, off):
    path, _ = store(tmp_path, gts=np.where(TRUTH > 0, TRUTH + off, 0), segs=TRUTH)
    labels = read_reference(path, mode=mode)
    assert labels.dtype == np.uint16
    assert (labels == TRUTH).all()


@pytest.mark.parametrize("number", [1.002, 0.5, math.nan, math.inf, -0.4])
@pytest.mark.parametrize("mode", ["official", "honest"])
def test_a_reference_of_fractions_is_refused_with_the_number_and_the_likely_cause(tmp_path, mode, number):
    gts = TRUTH.astype(np.float64)
    gts[0, 1] = number
    path, _ = store(tmp_path, gts=gts, segs=TRUTH)
    with pytest.raises(ScoreError, match=rf"gts\.npz: 'gts' holds 1 numbers that are no labels .first: {number:g}."):
        read_reference(path, mode=mode)


def test_an_honest_prediction_in_floating_point_numbers_is_rounded_or_refused(tmp_path):
    near = store(tmp_path, gts=TRUTH, segs=np.where(TRUTH == 1, 0.99999994, TRUTH))
    assert score_case(*near, options=HONEST).means["dsc"] == 1.0
    for wrong in (np.where(TRUTH == 1, 0.5, TRUTH), TRUTH.astype(int) - 1):
        score = score_case(*store(tmp_path, gts=TRUTH, segs=wrong), options=HONEST)
        assert (score.status, score.means["dsc"]) == ("unreadable", 0.0)
        assert score.note


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 2), 70000), "0 to 65535 are wanted, got 70000"),
        (np.zeros((2, 2), complex), "dtype complex128"),
        (np.zeros((2, 2, 2, 2), np.uint8), r"wanted \(H, W\) or \(D, H, W\)"),
        (np.array([["a"]]), "dtype <U1"),
    ],
)
def test_what_is_no_label_map_at_all_is_refused(tmp_path, array, message):
    path, prediction = store(tmp_path, gts=array, segs=array)
    with pytest.raises((ScoreError, CaseError), match=message):
        read_reference(path, mode="official")
    with pytest.raises((ScoreError, CaseError), match=message):
        read_prediction(prediction, mode="honest")


def test_labels_by_equality_keep_what_is_a_label_already_as_it_is():
    assert labels_by_equality(TRUTH) is TRUTH
    assert labels_by_equality(np.array([[True, False]])).tolist() == [[1, 0]]
    assert labels_by_equality(np.array([[-1.0, 0.0, 1.5, 65535.0, 65536.0]])).tolist() == [[0, 0, 0, 65535, 0]]


def test_the_reference_decides_the_labels_whatever_a_prediction_holds():
    scores = score_pair(TRUTH, labels_by_equality(TRUTH * 1.0 + 7), mode="official")
    assert [score.label for score in scores] == [1, 2]
    assert mean_score(scores, mode="official")["dsc"] == 0.0
