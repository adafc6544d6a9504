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
from train.dataset import SliceMemory
from train.distill import DistillationError, Distiller, StoredEmbeddings, store_embeddings
from train.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def teacher(tmp_path: Path, tiny_spec: ModelSpec) -> torch.nn.Module:
    """A wider model, from its file."""
    torch.manual_seed(1)
    spec = replace(tiny_spec, name="teacher", embedding_width=24)
    save_checkpoint(tmp_path / "teacher.pt", build_network(spec), spec)
    return load_model(tmp_path / "teacher.pt")


def embed(teacher: torch.nn.Module, store: PackedStore, folder: Path, data_hash: str = "a") -> StoredEmbeddings:
    memory = SliceMemory(store, "train")
    return store_embeddings(teacher, memory, folder, data_hash=data_hash, device=CPU)


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
    with pytest.raises(DistillationError, match="another store"):
        embed(teacher, store, tmp_path, data_hash="b")


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
