"""Bottleneck adapters go into any registered network, change nothing at first, learn alone, and are exported."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from drawn_slices import drawn_slice, write_store
from tiny_spec import TINY
from torch import nn

from graysam.api import Segmenter
from graysam.boxes import Box, VolumeBox
from graysam.errors import CheckpointError
from graysam.export import export
from graysam.models.adapters import (
    Adapter,
    DecodedPrompts,
    PromptedAdapter,
    adapted_layers,
    adapter_parameters,
    box_inputs,
    prompt_code,
)
from graysam.models.network import Encoder, Network, build_network
from graysam.models.options import AdapterOptions
from graysam.models.quantize import quantize_dynamic
from graysam.models.registry import ENCODERS, resolve
from graysam.models.spec import ModelSpec
from graysam.store import open_store
from train.config import DataConfig, RunConfig, TuningConfig, config_from
from train.run_folder import write_atomically
from train.trainer import Trainer
from train.tuning import apply_tuning, moved_parameters

KINDS = ("serial", "parallel", "prompted")
ANY_ENCODER = [
    pytest.param(name, marks=[] if entry.widths else [pytest.mark.slow]) for name, entry in sorted(ENCODERS.items())
]
"""Those without widths have one size, which takes a second to build."""


def small_spec(encoder: str, *, decoder: str = "box_frame") -> ModelSpec:
    """A spec small enough for a test, of any registered encoder; the embedding's width is the encoder's own word."""
    spec = replace(TINY, encoder=encoder, decoder=decoder, canvas=64, neck_size=8)
    built = cast("type[Encoder]", resolve(ENCODERS[encoder].place))
    return replace(spec, embedding_width=built.embedding_shape(spec)[0])


def answer(network: Network) -> torch.Tensor:
    torch.manual_seed(5)
    inputs = network.eval().example_inputs()
    with torch.no_grad():
        return network.decode(network.encode(inputs.pop("canvas")), **inputs)[0]


def learn_a_little(network: Network) -> None:
    """Give every adapter a last layer that is not zero."""
    with torch.no_grad():
        for each in network.modules():
            if isinstance(each, Adapter):
                each.up.weight.normal_(std=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoder", ANY_ENCODER)
def test_fresh_adapters_change_no_answer_of_any_encoder_and_learnt_ones_do(encoder: str, kind: str):
    spec = small_spec(encoder)
    plain, adapted = (
        build_network(spec).eval(),
        build_network(replace(spec, adapters={"kind": kind, "width": 3})).eval(),
    )
    missing = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(".adapter." in name for name in missing.missing_keys)
    assert torch.equal(answer(adapted), answer(plain))
    learn_a_little(adapted)
    assert not torch.equal(answer(adapted), answer(plain))
    # A copy has adapters and hooks of its own.
    twin = copy.deepcopy(adapted)
    before = answer(twin)
    learn_a_little(adapted)
    assert torch.equal(answer(twin), before)


@pytest.mark.parametrize("encoder", ANY_ENCODER)
def test_every_adapter_of_an_encoder_is_reached_by_the_gradient(encoder: str):
    network = build_network(replace(small_spec(encoder), adapters={"kind": "serial", "width": 3}))
    with torch.enable_grad():
        network.encode(torch.rand(1, 3, 64, 64)).square().sum().backward()
    adapters = [each for each in network.encoder.modules() if isinstance(each, Adapter)]
    assert adapters
    assert all(each.up.weight.grad is not None for each in adapters)


def test_an_adapter_adds_up_times_the_activation_of_down():
    layer = nn.Linear(2, 2, bias=False)
    adapter = Adapter(layer, AdapterOptions(width=1, activation="relu"))
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, -2.0]]))
        adapter.down.bias.zero_()
        adapter.up.weight.copy_(torch.tensor([[10.0], [5.0]]))
    # 1 * 3 - 2 * 1 = 1 passes the ReLU; 1 * 1 - 2 * 1 = -1 does not.
    torch.testing.assert_close(adapter(torch.tensor([[3.0, 1.0], [1.0, 1.0]])), torch.tensor([[10.0, 5.0], [0.0, 0.0]]))


def test_a_prompted_adapter_turns_its_bottleneck_by_the_prompt():
    prompts = DecodedPrompts()
    adapter = PromptedAdapter(nn.Conv2d(2, 2, 1), AdapterOptions(width=2, activation="relu"), prompts, 4)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.eye(2)[:, :, None, None])
        adapter.down.bias.zero_()
        adapter.to_matrix[2].weight.zero_()
        # For every prompt the identity plus [[0, 1], [0, 0]]: the first channel gets the second one added.
        adapter.to_matrix[2].bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    prompts.code = torch.zeros(2, 4)
    narrowed = adapter.narrowed(torch.tensor([[[[5.0]], [[7.0]]]]))  # one image, two prompts
    torch.testing.assert_close(narrowed, torch.tensor([[[[12.0]], [[7.0]]]] * 2))


def test_the_prompt_is_told_as_shares_of_the_canvas():
    inputs = {"boxes_canvas": torch.tensor([[0.0, 16.0, 32.0, 64.0]]), "detail": torch.zeros(1, 4, 2, 2)}
    names = box_inputs(inputs)
    assert names == ("boxes_canvas",)
    code = prompt_code(inputs, names, 64)
    assert code.tolist() == [[0.0, 0.25, 0.5, 1.0]]


def test_prompted_adapters_sit_in_sams_decoder_too():
    spec = replace(small_spec("conv", decoder="sam"), adapters={"kind": "prompted", "width": 3})
    network = build_network(spec)
    learn_a_little(network)
    inputs = network.eval().example_inputs()
    embedding = network.encode(inputs["canvas"])
    both = network.decode(embedding, boxes_canvas=inputs["boxes_canvas"])[0]
    second = network.decode(embedding, boxes_canvas=inputs["boxes_canvas"][1:])[0]
    torch.testing.assert_close(both[1:], second, rtol=1e-4, atol=1e-4)  # each box is told of itself alone


def test_grouped_and_unpadded_convolutions_get_no_adapter():
    part = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 4, 2), nn.Conv2d(4, 8, 5, 2, 2))
    assert adapted_layers(part) == [part[2]]


def test_parameters_are_counted_and_adapters_alone_are_trained_in_frozen_parts(tmp_path: Path):
    model = {**TINY.to_dict(), "adapters": {"kind": "parallel", "width": 2}}
    tables = {"model": model, "steps": 1, "precision": "fp32"}
    config = config_from({**tables, "tuning": {"frozen": ["encoder", "decoder"]}}, "test")
    with torch.enable_grad():
        config = replace(config, data=DataConfig(images_per_batch=2))
        trainer = Trainer(config, open_store(write_store(tmp_path / "drawn.store")), tmp_path, torch.device("cpu"))
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        trainer.train_step()
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(".adapter." in name for name in moved)
    own = adapter_parameters(trainer.model)
    # The stem maps 3 channels to 8: 3 * 2 + 2 down and 2 * 8 + 8 up.
    stem = trainer.model.encoder.get_submodule("stem.body.conv.adapter")
    assert sum(value.numel() for value in stem.parameters()) == 3 * 2 + 2 + 2 * 8 + 8
    assert moved_parameters(trainer.model) == (
        own,
        own + sum(each.numel() for each in build_network(TINY).parameters()),
    )


def test_low_rank_additions_leave_adapters_alone():
    config = RunConfig(model=replace(TINY, adapters={"kind": "serial"}), steps=1, tuning=TuningConfig(lora_rank=2))
    network = build_network(config.model)
    apply_tuning(network, config.tuning)
    names = [name for name, each in network.named_parameters() if each.requires_grad and name.startswith("encoder.")]
    assert any(".adapter.down.weight" in name for name in names)
    assert not any("adapter.down.parametrizations" in name for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapted_network_is_trained_exported_and_predicts_alike_on_all_engines(kind: str, tmp_path: Path):
    pytest.importorskip("openvino")
    spec = replace(TINY, adapters={"kind": kind}, memory=True, ellipse_gate=True)
    config = RunConfig(model=spec, data=DataConfig(images_per_batch=2), steps=2, precision="fp32")
    with torch.enable_grad():
        trainer = Trainer(config, open_store(write_store(tmp_path / "drawn.store")), tmp_path, torch.device("cpu"))
        assert np.isfinite(trainer.train_step()["loss"])
    learn_a_little(trainer.averaged)
    write_atomically(tmp_path / "best.pt", trainer.shipped({}))
    export(tmp_path / "best.pt", tmp_path / "weights", calibration=tmp_path / "drawn.store", count=4)
    image, _ = drawn_slice(0, colour=False)
    volume = np.stack([drawn_slice(z, colour=False)[0] for z in range(3)])
    box = Box(6, 7, 22, 23)
    answers = {}
    for engine, precision in (("torch", "fp32"), ("openvino", "fp32"), ("openvino", "int8"), ("torch", "int8")):
        segmenter = Segmenter.load(tmp_path / "weights", engine=engine, precision=precision, threads=1)
        assert segmenter.engine.spec.adapter_options == AdapterOptions(kind)
        flat, solid = segmenter.segment_image(image, [box]), segmenter.segment_volume(volume, [VolumeBox(box, 0, 2)])
        answers[engine, precision] = np.concatenate([flat[None], solid])
    wanted = answers["torch", "fp32"]
    for found in answers.values():
        assert (found != wanted).mean() < 0.02


@pytest.mark.slow
def test_the_papers_int8_keeps_adapters_on_linear_layers():
    network = build_network(replace(small_spec("tiny_vit", decoder="sam"), adapters={"kind": "prompted", "width": 3}))
    learn_a_little(network)
    quantized = quantize_dynamic(network)
    assert (answer(quantized) - answer(network)).abs().mean() < 0.2 * answer(network).abs().mean()


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        ({"kind": "lora"}, "spec 'tiny': adapters: kind is 'lora', wanted one of"),
        ({"activation": "tanh"}, "adapters: activation is 'tanh', wanted one of"),
        ({"width": 0}, "adapters: width 0 must be at least 1"),
        ({"width": "wide"}, "adapters: width is 'wide', wanted int"),
        ({"rank": 2}, "adapters: rank is unknown, known are"),
        ("serial", "adapters: "),
    ],
)
def test_adapters_that_nobody_knows_are_refused(adapters, message: str):
    with pytest.raises(CheckpointError, match=message):
        replace(TINY, adapters=adapters)


def test_specs_that_name_adapters_in_three_fields_are_read_as_before():
    plain = TINY.to_dict()
    assert "adapters" not in plain  # so that an earlier version reads it
    three = {"adapter_width": 3, "adapter_activation": "relu"}
    assert ModelSpec.from_dict({**plain, "adapters": "none", **three}) == TINY
    serial = ModelSpec.from_dict({**plain, "adapters": "serial", **three})
    assert serial.adapter_options == AdapterOptions("serial", 3, "relu")
    assert ModelSpec.from_dict({**plain, "adapters": "prompted"}).adapter_options == AdapterOptions("prompted")
    assert ModelSpec.from_json(serial.to_json()) == serial
    with pytest.raises(CheckpointError, match="adapters: kind is 'lora'"):
        ModelSpec.from_dict({**plain, "adapters": "lora", **three})
