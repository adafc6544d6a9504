"""LiteMedSAM against its public code, whose outputs record_litemedsam.py stored under data/."""

from pathlib import Path

import numpy as np
import pytest
import seeded
import torch

from graysam.models.encoders.tiny_vit import TinyViTEncoder, join_windows, offset_index, split_windows

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-5  # recorded in float64; in float32 the public code itself is off by up to 9e-6, and so is ours


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    with np.load(DATA / "litemedsam_outputs.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def encoder() -> TinyViTEncoder:
    """The encoder with the recorded model's seeded weights; treat as read-only."""
    encoder = TinyViTEncoder()
    named = torch.nn.ModuleDict({"image_encoder": encoder})  # the seeds are the keys of the whole model
    named.load_state_dict(seeded.seeded_state(named))
    return encoder.eval().requires_grad_(False)


def test_the_encoder_has_the_keys_and_shapes_of_the_public_one(encoder):
    ours = [f"{key} {'x'.join(map(str, value.shape))}" for key, value in encoder.state_dict().items()]
    assert sorted(ours) == sorted((DATA / "litemedsam_encoder_keys.txt").read_text().splitlines())


def test_the_encoder_equals_the_public_one(encoder, original):
    embedding = encoder(torch.from_numpy(seeded.canvas()))
    assert embedding.shape == (1, 256, 64, 64)
    np.testing.assert_allclose(
        embedding[:, ::16, ::4, ::4], original["seeded.embedding"], rtol=TOLERANCE, atol=TOLERANCE
    )


def test_a_smaller_canvas_gives_an_embedding_of_a_quarter_of_its_side(encoder):
    assert encoder(torch.zeros(2, 3, 32, 32)).shape == (2, 256, 8, 8)


def test_each_pair_of_cells_is_numbered_by_rows_apart_and_columns_apart():
    # Window of 2 x 2, cells in reading order: 0 1
    #                                          2 3
    # 0 and 1 are a column apart (1), 0 and 2 a row (1 * 2 = 2), 0 and 3, and 1 and 2, both (2 + 1 = 3).
    assert offset_index(2).tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]


def test_a_map_is_cut_into_windows_filled_up_with_zeros_and_laid_together_again():
    # 0 1 2 | .     windows of 2 x 2 of a map of 2 rows and 3 columns: the second one is half outside
    # 3 4 5 | .
    cells = torch.arange(6.0).reshape(1, 2, 3, 1)
    windows, grid = split_windows(cells, 2)
    assert windows[..., 0].tolist() == [[0, 1, 3, 4], [2, 0, 5, 0]]
    assert grid == (1, 2, 2)
    assert torch.equal(join_windows(windows, grid, size_hw=(2, 3)), cells)
