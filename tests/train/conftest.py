"""A store of a few drawn slices, and a model small enough to train in a blink."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_spec import TINY

from graysam.models.spec import ModelSpec
from graysam.store import PackedStore, StoreWriter, encode_image, encode_runs, open_store
from train.config import DataConfig, OptimiserConfig, RunConfig

SIDE = 48


def disc(centre_x: float, centre_y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (columns - centre_x) ** 2 + (rows - centre_y) ** 2 <= radius**2


def drawn_slice(number: int, *, colour: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """A dark slice with two bright discs that move a little with the number."""
    masks = [disc(14 + number % 3, 15, 8), disc(33, 32 - number % 4, 10)]
    image = np.full((SIDE, SIDE), 40, np.uint8) + np.arange(SIDE, dtype=np.uint8)
    for shade, mask in zip((150, 200), masks, strict=True):
        image[mask] = shade
    return (np.stack([image, image // 2, 255 - image], axis=-1) if colour else image), masks


def write_store(path: Path) -> Path:
    """Two modalities: eight colour images of eight patients, and two gray volumes of four slices; some for val."""
    with StoreWriter(path) as writer:
        for number in range(8):
            image, masks = drawn_slice(number, colour=True)
            writer.add(
                encode_image(image),
                [encode_runs(mask) for mask in masks],
                dataset="Dermoscopy/Drawn",
                modality="Dermoscopy",
                case=f"image{number}",
                group=f"patient{number}",
                split="val" if number >= 6 else "train",
                size_hw=(SIDE, SIDE),
            )
        for number in range(8):
            image, masks = drawn_slice(number, colour=False)
            writer.add(
                encode_image(image),
                [encode_runs(mask) for mask in masks],
                dataset="MR/Drawn",
                modality="MR",
                case=f"volume{number // 4}",
                group=f"patient{number // 4}",
                split="val" if number >= 4 else "train",
                size_hw=(SIDE, SIDE),
                z=number % 4,
            )
    return path


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
    return replace(tiny_config, data=replace(tiny_config.data, augment="boxes", tight=1.0))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
