"""What the README promises of input, output and exit status, kept by `predict.main` with whatever segmenter is at work.

The same folder of official and unusual but legal cases is predicted by a baseline, by a small network with random
weights through torch, and by the trained model where it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predict
from graysam.formats.npz import read_case
from graysam.models.spec import ModelSpec

ROOT = Path(__file__).resolve().parent.parent
TRAINED = ROOT / "weights" / "graysam"
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (60, 80, 3), np.uint8)
VOLUME = RNG.integers(0, 256, (7, 60, 80), np.uint8)
GRID = np.array([[x, y, x + 3, y + 3] for y in range(0, 57, 4) for x in range(0, 77, 4)])  # 300 boxes


@dataclass(frozen=True)
class Legal:
    """A case as it lies in the file, and what must come out."""

    imgs: np.ndarray
    boxes: Any
    shape: tuple[int, ...]
    dtype: str = "uint8"
    spacing: Sequence[float] | None = None


CASES: dict[str, Legal] = {
    "2DBox_US_0001": Legal(IMAGE, [[10, 10, 40, 40]], (60, 80)),
    "2DBox_US_two_boxes": Legal(IMAGE, [[0, 0, 30, 30], [40, 20, 79, 59]], (60, 80)),
    "2DBox_XRay_gray": Legal(IMAGE[:, :, 0], [[10, 10, 40, 40]], (60, 80)),
    "2DBox_OCT_float": Legal(IMAGE.astype(np.float64), [[10.5, 10.25, 40.0, 40.75]], (60, 80)),
    "2DBox_CT_int32": Legal(IMAGE.astype(np.int32), np.array([[10, 10, 40, 40]], np.uint16), (60, 80)),
    "2DBox_Fundus_exclusive_maxima": Legal(IMAGE, [[0, 0, 80, 60]], (60, 80)),
    "2DBox_Microscope_300_boxes": Legal(IMAGE, GRID, (60, 80), dtype="uint16"),
    "2DBox_US_no_boxes": Legal(IMAGE, np.zeros((0, 4)), (60, 80)),
    "2DBox_US_tiny": Legal(IMAGE[:1, :1], [[0, 0, 0, 0]], (1, 1)),
    "2DBox_US_sliver": Legal(np.tile(IMAGE[:3, :50], (1, 10, 1)), [[100, 0, 300, 2]], (3, 500)),
    "2DBox_US_blank": Legal(np.zeros((60, 80, 3), np.uint8), [[10, 10, 40, 40]], (60, 80)),
    "3DBox_CT_0001": Legal(VOLUME, [[10, 10, 1, 40, 40, 5]], (7, 60, 80), spacing=(0.7, 0.7, 5.0)),
    "3DBox_MR_no_spacing": Legal(VOLUME, [[10, 10, 0, 40, 40, 6], [45, 5, 2, 70, 30, 4]], (7, 60, 80)),
    "3DBox_PET_one_slice": Legal(VOLUME, np.array([[10, 10, 3, 40, 40, 3]], np.uint16), (7, 60, 80)),
    "3DBox_PET_first_slice": Legal(VOLUME, np.array([[10, 10, 0, 40, 40, 0]], np.uint16), (7, 60, 80)),
    "3DBox_CT_exclusive_z": Legal(VOLUME, [[10, 10, 5, 40, 40, 7]], (7, 60, 80)),
    "3DBox_CT_float": Legal(VOLUME.astype(np.float32), [[10, 10, 1, 40, 40, 5]], (7, 60, 80)),
    "3DBox_CT_one_slice_volume": Legal(VOLUME[:1], [[10, 10, 0, 40, 40, 0]], (1, 60, 80)),
    "3DBox_CT_three_wide": Legal(VOLUME[:, :, :3], [[0, 10, 1, 2, 40, 5]], (7, 60, 3)),
    "3DBox_CT_no_boxes": Legal(VOLUME, np.zeros((0, 6)), (7, 60, 80)),
    "3DBox_CT_that_is_2D": Legal(IMAGE, [[10, 10, 40, 40]], (60, 80)),
    "CT_name_without_prefix": Legal(VOLUME, [[10, 10, 1, 40, 40, 5]], (7, 60, 80)),
}


def ellipse(folder: Path) -> list[str]:
    return ["--engine", "ellipse"]


def random_network(folder: Path) -> list[str]:
    """Save a network of a few thousand weights; its masks are random, its shapes are not."""
    torch = pytest.importorskip("torch")
    from graysam.models.checkpoint import save_checkpoint
    from graysam.models.network import build_network

    torch.manual_seed(0)
    spec = ModelSpec(
        name="random",
        encoder_widths=(8, 8, 8, 8, 8),
        embedding_width=8,
        view_size=32,
        decoder_widths=(8, 8, 8, 8),
    )
    save_checkpoint(folder / "random.pt", build_network(spec), spec)
    return ["--engine", "torch", "--precision", "fp32", "--threads", "1", "--weights", str(folder / "random.pt")]


def trained_model(folder: Path) -> list[str]:
    if not (TRAINED / "spec.json").is_file():
        pytest.skip(f"no weights in {TRAINED}")
    return []


@dataclass(frozen=True)
class Predicted:
    status: int
    output: Path
    inputs: Path
    has_mind: bool  # whether masks are those of objects, and may be looked at


@pytest.fixture(
    scope="module", params=[ellipse, random_network, pytest.param(trained_model, marks=pytest.mark.weights)]
)
def predicted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    make: Callable[[Path], list[str]] = request.param
    folder = tmp_path_factory.mktemp(make.__name__)
    inputs, output = folder / "inputs", folder / "outputs"
    inputs.mkdir()
    for name, case in CASES.items():
        spacing = {} if case.spacing is None else {"spacing": np.array(case.spacing)}
        np.savez_compressed(inputs / f"{name}.npz", imgs=case.imgs, boxes=np.array(case.boxes), **spacing)
    (inputs / "notes.txt").write_text("no case")
    (inputs / "sub").mkdir()
    np.savez_compressed(inputs / "sub" / "2DBox_US_deep.npz", imgs=IMAGE, boxes=GRID)
    arguments = ["-i", str(inputs), "-o", str(output), "--num-parts", "1", *make(folder)]
    return Predicted(predict.main(arguments), output, inputs, make is ellipse)


def test_every_case_comes_out_under_its_own_name_and_nothing_else(predicted):
    assert predicted.status == 0
    assert sorted(path.name for path in predicted.output.iterdir()) == sorted(f"{name}.npz" for name in CASES)


@pytest.mark.parametrize("name", CASES)
def test_segs_has_the_image_s_shape_the_smallest_dtype_and_no_label_without_a_box(predicted, name):
    case = CASES[name]
    with np.load(predicted.output / f"{name}.npz", allow_pickle=False) as result:
        assert result.files == ["segs"]
        labels = result["segs"]
    assert labels.shape == case.shape
    assert labels.dtype == case.dtype or (labels.max() <= 255 and labels.dtype == "uint8")
    assert labels.max() <= len(case.boxes)
    if len(case.boxes) == 0:
        assert not labels.any()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case.shape) == 3])
def test_no_label_lies_outside_its_box_s_slices_and_both_ends_belong_to_it(predicted, name):
    with np.load(predicted.output / f"{name}.npz") as result:
        labels = result["segs"]
    for number, box in enumerate(read_case(predicted.inputs / f"{name}.npz").boxes, start=1):
        present = np.flatnonzero((labels == number).any(axis=(1, 2)))
        assert set(present) <= set(range(box.z_min, box.z_max + 1))
        if predicted.has_mind:
            assert (present[0], present[-1]) == (box.z_min, box.z_max)


def test_300_boxes_have_300_labels_in_16_bits(predicted):
    with np.load(predicted.output / "2DBox_Microscope_300_boxes.npz") as result:
        labels = result["segs"]
    if predicted.has_mind:
        assert labels.dtype == np.uint16
        assert np.unique(labels).tolist() == list(range(301))


def test_the_later_box_wins_unless_told_otherwise(tmp_path):
    (tmp_path / "in").mkdir()
    # two boxes of 5 x 5 that share two columns, at x 3 and 4
    np.savez(tmp_path / "in" / "a.npz", imgs=np.zeros((5, 8)), boxes=np.array([[0, 0, 4, 4], [3, 0, 7, 4]]))
    rows = {}
    for overlap in ("last", "confident"):
        arguments = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--engine", "box", "--overlap", overlap]
        assert predict.main([*arguments, "-q", "--num-parts", "1"]) == 0
        with np.load(tmp_path / "out" / "a.npz") as result:
            rows[overlap] = result["segs"][2].tolist()
    assert rows == {"last": [1, 1, 1, 2, 2, 2, 2, 2], "confident": [1, 1, 1, 1, 2, 2, 2, 2]}


def test_what_the_official_loop_leaves_behind_is_replaced(predicted):
    """The timing script runs one container after the other on folders that it does not clean."""
    stale = predicted.output / "2DBox_US_no_boxes.npz"
    np.savez(stale, segs=np.ones((2, 2), np.uint8))
    arguments = ["-i", str(predicted.inputs), "-o", str(predicted.output), "--engine", "ellipse", "--num-parts", "1"]
    assert predict.main(arguments) == 0
    with np.load(stale) as result:
        assert result["segs"].shape == (60, 80)
