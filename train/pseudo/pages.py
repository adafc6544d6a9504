"""A page of what was kept, for eyes: patients' images, never to be committed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.image.drawing import label_colours, to_display
from graysam.image.geometry import PictureFit
from graysam.store import decode_runs
from train.pseudo.shards import Shard, name_of
from train.pseudo.slices import TrainingSlices

TILE_PX = 320
TILES_A_ROW = 4
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
LETTERS = cv2.FONT_HERSHEY_SIMPLEX


def write_page(path: Path, slices: TrainingSlices, shards: Sequence[Shard], count: int) -> int:
    """Draw the first `count` slices that have pseudo-objects, which are balanced as the visits are; give how many.

    Each pseudo-object has a colour of its own; labelled objects are white.
    """
    numbers = {name_of(entry): number for number, entry in enumerate(slices.entries)}
    tiles: list[NDArray[np.uint8]] = []
    for shard in shards:
        for name, runs in zip(shard.slices, shard.objects, strict=True):
            if runs and len(tiles) < count:
                number = numbers[name]
                size_hw = slices.entries[number].size_hw
                tiles.append(draw_tile(slices, number, [decode_runs(each, size_hw) for each in runs]))
    if not tiles:
        return 0
    blank = np.full_like(tiles[0], 255)
    padded = tiles + [blank] * (-len(tiles) % TILES_A_ROW)
    rows = [np.hstack(padded[start : start + TILES_A_ROW]) for start in range(0, len(padded), TILES_A_ROW)]
    cv2.imwrite(str(path), np.vstack(rows))
    return len(tiles)


def draw_tile(slices: TrainingSlices, number: int, masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Draw one slice with its objects, (320, 320, 3) in OpenCV's colour order, with its data set and their count."""
    levels = to_display(slices.image(number))
    colour = levels[..., ::-1] if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)
    size_wh = PictureFit.for_image((levels.shape[0], levels.shape[1]), TILE_PX).size_wh
    tile = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    tile[: size_wh[1], : size_wh[0]] = cv2.resize(np.ascontiguousarray(colour), size_wh)
    colours = [WHITE] * len(slices.masks(number)) + [tuple(map(int, row)) for row in label_colours(len(masks))[1:]]
    for mask, shade in zip([*slices.masks(number), *masks], colours, strict=True):
        scaled = cv2.resize(mask.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(scaled, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, contours, -1, shade, 1)
    text = f"{slices.entries[number].dataset} {len(masks)}"
    cv2.putText(tile, text, (4, TILE_PX - 6), LETTERS, 0.42, BLACK, 3, cv2.LINE_AA)
    cv2.putText(tile, text, (4, TILE_PX - 6), LETTERS, 0.42, WHITE, 1, cv2.LINE_AA)
    return tile
