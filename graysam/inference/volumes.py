"""Volumes by propagation: every object is followed from its middle slice to both ends, slice by slice.

On each slice all objects that are due there share one encoding and are decoded together. The order of the slices is
that of `sweeps`, an object's next box that of `propagation`, and `encoded_slices` prepares what is decoded.

Where an engine takes several calls at a time, the objects of a slice are decoded side by side, and the next slices are
prepared and encoded meanwhile. The answers are the same, and come in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import VolumeBox
from graysam.cases import label_dtype
from graysam.corrections import Corrections
from graysam.engines.protocol import Engine
from graysam.inference.encoded_slices import KEPT_BYTES, EncodedSlices
from graysam.inference.images import BoxAnswer, Confidences, Labels, answer_prompts, require_hints
from graysam.inference.lanes import Lanes
from graysam.inference.overlap import PAINTERS, Overlap, Painter
from graysam.inference.propagation import Propagation
from graysam.inference.starts import Starts, surest_starts
from graysam.inference.sweeps import Step, plan_sweeps
from graysam.prompts import USUAL_FIT, BoxFit


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
        propagation = Propagation(boxes, begun, (volume.shape[1], volume.shape[2]), engine.spec, corrections, fit)
        slices = EncodedSlices(engine, volume, kept_bytes, lanes)
        for step, prepared, embedding in slices.encoded(plan_sweeps(propagation.stretches)):
            prompts = (propagation.prompt(index, step, slices.image) for index in step.objects)
            for answer in answer_prompts(engine, prepared, embedding, prompts, lanes):
                named = replace(answer, index=step.objects[answer.index])
                propagation.follow(named.index, step, answer.window, answer.logits > 0)
                yield step, named
