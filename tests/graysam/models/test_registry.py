"""A new encoder and a new decoder are a file and a line of the registry each; any two that fit make a model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_slices import disc, drawn_slice, write_store
from tiny_spec import TINY

from graysam.api import Segmenter
from graysam.boxes import Box, VolumeBox
from graysam.errors import CheckpointError
from graysam.export import export
from graysam.image.preprocessing import prepare_slice
from graysam.models.network import build_network, shifted_logits
from graysam.models.registry import DECODERS, ENCODERS, DecoderEntry, EncoderEntry, resolve
from graysam.models.spec import GRAYSAM, L0, SPECS, ModelSpec
from graysam.prompts import Prompt
from graysam.store import open_store
from train.config import DataConfig, RunConfig
from train.run_folder import write_atomically
from train.trainer import Trainer


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """Register the toy pair, and give the spec of its model: a canvas of 64 gives 8 x 8 cells of 4 channels."""
    monkeypatch.setitem(ENCODERS, "toy", EncoderEntry("toy.encoder.ToyEncoder"))
    monkeypatch.setitem(DECODERS, "toy", DecoderEntry("toy.decoder.ToyDecoder", "toy.frame.ToyFrame"))
    return ModelSpec(name="toy", encoder="toy", decoder="toy", canvas=64, embedding_width=4)


def small_spec(encoder: str, decoder: str) -> ModelSpec:
    """A spec whose embedding has 8 x 8 cells."""
    width = 256 if encoder in ("efficientvit_l0", "tiny_vit") else 16
    canvas = 32 if encoder == "tiny_vit" else 64  # a cell of its embedding covers 4 pixels, one of the others 8
    own = {"width": 16, "depth": 2, "heads": 2, "patch": 8, "window": 4, "global_blocks": (1,)}
    return replace(
        TINY,
        encoder=encoder,
        decoder=decoder,
        canvas=canvas,
        embedding_width=width,
        neck_size=8,
        encoder_options=own if encoder == "vit" else {},
    )


def test_a_registered_pair_is_trained_exported_and_predicts_images_and_volumes(toys: ModelSpec, tmp_path: Path):
    pytest.importorskip("openvino")
    config = RunConfig(model=toys, data=DataConfig(images_per_batch=2), steps=2, precision="fp32")
    with torch.enable_grad():
        trainer = Trainer(config, open_store(write_store(tmp_path / "drawn.store")), tmp_path, torch.device("cpu"))
        before = trainer.model.decoder.get_parameter("to_logits.weight").detach().clone()
        assert np.isfinite(trainer.train_step()["loss"])
    assert not torch.equal(trainer.model.decoder.get_parameter("to_logits.weight"), before)
    write_atomically(tmp_path / "best.pt", trainer.shipped({}))

    export(tmp_path / "best.pt", tmp_path / "weights")
    image, _ = drawn_slice(0, colour=False)
    around = Box(x_min=6, y_min=7, x_max=22, y_max=23)
    volume, solid = np.stack([drawn_slice(z, colour=False)[0] for z in range(3)]), VolumeBox(around, 0, 2)
    answers = {}
    for engine in ("openvino", "torch"):
        segmenter = Segmenter.load(tmp_path / "weights", engine=engine, precision="fp32", threads=1)
        answers[engine] = segmenter.segment_image(image, [around]), segmenter.segment_volume(volume, [solid])
    # The toy answers with the box, to a cell of 4 canvas pixels, which are 3 pixels of this slice.
    in_2d, in_3d = answers["openvino"]
    assert in_2d[9:21, 8:20].all()
    assert not in_2d[:4].any()
    assert not in_2d[:, 26:].any()
    assert in_3d.shape == (3, 48, 48)
    assert all(in_3d[z, 14, 14] == 1 for z in range(3))
    for found, wanted in zip(answers["openvino"], answers["torch"], strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("encoder", ["toy", "conv", "efficientvit_l0", "tiny_vit", "vit"])
@pytest.mark.parametrize("decoder", ["toy", "box_frame", "sam"])
def test_any_encoder_goes_with_any_decoder_that_takes_its_embedding(toys: ModelSpec, encoder: str, decoder: str):
    spec = small_spec(encoder, decoder)
    network = build_network(spec).eval()
    inputs = network.example_inputs()
    embedding = network.encode(inputs.pop("canvas"))
    assert embedding.shape == (1, spec.embedding_width, 8, 8)
    logits, iou = network.decode(embedding, **inputs)
    side = {"toy": 16, "box_frame": spec.view_size, "sam": 4 * 8}[decoder]
    assert logits.shape == (2, side, side)
    assert iou.shape == (2,)
    frame = network.frame(prepare_slice(drawn_slice(0, colour=False)[0], spec), [Prompt(Box(6, 7, 22, 23))] * 2)
    targets = network.targets(frame, [disc(14, 15, 8)] * 2)
    assert targets.shape == logits.shape
    assert 0 == targets.min() < targets.max() == 1


@pytest.mark.parametrize("encoder", ["toy", "conv", "efficientvit_l0", "tiny_vit", "vit"])
@pytest.mark.parametrize("decoder", ["toy", "box_frame", "sam"])
def test_every_weight_that_wants_a_gradient_gets_one_from_any_batch(toys: ModelSpec, encoder: str, decoder: str):
    network = build_network(small_spec(encoder, decoder)).train()
    inputs = network.example_inputs()
    with torch.enable_grad():
        logits, iou = network.decode(network.encode(inputs.pop("canvas").repeat(2, 1, 1, 1)), **inputs)
        (logits.square().mean() + iou.sum()).backward()
    assert {name for name, each in network.named_parameters() if each.requires_grad and each.grad is None} == set()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"decoder": "toy", "canvas": 128}, r"'toy' wanted an embedding \(16, 8, 8\), found \(16, 16, 16\)"),
        (
            {"decoder": "sam", "embedding_width": 24},
            r"'sam' wanted .* \(C, h, h\) .* multiple of 16, found \(24, 8, 8\)",
        ),
        (
            {"encoder": "efficientvit_l0", "neck_size": 8},
            r"wanted an embedding of 16 channels .*, but the encoder 'efficientvit_l0' gives \(256, 8, 8\)",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_the_wanted_and_the_found_shape(toys, spec, message):
    fitting = replace(TINY, **spec)  # the spec alone is in order: what fits is known to the parts
    with pytest.raises(CheckpointError, match=message):
        build_network(fitting)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": "resnet"}, r"encoder is 'resnet', wanted one of \['conv', 'efficientvit_l0'.*\]"),
        ({"decoder": "unet"}, r"decoder is 'unet', wanted one of \['box_frame', 'sam'.*\]"),
        ({"channels": "sepia"}, "channels is 'sepia', wanted one of .*'graysam'"),
        ({"encoder_widths": (8, 8)}, r"encoder_widths is \(8, 8\), wanted 5 numbers"),
        ({"decoder_widths": (8, 8, 8, 0)}, r"decoder_widths is \(8, 8, 8, 0\), wanted 4 numbers of at least 1"),
        ({"embedding_width": 0}, "embedding_width 0 .* at least 1"),
        ({"canvas": 100}, "canvas 100 must be a multiple of 32"),
        ({"canvas": "256"}, "canvas is '256', wanted int"),
        ({"encoder_options": {"depth": 2}}, "encoder_options of the encoder 'conv': depth is unknown, known are"),
        ({"encoder_options": 3}, "encoder_options of the encoder 'conv': "),
        ({"encoder": {}}, "encoder is {}, wanted str"),
        (
            {"decoder": "sam", "memory": True, "ellipse_gate": True},
            "the decoder 'sam' knows no ellipse_gate and no memory",
        ),
    ],
)
def test_a_spec_that_no_registered_part_can_serve_is_refused_at_once(values, message):
    with pytest.raises(CheckpointError, match=f"spec 'tiny': {message}"):
        replace(TINY, **values)


def test_every_name_of_the_registry_leads_to_something_and_every_spec_that_comes_with_the_program_fits():
    for entry in (*ENCODERS.values(), *DECODERS.values()):
        assert isinstance(resolve(entry.place), type)
    assert all(isinstance(resolve(entry.frame), type) for entry in DECODERS.values())
    assert all(SPECS[name].name == name for name in SPECS)
    build_network(GRAYSAM)


def test_only_decoders_with_one_bias_behind_all_logits_can_be_shifted():
    with pytest.raises(CheckpointError, match="SamDecoder has no logits that could be shifted"):
        shifted_logits({}, 0.5, L0)
