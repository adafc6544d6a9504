"""Volumes by propagation: every object is followed from its middle slice to both ends, slice by slice.

Where a person has clicked, that slice is a start as well; between two starts each slice is reached from the nearer one.

On each slice the box comes from the mask that was found on the slice before (`expected_box`). A model with memory is
also shown that mask and the slice that it lies on, so that it sees what moved.

Following an object so is called propagation. That of all objects is laid into two sweeps over the volume, one upwards
and one downwards. On each slice of a sweep all objects that are due there share one encoding and are decoded together.

A slice that both sweeps need, because one object climbs past the slice where another descends, is encoded in the first
sweep, and its embedding is kept for the second. So each slice is encoded once, whatever the number of objects. What is
kept is bounded (`KEPT_BYTES`); a slice beyond the bound is encoded a second time. Each is needed just once more, so
nothing is gained by exchanging kept ones.

Where an engine takes several calls at a time, the objects of a slice are decoded side by side, and the next slices are
prepared and encoded meanwhile. The answers are the same, and come in the same order.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, VolumeBox, box_around
from graysam.cases import label_dtype
from graysam.corrections import Corrections
from graysam.engines.protocol import Engine, FloatArray
from graysam.image.preprocessing import PreparedSlice, prepare_slice, slice_at
from graysam.inference.images import (
    BoxAnswer,
    Confidences,
    Labels,
    answer_prompts,
    corrected,
    require_hints,
)
from graysam.inference.lanes import Lanes
from graysam.inference.overlap import PAINTERS, Overlap, Painter
from graysam.models.frames import Window
from graysam.models.spec import ModelSpec
from graysam.prompts import USUAL_FIT, BoxFit, Neighbour, Prompt, box_rows

Starts = Literal["given", "surest"]
"""Where propagation starts: on the slice that the box was given for, or where the model is surest of its answer."""
CANDIDATES_OFF_SHARE: Final = 1 / 8
"""Of an object's slices: how far the two other candidates for a start lie from the slice of its box."""
SURER_BY: Final = 0.03
"""By how much the model must be surer of an answer on another slice to start there: the box fits best on its own."""

# 384 MB: 1,500 slices of the default model (0.25 MB each), about 90 of SAM's (4.2 MB each).
KEPT_BYTES: Final = 384 * 1024**2

AHEAD: Final = 2
"""Slices that are encoded while others are decoded: with one only, its encoding and the decoding wait in turn."""


@dataclass(frozen=True)
class Step:
    """What is due on one slice of one sweep.

    Attributes:
        z: the slice.
        objects: the objects due, in order.
        upwards: the sweep; it also holds the slices where propagation starts.
        last_visit: no later step comes back to this slice.
    """

    z: int
    objects: tuple[int, ...]
    upwards: bool
    last_visit: bool


@dataclass(frozen=True)
class Stretch:
    """The slices that are reached from one start: `first` to `last`, both included."""

    first: int
    start: int
    last: int

    def outwards(self) -> Iterator[tuple[int, int | None]]:
        """Yield (slice, neighbour already segmented): the start first, then up, then down; both ends included."""
        yield self.start, None
        yield from ((z, z - 1) for z in range(self.start + 1, self.last + 1))
        yield from ((z, z + 1) for z in range(self.start - 1, self.first - 1, -1))


