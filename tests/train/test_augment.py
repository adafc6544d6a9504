from dataclasses import replace

import numpy as np
from conftest import disc
from hypothesis import given, settings
from hypothesis import strategies as st

from graysam.geometry import Box, box_around
from train.augment import change_intensity, draw_warp, noisy_box, propagated_box, warp_image, warp_mask
from train.config import DataConfig
from train.synthetic import superpixel_mask, synthetic_slice

BOX = Box(10, 20, 29, 59)


def test_a_flip_moves_image_and_mask_alike():
    flip = np.array([[-1.0, 0, 7], [0, 1, 0]])
    mask = np.zeros((8, 8), bool)
    mask[2:4, 0:3] = True
    moved = warp_mask(mask, flip)
    assert box_around(moved) == Box(5, 2, 7, 3)
    np.testing.assert_array_equal(warp_image(mask.astype(np.uint8), flip) > 0, moved)


def test_a_warp_that_would_lose_an_object_is_not_drawn():
    nothing_left = [np.zeros((48, 48), bool)]
    assert draw_warp((48, 48), nothing_left, np.random.default_rng(0)) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_a_drawn_warp_keeps_at_least_half_of_every_object(seed: int):
    mask = disc(24, 24, 9)
    matrix = draw_warp((48, 48), [mask], np.random.default_rng(seed))
    if matrix is not None:
        grown = abs(np.linalg.det(matrix[:, :2]))
        assert warp_mask(mask, matrix).sum() >= 0.5 * grown * mask.sum()


def test_intensity_changes_keep_shape_and_dtype():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    for seed in range(12):
        changed = change_intensity(image, np.random.default_rng(seed))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8


def test_a_share_of_one_leaves_every_box_tight():
    config = replace(DataConfig(), tight=1.0)
    box = noisy_box(BOX, canvas_scale=1.0, size_hw=(100, 100), config=config, rng=np.random.default_rng(0))
    assert box == BOX


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 4))
def test_a_noisy_box_stays_in_the_slice_and_keeps_an_area(seed: int, scale: float):
    config = replace(DataConfig(), tight=0.0)
    box = noisy_box(BOX, canvas_scale=scale, size_hw=(64, 40), config=config, rng=np.random.default_rng(seed))
    assert 0 <= box.x_min < box.x_max <= 39
    assert 0 <= box.y_min < box.y_max <= 63


def test_a_box_handed_on_is_the_neighbours_with_sides_off_by_about_a_tenth_and_a_pixel_or_two():
    mask = np.zeros((100, 100), bool)
    mask[40:60, 30:50] = True
    boxes = [propagated_box(mask, canvas_scale=1.0, rng=np.random.default_rng(seed)) for seed in range(200)]
    sides = np.stack([box.as_array() for box in boxes if box is not None])
    np.testing.assert_allclose(sides.mean(axis=0), [30, 40, 49, 59], atol=0.5)
    # Half of a tenth of 20 pixels, and a uniform error of up to 1.5: sd of sqrt(1 + 0.75) = 1.3
    np.testing.assert_allclose(sides.std(axis=0), 1.3, atol=0.4)


def test_nothing_is_handed_on_where_the_neighbour_is_empty():
    assert propagated_box(np.zeros((8, 8), bool), canvas_scale=1.0, rng=np.random.default_rng(0)) is None


def test_drawn_shapes_come_as_many_as_asked_for_and_can_be_seen():
    for seed in range(5):
        image, masks = synthetic_slice(3, np.random.default_rng(seed))
        assert image.dtype == np.uint8
        assert len(masks) == 3
        assert all(mask.shape == image.shape and mask.sum() >= 60 for mask in masks)


def test_a_superpixel_is_one_region_of_the_slice_itself():
    image = np.zeros((100, 80), np.uint8)
    image[:, 40:] = 200
    found = [superpixel_mask(image, np.random.default_rng(seed)) for seed in range(10)]
    masks = [mask for mask in found if mask is not None]
    assert masks
    for mask in masks:
        assert mask.shape == image.shape
        # A region does not cross the edge by more than its line's width.
        assert min(mask[:, :39].sum(), mask[:, 41:].sum()) <= 0.25 * mask.sum()
