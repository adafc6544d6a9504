"""The box-frame model: its geometry maps by hand, its sampling, and what it answers before any training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_spec import TINY

from graysam.errors import CheckpointError
from graysam.models.decoders.box_frame import (
    EllipseGate,
    ellipse_map,
    geometry_maps,
    hat_weights,
    image_maps,
    sample_embedding,
    side_misfit,
)
from graysam.models.network import build_network
from graysam.models.spec import GRAYSAM, ModelSpec
from train.initial import fitted_weights

MEMORY = replace(TINY, memory=True)


def test_hat_weights_on_the_whole_canvas_pick_the_pixels_themselves():
    weights = hat_weights(torch.tensor([0.0]), torch.tensor([1.0]), cells=4, size=4)
    assert torch.equal(weights[0], torch.eye(4))


def test_hat_weights_interpolate_between_neighbours():
    # two cells over pixels 1 and 2 of four: centres at 0.25 + 0.125 = 0.375 -> 0.375 * 4 - 0.5 = 1.0, and 2.0
    weights = hat_weights(torch.tensor([0.25]), torch.tensor([0.75]), cells=2, size=4)
    assert weights[0].tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    # one cell in the middle of the canvas lies between pixels 1 and 2
    middle = hat_weights(torch.tensor([0.25]), torch.tensor([0.75]), cells=1, size=4)
    assert middle[0].tolist() == [[0, 0.5, 0.5, 0]]


def test_beyond_the_canvas_there_is_nothing():
    sampled = sample_embedding(torch.ones(1, 1, 4, 4), torch.tensor([[1.5, 1.5, 2.5, 2.5]]), cells=2)
    assert (sampled == 0).all()


def test_sampling_equals_grid_sample():
    torch.manual_seed(0)
    embedding, view = torch.randn(1, 3, 8, 8), torch.tensor([[0.1, -0.2, 0.7, 1.1]])
    ours = sample_embedding(embedding, view, cells=5)
    places = (torch.arange(5) + 0.5) / 5
    x = (0.1 + 0.6 * places) * 2 - 1
    y = (-0.2 + 1.3 * places) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    theirs = torch.nn.functional.grid_sample(embedding, grid, align_corners=False, padding_mode="zeros")
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_one_embedding_serves_all_views():
    view = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    embedding = torch.randn(1, 2, 8, 8)
    both = sample_embedding(embedding, view, cells=4)
    assert torch.allclose(both[1:], sample_embedding(embedding, view[1:], cells=4))


def test_the_geometry_maps_are_what_they_say():
    # a view of 4 cells, the box over the two in the middle: cells' places in the box -1.5 -0.5 0.5 1.5
    box, view = torch.tensor([[0.25, 0.25, 0.75, 0.75]]), torch.tensor([[0.0, 0.0, 0.125, 0.25]])
    across, down, ellipse, inside, width, height = geometry_maps(box, view, 4)[0]
    assert across[0].tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert down[:, 0].tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert ellipse[1, 1] == 0.5  # 1 - 0.25 - 0.25
    assert ellipse[0, 0] == -3.5  # 1 - 2.25 - 2.25
    assert inside[1, 1] == 0.5
    assert inside[0, 1] == -0.5
    assert width[0, 0] == 0  # the box is a sixteenth of the canvas wide,
    assert height[0, 0] == 0.25  # and an eighth high


def test_local_contrast_makes_weak_and_strong_edges_alike():
    weak, strong = torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), 0.1)
    weak[..., 4:] = 0.9
    strong[..., 4:] = 0.9
    weak_map, strong_map = image_maps(weak, None)[0, 3], image_maps(strong, None)[0, 3]
    assert torch.allclose(weak_map, strong_map, atol=0.1)


def test_a_constant_view_gives_finite_maps():
    assert torch.isfinite(image_maps(torch.zeros(1, 3, 8, 8), torch.ones(1, 2, 8, 8))).all()


def test_the_object_beside_is_shown_as_it_is_and_brightness_in_units_of_the_spread_within_the_view():
    # Half of the view is 0.3 and half 0.7: a spread of 0.2, and 0.02 are added to any.
    detail, memory = torch.full((1, 3, 8, 8), 0.3), torch.full((1, 2, 8, 8), -1.0)
    detail[..., 4:], memory[:, 1] = 0.7, 0.11
    maps = image_maps(detail, memory)
    assert maps.shape == (1, 6, 8, 8)
    assert torch.equal(maps[:, :4], image_maps(detail, None))
    assert (maps[:, 4] == -1).all()
    assert torch.allclose(maps[:, 5], torch.tensor(0.5))


@pytest.fixture
def inputs():
    return {
        "detail": torch.rand(3, 3, 32, 32),
        "box_in_view": torch.tensor([[0.2, 0.2, 0.8, 0.8]]).repeat(3, 1),
        "view_in_canvas": torch.tensor([[0.1, 0.1, 0.5, 0.6]]).repeat(3, 1),
    }


def test_shapes_of_the_way_from_canvas_to_logits(inputs):
    model = build_network(TINY).eval()
    embedding = model.encode(torch.rand(1, 3, 64, 64))
    logits, iou = model.decode(embedding, **inputs)
    assert embedding.shape == (1, 16, 8, 8)
    assert logits.shape == (3, 32, 32)
    assert iou.shape == (3,)
    assert ((iou >= 0) & (iou <= 1)).all()


def test_an_untrained_model_answers_with_the_ellipse_in_the_box(inputs):
    torch.manual_seed(0)
    model = build_network(TINY).eval()
    logits, _ = model.decode(model.encode(torch.rand(1, 3, 64, 64)), **inputs)
    clear = ellipse_map(inputs["box_in_view"], 32).abs() > 0.2
    agree = (logits > 0) == (ellipse_map(inputs["box_in_view"], 32) > 0)
    assert agree[clear].all()


def test_boxes_answered_together_or_alone_are_answered_alike(inputs):
    torch.manual_seed(0)
    model = build_network(TINY).eval()
    embedding = model.encode(torch.rand(1, 3, 64, 64))
    together, _ = model.decode(embedding, **inputs)
    alone, _ = model.decode(embedding, **{name: value[1:2] for name, value in inputs.items()})
    assert np.allclose(together[1].detach(), alone[0].detach(), atol=1e-5)


def test_the_l0_encoder_can_feed_the_box_frame_decoder(inputs):
    spec = ModelSpec(name="mixed", encoder="efficientvit_l0", neck_size=32, embedding_width=256, view_size=32)
    model = build_network(spec).eval()
    with torch.inference_mode():
        embedding = model.encode(torch.rand(1, 3, 256, 256))
        logits, _ = model.decode(embedding, **inputs)
    assert embedding.shape == (1, 256, 32, 32)
    assert logits.shape == (3, 32, 32)


@pytest.fixture
def widened():
    """A model without memory whose weights are anything, and one with memory that goes on from them."""
    torch.manual_seed(0)
    before = build_network(TINY).eval()
    torch.nn.init.normal_(before.decoder.to_logits.weight, std=0.1)
    after = build_network(MEMORY).eval()
    after.load_state_dict(fitted_weights(before.state_dict(), after))
    return before, after


def test_a_model_that_goes_on_from_one_without_memory_answers_alike_whatever_it_is_shown(widened, inputs):
    before, after = widened
    embedding = before.encode(torch.rand(1, 3, 64, 64))
    wanted, wanted_iou = before.decode(embedding, **inputs)
    for memory in (torch.zeros(3, 2, 32, 32), torch.rand(3, 2, 32, 32) * 2 - 1):
        logits, iou = after.decode(embedding, **inputs, memory=memory)
        torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=0)
        torch.testing.assert_close(iou, wanted_iou, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shown", [0, 1])
def test_with_other_weights_for_it_each_map_of_memory_matters(widened, inputs, shown):
    _, after = widened
    kernel = after.decoder.stem.body.conv.weight
    assert (kernel[:, -8:] == 0).all()  # 2 maps of 2 x 2 cells
    torch.nn.init.normal_(kernel[:, -8:], std=0.1)
    embedding = after.encode(torch.rand(1, 3, 64, 64))
    memory = torch.zeros(3, 2, 32, 32)
    nothing, _ = after.decode(embedding, **inputs, memory=memory)
    memory[:2, shown] = torch.rand(2, 32, 32)
    known, _ = after.decode(embedding, **inputs, memory=memory)
    changes = (known - nothing).abs().amax(dim=(1, 2))
    assert (changes[:2] > 1e-2).all()
    assert changes[2] < 1e-5  # what is known of some objects does not concern another


def test_only_the_box_frame_decoder_can_have_memory():
    with pytest.raises(CheckpointError, match=r"'x': the decoder 'sam' knows no memory"):
        ModelSpec(name="x", encoder="efficientvit_l0", decoder="sam", memory=True)


def test_a_spec_from_before_there_was_memory_has_none():
    values = TINY.to_dict()
    del values["memory"]
    assert ModelSpec.from_dict(values) == TINY
    assert not TINY.memory
    assert ModelSpec.from_json(GRAYSAM.to_json()).memory


def gate_that_says(number: float) -> EllipseGate:
    """Give a gate whose trust is sigmoid(number) whatever it sees."""
    gate = EllipseGate(features=3)
    with torch.no_grad():
        gate.to_trust[2].weight.zero_()
        gate.to_trust[2].bias.fill_(number)
    return gate


WHOLE_CANVAS = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)


def test_a_gate_that_trusts_the_image_leaves_its_logits():
    logits, ellipse = torch.randn(2, 4, 4), torch.randn(2, 4, 4)
    blended = gate_that_says(50.0)(torch.zeros(2, 3), logits, ellipse, WHOLE_CANVAS)
    assert torch.allclose(blended, logits)


def test_a_gate_that_trusts_the_box_answers_with_the_steep_ellipse():
    logits, ellipse = torch.randn(2, 4, 4), torch.randn(2, 4, 4)
    blended = gate_that_says(-50.0)(torch.zeros(2, 3), logits, ellipse, WHOLE_CANVAS)
    assert torch.allclose(blended, 20 * ellipse)


def test_half_of_the_trust_gives_the_mean_of_both():
    logits, ellipse = torch.full((1, 2, 2), 3.0), torch.full((1, 2, 2), 0.5)
    blended = gate_that_says(0.0)(torch.zeros(1, 3), logits, ellipse, WHOLE_CANVAS[:1])
    assert blended[0, 0, 0].item() == pytest.approx((3 + 10) / 2)


def test_the_gate_is_told_by_how_far_contour_and_ellipse_disagree_and_where():
    gate, seen = EllipseGate(features=3), []
    gate.to_trust.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 3:]))
    ellipse = torch.full((2, 4, 4), -1.0)
    ellipse[:, :2] = 1.0  # eight cells inside
    logits = torch.full((2, 4, 4), -50.0)
    logits[0, :2] = 50.0  # the same eight
    logits[1, :1] = 50.0  # four of them: DSC 2 * 4 / (4 + 8) = 2/3, and it ends one cell of four earlier below
    gate(torch.zeros(2, 3), logits, ellipse, WHOLE_CANVAS)
    assert seen[0][0].tolist() == pytest.approx([0, 0, 0, 0, 0], abs=1e-4)
    assert seen[0][1].tolist() == pytest.approx([20 / 3, 0, 0, 25, 0], abs=1e-4)


def test_the_misfit_of_each_side_is_counted_in_hundredths_of_the_canvas():
    given = torch.zeros(1, 8, 8)
    given[:, 2:6, 2:6] = 1
    found = torch.zeros(1, 8, 8)
    found[:, 2:7, 1:4] = 1  # left side one cell further out, right two cells further in, lower side one further out
    view = torch.tensor([[0.2, 0.5, 0.6, 0.6]])  # 40 hundredths wide, 10 high: cells of 5 by 1.25
    assert side_misfit(found, given, view)[0].tolist() == pytest.approx([5, 10, 0, 1.25])
    assert side_misfit(given, given, view)[0].tolist() == [0, 0, 0, 0]


def test_an_untrained_decoder_with_a_gate_answers_with_the_ellipse_too():
    model = build_network(replace(TINY, ellipse_gate=True)).eval()
    box, view = torch.tensor([[0.2, 0.2, 0.8, 0.8]]), torch.tensor([[0.1, 0.1, 0.9, 0.9]])
    with torch.no_grad():
        embedding = model.encode(torch.rand(1, 3, 64, 64))
        logits, _ = model.decode(embedding, detail=torch.rand(1, 3, 32, 32), box_in_view=box, view_in_canvas=view)
    assert ((logits > 0) == (ellipse_map(box, 32) > 0)).float().mean() > 0.99
