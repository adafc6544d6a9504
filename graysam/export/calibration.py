"""Which slices and prompts int8 quantization looks at: drawn from a packed store or from a folder of cases.

They are cut, framed and prepared as prediction does it; the ranges found on them are those that prediction meets.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import numpy as np

from graysam.boxes import Box, VolumeBox, box_around
from graysam.cases import VolumeCase
from graysam.errors import EngineError
from graysam.formats.registry import list_cases
from graysam.image.preprocessing import slice_at
from graysam.inference.baselines import BaselineSegmenter
from graysam.noisy_boxes import LARGEST_SHIFT_PX, reference_pixel, shifted
from graysam.prompts import BoxFit, Click, Neighbour, Prompt, box_rows
from graysam.store import PackedStore, StoredVolume, StoreEntry, open_store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graysam.models.spec import ModelSpec

logger = logging.getLogger(__name__)

CALIBRATION_SLICES: Final = 300


@dataclass(frozen=True)
class CalibrationSlice:
    """One slice and a prompt on it that quantization looks at.

    Attributes:
        name: where it comes from.
        image: (H, W) or (H, W, 3), as `prepare_slice` takes it.
        prompt: the box, and of a volume the neighbouring slice with the object there.
    """

    name: str
    image: NDArray[np.generic]
    prompt: Prompt


def calibration_slices(source: Path, spec: ModelSpec, count: int) -> list[CalibrationSlice]:
    """Draw slices from a packed store (its training split, modalities in turn) or a folder of cases (in turn).

    The draw is a pure function of the source and the count.

    Raises:
        EngineError: no slice with a box in it.
        CaseError, StoreError: the source cannot be read.
    """
    drawn = _from_cases(source, spec, count) if source.is_dir() else _from_store(source, spec, count)
    if not drawn:
        raise EngineError(f"calibration {source}: holds no slice with a box; int8 needs real cases.")
    return drawn


def _from_store(path: Path, spec: ModelSpec, count: int) -> list[CalibrationSlice]:
    """Draw one object of `count` slices; boxes are tight, or up to 5 canvas pixels off on each side, in turn."""
    store = open_store(path)
    rng = np.random.default_rng(0)
    queues: dict[str, list[StoreEntry]] = {}
    volumes: dict[tuple[str, str], dict[int, StoreEntry]] = defaultdict(dict)
    for entry in store.entries:
        if entry.z >= 0:
            volumes[entry.dataset, entry.case][entry.z] = entry
    for number in rng.permutation(len(store.entries)):
        entry = store.entries[number]
        if entry.split == "train" and entry.objects:
            queues.setdefault(entry.modality, []).append(entry)
    drawn: list[CalibrationSlice] = []
    while len(drawn) < count and any(queues.values()):
        for modality in sorted(queues):
            if not queues[modality] or len(drawn) >= count:
                continue
            entry = queues[modality].pop()
            masks = store.masks(entry)
            mask = masks[int(rng.integers(len(masks)))]
            box = box_around(mask)
            if box is None:
                continue
            entries = volumes[entry.dataset, entry.case] if entry.z >= 0 else {entry.z: entry}
            neighbour = _neighbour(store, entries, entry.z + 1, mask, spec) if entry.z >= 0 else None
            largest_px = len(drawn) % 2 * LARGEST_SHIFT_PX * reference_pixel(entry.size_hw)
            prompt = Prompt(_off_both_ways(box, largest_px, entry.size_hw, rng), neighbour)
            if spec.hints:
                others = [found for each in masks if each is not mask and (found := box_around(each)) is not None]
                prompt = _with_hints(prompt, others, mask, len(drawn))
            drawn.append(
                CalibrationSlice(
                    f"{entry.case}/z{entry.z}", slice_at(StoredVolume(store, entries), entry.z, spec), prompt
                )
            )
    return drawn


def _neighbour(
    store: PackedStore, entries: Mapping[int, StoreEntry], z: int, mask: NDArray[np.bool_], spec: ModelSpec
) -> Neighbour | None:
    """Give slice z with the object there that a mask overlaps most; None where there is no such slice or object."""
    entry = entries.get(z)
    if entry is None or entry.size_hw != mask.shape:
        return None
    most = max(store.masks(entry), key=lambda each: int((each & mask).sum()))
    return Neighbour(slice_at(StoredVolume(store, entries), z, spec), most) if (most & mask).any() else None


def _with_hints(prompt: Prompt, others: Sequence[Box], mask: NDArray[np.bool_], number: int) -> Prompt:
    """Let a prompt say all that it can: quantization must see the ranges of maps that are often zero.

    Every other prompt has a click in the object, one outside on a corner of its box, and the object as earlier answer;
    how the box fits is told in turn, and one with a neighbouring slice lies in turn in the middle, half way to an end,
    and at an end.
    """
    rows, columns = np.nonzero(mask)
    told = replace(prompt, others=box_rows(others), fit=get_args(BoxFit)[number % 3])
    if prompt.neighbour is not None:
        told = replace(told, place=(0.0, 0.5, -0.95)[number % 3])
    if number % 2 == 0 or not rows.size:
        return told
    x, y = math.floor(prompt.box.x_min), math.floor(prompt.box.y_min)
    inside = Click(float(columns[rows.size // 2]), float(rows[rows.size // 2]), is_inside=True)
    return replace(told, clicks=(inside, Click(float(x), float(y), is_inside=False)), previous=mask)


def _off_both_ways(box: Box, largest_px: float, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    """Shift each side by up to `largest_px`, within the slice and without turning the box inside out."""
    moved = shifted(box, rng.uniform(-1, 1, 4).astype(np.float32) * np.float32(largest_px), size_hw)
    return moved if moved.x_max > moved.x_min and moved.y_max > moved.y_min else box


def _from_cases(folder: Path, spec: ModelSpec, count: int) -> list[CalibrationSlice]:
    """Draw boxes of the cases in turn; in a volume also slices off the middle, with the box a little enlarged."""
    per_case: list[list[CalibrationSlice]] = []
    for found in list_cases(folder):
        if found.refused is not None:
            logger.warning("%s", found.refused)
            continue
        case = found.format.read(found.path)
        if isinstance(case, VolumeCase):
            per_case.append([each for box in case.boxes for each in _of_volume(case.name, case.image, box, spec)])
        else:
            prompts = [Prompt(box) for box in case.boxes]
            if spec.hints:
                ellipses = [BaselineSegmenter("ellipse").segment_image(case.image, [box]) > 0 for box in case.boxes]
                each = zip(prompts, ellipses, strict=True)
                prompts = [_with_hints(prompt, case.boxes, mask, number) for number, (prompt, mask) in enumerate(each)]
            per_case.append([CalibrationSlice(case.name, case.image, prompt) for prompt in prompts])
    drawn: list[CalibrationSlice] = []
    while len(drawn) < count and any(per_case):
        drawn += [slices.pop(0) for slices in per_case if slices]
    return drawn[:count]


def _of_volume(name: str, volume: NDArray[np.generic], box: VolumeBox, spec: ModelSpec) -> list[CalibrationSlice]:
    """Give the middle slice of an object and those half way to its ends."""
    middle = box.key_slice
    chosen = {middle, (box.z_min + middle) // 2, (box.z_max + middle + 1) // 2}
    slices: list[CalibrationSlice] = []
    for z in sorted(chosen, key=lambda z: (abs(z - middle), z)):
        image = slice_at(volume, z, spec)
        if z == middle:
            slices.append(CalibrationSlice(f"{name}/z{z}", image, Prompt(box.box)))
            continue
        box_there = box.cross_section(z).within((volume.shape[1], volume.shape[2]))
        before = slice_at(volume, z - 1 if z > middle else z + 1, spec)
        # No mask is at hand to be shown: the ellipse stands in for it.
        known = Neighbour(before, BaselineSegmenter("ellipse").segment_image(before, [box_there]) > 0)
        prompt = Prompt(box_there, known)
        if spec.hints:
            prompt = replace(_with_hints(prompt, (), known.mask, len(slices)), place=box.place(z))
        slices.append(CalibrationSlice(f"{name}/z{z}", image, prompt))
    return slices
