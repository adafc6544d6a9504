from dataclasses import replace
from math import exp
from pathlib import Path

import numpy as np
import pytest

from graysam.image.channels import (
    CHANNEL_PRESETS,
    ChannelPreset,
    clahe,
    diffuse_edges,
    equalize,
    is_colour,
    released_bytes,
    released_channels,
    to_gray,
)
from graysam.image.preprocessing import prepare_slice, slice_at
from graysam.models.spec import GRAYSAM

RELEASED = Path(__file__).parent / "data" / "released_channels.npz"
ALL_PRESETS = sorted(CHANNEL_PRESETS)


def gray(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).random(shape, np.float32)


# ---- diffusion


def test_one_step_moves_rate_times_conduction_times_jump_across_each_border():
    # jump 1, K 1: conduction exp(-1) = 0.3679; moved: 0.25 * 0.3679 * 1 = 0.0920
    moved = 0.25 * exp(-1)
    result = diffuse_edges(gray([0, 1]), steps=1, edge_intensity=1.0, rate=0.25)
    np.testing.assert_allclose(result, [[moved, 1 - moved]], rtol=1e-6)


def test_a_bright_pixel_gives_a_share_to_each_of_its_four_neighbours_and_none_to_the_corners():
    # K so large that conduction is 1: each neighbour gets 0.2, and 1 - 4 * 0.2 = 0.2 stays
    dot = gray([0, 0, 0], [0, 1, 0], [0, 0, 0])
    result = diffuse_edges(dot, steps=1, edge_intensity=1e4, rate=0.2)
    np.testing.assert_allclose(result, [[0, 0.2, 0], [0.2, 0.2, 0.2], [0, 0.2, 0]], atol=1e-6)


def test_an_edge_far_above_the_edge_intensity_stays_while_a_jump_below_it_is_smoothed():
    image = gray([0.00, 0.02, 1.00, 1.00])
    result = diffuse_edges(image, steps=5, edge_intensity=0.06)
    np.testing.assert_array_equal(result[0, 2:], [1, 1])  # exp(-(0.98 / 0.06)^2) is below 1e-115
    assert result[0, 1] - result[0, 0] < 0.005
    assert result.sum() == pytest.approx(image.sum(), abs=1e-6)


def test_borders_are_closed_a_white_top_row_does_not_reach_the_bottom():
    image = np.zeros((6, 5), np.float32)
    image[0] = 1
    result = diffuse_edges(image, steps=4, edge_intensity=10.0)
    np.testing.assert_array_equal(result[5], 0)  # four steps reach four rows down
    assert (result[1:5] > 0).all()
    assert result.sum() == pytest.approx(5, abs=1e-5)


def test_no_steps_give_a_copy():
    image = gray([0, 1])
    result = diffuse_edges(image, steps=0, edge_intensity=1)
    np.testing.assert_array_equal(result, image)
    assert result is not image


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 500)])
def test_constant_images_of_any_shape_are_left_alone_by_diffusion(shape):
    image = np.full(shape, 0.3, np.float32)
    np.testing.assert_array_equal(diffuse_edges(image, steps=3, edge_intensity=0.1), image)


@pytest.mark.parametrize(("rate", "edge_intensity"), [(0.26, 1.0), (0.0, 1.0), (-0.1, 1.0), (0.2, 0.0), (0.2, -1.0)])
def test_a_rate_at_which_the_scheme_diverges_or_an_edge_of_no_height_is_refused(rate, edge_intensity):
    with pytest.raises(ValueError, match="rate"):
        diffuse_edges(gray([0, 1]), steps=1, edge_intensity=edge_intensity, rate=rate)


def test_at_the_largest_rate_diffusion_never_leaves_the_range_of_the_image():
    image = (noise((9, 8)) > 0.5).astype(np.float32)  # a checkerboard-like extreme
    result = diffuse_edges(image, steps=50, edge_intensity=1e3, rate=0.25)
    assert result.min() >= -1e-6
    assert result.max() <= 1 + 1e-6


# ---- equalisation


def test_equalize_gives_each_intensity_its_rank_within_the_image():
    # 8 bits: 0, 51, 51, 153. Pixels above the darkest, as shares of the three brighter ones: 0, 2/3, 2/3, 1.
    result = equalize(gray([0, 0.2], [0.2, 0.6]))
    np.testing.assert_allclose(result, [[0, 170 / 255], [170 / 255, 1]], atol=1e-6)


