"""Draws the fixed set of validation prompts from a packed store: slices, objects, and the boxes that stand for them.

Slices are brought to 256 pixels on their longer side and then treated as originals, so that "2 px" and "5 px" mean
the same for every data set. The set is a pure function of the store: figures of different runs are comparable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, box_around
from graysam.errors import StoreError
from graysam.image.geometry import resample
from graysam.noisy_boxes import LARGEST_SHIFT_PX, OUTWARDS, REFERENCE_SIDE_PX, drawn_until_half_is_left, shifted
from graysam.store import PackedStore, StoreEntry

BoxKind = Literal["tight", "both_ways", "outwards"]
BOX_KINDS: Final[tuple[BoxKind, ...]] = ("tight", "both_ways", "outwards")
"""The boxes that every object is prompted with, as files and tables name them; see `BOX_KIND_MEANINGS`."""

BOX_KIND_MEANINGS: Final[dict[BoxKind, str]] = {
    "tight": "the box of the reference",
    "both_ways": f"each side off by up to {LARGEST_SHIFT_PX} px, inwards or outwards",
    "outwards": f"each side off by 0 to {LARGEST_SHIFT_PX} px outwards, as people draw boxes",
}
BOX_KIND_TITLES: Final[dict[BoxKind, str]] = {
    "tight": "tight",
    "both_ways": "off both ways",
    "outwards": "off outwards",
}
"""The kinds in a few words, for the heads of tables."""

EARLIER_NAMES: Final[dict[str, BoxKind]] = {"jit5": "both_ways", "out5": "outwards"}
"""What the kinds were called in files written before 26 November 2026."""

BOTH_WAYS_TRIES: Final = 50
SMALLEST_OBJECT_PX: Final = 20


def box_kind(name: str) -> BoxKind | None:
    """Give the kind that a file means, by its present or its earlier name; None for any other word."""
    present: dict[str, BoxKind] = {kind: kind for kind in BOX_KINDS}
    return present.get(name) or EARLIER_NAMES.get(name)


@dataclass(frozen=True)
class ValidationPrompt:
    """One object of one slice, at the 256 scale: its mask and its boxes."""

    entry: StoreEntry
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    boxes: dict[BoxKind, Box]


def validation_prompts(
    store: PackedStore, *, split: str = "val", per_modality: int = 55, seed: int = 0
) -> list[ValidationPrompt]:
    """Draw the prompts: of each modality data sets in turn, of those groups in turn, one object of one slice.

    Each has a box of every kind in `BOX_KINDS`.

    Raises:
        StoreError: there is nothing to validate on.
    """
    by_modality: dict[str, dict[str, list[StoreEntry]]] = defaultdict(lambda: defaultdict(list))
    for entry in store.entries:
        if entry.split == split:
            by_modality[entry.modality][entry.dataset].append(entry)
    prompts = []
    for number, modality in enumerate(sorted(by_modality)):
        rng = np.random.default_rng([seed, number])
        queues = [_in_turn(entries, rng) for _, entries in sorted(by_modality[modality].items())]
        chosen: list[ValidationPrompt] = []
        while len(chosen) < per_modality and any(queues):
            for queue in queues:
                if queue and len(chosen) < per_modality:
                    prompt = _prompt(store, queue.pop(), rng)
                    chosen.extend([prompt] if prompt else [])
        prompts.extend(chosen)
    if not prompts:
        raise StoreError(
            f"{store.path}: wanted slices of the split {split!r} with objects of at least {SMALLEST_OBJECT_PX} px, "
            f"found none among {len(store)}; give some groups that split (python -m data_prep split) and pack again."
        )
    return prompts


def _in_turn(entries: Sequence[StoreEntry], rng: np.random.Generator) -> list[StoreEntry]:
    """Order slices (last first out) so that every group comes once before any comes twice."""
    by_group: dict[str, list[StoreEntry]] = defaultdict(list)
    for entry in entries:
        by_group[entry.group].append(entry)
    ranked = []
    for group in sorted(by_group):
        order = rng.permutation(len(by_group[group]))
        ranked += [(turn, rng.random(), by_group[group][int(each)]) for turn, each in enumerate(order)]
    return [entry for *_, entry in sorted(ranked, key=lambda each: (each[0], each[1]), reverse=True)]


def _prompt(store: PackedStore, entry: StoreEntry, rng: np.random.Generator) -> ValidationPrompt | None:
    image = store.image(entry)
    masks = store.masks(entry)
    mask = masks[int(rng.integers(len(masks)))]
    scale = REFERENCE_SIDE_PX / max(entry.size_hw)
    size_hw = round(entry.size_hw[0] * scale), round(entry.size_hw[1] * scale)
    small_mask = resample(mask.astype(np.float32), size_hw).astype(np.float32, copy=False) > 0.5
    tight = box_around(small_mask)
    if tight is None or small_mask.sum() < SMALLEST_OBJECT_PX:
        return None
    boxes: dict[BoxKind, Box] = {"tight": tight, "both_ways": _off_both_ways(tight, size_hw, rng)}
    # A generator of its own: the draws of the older kinds of boxes, and so their figures, stay what they were.
    own = np.random.default_rng([int(small_mask.sum()), int(tight.x_min), int(tight.y_min)])
    boxes["outwards"] = _off_outwards(tight, size_hw, own)
    return ValidationPrompt(entry, resample(image, size_hw).astype(np.uint8, copy=False), small_mask, boxes)


def _off_both_ways(box: Box, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    """Shift every side by a whole number of -5 to 5 pixels."""
    return drawn_until_half_is_left(
        box,
        lambda: shifted(box, rng.integers(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX + 1, 4), size_hw),
        tries=BOTH_WAYS_TRIES,
    )


def _off_outwards(box: Box, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    """Shift every side outwards by 0 to 5 pixels, rounded to whole ones."""
    distances = np.rint(rng.uniform(0, LARGEST_SHIFT_PX, 4))
    return shifted(box, distances * OUTWARDS, size_hw)
