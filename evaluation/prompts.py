"""The fixed set of validation prompts, and how well a model or a guess answers them.

Slices are brought to 256 pixels on their longest side and then treated as originals, so that "2 px" and "5 px" mean
the same for every data set. The set is a pure function of the store: figures of different runs are comparable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.dice import dice
from evaluation.surface_dice import contour_nsd
from graysam.boxes import Box, box_around
from graysam.errors import StoreError
from graysam.image.geometry import resample
from graysam.store import PackedStore, StoreEntry

PromptKind = Literal["tight", "jit5", "out5"]
PROMPT_KINDS: tuple[PromptKind, ...] = ("tight", "jit5", "out5")
Masks = list[NDArray[np.bool_]]
Answer = Callable[[NDArray[np.uint8], Sequence[Box]], Masks]

LONGEST_SIDE_PX = 256
JITTER_PX = 5
JITTER_TRIES = 50
TOLERANCE_PX = 2.0
SMALLEST_OBJECT_PX = 20


@dataclass(frozen=True)
class ValidationPrompt:
    """One object of one slice, at the 256 scale: its mask and the boxes that ask for it."""

    entry: StoreEntry
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    boxes: dict[PromptKind, Box]


@dataclass(frozen=True)
class PromptScore:
    """How one prompt was answered; DSC and contour NSD at 2 px, 0 to 1."""

    modality: str
    dataset: str
    dsc: float
    nsd: float


def validation_prompts(
    store: PackedStore, *, split: str = "val", per_modality: int = 55, seed: int = 0
) -> list[ValidationPrompt]:
    """Draw the prompts: of each modality data sets in turn, of those groups in turn, one object of one slice.

    Each has three boxes: "tight", "jit5" (each side off by up to 5 px both ways) and "out5" (by 0 to 5 px outwards).

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
    scale = LONGEST_SIDE_PX / max(entry.size_hw)
    size_hw = round(entry.size_hw[0] * scale), round(entry.size_hw[1] * scale)
    small_mask = resample(mask.astype(np.float32), size_hw).astype(np.float32, copy=False) > 0.5
    tight = box_around(small_mask)
    if tight is None or small_mask.sum() < SMALLEST_OBJECT_PX:
        return None
    boxes: dict[PromptKind, Box] = {"tight": tight, "jit5": _jittered(tight, size_hw, rng)}
    # A generator of its own: the draws of the older kinds of boxes, and so their figures, stay what they were.
    own = np.random.default_rng([int(small_mask.sum()), int(tight.x_min), int(tight.y_min)])
    boxes["out5"] = _loosened(tight, size_hw, own)
    return ValidationPrompt(entry, resample(image, size_hw).astype(np.uint8, copy=False), small_mask, boxes)


def _jittered(box: Box, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    """Move every side by a whole number of -5 to 5 pixels, within the slice.

    A draw that leaves less than half of the box's width or height is drawn again: a fluid pocket of 5 pixels' height
    would else be asked for with a box that does not touch it, which measures nothing.
    """
    height, width = size_hw
    tight = box.as_array()
    for _ in range(JITTER_TRIES):
        x_min, y_min, x_max, y_max = tight + rng.integers(-JITTER_PX, JITTER_PX + 1, 4)
        moved = Box(max(0.0, x_min), max(0.0, y_min), min(width - 1.0, x_max), min(height - 1.0, y_max))
        sides = np.array([moved.x_max - moved.x_min + 1, moved.y_max - moved.y_min + 1])
        if (sides >= (tight[2:] - tight[:2] + 1) / 2).all():
            return moved
    return box


def _loosened(box: Box, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    """Move every side outwards by 0 to 5 pixels, rounded, within the slice."""
    shifts = np.rint(rng.uniform(0, JITTER_PX, 4))
    x_min, y_min, x_max, y_max = box.as_array() + shifts * (-1, -1, 1, 1)
    return Box(float(x_min), float(y_min), float(x_max), float(y_max)).within(size_hw)


def score_prompts(prompts: Sequence[ValidationPrompt], answer: Answer, kind: PromptKind) -> list[PromptScore]:
    """Ask for every prompt's object and compare; one call of `answer` per prompt."""
    scores = []
    for prompt in prompts:
        answered = answer(prompt.image, [prompt.boxes[kind]])[0]
        dsc = dice(prompt.mask, answered)
        nsd = contour_nsd(prompt.mask, answered, tolerance_px=TOLERANCE_PX)
        scores.append(PromptScore(prompt.entry.modality, prompt.entry.dataset, dsc, nsd))
    return scores


def modality_means(scores: Sequence[PromptScore]) -> dict[str, tuple[float, float]]:
    """Give mean (DSC, NSD) per modality, and under "mean" the mean over modalities, which weigh the same."""
    by_modality: dict[str, list[PromptScore]] = defaultdict(list)
    for score in scores:
        by_modality[score.modality].append(score)
    means = {
        modality: (float(np.mean([s.dsc for s in group])), float(np.mean([s.nsd for s in group])))
        for modality, group in sorted(by_modality.items())
    }
    over_all = np.mean(list(means.values()), axis=0)
    means["mean"] = float(over_all[0]), float(over_all[1])
    return means


def answer_filled_box(image: NDArray[np.uint8], boxes: Sequence[Box]) -> Masks:
    """Answer with the box itself."""
    masks = []
    for box in boxes:
        mask = np.zeros(image.shape[:2], bool)
        mask[int(box.y_min) : int(box.y_max) + 1, int(box.x_min) : int(box.x_max) + 1] = True
        masks.append(mask)
    return masks


def answer_ellipse(image: NDArray[np.uint8], boxes: Sequence[Box]) -> Masks:
    """Answer with the ellipse that touches the box's sides."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    masks = []
    for box in boxes:
        across = (columns - (box.x_min + box.x_max) / 2) / ((box.x_max - box.x_min + 1) / 2)
        down = (rows - (box.y_min + box.y_max) / 2) / ((box.y_max - box.y_min + 1) / 2)
        masks.append(across**2 + down**2 <= 1)
    return masks


def answer_grabcut(image: NDArray[np.uint8], boxes: Sequence[Box]) -> Masks:
    """Answer with GrabCut (Rother et al. 2004), five rounds from the box; the box where it finds nothing."""
    colour = np.ascontiguousarray(image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))
    masks = []
    for box, filled in zip(boxes, answer_filled_box(image, boxes), strict=True):
        trimap = np.where(filled, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
        rectangle = (
            int(box.x_min),
            int(box.y_min),
            int(box.x_max - box.x_min) + 1,
            int(box.y_max - box.y_min) + 1,
        )
        models = np.zeros((1, 65)), np.zeros((1, 65))
        if not filled.all():
            cv2.setRNGSeed(0)
            cv2.grabCut(colour, trimap, rectangle, *models, 5, cv2.GC_INIT_WITH_RECT)
        found = filled & ((trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD))
        masks.append(found if found.any() else filled)
    return masks


BASELINES: dict[str, Answer] = {
    "filled box": answer_filled_box,
    "ellipse": answer_ellipse,
    "GrabCut": answer_grabcut,
}
