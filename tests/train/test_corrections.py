"""Clicks that correct a wrong answer: # is the object, o what the answer holds wrongly."""

import numpy as np

from graysam.prompts import Click
from train.augment.corrections import chosen_others, clicks_inside, correcting_clicks, drawn_correction

OBJECT = np.array([[0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 1], [1, 1, 1, 0, 0, 0, 0]], bool)


def test_the_first_click_lies_in_the_middle_of_the_largest_error_and_says_what_is_right_there():
    answer = OBJECT.copy()
    answer[1:4, 0:3] = False  # nine pixels are missing, the deepest is in their middle
    answer[0, 6] = True  # one is too many
    assert correcting_clicks(OBJECT, answer, count=1) == (Click(1, 2, is_inside=True),)
    assert correcting_clicks(OBJECT, answer, count=5) == (Click(1, 2, is_inside=True), Click(6, 0, is_inside=False))


def test_a_right_answer_needs_no_click():
    assert correcting_clicks(OBJECT, OBJECT.copy(), count=3) == ()


def test_a_click_before_any_answer_lies_on_the_object():
    for seed in range(20):
        (click,) = clicks_inside(OBJECT, np.random.default_rng(seed))
        assert click.is_inside
        assert OBJECT[int(click.y), int(click.x)]


def test_corrections_of_an_object_that_a_warp_lost_say_nothing():
    nothing = np.zeros((4, 4), bool)
    assert drawn_correction(nothing, nothing, np.random.default_rng(0)) == ((), None)


def test_other_objects_are_never_the_prompts_own():
    for seed in range(10):
        chosen = chosen_others(6, [1, 4, 4], np.random.default_rng(seed), most=3)
        assert len(chosen) == len(set(chosen)) == 3
        assert not {1, 4} & set(chosen)
    assert chosen_others(2, [0, 1], np.random.default_rng(0), most=3) == []
