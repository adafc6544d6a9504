"""Owns the shapes that a box alone suggests, itself and its ellipse: what a learned model must beat.

These segmenters need no weights, and stand in for a model where none is at hand. They offer what
`graysam.api.Segmenter` offers, so that the folder loop, its tests and the evaluation can use either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, VolumeBox
from graysam.cases import Case, Labels, VolumeCase, label_dtype
from graysam.inference.overlap import PAINTERS, Overlap

BaselineShape = Literal["box", "ellipse"]
ON_THE_EDGE = 1e-3  # the logit of a pixel on the shape's edge, which is inside


@dataclass(frozen=True)
class BaselineEngine:
    """What a report says of the back end."""

    name: str
    precision: str = "fp32"
    threads: int = 1


class BaselineSegmenter:
    """Fills each box, or the ellipse (in a volume the ellipsoid) that touches its sides.

    An ellipse covers pi / 4 of its box, so that filled boxes score a Dice of 0.88 on elliptic objects.
    """

    def __init__(self, shape: BaselineShape) -> None:
        self.engine = BaselineEngine(name=shape)

    def segment_case(self, case: Case, *, overlap: Overlap = "auto") -> Labels:
        """Give labels of the case's `label_shape`: i + 1 where box i is filled, 0 elsewhere."""
        if isinstance(case, VolumeCase):
            return self.segment_volume(case.image, case.boxes, overlap=overlap)
        return self.segment_image(case.image, case.boxes, overlap=overlap)

    def segment_image(self, image: NDArray[Any], boxes: Sequence[Box], *, overlap: Overlap = "auto") -> Labels:
        """Give labels (H, W): i + 1 where box i is filled, 0 elsewhere; `overlap` as for volumes."""
        one_slice = [VolumeBox(box, 0, 0) for box in boxes]
        labels = self.segment_volume(image[None], one_slice, overlap=overlap)
        return labels.reshape(labels.shape[1:])

    def segment_volume(
        self,
        volume: NDArray[Any],
        boxes: Sequence[VolumeBox],
        *,
        overlap: Overlap = "auto",
    ) -> Labels:
        """Give labels (D, H, W): i + 1 where box i is filled, 0 elsewhere.

        overlap: see `graysam.inference.overlap`; an object is surer of a pixel the nearer its own centre is,
            counted in its own radii.
        """
        labels = np.zeros(volume.shape[:3], label_dtype(len(boxes)))
        painters = [PAINTERS[overlap](slice_labels) for slice_labels in labels]
        for index, box in enumerate(boxes):
            window, distance = self._distance(box, labels.shape)
            logits = np.where(distance <= 1.0, 1.0 - distance + ON_THE_EDGE, -1.0).astype(np.float32)
            for painter, slice_logits in zip(painters[window[0]], logits, strict=True):
                painter.paint(window[1:], slice_logits, label=index + 1)
        return labels

    def _distance(
        self, box: VolumeBox, shape: tuple[int, ...]
    ) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]]:
        """Give the window of whole voxels round a box, and the squared distance from its centre in radii.

        A box covers the area of its pixels, which reach half a pixel beyond their centres; so that even the
        end slices and a box of one pixel hold something.
        """
        bounds = ((box.z_min, box.z_max), (box.box.y_min, box.box.y_max), (box.box.x_min, box.box.x_max))
        window, squares = [], []
        for size, (low, high) in zip(shape, bounds, strict=True):
            first, last = max(0, round(low)), min(size - 1, round(high))
            offset = np.arange(first, last + 1, dtype=np.float32) - (low + high) / 2
            window.append(slice(first, last + 1))
            squares.append((offset / ((high - low + 1) / 2)) ** 2)
        z, y, x = np.ix_(*squares)
        distance = z + y + x if self.engine.name == "ellipse" else np.maximum(np.maximum(z, y), x)
        return (window[0], window[1], window[2]), distance.astype(np.float32)
