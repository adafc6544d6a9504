"""Clicks and boxes from a mask: spread evenly, on the mask, and the same for the same seed."""

import numpy as np

from graysam.boxes import Box
from graysam.mask_prompts import clicks_from_answer, prompt_from_mask, spread_clicks
from graysam.prompts import Click


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_two_clicks_share_a_bar_between_them():
    # Cells of the bar's halves, columns 0 to 3 and 4 to 7, have their centres at 1.5 and 5.5: the pixels next to them.
    bar = mask_of("########")
    for seed in range(5):
        places = sorted(click.x for click in spread_clicks(bar, 2, np.random.default_rng(seed), is_inside=True))
        assert places[0] in (1, 2)
        assert places[1] in (5, 6)


def test_clicks_lie_on_the_region_even_when_its_centre_does_not():
    ring = mask_of("###", "#.#", "###")
    (click,) = spread_clicks(ring, 1, np.random.default_rng(0), is_inside=False)
    assert ring[int(click.y), int(click.x)]
    assert not click.is_inside


def test_there_are_no_more_clicks_than_pixels_and_none_in_an_empty_region():
    rng = np.random.default_rng(0)
    assert spread_clicks(mask_of("..", ".#"), 3, rng, is_inside=True) == (Click(1.0, 1.0, is_inside=True),)
    assert spread_clicks(mask_of("..", ".."), 3, rng, is_inside=True) == ()


def test_the_same_seed_gives_the_same_clicks_and_a_large_region_is_spread_over_too():
    disc = np.hypot(*np.mgrid[-150:151, -150:151]) <= 150
    first, second = (spread_clicks(disc, 4, np.random.default_rng(3), is_inside=True) for _ in range(2))
    assert first == second
    # Four cells of a disc are quarters, however turned: their centres are 0.6 of the radius from the middle.
    assert all(60 < np.hypot(click.x - 150, click.y - 150) < 120 for click in first)


def test_clicks_in_training_say_where_an_answer_is_right_too_small_and_too_large():
    reference, answer = mask_of("###..."), mask_of(".####.")
    clicks = clicks_from_answer(answer, 1, np.random.default_rng(0), reference=reference)
    inside = [click.x for click in clicks if click.is_inside]
    outside = [click.x for click in clicks if not click.is_inside]
    assert inside[0] in (1, 2)
    assert inside[1] == 0
    assert outside[0] in (3, 4)
    assert len(clicks) == 3


def test_clicks_in_prediction_lie_in_the_answer():
    answer = mask_of("..##..")
    assert {click.x for click in clicks_from_answer(answer, 2, np.random.default_rng(0))} == {2, 3}


def test_a_rough_mask_becomes_its_box_with_a_margin_and_an_earlier_answer():
    mask = mask_of("....", ".##.", "....")
    prompt = prompt_from_mask(mask, margin_px=1)
    assert prompt is not None
    assert prompt.box == Box(0, 0, 3, 2)
    assert prompt.previous is mask
    assert prompt_from_mask(mask_of("..")) is None
