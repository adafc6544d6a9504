"""Owns what a mask decoder is fed for a list of prompts, and where its logits belong; free of torch.

Kinds of decoder differ in the frame of their output. A SAM decoder is told the boxes in canvas pixels and answers on
the whole canvas; a box-frame decoder is shown the enlarged box, cut out of the image at its original resolution, and
answers there. A frame is that difference: everything after this file treats all decoders alike. The registry names the
frame of each decoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from graysam.image.geometry import BoxView, resample
from graysam.image.preprocessing import PreparedSlice
from graysam.models.hints import draw_hints
from graysam.models.registry import DECODERS, resolve
from graysam.models.spec import ModelSpec
from graysam.prompts import Neighbour, Prompt

DecoderInputs = dict[str, NDArray[np.float32]]
Window = tuple[slice, slice]
Masks = Sequence[NDArray[np.bool_] | NDArray[np.float32]]
"""Where objects are, (H, W): true, or a share or probability of 0 to 1."""


class PromptFrame(ABC):
    """At least one prompt on one slice, in the frame that a decoder works in."""

    @classmethod
    @abstractmethod
    def of(cls, prepared: PreparedSlice, prompts: Sequence[Prompt], spec: ModelSpec) -> Self:
        """Put prompts into the frame."""

    @classmethod
    def taught(cls, prompt: Prompt, mask: NDArray[np.bool_], rng: np.random.Generator) -> Prompt:
        """Add to a prompt of training what only the object's mask, (H, W), tells; by default nothing, and no draw."""
        return prompt

    @abstractmethod
    def inputs(self) -> DecoderInputs:
        """Give the decoder's inputs by name, besides the embedding; the leading axis N counts the prompts."""

    @abstractmethod
    def to_original(self, index: int, logits: NDArray[np.float32]) -> tuple[Window, NDArray[np.float32]]:
        """Bring the (g, g) logits of prompt `index` to original pixels.

        Returns:
            The rows and columns of the slice that they cover, and the logits there.
        """

    @abstractmethod
    def targets(self, masks: Masks, *, side: int) -> NDArray[np.float32]:
        """Give what a decoder should answer: (N, side, side), the share of the object in each cell, 0 to 1.

        masks: (H, W) of the slice, one for each prompt.
        """


@dataclass(frozen=True)
class CanvasFrame(PromptFrame):
    """Boxes for a decoder that answers on the whole canvas."""

    prepared: PreparedSlice
    prompts: tuple[Prompt, ...]

    @classmethod
    def of(cls, prepared: PreparedSlice, prompts: Sequence[Prompt], spec: ModelSpec) -> Self:
        """Put prompts into the frame."""
        return cls(prepared, tuple(prompts))

    def inputs(self) -> DecoderInputs:
        """Give boxes_canvas: (N, 4), x_min, y_min, x_max, y_max in canvas pixels."""
        boxes = [self.prepared.fit.box_to_canvas(prompt.box).as_array() for prompt in self.prompts]
        return {"boxes_canvas": np.stack(boxes)}

    def to_original(self, index: int, logits: NDArray[np.float32]) -> tuple[Window, NDArray[np.float32]]:
        """Give the window of the slice that the logits cover, the whole slice, and the logits there."""
        height, width = self.prepared.fit.size_hw
        return (slice(0, height), slice(0, width)), self.prepared.fit.to_original(logits)

    def targets(self, masks: Masks, *, side: int) -> NDArray[np.float32]:
        """Give each mask on a grid over the canvas."""
        fit = self.prepared.fit
        padded = [fit.pad(fit.to_content(mask.astype(np.float32))) for mask in masks]
        return np.stack([resample(mask, (side, side)) for mask in padded]).astype(np.float32, copy=False)


@dataclass(frozen=True)
class ViewFrame(PromptFrame):
    """Boxes for a decoder that answers in the frame of each enlarged box.

    Attributes:
        views: the enlarged box of each prompt.
        neighbours: of each prompt, for a decoder that is shown them; None for one that is not.
        hinting: the prompts, for a decoder that is shown what else they say; None for one that is not.
    """

    prepared: PreparedSlice
    views: tuple[BoxView, ...]
    neighbours: tuple[Neighbour | None, ...] | None = None
    hinting: tuple[Prompt, ...] | None = None

    @classmethod
    def of(cls, prepared: PreparedSlice, prompts: Sequence[Prompt], spec: ModelSpec) -> Self:
        """Put prompts into the frame; only a spec with memory shows their neighbours, only one with hints the rest."""
        views = tuple(BoxView.around(prompt.box, prepared.fit, grid=spec.view_size) for prompt in prompts)
        neighbours = tuple(prompt.neighbour for prompt in prompts) if spec.memory else None
        return cls(prepared, views, neighbours, tuple(prompts) if spec.hints else None)

    def inputs(self) -> DecoderInputs:
        """Give detail (N, 3, G, G) in [0, 1], box_in_view (N, 4) and view_in_canvas (N, 4) as shares of the frame.

        With neighbours, also memory (N, 2, G, G), see `view_memory`; with hints, hints (N, 7, G / 2, G / 2), see
        `graysam.models.hints`.
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
        if self.hinting is not None:
            inputs["hints"] = np.stack([draw_hints(*each) for each in zip(self.views, self.hinting, strict=True)])
        return inputs

    def to_original(self, index: int, logits: NDArray[np.float32]) -> tuple[Window, NDArray[np.float32]]:
        """Give the window of the slice that the view of prompt `index` covers, and the logits there."""
        return self.views[index].to_original(logits)

    def targets(self, masks: Masks, *, side: int) -> NDArray[np.float32]:
        """Give each mask under its view."""
        cut = [replace(view, grid=side).sample(mask) for view, mask in zip(self.views, masks, strict=True)]
        return np.stack(cut).astype(np.float32, copy=False)


def frame_prompts(prepared: PreparedSlice, prompts: Sequence[Prompt], spec: ModelSpec) -> PromptFrame:
    """Put at least one prompt into the frame that the spec's decoder works in."""
    return frame_class(spec).of(prepared, prompts, spec)


def frame_class(spec: ModelSpec) -> type[PromptFrame]:
    """Give the kind of frame that a spec's decoder works in."""
    return cast("type[PromptFrame]", resolve(DECODERS[spec.decoder].frame))


def view_detail(prepared: PreparedSlice, view: BoxView) -> NDArray[np.float32]:
    """Cut a view out of the slice at its original resolution: (3, G, G) in [0, 1]; gray is repeated."""
    detail = np.clip(prepared.to_unit(view.sample(prepared.image)), 0, 1)
    return np.repeat(detail[None], 3, axis=0) if detail.ndim == 2 else detail.transpose(2, 0, 1)


def view_memory(
    prepared: PreparedSlice, view: BoxView, neighbour: Neighbour | None, detail: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Draw what is known from the neighbouring slice under a view: (2, G, G), all 0 where nothing is known.

    The first map is 1 where the object was found there and -1 elsewhere; the second is by how much that slice is
    brighter than this one, in units of this one's range, both as gray.
    """
    if neighbour is None:
        return np.zeros((2, view.grid, view.grid), np.float32)
    found = view.sample(neighbour.mask) * 2 - 1
    there = np.clip(prepared.to_unit(view.sample(neighbour.image)), 0, 1)
    gray = there if there.ndim == 2 else there.mean(axis=2)
    return np.stack([found, gray - detail.mean(axis=0)]).astype(np.float32, copy=False)
