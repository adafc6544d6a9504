import json
import math
from pathlib import Path

import numpy as np
import pytest
from official_pairs import make_pairs

from evaluation.pair import mean_score, score_pair, worst_scores

RECORDED = {
    row["case"]: row
    for row in json.loads(Path(__file__).with_name("official_scores.json").read_text(encoding="utf-8"))["scores"]
}
PAIRS = make_pairs()


def digits(*rows: str) -> np.ndarray:
    return np.array([[int(letter) for letter in row] for row in rows], np.uint8)


REFERENCE = digits(
    "1100",
    "1100",
    "0033",
)
PREDICTION = digits(
    "1100",
    "0000",
    "0033",
)


def by_label(scores):
    return {score.label: score for score in scores}


# --- official mode ------------------------------------------------------------------------------------------


def test_the_recorded_pairs_are_many_and_varied():
    values = list(RECORDED.values())
    assert len(values) >= 200
    assert [pair.name for pair in PAIRS] == list(RECORDED)
    assert sum(row["dsc"] is None for row in values) >= 20  # empty references, gaps, a lonely 255
    assert sum(row["dsc"] is not None and 0 < row["dsc"] <= 0.2 for row in values) >= 5
    assert sum(row["nsd"] > 0 for row in values) >= 150
    assert any(len(set(pair.spacing.tolist())) == 3 for pair in PAIRS if pair.spacing is not None)
    assert any(pair.reference.max() == 255 and row["dsc"] for pair, row in zip(PAIRS, values, strict=True))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name.removesuffix(".npz"))
def test_official_mode_equals_the_challenge_script(pair):
    recorded = RECORDED[pair.name]
    assert pair.checksum == recorded["checksum"], "these are not the arrays that the script scored"
    scores = score_pair(pair.reference, pair.prediction, spacing_mm=pair.spacing, mode="official")
    mean = mean_score(scores, mode="official")
    for ours, theirs in ((mean["dsc"], recorded["dsc"]), (mean["nsd"], recorded["nsd"])):
        assert ours == pytest.approx(math.nan if theirs is None else theirs, abs=1e-6, rel=0, nan_ok=True)


def test_official_mode_lets_a_gap_in_the_labels_spoil_the_case():
    scores = score_pair(REFERENCE, PREDICTION, mode="official")
    assert [score.label for score in scores] == [1, 2, 3]
    assert math.isnan(by_label(scores)[2]["dsc"])
    mean = mean_score(scores, mode="official")
    assert math.isnan(mean["dsc"])
    assert mean["nsd"] == 0.0


def test_official_mode_takes_the_face_of_a_2d_mask_for_its_surface():
    reference, prediction = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    reference[5:35, 5:35] = 1
    prediction[10:30, 10:30] = 1  # every contour pixel is 5 px off
    official, honest = (
        mean_score(score_pair(reference, prediction, mode=mode), mode=mode) for mode in ("official", "honest")
    )
    assert official["nsd"] > 0.7
    assert honest["nsd"] == 0.0
    assert official["dsc"] == honest["dsc"] == pytest.approx(2 * 400 / 1300)


def test_official_mode_leaves_the_other_measures_out():
    score = score_pair(REFERENCE, REFERENCE, mode="official")[0]
    assert set(score.measures) == {"dsc", "nsd"}


# --- honest mode --------------------------------------------------------------------------------------------


def test_honest_mode_scores_the_labels_that_are_there():
    scores = by_label(score_pair(REFERENCE, PREDICTION, mode="honest"))
    assert sorted(scores) == [1, 3]
    assert scores[1]["dsc"] == pytest.approx(2 * 2 / (4 + 2))
    assert scores[1]["jaccard"] == pytest.approx(2 / 4)
    assert (scores[1].reference_voxels, scores[1].prediction_voxels) == (4, 2)
    assert scores[1]["hd_mm"] == 1.0  # the lower corners of the missing row are one row away
    assert (scores[3]["dsc"], scores[3]["nsd"], scores[3]["hd_mm"]) == (1.0, 1.0, 0.0)
    assert mean_score(list(scores.values()), mode="honest")["dsc"] == pytest.approx((2 / 3 + 1) / 2)


def test_honest_mode_counts_a_label_that_only_the_prediction_has_as_zero():
    scores = by_label(score_pair(digits("1100"), digits("1102"), mode="honest"))
    assert (scores[2]["dsc"], scores[2]["nsd"], scores[2]["hd_mm"]) == (0.0, 0.0, math.inf)
    assert mean_score(list(scores.values()), mode="honest")["dsc"] == 0.5


