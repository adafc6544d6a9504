import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation.dice import Overlap, count_overlap, dice, jaccard

MASKS = hnp.arrays(bool, (5, 6))


def mask(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


SQUARE = mask("....", ".##.", ".##.", "....")
MOVED = mask("....", "..##", "..##", "....")
EMPTY = mask("....", "....", "....", "....")


def test_overlap_counts_both_masks_and_what_they_share():
    assert count_overlap(SQUARE, MOVED) == Overlap(n_reference=4, n_prediction=4, n_common=2)


def test_dice_is_twice_the_shared_pixels_over_all_pixels():
    assert dice(SQUARE, MOVED) == 0.5  # 2 * 2 / (4 + 4)


def test_jaccard_is_the_shared_pixels_over_the_united_ones():
    assert jaccard(SQUARE, MOVED) == pytest.approx(1 / 3)  # 2 / 6


def test_a_mask_compared_with_itself_is_perfect():
    assert dice(SQUARE, SQUARE) == jaccard(SQUARE, SQUARE) == 1.0


def test_one_empty_mask_scores_zero_whichever_it_is():
    assert dice(SQUARE, EMPTY) == dice(EMPTY, SQUARE) == jaccard(SQUARE, EMPTY) == jaccard(EMPTY, SQUARE) == 0.0


def test_two_empty_masks_have_no_overlap_to_speak_of():
    assert math.isnan(dice(EMPTY, EMPTY))
    assert math.isnan(jaccard(EMPTY, EMPTY))


def test_any_number_but_zero_is_foreground():
    assert dice(SQUARE * 7, MOVED * 200) == 0.5


def test_masks_of_different_shapes_are_refused_with_both_shapes_named():
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(4, 3\)"):
        dice(SQUARE, SQUARE[:, :3])


@settings(derandomize=True, max_examples=60)
@given(MASKS, MASKS)
def test_neither_measure_knows_which_mask_is_the_reference(one, other):
    assert dice(one, other) == pytest.approx(dice(other, one), nan_ok=True)
    assert jaccard(one, other) == pytest.approx(jaccard(other, one), nan_ok=True)


@settings(derandomize=True, max_examples=60)
@given(MASKS, MASKS)
def test_jaccard_follows_from_dice(one, other):
    d = dice(one, other)
    assert jaccard(one, other) == pytest.approx(d / (2 - d), nan_ok=True)


@settings(derandomize=True, max_examples=60)
@given(MASKS, MASKS, st.data())
def test_a_further_hit_never_lowers_dice(reference, prediction, data):
    missed = np.argwhere(reference & ~prediction)
    if len(missed):
        better = prediction.copy()
        better[tuple(data.draw(st.sampled_from(missed.tolist())))] = True
        assert dice(reference, better) > dice(reference, prediction)
