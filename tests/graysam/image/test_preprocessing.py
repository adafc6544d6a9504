"""From a slice of any size and type to the canvas."""

import numpy as np
import pytest

from graysam.image.preprocessing import prepare_slice
from graysam.models.spec import ModelSpec

PLAIN = ModelSpec(name="plain", channels="plain")
GRAYSAM = ModelSpec(name="graysam")


def test_a_slice_is_stretched_from_its_own_darkest_to_its_own_brightest():
    image = np.full((256, 256), 50, np.uint8)
    image[0, 0], image[0, 1] = 40, 90
    canvas = prepare_slice(image, PLAIN).canvas
    assert canvas.shape == (3, 256, 256)
    assert canvas[:, 0, 0] == pytest.approx([0, 0, 0])
    assert canvas[:, 0, 1] == pytest.approx([1, 1, 1])
    assert canvas[:, 1, 1] == pytest.approx([0.2, 0.2, 0.2])  # (50 - 40) / (90 - 40)


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("spec", [PLAIN, GRAYSAM])
def test_a_constant_slice_gives_zeros(value, spec):
    assert (prepare_slice(np.full((30, 40), value, np.uint8), spec).canvas == 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (17, 23, 3), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float64])
def test_any_size_and_type_gives_finite_channels_in_range(shape, dtype):
    image = (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)
    canvas = prepare_slice(image, GRAYSAM).canvas
    assert canvas.shape == (3, 256, 256)
    assert canvas.dtype == np.float32
    assert np.isfinite(canvas).all()
    assert canvas.min() >= 0
    assert canvas.max() <= 1


def test_a_huge_slice_costs_what_the_canvas_costs():
    image = np.zeros((6000, 8000), np.uint8)
    image[:, 4000:] = 200
    canvas = prepare_slice(image, GRAYSAM).canvas
    assert canvas[0, 96, 10] == 0  # 6000 rows become 192
    assert canvas[0, 96, 250] == 1
    assert (canvas[:, 192:] == 0).all()


def test_the_padding_does_not_take_part_in_the_range():
    image = np.full((10, 20), 100, np.uint8)
    image[0, 0] = 110
    content = prepare_slice(image, PLAIN).canvas[0, :128]
    assert content[60:].max() == 0  # 100 is the darkest there is, not far above a padding of 0


def test_colour_stays_colour_and_equal_channels_count_as_gray():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 255, (256, 256, 3)).astype(np.uint8)
    gray = colour[..., 0]
    assert np.ptp(prepare_slice(colour, GRAYSAM).canvas - prepare_slice(colour, PLAIN).canvas) == 0
    as_three = np.repeat(gray[..., None], 3, axis=2)
    assert np.array_equal(prepare_slice(as_three, GRAYSAM).canvas, prepare_slice(gray, GRAYSAM).canvas)
