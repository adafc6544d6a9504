"""What a mask decoder is fed for a list of boxes, and where its logits belong: numpy only.

The two kinds of decoder differ in the frame of their output. A SAM decoder is told the boxes in canvas pixels and
answers on the whole canvas; a box-frame decoder is shown the enlarged box, cut out of the image at its original
resolution, and answers there. Everything after this file treats both alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box
from graysam.image.geometry import BoxView
from graysam.image.preprocessing import PreparedSlice
from graysam.models.spec import ModelSpec

DecoderInputs = dict[str, NDArray[np.float32]]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Neighbour:
    """What is known of an object in a volume before it is looked for on a slice: the slice beside, done before.

    Attributes:
        image: that slice as given, (H, W) or (H, W, 3), of the size of the slice at hand.
        mask: (H, W), the object there, not empty.
    """

    image: NDArray[np.generic]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class CanvasFrame:
    """Boxes for a decoder that answers on the whole canvas."""

    prepared: PreparedSlice
    boxes_original: tuple[Box, ...]

    def inputs(self) -> DecoderInputs:
        """Give boxes_canvas: (N, 4), x_min, y_min, x_max, y_max in canvas pixels."""
        boxes = [self.prepared.fit.box_to_canvas(box).as_array() for box in self.boxes_original]
        return {"boxes_canvas": np.stack(boxes)}

    def to_original(self, index: int, logits: NDArray[np.float32]) -> tuple[Window, NDArray[np.float32]]:
        """Give the window of the slice that the logits of box `index` cover, the whole slice, and the logits there."""
        height, width = self.prepared.fit.size_hw
        return (slice(0, height), slice(0, width)), self.prepared.fit.to_original(logits)


@dataclass(frozen=True)
class ViewFrame:
    """Boxes for a decoder that answers in the frame of each enlarged box."""

    prepared: PreparedSlice
    views: tuple[BoxView, ...]
    neighbours: tuple[Neighbour | None, ...] | None = None

    def inputs(self) -> DecoderInputs:
        """Give detail (N, 3, G, G) in [0, 1], box_in_view (N, 4) and view_in_canvas (N, 4) as shares of the frame.

        With neighbours, also memory (N, 2, G, G); see `view_memory`.
        """
        details = [view_detail(self.prepared, view) for view in self.views]
        inputs = {
            "detail": np.stack(details),
            "box_in_view": np.stack([view.box_in_view() for view in self.views]),
            "view_in_canvas": np.stack([view.view_in_canvas() for view in self.views]),
        }
        if self.neighbours is not None:
            each = zip(self.views, self.neighbours, details, strict=True)
            inputs["memory"] = np.stack([view_memory(self.prepared, *parts) for parts in each])
        return inputs

    def to_original(self, index: int, logits: NDArray[np.float32]) -> tuple[Window, NDArray[np.float32]]:
        """Give the window of the slice that the view of box `index` covers, and the logits there."""
        return self.views[index].to_original(logits)


PromptFrame = CanvasFrame | ViewFrame


def view_detail(prepared: PreparedSlice, view: BoxView) -> NDArray[np.float32]:
    """Cut a view out of the slice at its original resolution: (3, G, G) in [0, 1]; gray is repeated."""
    detail = np.clip(prepared.to_unit(view.sample(prepared.image)), 0, 1)
    return np.repeat(detail[None], 3, axis=0) if detail.ndim == 2 else detail.transpose(2, 0, 1)


def view_memory(
    prepared: PreparedSlice, view: BoxView, neighbour: Neighbour | None, detail: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Draw what is known from the slice beside under a view: (2, G, G), all 0 where nothing is known.

    The first map is 1 where the object was found there and -1 elsewhere; the second is by how much that slice is
    brighter than this one, in units of this one's range, both as gray.
    """
    if neighbour is None:
        return np.zeros((2, view.grid, view.grid), np.float32)
    found = view.sample(neighbour.mask.astype(np.float32)) * 2 - 1
    beside = np.clip(prepared.to_unit(view.sample(neighbour.image)), 0, 1)
    gray = beside if beside.ndim == 2 else beside.mean(axis=2)
    return np.stack([found, gray - detail.mean(axis=0)]).astype(np.float32, copy=False)


def frame_prompts(
    prepared: PreparedSlice,
    boxes_original: Sequence[Box],
    spec: ModelSpec,
    neighbours: Sequence[Neighbour | None] | None = None,
) -> PromptFrame:
    """Put at least one box into the frame that the spec's decoder works in.

    neighbours: for each box what is known from the slice beside; models without memory are not shown it.
    """
    if spec.decoder == "sam":
        return CanvasFrame(prepared, tuple(boxes_original))
    views = tuple(BoxView.around(box, prepared.fit, grid=spec.view_size) for box in boxes_original)
    if not spec.memory:
        return ViewFrame(prepared, views)
    return ViewFrame(prepared, views, tuple(neighbours or [None] * len(views)))
