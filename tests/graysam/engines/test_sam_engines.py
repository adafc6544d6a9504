"""The paper's model through both engines: the other kind of decoder takes the same ways."""

from pathlib import Path

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.inference.images import segment_slice
from graysam.inference.volumes import segment_volume
from graysam.models.spec import ModelSpec
from graysam.prompts import Prompt

# The paper's weights' shapes on a small canvas: 35 million parameters, but little arithmetic.
SMALL_SAM = ModelSpec(
    name="small-sam",
    encoder="efficientvit_l0",
    decoder="sam",
    canvas=64,
    neck_size=16,
    channels="paper",
    embedding_width=256,
)
BOXES = [Box(20, 15, 49, 34), Box(0, 0, 79, 59), Box(30, 20, 33, 22)]


def drawn_slice():
    image = np.random.default_rng(5).integers(0, 60, (60, 80)).astype(np.uint8)
    image[15:35, 20:50] += 120
    return image


@pytest.fixture(scope="module")
def sam_checkpoint(tmp_path_factory) -> Path:
    torch = pytest.importorskip("torch")
    from graysam.models.checkpoint import save_checkpoint
    from graysam.models.network import build_network

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sam") / "sam.pt"
    save_checkpoint(path, build_network(SMALL_SAM), SMALL_SAM, half=True)
    return path


def test_torch_runs_a_sam_model_in_2d_and_3d_in_fp32_and_dynamic_int8(sam_checkpoint):
    from graysam.engines.torch_engine import TorchEngine

    masks = {}
    for precision in ("fp32", "int8"):
        engine = TorchEngine.load(sam_checkpoint, precision=precision)
        masks[precision] = segment_slice(engine, drawn_slice(), BOXES)
        assert masks[precision].shape == (60, 80)
    assert (masks["fp32"] != masks["int8"]).mean() < 0.1
    volume = np.stack([drawn_slice()] * 3)
    labels = segment_volume(engine, volume, [VolumeBox(BOXES[0], 0, 2), VolumeBox(BOXES[2], 1, 2)])
    assert labels.shape == volume.shape


@pytest.mark.slow
def test_openvino_gives_the_numbers_of_torch_for_a_sam_model(sam_checkpoint, tmp_path):
    pytest.importorskip("openvino")
    from graysam.engines.openvino_engine import OpenVinoEngine
    from graysam.engines.torch_engine import TorchEngine
    from graysam.export.command import main
    from graysam.image.preprocessing import prepare_slice
    from graysam.models.frames import frame_prompts

    assert main(["--checkpoint", str(sam_checkpoint), "--out", str(tmp_path)]) == 0
    prepared = prepare_slice(drawn_slice(), SMALL_SAM)
    inputs = frame_prompts(prepared, [Prompt(box) for box in BOXES], SMALL_SAM).inputs()
    reference, engine = TorchEngine.load(tmp_path / "model.pt"), OpenVinoEngine.load(tmp_path)
    embedding = reference.encode(prepared.canvas)
    np.testing.assert_allclose(engine.encode(prepared.canvas), embedding, atol=1e-3, rtol=1e-3)
    for own, other in zip(engine.decode(embedding, inputs), reference.decode(embedding, inputs), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-3, rtol=1e-3)
    assert engine.decode(embedding, {"boxes_canvas": inputs["boxes_canvas"][:1]})[0].shape == (1, 64, 64)


@pytest.mark.slow
def test_a_checkpoint_with_official_key_names_in_wrappers_becomes_a_folder_that_openvino_runs(sam_checkpoint, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("openvino")
    from graysam.engines.openvino_engine import OpenVinoEngine
    from graysam.engines.torch_engine import TorchEngine
    from graysam.export import export

    weights = torch.load(sam_checkpoint, weights_only=True)["model"]
    wrapped = {"state_dict": {f"module.{key}": value for key, value in weights.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "theirs.pt")
    export(tmp_path / "theirs.pt", tmp_path / "ours", spec=SMALL_SAM)
    own = segment_slice(TorchEngine.load(sam_checkpoint), drawn_slice(), BOXES)
    assert np.mean(segment_slice(OpenVinoEngine.load(tmp_path / "ours"), drawn_slice(), BOXES) == own) > 0.99
