"""The container's promise: both images are truly built, and run as the judges and as careful clusters run them.

Needs a Docker engine that this process may use; skips without one, or fails if GRAYSAM_REQUIRE_DOCKER is set (CI).
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from examples.phantoms import Phantom, make_phantoms, write_phantoms
from graysam.api import Segmenter
from graysam.formats.npz import read_case, read_labels
from graysam.formats.registry import list_cases
from graysam.runner.run import expected_calls

ROOT = Path(__file__).resolve().parent.parent
# Not "graysam", so that a test never replaces an image that somebody uses.
IMAGE, IMAGE_TORCH = "graysam-test", "graysam-test-torch"
LARGEST_BYTES = 600_000_000
SOMEBODY = "12345:678"  # a uid that neither the image nor this machine knows
LOCKED_DOWN = ("--network", "none", "--read-only", "-m", "8g", "--memory-swap", "8g", "--user", SOMEBODY)
# The command of the challenge's CVPR24_time_eval.py, word for word; $PWD is the folder of the case.
OFFICIAL = (
    "docker container run -m 8G --name {team} --rm -v $PWD/inputs/:/workspace/inputs/ "
    '-v $PWD/outputs/:/workspace/outputs/ {team}:latest /bin/bash -c "sh predict.sh"'
)

pytestmark = [pytest.mark.docker, pytest.mark.weights, pytest.mark.slow]


@pytest.fixture(scope="session", autouse=True)
def docker() -> None:
    """Skip all of this file where there is nothing to run it with."""
    reason = None
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        reason = "no Docker engine that this process may use"
    elif not (ROOT / "weights" / "graysam" / "spec.json").is_file():
        reason = "no weights under weights/graysam, which the images contain"
    if reason is not None:
        (pytest.fail if os.environ.get("GRAYSAM_REQUIRE_DOCKER") else pytest.skip)(reason)


def build(target: str, tag: str) -> str:
    arguments = shlex.split(os.environ.get("DOCKER_BUILD_ARGS", ""))
    if torch_index := os.environ.get("TORCH_PIP_ARGS"):
        arguments += ["--build-arg", f"TORCH_PIP_ARGS={torch_index}"]
    command = ["docker", "build", *arguments, "--target", target, "-t", tag, str(ROOT)]
    done = subprocess.run(command, env={**os.environ, "DOCKER_BUILDKIT": "1"}, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr[-4000:]}"
    return tag


@pytest.fixture(scope="session")
def image() -> str:
    return build("runtime", IMAGE)


@pytest.fixture(scope="session")
def image_torch() -> str:
    return build("runtime-torch", IMAGE_TORCH)


def shortened(volume: Phantom, slices: int) -> Phantom:
    """Give the first slices of the first object alone: what a container does with a volume, in less time."""
    first = int(np.flatnonzero((volume.labels == 1).any(axis=(1, 2)))[0])
    window = slice(first, first + slices)
    labels = (volume.labels[window] == 1).astype(np.uint8)
    return replace(volume, image=volume.image[window], labels=labels)


@pytest.fixture(scope="session")
def phantoms() -> list[Phantom]:
    """A gray image, a colour image and a volume of six slices."""
    drawn = {each.name.split("_")[1]: each for each in make_phantoms()}
    return [drawn["X-Ray"], drawn["Dermoscopy"], shortened(drawn["CT"], slices=6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with inputs and outputs that any uid may use, as the challenge's script makes them."""
    for name in ("inputs", "outputs"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    return tmp_path


def put(phantoms: Sequence[Phantom], folder: Path) -> None:
    write_phantoms(folder, phantoms)
    for path in (folder / "inputs").iterdir():
        path.chmod(0o644)


def run(image: str, *options: str, command: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "run", "--rm", *options, image, *command], capture_output=True, encoding="utf-8", timeout=600
    )


def mounts(folder: Path) -> list[str]:
    return ["-v", f"{folder}/inputs:/inputs:ro", "-v", f"{folder}/outputs:/outputs"]


def inspect(image: str) -> dict:
    return json.loads(subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=True).stdout)[0]


def assert_equal_to_the_python_api(folder: Path, *, engine: str, precision: str, together: bool = True) -> None:
    """Pixels on an edge may differ, as the number of threads decides the order of sums: at most 1 in 1000.

    together: whether the cases had one container, which chose its number format for all of them.
    """
    first, *others = list_cases(folder / "inputs")
    calls_together = expected_calls(read_case(first.path), others)
    for path in (each.path for each in (first, *others)):
        case = read_case(path)
        calls = calls_together if together else expected_calls(case, [])
        segmenter = Segmenter.load(
            ROOT / "weights" / "graysam", engine=engine, precision=precision, expected_calls=calls
        )
        expected = segmenter.segment_case(case)
        found = read_labels(folder / "outputs" / path.name, "segs")
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert expected.any(), f"{path.name}: an empty map compares nothing"
        assert np.mean(found != expected) <= 1e-3, path.name


