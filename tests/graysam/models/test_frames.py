"""What decoders of both kinds are fed, and where their logits belong."""

from dataclasses import replace

import numpy as np
import pytest

from graysam.boxes import Box
from graysam.image.preprocessing import prepare_slice
from graysam.models.frames import frame_prompts
from graysam.models.spec import ModelSpec
from graysam.prompts import Neighbour, Prompt

SAM = ModelSpec(name="sam", decoder="sam", channels="plain")
BOX_FRAME = ModelSpec(name="box", channels="plain", view_size=32)
MEMORY = replace(BOX_FRAME, memory=True)


@pytest.fixture
def prepared():
    image = np.zeros((512, 512), np.uint8)
    image[200:240, 200:240] = 250
    return prepare_slice(image, SAM)


def test_a_sam_decoder_gets_its_boxes_in_canvas_pixels(prepared):
    frame = frame_prompts(prepared, [Prompt(Box(100, 50, 201, 151))], SAM)
    assert frame.inputs()["boxes_canvas"] == pytest.approx(np.array([[50, 25, 100.5, 75.5]]))


def test_a_sam_decoder_answers_for_the_whole_slice(prepared):
    (rows, columns), logits = frame_prompts(prepared, [Prompt(Box(0, 0, 9, 9))], SAM).to_original(
        0, np.ones((256, 256), np.float32)
    )
    assert (rows, columns) == (slice(0, 512), slice(0, 512))
    assert logits.shape == (512, 512)


def test_a_box_frame_decoder_sees_the_object_large(prepared):
    # 40 pixels and margins of 6 + 10: a window of 72 pixels on 32 cells; the object covers 40 / 72 of each side
    frame = frame_prompts(prepared, [Prompt(Box(200, 200, 239, 239)), Prompt(Box(0, 0, 9, 9))], BOX_FRAME)
    inputs = frame.inputs()
    assert inputs["detail"].shape == (2, 3, 32, 32)
    assert inputs["detail"][0].mean() == pytest.approx((40 / 72) ** 2, abs=0.01)
    assert inputs["detail"][1].max() == 0
    assert inputs["box_in_view"][0] == pytest.approx([16 / 72, 16 / 72, 56 / 72, 56 / 72])


def test_a_box_frame_decoder_answers_for_its_window(prepared):
    frame = frame_prompts(prepared, [Prompt(Box(200, 200, 239, 239))], BOX_FRAME)
    (rows, columns), logits = frame.to_original(0, np.ones((32, 32), np.float32))
    assert (rows, columns) == (slice(184, 256), slice(184, 256))
    assert logits.shape == (72, 72)


def test_detail_is_scaled_by_the_slice_and_not_by_the_window():
    image = np.zeros((256, 256), np.uint8)
    image[0, 0], image[100:150, 100:150] = 200, 100
    frame = frame_prompts(prepare_slice(image, BOX_FRAME), [Prompt(Box(100, 100, 149, 149))], BOX_FRAME)
    assert frame.inputs()["detail"].max() == pytest.approx(0.5)


# A box of 50 pixels and margins of 7.5 + 5: a window of 76 pixels, from 87 to 163, on 32 cells.
BOX = Box(100, 100, 149, 149)


def of_range_200(shape=(256, 256)):
    """A slice of 100s with a pixel of 0 and one of 200 in a corner."""
    image = np.full(shape, 100, np.uint8)
    image[0, 0], image[0, 1] = 0, 200
    return image


def memory_of(image, boxes, neighbours, spec=MEMORY):
    prompts = [Prompt(box, neighbour) for box, neighbour in zip(boxes, neighbours, strict=True)]
    return frame_prompts(prepare_slice(image, spec), prompts, spec).inputs()["memory"]


def test_where_nothing_is_known_memory_is_zero(prepared):
    memory = frame_prompts(prepared, [Prompt(BOX), Prompt(Box(0, 0, 9, 9))], MEMORY).inputs()["memory"]
    assert memory.shape == (2, 2, 32, 32)
    assert memory.dtype == np.float32
    assert not memory.any()


def test_models_without_memory_are_not_shown_the_slice_beside(prepared):
    known = Prompt(BOX, Neighbour(prepared.image, np.ones((512, 512), bool)))
    assert set(frame_prompts(prepared, [known], BOX_FRAME).inputs()) == {
        "detail",
        "box_in_view",
        "view_in_canvas",
    }
    assert set(frame_prompts(prepared, [known], SAM).inputs()) == {"boxes_canvas"}


def test_memory_tells_where_the_object_was_found_under_the_view():
    # The object's columns end in the middle of the window, 87 + 38 = 125.
    image, mask = of_range_200(), np.zeros((256, 256), bool)
    mask[:, :125] = True
    found, _ = memory_of(image, [BOX], [Neighbour(image, mask)])[0]
    assert (found[:, :16] == 1).all()
    assert (found[:, 16:] == -1).all()


def test_a_cell_that_lies_over_a_contour_says_how_much_of_it_was_found():
    # 76 pixels on 32 cells are 2.375 a cell: column 87 alone covers 1 / 2.375 of the first.
    image, mask = of_range_200(), np.zeros((256, 256), bool)
    mask[:, :88] = True
    found, _ = memory_of(image, [BOX], [Neighbour(image, mask)])[0]
    assert found[:, 0] == pytest.approx(2 / 2.375 - 1, abs=1e-5)
    assert (found[:, 1:] == -1).all()


@pytest.mark.parametrize(
    ("beside", "difference"),
    [(150, 50 / 200), (80, -20 / 200), (100, 0), (255, 1 - 100 / 200)],  # brighter than this slice's brightest: as that
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_memory_tells_how_much_brighter_the_slice_beside_is_in_units_of_this_slice_s_range(beside, difference, dtype):
    known = Neighbour(np.full((256, 256), beside, dtype), np.ones((256, 256), bool))
    _, brighter = memory_of(of_range_200(), [BOX], [known])[0]
    assert brighter == pytest.approx(np.full((32, 32), difference), abs=1e-6)


def test_brightness_of_colours_is_compared_as_gray():
    # By 10, 20 and 60 brighter: by 30 on average, of a range of 200.
    known = Neighbour(of_range_200((256, 256, 3)) + np.array([10, 20, 60], np.uint8), np.ones((256, 256), bool))
    _, brighter = memory_of(of_range_200((256, 256, 3)), [BOX], [known])[0]
    assert brighter == pytest.approx(np.full((32, 32), 0.15), abs=1e-6)


def test_beyond_the_border_no_object_was_found_and_no_slice_is_brighter():
    # The window begins 13 pixels before the slice: the first five cells end at -13 + 5 * 2.375 = -1.1.
    known = Neighbour(np.full((256, 256), 150, np.uint8), np.ones((256, 256), bool))
    found, brighter = memory_of(np.full_like(of_range_200(), 100) + of_range_200(), [Box(0, 0, 49, 49)], [known])[0]
    assert (found[:5] == -1).all()
    assert (brighter[:, :5] == 0).all()
    assert (found[6:, 6:] == 1).all()


def test_objects_that_are_known_and_others_are_asked_for_together():
    image = of_range_200()
    known = Neighbour(image + np.uint8(10), np.ones((256, 256), bool))
    memory = memory_of(image, [BOX, BOX, BOX], [None, known, None])
    assert memory.shape == (3, 2, 32, 32)
    assert not memory[0].any()
    assert (memory[1, 0] == 1).all()
    assert memory[1, 1] == pytest.approx(np.full((32, 32), 0.05), abs=1e-6)
    assert not memory[2].any()
