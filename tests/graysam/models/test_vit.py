"""SAM's vision transformer against its public code, whose outputs record_vit.py stored under data/."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import seeded
import torch

from graysam.errors import CheckpointError
from graysam.models.checkpoint import load_model
from graysam.models.encoders.vit import Attention
from graysam.models.network import build_network
from graysam.models.options import VitOptions
from graysam.models.spec import VIT_B, VIT_TINY, ModelSpec

DATA = Path(__file__).parent / "data"
WEIGHTS = Path(__file__).parents[3] / "weights"
TOLERANCE = 1e-5
SMALL_OPTIONS = {"width": 32, "depth": 3, "heads": 4, "patch": 8, "window": 3, "global_blocks": (1,)}
SMALL = replace(VIT_B, name="small-vit", canvas=64, encoder_options=SMALL_OPTIONS)


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_embedding_logits_and_ious_equal_the_public_ones_on_seeded_weights():
    model = build_network(SMALL)
    model.load_state_dict(seeded.seeded_state(model, name_of=seeded.official_name))
    embedding = model.eval().encode(torch.from_numpy(seeded.canvas(64)))
    logits, iou = model.decode(embedding, boxes_canvas=torch.from_numpy(seeded.BOXES / 4))
    assert embedding.shape == (1, 256, 8, 8)
    assert logits.shape == (3, 32, 32)
    with np.load(DATA / "vit_outputs.npz") as original:
        for name, values in {"embedding": embedding[:, ::8], "logits": logits[:, ::2, ::2], "iou": iou}.items():
            np.testing.assert_allclose(values, original[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def test_the_whole_vit_b_has_the_keys_the_shapes_and_the_size_of_the_public_one():
    with torch.device("meta"):  # shapes alone: nothing is computed, and no memory is taken
        model = build_network(VIT_B)
    ours = [
        f"{seeded.official_name(key)} {'x'.join(map(str, value.shape))}" for key, value in model.state_dict().items()
    ]
    assert sorted(ours) == sorted((DATA / "sam_vit_b_keys.txt").read_text().splitlines())
    blocks = count(model.encoder.blocks) + count(model.encoder.patch_embed)
    assert round(blocks / 1e6) == 86  # a ViT-B; the places of 64 x 64 cells and the neck come to it
    assert round(count(model.encoder) / 1e6, 1) == 89.7
    assert round(count(model.decoder) / 1e6, 2) == 4.06


def test_official_keys_load_whatever_the_wrapper(tmp_path: Path):
    model = build_network(SMALL)
    official = {seeded.official_name(key): value for key, value in seeded.seeded_state(model).items()}
    torch.save({"model": official, "epoch": 3}, tmp_path / "sam.pth")
    loaded = load_model(tmp_path / "sam.pth", spec=SMALL)
    assert torch.equal(loaded.encoder.pos_embed, official["image_encoder.pos_embed"])
    assert torch.equal(
        loaded.state_dict()["decoder.mask_decoder.iou_token.weight"], official["mask_decoder.iou_token.weight"]
    )


def test_the_place_of_a_cell_counts_by_rows_and_by_columns():
    # One head of width 1 on 2 x 2 cells, queries all 1: the bias between two cells is what stands for their rows apart
    # plus what stands for their columns apart. Row code: -1 -> 1, 0 -> 2, 1 -> 3; column code ten times that.
    attention = Attention(1, heads=1, side=2)
    attention.rel_pos_h[:, 0] = torch.tensor([1.0, 2.0, 3.0])
    attention.rel_pos_w[:, 0] = torch.tensor([10.0, 20.0, 30.0])
    bias = attention._place_bias(torch.ones(1, 1, 4, 1))[0, 0]
    # Cells in reading order. From 0 to 3: a row up (-1) and a column left (-1): 1 + 10; from 3 to 0: 3 + 30.
    assert bias.tolist() == [[22, 12, 21, 11], [32, 22, 31, 21], [23, 13, 22, 12], [33, 23, 32, 22]]


def test_the_small_transformer_keeps_its_grid_of_32_cells():
    with torch.device("meta"):
        model = build_network(VIT_TINY)
        assert model.encode(torch.zeros(1, 3, 256, 256)).shape == (1, 256, 32, 32)
    assert round(count(model.encoder) / 1e6, 1) == 3.6


def test_options_travel_with_the_weights_and_specs_without_any_are_as_they_were():
    assert ModelSpec.from_json(VIT_TINY.to_json()) == VIT_TINY
    assert ModelSpec.from_json(VIT_TINY.to_json()).options == VIT_TINY.options
    assert VIT_B.options == VitOptions()
    assert "encoder_options" not in VIT_B.to_dict()  # so that an earlier version reads them
    shipped = WEIGHTS / "graysam" / "spec.json"
    assert not shipped.is_file() or ModelSpec.from_json(shipped.read_text()).encoder_options == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depht": 4}, "depht is unknown, known are .*'depth'"),
        ({"depth": "four"}, "depth is 'four', wanted int"),
        ({"depth": True}, "depth is True, wanted int"),
        ({"global_blocks": (1.5,)}, r"global_blocks is \(1.5,\), wanted whole numbers"),
        ({"global_blocks": (3,)}, r"global_blocks is \(3,\), wanted numbers from 0 to 2"),
        ({"heads": 5}, "width 32 a multiple of heads 5"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_what_was_wanted(options, message):
    with pytest.raises(CheckpointError, match=f"spec 'small-vit': encoder_options of the encoder 'vit': .*{message}"):
        replace(SMALL, encoder_options={**SMALL_OPTIONS, **options})


def test_a_canvas_that_is_no_multiple_of_the_patch_is_refused():
    with pytest.raises(CheckpointError, match="canvas 64 must be a multiple of the patch 24"):
        build_network(replace(SMALL, encoder_options={**SMALL_OPTIONS, "patch": 24}))
