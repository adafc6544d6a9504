import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.label_runs import labels_from_runs, runs_from_labels
from graysam.errors import PrepareError


def test_runs_worked_out_by_hand():
    labels = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
    # In row order 0 1 1 1 0 2: three of label 1 from place 1, over the end of the row, and one of label 2 at 5.
    assert runs_from_labels(labels) == [(1, 3, 1), (5, 1, 2)]
    assert runs_from_labels(np.zeros((2, 2), np.uint8)) == []
    assert runs_from_labels(np.full((2, 2), 9, np.uint8)) == [(0, 4, 9)]


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint16, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 300)))
def test_labels_survive_the_way_through_runs(labels):
    np.testing.assert_array_equal(labels_from_runs(runs_from_labels(labels), labels.shape), labels)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([(3, 2, 1)], "reaches over"),
        ([(-1, 1, 1)], "reaches over"),
        ([(2**62, 2**62, 1)], "reaches over"),
        ([(0, 3, 1), (2, 1, 2)], "overlap"),
        ([(0, 1, 70000)], "16 bits"),
        ([(0, 1)], "start, length, value"),
        ([("a", 1, 1)], "whole number"),
        ([(2**70, 1, 1)], "whole number"),
    ],
)
def test_runs_that_are_none_are_refused(runs, message):
    with pytest.raises(PrepareError, match=message):
        labels_from_runs(runs, (2, 2))
