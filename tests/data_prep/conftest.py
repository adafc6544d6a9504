"""Source files drawn by the tests: small, with known geometry and values."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("SimpleITK", reason="the extra `prep` is not installed")


@pytest.fixture
def write_volume() -> Callable[..., Path]:
    """Write a (z, y, x) array as a volume file; spacing, origin and direction in ITK's order x, y, z."""
    import SimpleITK

    def write(path, array, *, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None):
        image = SimpleITK.GetImageFromArray(array)
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        if direction is not None:
            image.SetDirection(direction)
        path.parent.mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(image, str(path))
        return path

    return write


@pytest.fixture
def write_png() -> Callable[[Path, NDArray], Path]:
    def write(path, image):
        path.parent.mkdir(parents=True, exist_ok=True)
        ordered = image if image.ndim == 2 else image[..., ::-1]
        assert cv2.imwrite(str(path), ordered)
        return path

    return write


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
