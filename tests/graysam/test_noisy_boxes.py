"""The sides of a box are shifted in one place; the shifts that each use draws are recorded, so that figures stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graysam.boxes import Box
from graysam.noisy_boxes import OUTWARDS, drawn_until_half_is_left, loosened, reference_pixel, shifted

BOX = Box(10, 20, 29, 59)


def test_a_pixel_of_the_reference_size_is_two_pixels_of_an_image_of_512():
    assert reference_pixel((100, 512)) == 2.0


def test_shifts_are_added_to_the_sides_and_stop_at_the_borders():
    assert shifted(BOX, np.array([-12, 1, 2, 90]), (100, 40)) == Box(0, 21, 31, 99)


def test_outwards_distances_make_the_box_larger_on_every_side():
    assert shifted(BOX, np.array([1, 2, 3, 4]) * OUTWARDS, (100, 100)) == Box(9, 18, 32, 63)


def test_sides_are_rounded_where_a_file_wants_whole_pixels():
    assert shifted(BOX, np.array([0.4, 0.6, -0.4, -0.6]), (100, 100), whole=True) == Box(10, 21, 29, 58)


def test_a_shift_may_turn_a_box_inside_out_and_that_is_drawn_again():
    thin = Box(10, 10, 12, 12)
    inside_out = shifted(thin, np.array([5, 0, 0, 0]), (30, 30))
    assert inside_out.width < 0
    draws = iter([inside_out, None, Box(10, 10, 11, 12)])  # the last keeps two of three columns
    assert drawn_until_half_is_left(thin, lambda: next(draws), tries=3) == Box(10, 10, 11, 12)


def test_where_no_draw_keeps_half_the_box_stays_tight():
    assert drawn_until_half_is_left(BOX, lambda: Box(10, 20, 11, 59), tries=3) == BOX


@settings(deadline=None)  # a loaded machine is no failure
@given(st.integers(0, 2**32 - 1), st.integers(0, 20))
def test_a_loosened_box_holds_the_tight_one_and_stays_inside_the_image(seed, margin):
    loose = loosened(Box(10, 20, 30, 40), margin=margin, size_hw=(64, 512), rng=np.random.default_rng(seed))
    scaled = 2 * margin  # 512 pixels are twice 256
    assert max(0, 10 - scaled) <= loose.x_min <= 10
    assert max(0, 20 - scaled) <= loose.y_min <= 20
    assert 30 <= loose.x_max <= min(511, 30 + scaled)
    assert 40 <= loose.y_max <= min(63, 40 + scaled)


def test_no_margin_leaves_the_box_tight():
    assert loosened(BOX, margin=0, size_hw=(100, 100), rng=np.random.default_rng(0)) == BOX


@pytest.mark.parametrize(
    ("seed", "expected"), [(0, Box(2, 15, 34, 61)), (1, Box(7, 15, 35, 67)), (2, Box(2, 18, 29, 61))]
)
def test_cases_are_made_with_the_boxes_that_they_were_always_made_with(seed, expected):
    assert loosened(BOX, margin=5, size_hw=(300, 400), rng=np.random.default_rng(seed)) == expected
