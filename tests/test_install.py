"""The wheel: built here, installed where no checkout is in reach, and used by its command and from Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import graysam
from graysam.api import Segmenter
from graysam.boxes import Box
from graysam.formats.npz import read_labels, write_case

ROOT = Path(__file__).resolve().parent.parent
# What the build reads, and nothing else: so that a file which only a checkout has cannot help it.
BUILT_FROM = ("graysam", "weights/graysam", "requirements", "pyproject.toml", "setup.py", "README.md", "LICENSE")
HAS_WEIGHTS = (ROOT / "weights" / "graysam" / "spec.json").is_file()

pytestmark = pytest.mark.slow


def call(command: Sequence[object], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without what could lead it to the checkout."""
    hidden = ("PYTHONPATH", "GRAYSAM_WEIGHTS", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, as setuptools leaves its traces beside the sources."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("build")
    for name in BUILT_FROM:
        source, target = ROOT / name, folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder / "wheels"]
    call([sys.executable, "-m", "pip", "wheel", *options, folder / "source"], folder)
    (built,) = (folder / "wheels").iterdir()
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a virtual environment of its own, and give its folder of programs.

    NumPy, OpenCV and OpenVINO are those of this environment, as installing them anew would take minutes.
    """
    environment = tmp_path_factory.mktemp("install") / "venv"
    call([sys.executable, "-m", "venv", "--without-pip", environment], environment.parent)
    programs = environment / "bin"
    options = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    call([sys.executable, "-m", "pip", "--python", programs / "python", "install", *options, wheel], environment.parent)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return programs


def test_the_wheel_holds_graysam_and_nothing_of_the_trees_of_a_checkout(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    version = graysam.__version__
    assert {name.split("/")[0] for name in names} == {"graysam", f"graysam-{version}.dist-info"}
    assert "graysam/py.typed" in names
    assert {"graysam/view/page/index.html", "graysam/view/page/main.js"} <= {*names}
    assert not [name for name in names if "test" in name]
    if HAS_WEIGHTS:
        assert {"graysam/weights/spec.json", "graysam/weights/model.pt", "graysam/weights/checksums.sha256"} <= {*names}
        assert any(name.startswith("graysam/weights/openvino-int8/") for name in names)


def test_its_metadata_name_licence_packages_and_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
        lines = archive.read(name).decode().splitlines()
    assert "License-Expression: Apache-2.0" in lines
    assert any(line.startswith("Requires-Dist: openvino==") for line in lines)
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if line.startswith("Provides-Extra")}
    assert {"torch", "files", "prep", "train", "view"} <= extras


def test_the_command_explains_itself(programs, tmp_path):
    assert "predict    segment a folder" in call([programs / "graysam", "--help"], tmp_path).stdout
    assert call([programs / "graysam", "--version"], tmp_path).stdout == f"graysam {graysam.__version__}\n"
    assert "-i PATH" in call([programs / "python", "-m", "graysam", "predict", "--help"], tmp_path).stdout


def test_nothing_leads_to_the_checkout(programs, tmp_path):
    script = (
        "import importlib.util as u, graysam; print(graysam.__file__, u.find_spec('train'), u.find_spec('evaluation'))"
    )
    found, *others = call([programs / "python", "-c", script], tmp_path).stdout.split()
    assert Path(found).is_relative_to(programs.parent)
    assert others == ["None", "None"]


@pytest.fixture
def image(tmp_path: Path) -> np.ndarray:
    """Put a case into `in`: a bright block on noise, with its box; give its pixels."""
    pixels = np.random.default_rng(0).integers(0, 60, (60, 80)).astype(np.uint8)
    pixels[15:35, 20:50] += 120
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "2DBox_US_1.npz", image=pixels, boxes=[Box(20, 15, 49, 34)])
    return pixels


@pytest.mark.weights
def test_command_and_python_find_the_weights_inside_and_give_what_the_checkout_gives(programs, tmp_path, image):
    if not HAS_WEIGHTS:
        pytest.skip("no weights under weights/graysam")
    pytest.importorskip("openvino")
    options = ["--precision", "fp32", "--threads", "1"]
    call([programs / "graysam", "predict", "-i", "in", "-o", "out", *options], tmp_path)
    script = (
        "import numpy as np\nfrom graysam import Segmenter\n"
        "segmenter = Segmenter.load(precision='fp32', threads=1)\n"
        "image = np.load('in/2DBox_US_1.npz')['imgs']\n"
        "np.save('labels.npy', segmenter.segment_image(image, [[20, 15, 49, 34]]))\n"
    )
    call([programs / "python", "-c", script], tmp_path)
    checkout = Segmenter.load(ROOT / "weights" / "graysam", precision="fp32", threads=1)
    wanted = checkout.segment_image(image, [[20, 15, 49, 34]])
    assert wanted.any()
    assert np.array_equal(read_labels(tmp_path / "out" / "2DBox_US_1.npz", "segs"), wanted)
    assert np.array_equal(np.load(tmp_path / "labels.npy"), wanted)
