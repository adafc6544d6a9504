"""A store of a few drawn slices, and a run of a model small enough to train in a blink."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from drawn_slices import write_store
from tiny_spec import TINY

from graysam.models.spec import ModelSpec
from graysam.store import PackedStore, open_store
from train.config import DataConfig, OptimiserConfig, RunConfig


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "drawn.store")


@pytest.fixture(scope="session")
def store(store_path: Path) -> PackedStore:
    return open_store(store_path)


@pytest.fixture(scope="session")
def tiny_spec() -> ModelSpec:
    return TINY


@pytest.fixture
def tiny_config(tiny_spec: ModelSpec) -> RunConfig:
    """Four steps of two images with two prompts each, in fp32."""
    return RunConfig(
        model=tiny_spec,
        data=DataConfig(images_per_batch=2),
        optimiser=OptimiserConfig(warmup=0.25),
        steps=4,
        precision="fp32",
    )


@pytest.fixture
def boxes_only(tiny_config: RunConfig) -> RunConfig:
    """No augmentation at all, and tight boxes."""
    return replace(tiny_config, data=replace(tiny_config.data, augment_share=0.0, tight=1.0))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
