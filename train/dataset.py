"""Makes the batches of a run: slices and objects of the training split, changed at random, as tensors.

Slices and objects come from `train.slice_memory`, are chosen by `train.sampling` and varied by `train.augment`. They go
through the predictor's own preparation, so that training and prediction see the same; canvases, decoder inputs and
targets go to `train.trainer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graysam.boxes import Box, VolumeBox, box_around
from graysam.image.preprocessing import prepare_slice
from graysam.models.frames import Masks, frame_class, frame_prompts
from graysam.models.network import answer_side
from graysam.models.spec import ModelSpec
from graysam.prompts import BoxFit, Neighbour, Prompt, box_rows
from train.augment.boxes import noisy_box
from train.augment.corrections import chosen_others, drawn_correction
from train.augment.image import FULL, STRONG, Strength, Warp, change_intensity, draw_warp, warp_mask
from train.augment.memory import mistaken_mask, propagated_box
from train.config import DataConfig
from train.sampling import build_sampler, choose_objects, generator_for
from train.slice_memory import Propagated, SliceMemory
from train.synthetic import superpixel_mask, synthetic_slice

MOST_OTHERS = 24
"""How many further objects of a slice the prompts know at most; more would take longer to move than the image."""

LOST_SHARE = 0.05
"""How often propagation has lost its object: nothing is known, and the prompt is the given box again."""


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

    def pin_memory(self) -> Batch:
        """Copy everything to memory that a GPU can read by itself; PyTorch's loader calls this by its name."""
        inputs = {name: value.pin_memory() for name, value in self.inputs.items()}
        return Batch(self.canvas.pin_memory(), inputs, self.target.pin_memory())


@dataclass(frozen=True)
class PreparedPrompts:
    """One image's share of a batch, as arrays."""

    canvas: NDArray[np.float32]
    inputs: dict[str, NDArray[np.float32]]
    target: NDArray[np.float32]


@dataclass(frozen=True)
class DrawnImage:
    """A slice with the objects to segment.

    Attributes:
        image: (H, W) or (H, W, 3) uint8.
        masks: (H, W) each.
        others: (H, W) each, further objects of the slice, whose boxes the prompts know.
        propagated: for each object what propagation knows of it, or None for a box of its own.
        noise: shares and sizes of the noise on their boxes, those of the slice's modality.
        soft: a teacher's probabilities for some of the objects, by their place, (H, W), 255 for certainty.
        stacked: the image is a gray slice between its neighbours, not one in colour.
    """

    image: NDArray[np.uint8]
    masks: tuple[NDArray[np.bool_], ...]
    propagated: tuple[Propagated | None, ...]
    noise: DataConfig
    others: tuple[NDArray[np.bool_], ...] = ()
    soft: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    stacked: bool = False


