from dataclasses import replace

import numpy as np
import pytest
from drawn_slices import disc
from hypothesis import given, settings
from hypothesis import strategies as st

from graysam.boxes import Box, box_around
from graysam.inference.propagation import expected_box
from train.augment.boxes import noisy_box
from train.augment.image import FULL, STRONG, Warp, bent, change_intensity, draw_warp, random_affine, warp_mask
from train.augment.memory import NEXT_BOX_OFF_CANVAS_PX, TRUE_MASK_SHARE, mistaken_mask, propagated_box
from train.config import DataConfig
from train.synthetic import superpixel_mask, synthetic_slice

BOX = Box(10, 20, 29, 59)
GIVEN = DataConfig(tight=0.7, proportional=0.0, outwards=0.0, jitter_px=5.0)


def test_a_flip_moves_image_and_mask_alike():
    flip = Warp(np.array([[-1.0, 0, 7], [0, 1, 0]]))
    mask = np.zeros((8, 8), bool)
    mask[2:4, 0:3] = True
    moved = warp_mask(mask, flip)
    assert box_around(moved) == Box(5, 2, 7, 3)
    np.testing.assert_array_equal(flip.moved(mask.astype(np.uint8)) > 0, moved)


def test_a_warp_that_would_lose_an_object_is_not_drawn():
    nothing_left = [np.zeros((48, 48), bool)]
    assert draw_warp((48, 48), nothing_left, np.random.default_rng(0)) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_a_drawn_warp_keeps_at_least_half_of_every_object(seed: int):
    mask = disc(24, 24, 9)
    warp = draw_warp((48, 48), [mask], np.random.default_rng(seed), STRONG)
    if warp is not None:
        grown = abs(np.linalg.det(warp.matrix[:, :2]))
        assert warp_mask(mask, warp).sum() >= 0.5 * grown * mask.sum()


def turned_by_degrees(matrix: np.ndarray) -> float:
    """Give by how much a map turns the first axis, flips undone."""
    across, down = matrix[0, 0], matrix[1, 0]
    return float(np.degrees(np.arctan2(abs(down), abs(across))))


def test_only_the_strong_changes_turn_slices_by_any_angle_and_leave_few_unblurred():
    angles, plain = {}, {}
    for name, strength in {"full": FULL, "strong": STRONG}.items():
        drawn = [random_affine(48, 48, np.random.default_rng(seed), strength) for seed in range(200)]
        angles[name] = sorted(turned_by_degrees(matrix) for matrix in drawn)
        plain[name] = np.mean([set(np.abs(matrix[:, :2]).ravel().tolist()) == {0.0, 1.0} for matrix in drawn])
    assert np.mean(np.array(angles["full"]) > 50) < 0.01
    assert np.mean(np.array(angles["strong"]) > 50) > 0.04
    assert plain["full"] == pytest.approx(0.5, abs=0.1)
    assert plain["strong"] == pytest.approx(0.15, abs=0.07)


def test_a_bend_of_no_spread_is_the_plain_warp():
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    plain = Warp(random_affine(40, 56, np.random.default_rng(3), STRONG))
    straight = bent(plain, (40, 56), np.random.default_rng(0), replace(STRONG, bend=0.0))
    inside = slice(6, -6)  # at the border the two OpenCV functions round differently
    difference = np.abs(plain.moved(image).astype(int) - straight.moved(image))[inside, inside]
    assert np.quantile(difference, 0.95) <= 12  # warpAffine rounds positions to 1 / 32 pixel, and the image is noise


def test_a_bend_moves_image_and_mask_alike_and_changes_both():
    mask = disc(24, 24, 9)
    warp = bent(Warp(np.eye(2, 3)), (48, 48), np.random.default_rng(1), STRONG)
    np.testing.assert_array_equal(warp.moved(mask.astype(np.uint8) * 255) > 127, warp_mask(mask, warp))
    assert 0.5 < overlap(warp_mask(mask, warp), mask) < 0.99


def test_a_bend_hardly_ever_folds_the_slice():
    kept, sizes = [], []
    for seed in range(40):
        sources = bent(Warp(np.eye(2, 3)), (96, 64), np.random.default_rng(seed), STRONG).sources
        assert sources is not None
        across, down = np.diff(sources, axis=1)[:-1], np.diff(sources, axis=0)[:, :-1]
        areas = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]  # of the cells that pixels come from
        kept.append(np.mean(areas > 0))
        sizes.append(areas.mean())
    assert np.mean(kept) > 0.999
    assert np.mean(sizes) == pytest.approx(1, abs=0.1)