def stretches(box: VolumeBox, starts: Sequence[int] = ()) -> list[Stretch]:
    """Share an object's slices among its starts, each to the nearest one, and to the lower of two that are as near.

    starts: on the object's slices; without any, its key slice is the start.
    """
    ordered = sorted(set(starts)) or [box.key_slice]
    between = [(low + high) // 2 for low, high in pairwise(ordered)]
    firsts, lasts = [box.z_min, *(z + 1 for z in between)], [*between, box.z_max]
    return [Stretch(*each) for each in zip(firsts, ordered, lasts, strict=True)]


def outwards_from_middle(z_first: int, z_last: int) -> Iterator[tuple[int, int | None]]:
    """Yield (slice, neighbour already segmented): the middle first, then up, then down; both ends included."""
    return Stretch(z_first, (z_first + z_last) // 2, z_last).outwards()


def plan_sweeps(of_objects: Sequence[Sequence[Stretch]]) -> list[Step]:
    """Lay the propagation of all objects into an upward and a downward sweep, so that each finds its neighbour done."""
    due: dict[bool, dict[int, list[int]]] = {True: defaultdict(list), False: defaultdict(list)}
    for index, parts in enumerate(of_objects):
        for part in parts:
            for z, neighbour in part.outwards():
                due[neighbour is None or neighbour < z][z].append(index)
    up, down = due[True], due[False]
    return [
        *(Step(z, tuple(up[z]), upwards=True, last_visit=z not in down) for z in sorted(up)),
        *(Step(z, tuple(down[z]), upwards=False, last_visit=True) for z in sorted(down, reverse=True)),
    ]


def segment_volume(
    engine: Engine,
    volume: NDArray[np.generic],
    boxes: Sequence[VolumeBox],
    *,
    overlap: Overlap = "auto",
    kept_bytes: int = KEPT_BYTES,
    confidences: Confidences | None = None,
    corrections: Corrections | None = None,
    fit: BoxFit = USUAL_FIT,
    starts: Starts = "given",
) -> Labels:
    """Segment the objects of a volume.

    Memory, besides the volume and its labels: five slices at a time, `kept_bytes` of embeddings, and, unless the last
    box wins, two bytes for each pixel of the slices that both sweeps visit.

    Args:
        engine: the loaded model.
        volume: (D, H, W), any integer or float dtype, finite.
        boxes: each the box on the object's middle slice and the slices it spans, inside the volume; may be empty.
        overlap: who owns a pixel that several objects claim, slice by slice; see `graysam.inference.overlap`.
        kept_bytes: bound of the embeddings kept between the sweeps.
        confidences: filled with the model's confidence of each object on each slice where it found something.
        corrections: clicks for a model that takes them, and the earlier answer that they correct. From each slice with
            clicks the object is followed anew, up to half way to the next such slice, or to the middle one.
        fit: how the given boxes fit their objects; only a model with hints is told.
        starts: where each object is followed from: "given", the slice that its box is of, or "surest", see
            `surest_starts`.

    Returns:
        Labels (D, H, W): i + 1 for box i, 0 elsewhere, and outside each object's slices; uint8 while that fits, else
        uint16. An object that is lost on a slice (empty mask) is looked for with its given box on the next.

    Raises:
        CaseError: corrections, and the model takes none.
    """
    labels: Labels = np.zeros(volume.shape[:3], label_dtype(len(boxes)))
    painters: dict[int, Painter] = {}  # of the slice at hand, and of those that the second sweep comes back to
    how: Any = {"kept_bytes": kept_bytes, "corrections": corrections, "fit": fit, "starts": starts}
    answers = answer_volume(engine, volume, boxes, **how)
    for step, answer in answers:
        if step.z not in painters:
            painters[step.z] = PAINTERS[overlap](labels[step.z], dtype=np.float16)
        mask = painters[step.z].paint(answer.window, answer.logits, label=answer.index + 1)
        if step.last_visit and answer.index == step.objects[-1]:
            del painters[step.z]
        if confidences is not None and mask.any():
            confidences.setdefault(answer.index, {})[step.z] = answer.confidence
    return labels


def answer_volume(
    engine: Engine,
    volume: NDArray[np.generic],
    boxes: Sequence[VolumeBox],
    *,
    kept_bytes: int = KEPT_BYTES,
    corrections: Corrections | None = None,
    fit: BoxFit = USUAL_FIT,
    starts: Starts = "given",
) -> Iterator[tuple[Step, BoxAnswer]]:
    """Follow the objects of a volume, and give the answer for each object on each of its slices as it is found.

    Masks of different objects may overlap; whoever takes the answers says what becomes of that, may show how far it is,
    and may stop. Arguments as for `segment_volume`.

    Yields:
        The step, and the answer to one of its objects, which `index` names; in the order of `plan_sweeps`.
    """
    if corrections is not None:
        require_hints(engine.spec)
    with Lanes(engine.begin(many=True)) as lanes:
        begun = [box.key_slice for box in boxes]
        if starts == "surest":
            begun = surest_starts(engine, volume, boxes, fit=fit, lanes=lanes)
        propagation = _Propagation(boxes, begun, (volume.shape[1], volume.shape[2]), engine.spec, corrections, fit)
        slices = _Slices(engine, volume, kept_bytes, lanes)
        for step, prepared, embedding in slices.encoded(plan_sweeps(propagation.stretches)):
            prompts = (propagation.prompt(index, step, slices.image) for index in step.objects)
            for answer in answer_prompts(engine, prepared, embedding, prompts, lanes):
                named = replace(answer, index=step.objects[answer.index])
                propagation.follow(named.index, step, answer.window, answer.logits > 0)
                yield step, named


def surest_starts(
    engine: Engine,
    volume: NDArray[np.generic],
    boxes: Sequence[VolumeBox],
    *,
    fit: BoxFit = USUAL_FIT,
    lanes: Lanes | None = None,
) -> list[int]:
    """Give for each object the slice from which it is followed: of three, the one on which the model is surest.

    The three are the slice of its box and, an eighth of its slices off on either side, two that are asked for with the
    ellipsoid's box there. The slice of the box is preferred by `SURER_BY`, and of the others the lower one. It matters
    for objects that are taken for another one on a single slice, as the heart's chamber and the muscle about it: see
    docs/experiments.md. Arguments as for `segment_volume` and `answer_prompts`.
    """
    size_hw = (volume.shape[1], volume.shape[2])
    candidates = [_candidates(box) for box in boxes]
    surest: dict[tuple[int, int], float] = {}
    for z in sorted({z for each in candidates if len(each) > 1 for z in each}):
        indices = [index for index, each in enumerate(candidates) if len(each) > 1 and z in each]
        prompts = [
            propagated_prompt(boxes, index, z, None, size_hw=size_hw, hints=engine.spec.hints, fit=fit)
            for index in indices
        ]
        prompts = [
            replace(prompt, box=start_box(boxes[index], z, size_hw))
            for index, prompt in zip(indices, prompts, strict=True)
        ]
        prepared = prepare_slice(slice_at(volume, z, engine.spec), engine.spec)
        for answer in answer_prompts(engine, prepared, engine.encode(prepared.canvas), prompts, lanes):
            index = indices[answer.index]
            surest[index, z] = answer.confidence - (SURER_BY if z != boxes[index].key_slice else 0)
    return [each[0] if len(each) == 1 else _surest(each, index, surest) for index, each in enumerate(candidates)]


def _surest(candidates: Sequence[int], index: int, sureness: Mapping[tuple[int, int], float]) -> int:
    """Give the candidate with the highest sureness, the first of equals."""
    return max(candidates, key=lambda z: sureness[index, z])


def _candidates(box: VolumeBox) -> tuple[int, ...]:
    """Give the slices from which an object may be followed, that of its box first."""
    off = round(CANDIDATES_OFF_SHARE * (box.z_max - box.z_min))
    others = (z for z in (box.key_slice - off, box.key_slice + off) if off and box.z_min <= z <= box.z_max)
    return (box.key_slice, *others)


def start_box(box: VolumeBox, z: int, size_hw: tuple[int, int]) -> Box:
    """Give the box to ask for where propagation starts: the given one on its own slice, else the ellipsoid's."""
    return box.box if z == box.key_slice else box.cross_section(z).within(size_hw)


@dataclass(frozen=True)
class _Found:
    """An object on one slice: its mask within a window of it."""

    z: int
    window: Window
    mask: NDArray[np.bool_]


class _Propagation:
    """Where each object was found last, in either direction, and where it is looked for next.

    Kept is, of each object with a slice ahead, the part of its mask that was decoded.
    """

    def __init__(
        self,
        boxes: Sequence[VolumeBox],
        starts: Sequence[int],
        size_hw: tuple[int, int],
        spec: ModelSpec,
        corrections: Corrections | None,
        fit: BoxFit,
    ) -> None:
        self._given = boxes
        self._size_hw = size_hw
        self._hints = spec.hints
        self._corrections = corrections
        self._fit = fit
        self.stretches = [
            stretches(box, (start, *(corrections.clicked_slices(index) if corrections else ())))
            for index, (box, start) in enumerate(zip(boxes, starts, strict=True))
        ]
        self._found: dict[tuple[int, int, bool], _Found] = {}  # by object, start, and sweep

    def prompt(self, index: int, step: Step, image_at: Callable[[int], NDArray[np.generic]]) -> Prompt:
        """Give what a step asks for an object with."""
        part = self._stretch(index, step.z)
        known = self._known(index, part, step, image_at)
        prompt = propagated_prompt(
            self._given, index, step.z, known, size_hw=self._size_hw, hints=self._hints, fit=self._fit
        )
        if step.z != part.start:
            return prompt
        prompt = replace(prompt, box=self._start_box(index, step.z))
        return prompt if self._corrections is None else corrected(prompt, self._corrections, index, step.z)

    def _stretch(self, index: int, z: int) -> Stretch:
        """Give the part of an object's slices that holds one of them."""
        return next(part for part in self.stretches[index] if z <= part.last)

    def _known(
        self, index: int, part: Stretch, step: Step, image_at: Callable[[int], NDArray[np.generic]]
    ) -> Neighbour | None:
        """Give what was found on the slice before; None at the start and for a lost object."""
        if step.z == part.start:
            return None
        found = self._found.pop((index, part.start, step.upwards), None)
        if found is None:
            return None
        mask = np.zeros(self._size_hw, bool)
        mask[found.window] = found.mask
        return Neighbour(image_at(found.z), mask)

    def _start_box(self, index: int, z: int) -> Box:
        """Give the box to ask for where propagation starts: that of the earlier answer, or what `start_box` gives."""
        given, previous = self._given[index], None
        if self._corrections is not None and z != given.key_slice:
            previous = self._corrections.previous_on(index, z)
        earlier = None if previous is None else box_around(previous)
        return start_box(given, z, self._size_hw) if earlier is None else earlier

    def follow(self, index: int, step: Step, window: Window, mask: NDArray[np.bool_]) -> None:
        """Note where an object was found on a slice, for the slices beyond; `mask` covers the window."""
        if not mask.any():
            return
        found, part = _Found(step.z, window, mask), self._stretch(index, step.z)
        is_start = step.z == part.start
        if (step.upwards or is_start) and step.z < part.last:
            self._found[index, part.start, True] = found
        if (not step.upwards or is_start) and step.z > part.first:
            self._found[index, part.start, False] = found


def propagated_prompt(
    boxes: Sequence[VolumeBox],
    index: int,
    z: int,
    known: Neighbour | None,
    *,
    size_hw: tuple[int, int],
    hints: bool,
    fit: BoxFit = USUAL_FIT,
) -> Prompt:
    """Give what an object is asked for with on one slice of its propagation.

    Args:
        boxes: those of all objects.
        index: which of them.
        z: the slice.
        known: the neighbouring slice and the object found on it; None on the middle slice and for a lost object, which
            are asked for with the given box.
        size_hw: height and width of the slice.
        hints: whether the model is shown the other boxes of the slice, its place, and how a given box fits.
        fit: how the given boxes fit, on the slices where they were given.
    """
    given = boxes[index]
    found = None if known is None else box_around(known.mask)
    box = given.box if found is None else expected_box(found, given.cross_section(z)).within(size_hw)
    if not hints:  # the boxes of all others, for each object on each slice, would be made for nobody
        return Prompt(box, known)
    said: BoxFit = fit if z == given.key_slice else "unknown"
    others = [
        each.cross_section(z).within(size_hw)
        for number, each in enumerate(boxes)
        if number != index and each.z_min <= z <= each.z_max
    ]
    return Prompt(box, known, others=box_rows(others), place=given.place(z), fit=said)


def expected_box(found: Box, cross_section: Box) -> Box:
    """Give the box to ask for on a slice, from where the object was found next to it.

    It is centred where the object was found, and each side is the geometric mean of what was found there and of what
    the ellipsoid in the given box has here. The mask alone drifts: a box a pixel too large gives a mask a pixel too
    large, slice after slice, and the challenge's margin of 3 pixels feeds that. On 20 training volumes of five data
    sets the mean DSC of a model without memory was 0.646 with the mask's box and that margin, 0.737 without the margin,
    and 0.749 so. A model with memory, trained by this very rule, had 0.820 on 22 such volumes, and 0.816 and 0.818 with
    the found sides to the power of 0.3 or 0.7 instead of a half.
    """
    return Box.about(
        found.centre,
        width=math.sqrt(found.width * cross_section.width),
        height=math.sqrt(found.height * cross_section.height),
    )


class _Slices:
    """Prepared slices with their embeddings, each encoded once as long as the bound allows."""

    def __init__(self, engine: Engine, volume: NDArray[np.generic], kept_bytes: int, lanes: Lanes) -> None:
        self._engine = engine
        self._volume = volume
        self._room = kept_bytes
        self._lanes = lanes
        self._kept: dict[int, tuple[PreparedSlice, FloatArray]] = {}
        self._recent: dict[int, NDArray[np.generic]] = {}

    def encoded(self, steps: Sequence[Step]) -> Iterator[tuple[Step, PreparedSlice, FloatArray]]:
        """Give each step with its slice ready for decoding; the slices of the next steps are started before."""
        started: deque[tuple[Step, Callable[[], tuple[PreparedSlice, FloatArray]]]] = deque()
        for step in steps:
            started.append((step, self._start(step)))
            if len(started) > AHEAD:
                yield self._taken(*started.popleft())
        while started:
            yield self._taken(*started.popleft())

    def _start(self, step: Step) -> Callable[[], tuple[PreparedSlice, FloatArray]]:
        """Start encoding the slice of a step, unless it is kept; give what waits for the result."""

        def encode() -> tuple[PreparedSlice, FloatArray]:
            prepared = prepare_slice(slice_at(self._volume, step.z, self._engine.spec), self._engine.spec)
            return prepared, self._engine.encode(prepared.canvas)

        return encode if step.z in self._kept else self._lanes.submit(encode)

    def _taken(
        self, step: Step, encoded: Callable[[], tuple[PreparedSlice, FloatArray]]
    ) -> tuple[Step, PreparedSlice, FloatArray]:
        """Wait for the slice of a step, and keep its embedding if a later step comes back to it."""
        if step.z in self._kept:
            prepared, embedding = self._kept.pop(step.z)
            self._room += embedding.nbytes
            return step, replace(prepared, image=self.image(step.z)), embedding
        prepared, embedding = encoded()
        self._remember(step.z, prepared.image)
        if not step.last_visit and embedding.nbytes <= self._room:
            # Pixels are cut out of the volume again when needed; a canvas is not needed again.
            nothing = np.empty(0, np.float32)
            self._kept[step.z] = replace(prepared, canvas=nothing, image=nothing), embedding
            self._room -= embedding.nbytes
        return step, prepared, embedding

    def image(self, z: int) -> NDArray[np.generic]:
        """Give slice z as `prepare_slice` keeps it: (H, W), or with its neighbours as (H, W, 3).

        A step asks for its slice and, once for each object, for the one before: the last three cut are kept, since the
        first steps of the downward sweep also go back to the middle slices.
        """
        if z not in self._recent:
            self._remember(z, slice_at(self._volume, z, self._engine.spec))
        return self._recent[z]

    def _remember(self, z: int, image: NDArray[np.generic]) -> None:
        for oldest in list(self._recent)[:-2]:
            del self._recent[oldest]
        self._recent[z] = image
