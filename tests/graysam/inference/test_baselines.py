from __future__ import annotations

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.inference.baselines import BaselineSegmenter


def test_a_filled_box_includes_its_maxima():
    labels = BaselineSegmenter("box").segment_image(np.zeros((4, 5), np.uint8), [Box(1, 1, 3, 2)])
    assert labels.tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]


def test_an_ellipse_touches_the_four_sides_of_its_box_and_leaves_the_corners():
    labels = BaselineSegmenter("ellipse").segment_image(np.zeros((5, 7), np.uint8), [Box(0, 0, 6, 4)])
    # radii 3.5 and 2.5 about (3, 2); corner: (3/3.5)^2 + (2/2.5)^2 = 1.37; beside it in row 0: (2/3.5)^2 + 0.64 = 0.97
    assert labels.tolist() == [
        [0, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1, 0],
    ]


@pytest.mark.parametrize("shape", ["box", "ellipse"])
def test_a_volume_is_filled_on_both_end_slices_and_nowhere_else(shape):
    labels = BaselineSegmenter(shape).segment_volume(
        np.zeros((7, 20, 20), np.uint8), [VolumeBox(Box(5, 5, 15, 15), 1, 4)]
    )
    assert labels.any(axis=(1, 2)).tolist() == [False, True, True, True, True, False, False]


def test_the_later_box_wins_or_the_nearer_centre():
    image, boxes = np.zeros((1, 9), np.uint8), [Box(0, 0, 5, 0), Box(3, 0, 8, 0)]
    segmenter = BaselineSegmenter("box")
    assert segmenter.segment_image(image, boxes, overlap="last").tolist() == [[1, 1, 1, 2, 2, 2, 2, 2, 2]]
    # centres 2.5 and 5.5: pixel 3 is nearer to the first, 5 to the second, 4 lies between and stays with the first
    assert segmenter.segment_image(image, boxes, overlap="confident").tolist() == [[1, 1, 1, 1, 1, 2, 2, 2, 2]]


def test_more_than_255_boxes_take_16_bits_and_none_give_zeros():
    image = np.zeros((20, 20, 3), np.uint8)
    boxes = [Box(x, y, x, y) for y in range(20) for x in range(20)][:300]
    labels = BaselineSegmenter("ellipse").segment_image(image, boxes)
    assert labels.dtype == np.uint16
    assert labels.ravel().tolist() == [*range(1, 301), *[0] * 100]
    assert not BaselineSegmenter("ellipse").segment_image(image, []).any()
