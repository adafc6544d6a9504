"""Owns how a result is laid out for people: one PNG for an image, a contact sheet of slices for a volume.

How pixels, labels and edges are drawn stands in `graysam.image.drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box
from graysam.cases import Case, ImageCase, VolumeCase
from graysam.errors import CaseError
from graysam.files import written_whole
from graysam.image.drawing import (
    BgrImage,
    encode_png,
    label_colours,
    paint_labels,
    scaled_labels,
    scaled_picture,
    to_display,
)
from graysam.image.geometry import PictureFit

MAX_IMAGE_SIDE = 1024
MAX_TILE_SIDE = 256
MAX_TILES = 12
MAX_ENLARGEMENT = 2.0  # small images and slices are shown larger than they are, so that contours stay thin
_WHITE = (255, 255, 255)

Captions: TypeAlias = Mapping[int, str]


def write_overlay(path: Path, case: Case, labels: NDArray[np.integer[Any]], captions: Captions | None = None) -> None:
    """Draw a case with its labels and boxes, and write the PNG whole or not at all.

    Args:
        path: the file to make.
        case: what was segmented.
        labels: the answer, of the case's `label_shape`.
        captions: what is written at the boxes of labels 1, 2, ...; the model's confidence, say.

    Raises:
        CaseError: the file cannot be written.
    """
    draw = draw_volume if isinstance(case, VolumeCase) else draw_image
    picture = draw(case, labels, captions)  # type: ignore[arg-type]
    try:
        png = encode_png(picture)
    except ValueError as error:
        raise CaseError(f"{path.name}: {error}") from error
    with written_whole(path, CaseError) as temporary:
        temporary.write_bytes(png)


def draw_image(case: ImageCase, labels: NDArray[np.integer[Any]], captions: Captions | None = None) -> BgrImage:
    """Draw an image at up to 1024 pixels a side, its labels in colour and its boxes as thin frames.

    labels: (H, W). Gives (h, w, 3) uint8, blue first as OpenCV has it.
    """
    boxes = dict(enumerate(case.boxes, start=1))
    return _draw_slice(to_display(case.image), labels, boxes, captions or {}, max_side=MAX_IMAGE_SIDE)


def draw_volume(case: VolumeCase, labels: NDArray[np.integer[Any]], captions: Captions | None = None) -> BgrImage:
    """Draw up to 12 slices, evenly spread over those that the boxes span, side by side with their numbers.

    labels: (D, H, W). Gives (h, w, 3) uint8. A box is that of its object's middle
    slice, and drawn on the tile nearest to it.
    """
    boxes = dict(enumerate(case.boxes, start=1))
    slices = chosen_slices(case)
    volume = to_display(case.image[slices])
    home = {
        label: min(slices, key=lambda z, box=box: abs(z - (box.z_min + box.z_max) // 2))  # type: ignore[misc]
        for label, box in boxes.items()
    }
    tiles = []
    for place, z in enumerate(slices):
        shown = {label: box.box for label, box in boxes.items() if home[label] == z}
        tile = _draw_slice(volume[place], labels[z], shown, captions or {}, max_side=MAX_TILE_SIDE)
        _write(tile, f"z {z}", (4, 14))
        tiles.append(tile)
    return _tiled(tiles)


def chosen_slices(case: VolumeCase) -> list[int]:
    """Give at most 12 slice numbers, ascending, first and last of the boxes' common span included.

    Without boxes the whole volume is spanned.
    """
    spans = [(box.z_min, box.z_max) for box in case.boxes]
    first = min((low for low, _ in spans), default=0)
    last = max((high for _, high in spans), default=case.image.shape[0] - 1)
    count = min(MAX_TILES, last - first + 1)
    return [int(z) for z in np.unique(np.rint(np.linspace(first, last, count)).astype(int))]


def _draw_slice(
    image: NDArray[np.uint8],
    labels: NDArray[np.integer[Any]],
    boxes: dict[int, Box],
    captions: Captions,
    *,
    max_side: int,
) -> BgrImage:
    """Draw one slice at its picture's size: the longer side has `max_side` pixels, or fewer where it is small."""
    fit = PictureFit.for_image(image.shape[:2], max_side, largest_enlargement=MAX_ENLARGEMENT)
    colours = label_colours(max(int(labels.max(initial=0)), *boxes, 0))
    picture = paint_labels(scaled_picture(image, fit.size_wh), scaled_labels(labels, fit.size_wh), colours)
    for label, box in boxes.items():
        corner, opposite = fit.corners(box)
        cv2.rectangle(picture, corner, opposite, [int(value) for value in colours[label]], 1)
        if label in captions:
            _write(picture, captions[label], (int(corner[0]) + 2, int(opposite[1]) - 3))
    return picture


def _write(picture: BgrImage, text: str, place_xy: tuple[int, int]) -> None:
    """Write white text with a black rim; its lower left corner lies at the place."""
    for colour, thickness in (((0, 0, 0), 3), (_WHITE, 1)):
        cv2.putText(picture, text, place_xy, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA)


def _tiled(tiles: list[BgrImage]) -> BgrImage:
    """Lay tiles of one size out in rows of about equal number, 2 black pixels apart."""
    columns = math.ceil(math.sqrt(len(tiles)))
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    sheet = np.zeros((rows * (height + 2) - 2, columns * (width + 2) - 2, 3), np.uint8)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        y, x = row * (height + 2), column * (width + 2)
        sheet[y : y + height, x : x + width] = tile
    return sheet