class BatchSource:
    """Makes any batch of any process, from nothing but the numbers of both."""

    def __init__(
        self,
        memory: SliceMemory,
        spec: ModelSpec,
        config: DataConfig,
        *,
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.memory, self._spec, self._config = memory, spec, config
        self._seed, self._rank, self._processes = seed, rank, processes
        self._sampler = build_sampler(memory.entries, config, seed=seed)
        self._frame = frame_class(spec)

    def batch(self, number: int) -> Batch:
        """Give this process's share of batch `number` of the run."""
        size = self._config.images_per_batch
        first = (number * self._processes + self._rank) * size
        return stack_prompts([self.prompts(first + place) for place in range(size)])

    def prompts(self, number: int) -> PreparedPrompts:
        """Give image `number` of the run with its prompts."""
        rng = generator_for(self._seed, number)
        drawn = self._draw(number, rng)
        if self._config.augment_share and rng.random() < self._config.augment_share:
            drawn = _augmented(drawn, rng, STRONG if self._config.augment == "strong" else FULL)
        scale = self._spec.canvas / max(drawn.image.shape[:2])
        objects = zip(drawn.masks, drawn.propagated, strict=True)
        prompts = [self._ask(mask, known, scale, drawn.noise, rng) for mask, known in objects]
        if self._spec.hints:
            prompts = self._with_hints(drawn, prompts, scale, rng)
        prompts = [self._frame.taught(prompt, mask, rng) for prompt, mask in zip(prompts, drawn.masks, strict=True)]
        return prepare_prompts(drawn.image, self._targets(drawn), prompts, self._spec)

    def _targets(self, drawn: DrawnImage) -> list[NDArray[np.bool_] | NDArray[np.float32]]:
        """Give the mask of every object, or what lies between it and a teacher's probabilities."""
        weight = np.float32(self._config.soft_weight)
        return [
            mask if place not in drawn.soft else (1 - weight) * mask + weight / 255 * drawn.soft[place]
            for place, mask in enumerate(drawn.masks)
        ]

    def _with_hints(
        self, drawn: DrawnImage, prompts: Sequence[Prompt], scale: float, rng: np.random.Generator
    ) -> list[Prompt]:
        """Add to prompts what they say of other objects and of earlier answers, for some of them."""
        others = np.zeros((0, 4))
        if rng.random() < self._config.others:
            boxes = [_noisy_box(mask, scale, drawn.noise, rng)[0] for mask in drawn.others if mask.any()]
            others = box_rows([*boxes, *(prompt.box for prompt in prompts)])
        told = [replace(prompt, others=others) for prompt in prompts]
        told = [each if rng.random() < self._config.fits else replace(each, fit="unknown") for each in told]
        for number, mask in enumerate(drawn.masks):
            if rng.random() < self._config.corrections:
                spread = self._config.clicks == "spread"
                clicks, previous = drawn_correction(mask, mistaken_mask(mask, rng), rng, spread=spread)
                told[number] = replace(told[number], clicks=clicks, previous=previous)
        return told

    def _ask(
        self,
        mask: NDArray[np.bool_],
        known: Propagated | None,
        scale: float,
        noise: DataConfig,
        rng: np.random.Generator,
    ) -> Prompt:
        """Draw the box that prompts for an object, and what is known from the slice before."""
        if known is None:
            return _first_prompt(mask, scale, noise, rng)
        if known.middle.any() and rng.random() < LOST_SHARE:
            return Prompt(_noisy_box(known.middle, scale, noise, rng)[0])
        found = mistaken_mask(known.mask, rng)
        box = propagated_box(
            found, known.middle, place=known.place, length=known.length, canvas_scale=scale, noise=noise, rng=rng
        )
        if box is None:
            return _first_prompt(mask, scale, noise, rng)
        spanned = VolumeBox(box, 0, known.length - 1)
        return Prompt(box, Neighbour(known.image, found), place=spanned.place(known.place))

    def _draw(self, number: int, rng: np.random.Generator) -> DrawnImage:
        config, wanted = self._config, self._config.prompts_per_image
        if config.synthetic and rng.random() < config.synthetic:
            image, shapes = synthetic_slice(wanted, rng)
            return DrawnImage(image, tuple(shapes), (None,) * wanted, config)
        entry = self._sampler.draw(number, rng)
        image, alone = self.memory.slice_for(self._spec, entry), self.memory.image(entry)
        objects = choose_objects(self.memory.object_count(entry), wanted, rng)
        masks = self.memory.masks(entry, objects)
        propagated: list[Propagated | None] = [None] * wanted
        soft: dict[int, NDArray[np.uint8]] = {}
        for place, mask in enumerate(masks):
            if config.superpixels and rng.random() < config.superpixels:
                found = superpixel_mask(alone, rng)
                masks[place] = mask if found is None else found
            elif config.pseudo and rng.random() < config.pseudo:
                found = self.memory.pseudo_mask(entry, rng)
                masks[place] = mask if found is None else found
            elif config.soft and rng.random() < config.soft:
                probabilities = self.memory.soft_map(entry, objects[place])
                soft.update({} if probabilities is None else {place: probabilities})
            elif config.propagation and rng.random() < config.propagation:
                propagated[place] = self.memory.propagated(entry, objects[place], self._spec, rng)
        tight = config.modality_tight.get(self.memory.entries[entry].modality, config.tight)
        noise = replace(config, tight=tight)
        others: list[NDArray[np.bool_]] = []
        if self._spec.hints:
            further = chosen_others(self.memory.object_count(entry), objects, rng, most=MOST_OTHERS)
            others = self.memory.masks(entry, further)
        return DrawnImage(
            image, tuple(masks), tuple(propagated), noise, tuple(others), soft, stacked=image.ndim > alone.ndim
        )


def _first_prompt(mask: NDArray[np.bool_], scale: float, noise: DataConfig, rng: np.random.Generator) -> Prompt:
    """Draw what a person says of an object: a box, and how it fits."""
    box, fit = _noisy_box(mask, scale, noise, rng)
    return Prompt(box, fit=fit)


def _noisy_box(
    mask: NDArray[np.bool_], scale: float, noise: DataConfig, rng: np.random.Generator
) -> tuple[Box, BoxFit]:
    box = box_around(mask)
    assert box is not None, "the store holds no empty objects, and a warp that loses one is undone"
    size_hw = (mask.shape[0], mask.shape[1])
    return noisy_box(box, canvas_scale=scale, size_hw=size_hw, config=noise, rng=rng)


def _augmented(drawn: DrawnImage, rng: np.random.Generator, strength: Strength) -> DrawnImage:
    """Warp a slice and everything drawn on it alike, unless that loses an object, and change its intensities."""
    size_hw = (drawn.image.shape[0], drawn.image.shape[1])
    warp = draw_warp(size_hw, drawn.masks, rng, strength)
    if warp is not None:
        drawn = replace(
            drawn,
            image=warp.moved(drawn.image),
            masks=tuple(warp_mask(mask, warp) for mask in drawn.masks),
            others=tuple(warp_mask(mask, warp) for mask in drawn.others),
            soft={place: warp.moved(each) for place, each in drawn.soft.items()},
            propagated=tuple(None if known is None else _warped(known, warp) for known in drawn.propagated),
        )
    seed = int(rng.integers(1 << 32))  # all slices of a volume get the same tone

    def changed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if drawn.stacked:
            alone = np.moveaxis(image, -1, 0)
            return np.stack([change_intensity(each, np.random.default_rng(seed), strength) for each in alone], axis=-1)
        return change_intensity(image, np.random.default_rng(seed), strength)

    propagated = tuple(
        None if known is None else replace(known, image=changed(known.image)) for known in drawn.propagated
    )
    return replace(drawn, image=changed(drawn.image), propagated=propagated)


def _warped(known: Propagated, warp: Warp) -> Propagated:
    return replace(
        known, image=warp.moved(known.image), mask=warp_mask(known.mask, warp), middle=warp_mask(known.middle, warp)
    )


def prepare_prompts(
    image: NDArray[np.generic], masks: Masks, prompts: Sequence[Prompt], spec: ModelSpec
) -> PreparedPrompts:
    """Bring an image, its prompts and the masks that they ask for into the model's frames."""
    prepared = prepare_slice(image, spec)
    frame = frame_prompts(prepared, prompts, spec)
    return PreparedPrompts(prepared.canvas, frame.inputs(), frame.targets(masks, side=answer_side(spec)))


def stack_prompts(prepared: Sequence[PreparedPrompts]) -> Batch:
    """Make a batch of images that have the same number of prompts."""
    names = prepared[0].inputs
    return Batch(
        torch.from_numpy(np.stack([each.canvas for each in prepared])),
        {name: torch.from_numpy(np.concatenate([each.inputs[name] for each in prepared])) for name in names},
        torch.from_numpy(np.concatenate([each.target for each in prepared])),
    )
