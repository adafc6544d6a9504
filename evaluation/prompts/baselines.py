"""Answers to prompts that need no model: the box itself, the ellipse in it, and GrabCut. A model has to beat them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.prompts.scoring import Answer, Masks
from graysam.boxes import Box
from graysam.inference.baselines import BaselineSegmenter, BaselineShape


def answer_filled_box(image: NDArray[np.uint8], boxes: Sequence[Box]) -> Masks:
    """Answer with the box itself."""
    return _shapes("box", image, boxes)


def answer_ellipse(image: NDArray[np.uint8], boxes: Sequence[Box]) -> Masks:
    """Answer with the ellipse that touches the box's sides."""
    return _shapes("ellipse", image, boxes)


def _shapes(shape: BaselineShape, image: NDArray[np.uint8], boxes: Sequence[Box]) -> Masks:
    segmenter = BaselineSegmenter(shape)
    return [segmenter.segment_image(image, [box]) > 0 for box in boxes]


def answer_grabcut(image: NDArray[np.uint8], boxes: Sequence[Box]) -> Masks:
    """Answer with GrabCut (Rother et al. 2004), five rounds from the box; the box where it finds nothing."""
    colour = np.ascontiguousarray(image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))
    masks = []
    for box, filled in zip(boxes, answer_filled_box(image, boxes), strict=True):
        trimap = np.where(filled, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
        rectangle = (
            int(box.x_min),
            int(box.y_min),
            int(box.x_max - box.x_min) + 1,
            int(box.y_max - box.y_min) + 1,
        )
        models = np.zeros((1, 65)), np.zeros((1, 65))
        if not filled.all():
            cv2.setRNGSeed(0)
            cv2.grabCut(colour, trimap, rectangle, *models, 5, cv2.GC_INIT_WITH_RECT)
        found = filled & ((trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD))
        masks.append(found if found.any() else filled)
    return masks


BASELINES: dict[str, Answer] = {
    "filled box": answer_filled_box,
    "ellipse": answer_ellipse,
    "GrabCut": answer_grabcut,
}
