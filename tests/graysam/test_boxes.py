"""From numbers to boxes, the one way for files and for the Python API. The image is 8 wide and 6 high."""

from __future__ import annotations

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox, box_numbers, clean_boxes
from graysam.errors import CaseError

SIZE_HW = (6, 8)  # the last pixel is x 7, y 5


def clean(*rows: list[float], depth: int | None = None):
    return clean_boxes(np.array(rows, np.float64), size_hw=SIZE_HW, depth=depth)


@pytest.mark.parametrize(
    ("given", "wanted", "note"),
    [
        ([1, 2, 3, 4], Box(1, 2, 3, 4), None),
        ([0, 0, 7, 5], Box(0, 0, 7, 5), None),  # the whole image: maxima are inclusive
        ([0, 0, 8, 6], Box(0, 0, 7, 5), "partly outside the image of width 8, height 6; clipped"),
        ([3, 4, 1, 2], Box(1, 2, 3, 4), "minimum and maximum swapped; put in order"),
        ([1.25, 2.5, 3.75, 4], Box(1.25, 2.5, 3.75, 4), "fractional"),
        ([1, 2, 0, 3, 4, 0], Box(1, 2, 3, 4), None),  # six numbers: those of a volume of one slice
    ],
)
def test_a_box_of_an_image_is_put_in_order_and_inside_it_with_a_note(given, wanted, note):
    boxes, notes = clean(given)
    assert boxes == (wanted,)
    assert [note in text for text in notes] == ([True] if note else [])


@pytest.mark.parametrize(
    ("given", "z_min", "z_max", "note"),
    [
        ([1, 1, 0, 2, 2, 3], 0, 3, None),
        ([1, 1, 3, 2, 2, 1], 1, 3, "swapped"),
        ([1, 1, -2, 2, 2, 3], 0, 3, "width 8, height 6, depth 4; clipped"),
        ([1, 1, 0.6, 2, 2, 3.4], 1, 3, "z is rounded"),
    ],
)
def test_a_box_of_a_volume_has_whole_slices_inside_it(given, z_min, z_max, note):
    boxes, notes = clean(given, depth=4)
    assert boxes == (VolumeBox(Box(1, 1, 2, 2), z_min, z_max),)
    assert [note in text for text in notes] == ([True] if note else [])


def test_one_note_speaks_for_all_boxes_of_a_kind_and_shows_the_first():
    _, notes = clean([0, 0, 1, 1], [0, 0, 99, 1], [-5, 0, 1, 1])
    assert notes == (
        "2 of 3 boxes partly outside the image of width 8, height 6; clipped (first: box 1 [0, 0, 99, 1])",
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([8, 0, 12, 5], r"box 1 \[8, 0, 12, 5\] lies wholly outside the image; the image has width 8, height 6,"),
        ([0, -9, 3, -1], r"box 1 \[0, -9, 3, -1\] lies wholly outside"),
        ([np.nan, 0, 3, 3], r"box 1 \[nan, 0, 3, 3\] is not a number"),
    ],
)
def test_a_box_that_holds_no_pixel_is_an_error(given, reason):
    with pytest.raises(CaseError, match=reason):
        clean([1, 1, 2, 2], given)


def test_without_boxes_there_is_nothing_to_note():
    assert clean_boxes(np.zeros((0, 4)), size_hw=SIZE_HW) == ((), ())


def test_box_objects_and_tables_give_the_same_numbers():
    flat, solid = Box(1, 2, 3, 4), VolumeBox(Box(1, 2, 3, 4), 5, 6)
    assert box_numbers([flat], columns=4).tolist() == box_numbers([[1, 2, 3, 4]], columns=4).tolist()
    assert box_numbers([solid], columns=6).tolist() == [[1, 2, 5, 3, 4, 6]]
    assert box_numbers([], columns=6).shape == (0, 6)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([[1, 2, 3]], r"wanted shape \(N, 4\), found \(1, 3\)"),
        ([1, 2, 3, 4], r"wanted shape \(N, 4\), found \(4,\)"),
        ([[1, 2, 3, 4], [1, 2]], "not a table of numbers"),
        ([VolumeBox(Box(1, 2, 3, 4), 5, 6)], r"wanted shape \(N, 4\), found \(1, 6\)"),
    ],
)
def test_what_is_no_table_of_that_width_is_an_error(given, reason):
    with pytest.raises(CaseError, match=reason):
        box_numbers(given, columns=4)


def test_boxes_in_shares_of_the_image_are_refused_with_the_remedy():
    rows = [[0.25, 0.1, 0.75, 0.9], [0, 0, 1, 1]]
    with pytest.raises(CaseError, match=r"looks normalised.*multiply x by the width"):
        clean(*rows)
    with pytest.raises(CaseError, match="looks normalised"):
        clean([0.25, 0.1, 2, 0.75, 0.9, 3], depth=5)
    assert clean([0, 0, 1, 1])[0] == (Box(0, 0, 1, 1),)  # four pixels in the corner, in whole numbers
    assert clean([0.25, 0.1, 1.5, 0.9])[0] == (Box(0.25, 0.1, 1.5, 0.9),)


def test_a_box_of_another_slice_than_the_middle_is_widest_there_and_ends_where_the_object_does():
    # Slices 0 to 8, box on 6: two slices above reach 2.5 up, six below reach 6.5 down.
    solid = VolumeBox(Box(0, 0, 9, 9), 0, 8, z_box=6)
    assert solid.key_slice == 6
    assert [solid.place(z) for z in (0, 6, 8)] == pytest.approx([-6 / 6.5, 0, 2 / 2.5])
    assert solid.cross_section(6) == Box(0, 0, 9, 9)
    assert VolumeBox(Box(0, 0, 9, 9), 0, 7).key_slice == 3
