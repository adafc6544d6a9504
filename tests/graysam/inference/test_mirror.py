"""Looking twice: what is mirrored, when, and that the mean of both looks comes out in the image's own frame."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for bright_engine.py, whatever the import mode
from bright_engine import BrightEngine

from graysam.boxes import Box
from graysam.image.geometry import BoxView, CanvasFit
from graysam.inference.images import PromptedSlice, segment_slice
from graysam.inference.mirror import FEW_BOXES, looks_twice, mirrored_pixels, mirrored_prompt
from graysam.models.spec import GRAYSAM, LITEMEDSAM
from graysam.prompts import Click, Neighbour, Prompt, box_rows

# An image of 3 x 5; the object is the letter L, its box 1, 0 to 2, 2.
#   . # . . .        . . . # .
#   . # . . .   ->   . . . # .
#   . # # . .        . . # # .
LETTER = np.array([[0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0]], bool)
MIRRORED = np.array([[0, 0, 0, 1, 0], [0, 0, 0, 1, 0], [0, 0, 1, 1, 0]], bool)


def test_a_prompt_is_mirrored_with_all_that_it_says():
    image = np.arange(15, dtype=np.uint8).reshape(3, 5)
    prompt = Prompt(
        Box(1, 0, 2, 2),
        neighbour=Neighbour(image, LETTER),
        others=np.array([[3.0, 1.0, 4.0, 2.0]]),
        clicks=(Click(1, 2, True), Click(4, 0, False)),
        previous=LETTER,
        place=0.5,
        fit="tight",
    )
    seen = mirrored_prompt(prompt, width_px=5)
    assert seen.box == Box(2, 0, 3, 2)
    assert seen.others.tolist() == [[0, 1, 1, 2]]
    assert seen.clicks == (Click(3, 2, True), Click(0, 0, False))
    assert np.array_equal(seen.previous, MIRRORED)
    assert np.array_equal(seen.neighbour.mask, MIRRORED)
    assert seen.neighbour.image[0].tolist() == [4, 3, 2, 1, 0]
    assert (seen.place, seen.fit) == (0.5, "tight")


def test_mirroring_twice_changes_nothing():
    prompt = Prompt(Box(1, 0, 2, 2), others=np.array([[3.0, 1.0, 4.0, 2.0]]), clicks=(Click(1, 2, True),))
    again = mirrored_prompt(mirrored_prompt(prompt, 5), 5)
    assert (again.box, again.others.tolist(), again.clicks) == (prompt.box, prompt.others.tolist(), prompt.clicks)
    assert np.array_equal(mirrored_pixels(MIRRORED), LETTER)
    colour = np.dstack([LETTER, MIRRORED, LETTER])
    assert np.array_equal(mirrored_pixels(colour)[..., 0], MIRRORED)


@pytest.mark.parametrize("size_hw", [(48, 64), (64, 48), (500, 731), (7, 5)])
def test_the_view_of_a_mirrored_box_is_the_mirrored_view(size_hw):
    fit = CanvasFit.for_image(size_hw)
    width = size_hw[1]
    for x_min, x_max in ((0, 0), (1, 3), (0, width - 1), (width - 2, width - 1)):
        box = Box(x_min, 2, x_max, 4)
        view = BoxView.around(box, fit, grid=16)
        seen = BoxView.around(mirrored_prompt(Prompt(box), width).box, fit, grid=16)
        assert (seen.x_start, seen.x_stop) == (width - view.x_stop, width - view.x_start)
        assert (seen.y_start, seen.y_stop) == (view.y_start, view.y_stop)


class LeftEngine(BrightEngine):
    """Calls an object what is bright, and, by mistake, whatever lies in the left eighth of the view.

    Its confidence is 0.5 at the first look and 1 at the second.
    """

    def decode(self, embedding, inputs):
        logits, iou = super().decode(embedding, inputs)  # 0.5 where it is bright, -0.5 where it is dark
        logits[:, :, : logits.shape[2] // 8] = 0.4
        return logits, iou * len(self.decoded) / 2


@pytest.mark.parametrize("x", [10, 20, 43])
def test_a_mistake_on_one_side_is_outvoted_by_the_other_look(x):
    image = np.zeros((48, 64), np.uint8)
    image[20:40, x : x + 20] = 200
    box = Box(x, 20, x + 19, 39)
    true = segment_slice(BrightEngine(), image, [box])
    once, twice, confidences = LeftEngine(), LeftEngine(), {}
    assert (segment_slice(once, image, [box]) != true).any()
    # There the two looks say 0.4 and -0.5 of what is dark, -0.05 together.
    assert np.array_equal(segment_slice(twice, image, [box], mirror="always", confidences=confidences), true)
    assert (len(once.encoded), len(twice.encoded)) == (1, 2)
    assert confidences == {0: {0: 0.75}}


@pytest.mark.parametrize("is_named_itself", [False, True])
@pytest.mark.parametrize("count", [FEW_BOXES, FEW_BOXES + 1])
def test_a_box_that_is_asked_alone_gets_the_answer_that_all_boxes_get_together(count, is_named_itself):
    image = np.zeros((48, 64), np.uint8)
    image[20:40, 20:40] = 200
    boxes = [Box(20, 20, 39, 39), *(Box(50 + x, 2, 52 + x, 4) for x in range(count - 1))]
    whole, asked = LeftEngine(), PromptedSlice(LeftEngine(), image, "auto")
    labels = segment_slice(whole, image, boxes, mirror="auto")
    (answer,) = asked.answer([Prompt(boxes[0], others=box_rows(boxes if is_named_itself else boxes[1:]))])
    assert np.array_equal(answer.mask(image.shape), labels == 1)
    assert len(whole.encoded) == (2 if count == FEW_BOXES else 1)


def test_auto_looks_twice_at_few_boxes_with_a_quick_model():
    assert looks_twice("auto", GRAYSAM, FEW_BOXES)
    assert not looks_twice("auto", GRAYSAM, FEW_BOXES + 1)
    assert not looks_twice("auto", LITEMEDSAM, 1)
    assert looks_twice("always", LITEMEDSAM, 1000)
    assert not looks_twice("never", GRAYSAM, 1)
