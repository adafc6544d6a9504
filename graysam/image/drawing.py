"""Owns how images and labels are drawn: shown levels, colours, tint, edges, PNG; overlays and reports lay them out.

Pictures are (h, w, 3) uint8, blue first as OpenCV has it.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FILL = 0.35  # share of the label's colour inside an object; its edge is opaque

BgrImage = NDArray[np.uint8]


def to_display(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Give uint8 levels: as they are, or the image's own range mapped to 0 to 255; a constant image becomes black.

    image: any shape; NaN counts as 0.
    """
    if image.dtype == np.uint8:
        return image
    numbers = np.nan_to_num(image)
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return np.zeros(image.shape, np.uint8)
    return np.asarray((numbers - low) * (255 / (high - low)), np.uint8)


def scaled_picture(levels: NDArray[np.uint8], size_wh: tuple[int, int]) -> BgrImage:
    """Scale (H, W) or (H, W, 3) levels, red first, to a picture of a size (width, height)."""
    shrinks = size_wh[0] * size_wh[1] < levels.shape[0] * levels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(levels, size_wh, interpolation=method), np.uint8)
    return np.ascontiguousarray(scaled[:, :, ::-1] if scaled.ndim == 3 else np.repeat(scaled[:, :, None], 3, axis=2))


def scaled_labels(labels: NDArray[np.integer[Any]], size_wh: tuple[int, int]) -> NDArray[np.uint16]:
    """Scale (H, W) labels to a size (width, height) without mixing them; uint16 is what OpenCV does not round."""
    return np.asarray(cv2.resize(labels.astype(np.uint16), size_wh, interpolation=cv2.INTER_NEAREST), np.uint16)


def label_colours(n_labels: int) -> NDArray[np.uint8]:
    """Give (n_labels + 1, 3) uint8 colours, blue first; row 0 (background) is black, next ones differ.

    Hues advance by the golden ratio, so that any number of first labels is spread round the colour circle.
    """
    hues = (np.arange(n_labels + 1) * 180 / ((1 + math.sqrt(5)) / 2)) % 180  # OpenCV: half degrees
    hsv = np.stack([hues, np.full_like(hues, 200), np.full_like(hues, 255)], axis=-1)
    colours = np.array(cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2BGR)[0], np.uint8)
    colours[0] = 0
    return colours


def paint_labels(picture: BgrImage, labels: NDArray[np.integer[Any]], colours: NDArray[np.uint8]) -> BgrImage:
    """Tint each label's pixels and draw its edge in full colour, on a copy.

    Colours are looked up by label, so that thousands of objects cost no more than one.

    Args:
        picture: (h, w, 3).
        labels: (h, w), 0 is background.
        colours: (labels + 1, 3), as `label_colours` gives them.
    """
    tint = colours[labels]
    mixed = picture * (1 - FILL) + tint * FILL
    painted = np.where(labels[:, :, None] > 0, mixed, picture).astype(np.uint8)
    edges = label_edges(labels)
    painted[edges] = tint[edges]
    return np.ascontiguousarray(painted)


def label_edges(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Mark the labelled pixels of (H, W) that touch, by a side, another label, the background or the border."""
    padded = np.pad(labels, 1)
    centre = padded[1:-1, 1:-1]
    other: NDArray[np.bool_] = (
        (padded[:-2, 1:-1] != centre)
        | (padded[2:, 1:-1] != centre)
        | (padded[1:-1, :-2] != centre)
        | (padded[1:-1, 2:] != centre)
    )
    return other & (centre > 0)


def encode_png(picture: BgrImage, *, smallest: bool = False) -> bytes:
    """Encode a picture as PNG.

    smallest: pack as tightly as PNG can, and store a picture without colour as gray, a third of the size.

    Raises:
        ValueError: OpenCV refuses the picture; its shape is in the message.
    """
    colourless = smallest and bool((picture == picture[..., :1]).all())
    pixels = np.ascontiguousarray(picture[..., 0]) if colourless else picture
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9] if smallest else [])
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {picture.shape} as PNG.")
    return bytes(data.tobytes())