def test_honest_mode_calls_nothing_found_where_nothing_is_perfect_and_anything_found_there_zero():
    empty, speck = digits("0000"), digits("0100")
    assert mean_score(score_pair(empty, empty, mode="honest"), mode="honest")["dsc"] == 1.0
    assert mean_score(score_pair(empty, speck, mode="honest"), mode="honest")["dsc"] == 0.0


def test_honest_mode_measures_boundaries_however_small_the_overlap():
    reference, prediction = digits("1110000"), digits("0011111")  # DSC 2 * 1 / 8
    far = digits("1111000000000000"), digits("0001111111111111")  # DSC 2 / 17, below the official gate
    assert mean_score(score_pair(reference, prediction, mode="honest"), mode="honest")["nsd"] > 0
    assert mean_score(score_pair(*far, mode="honest"), mode="honest")["nsd"] > 0
    assert mean_score(score_pair(*far, mode="official"), mode="official")["nsd"] == 0


def test_a_volume_is_measured_in_mm_along_its_own_axes():
    reference, prediction = np.zeros((9, 4, 4), np.uint8), np.zeros((9, 4, 4), np.uint8)
    reference[1:4], prediction[2:5] = 1, 1  # one slice too high
    [thick] = score_pair(reference, prediction, spacing_mm=(5.0, 0.8, 0.8), mode="honest")
    [thin] = score_pair(reference, prediction, spacing_mm=(0.8, 0.8, 5.0), mode="honest")
    assert (thick["hd_mm"], thin["hd_mm"]) == (pytest.approx(5.0), pytest.approx(0.8))
    assert thin["nsd"] == 1.0
    assert thick["nsd"] < 1.0


# --- both ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["official", "honest"])
def test_labels_are_told_apart_whatever_their_integer_type(mode):
    expected = score_pair(REFERENCE, PREDICTION, mode=mode)
    for dtype in (np.uint16, np.int32, np.int64, ">u2"):
        scores = score_pair(REFERENCE.astype(dtype), PREDICTION.astype(np.uint8), mode=mode)
        assert [(s.label, s["nsd"], s.reference_voxels) for s in scores] == [
            (s.label, s["nsd"], s.reference_voxels) for s in expected
        ]


def test_more_than_255_labels_are_scored():
    labels = np.arange(300, dtype=np.uint16).reshape(1, 300)
    scores = score_pair(labels, labels, mode="official")
    assert len(scores) == 299
    assert mean_score(scores, mode="official")["dsc"] == 1.0


@pytest.mark.parametrize("mode", ["official", "honest"])
def test_threads_change_nothing_but_the_time(mode):
    pair = next(pair for pair in PAIRS if pair.name == "3DBox_labels-1-to-255_00.npz")
    one, four = (
        score_pair(pair.reference, pair.prediction, spacing_mm=pair.spacing, mode=mode, threads=threads)
        for threads in (1, 4)
    )
    assert [repr(score) for score in one] == [repr(score) for score in four]  # repr, because NaN is not NaN


def test_a_wider_tolerance_is_the_users_choice():
    reference, prediction = digits("1000000"), digits("0001000")  # corners 2 and 3 px away
    assert [
        score_pair(reference, prediction, mode="honest", tolerance_mm=tolerance)[0]["nsd"] for tolerance in (1, 2, 3)
    ] == [0.0, 0.5, 1.0]


def test_without_a_usable_prediction_each_reference_label_gets_the_worst():
    official, honest = (worst_scores(REFERENCE, mode=mode) for mode in ("official", "honest"))
    assert [(s.label, s["dsc"], s["nsd"], s.reference_voxels) for s in official] == [(1, 0, 0, 4), (3, 0, 0, 2)]
    assert [(s["jaccard"], s["hd_mm"], s["hd95_mm"]) for s in honest] == [(0.0, math.inf, math.inf)] * 2


def test_maps_that_cannot_be_scored_are_refused():
    volume = np.ones((2, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="one shape"):
        score_pair(REFERENCE, REFERENCE.T)
    with pytest.raises(ValueError, match="three positive spacings"):
        score_pair(volume, volume)
    with pytest.raises(ValueError, match="three positive spacings"):
        score_pair(volume, volume, spacing_mm=(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="65535"):
        score_pair(np.array([[70000]]), np.array([[1]]))
    with pytest.raises(ValueError, match="65535"):
        score_pair(np.array([[1]]), np.array([[-1]]))
    with pytest.raises(ValueError, match=r"\(H, W\) or \(D, H, W\)"):
        score_pair(np.ones(3, int), np.ones(3, int))
