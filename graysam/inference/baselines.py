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

BaselineShape = Literal["box", "ellipse"]


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

    def segment_case(self, case: Case, *, overlap: Literal["last", "confident"] = "last") -> Labels:
        """Give labels of the case's `label_shape`: i + 1 where box i is filled, 0 elsewhere."""
        if isinstance(case, VolumeCase):
            return self.segment_volume(case.image, case.boxes, overlap=overlap)
        return self.segment_image(case.image, case.boxes, overlap=overlap)

    def segment_image(
        self, image: NDArray[Any], boxes: Sequence[Box], *, overlap: Literal["last", "confident"] = "last"
    ) -> Labels:
        """Give labels (H, W): i + 1 where box i is filled, 0 elsewhere; `overlap` as for volumes."""
        one_slice = [VolumeBox(box, 0, 0) for box in boxes]
        labels = self.segment_volume(image[None], one_slice, overlap=overlap)
        return labels.reshape(labels.shape[1:])

    def segment_volume(
        self,
        volume: NDArray[Any],
        boxes: Sequence[VolumeBox],
        *,
        overlap: Literal["last", "confident"] = "last",
    ) -> Labels:
        """Give labels (D, H, W): i + 1 where box i is filled, 0 elsewhere.

        overlap: where two objects meet, "last" lets the later box win, "confident" the one whose centre is
            nearer, counted in its own radii.
        """
        labels = np.zeros(volume.shape[:3], label_dtype(len(boxes)))
        nearest = np.full(labels.shape, np.inf, np.float32) if overlap == "confident" else None
        for index, box in enumerate(boxes):
            window, distance = self._distance(box, labels.shape)
            inside = distance <= 1.0
            if nearest is not None:
                inside &= distance < nearest[window]
                nearest[window][inside] = distance[inside]
            labels[window][inside] = index + 1
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