def test_boxes_are_all_off_or_all_tight_as_the_share_says():
    boxes = [
        noisy_box(
            BOX,
            canvas_scale=1.0,
            size_hw=(100, 100),
            config=DataConfig(tight=share),
            rng=np.random.default_rng(seed),
        )[0]
        for share in (0.0, 1.0)
        for seed in range(20)
    ]
    assert all(box != BOX for box in boxes[:20])
    assert all(box == BOX for box in boxes[20:])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DataConfig(tight=0.0, proportional=1.0), Box(9, 17, 27, 61)),
        (DataConfig(tight=0.0, proportional=0.0, outwards=1.0), Box(11, 21, 31, 64)),
        (DataConfig(tight=0.0, proportional=0.0, outwards=0.0), Box(7, 17, 31, 62)),
    ],
)
def test_boxes_are_those_that_earlier_runs_were_trained_with(config: DataConfig, expected: Box):
    rng = np.random.default_rng(0)
    assert noisy_box(BOX, canvas_scale=1.0, size_hw=(100, 100), config=config, rng=rng)[0] == expected


def test_intensity_changes_keep_shape_and_dtype():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    for seed in range(12):
        changed = change_intensity(image, np.random.default_rng(seed))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8


def test_a_share_of_one_leaves_every_box_tight():
    config = replace(DataConfig(), tight=1.0)
    box, fit = noisy_box(BOX, canvas_scale=1.0, size_hw=(100, 100), config=config, rng=np.random.default_rng(0))
    assert box == BOX
    assert fit == "tight"


def test_the_shares_of_the_kinds_of_noise_are_those_of_the_config():
    wide = Box(100, 100, 299, 109)  # 200 x 10: a tenth of its sides is 20 and 1 pixels, the outward kind is at most 5
    drawn = {}
    for kind, shares in {"proportional": (0, 1, 0), "outwards": (0, 0, 1), "by pixels": (0, 0, 0)}.items():
        tight, proportional, outwards = shares
        config = DataConfig(
            tight=tight,
            proportional=proportional,
            outwards=outwards,
            jitter_share=0.1,
            jitter_px=3.0,
            outwards_share=0.0,
        )
        boxes = [
            noisy_box(wide, canvas_scale=1.0, size_hw=(400, 400), config=config, rng=np.random.default_rng(seed))[0]
            for seed in range(300)
        ]
        drawn[kind] = np.abs([box.as_array() - wide.as_array() for box in boxes]).max(axis=0).tolist()
    assert drawn["proportional"] == [20, 1, 20, 1]
    assert drawn["outwards"] == [5, 5, 5, 5]
    assert drawn["by pixels"] == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("shares", "fit"),
    [({"tight": 1.0}, "tight"), ({"outwards": 1.0}, "loose"), ({"proportional": 1.0}, "unknown"), ({}, "unknown")],
)
def test_a_box_says_how_it_fits_where_a_person_would_know(shares: dict[str, float], fit: str):
    config = DataConfig(**{"tight": 0.0, "proportional": 0.0, "outwards": 0.0, **shares})
    rng = np.random.default_rng(0)
    assert noisy_box(BOX, canvas_scale=1.0, size_hw=(100, 100), config=config, rng=rng)[1] == fit


def test_an_outward_box_cuts_into_its_object_by_a_pixel_at_most_and_may_grow_with_it():
    wide = Box(100, 100, 299, 109)  # 200 x 10: 15 % of its sides is 30 and 1.5 pixels
    config = DataConfig(tight=0.0, proportional=0.0, outwards=1.0, outwards_px=5.0, outwards_share=0.15)
    boxes = [
        noisy_box(wide, canvas_scale=1.0, size_hw=(400, 400), config=config, rng=np.random.default_rng(seed))[0]
        for seed in range(300)
    ]
    outwards = np.array([box.as_array() - wide.as_array() for box in boxes]) * (-1, -1, 1, 1)
    assert outwards.min() == -1
    assert outwards[:, [1, 3]].max() == 5  # by pixels
    assert 20 < outwards[:, [0, 2]].max() <= 30  # by the share


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 4))
def test_a_noisy_box_stays_in_the_slice_and_keeps_an_area(seed: int, scale: float):
    config = replace(DataConfig(), tight=0.0)
    box, _ = noisy_box(BOX, canvas_scale=scale, size_hw=(64, 40), config=config, rng=np.random.default_rng(seed))
    assert 0 <= box.x_min < box.x_max <= 39
    assert 0 <= box.y_min < box.y_max <= 63


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_a_mistaken_mask_is_about_the_true_one_and_sometimes_the_true_one():
    mask = disc(24, 24, 9)
    drawn = [mistaken_mask(mask, np.random.default_rng(seed)) for seed in range(300)]
    overlaps = np.array([overlap(each, mask) for each in drawn])
    assert 0.55 < overlaps.mean() < 0.95
    assert np.quantile(overlaps, 0.1) > 0.2  # half the width and half the height leave a quarter
    equal = np.mean([np.array_equal(each, mask) for each in drawn])
    assert TRUE_MASK_SHARE - 0.08 < equal < TRUE_MASK_SHARE + 0.1  # standard deviation of 0.2 over 300 draws: 0.023


