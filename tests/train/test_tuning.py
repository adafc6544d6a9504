from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from graysam.models.network import build_network
from graysam.models.spec import ModelSpec
from graysam.store import PackedStore
from train.config import ConfigError, RunConfig, TuningConfig
from train.trainer import Trainer
from train.tuning import apply_tuning, merged_state, train_mode, under_additions

LORA = TuningConfig(lora_rank=2, lora_scale=4.0, lora_parts=("0", "1"))


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 3, 1), nn.Flatten(), nn.Linear(12, 2))


def test_fresh_additions_change_no_answer_and_only_they_are_trained():
    net, image = small_net(), torch.randn(1, 4, 4, 4)
    before = net(image)
    apply_tuning(net, LORA)
    assert torch.equal(net(image), before)
    trained = [name for name, each in net.named_parameters() if each.requires_grad]
    added = [f"{layer}.parametrizations.weight.0.{half}" for layer in (0, 1) for half in ("down", "up")]
    assert sorted(trained) == sorted([*added, "3.weight", "3.bias"])


def with_random_additions(net: nn.Sequential, tuning: TuningConfig = LORA) -> nn.Sequential:
    apply_tuning(net, tuning)
    with torch.no_grad():
        for name, each in net.named_parameters():
            if name.endswith(".up"):
                each.normal_()
    return net


def test_merged_additions_give_the_same_answers_under_plain_names():
    net, image = with_random_additions(small_net()), torch.randn(1, 4, 4, 4)
    plain = small_net()
    plain.load_state_dict(merged_state(net))
    torch.testing.assert_close(plain(image), net(image))


def test_merged_additions_of_linear_layers_and_of_convolutions_in_groups_give_the_same_answers_to_the_bit():
    net, image = with_random_additions(small_net(), replace(LORA, lora_parts=("0", "3"))), torch.randn(1, 4, 4, 4)
    plain = small_net()
    plain.load_state_dict(merged_state(net))
    assert torch.equal(plain(image), net(image))


def test_a_convolution_with_an_addition_has_the_answers_and_gradients_of_one_with_the_summed_weight():
    torch.manual_seed(0)
    net = with_random_additions(nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Conv2d(5, 4, 1))).double()
    image = torch.randn(2, 3, 9, 7).double()
    halves = [each for each in net.parameters() if each.requires_grad]
    summed = image
    for layer in net:
        summed = functional.conv2d(summed, layer.weight, layer.bias, layer.stride, layer.padding)
    answered = net(image)
    torch.testing.assert_close(answered, summed)
    wanted = torch.autograd.grad(summed.square().sum(), halves)
    torch.testing.assert_close(torch.autograd.grad(answered.square().sum(), halves), wanted)


def test_an_addition_is_the_product_of_its_halves_times_scale_over_rank():
    net = nn.Sequential(nn.Linear(2, 2, bias=False))
    weight = net[0].weight.detach().clone()
    apply_tuning(net, TuningConfig(lora_rank=1, lora_scale=3.0, lora_parts=("0",)))
    addition = net[0].parametrizations.weight[0]
    addition.down.data = torch.tensor([[1.0, 2.0]])
    addition.up.data = torch.tensor([[5.0], [7.0]])
    expected = weight + 3.0 * torch.tensor([[5.0, 10.0], [7.0, 14.0]])
    torch.testing.assert_close(net[0].weight, expected)


def test_parts_that_no_prompt_reaches_get_no_additions():
    sam = ModelSpec(name="small", decoder="sam", canvas=64, encoder_widths=(8,) * 5, embedding_width=32)
    net = build_network(sam)
    apply_tuning(net, TuningConfig(lora_rank=2, lora_parts=("decoder",)))
    trained = {name for name, each in net.decoder.named_parameters() if each.requires_grad}
    heads = "mask_decoder.output_hypernetworks_mlps"
    assert f"{heads}.0.layers.2.parametrizations.weight.0.up" in trained
    assert not any(name.startswith((f"{heads}.1", f"{heads}.2", "prompt_encoder.mask_down")) for name in trained)


def test_plain_weights_find_their_place_under_additions():
    net = small_net()
    plain = {name: value + 1 for name, value in net.state_dict().items()}
    apply_tuning(net, LORA)
    net.load_state_dict(under_additions(net, plain))
    assert torch.equal(merged_state(net)["0.weight"], plain["0.weight"])


def test_norms_of_frozen_parts_and_with_freeze_norm_all_norms_keep_their_statistics(tiny_spec: ModelSpec):
    model = build_network(tiny_spec)
    frozen = TuningConfig(frozen=("encoder",))
    apply_tuning(model, frozen)
    train_mode(model, frozen)
    norms = {name: each for name, each in model.named_modules() if isinstance(each, nn.BatchNorm2d)}
    assert all(each.training != name.startswith("encoder.") for name, each in norms.items())
    train_mode(model, TuningConfig(freeze_norm=True))
    assert not any(each.training for each in norms.values())


def test_a_part_that_is_not_there_is_refused(tiny_spec: ModelSpec):
    with pytest.raises(ConfigError, match="encodr"):
        apply_tuning(build_network(tiny_spec), TuningConfig(frozen=("encodr",)))
    with pytest.raises(ConfigError, match="lora_parts"):
        apply_tuning(build_network(tiny_spec), TuningConfig(lora_rank=1, lora_parts=("neck",)))


def test_a_run_with_additions_leaves_the_encoder_alone_and_ships_a_plain_model(
    tmp_path: Path, tiny_config: RunConfig, store: PackedStore
):
    torch.manual_seed(3)
    initial = build_network(tiny_config.model).state_dict()
    tuning = TuningConfig(lora_rank=2, lora_parts=("encoder",))
    trainer = Trainer(replace(tiny_config, tuning=tuning), store, tmp_path, torch.device("cpu"), initial=initial)
    trainer.run(float("inf"))
    own = trainer.model.state_dict()["encoder.stem.body.conv.parametrizations.weight.original"]
    assert torch.equal(own, initial["encoder.stem.body.conv.weight"])
    shipped = torch.load(tmp_path / "best.pt", weights_only=True)["model"]
    build_network(tiny_config.model).load_state_dict(shipped)  # the plain names, all of them
    again = Trainer(replace(tiny_config, tuning=tuning), store, tmp_path, torch.device("cpu"))
    assert again.resume()
