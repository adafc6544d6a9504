"""A tiny model with seeded weights, exported once for all tests that need engines with files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_spec import TINY

from graysam.boxes import Box, VolumeBox
from graysam.formats.npz import write_case

TINY_MODEL = replace(TINY, memory=True, ellipse_gate=True)


def drawn_slice(seed):
    """A dark noisy slice of 60 x 80 with a bright block of 20 x 30 at (20, 15) (x, y)."""
    image = np.random.default_rng(seed).integers(0, 60, (60, 80)).astype(np.uint8)
    image[15:35, 20:50] += 120
    return image


@pytest.fixture(scope="session", autouse=True)
def _no_compile_cache():
    """Keep tests from reading or filling the user's own cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("GRAYSAM_CACHE", "")
    yield
    patch.undo()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A checkpoint of TINY_MODEL: untrained, with a head strong enough that the image changes the mask."""
    torch = pytest.importorskip("torch")
    from graysam.models.checkpoint import save_checkpoint
    from graysam.models.network import build_network

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_network(TINY_MODEL)
    torch.nn.init.normal_(model.decoder.to_logits.weight, std=0.1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    save_checkpoint(path, model, TINY_MODEL)
    return path


@pytest.fixture(scope="session")
def calibration_cases(tmp_path_factory) -> Path:
    """A folder with two images and a volume of three slices."""
    folder = tmp_path_factory.mktemp("calibration")
    for seed in (0, 1):
        write_case(folder / f"2DBox_US_{seed}.npz", image=drawn_slice(seed), boxes=(Box(20, 15, 49, 34),))
    volume = np.stack([drawn_slice(seed) for seed in (2, 3, 4)])
    write_case(folder / "3DBox_CT_0.npz", image=volume, boxes=(VolumeBox(Box(20, 15, 49, 34), 0, 2),))
    return folder


@pytest.fixture(scope="session")
def exported(tiny_checkpoint, calibration_cases, tmp_path_factory) -> Path:
    """Everything that `graysam.export` makes of the tiny checkpoint, int8 included."""
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    from graysam.export.command import main

    out = tmp_path_factory.mktemp("weights") / "tiny"
    command = ["--checkpoint", str(tiny_checkpoint), "--out", str(out), "--calibration", str(calibration_cases)]
    assert main(command) == 0
    return out