def test_the_official_command_segments_one_case_after_the_other(
    image: str, phantoms: list[Phantom], folder: Path
) -> None:
    kept = folder / "kept"
    for phantom in phantoms:
        for path in (*(folder / "inputs").iterdir(), *(folder / "outputs").iterdir()):
            path.unlink()
        put([phantom], folder)
        done = subprocess.run(
            OFFICIAL.format(team=image), shell=True, cwd=folder, capture_output=True, encoding="utf-8", timeout=600
        )
        assert done.returncode == 0, done.stderr
        assert [path.name for path in (folder / "outputs").iterdir()] == [f"{phantom.name}.npz"]
        kept.mkdir(exist_ok=True)
        shutil.copy(folder / "outputs" / f"{phantom.name}.npz", kept)
    put(phantoms, folder)
    (folder / "outputs").rename(folder / "last")
    kept.rename(folder / "outputs")
    assert_equal_to_the_python_api(folder, engine="openvino", precision="auto", together=False)


def test_a_locked_down_container_under_any_uid_gives_what_the_python_api_gives(
    image: str, phantoms: list[Phantom], folder: Path
) -> None:
    put(phantoms, folder)
    done = run(image, *LOCKED_DOWN, *mounts(folder))
    assert done.returncode == 0, done.stderr
    assert {path.stat().st_uid for path in (folder / "outputs").iterdir()} == {12345}
    assert_equal_to_the_python_api(folder, engine="openvino", precision="auto")


def test_the_torch_image_gives_what_the_python_api_gives_in_dynamic_int8(
    image_torch: str, phantoms: list[Phantom], folder: Path
) -> None:
    put(phantoms, folder)
    done = run(image_torch, *LOCKED_DOWN, *mounts(folder))
    assert done.returncode == 0, done.stderr
    assert_equal_to_the_python_api(folder, engine="torch", precision="int8")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_every_precision_of_the_default_image_runs(
    image: str, phantoms: list[Phantom], folder: Path, precision: str
) -> None:
    put(phantoms[:1], folder)
    done = run(image, *LOCKED_DOWN, *mounts(folder), command=["sh", "predict.sh", "--precision", precision])
    assert done.returncode == 0, done.stderr
    assert read_labels(folder / "outputs" / f"{phantoms[0].name}.npz", "segs").any()


def test_a_broken_case_is_named_and_the_others_come_out(image: str, phantoms: list[Phantom], folder: Path) -> None:
    put(phantoms[:1], folder)
    (folder / "inputs" / "2DBox_US_broken.npz").write_bytes(b"PK no archive")
    done = run(image, *LOCKED_DOWN, *mounts(folder))
    assert done.returncode == 1
    assert "2DBox_US_broken" in done.stderr
    assert [path.name for path in (folder / "outputs").iterdir()] == [f"{phantoms[0].name}.npz"]


def test_the_default_image_is_at_most_600_mb_and_has_no_torch(image: str) -> None:
    assert inspect(image)["Size"] <= LARGEST_BYTES
    assert run(image, command=["python3", "-c", "import torch"]).returncode == 1


def test_nothing_that_only_makes_models_is_in_the_images(image: str, image_torch: str) -> None:
    script = "import importlib.util as u; print([u.find_spec(f'graysam.{n}') for n in ('export', 'store', 'view')])"
    for each in (image, image_torch):
        assert run(each, command=["python3", "-c", script]).stdout.strip() == "[None, None, None]"


def test_the_torch_image_has_no_openvino(image_torch: str) -> None:
    assert run(image_torch, command=["python3", "-c", "import openvino"]).returncode == 1


def test_the_image_says_what_it_is_and_is_not_root(image: str) -> None:
    configuration = inspect(image)["Config"]
    assert configuration["User"] == "1000:1000"
    assert configuration["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert "Not for clinical use" in configuration["Labels"]["org.opencontainers.image.description"]
    assert not configuration.get("Entrypoint"), "an entry point would swallow the official /bin/bash -c"


def test_nothing_needs_compiling_in_a_read_only_container(image: str) -> None:
    script = (
        "import pathlib, importlib.util as u;"
        "print([str(p) for p in pathlib.Path('/workspace/graysam').rglob('*.py')"
        " if not pathlib.Path(u.cache_from_source(str(p))).exists()])"
    )
    assert run(image, command=["python3", "-c", script]).stdout.strip() == "[]"
