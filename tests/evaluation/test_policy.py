import math

import pytest

from evaluation.policy import HONEST, OFFICIAL, policy_for


def test_a_policy_is_found_by_its_mode():
    assert policy_for("official") is OFFICIAL
    assert policy_for("honest") is HONEST


@pytest.mark.parametrize(
    ("reference", "prediction", "official", "honest"),
    [
        ([1, 2], [1, 2], [1, 2], [1, 2]),
        ([1, 3], [1, 3], [1, 2, 3], [1, 3]),  # the gap counts officially
        ([1], [1, 4], [1], [1, 4]),  # a label that is only predicted counts honestly
        ([2], [], [1, 2], [2]),
        ([], [1], [], [1]),
        ([], [], [], []),
    ],
)
def test_labels_are_numbered_officially_and_taken_by_presence_honestly(reference, prediction, official, honest):
    assert OFFICIAL.labels_to_score(reference, prediction) == official
    assert HONEST.labels_to_score(reference, prediction) == honest


def test_official_nsd_is_measured_only_above_a_mean_dsc_of_a_fifth():
    assert OFFICIAL.measures_boundary(0.2001)
    assert not OFFICIAL.measures_boundary(0.2)
    assert not OFFICIAL.measures_boundary(math.nan)


def test_honest_nsd_is_always_measured():
    assert HONEST.measures_boundary(0.0)
    assert HONEST.measures_boundary(math.nan)


def test_a_case_with_nothing_to_find_and_nothing_found_is_undefined_officially_and_perfect_honestly():
    assert math.isnan(OFFICIAL.nothing_to_find["dsc"])
    assert OFFICIAL.nothing_to_find["nsd"] == 0.0
    assert HONEST.nothing_to_find == {"dsc": 1, "nsd": 1, "jaccard": 1, "hd_mm": 0, "hd95_mm": 0}


def test_no_usable_prediction_is_the_worst_of_everything_that_the_mode_measures():
    assert HONEST.worst == {"dsc": 0, "nsd": 0, "jaccard": 0, "hd_mm": math.inf, "hd95_mm": math.inf}
    assert OFFICIAL.worst == {"dsc": 0, "nsd": 0}
