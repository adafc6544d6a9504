"""Three drawn cases, to try the page without a file: caricatures of a scan, a photograph and cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from graysam.formats.npz import write_case

Spacing = tuple[float, float, float]


def write_demo(folder: Path, name: str) -> Path:
    """Draw a case into a folder, without boxes, and give its file; the same name draws the same.

    Raises:
        CaseError: the file cannot be written.
    """
    draw, spacing_mm = _DRAWN[name]
    path = folder / f"{name}.npz"
    write_case(path, image=draw(np.random.default_rng(0)), boxes=(), spacing_mm=spacing_mm)
    return path


def _volume(rng: Generator) -> NDArray[np.uint8]:
    """Draw a body with two organs that touch, and a vessel: (40, 192, 192)."""
    z, y, x = np.ogrid[-1:1:40j, -1:1:192j, -1:1:192j]
    volume = np.zeros((40, 192, 192), np.float32)
    for level, centre, radii in (
        (90, (0, 0, 0), (2.0, 0.75, 0.9)),
        (160, (0.05, -0.1, -0.35), (0.7, 0.4, 0.38)),
        (130, (-0.1, 0.1, 0.28), (0.6, 0.33, 0.27)),
        (215, (0, 0.42, 0.0), (3.0, 0.09, 0.09)),
    ):
        inside = sum(((axis - at) / r) ** 2 for axis, at, r in zip((z, y, x), centre, radii, strict=True)) <= 1
        volume[inside] = level
    return _grainy(volume, rng, noise=7)


def _photograph(rng: Generator) -> NDArray[np.uint8]:
    """Draw a dark spot on skin: (360, 480, 3)."""
    y, x = np.ogrid[:360, :480]
    angle, distance = np.arctan2(y - 180, x - 250), np.hypot(y - 180, x - 250)
    spot = distance < 90 + 14 * np.sin(3 * angle) + 9 * np.cos(5 * angle)
    picture = np.where(spot[:, :, None], (118.0, 72.0, 58.0), (226.0, 178.0, 156.0)).astype(np.float32)
    return _grainy(picture, rng, noise=6)


def _cells(rng: Generator) -> NDArray[np.uint8]:
    """Draw twenty cells on a dark ground: (400, 400)."""
    picture = np.full((400, 400), 25, np.float32)
    for number in range(20):
        row, column = divmod(number, 5)
        centre = (50 + 75 * column + int(rng.integers(-12, 13)), 55 + 95 * row + int(rng.integers(-14, 15)))
        axes = (int(rng.integers(16, 28)), int(rng.integers(14, 24)))
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(120, 210)), -1)
    return _grainy(picture, rng, noise=8)


def _grainy(picture: NDArray[np.float32], rng: Generator, *, noise: float) -> NDArray[np.uint8]:
    """Soften edges a little, and add noise."""
    soft = np.stack([cv2.GaussianBlur(each, (0, 0), 1.2) for each in picture]) if picture.ndim == 3 else picture
    if picture.ndim == 2 or picture.shape[2] == 3:
        soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.2), np.float32)
    return np.clip(soft + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)


_DRAWN: Final[dict[str, tuple[Callable[[Generator], NDArray[Any]], Spacing | None]]] = {
    "demo_CT_volume": (_volume, (5.0, 1.5, 1.5)),
    "demo_Dermoscopy": (_photograph, None),
    "demo_Microscopy": (_cells, None),
}
DEMO_NAMES: Final = tuple(_DRAWN)