@pytest.mark.parametrize("function", [equalize, clahe])
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_constant_images_stay_constant(function, value):
    result = function(np.full((5, 4), value, np.float32))
    np.testing.assert_allclose(result, value, atol=0.5 / 255)
    assert result.min() == result.max()


def test_clahe_raises_contrast_within_a_dim_region():
    image = 0.1 * noise((64, 64))  # dim noise above, bright below
    image[32:] += 0.9
    result = clahe(image)
    assert result[:32].std() > 2 * image[:32].std()
    assert result.dtype == np.float32


# ---- gray and colour


def test_gray_is_luma_and_three_equal_channels_count_as_gray():
    colour = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1]]], np.float32)
    np.testing.assert_allclose(to_gray(colour), [[0.2989, 0.5870, 0.1140]], atol=1e-6)
    image = noise((2, 3))
    equal = np.dstack([image] * 3)
    assert is_colour(colour)
    assert not is_colour(equal)
    assert not is_colour(image)
    np.testing.assert_array_equal(to_gray(equal), image)


@pytest.mark.parametrize("preset", ALL_PRESETS)
def test_a_gray_image_gives_the_same_as_its_three_copies(preset):
    image = noise((24, 31))
    make = CHANNEL_PRESETS[preset].make
    np.testing.assert_array_equal(make(image), make(np.dstack([image] * 3)))


@pytest.mark.parametrize(
    ("preset", "keeps"), [("graysam", True), ("plain", True), ("paper", False), ("released", False)]
)
def test_colour_is_kept_by_our_presets_and_turned_to_gray_by_those_of_the_paper(preset, keeps):
    colour = noise((12, 9, 3))
    channels = CHANNEL_PRESETS[preset].make(colour)
    assert np.array_equal(channels, colour) == keeps


# ---- presets


def test_graysam_stacks_raw_diffused_and_clahe_of_the_diffused():
    image = noise((40, 30))
    channels = CHANNEL_PRESETS["graysam"].make(image)
    np.testing.assert_array_equal(channels[..., 0], image)
    np.testing.assert_array_equal(channels[..., 1], diffuse_edges(image, steps=5, edge_intensity=0.06))
    np.testing.assert_array_equal(channels[..., 2], clahe(channels[..., 1]))


def test_paper_stacks_raw_diffused_and_the_diffused_equalised():
    image = noise((10, 12))
    channels = CHANNEL_PRESETS["paper"].make(image)
    np.testing.assert_array_equal(channels[..., 0], image)
    np.testing.assert_array_equal(channels[..., 1], diffuse_edges(image, steps=1, edge_intensity=20 / 255, rate=0.1))
    np.testing.assert_array_equal(channels[..., 2], equalize(channels[..., 1]))


def recorded() -> list[str]:
    with np.load(RELEASED) as stored:
        return sorted(name.removesuffix(".input") for name in stored.files if name.endswith(".input"))


@pytest.mark.parametrize("name", recorded())
def test_released_equals_the_public_code_bit_for_bit(name):
    with np.load(RELEASED) as stored:
        image, output = stored[f"{name}.input"], stored[f"{name}.output"]
    np.testing.assert_array_equal(released_bytes(image), output)
    # and so does the preset on what `prepare_slice` hands it: the image stretched to [0, 1] in float32
    low, high = float(image.min()), float(image.max())
    unit = (image.astype(np.float32) - np.float32(low)) * np.float32(1 / (high - low))
    np.testing.assert_array_equal(np.rint(released_channels(unit) * 255).astype(np.uint8), output)


def test_released_blurs_across_the_borders_as_the_public_code_does():
    # kappa 20 on [0, 1]: conduction exp(-1/400) = 0.9975, so 0.09975 of the white row's light goes each way:
    # 1 - 2 * 0.09975 stays (204 of 255, truncated), 25 go down, and 25 out of the top into the bottom row.
    image = np.zeros((4, 3), np.uint8)
    image[0] = 255
    np.testing.assert_array_equal(released_bytes(image)[:, 1, 1], [204, 25, 0, 25])


@pytest.mark.parametrize("value", [0, 7, 255])
def test_released_makes_a_blank_image_black_where_the_public_code_divides_by_zero(value):
    assert not released_bytes(np.full((3, 4), value, np.uint8)).any()


