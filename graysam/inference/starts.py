"""Chooses where each object of a volume is followed from, for those who ask for the slice the model is surest of.

Boxes and pixels come from `graysam.inference.volumes`, slice numbers go back to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import VolumeBox
from graysam.engines.protocol import Engine
from graysam.image.preprocessing import prepare_slice, slice_at
from graysam.inference.images import answer_prompts
from graysam.inference.lanes import Lanes
from graysam.inference.propagation import propagated_prompt, start_box
from graysam.prompts import USUAL_FIT, BoxFit

Starts = Literal["given", "surest"]
"""Where propagation starts: on the slice that the box was given for, or where the model is surest of its answer."""
CANDIDATES_OFF_SHARE: Final = 1 / 8
"""Of an object's slices: how far the two other candidates for a start lie from the slice of its box."""
SURER_BY: Final = 0.03
"""By how much the model must be surer of an answer on another slice to start there: the box fits best on its own."""


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
