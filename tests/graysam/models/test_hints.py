"""What a prompt says beyond its box, drawn by hand on a view of 8 x 8 cells, so maps of 4 x 4."""

import numpy as np
import pytest

from graysam.boxes import Box
from graysam.image.geometry import BoxView, CanvasFit
from graysam.models.hints import HINT_MAPS, draw_hints
from graysam.prompts import BoxFit, Click, Prompt, box_rows

FIT = CanvasFit.for_image((64, 64), 64)
# The window covers pixels 8 to 23 in x and y: each of the 4 x 4 cells of a map is 4 pixels wide.
BOX = Box(12, 12, 19, 19)
VIEW = BoxView(BOX, FIT, grid=8, x_start=8, y_start=8, x_stop=24, y_stop=24)


def maps(**said) -> dict[str, np.ndarray]:
    return dict(zip(HINT_MAPS, draw_hints(VIEW, Prompt(BOX, **said)), strict=True))


def test_a_prompt_of_a_box_alone_says_nothing_more():
    hints = draw_hints(VIEW, Prompt(BOX))
    assert hints.shape == (7, 4, 4)
    assert hints.dtype == np.float32
    assert not hints.any()


def test_a_smaller_box_is_a_dome_over_its_ellipse():
    # The box of 8 x 4 pixels covers the two middle columns and, half, the two middle rows. A cell's centre lies 2 of 4
    # pixels from the box's middle across and 2 of 2 down: 1 - 0.25 - 1 < 0 in the box of that height, so take 8 x 8
    # less a row: centre (16, 15.5) of 8 x 7: 1 - (2/4)**2 - (1.5/3.5)**2 above and 1 - 0.25 - (2.5/3.5)**2 below.
    found = maps(others=box_rows([Box(12, 12, 19, 18)]))
    above, below = 1 - 0.25 - (1.5 / 3.5) ** 2, 1 - 0.25 - (2.5 / 3.5) ** 2
    expected = [[0, 0, 0, 0], [0, above, above, 0], [0, below, below, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(found["smaller"], expected, atol=1e-6)
    assert not found["larger"].any()


def test_a_larger_box_stands_on_its_own_map_and_one_out_of_view_on_none():
    found = maps(others=box_rows([Box(0, 0, 31, 31), Box(40, 40, 60, 60)]))
    # 32 x 32 about (16, 16): the four cells about the middle lie 2 of 16 pixels off on each axis
    assert found["larger"][1, 1] == pytest.approx(1 - 2 * (2 / 16) ** 2)
    assert (found["larger"] > 0).all()
    assert not found["smaller"].any()


def test_the_prompts_own_box_among_the_others_counts_as_its_own():
    assert not draw_hints(VIEW, Prompt(BOX, others=box_rows([BOX]))).any()


def test_clicks_are_discs_on_the_map_of_their_kind():
    found = maps(clicks=(Click(9, 9, is_inside=True), Click(22, 14, is_inside=False)))
    assert found["inside"].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert found["outside"].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("fit", "level"), [("tight", 1), ("loose", -1), ("unknown", 0)])
def test_how_the_box_fits_is_the_same_number_everywhere(fit: BoxFit, level: int):
    assert (maps(fit=fit)["fit"] == level).all()


def test_an_earlier_answer_is_1_inside_and_minus_1_outside():
    answer = np.zeros((64, 64), bool)
    answer[8:16, 8:16] = True
    found = maps(previous=answer)
    assert found["previous"].tolist() == [[1, 1, -1, -1], [1, 1, -1, -1], [-1, -1, -1, -1], [-1, -1, -1, -1]]


@pytest.mark.parametrize(("place", "shown"), [(0.0, 0.0), (0.6, -0.2), (-0.6, -0.2), (1.0, -1.0), (1.2, -1.0)])
def test_the_place_is_by_how_much_an_ellipsoid_is_smaller_there(place, shown):
    assert maps(place=place)["place"] == pytest.approx(shown)
