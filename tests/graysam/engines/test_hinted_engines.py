"""A model that is shown clicks, earlier answers, other boxes and the place, on every engine."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_spec import TINY

from graysam import Segmenter
from graysam.boxes import Box, VolumeBox
from graysam.engines.openvino_engine import OpenVinoEngine
from graysam.engines.torch_engine import TorchEngine
from graysam.export import export
from graysam.export.calibration import calibration_slices
from graysam.image.preprocessing import prepare_slice
from graysam.models.checkpoint import save_checkpoint
from graysam.models.frames import frame_prompts
from graysam.models.hints import HINT_MAPS
from graysam.models.network import build_network
from graysam.prompts import Click, Prompt, box_rows

SPEC = replace(TINY, memory=True, hints=True)
BOX = Box(20, 15, 49, 34)


def noisy_block():
    image = np.random.default_rng(5).integers(0, 60, (60, 80)).astype(np.uint8)
    image[15:35, 20:50] += 120
    return image


def told():
    """A box alone, and the same box with everything that a prompt can say."""
    previous = np.zeros((60, 80), bool)
    previous[18:30, 22:40] = True
    clicks = (Click(45, 30, is_inside=True), Click(21, 16, is_inside=False))
    return [
        Prompt(BOX),
        Prompt(BOX, others=box_rows([BOX, Box(30, 20, 38, 28)]), clicks=clicks, previous=previous, place=0.6),
    ]


def answers(engine):
    prepared = prepare_slice(noisy_block(), engine.spec)
    frame = frame_prompts(prepared, told(), engine.spec)
    return engine.decode(engine.encode(prepared.canvas), frame.inputs())


@pytest.fixture(scope="module")
def hinted(tmp_path_factory, calibration_cases):
    """The tiny model with hints, exported for all engines."""
    pytest.importorskip("nncf")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_network(SPEC)
    torch.nn.init.normal_(model.decoder.to_logits.weight, std=0.1)
    stem = next(part for part in model.decoder.stem.modules() if isinstance(part, torch.nn.Conv2d))
    with torch.no_grad():
        stem.weight[:, -len(HINT_MAPS) :] *= 10  # fresh weights hardly hear what is said
    folder = tmp_path_factory.mktemp("hinted")
    save_checkpoint(folder / "tiny.pt", model, SPEC)
    export(folder / "tiny.pt", folder / "weights", calibration=calibration_cases)
    return folder / "weights"


@pytest.mark.slow
def test_openvino_fp32_gives_the_numbers_of_torch_with_and_without_hints(hinted):
    own, other = answers(OpenVinoEngine.load(hinted)), answers(TorchEngine.load(hinted / "model.pt"))
    for mine, reference in zip(own, other, strict=True):
        np.testing.assert_allclose(mine, reference, atol=2e-3, rtol=2e-3)
    logits = own[0]
    assert np.abs(logits[1] - logits[0]).max() > 0.1, "what the prompt says changes the answer"


@pytest.mark.slow
def test_int8_sees_the_hints_nearly_as_fp32_does(hinted):
    exact, _ = answers(OpenVinoEngine.load(hinted))
    coarse, _ = answers(OpenVinoEngine.load(hinted, precision="int8"))
    spread = np.abs(exact[1] - exact[0]).mean()
    assert np.abs((coarse[1] - coarse[0]) - (exact[1] - exact[0])).mean() < 0.5 * spread


@pytest.mark.slow
def test_clicks_reach_every_engine_through_the_public_door(hinted):
    image, volume = noisy_block(), np.stack([noisy_block()] * 3)
    clicks, solid = [[(45, 30, True), (21, 16, False)]], [VolumeBox(BOX, 0, 2)]
    of_engines = []
    for engine in ("openvino", "torch"):
        segmenter = Segmenter.load(hinted, engine=engine, precision="fp32", threads=1)
        assert segmenter.takes_clicks
        previous = segmenter.segment_image(image, [BOX])
        answer = segmenter.segment_image(image, [BOX], clicks=clicks, previous=previous)
        assert not np.array_equal(answer, previous)
        flat = segmenter.segment_volume(volume, solid)
        mended = segmenter.segment_volume(volume, solid, clicks=[[(45, 30, 2, True)]], previous=flat)
        assert np.array_equal(mended[1], flat[1])  # the middle slice, from which nothing was said otherwise
        of_engines.append((answer, mended))
    for own, other in zip(*of_engines, strict=True):
        assert (own != other).mean() < 0.005


def test_int8_is_calibrated_with_prompts_that_say_everything(calibration_cases):
    shown = []
    for each in calibration_slices(calibration_cases, SPEC, 5):
        prepared = prepare_slice(each.image, SPEC)
        shown.append(frame_prompts(prepared, [each.prompt], SPEC).inputs()["hints"][0].any(axis=(1, 2)))
    named = dict(zip(HINT_MAPS, np.any(shown, axis=0), strict=True))
    assert named["inside"]
    assert named["outside"]
    assert named["previous"]
    assert named["place"]
