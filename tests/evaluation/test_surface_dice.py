import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation.surface_dice import SurfaceDistances, contour_nsd, hausdorff, surface_dice, surface_distances
from evaluation.surfels import area_table, contour_table, corner_codes, face_table

QUICK = settings(derandomize=True, max_examples=40, deadline=None)
IMAGES = hnp.arrays(bool, (6, 7))
VOLUMES = hnp.arrays(bool, (3, 4, 4))


def mask(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


PIXEL = mask("......", ".#....", "......")
THREE_RIGHT = mask("......", "....#.", "......")
EMPTY = np.zeros((3, 6), bool)


def contours(reference, prediction, spacing=(1.0, 1.0)) -> SurfaceDistances:
    return surface_distances(reference, prediction, spacing=spacing, table=contour_table(spacing))


def surfaces(reference, prediction, spacing=(1.0, 1.0, 1.0)) -> SurfaceDistances:
    return surface_distances(reference, prediction, spacing=spacing, table=area_table(spacing))


def test_a_single_pixel_has_four_contour_elements_of_half_a_diagonal():
    distances = contours(PIXEL, PIXEL)
    assert distances.reference_measure == pytest.approx([math.sqrt(0.5)] * 4)
    assert distances.reference_to_prediction.tolist() == [0.0] * 4


def test_distances_are_measured_from_corner_to_nearest_corner():
    # Corners of the left pixel are at columns 1 and 2, of the right one at columns 4 and 5.
    assert sorted(contours(PIXEL, THREE_RIGHT).reference_to_prediction.tolist()) == [2.0, 2.0, 3.0, 3.0]


def test_distances_are_in_mm_along_each_axis():
    assert sorted(contours(PIXEL, THREE_RIGHT, (7.0, 0.5)).reference_to_prediction.tolist()) == [
        1,
        1,
        1.5,
        1.5,
    ]
    assert sorted(contours(PIXEL.T, THREE_RIGHT.T, (0.5, 7.0)).reference_to_prediction.tolist()) == [
        1,
        1,
        1.5,
        1.5,
    ]


def test_surface_dice_is_the_share_of_both_contours_within_the_tolerance():
    distances = contours(PIXEL, THREE_RIGHT)
    assert surface_dice(distances, tolerance=1.9) == 0.0
    assert surface_dice(distances, tolerance=2.0) == 0.5  # a distance equal to the tolerance agrees
    assert surface_dice(distances, tolerance=3.0) == 1.0


def test_five_steps_of_two_fifths_of_a_millimetre_are_two_millimetres_everywhere():
    reference, prediction = np.zeros((1, 40), bool), np.zeros((1, 40), bool)
    reference[0, 12], prediction[0, 17] = True, True
    assert surface_dice(contours(reference, prediction, (0.4, 0.4)), tolerance=2.0) == 1.0


def test_hausdorff_is_the_greatest_distance_from_either_side():
    assert hausdorff(contours(PIXEL, THREE_RIGHT)) == 3.0
    both = PIXEL | THREE_RIGHT
    assert hausdorff(contours(PIXEL, both)) == hausdorff(contours(both, PIXEL)) == 3.0


def test_a_percentile_of_hausdorff_counts_contour_length_not_elements():
    distances = SurfaceDistances(
        reference_measure=np.array([1.0, 94.0, 5.0]),
        prediction_measure=np.array([1.0]),
        reference_to_prediction=np.array([9.0, 1.0, 2.0]),
        prediction_to_reference=np.array([1.0]),
    )
    assert hausdorff(distances, percentile=94.0) == 1.0
    assert hausdorff(distances, percentile=95.0) == 2.0
    assert hausdorff(distances, percentile=99.5) == hausdorff(distances) == 9.0


def test_against_an_empty_mask_nothing_agrees_and_the_distance_is_infinite():
    for distances in (contours(PIXEL, EMPTY), contours(EMPTY, PIXEL)):
        assert surface_dice(distances, tolerance=1000.0) == 0.0
        assert hausdorff(distances) == hausdorff(distances, percentile=95.0) == math.inf


def test_two_empty_masks_have_no_surface_to_compare():
    distances = contours(EMPTY, EMPTY)
    assert math.isnan(surface_dice(distances, tolerance=2.0))
    assert math.isnan(hausdorff(distances))


def test_contour_nsd_counts_pixels():
    assert contour_nsd(PIXEL, THREE_RIGHT) == 0.5
    assert contour_nsd(PIXEL, THREE_RIGHT, tolerance_px=3.0) == 1.0
    assert contour_nsd(PIXEL, EMPTY) == 0.0
    assert math.isnan(contour_nsd(EMPTY, EMPTY))


def test_concentric_discs_five_pixels_apart_agree_by_face_but_not_by_contour():
    # Two discs with one centre: radii 60 and 55, tolerance 2 px.
    row, column = np.ogrid[:130, :130]
    large, small = ((row - 64) ** 2 + (column - 64) ** 2 <= radius**2 for radius in (60, 55))
    faces = surface_distances(large, small, spacing=(1.0, 1.0), table=face_table())
    assert surface_dice(faces, tolerance=2.0) == pytest.approx(0.950, abs=5e-4)
    assert contour_nsd(large, small) == 0.0


def test_slabs_three_slices_apart_agree_within_three_slices():
    reference, prediction = np.zeros((8, 5, 5), bool), np.zeros((8, 5, 5), bool)
    reference[1], prediction[4] = True, True
    distances = surfaces(reference, prediction, (0.5, 1.0, 1.0))
    assert hausdorff(distances) == 1.5
    assert surface_dice(distances, tolerance=1.4) == pytest.approx(0.5)  # inner faces are 2 slices apart
    assert surface_dice(distances, tolerance=1.5) == 1.0


def test_the_surface_of_a_cube_is_its_faces_with_bevelled_edges():
    cube = np.ones((3, 3, 3), bool)
    # 6 faces of 2 x 2, 12 edges of 2 cells with sqrt(1/2) each, 8 corners with sqrt(3)/8 each
    assert surfaces(cube, cube).reference_measure.sum() == pytest.approx(24 + 24 * math.sqrt(0.5) + math.sqrt(3))


def test_masks_that_do_not_fit_each_other_or_the_table_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(3, 6\) and \(6, 3\)"):
        contour_nsd(PIXEL, PIXEL.T)
    with pytest.raises(ValueError, match="2D masks"):
        contour_nsd(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool))


