import math

import pytest

from evaluation.policy import HONEST, OFFICIAL, WORST, policy_for


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
    assert math.isnan(OFFICIAL.case_without_labels.dsc)
    assert OFFICIAL.case_without_labels.nsd == 0.0
    perfect = HONEST.case_without_labels
    assert (perfect.dsc, perfect.nsd, perfect.jaccard, perfect.hd_mm, perfect.hd95_mm) == (1, 1, 1, 0, 0)


def test_no_usable_prediction_is_the_worst_of_everything():
    assert (WORST.dsc, WORST.nsd, WORST.jaccard, WORST.hd_mm, WORST.hd95_mm) == (0, 0, 0, math.inf, math.inf)
