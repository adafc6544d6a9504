"""Draws one case as three small pictures: the image, the reference over it, the prediction over it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# One colour a label, RGB, repeated after ten; far apart in hue and light enough to be seen on a dark scan.
LABEL_COLOURS = np.array(
    [
        (255, 176, 0), (0, 190, 255), (255, 92, 138), (126, 217, 87), (178, 132, 255),
        (255, 128, 48), (0, 214, 170), (240, 228, 66), (120, 160, 255), (230, 110, 220),
    ],
    dtype=np.uint8,
)  # fmt: skip
FILL_SHARE = 0.38
DASH_PX = 3


@dataclass(frozen=True)
class Panels:
    """Three PNG files of one size, as bytes."""

    image: bytes
    reference: bytes
    prediction: bytes | None
    """None where there is no prediction of the reference's shape."""
    slice_index: int | None
    """The slice shown, counted from 0; None for a 2D image."""


def draw_panels(
    image: NDArray[np.generic],
    reference: NDArray[np.integer],
    prediction: NDArray[np.integer] | None,
    *,
    longest_px: int = 256,
) -> Panels:
    """Draw a case; a volume is shown by the slice on which the reference covers most pixels.

    image: (H, W), (H, W, 3) or (D, H, W), shown as it is where it is uint8 and else stretched from its least
      to its greatest value (all black if constant).
    reference, prediction: (H, W) or (D, H, W) labels, 0 is background. A prediction of another shape counts
      as none.
    """
    if prediction is not None and prediction.shape != reference.shape:
        prediction = None
    shown = None
    if reference.ndim == 3:
        shown = fullest_slice(reference, prediction)
        image, reference = image[shown], reference[shown]
        prediction = prediction[shown] if prediction is not None else None
    base = _to_panel_rgb(image, longest_px)
    size_wh = (base.shape[1], base.shape[0])
    reference_panel = _resize_labels(reference, size_wh)
    drawn_prediction = None
    if prediction is not None:
        drawn = paint_labels(base, _resize_labels(prediction, size_wh))
        drawn_prediction = _png(_outline(drawn, reference_panel))
    return Panels(
        image=_png(base),
        reference=_png(paint_labels(base, reference_panel)),
        prediction=drawn_prediction,
        slice_index=shown,
    )


def fullest_slice(reference: NDArray[np.integer], prediction: NDArray[np.integer] | None) -> int:
    """Give the slice with most reference pixels; without any, with most predicted ones; else the middle.

    reference, prediction: (D, H, W) labels.
    """
    for labels in (reference, prediction):
        if labels is not None and labels.any():
            return int(np.argmax((labels > 0).sum(axis=(1, 2))))
    return len(reference) // 2


def paint_labels(base: NDArray[np.uint8], labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Tint each label's pixels and draw its outline in full colour, on a copy of the (H, W, 3) RGB base."""
    painted = base.copy()
    inside = labels > 0
    colours = LABEL_COLOURS[(labels[inside].astype(np.int64) - 1) % len(LABEL_COLOURS)]
    painted[inside] = (base[inside] * (1.0 - FILL_SHARE) + colours * FILL_SHARE).astype(np.uint8)
    edge = _inner_edge(labels)
    painted[edge] = LABEL_COLOURS[(labels[edge].astype(np.int64) - 1) % len(LABEL_COLOURS)]
    return painted


def _inner_edge(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Find the pixels of a label that touch, by a side, another label, the background or the border."""
    padded = np.pad(labels, 1)
    middle = padded[1:-1, 1:-1]
    differs = np.zeros(labels.shape, dtype=bool)
    for rows, columns in ((slice(2, None), slice(1, -1)), (slice(0, -2), slice(1, -1)),
                          (slice(1, -1), slice(2, None)), (slice(1, -1), slice(0, -2))):  # fmt: skip
        differs |= padded[rows, columns] != middle
    return np.asarray(differs & (labels > 0), dtype=bool)


def _outline(painted: NDArray[np.uint8], reference: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Draw the reference's outline over a painted prediction in black and white dashes, seen on any background."""
    outlined = painted.copy()
    edge = _inner_edge(reference)
    y, x = np.nonzero(edge)
    dash = ((x + y) // DASH_PX) % 2
    outlined[edge] = np.where(dash[:, None] == 0, 255, 0)
    return outlined


def _to_panel_rgb(image: NDArray[np.generic], longest_px: int) -> NDArray[np.uint8]:
    """Scale (H, W) or (H, W, 3) to the panel's size as (h, w, 3) uint8 RGB."""
    if image.dtype == np.uint8:
        levels = np.asarray(image, dtype=np.uint8)
    else:
        numbers = np.nan_to_num(np.asarray(image, dtype=np.float32))
        low, high = float(numbers.min()), float(numbers.max())
        levels = ((numbers - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8)
    height, width = levels.shape[:2]
    scale = longest_px / max(height, width)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(levels, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    rgb = resized if resized.ndim == 3 else np.repeat(resized[..., None], 3, axis=-1)
    return np.asarray(rgb, dtype=np.uint8)


def _resize_labels(labels: NDArray[np.integer], size_wh: tuple[int, int]) -> NDArray[np.uint16]:
    """Scale labels to the panel without mixing them; OpenCV refuses wider integers than 16 bits."""
    resized = cv2.resize(labels.astype(np.uint16), size_wh, interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, dtype=np.uint16)


def _png(rgb: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) RGB as PNG; a picture without colour is stored as gray, a third of the size."""
    gray = bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())
    pixels = rgb[..., 0] if gray else np.ascontiguousarray(rgb[..., ::-1])
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done, "OpenCV always encodes 8-bit PNG"
    return bytes(data.tobytes())
