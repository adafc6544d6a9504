"""Owns the report's three small pictures of a case: the image, the reference over it, the prediction over it.

How pixels, labels and edges are drawn stands in `graysam.image.drawing`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graysam.image.drawing import (
    BgrImage,
    encode_png,
    label_colours,
    label_edges,
    paint_labels,
    scaled_labels,
    scaled_picture,
    to_display,
)
from graysam.image.geometry import PictureFit

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
    size_wh = PictureFit.for_image(reference.shape, longest_px).size_wh
    base, truth = scaled_picture(to_display(image), size_wh), scaled_labels(reference, size_wh)
    answer = None if prediction is None else scaled_labels(prediction, size_wh)
    colours = label_colours(max(int(labels.max(initial=0)) for labels in (truth, answer) if labels is not None))
    drawn = None if answer is None else _outline(paint_labels(base, answer, colours), truth)
    return Panels(
        image=encode_png(base, smallest=True),
        reference=encode_png(paint_labels(base, truth, colours), smallest=True),
        prediction=None if drawn is None else encode_png(drawn, smallest=True),
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


def _outline(painted: BgrImage, reference: NDArray[np.integer]) -> BgrImage:
    """Draw the reference's outline over a painted prediction in black and white dashes, seen on any background."""
    outlined = painted.copy()
    edge = label_edges(reference)
    y, x = np.nonzero(edge)
    dash = ((x + y) // DASH_PX) % 2
    outlined[edge] = np.where(dash[:, None] == 0, 255, 0)
    return outlined
