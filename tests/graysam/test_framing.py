"""What decoders of both kinds are fed, and where their logits belong."""

import numpy as np
import pytest

from graysam.framing import frame_prompts
from graysam.geometry import Box
from graysam.models.spec import ModelSpec
from graysam.preprocessing import prepare_slice

SAM = ModelSpec(name="sam", decoder="sam", channels="plain")
BOX_FRAME = ModelSpec(name="box", channels="plain", view_size=32)


@pytest.fixture
def prepared():
    image = np.zeros((512, 512), np.uint8)
    image[200:240, 200:240] = 250
    return prepare_slice(image, SAM)


def test_a_sam_decoder_gets_its_boxes_in_canvas_pixels(prepared):
    frame = frame_prompts(prepared, [Box(100, 50, 201, 151)], SAM)
    assert frame.inputs()["boxes_canvas"] == pytest.approx(np.array([[50, 25, 100.5, 75.5]]))


def test_a_sam_decoder_answers_for_the_whole_slice(prepared):
    (rows, columns), logits = frame_prompts(prepared, [Box(0, 0, 9, 9)], SAM).to_original(
        0, np.ones((256, 256), np.float32)
    )
    assert (rows, columns) == (slice(0, 512), slice(0, 512))
    assert logits.shape == (512, 512)


def test_a_box_frame_decoder_sees_the_object_large(prepared):
    # 40 pixels and margins of 6 + 10: a window of 72 pixels on 32 cells; the object covers 40 / 72 of each side
    frame = frame_prompts(prepared, [Box(200, 200, 239, 239), Box(0, 0, 9, 9)], BOX_FRAME)
    inputs = frame.inputs()
    assert inputs["detail"].shape == (2, 3, 32, 32)
    assert inputs["detail"][0].mean() == pytest.approx((40 / 72) ** 2, abs=0.01)
    assert inputs["detail"][1].max() == 0
    assert inputs["box_in_view"][0] == pytest.approx([16 / 72, 16 / 72, 56 / 72, 56 / 72])


def test_a_box_frame_decoder_answers_for_its_window(prepared):
    frame = frame_prompts(prepared, [Box(200, 200, 239, 239)], BOX_FRAME)
    (rows, columns), logits = frame.to_original(0, np.ones((32, 32), np.float32))
    assert (rows, columns) == (slice(184, 256), slice(184, 256))
    assert logits.shape == (72, 72)


def test_detail_is_scaled_by_the_slice_and_not_by_the_window():
    image = np.zeros((256, 256), np.uint8)
    image[0, 0], image[100:150, 100:150] = 200, 100
    frame = frame_prompts(prepare_slice(image, BOX_FRAME), [Box(100, 100, 149, 149)], BOX_FRAME)
    assert frame.inputs()["detail"].max() == pytest.approx(0.5)
