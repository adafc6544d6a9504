"""Source files drawn by the tests: small, with known geometry and values."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from source_files import write_png, write_volume

__all__ = ["write_png", "write_volume"]  # fixtures

pytest.importorskip("SimpleITK", reason="the extra `prep` is not installed")


@pytest.fixture
def make_dataset(tmp_path, write_png) -> Callable[..., Path]:
    """Make `<root>/<dataset>/images|masks/<case>.png` and dataset.json; gives the root."""

    def make(dataset, cases, *, labels="classes", root=None):
        root = root or tmp_path / "sources"
        for case, (image, mask) in cases.items():
            write_png(root / dataset / "images" / f"{case}.png", image)
            write_png(root / dataset / "masks" / f"{case}.png", mask)
        facts = {"modality": dataset.split("/")[0], "dimension": 2, "labels": labels}
        (root / dataset / "dataset.json").write_text(json.dumps(facts))
        return root

    return make


@pytest.fixture
def square_case() -> tuple[NDArray, NDArray]:
    """An image of 20 x 30 whose gray rises to the right, and a mask with one object of 4 x 5 pixels."""
    image = np.tile(np.arange(30, dtype=np.uint8) * 8, (20, 1))
    mask = np.zeros((20, 30), np.uint8)
    mask[3:7, 10:15] = 1
    return image, mask


@pytest.fixture
def shared_data() -> Path:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not (folder / "index.csv").is_file():
        pytest.skip("the real images are not on this machine")
    return folder
