"""Slices that the tests draw, and a packed store of a few of them; imported by name, unlike a conftest.py."""

from pathlib import Path

import numpy as np

from graysam.store import StoreWriter, encode_image, encode_runs

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
