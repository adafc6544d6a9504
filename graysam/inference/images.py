"""One slice, many boxes: owns how prompts are put to an engine, and how its answers come back to original pixels.

One encoding serves all boxes, which are decoded a few at a time; answers are painted as they come. Volumes and the
validation of training ask through `answer_prompts`, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box
from graysam.cases import label_dtype
from graysam.corrections import Corrections
from graysam.engines.protocol import Engine, FloatArray
from graysam.errors import CaseError
from graysam.image.preprocessing import PreparedSlice, prepare_slice
from graysam.inference.lanes import Lanes
from graysam.inference.mirror import Mirror, looks_twice, mirrored_pixels, mirrored_prompt
from graysam.inference.overlap import PAINTERS, Overlap
from graysam.models.frames import PromptFrame, Window, frame_prompts
from graysam.models.spec import ModelSpec
from graysam.prompts import USUAL_FIT, BoxFit, Click, Prompt, box_rows

Labels = NDArray[np.uint8] | NDArray[np.uint16]

Confidences = dict[int, dict[int, float]]
"""The IoU that the model predicts of its own mask, by object (counted from 0) and slice."""

# Bounds memory, whatever the number of boxes: SAM's decoder takes about 35 MB for each.
BOXES_AT_ONCE: Final = 8

MANY_BOXES: Final = 8
"""From this number on, boxes of one slice are decoded side by side, though its encoding then has one thread only."""


@dataclass(frozen=True)
class BoxAnswer:
    """What a model says of one box.

    Attributes:
        index: which of the prompts.
        window: the rows and columns of the slice that the logits cover; the object is nowhere else.
        logits: float32 in original pixels, above 0 where the object is.
        confidence: the IoU with the true mask that the model itself predicts; NaN where nobody told.
    """

    index: int
    window: Window
    logits: FloatArray
    confidence: float = float("nan")

    def mask(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Give the object on a slice of this size: (H, W), true where the logits are above 0."""
        whole = np.zeros(size_hw, bool)
        whole[self.window] = self.logits > 0
        return whole


def segment_slice(
    engine: Engine,
    image: NDArray[np.generic],
    boxes: Sequence[Box],
    *,
    overlap: Overlap = "auto",
    confidences: Confidences | None = None,
    corrections: Corrections | None = None,
    fit: BoxFit = USUAL_FIT,
    mirror: Mirror = "never",
) -> Labels:
    """Segment the boxes of one image.

    Args:
        engine: the loaded model.
        image: (H, W) or (H, W, 3), any integer or float dtype, finite.
        boxes: in original pixels, inside the image; may be empty.
        overlap: who owns a pixel that several objects claim; see `graysam.inference.overlap`.
        confidences: filled with the model's confidence of each object, under slice 0.
        corrections: clicks for a model that takes them, and the earlier answer that they correct.
        fit: how the boxes fit their objects; only a model with hints is told.
        mirror: whether the image is looked at twice.

    Returns:
        Labels (H, W): i + 1 for box i, 0 elsewhere; uint8 while that fits, else uint16.

    Raises:
        CaseError: corrections, and the model takes none.
    """
    labels: Labels = np.zeros(image.shape[:2], label_dtype(len(boxes)))
    if not boxes:
        return labels
    if corrections is not None:
        require_hints(engine.spec)
    painter = PAINTERS[overlap](labels)
    others = box_rows(boxes)
    prompts = [Prompt(box, others=others, fit=fit) for box in boxes]
    if corrections is not None:
        prompts = [corrected(prompt, corrections, index) for index, prompt in enumerate(prompts)]
    with Lanes(engine.begin(many=len(boxes) >= MANY_BOXES)) as lanes:
        for answer in _Looks(engine, image, mirror).answers(prompts, lanes):
            painter.paint(answer.window, answer.logits, label=answer.index + 1)
            if confidences is not None:
                confidences.setdefault(answer.index, {})[0] = answer.confidence
    return labels


class _Looks:
    """How an image is seen: as it is, and mirrored where that is wanted; each is encoded once, when it is needed."""

    def __init__(self, engine: Engine, image: NDArray[np.generic], mirror: Mirror) -> None:
        self._engine = engine
        self._image = image
        self._mirror: Mirror = mirror
        self._encoded: dict[bool, tuple[PreparedSlice, FloatArray]] = {}

    def encoded(self, *, is_mirrored: bool) -> tuple[PreparedSlice, FloatArray]:
        """Give the prepared image, as it is or mirrored, and its embedding."""
        if is_mirrored not in self._encoded:
            prepared = prepare_slice(mirrored_pixels(self._image) if is_mirrored else self._image, self._engine.spec)
            self._encoded[is_mirrored] = prepared, self._engine.encode(prepared.canvas)
        return self._encoded[is_mirrored]

    def answers(self, prompts: Sequence[Prompt], lanes: Lanes | None = None) -> Iterator[BoxAnswer]:
        """Answer prompts in their order, by the mean of both looks where the image is looked at twice."""
        answers = answer_prompts(self._engine, *self.encoded(is_mirrored=False), prompts, lanes)
        if not looks_twice(self._mirror, self._engine.spec, _boxes_on_image(prompts)):
            return answers
        mirrored = [mirrored_prompt(prompt, self._image.shape[1]) for prompt in prompts]
        return map(_mean, answers, answer_prompts(self._engine, *self.encoded(is_mirrored=True), mirrored, lanes))