@pytest.mark.parametrize("table_of", [contour_table, lambda spacing: face_table()], ids=["contour", "face"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.3, 0.7), (0.2, 4.0)])
def test_near_and_far_neighbours_are_the_nearest_of_all(table_of, spacing):
    reference, prediction = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    reference[3:25, 2:9] = True
    prediction[5:28, 7:26] = True
    prediction[1, 1] = True
    table = table_of(spacing)
    distances = surface_distances(reference, prediction, spacing=spacing, table=table)
    ours, theirs = (np.argwhere(table.is_surface(corner_codes(m))) * spacing for m in (reference, prediction))
    every = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    assert distances.reference_to_prediction == pytest.approx(every.min(axis=1))
    assert distances.prediction_to_reference == pytest.approx(every.min(axis=0))


def test_what_is_too_far_to_matter_may_be_left_unmeasured():
    reference, prediction = np.zeros((1, 40), bool), np.zeros((1, 40), bool)
    reference[0, [5, 30]], prediction[0, 6] = True, True
    whole = contours(reference, prediction)
    short = surface_distances(reference, prediction, spacing=(1.0, 1.0), table=contour_table((1.0, 1.0)), up_to=2.0)
    assert surface_dice(short, tolerance=2.0) == surface_dice(whole, tolerance=2.0)
    assert hausdorff(whole) == 24.0  # right corners at columns 31 and 7
    assert hausdorff(short) == math.inf


@QUICK
@given(IMAGES, IMAGES)
def test_neither_measure_knows_which_contour_is_the_reference(one, other):
    there, back = contours(one, other), contours(other, one)
    assert surface_dice(there, tolerance=1.0) == pytest.approx(surface_dice(back, tolerance=1.0), nan_ok=True)
    assert hausdorff(there) == pytest.approx(hausdorff(back), nan_ok=True)


@QUICK
@given(VOLUMES, VOLUMES, st.tuples(*[st.integers(0, 3)] * 3))
def test_moving_both_masks_together_changes_nothing(one, other, shift):
    before = surfaces(one, other, (2.0, 0.5, 1.0))
    moved = [np.pad(m, [(s, 3 - s) for s in shift]) for m in (one, other)]
    after = surfaces(*moved, (2.0, 0.5, 1.0))
    for tolerance in (0.5, 1.0, 2.0):
        same = surface_dice(after, tolerance=tolerance)
        assert surface_dice(before, tolerance=tolerance) == pytest.approx(same, nan_ok=True)
    assert hausdorff(before) == pytest.approx(hausdorff(after), nan_ok=True)


@QUICK
@given(VOLUMES, VOLUMES, st.sampled_from([0.25, 2.0, 8.0]))
def test_scaling_spacing_and_tolerance_together_changes_only_the_unit(one, other, scale):
    spacing = (2.0, 0.5, 1.0)
    plain = surfaces(one, other, spacing)
    scaled = surfaces(one, other, tuple(scale * step for step in spacing))
    agreed = surface_dice(plain, tolerance=1.0)
    assert surface_dice(scaled, tolerance=scale) == pytest.approx(agreed, nan_ok=True)
    assert hausdorff(scaled) == pytest.approx(scale * hausdorff(plain), nan_ok=True)


@QUICK
@given(IMAGES, IMAGES, st.floats(0, 5), st.floats(0, 5))
def test_a_wider_tolerance_never_lowers_the_agreement(one, other, first, second):
    assume(one.any() or other.any())
    distances = contours(one, other)
    narrow, wide = sorted((first, second))
    assert 0.0 <= surface_dice(distances, tolerance=narrow) <= surface_dice(distances, tolerance=wide) <= 1.0


@QUICK
@given(IMAGES)
def test_a_mask_agrees_with_itself_at_no_tolerance(one):
    assume(one.any())
    distances = contours(one, one)
    assert surface_dice(distances, tolerance=0.0) == 1.0
    assert hausdorff(distances) == 0.0


@QUICK
@given(IMAGES, IMAGES)
def test_a_percentile_is_never_beyond_the_whole(one, other):
    assume(one.any() or other.any())
    distances = contours(one, other)
    assert hausdorff(distances, percentile=95.0) <= hausdorff(distances)


@QUICK
@given(IMAGES, IMAGES)
def test_within_the_hausdorff_distance_everything_agrees(one, other):
    assume(one.any() and other.any())
    distances = contours(one, other)
    assert surface_dice(distances, tolerance=hausdorff(distances)) == 1.0
