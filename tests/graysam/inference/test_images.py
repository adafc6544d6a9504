import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for bright_engine.py, whatever the import mode
from bright_engine import BrightEngine

from graysam.boxes import Box
from graysam.inference.images import BOXES_AT_ONCE, BoxAnswer, segment_slice
from graysam.inference.overlap import PAINTERS


def two_squares():
    """A slice of 64 x 64 with a square of 10 x 10 at (8, 8) and one of 12 x 12 at (40, 30) (x, y)."""
    image = np.zeros((64, 64), np.uint8)
    image[8:18, 8:18] = 200
    image[30:42, 40:52] = 200
    return image, [Box(8, 8, 17, 17), Box(40, 30, 51, 41)]


def test_each_box_gets_its_own_label_and_nothing_else_is_labelled():
    image, boxes = two_squares()
    labels = segment_slice(BrightEngine(), image, boxes)
    assert labels.dtype == np.uint8
    assert labels.shape == image.shape
    expected = np.zeros_like(labels)
    expected[8:18, 8:18], expected[30:42, 40:52] = 1, 2
    # The view has 32 cells over 25 and 26 pixels, so that an edge may move by one pixel.
    assert (labels != expected).sum() <= 2 * 4 * 12
    assert labels[12, 12] == 1
    assert labels[36, 46] == 2
    assert labels[60, 5] == 0


def test_a_colour_image_and_float_values_give_the_same_labels_as_the_gray_one():
    image, boxes = two_squares()
    gray = segment_slice(BrightEngine(), image, boxes)
    assert np.array_equal(segment_slice(BrightEngine(), np.dstack([image] * 3), boxes), gray)
    assert np.array_equal(segment_slice(BrightEngine(), image.astype(np.float64) / 7, boxes), gray)
    assert np.array_equal(segment_slice(BrightEngine(), image.astype(np.int16) - 50, boxes), gray)


def test_one_encoding_serves_all_boxes_which_are_decoded_a_few_at_a_time():
    image, boxes = two_squares()
    engine = BrightEngine()
    segment_slice(engine, image, boxes * 10)
    assert len(engine.encoded) == 1
    assert engine.decoded == [BOXES_AT_ONCE, BOXES_AT_ONCE, 20 - 2 * BOXES_AT_ONCE]


def test_an_answer_is_a_mask_of_the_whole_slice_whatever_its_window():
    logits = np.array([[0.5, -0.5, 0.0]], np.float32)
    answer = BoxAnswer(index=0, window=(slice(1, 2), slice(0, 3)), logits=logits)
    assert answer.mask((3, 4)).astype(int).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_without_boxes_nothing_is_computed():
    engine = BrightEngine()
    labels = segment_slice(engine, np.ones((5, 7), np.uint8), [])
    assert labels.shape == (5, 7)
    assert not labels.any()
    assert engine.encoded == engine.decoded == []


@pytest.mark.parametrize(("count", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_labels_are_8_bits_while_they_fit(count, dtype):
    image, boxes = two_squares()
    labels = segment_slice(BrightEngine(), image, [boxes[0]] * count)
    assert labels.dtype == dtype
    assert labels[12, 12] == count


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (300, 2), (40, 61)])
@pytest.mark.parametrize("overlap", PAINTERS)
def test_images_of_odd_shapes_and_constant_ones_come_out_in_their_own_shape(shape, overlap):
    whole = Box(0, 0, shape[1] - 1, shape[0] - 1)
    assert segment_slice(BrightEngine(), np.full(shape, 9, np.uint8), [whole], overlap=overlap).shape == shape