ADJACENT = replace(GRAYSAM, channels="adjacent")


def test_adjacent_shows_the_neighbouring_slices_and_the_slice_itself_beyond_either_end():
    volume = np.arange(3, dtype=np.float32).reshape(3, 1, 1) / 2  # three slices of one pixel: 0, 0.5, 1
    make = CHANNEL_PRESETS["adjacent"].make
    assert make(slice_at(volume, 1, ADJACENT)).ravel().tolist() == [0, 0.5, 1]
    assert make(slice_at(volume, 0, ADJACENT)).ravel().tolist() == [0, 0, 0.5]
    assert make(slice_at(volume, 2, ADJACENT)).ravel().tolist() == [0.5, 1, 1]
    assert make(volume[1]).ravel().tolist() == [0.5, 0.5, 0.5]
    assert slice_at(volume[:1], 0, ADJACENT).ravel().tolist() == [0, 0, 0]


def test_where_a_store_lacks_the_neighbouring_slice_the_slice_itself_stands_in_for_it():
    stored = {3: np.full((1, 2), 30, np.uint8), 4: np.full((1, 2), 40, np.uint8), 5: np.full((2, 2), 50, np.uint8)}
    assert slice_at(stored, 3, ADJACENT)[0, 0].tolist() == [30, 30, 40]  # no slice 2
    assert slice_at(stored, 4, ADJACENT)[0, 0].tolist() == [30, 40, 40]  # slice 5 is of another size


def test_other_presets_are_shown_the_slice_alone_in_eight_bits_or_as_floats():
    volume = np.arange(12, dtype=np.int16).reshape(3, 2, 2)
    assert slice_at(volume, 1, GRAYSAM).tolist() == [[4, 5], [6, 7]]
    assert slice_at(volume, 1, GRAYSAM).dtype == np.float32
    assert slice_at(volume.astype(np.uint8), 1, GRAYSAM).dtype == np.uint8


@pytest.mark.parametrize("preset", ALL_PRESETS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (3, 256), (256, 1), (9, 7), (1, 1, 3), (5, 8, 3)])
def test_every_preset_gives_three_channels_in_the_unit_range_whatever_the_shape(preset, shape):
    channels = CHANNEL_PRESETS[preset].make(noise(shape))
    assert channels.shape == (*shape[:2], 3)
    assert channels.dtype == np.float32
    assert channels.min() >= 0
    assert channels.max() <= 1


@pytest.mark.parametrize("preset", ALL_PRESETS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (300, 200), (300, 200, 3)])
@pytest.mark.parametrize("value", [0, 200])
def test_a_blank_image_makes_a_blank_canvas(preset, shape, value):
    prepared = prepare_slice(np.full(shape, value, np.uint8), replace(GRAYSAM, channels=preset))
    assert prepared.canvas.shape == (3, 256, 256)
    assert not prepared.canvas.any()


@pytest.mark.parametrize("preset", ALL_PRESETS)
@pytest.mark.parametrize("shape", [(3, 500), (500, 3), (1, 2)])
def test_a_thin_image_makes_a_thin_stripe_in_the_unit_range(preset, shape):
    prepared = prepare_slice((noise(shape) * 255).astype(np.uint8), replace(GRAYSAM, channels=preset))
    height, width = prepared.fit.content_hw
    assert np.isfinite(prepared.canvas).all()
    assert prepared.canvas[:, :height, :width].any()
    assert not prepared.canvas[:, height:].any()
    assert not prepared.canvas[:, :, width:].any()


@pytest.mark.parametrize("preset", ALL_PRESETS)
def test_a_huge_image_is_enhanced_at_the_size_of_the_canvas_only(preset, monkeypatch):
    seen = []
    make = CHANNEL_PRESETS[preset].make
    watched = ChannelPreset(lambda image: seen.append(image.shape) or make(image))
    monkeypatch.setitem(CHANNEL_PRESETS, preset, watched)
    huge = np.zeros((6000, 8000), np.uint8)
    huge[2000:4000, 3000:5000] = 255
    canvas = prepare_slice(huge, replace(GRAYSAM, channels=preset)).canvas
    assert seen == [(192, 256)]
    assert canvas[0, 96, 128] > 0.9  # the square's middle
