"""Frames: what a box means, and that the ways to the canvas and to a view lead back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graysam.boxes import Box, VolumeBox, box_around
from graysam.image.geometry import BoxView, CanvasFit, PictureFit, resample


def test_box_around_covers_the_mask_and_includes_its_last_row_and_column():
    mask = np.array(
        [
            [0, 0, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 0],
        ],
        bool,
    )
    assert box_around(mask) == Box(x_min=1, y_min=1, x_max=2, y_max=2)


def test_box_around_an_empty_mask_is_none():
    assert box_around(np.zeros((3, 4), bool)) is None


def test_a_box_counts_its_pixels_and_is_made_again_from_centre_and_size():
    box = Box(2, 3, 5, 3)
    assert (box.centre, box.width, box.height) == ((3.5, 3), 4, 1)
    assert Box.about(box.centre, width=4, height=1) == box
    assert Box.about((3, 3), width=0, height=0) == Box(3, 3, 3, 3)  # never less than a pixel


def test_a_box_is_cut_at_the_borders_of_the_image():
    assert Box(-2, -2, 8, 9).within((7, 10)) == Box(0, 0, 8, 6)
    assert Box(20, 1, 30, 2).within((7, 10)) == Box(9, 1, 9, 2)


def test_the_cross_section_of_a_volume_box_is_that_of_the_ellipsoid_in_it():
    # Slices 0..9: centre 4.5, radius 5. Slice 0 lies 0.9 radii off: sqrt(1 - 0.81) = 0.436; slice 4 0.1 radii: 0.995.
    box = VolumeBox(Box(0, 0, 99, 49), 0, 9)
    assert box.cross_section(0).width == pytest.approx(43.6, abs=0.05)
    assert box.cross_section(0).height == pytest.approx(21.8, abs=0.05)
    assert box.cross_section(9) == box.cross_section(0)
    assert box.cross_section(4).centre == (49.5, 24.5)
    assert box.cross_section(30).width == 1  # beyond the ends nothing is left but the centre


@pytest.mark.parametrize(
    ("size_hw", "content_hw"),
    [
        ((256, 256), (256, 256)),
        ((512, 256), (256, 128)),
        ((100, 200), (128, 256)),
        ((3, 500), (2, 256)),  # 3 * 256 / 500 = 1.5, rounded up
        ((1, 4000), (1, 256)),  # 0.06, but a slice never vanishes
        ((1, 1), (256, 256)),
    ],
)
def test_the_longest_side_fills_the_canvas(size_hw, content_hw):
    assert CanvasFit.for_image(size_hw).content_hw == content_hw


def test_a_box_is_scaled_as_floats_so_that_a_tiny_one_does_not_collapse():
    fit = CanvasFit.for_image((3024, 4032))  # scale 256 / 4032 = 4 / 63
    box = fit.box_to_canvas(Box(63, 126, 189, 252))
    assert box.as_array() == pytest.approx([4, 8, 12, 16])
    small = fit.box_to_canvas(Box(5, 5, 9, 9))
    assert small.x_max > small.x_min


def test_the_padding_lies_right_and_below_and_is_zero():
    fit = CanvasFit.for_image((128, 256))
    canvas = fit.pad(fit.to_content(np.ones((128, 256), np.float32)))
    assert canvas[:128].min() == 1
    assert canvas[128:].max() == 0


def test_a_mask_drawn_on_the_canvas_comes_back_at_the_original_size():
    fit = CanvasFit.for_image((512, 384))
    logits = np.full((256, 256), -4.0, np.float32)
    logits[64:128, 32:96] = 4.0  # canvas rows 64..127 are original rows 128..255
    mask = fit.to_original(logits) > 0
    assert mask.shape == (512, 384)
    assert box_around(mask) == Box(64, 128, 191, 255)


def test_logits_on_a_coarser_grid_are_first_brought_to_the_canvas():
    fit = CanvasFit.for_image((256, 256))
    assert fit.to_original(np.ones((64, 64), np.float32)).shape == (256, 256)


@pytest.mark.parametrize("new_hw", [(4, 4), (8, 2), (2, 8), (16, 2), (8, 4), (4, 16), (8, 8)])
def test_resampling_a_constant_image_gives_the_constant_whatever_grows_or_shrinks(new_hw):
    resized = resample(np.full((8, 4), 7, np.uint8), new_hw)
    assert resized.shape == new_hw
    assert (resized == 7).all()


def test_shrinking_one_axis_while_the_other_grows_still_averages():
    stripes = np.tile(np.array([0, 100], np.float32), (2, 4))  # columns 0 100 0 100 ...
    resized = resample(stripes, (4, 2))  # 8 columns into 2: every one the mean of four
    assert resized == pytest.approx(np.full((4, 2), 50.0))


def test_colour_keeps_its_axis_when_resampled():
    assert resample(np.zeros((8, 8, 3), np.uint8), (4, 4)).shape == (4, 4, 3)


class TestPictureFit:
    def test_the_longer_side_has_the_wanted_length_and_the_proportions_stay(self):
        assert PictureFit.for_image((100, 400), 200) == PictureFit((200, 50), 0.5)
        assert PictureFit.for_image((3, 500), 100).size_wh == (100, 1)  # never less than one pixel

    def test_small_slices_are_not_enlarged_without_bounds(self):
        assert PictureFit.for_image((10, 20), 1000, largest_enlargement=2.0) == PictureFit((40, 20), 2.0)

    def test_the_corners_of_a_box_are_its_first_and_last_pixel_in_the_picture(self):
        fit = PictureFit.for_image((10, 20), 40)  # each pixel becomes 2 x 2
        # pixel 3 covers the picture's pixels 6 and 7; its centre, 3.5 * 2 - 0.5 = 6.5, is rounded to the even one
        assert fit.corners(Box(3, 0, 5, 4)) == ((6, 0), (10, 8))


class TestBoxView:
    """A window of whole pixels with 15 % of the box and 5 canvas pixels of room on every side."""

    fit = CanvasFit.for_image((256, 256))

    def test_its_edges_follow_from_the_margins(self):
        # 20 x 40 pixels: margins 0.15 * 20 + 5 = 8 and 0.15 * 40 + 5 = 11
        view = BoxView.around(Box(100, 100, 119, 139), self.fit, grid=32)
        assert (view.x_start, view.x_stop) == (92, 128)
        assert (view.y_start, view.y_stop) == (89, 151)

    def test_the_box_has_its_place_in_the_view(self):
        view = BoxView.around(Box(100, 100, 119, 139), self.fit, grid=32)
        # 8 of 36 columns lie left of the box, 11 of 62 rows above it
        assert view.box_in_view() == pytest.approx([8 / 36, 11 / 62, 28 / 36, 51 / 62])

    def test_the_view_has_its_place_on_the_canvas(self):
        fit = CanvasFit.for_image((512, 512))  # half scale; 5 canvas pixels are 10 original ones
        view = BoxView.around(Box(200, 200, 219, 219), fit, grid=32)  # margin 3 + 10
        assert view.view_in_canvas() == pytest.approx(np.array([187, 187, 233, 233]) / 512)

    def test_it_reaches_over_the_border_and_sees_zeros_there(self):
        image = np.full((256, 256), 9, np.uint8)
        view = BoxView.around(Box(0, 0, 19, 19), self.fit, grid=36)  # 20 + 2 * 8: one cell a pixel
        seen = view.sample(image)
        assert (seen[:8] == 0).all()
        assert (seen[:, :8] == 0).all()
        assert (seen[8:, 8:] == 9).all()

    def test_what_comes_back_covers_only_the_image(self):
        view = BoxView.around(Box(0, 0, 19, 19), self.fit, grid=36)
        (rows, columns), values = view.to_original(np.ones((36, 36), np.float32))
        assert (rows, columns) == (slice(0, 28), slice(0, 28))
        assert values.shape == (28, 28)

    def test_a_view_wholly_outside_the_image_is_empty(self):
        view = BoxView.around(Box(-90, -90, -80, -80), self.fit, grid=16)
        assert (view.sample(np.ones((256, 256), np.uint8)) == 0).all()
        _, values = view.to_original(np.ones((16, 16), np.float32))
        assert values.size == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(20, 400),
    width=st.integers(20, 400),
    corner=st.tuples(st.floats(0, 0.7), st.floats(0, 0.7)),
    extent=st.tuples(st.floats(0.1, 0.3), st.floats(0.1, 0.3)),
)
def test_a_filled_rectangle_survives_the_way_into_a_view_and_back(height, width, corner, extent):
    x_min, y_min = int(corner[0] * width), int(corner[1] * height)
    x_max, y_max = x_min + int(extent[0] * width), y_min + int(extent[1] * height)
    mask = np.zeros((height, width), np.float32)
    mask[y_min : y_max + 1, x_min : x_max + 1] = 1
    view = BoxView.around(Box(x_min, y_min, x_max, y_max), CanvasFit.for_image((height, width)), grid=128)
    window, values = view.to_original(view.sample(mask) - 0.5)
    back = np.zeros((height, width), bool)
    back[window] = values > 0
    wrong = np.logical_xor(back, mask > 0)
    # at most the contour may differ, where a window larger than the grid shrinks
    assert wrong.sum() <= 2 * (x_max - x_min + y_max - y_min + 4)
