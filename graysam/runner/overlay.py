"""Pictures of results, for people: one PNG for an image, a contact sheet of slices for a volume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, VolumeBox
from graysam.cases import Case
from graysam.errors import CaseError
from graysam.files import written_whole

MAX_IMAGE_SIDE = 1024
MAX_TILE_SIDE = 256
MAX_TILES = 12
MAX_ENLARGEMENT = 2.0  # small images and slices are shown larger than they are, so that contours stay thin
FILL = 0.35  # share of the label's colour inside an object; its contour is opaque
_WHITE = (255, 255, 255)

BgrImage = NDArray[np.uint8]


def write_overlay(path: Path, case: Case, labels: NDArray[np.integer[Any]]) -> None:
    """Draw a case with its labels and boxes, and write the PNG whole or not at all.

    Raises:
        CaseError: the file cannot be written.
    """
    picture = draw_volume(case, labels) if case.is_volume else draw_image(case, labels)
    encoded, png = cv2.imencode(".png", picture)
    if not encoded:
        raise CaseError(f"{path.name}: OpenCV could not encode a picture of shape {picture.shape}.")
    with written_whole(path, CaseError) as temporary:
        temporary.write_bytes(png.tobytes())


def draw_image(case: Case, labels: NDArray[np.integer[Any]]) -> BgrImage:
    """Draw an image at up to 1024 pixels a side, its labels in colour and its boxes as thin frames.

    labels: (H, W). Gives (h, w, 3) uint8, blue first as OpenCV has it.
    """
    boxes = {index + 1: box for index, box in enumerate(case.boxes) if isinstance(box, Box)}
    return _draw_slice(_to_display(case.image), labels, boxes, max_side=MAX_IMAGE_SIDE)


def draw_volume(case: Case, labels: NDArray[np.integer[Any]]) -> BgrImage:
    """Draw up to 12 slices, evenly spread over those that the boxes span, side by side with their numbers.

    labels: (D, H, W). Gives (h, w, 3) uint8. A box is that of its object's middle
    slice, and drawn on the tile nearest to it.
    """
    boxes = {index + 1: box for index, box in enumerate(case.boxes) if isinstance(box, VolumeBox)}
    slices = chosen_slices(case)
    volume = _to_display(case.image[slices])
    home = {
        label: min(slices, key=lambda z, box=box: abs(z - (box.z_min + box.z_max) // 2))  # type: ignore[misc]
        for label, box in boxes.items()
    }
    tiles = []
    for place, z in enumerate(slices):
        shown = {label: box.box for label, box in boxes.items() if home[label] == z}
        tile = _draw_slice(volume[place], labels[z], shown, max_side=MAX_TILE_SIDE)
        cv2.putText(tile, f"z {z}", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(tile, f"z {z}", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _WHITE, 1, cv2.LINE_AA)
        tiles.append(tile)
    return _tiled(tiles)


def chosen_slices(case: Case) -> list[int]:
    """Give at most 12 slice numbers, ascending, first and last of the boxes' common span included.

    Without boxes the whole volume is spanned.
    """
    spans = [(box.z_min, box.z_max) for box in case.boxes if isinstance(box, VolumeBox)]
    first = min((low for low, _ in spans), default=0)
    last = max((high for _, high in spans), default=case.image.shape[0] - 1)
    count = min(MAX_TILES, last - first + 1)
    return [int(z) for z in np.unique(np.rint(np.linspace(first, last, count)).astype(int))]


def label_colours(n_labels: int) -> NDArray[np.uint8]:
    """Give (n_labels + 1, 3) uint8 colours, blue first; row 0 (background) is black, next ones differ.

    Hues advance by the golden ratio, so that any number of first labels is spread round the colour circle.
    """
    hues = (np.arange(n_labels + 1) * 180 / ((1 + math.sqrt(5)) / 2)) % 180  # OpenCV: half degrees
    hsv = np.stack([hues, np.full_like(hues, 200), np.full_like(hues, 255)], axis=-1)
    colours = np.array(cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2BGR)[0], np.uint8)
    colours[0] = 0
    return colours


def _to_display(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Give uint8 pixels: as they are, or the own range mapped to 0 to 255; constant becomes black."""
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    if low == high:
        return np.zeros(image.shape, np.uint8)
    return np.asarray((image - low) * (255 / (high - low)), np.uint8)


def _draw_slice(
    image: NDArray[np.uint8], labels: NDArray[np.integer[Any]], boxes: dict[int, Box], *, max_side: int
) -> BgrImage:
    """Draw one slice so that its longer side has `max_side` pixels, or fewer where it is small.

    Everything is done at the size of the picture, and colours are looked up by label, so that thousands of
    objects on a large image cost no more than one.
    """
    height, width = image.shape[:2]
    scale = min(MAX_ENLARGEMENT, max_side / max(height, width))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    colours = label_colours(max(int(labels.max(initial=0)), *boxes, 0))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(image, size_wh, interpolation=method), np.uint8)
    picture = small[:, :, ::-1] if small.ndim == 3 else np.repeat(small[:, :, None], 3, axis=2)
    # uint16 is what OpenCV resizes without rounding labels into one another
    small_labels = cv2.resize(labels.astype(np.uint16), size_wh, interpolation=cv2.INTER_NEAREST)
    tint = colours[small_labels]
    mixed = picture * (1 - FILL) + tint * FILL
    picture = np.where(small_labels[:, :, None] > 0, mixed, picture).astype(np.uint8)
    edges = _inner_edges(small_labels)
    picture[edges] = tint[edges]
    picture = np.ascontiguousarray(picture)
    for label, box in boxes.items():
        start = (round((box.x_min + 0.5) * scale - 0.5), round((box.y_min + 0.5) * scale - 0.5))
        end = (round((box.x_max + 0.5) * scale - 0.5), round((box.y_max + 0.5) * scale - 0.5))
        cv2.rectangle(picture, start, end, [int(value) for value in colours[label]], 1)
    return picture


def _inner_edges(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark labelled pixels with another label, or the image's border, above, below, left or right."""
    padded = np.pad(labels, 1)
    centre = padded[1:-1, 1:-1]
    other: NDArray[np.bool_] = (
        (padded[:-2, 1:-1] != centre)
        | (padded[2:, 1:-1] != centre)
        | (padded[1:-1, :-2] != centre)
        | (padded[1:-1, 2:] != centre)
    )
    return other & (centre > 0)


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
