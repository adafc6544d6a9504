import math

import numpy as np
import pytest

from evaluation.surfels import area_table, contour_table, corner_codes, face_table

UNIT = (1.0, 1.0, 1.0)


def code_of(*voxels: tuple[int, ...]) -> int:
    """Give the code of a cell whose foreground is at these offsets."""
    return sum(1 << int("".join(map(str, voxel)), 2) for voxel in voxels)


def test_one_pixel_touches_four_corners_and_each_sees_it_from_its_own_side():
    # The corner above left has the pixel at offset (1, 1), bit 3; the one below right at (0, 0), bit 0.
    assert corner_codes(np.ones((1, 1), bool)).tolist() == [[8, 4], [2, 1]]


def test_corner_codes_of_a_volume_have_one_bit_per_voxel_around():
    codes = corner_codes(np.ones((1, 1, 1), bool))
    assert codes.shape == (2, 2, 2)
    assert sorted(codes.ravel().tolist()) == [1, 2, 4, 8, 16, 32, 64, 128]


def test_beyond_the_array_is_background():
    # Of the corners of a full 2 x 2 image only the middle one is all foreground.
    assert (corner_codes(np.ones((2, 2), bool)) == 0b1111).tolist() == [
        [False, False, False],
        [False, True, False],
        [False, False, False],
    ]


def test_a_contour_cuts_corners_and_follows_rows_and_columns():
    length = contour_table((3.0, 4.0)).measure  # rows 3 mm apart, columns 4 mm
    assert length[code_of((0, 0))] == 2.5  # half the diagonal of 3 x 4
    assert length[code_of((0, 0), (0, 1), (1, 0))] == 2.5
    assert length[code_of((0, 0), (0, 1))] == 4.0  # a horizontal edge, one column long
    assert length[code_of((0, 0), (1, 0))] == 3.0
    assert length[code_of((0, 0), (1, 1))] == 5.0  # two corners cut off
    assert length[0b0000] == length[0b1111] == 0.0


def test_the_contour_of_a_square_is_its_perimeter_with_cut_corners():
    codes = corner_codes(np.ones((3, 3), bool))
    # Between pixel centres: four sides of 2, and four cut corners of half a diagonal.
    assert contour_table((1.0, 1.0)).measure[codes].sum() == pytest.approx(8 + 4 * math.sqrt(0.5))


def test_a_flat_boundary_in_a_cell_has_the_area_of_its_face():
    area = area_table((2.0, 3.0, 5.0)).measure
    assert area[code_of((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1))] == pytest.approx(15.0)  # across axis 0
    assert area[code_of((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1))] == pytest.approx(10.0)  # across axis 1
    assert area[code_of((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0))] == pytest.approx(6.0)  # across axis 2


def test_one_voxel_is_cut_off_by_a_triangle_through_three_edge_middles():
    # An equilateral triangle with sides of sqrt(1/2): sqrt(3) / 4 * 1/2.
    assert area_table(UNIT).measure[code_of((0, 1, 1))] == pytest.approx(math.sqrt(3) / 8)


def test_two_neighbours_are_cut_off_by_a_rectangle():
    assert area_table(UNIT).measure[code_of((0, 0, 0), (0, 0, 1))] == pytest.approx(math.sqrt(0.5))


def test_diagonal_voxels_are_cut_off_one_by_one():
    area = area_table(UNIT).measure
    alone = area[code_of((0, 0, 0))]
    assert area[code_of((0, 0, 0), (0, 1, 1))] == pytest.approx(2 * alone)
    assert area[code_of((0, 0, 0), (1, 1, 1))] == pytest.approx(2 * alone)
    assert area[code_of((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))] == pytest.approx(4 * alone)


def test_foreground_and_background_share_their_boundary():
    area = area_table((0.7, 1.3, 2.9)).measure
    np.testing.assert_allclose(area, area[::-1])  # code 255 - c is code c inside out


def test_every_mixed_cell_is_a_boundary_element_with_an_area():
    table = area_table(UNIT)
    codes = np.arange(256, dtype=np.uint8)
    assert table.is_surface(codes).tolist() == [False] + 254 * [True] + [False]
    assert (table.measure[1:255] > 0.2).all()


def test_areas_do_not_change_when_axes_trade_places():
    area = area_table(UNIT).measure
    for voxels in ([(0, 0, 0), (0, 0, 1), (0, 1, 0)], [(0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1)]):
        turned = [voxel[1:] + voxel[:1] for voxel in voxels]
        assert area[code_of(*voxels)] == pytest.approx(area[code_of(*turned)])


def test_an_image_taken_for_a_slab_has_its_whole_face_as_boundary_twice():
    table = face_table()
    assert table.measure[0b1111] == pytest.approx(2.0)  # 1 in front, 1 behind
    assert table.is_surface(np.arange(16, dtype=np.uint8)).tolist() == [False] + 15 * [True]
    # A corner pixel: one triangle in front and one behind.
    assert table.measure[0b0001] == pytest.approx(2 * math.sqrt(3) / 8)


def test_the_face_table_equals_a_volume_of_one_slice():
    image = np.array([[1, 1, 0, 1], [0, 1, 0, 0], [1, 1, 1, 0]], bool)
    volume = area_table(UNIT).measure[corner_codes(image[:, :, None])].sum(axis=2)
    np.testing.assert_allclose(face_table().measure[corner_codes(image)], volume)