def test_mistaken_masks_are_larger_and_smaller_and_lie_where_the_true_one_does():
    mask = disc(24, 24, 9)
    drawn = [mistaken_mask(mask, np.random.default_rng(seed)) for seed in range(300)]
    areas = np.array([each.sum() for each in drawn]) / mask.sum()
    assert areas.min() < 0.9
    assert areas.max() > 1.1
    centres = np.stack([np.argwhere(each).mean(axis=0) for each in drawn])
    assert np.abs(centres.mean(axis=0) - 24).max() < 0.3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 39), st.integers(0, 29), st.integers(1, 12), st.integers(1, 12))
def test_a_mistaken_mask_is_never_empty_and_keeps_its_shape(seed: int, y: int, x: int, height: int, width: int):
    mask = np.zeros((40, 30), bool)
    mask[y : y + height, x : x + width] = True
    before = mask.copy()
    found = mistaken_mask(mask, np.random.default_rng(seed))
    assert found.shape == (40, 30)
    assert found.dtype == bool
    assert found.any()
    np.testing.assert_array_equal(mask, before)


def test_an_empty_mask_cannot_be_mistaken():
    assert not mistaken_mask(np.zeros((8, 8), bool), np.random.default_rng(0)).any()


def propagated(found: np.ndarray, middle: np.ndarray, seed: int, *, scale: float = 1.0) -> Box | None:
    """The box on the first of five slices."""
    rng = np.random.default_rng(seed)
    return propagated_box(found, middle, place=0, length=5, canvas_scale=scale, noise=GIVEN, rng=rng)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_walk_asks_for_the_box_that_the_predictor_expects_and_is_a_little_off(scale: float):
    # Found 20 x 20 about (39.5, 49.5); 30 x 24 in the middle, of which the ellipsoid has sqrt(1 - 0.8 ** 2) = 0.6 two
    # slices on: 18 x 14.4. So sqrt(20 * 18) = 18.97 by sqrt(20 * 14.4) = 16.97 are expected.
    found, middle = np.zeros((100, 100), bool), np.zeros((100, 100), bool)
    found[40:60, 30:50] = True
    middle[10:34, 60:90] = True
    expected = expected_box(Box(30, 40, 49, 59), Box.about((74.5, 21.5), width=18, height=14.4))
    np.testing.assert_allclose(expected.as_array(), [30.51, 41.51, 48.49, 57.49], atol=0.01)
    boxes = [propagated(found, middle, seed, scale=scale) for seed in range(400)]
    off = np.stack([box.as_array() for box in boxes if box is not None]) - expected.as_array()
    assert len(off) == 400
    np.testing.assert_allclose(off.mean(axis=0), 0, atol=0.25 / scale)
    # Off by up to 1.5 canvas pixels and a rounding, unless the box in the middle was wrong: by up to 5 on each side, so
    # that it has 34 x 14 to 40 x 34 pixels or so, and no more than another 2 are added to a side here, or 6 at half the
    # scale, where its height may become 4.
    small = np.abs(off) <= NEXT_BOX_OFF_CANVAS_PX / scale + 0.5
    assert small.all(axis=1).mean() >= GIVEN.tight - 0.1
    assert not small.all()
    assert np.abs(off).max() <= NEXT_BOX_OFF_CANVAS_PX / scale + 0.5 + (2.1 if scale == 1 else 6)


def test_a_walk_that_knows_nothing_asks_for_no_box():
    mask, nothing = disc(24, 24, 9), np.zeros((48, 48), bool)
    assert propagated(nothing, mask, seed=0) is None
    assert propagated(mask, nothing, seed=0) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 39), st.integers(0, 29), st.floats(0.2, 4), st.integers(1, 9), st.data())
def test_a_walk_s_box_stays_in_the_slice(seed: int, y: int, x: int, scale: float, length: int, data: st.DataObject):
    found, middle = np.zeros((40, 30), bool), np.zeros((40, 30), bool)
    found[y : y + 9, x : x + 7] = True
    middle[y // 2 : y // 2 + 4, x:] = True
    place = data.draw(st.integers(0, length - 1))
    rng = np.random.default_rng(seed)
    box = propagated_box(found, middle, place=place, length=length, canvas_scale=scale, noise=GIVEN, rng=rng)
    assert box is not None
    assert 0 <= box.x_min <= box.x_max <= 29
    assert 0 <= box.y_min <= box.y_max <= 39


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


def test_a_small_box_is_moved_by_pixels_too_and_keeps_half_of_its_sides():
    flat = Box(100, 100, 110, 104)  # 11 x 5 pixels: most shifts of up to 8 pixels would turn it inside out
    config = DataConfig(tight=0.0, jitter_px=8.0)
    drawn = [
        noisy_box(flat, canvas_scale=1.0, size_hw=(256, 256), config=config, rng=np.random.default_rng(seed))[0]
        for seed in range(300)
    ]
    assert np.mean([box == flat for box in drawn]) < 0.2
    by_pixels = [box for box in drawn if np.abs(box.as_array() - flat.as_array()).max() > 5]
    assert len(by_pixels) > 30
    assert all(box.width >= 5.5 and box.height >= 2.5 for box in drawn)
