"""What pictures of results are drawn with."""

from __future__ import annotations

import cv2
import numpy as np

from graysam.image.drawing import (
    encode_png,
    label_colours,
    label_edges,
    paint_labels,
    scaled_labels,
    scaled_picture,
    to_display,
)

SQUARE = np.array(
    [[0, 0, 0, 0, 0],
     [0, 2, 2, 2, 0],
     [0, 2, 2, 2, 0],
     [0, 2, 2, 2, 0],
     [0, 0, 0, 0, 0]], np.uint8)  # fmt: skip


def test_labels_are_tinted_inside_and_their_edge_has_the_full_colour():
    picture = np.full((5, 5, 3), 100, np.uint8)
    colours = np.array([[0, 0, 0], [9, 9, 9], [0, 190, 255]], np.uint8)
    painted = paint_labels(picture, SQUARE, colours)
    assert painted[0, 0].tolist() == [100, 100, 100]
    assert painted[1, 1].tolist() == [0, 190, 255]
    # the middle alone has no side on the background: 65 % of 100 and 35 % of the colour, cut to whole numbers
    assert painted[2, 2].tolist() == [65, 131, 154]
    assert (picture == 100).all()


def test_an_edge_is_where_a_label_meets_another_the_background_or_the_border():
    labels = np.array([[1, 1, 2], [1, 1, 2], [1, 1, 2]])
    assert label_edges(labels).tolist() == [[True, True, True], [True, True, True], [True, True, True]]
    assert label_edges(SQUARE).sum() == 8  # the ring of nine pixels without their middle


def test_levels_are_kept_stretched_or_black_and_nan_is_no_reason_to_stop():
    assert to_display(np.array([[3, 7]], np.uint8)).tolist() == [[3, 7]]
    assert to_display(np.array([[-1.0, 0.0, 1.0, np.nan]])).tolist() == [[0, 127, 255, 127]]
    assert not to_display(np.full((2, 2), 7.5)).any()


def test_scaling_mixes_no_labels_and_turns_red_first_into_blue_first():
    labels = np.array([[300, 44]], np.uint16)
    assert set(np.unique(scaled_labels(labels, (5, 3)))) == {300, 44}
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    assert scaled_picture(red, (4, 4))[1, 1].tolist() == [0, 0, 200]


def test_a_colourless_picture_packed_tightly_is_stored_as_gray():
    gray = np.full((4, 4, 3), 90, np.uint8)
    stored = cv2.imdecode(np.frombuffer(encode_png(gray, smallest=True), np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.shape == (4, 4)
    coloured = gray.copy()
    coloured[0, 0] = label_colours(1)[1]
    stored = cv2.imdecode(np.frombuffer(encode_png(coloured, smallest=True), np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.tolist() == coloured.tolist()
