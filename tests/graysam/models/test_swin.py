"""Swin-LiteMedSAM against its public code, whose outputs record_swin.py stored under data/."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import seeded
import torch

from graysam.errors import CheckpointError
from graysam.models.checkpoint import load_model, load_weights
from graysam.models.encoders.swin import WINDOW, barred_pairs, offset_index
from graysam.models.network import Network, build_network, encoder_maps
from graysam.models.packing import pack, packed_shape, unpack
from graysam.models.spec import SWIN_LITEMEDSAM

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-5
UNREAD = ("upper_lower_mask", "left_right_mask", "mask_decoder.prompt1.", "mask_decoder.prompt2.")
OPTIONS = {"widths": (16, 8, 8, 8), "depths": (2, 2, 2, 2), "heads": (1, 1, 1, 1), "embedding": 16}
SMALL = replace(SWIN_LITEMEDSAM, name="small-swin", canvas=64, embedding_width=72, encoder_options=OPTIONS)


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    with np.load(DATA / "swin_outputs.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def model() -> Network:
    """Swin-LiteMedSAM with the seeded weights that were recorded with; treat as read-only."""
    model = build_network(SWIN_LITEMEDSAM)
    model.load_state_dict(seeded.seeded_state(model, name_of=seeded.official_name))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def embedding(model: Network) -> torch.Tensor:
    with torch.no_grad():
        return model.encode(torch.from_numpy(seeded.canvas()))


def prompts() -> dict[str, torch.Tensor]:
    arrays = {"boxes_canvas": seeded.BOXES, "points_canvas": seeded.points(), "scribble": seeded.scribbles()}
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def test_the_embedding_and_the_maps_of_all_four_stages_equal_the_public_ones(model, embedding, original):
    assert embedding.shape == (1, 1568, 64, 64)
    whole, *stages = unpack(embedding, encoder_maps(SWIN_LITEMEDSAM))
    assert [tuple(each.shape[1:]) for each in stages] == [(128, 128, 128), (160, 64, 64), (320, 64, 64), (320, 64, 64)]
    np.testing.assert_allclose(whole[:, ::16, ::4, ::4], original["embedding"], rtol=TOLERANCE, atol=TOLERANCE)
    for number, stage in enumerate(stages):
        step = stage.shape[2] // 8
        wanted = original[f"stage{number + 1}"]
        scale = np.abs(wanted).max()  # what a stage gives is not normalised
        np.testing.assert_allclose(stage[:, ::20, ::step, ::step], wanted, rtol=TOLERANCE, atol=TOLERANCE * scale)
    assert torch.equal(model.embed(torch.from_numpy(seeded.canvas())), whole)


def test_masks_and_ious_of_several_prompts_equal_the_public_decoder_run_one_by_one(model, embedding, original):
    logits, iou = model.decode(embedding, **prompts())
    assert logits.shape == (3, 256, 256)
    np.testing.assert_allclose(logits[:, ::8, ::8], original["logits"], rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(iou, original["iou"], rtol=TOLERANCE, atol=TOLERANCE)


def test_one_image_for_all_prompts_answers_as_an_image_for_each(model, embedding):
    shared = model.decode(embedding, **prompts())
    own = model.decode(embedding.expand(3, -1, -1, -1), **prompts())
    torch.testing.assert_close(shared, own, rtol=0, atol=2e-5)


def public_keys() -> dict[str, tuple[int, ...]]:
    lines = (line.split() for line in (DATA / "swin_keys.txt").read_text().splitlines())
    return {key: tuple(map(int, shape[0].split("x"))) if shape else () for key, *shape in lines}


def test_the_keys_and_shapes_are_those_of_the_public_model_but_for_what_nothing_reads(model):
    ours = {seeded.official_name(key): tuple(value.shape) for key, value in model.state_dict().items()}
    public = public_keys()
    assert ours == {key: shape for key, shape in public.items() if not any(name in key for name in UNREAD)}
    buffers = ("running_mean", "running_var", "num_batches_tracked", "gaussian_matrix")
    count = sum(math.prod(shape) for key, shape in public.items() if not key.endswith(buffers))
    assert round(count / 1e6, 2) == 36.77  # as published
    assert round(sum(each.numel() for each in model.parameters()) / 1e6, 2) == 15.59


def test_a_published_checkpoint_loads_with_all_its_keys(tmp_path: Path, model):
    # The masks of shifted windows hold minus infinity, which would be refused in any weight that is read.
    state = {
        key: torch.full(shape, float("-inf")) if key.endswith(UNREAD[:2]) else torch.zeros(shape)
        for key, shape in public_keys().items()
    }
    torch.save({"model": state, "epoch": 20}, tmp_path / "Swin_LiteMedSAM.pth")
    loaded = load_model(tmp_path / "Swin_LiteMedSAM.pth", spec=SWIN_LITEMEDSAM)
    assert all(not value.any() for value in loaded.state_dict().values())
    del state["image_encoder.neck.0.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing: encoder\.neck\.0\.weight"):
        load_weights(loaded, state)


def test_two_cells_that_the_shift_brought_together_from_both_borders_do_not_see_each_other():
    # Two windows each way. In the upper left one all cells see each other; in the upper right one those of the left
    # half (columns 0 to 3) only each other; in the lower right one those of a quarter.
    barred = barred_pairs(2 * WINDOW)[:, 0]
    assert barred.shape == (4, 64, 64)
    first, right, lower, corner = barred
    assert not first.any()
    assert right[0].reshape(8, 8).tolist() == [[False] * 4 + [True] * 4] * 8
    assert lower[0].reshape(8, 8).tolist() == [[False] * 8] * 4 + [[True] * 8] * 4
    assert corner[63].reshape(8, 8).tolist() == [[True] * 8] * 4 + [[True] * 4 + [False] * 4] * 4


def test_pairs_of_cells_are_numbered_by_the_way_from_one_to_the_other():
    # A bias of 15 x 15; its middle, row 7 and column 7, is for a cell and itself. A row down adds 15, a column 1.
    index = offset_index()
    assert index[0, 0] == 7 * 15 + 7
    assert index[0, 1] == index[0, 0] + 1
    assert index[0, 8] == index[0, 0] + 15
    assert index[63, 0] == 0


def test_maps_are_packed_behind_each_other_and_come_back():
    # A map of 2 x 4 x 4 becomes 8 channels of 2 x 2: each channel's 4 pixels of a square of 2 x 2.
    coarse, fine = torch.arange(4.0).reshape(1, 1, 2, 2), torch.arange(32.0).reshape(1, 2, 4, 4)
    shapes = [(1, 2, 2), (2, 4, 4)]
    packed = pack([coarse, fine], shapes)
    assert packed_shape(shapes) == tuple(packed.shape[1:]) == (9, 2, 2)
    assert packed[0, 1:5, 0, 0].tolist() == [0, 1, 4, 5]
    assert all(torch.equal(*pair) for pair in zip(unpack(packed, shapes), [coarse, fine], strict=True))


def test_every_weight_that_wants_a_gradient_gets_one():
    network = build_network(SMALL).train()
    inputs = network.example_inputs()
    with torch.enable_grad():
        logits, iou = network.decode(network.encode(inputs.pop("canvas").repeat(2, 1, 1, 1)), **inputs)
        (logits.square().mean() + iou.sum()).backward()
    assert {name for name, each in network.named_parameters() if each.requires_grad and each.grad is None} == set()
    assert logits.shape == (2, 64, 64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"encoder": "conv", "encoder_options": {}, "embedding_width": 64},
            r"'sam_skips' wanted .* four stages behind",
        ),
        ({"encoder_options": {**OPTIONS, "depths": (2, 3, 2, 2)}}, r"depths \(2, 3, 2, 2\) must be even"),
        ({"encoder_options": {**OPTIONS, "heads": (1, 1, 1)}}, r"heads is \(1, 1, 1\), wanted 4 numbers"),
        ({"embedding_width": 16}, r"wanted an embedding of 16 channels .*; set embedding_width=72"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(CheckpointError, match=message):
        build_network(replace(SMALL, **changed))
