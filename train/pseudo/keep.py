"""Judges a teacher's answers: which are stable enough to be taught, and which say what another one says already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, box_around
from graysam.engines.protocol import Engine, FloatArray
from graysam.image.preprocessing import PreparedSlice
from graysam.inference.images import BOXES_AT_ONCE
from graysam.models.frames import Window, frame_prompts
from graysam.noisy_boxes import OUTWARDS, REFERENCE_SIDE_PX, shifted
from graysam.prompts import Prompt
from train.pseudo.boxes import Candidate, box_iou

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """What an answer must fulfil to be kept. The limits fit LiteMedSAM, whose logits rise slowly at an edge.

    Attributes:
        predicted_iou: the least IoU that the teacher predicts for itself.
        stability: the least share of the mask at a lowered threshold that is still there at a raised one.
        threshold_shift: by how much the threshold on the logits is lowered and raised for it.
        same_answer: the least IoU with the teacher's answer to the mask's own box, loosened.
        contrast: the least difference of the mask's rim from what lies round it, as a share of the slice's range.
        least_box_share, most_box_share: area of the mask as a share of its box's.
        in_box: the least share of the mask that lies in the box that prompted for it, a tenth larger.
        in_one_piece: the least share of the mask in its largest connected part, which alone is kept.
        border_share: most of the mask's outline, counted as its box's, that lies on the slice's border.
        largest: the largest area, as a share of the slice.
        smallest_px: the smallest area, in pixels of a slice of 256.
        duplicate: IoU from which two masks are the same object.
        soft_iou: the least IoU with a labelled object for which the teacher's probabilities are kept.
        same_box: IoU of the boxes from which an object beside a labelled one would contradict it.
    """

    predicted_iou: float = 0.75
    stability: float = 0.7
    threshold_shift: float = 1.0
    same_answer: float = 0.8
    contrast: float = 0.03
    least_box_share: float = 0.2
    most_box_share: float = 0.95
    in_box: float = 0.9
    in_one_piece: float = 0.9
    border_share: float = 0.15
    largest: float = 0.5
    smallest_px: float = 40.0
    duplicate: float = 0.7
    soft_iou: float = 0.5
    same_box: float = 0.8


LOOSENED_BY: Final = (0.02, 0.1)
"""How far each side of a mask's own box lies outside for the second answer, as a share of the side."""

RIM_PX: Final = 4
"""Width of the rim and of what lies round it, in pixels of a slice of 256."""


@dataclass(frozen=True)
class TeacherAnswer:
    """What the teacher says to one box: logits in original pixels over a window of the slice, and its own IoU."""

    window: Window
    logits: FloatArray
    predicted_iou: float

    def mask(self, size_hw: tuple[int, int]) -> Mask:
        """Give (H, W), true where the logits are above 0."""
        whole = np.zeros(size_hw, bool)
        whole[self.window] = self.logits > 0
        return whole


@dataclass(frozen=True)
class PseudoObject:
    """An object that was found.

    Attributes:
        source: where the box came from that asked for it, see `boxes.SOURCES`.
        mask: (H, W).
        predicted_iou, stability, same_answer: how it was judged, 0 to 1; see `Rules`.
    """

    source: str
    mask: Mask
    predicted_iou: float
    stability: float
    same_answer: float = 0.0

    @property
    def score(self) -> float:
        """Give by what an object is preferred to its duplicates."""
        return self.predicted_iou * self.stability


def ask(engine: Engine, prepared: PreparedSlice, embedding: FloatArray, boxes: Sequence[Box]) -> list[TeacherAnswer]:
    """Put boxes of one slice to the teacher, a few at a time."""
    answers = []
    for start in range(0, len(boxes), BOXES_AT_ONCE):
        frame = frame_prompts(prepared, [Prompt(box) for box in boxes[start : start + BOXES_AT_ONCE]], engine.spec)
        logits, iou = engine.decode(embedding, frame.inputs())
        answers += [
            TeacherAnswer(*frame.to_original(place, grid), float(iou[place])) for place, grid in enumerate(logits)
        ]
    return answers


def first_look(answer: TeacherAnswer, asked: Candidate, image: NDArray[np.uint8], rules: Rules) -> PseudoObject | str:
    """Judge an answer by itself: give the object, or in a few words why it is none.

    Args:
        answer: the teacher's.
        asked: the box that it answers.
        image: the slice alone, (H, W) or (H, W, 3).
        rules: what is wanted.
    """
    size_hw = (image.shape[0], image.shape[1])
    if answer.predicted_iou < rules.predicted_iou:
        return "predicted IoU"
    steadiness = stability(answer.logits, rules.threshold_shift)
    if steadiness < rules.stability:
        return "stability"
    if _is_cut_by_its_view(answer, size_hw):
        return "cut by its view"
    whole = answer.mask(size_hw)
    mask = _largest_part(whole)
    if mask.sum() < rules.in_one_piece * whole.sum():
        return "in pieces"
    reason = _what_is_odd(mask, asked.box, rules)
    if not reason and contrast(mask, image) < rules.contrast:
        reason = "contrast"
    return reason or PseudoObject(asked.source, mask, answer.predicted_iou, steadiness)


