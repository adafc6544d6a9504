"""Clicks and earlier answers as callers and files say them, and what becomes of them."""

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.corrections import MOST_CLICKS, VolumeClick, clean_corrections
from graysam.errors import CaseError
from graysam.prompts import Click

BOXES = [VolumeBox(Box(1, 1, 3, 3), 0, 2), VolumeBox(Box(1, 1, 3, 3), 1, 1)]


def of_image(clicks, previous=None, *, boxes=2):
    return clean_corrections(clicks, previous, boxes=boxes, label_shape=(4, 6))


def test_clicks_are_numbers_or_click_objects():
    told, notes = of_image([[(5, 3, True), Click(0, 1, is_inside=False)], []])
    assert told.clicks_on(0) == (Click(5, 3, is_inside=True), Click(0, 1, is_inside=False))
    assert told.clicks_on(1) == ()
    assert notes == ()


def test_in_a_volume_a_click_has_a_slice_and_those_beyond_the_object_s_slices_are_left_out_with_a_note():
    clicks = [[(5, 3, 2, 1)], [VolumeClick(Click(2, 2, is_inside=True), 1), (2, 2, 0, True)]]
    told, notes = clean_corrections(clicks, None, boxes=BOXES, label_shape=(3, 4, 6))
    assert told.clicked_slices(0) == (2,)
    assert told.clicked_slices(1) == (1,)
    assert notes == ("1 clicks of box 1 lie beyond its slices 1 to 1; not used",)


def test_the_earlier_answer_of_an_object_is_its_label_and_none_where_it_is_empty():
    previous = np.array([[0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6], np.uint8)
    told, _ = of_image([[(0, 0, True)], [(5, 3, True)]], previous)
    assert told.previous_on(0).sum() == 3
    assert told.previous_on(1) is None


@pytest.mark.parametrize("nothing", [None, [], [[], []]])
def test_without_a_click_there_is_nothing_to_correct(nothing):
    assert of_image(nothing) == (None, ())
    told, notes = of_image(nothing, np.ones((4, 6), np.uint8))
    assert told is None
    assert notes == ("an earlier answer without clicks corrects nothing; it is not used",)


@pytest.mark.parametrize(
    ("clicks", "previous", "message"),
    [
        ([[(1, 1, True)]], None, "clicks: wanted a list for each of 2 boxes, found 1"),
        ([[(6, 1, True)], []], None, "clicks of box 0: x 6, y 1 lies outside the image of width 6, height 4"),
        ([[], [(1, -1, True)]], None, "clicks of box 1: x 1, y -1 lies outside"),
        ([[(1, float("nan"), True)], []], None, "clicks of box 0: x 1.0, y nan, z 0.0 is no place"),
        ([[(1, 1)], []], None, r"clicks of box 0: wanted x, y, is_inside \(true or false\), found \(1, 1\)"),
        ([[(1, 1, 7)], []], None, "clicks of box 0: wanted x, y, is_inside"),
        ([["click"], []], None, "clicks of box 0: wanted x, y, is_inside, found 'click'"),
        ([[(1, 1, True)] * (MOST_CLICKS + 1), []], None, "clicks of box 0: 1,001; at most 1,000"),
        ([[(1, 1, True)], []], np.zeros((6, 4), int), r"previous: wanted labels of shape \(4, 6\)"),
        ([[(1, 1, True)], []], np.zeros((4, 6)), "previous: wanted labels .* of float64"),
        ([[(1, 1, True)], []], np.full((4, 6), 3), "previous: holds labels 3 to 3, but there are 2 boxes"),
    ],
)
def test_what_does_not_fit_is_named(clicks, previous, message):
    with pytest.raises(CaseError, match=message):
        of_image(clicks, previous)
