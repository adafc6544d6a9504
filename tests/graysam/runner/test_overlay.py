from __future__ import annotations

import cv2
import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.cases import ImageCase, VolumeCase
from graysam.errors import CaseError
from graysam.image.drawing import label_colours
from graysam.runner.overlay import chosen_slices, draw_image, draw_volume, write_overlay


def image_case(image: np.ndarray, *boxes: Box) -> ImageCase:
    return ImageCase("2D_x", None, image, boxes)


def volume_case(volume: np.ndarray, *boxes: VolumeBox) -> VolumeCase:
    return VolumeCase("3D_x", None, volume, boxes)


def test_an_object_is_tinted_and_its_contour_is_opaque():
    image = np.full((600, 1024), 100, np.uint8)  # 1024 wide: drawn as large as it is
    labels = np.zeros((600, 1024), np.uint8)
    labels[200:300, 400:600] = 1
    picture = draw_image(image_case(image), labels)
    colour = label_colours(1)[1]
    assert picture.shape == (600, 1024, 3)
    assert picture[10, 10].tolist() == [100, 100, 100]
    assert picture[200, 500].tolist() == colour.tolist()  # the object's first row
    assert np.allclose(picture[250, 500], 0.65 * 100 + 0.35 * colour.astype(float), atol=1)
    assert picture[301, 500].tolist() == [100, 100, 100]


def test_boxes_are_framed_in_their_label_s_colour_where_they_lie():
    image = np.zeros((512, 1024), np.uint8)
    picture = draw_image(image_case(image, Box(10, 20, 30, 40), Box(100, 120, 130, 140)), image)
    colours = label_colours(2)
    for label, (x, y) in {1: (10, 20), 2: (130, 140)}.items():
        assert picture[y, x].tolist() == colours[label].tolist()
    assert picture[30, 20].tolist() == [0, 0, 0]  # nothing inside


def test_colour_images_keep_their_colour_and_opencv_s_order_is_blue_first():
    image = np.zeros((1024, 1024, 3), np.uint8)
    image[:, :, 0] = 200  # red
    picture = draw_image(image_case(image), np.zeros((1024, 1024), np.uint8))
    assert picture[5, 5].tolist() == [0, 0, 200]


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((1, 1), (2, 2)),
        ((3, 500), (6, 1000)),
        ((512, 512), (1024, 1024)),
        ((3000, 4000), (768, 1024)),
        ((4, 9000), (1, 1024)),
    ],
)
def test_any_size_of_image_gives_a_picture_of_at_most_1024_pixels_a_side(size, drawn):
    assert draw_image(image_case(np.zeros(size, np.uint8)), np.zeros(size, np.uint8)).shape[:2] == drawn


@pytest.mark.parametrize("image", [np.full((8, 8), 7.5, np.float32), np.linspace(-1e3, 3e3, 64).reshape(8, 8)])
def test_float_images_are_shown_by_their_own_range_and_constant_ones_black(image):
    picture = draw_image(image_case(image.astype(np.float32)), np.zeros((8, 8), np.uint8))
    wanted = {0} if image.min() == image.max() else {0, 255}
    assert {int(picture.min()), int(picture.max())} == wanted


def test_labels_beyond_255_have_colours_of_their_own_and_shrinking_mixes_none():
    labels = np.zeros((2048, 1024), np.uint16)
    labels[:1024], labels[1024:] = 300, 44  # 300 - 256 = 44: 8 bits would confuse the two
    picture = draw_image(image_case(np.zeros((2048, 1024), np.uint8)), labels)
    top, bottom = picture[256, 256].astype(int), picture[768, 256].astype(int)
    assert np.abs(top - bottom).max() > 20


def test_next_labels_differ_clearly_and_the_background_is_black():
    colours = label_colours(300).astype(int)
    assert colours.shape == (301, 3)
    assert colours[0].tolist() == [0, 0, 0]
    assert np.abs(np.diff(colours[1:], axis=0)).max(axis=1).min() > 60


@pytest.mark.parametrize(
    ("depth", "spans", "wanted"),
    [
        (5, [], [0, 1, 2, 3, 4]),
        (100, [(3, 5), (4, 8)], [3, 4, 5, 6, 7, 8]),
        (100, [(7, 7)], [7]),
        (1000, [(0, 999)], [0, 91, 182, 272, 363, 454, 545, 636, 727, 817, 908, 999]),
    ],
)
def test_the_sheet_spans_the_boxes_with_at_most_12_slices_and_both_ends(depth, spans, wanted):
    boxes = [VolumeBox(Box(0, 0, 1, 1), low, high) for low, high in spans]
    assert chosen_slices(volume_case(np.zeros((depth, 2, 2), np.uint8), *boxes)) == wanted


def test_tiles_lie_in_rows_two_pixels_apart():
    # 5 slices of 128 x 64, enlarged twice: 3 columns and 2 rows
    sheet = draw_volume(volume_case(np.full((5, 128, 64), 50, np.uint8)), np.zeros((5, 128, 64), np.uint8))
    assert sheet.shape == (2 * 256 + 2, 3 * 128 + 4, 3)
    assert sheet[300, 128].tolist() == [0, 0, 0]  # the gap
    assert sheet[200, 64].tolist() == [50, 50, 50]


def test_a_volume_s_box_is_drawn_on_the_tile_of_its_middle_slice_only():
    volume = np.zeros((3, 128, 128), np.uint8)
    sheet = draw_volume(volume_case(volume, VolumeBox(Box(60, 60, 100, 100), 0, 2)), volume)
    tiles = [sheet[:256, :256], sheet[:256, 258:514], sheet[258:514, :256]]
    framed = [bool(tile[121:202, 121:202].any()) for tile in tiles]  # x and y 60 to 100, enlarged twice
    assert framed == [False, True, False]


def test_the_png_is_written_whole_and_read_back(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    case = image_case(image, Box(1, 1, 20, 20))
    write_overlay(tmp_path / "x.png", case, np.zeros((40, 50), np.uint8))
    assert np.array_equal(cv2.imread(str(tmp_path / "x.png")), draw_image(case, np.zeros((40, 50), np.uint8)))
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    with pytest.raises(CaseError, match=r"x\.png: cannot be written"):
        write_overlay(tmp_path / "nowhere" / "x.png", case, np.zeros((40, 50), np.uint8))