def stability(logits: FloatArray, shift: float) -> float:
    """Give the IoU of the masks at the threshold raised and lowered by `shift`; 0 where the lowered one is empty."""
    lowered = int((logits > -shift).sum())
    return int((logits > shift).sum()) / lowered if lowered else 0.0


def contrast(mask: Mask, image: NDArray[np.uint8]) -> float:
    """Give by how much the rim of a mask differs from what lies round it, in the channel where it differs most.

    Returns:
        The difference of the means as a share of the slice's range; 0 for a mask without surroundings.
    """
    side = 1 + 2 * max(1, round(RIM_PX * max(mask.shape) / REFERENCE_SIDE_PX))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    round_it = (cv2.dilate(mask.astype(np.uint8), kernel) > 0) & ~mask
    rim = mask & (cv2.erode(mask.astype(np.uint8), kernel) == 0)
    values = image.reshape(*mask.shape, -1)
    span = float(image.max()) - float(image.min())
    if not rim.any() or not round_it.any() or not span:
        return 0.0
    return float(np.abs(values[rim].mean(axis=0) - values[round_it].mean(axis=0)).max()) / span


def _is_cut_by_its_view(answer: TeacherAnswer, size_hw: tuple[int, int]) -> bool:
    """Tell whether the mask reaches an edge of the window that is no border of the slice."""
    inside = answer.logits > 0
    rows, columns = answer.window
    return bool(
        (rows.start > 0 and inside[0].any())
        or (rows.stop < size_hw[0] and inside[-1].any())
        or (columns.start > 0 and inside[:, 0].any())
        or (columns.stop < size_hw[1] and inside[:, -1].any())
    )


def _largest_part(mask: Mask) -> Mask:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask
    largest: Mask = parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return largest


def _what_is_odd(mask: Mask, asked: Box, rules: Rules) -> str:
    """Say what is odd about the size and place of a mask, "" where nothing is."""
    box, area = box_around(mask), int(mask.sum())
    if box is None or area < rules.smallest_px * (max(mask.shape) / REFERENCE_SIDE_PX) ** 2:
        return "too small"
    if area > rules.largest * mask.size:
        return "too large"
    if not rules.least_box_share <= area / (box.width * box.height) <= rules.most_box_share:
        return "share of its box"
    grown = Box.about(asked.centre, width=1.1 * asked.width, height=1.1 * asked.height)
    rows = slice(max(0, round(grown.y_min)), round(grown.y_max) + 1)
    columns = slice(max(0, round(grown.x_min)), round(grown.x_max) + 1)
    if mask[rows, columns].sum() < rules.in_box * area:
        return "outside of its box"
    on_border = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
    return "border" if on_border > rules.border_share * 2 * (box.width + box.height) else ""


def own_box_loosened(mask: Mask, rng: np.random.Generator) -> Box:
    """Give the box round a mask with every side moved outwards, by at least a pixel."""
    box = box_around(mask)
    assert box is not None, "only masks with an area pass the first look"
    sides = np.array([box.width, box.height, box.width, box.height])
    distances = np.maximum(1.0, rng.uniform(*LOOSENED_BY, 4) * sides)
    return shifted(box, distances * OUTWARDS, (mask.shape[0], mask.shape[1]), whole=True)


def without_duplicates(
    found: Sequence[PseudoObject], labelled: Sequence[Mask], rules: Rules
) -> tuple[list[PseudoObject], dict[str, int]]:
    """Drop objects that a labelled one, or a better one, says already, and those that contradict a labelled one.

    Returns:
        What is left, best first, and how many were dropped for which reason.
    """
    dropped: dict[str, int] = {}
    boxes = [box for mask in labelled if (box := box_around(mask))]
    kept: list[PseudoObject] = []
    for candidate in sorted(found, key=lambda each: each.score, reverse=True):
        box = box_around(candidate.mask)
        assert box is not None, "only masks with an area pass the first look"
        if any(mask_iou(candidate.mask, mask) > rules.duplicate for mask in labelled):
            reason = "labelled already"
        elif any(box_iou(box, each) > rules.same_box for each in boxes):
            reason = "contradicts a label"
        elif any(mask_iou(candidate.mask, each.mask) > rules.duplicate for each in kept):
            reason = "duplicate"
        else:
            kept.append(candidate)
            continue
        dropped[reason] = dropped.get(reason, 0) + 1
    return kept, dropped


def mask_iou(first: Mask, second: Mask) -> float:
    """Give what two masks share, as a share of what either covers; 0 for two empty ones."""
    shared = int((first & second).sum())
    return shared / max(1, int(first.sum()) + int(second.sum()) - shared)
