from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_slices import SIDE

from graysam.image.preprocessing import prepare_slice
from graysam.models.checkpoint import load_model, save_checkpoint
from graysam.models.network import build_network
from graysam.models.spec import ModelSpec
from graysam.store import PackedStore
from train.config import RunConfig
from train.distill import Distiller
from train.embeddings import EmbeddingsError, StoredEmbeddings, store_embeddings
from train.slice_memory import SliceMemory
from train.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def teacher(tmp_path: Path, tiny_spec: ModelSpec) -> torch.nn.Module:
    """A wider model, from its file."""
    torch.manual_seed(1)
    spec = replace(tiny_spec, name="teacher", embedding_width=24)
    save_checkpoint(tmp_path / "teacher.pt", build_network(spec), spec)
    return load_model(tmp_path / "teacher.pt")


def embed(
    teacher: torch.nn.Module, store: PackedStore, folder: Path, data_hash: str = "a", **how: int
) -> StoredEmbeddings:
    memory = SliceMemory(store, "train")
    return store_embeddings(teacher, memory, folder, data_hash=data_hash, device=CPU, **how)


def test_embeddings_are_stored_once_in_half_precision(teacher, store: PackedStore, tmp_path: Path):
    stored = embed(teacher, store, tmp_path)
    assert stored.values.shape == (10, 24, 8, 8)
    assert stored.values.dtype == np.float16
    image = SliceMemory(store, "train").image(3)
    assert image.shape[:2] == (SIDE, SIDE)
    with torch.inference_mode():
        own = teacher.encode(torch.from_numpy(prepare_slice(image, teacher.spec).canvas)[None])[0]
    np.testing.assert_allclose(stored.values[3], own.numpy(), atol=2e-3, rtol=2e-3)
    written = (tmp_path / "embeddings.f16").stat().st_mtime_ns
    embed(teacher, store, tmp_path)
    assert (tmp_path / "embeddings.f16").stat().st_mtime_ns == written


def test_embeddings_of_another_store_are_refused(teacher, store: PackedStore, tmp_path: Path):
    embed(teacher, store, tmp_path)
    with pytest.raises(EmbeddingsError, match="another store"):
        embed(teacher, store, tmp_path, data_hash="b")


def test_eight_bits_hold_each_channel_to_half_a_level(teacher, store: PackedStore, tmp_path: Path):
    for name in ("half", "eighth"):
        (tmp_path / name).mkdir()
    half = embed(teacher, store, tmp_path / "half")
    stored = embed(teacher, store, tmp_path / "eighth", bits=8)
    assert stored.values.dtype == np.uint8
    exact = half.read(3)
    span = exact.max(axis=(1, 2)) - exact.min(axis=(1, 2))
    off = np.abs(stored.read(3) - exact).max(axis=(1, 2))
    assert (off <= 0.51 * span / 255 + 1e-3 * np.abs(exact).max()).all()  # the rest is what half precision lost
    again = embed(teacher, store, tmp_path / "eighth", bits=8)
    np.testing.assert_array_equal(again.read(3), stored.read(3))


def test_a_constant_channel_comes_back_from_eight_bits(tmp_path: Path):
    stored = StoredEmbeddings(np.zeros((1, 1, 2, 2), np.uint8), "t", (0,), np.zeros((1, 1, 2), np.float32))
    stored.write(0, np.full((1, 2, 2), -3.5, np.float32))
    np.testing.assert_array_equal(stored.read(0), np.full((1, 2, 2), -3.5, np.float32))


def test_a_share_of_the_slices_is_embedded_and_learnt_from(
    teacher, store: PackedStore, tmp_path: Path, tiny_config: RunConfig
):
    stored = embed(teacher, store, tmp_path, slices=4)
    assert stored.values.shape[0] == len(stored.numbers) == 4
    assert list(stored.numbers) == sorted(set(stored.numbers))
    memory = SliceMemory(store, "train")
    distiller = Distiller(tiny_config, memory, stored, tmp_path, CPU)
    canvases, wanted = distiller.batch(0)
    known = {
        prepare_slice(memory.image(number), tiny_config.model).canvas.tobytes(): row
        for row, number in enumerate(stored.numbers)
    }
    for canvas, embedding in zip(canvases.numpy(), wanted.numpy(), strict=True):
        np.testing.assert_array_equal(embedding, stored.read(known[canvas.tobytes()]))
    with pytest.raises(EmbeddingsError, match="--slices"):
        embed(teacher, store, tmp_path, slices=5)


def test_the_student_comes_closer_and_its_file_starts_a_training(
    teacher, store: PackedStore, tmp_path: Path, tiny_config: RunConfig
):
    stored = embed(teacher, store, tmp_path)
    config = replace(tiny_config, steps=12)
    distiller = Distiller(config, SliceMemory(store, "train"), stored, tmp_path, CPU)
    decoder = {name: value.clone() for name, value in distiller.student.decoder.state_dict().items()}
    first = distiller.train_step()
    distiller.run(float("inf"))
    again = Distiller(config, SliceMemory(store, "train"), stored, tmp_path, CPU)
    assert again.resume()
    assert again.progress.step == 12
    assert again.train_step() < first
    assert all(torch.equal(value, decoder[name]) for name, value in distiller.student.decoder.state_dict().items())
    weights = torch.load(tmp_path / "best.pt", weights_only=True)["model"]
    Trainer(tiny_config, store, tmp_path / "run", CPU, initial=weights)
