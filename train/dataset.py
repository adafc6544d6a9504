"""Batches: drawn from a packed store held in memory, augmented, and prepared by the predictor's own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graysam.framing import CanvasFrame, frame_prompts
from graysam.geometry import Box, box_around
from graysam.models.spec import ModelSpec
from graysam.preprocessing import prepare_slice
from graysam.store import PackedStore, Split, StoreEntry, decode_runs
from train.augment import change_intensity, noisy_box, warp
from train.config import DataConfig
from train.sampling import BalancedSampler, choose_objects, generator_for


@dataclass(frozen=True)
class Batch:
    """B images with K prompts each.

    Attributes:
        canvas: (B, 3, S, S).
        inputs: the decoder's inputs, leading axis B * K, prompts of one image together.
        target: (B * K, g, g) share of the object in each cell of the decoder's grid, 0 to 1.
    """

    canvas: Tensor
    inputs: dict[str, Tensor]
    target: Tensor

    def to(self, device: torch.device) -> Batch:
        """Move everything, images in channels-last order."""
        inputs = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        canvas = self.canvas.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return Batch(canvas, inputs, self.target.to(device, non_blocking=True))


@dataclass(frozen=True)
class PreparedPrompts:
    """One image's share of a batch, as arrays."""

    canvas: NDArray[np.float32]
    inputs: dict[str, NDArray[np.float32]]
    target: NDArray[np.float32]


class SliceMemory:
    """The slices of one split, decoded once and kept as uint8; masks stay run lengths until they are drawn."""

    def __init__(self, store: PackedStore, split: Split) -> None:
        self.entries: list[StoreEntry] = [entry for entry in store.entries if entry.split == split]
        self._images = [store.image(entry) for entry in self.entries]
        self._runs = [store.object_runs(entry) for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, number: int) -> NDArray[np.uint8]:
        """Give (H, W) or (H, W, 3) uint8."""
        return self._images[number]

    def object_count(self, number: int) -> int:
        """Give how many objects the slice has, at least 1."""
        return len(self._runs[number])

    def masks(self, number: int, objects: Sequence[int]) -> list[NDArray[np.bool_]]:
        """Give the (H, W) masks of some objects of a slice."""
        size_hw = self.entries[number].size_hw
        return [decode_runs(self._runs[number][each], size_hw) for each in objects]


class BatchSource:
    """Makes the batch of any step of any process, from nothing but the numbers of both."""

    def __init__(self, memory: SliceMemory, spec: ModelSpec, config: DataConfig, *, seed: int, rank: int) -> None:
        self._memory, self._spec, self._config = memory, spec, config
        self._seed, self._rank = seed, rank
        self._sampler = BalancedSampler(memory.entries)

    def batch(self, step: int) -> Batch:
        """Give the batch of one step."""
        rng = generator_for(self._seed, self._rank, step)
        prepared = [self._prompts(rng) for _ in range(self._config.images_per_batch)]
        names = prepared[0].inputs
        return Batch(
            torch.from_numpy(np.stack([each.canvas for each in prepared])),
            {name: torch.from_numpy(np.concatenate([each.inputs[name] for each in prepared])) for name in names},
            torch.from_numpy(np.concatenate([each.target for each in prepared])),
        )

    def _prompts(self, rng: np.random.Generator) -> PreparedPrompts:
        number = self._sampler.draw(rng)
        objects = choose_objects(self._memory.object_count(number), self._config.prompts_per_image, rng)
        image, masks = self._memory.image(number), self._memory.masks(number, objects)
        if self._config.augment == "full":
            image, masks = warp(image, masks, rng)
            image = change_intensity(image, rng)
        scale = self._spec.canvas / max(image.shape[:2])
        boxes = []
        for mask in masks:
            tight = box_around(mask)
            assert tight is not None, "the store holds no empty objects, and a warp that loses one is undone"
            size_hw = (image.shape[0], image.shape[1])
            boxes.append(noisy_box(tight, canvas_scale=scale, size_hw=size_hw, config=self._config, rng=rng))
        return prepare_prompts(image, masks, boxes, self._spec)


def prepare_prompts(
    image: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], boxes: Sequence[Box], spec: ModelSpec
) -> PreparedPrompts:
    """Bring an image, its boxes and their masks into the frames that the model works in."""
    prepared = prepare_slice(image, spec)
    frame = frame_prompts(prepared, boxes, spec)
    if isinstance(frame, CanvasFrame):
        fit = prepared.fit
        targets = [fit.pad(fit.to_content(mask.astype(np.float32))) for mask in masks]
    else:
        targets = [view.sample(mask.astype(np.float32)) for view, mask in zip(frame.views, masks, strict=True)]
    return PreparedPrompts(prepared.canvas, frame.inputs(), np.stack(targets).astype(np.float32, copy=False))
