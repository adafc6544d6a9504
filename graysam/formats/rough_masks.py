"""Takes boxes from rough masks: finds the mask that belongs to an image, and draws boxes round its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Notes, VolumeBox, box_around, volume_box_around
from graysam.errors import CaseError
from graysam.formats.image_volume import DICOM_SUFFIXES, IMAGE_SUFFIXES, VOLUME_SUFFIXES, stem_of, suffix_of


def mask_for(path: Path, name: str, folder: Path) -> Path:
    """Find the rough mask of an image: the file of its name, in any format; nnU-Net's "_0000" may be missing in it.

    Raises:
        CaseError: none, or several.
    """
    wanted = {name, name.removesuffix("_0000")}
    found = [
        entry
        for entry in sorted(folder.iterdir())
        if suffix_of(entry) in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES, *DICOM_SUFFIXES) and stem_of(entry) in wanted
    ]
    if len(found) != 1:
        told = "none" if not found else " and ".join(entry.name for entry in found[:2])
        raise CaseError(f"{path.name}: wanted one rough mask called {name} in {folder}, found {told}.")
    return found[0]


def boxes_round(labels: NDArray[Any], margin: int) -> tuple[NDArray[np.float64], Notes]:
    """Give the boxes round the labels of a rough mask, and a name for each: the label's number.

    Args:
        labels: (H, W) or (D, H, W).
        margin: pixels by which each side in x and y moves outwards, within the image.

    Returns:
        (N, 4) or (N, 6) numbers, in the order of the labels.
    """
    rows, names = [], []
    for value in np.unique(labels[labels > 0]):
        mask = labels == value
        found = volume_box_around(mask) if labels.ndim == 3 else box_around(mask)
        assert found is not None
        numbers = np.array(found.numbers)
        half = len(numbers) // 2
        last = np.array(labels.shape[::-1][:2]) - 1
        numbers[:2] = np.maximum(numbers[:2] - margin, 0)
        numbers[half : half + 2] = np.minimum(numbers[half : half + 2] + margin, last)
        rows.append(numbers)
        names.append(f"label {value}")
        assert isinstance(found, VolumeBox) == (labels.ndim == 3)
    width = 6 if labels.ndim == 3 else 4
    return np.array(rows, np.float64).reshape(-1, width), tuple(names)
