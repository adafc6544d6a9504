"""The points and the scribble that Swin-LiteMedSAM is shown besides a box."""

from dataclasses import replace

import numpy as np
import pytest

from graysam.boxes import Box
from graysam.image.preprocessing import prepare_slice
from graysam.models.frames import frame_prompts
from graysam.models.scribbles import ScribbleFrame, drawn_scribble, middle_points, object_points
from graysam.models.spec import SWIN_LITEMEDSAM
from graysam.prompts import Click, Prompt

SPEC = replace(SWIN_LITEMEDSAM, canvas=64)
IMAGE = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)  # a pixel of it is two of the canvas


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def inputs(*prompts: Prompt) -> dict[str, np.ndarray]:
    return frame_prompts(prepare_slice(IMAGE, SPEC), prompts, SPEC).inputs()


def test_points_lie_in_the_four_quarters_of_the_middle_of_a_box():
    # Of a box from 10 to 50 between a fifth and a half is taken off each side: all lies within 18 and 42.
    for seed in range(20):
        points = middle_points(Box(10, 10, 50, 50), generator(seed))
        assert points.min() >= 18
        assert points.max() <= 42
        is_right, is_below = points[:, 0] >= 30, points[:, 1] >= 30
        assert is_right.tolist() == [False, False, True, True]
        assert is_below.tolist() == [False, True, True, False]


def test_in_training_each_point_is_a_pixel_of_the_object_in_its_quarter_or_the_middle():
    # An object in the left half of its box only: pixels of the upper and of the lower left quarter.
    mask = np.zeros((8, 8), bool)
    mask[1, 2], mask[6, 1] = True, True
    points = object_points(Box(0, 0, 7, 7), mask, generator())
    assert points == [(2, 1), (1, 6), (4, 4), (4, 4)]


@pytest.mark.parametrize("seed", range(5))
def test_a_scribble_stays_inside_its_box_and_is_never_empty(seed: int):
    drawn = drawn_scribble(Box(10, 20, 40, 30), 64, generator(seed))
    assert set(np.unique(drawn)) == {0, 1}
    assert not drawn[:20].any()
    assert not drawn[31:].any()
    assert not drawn[:, :10].any()
    assert not drawn[:, 41:].any()
    assert drawn_scribble(Box(63.2, 63.4, 63.3, 63.4), 64, generator(seed)).sum() == 1


def test_what_is_drawn_for_a_box_is_always_the_same_and_differs_between_boxes():
    first, again = inputs(Prompt(Box(4, 4, 20, 20))), inputs(Prompt(Box(4, 4, 20, 20)), Prompt(Box(4, 4, 21, 20)))
    assert first["points_canvas"].shape == (1, 4, 2)
    assert first["scribble"].shape == (1, 1, 64, 64)
    for name, values in first.items():
        np.testing.assert_array_equal(values[0], again[name][0])
        assert not np.array_equal(again[name][0], again[name][1]), name


def test_clicks_inside_the_object_take_the_place_of_drawn_points():
    box = Box(4, 4, 20, 20)
    drawn = inputs(Prompt(box))["points_canvas"][0]
    clicked = inputs(Prompt(box, clicks=(Click(7, 9, is_inside=True), Click(1, 1, is_inside=False))))["points_canvas"][
        0
    ]
    assert clicked[0].tolist() == [14, 18]  # two canvas pixels for one of the slice
    np.testing.assert_array_equal(clicked[1:], drawn[1:])


def test_training_shows_points_of_the_object_and_another_scribble_each_time():
    mask = np.zeros((32, 32), bool)
    mask[10:14, 10:14] = True
    prompt, rng = Prompt(Box(4, 4, 20, 20)), generator()
    first, second = (inputs(ScribbleFrame.taught(prompt, mask, rng)) for _ in range(2))
    for points in (first["points_canvas"][0], second["points_canvas"][0]):
        assert all(mask[int(y) // 2, int(x) // 2] for x, y in points)
    assert not np.array_equal(first["scribble"], second["scribble"])
