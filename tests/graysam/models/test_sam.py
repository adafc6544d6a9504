"""EfficientViT-SAM-L0 against the public definition, whose outputs record_originals.py stored under data/."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import seeded
import torch

from graysam.models.decoders.sam_mask_decoder import MASK_TOKENS
from graysam.models.encoders.efficientvit import EfficientViTEncoder, _linear_attention
from graysam.models.network import build_network
from graysam.models.spec import GRAYSAM, L0_LEAN, ModelSpec

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-5  # the recorded values are of order 1; measured here: 2.3e-6 in float32, 1.2e-7 in float64


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    with np.load(DATA / "original_outputs.npz") as stored:
        return dict(stored)


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_model_has_as_many_parameters_as_published(l0):
    assert count(l0) == 34_792_784
    assert round(count(l0.encoder) / 1e6, 2) == 30.73


def test_the_keys_and_shapes_are_those_of_the_public_model(l0):
    ours = [f"{seeded.official_name(key)} {'x'.join(map(str, value.shape))}" for key, value in l0.state_dict().items()]
    assert sorted(ours) == sorted((DATA / "original_keys.txt").read_text().splitlines())


def test_every_normalisation_has_the_epsilon_of_the_public_loader(l0):
    epsilons = {module.eps for module in l0.modules() if hasattr(module, "eps")}
    assert epsilons == {1e-6}


def test_the_encoder_equals_the_public_one(l0, original):
    embedding = l0.encode(torch.from_numpy(seeded.canvas()))
    assert embedding.shape == (1, 256, 64, 64)
    np.testing.assert_allclose(embedding[:, ::8, ::4, ::4], original["encoder_64"], rtol=0, atol=TOLERANCE)


def test_the_lean_neck_equals_the_public_one_with_its_upsampling_set_to_32(l0, original):
    lean = EfficientViTEncoder(L0_LEAN).eval()
    lean.load_state_dict(l0.encoder.state_dict())
    embedding = lean(torch.from_numpy(seeded.canvas()))
    assert embedding.shape == (1, 256, 32, 32)
    np.testing.assert_allclose(embedding[:, ::8, ::2, ::2], original["encoder_32"], rtol=0, atol=TOLERANCE)


def test_masks_and_ious_of_several_boxes_equal_the_public_decoder_run_box_by_box(l0, original):
    logits, iou = l0.decode(torch.from_numpy(seeded.embedding()), boxes_canvas=torch.from_numpy(seeded.BOXES))
    assert logits.shape == (3, 256, 256)
    assert iou.shape == (3,)
    np.testing.assert_allclose(logits[:, ::8, ::8], original["logits"][:, 0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(iou, original["iou"][:, 0], rtol=0, atol=TOLERANCE)


def test_all_four_mask_tokens_equal_the_public_decoder(l0, original):
    prompts = l0.decoder.prompt_encoder
    logits, iou = l0.decoder.mask_decoder(
        torch.from_numpy(seeded.embedding()) + prompts.no_mask(),
        prompts(torch.from_numpy(seeded.BOXES)),
        position=prompts.position_of_pixels(),
        masks=MASK_TOKENS,
    )
    np.testing.assert_allclose(logits[:, :, ::8, ::8], original["logits"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(iou, original["iou"], rtol=0, atol=TOLERANCE)


def test_sharing_the_image_over_boxes_changes_nothing(l0):
    # One image for three boxes (first-layer projections computed once), against one image given per box.
    embedding, boxes = torch.from_numpy(seeded.embedding()), torch.from_numpy(seeded.BOXES)
    shared, shared_iou = l0.decode(embedding, boxes_canvas=boxes)
    own, own_iou = l0.decode(embedding.expand(3, -1, -1, -1), boxes_canvas=boxes)
    torch.testing.assert_close(shared, own, rtol=0, atol=2e-6)
    torch.testing.assert_close(shared_iou, own_iou, rtol=0, atol=2e-6)


def test_no_boxes_give_no_masks(l0):
    logits, iou = l0.decode(torch.from_numpy(seeded.embedding()), boxes_canvas=torch.zeros(0, 4))
    assert logits.shape == (0, 256, 256)
    assert iou.shape == (0,)


def test_a_lean_model_works_at_half_the_resolution():
    model = build_network(replace(L0_LEAN, canvas=64)).eval()
    embedding = model.encode(torch.zeros(2, 3, 64, 64))
    assert embedding.shape == (2, 256, 32, 32)
    assert model.decode(embedding, boxes_canvas=torch.tensor([[1.0, 2.0, 9.0, 9.0]] * 2))[0].shape == (2, 128, 128)


def test_gradients_reach_the_embedding_and_every_weight_of_the_decoder_that_boxes_use():
    model = build_network(L0_LEAN).train()
    embedding = torch.rand(2, 256, 32, 32, requires_grad=True)
    with torch.enable_grad():
        logits, iou = model.decode(embedding, boxes_canvas=torch.tensor([[1.0, 2.0, 40.0, 50.0]] * 2))
        (logits.square().mean() + iou.sum()).backward()
    decoding = [*model.decoder.prompt_encoder.named_parameters(), *model.decoder.mask_decoder.named_parameters()]
    still = {name for name, parameter in decoding if not parameter.requires_grad}
    points_and_masks = ("mask_downscaling", "not_a_point", "point_embeddings.0", "point_embeddings.1")
    other_mask_tokens = tuple(f"output_hypernetworks_mlps.{token}" for token in (1, 2, 3))
    assert {name for name in still if not name.startswith(points_and_masks + other_mask_tokens)} == set()
    assert still == {name for name, parameter in decoding if parameter.grad is None}
    assert embedding.grad is not None
    assert embedding.grad.abs().min(dim=1).values.sum() > 0


def test_linear_attention_is_a_mean_of_values_weighted_by_relu_products():
    # One head; queries and keys are 1 in their first place only, but for pixel 2, whose key is 0 there (ReLU
    # cuts -5). So each pixel attends equally to pixels 0, 1 and 3, of values 10, 20 and 60: 90 / 3 = 30.
    qkv = torch.zeros(1, 96, 2, 2)
    query, key, value = qkv[:, :32], qkv[:, 32:64], qkv[:, 64:]
    query[:, 0] = 1.0
    key[:, 0] = torch.tensor([[1.0, 1.0], [-5.0, 1.0]])
    value[:, 7] = torch.tensor([[10.0, 20.0], [1000.0, 60.0]])
    expected = torch.zeros(1, 32, 2, 2)
    expected[:, 7] = 30.0
    torch.testing.assert_close(_linear_attention(qkv), expected)


def test_the_sam_decoder_takes_the_small_encoder_too():
    spec = ModelSpec(name="small", decoder="sam", canvas=64, encoder_widths=(8,) * 5, embedding_width=32)
    model = build_network(spec).eval()
    embedding = model.encode(torch.zeros(1, 3, 64, 64))
    assert embedding.shape == (1, 32, 8, 8)
    assert model.decode(embedding, boxes_canvas=torch.tensor([[1.0, 2.0, 9.0, 9.0]]))[0].shape == (1, 32, 32)


def test_the_box_frame_decoder_takes_the_l0_encoder_too():
    model = build_network(replace(GRAYSAM, encoder="efficientvit_l0", embedding_width=256, neck_size=32)).eval()
    assert model.encode(torch.zeros(1, 3, 256, 256)).shape == (1, 256, 32, 32)