def _boxes_on_image(prompts: Sequence[Prompt]) -> int:
    """Give how many boxes the image has, as far as is known: asked one by one they must get what all get together."""
    if not prompts:
        return 0
    first = prompts[0]  # all know the same boxes
    others = (first.others != np.array(first.box.numbers)).any(axis=1)
    return max(len(prompts), 1 + int(others.sum()))


def _mean(answer: BoxAnswer, mirrored: BoxAnswer) -> BoxAnswer:
    """Give the mean of an answer and of that for the mirrored image, whose window is the mirrored one."""
    logits = np.float32(0.5) * (answer.logits + mirrored.logits[:, ::-1])
    return replace(answer, logits=logits, confidence=(answer.confidence + mirrored.confidence) / 2)


class PromptedSlice:
    """A slice that keeps its embedding, so that each further prompt costs one decoding, or two where it is mirrored.

    For programs that ask again and again, such as a page on which a person draws: `graysam.api.Segmenter` makes one
    with `prepare_slice`. As little safe for use by several threads at once as its engine.

    Attributes:
        size_hw: height and width of the slice in original pixels.
    """

    def __init__(self, engine: Engine, image: NDArray[np.generic], mirror: Mirror = "never") -> None:
        """Prepare and encode a slice.

        Args:
            engine: the model.
            image: (H, W) or (H, W, 3), any integer or float dtype, finite.
            mirror: whether it is looked at twice; then each prompt costs two decodings.
        """
        engine.begin(many=False)
        self._looks = _Looks(engine, image, mirror)
        prepared, _ = self._looks.encoded(is_mirrored=False)
        self.size_hw = prepared.fit.size_hw

    def answer(self, prompts: Sequence[Prompt]) -> list[BoxAnswer]:
        """Answer prompts in their order; masks may overlap.

        Args:
            prompts: boxes inside the slice (`graysam.boxes.clean_boxes`), clicks on it, in original pixels.

        Raises:
            CaseError: a prompt says what this model is not shown, or does not fit the slice.
        """
        for index, prompt in enumerate(prompts):
            prompt.check(self.size_hw, name=f"prompt {index}")
        return list(self._looks.answers(prompts))


def answer_prompts(
    engine: Engine,
    prepared: PreparedSlice,
    embedding: FloatArray,
    prompts: Iterable[Prompt],
    lanes: Lanes | None = None,
) -> Iterator[BoxAnswer]:
    """Decode prompts of one slice and bring each answer back to original pixels, in the order of the prompts.

    Args:
        engine: the model.
        prepared: the slice.
        embedding: what the engine's encoder made of it.
        prompts: taken a few ahead of the answers.
        lanes: as many as `engine.begin` said; by default one.

    Raises:
        CaseError: clicks or an earlier answer, and the model is shown none.
    """
    lanes = lanes or Lanes()
    at_once = BOXES_AT_ONCE if lanes.count == 1 else min(BOXES_AT_ONCE, engine.boxes_at_once or BOXES_AT_ONCE)

    def decoded(group: list[Prompt]) -> tuple[PromptFrame, FloatArray, FloatArray]:
        frame = frame_prompts(prepared, group, engine.spec)
        return frame, *engine.decode(embedding, frame.inputs())

    index = 0
    for frame, logits, ious in lanes.map(decoded, _groups(prompts, at_once, engine.spec)):
        for place, grid in enumerate(logits):
            window, values = frame.to_original(place, grid)
            yield BoxAnswer(index, window, values, float(ious[place]))
            index += 1


def _groups(prompts: Iterable[Prompt], size: int, spec: ModelSpec) -> Iterator[list[Prompt]]:
    """Give prompts in groups of a size; the last may be smaller.

    Raises:
        CaseError: clicks or an earlier answer, and the model is shown none.
    """
    remaining = iter(prompts)
    while group := list(islice(remaining, size)):
        if any(prompt.is_correction for prompt in group):
            require_hints(spec)
        yield group


def corrected(prompt: Prompt, corrections: Corrections, index: int, z: int = 0) -> Prompt:
    """Add to the prompt for object `index` on slice `z` what a person says there: clicks, and the earlier answer.

    Where there is no click, the prompt stays as it is: nothing is to be corrected.
    """
    clicks = corrections.clicks_on(index, z)
    return with_clicks(prompt, clicks, corrections.previous_on(index, z)) if clicks else prompt


def with_clicks(prompt: Prompt, clicks: Sequence[Click], previous: NDArray[np.bool_] | None) -> Prompt:
    """Add clicks to a prompt, and the earlier answer (H, W) that they correct, None for none.

    Pixels that a click calls inside belong to the box, which therefore grows to hold them.
    """
    box = prompt.box
    for click in clicks:
        box = box.holding(click.x, click.y) if click.is_inside else box
    is_own = (prompt.others == np.array(prompt.box.numbers)).all(axis=1)  # told from others by being equal to the box
    others = prompt.others if box == prompt.box else prompt.others[~is_own]
    return replace(prompt, box=box, others=others, clicks=tuple(clicks), previous=previous)


def require_hints(spec: ModelSpec) -> None:
    """Refuse clicks for a model that is shown none: they must not be ignored in silence.

    Raises:
        CaseError: the spec has no hints.
    """
    if not spec.hints:
        raise CaseError(
            f"clicks: the model {spec.name!r} takes boxes alone (its spec.json says no 'hints'), so that clicks and an "
            "earlier answer would change nothing. Leave them out, or choose weights trained with hints."
        )
