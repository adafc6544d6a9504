"""What a prompt says beyond its box, as training draws it: clicks that correct a wrong answer, boxes of other objects.

Masks come from a batch; the wrong answers are those of `mistaken_mask`, so that no network has to answer first.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.mask_prompts import clicks_from_answer
from graysam.prompts import Click

MOST_CLICKS = 3
WITHOUT_ANSWER_SHARE = 0.3
"""Of the corrections, those that are clicks alone, as a person sets them before any answer."""


def correcting_clicks(mask: NDArray[np.bool_], answer: NDArray[np.bool_], *, count: int) -> tuple[Click, ...]:
    """Click where a wrong answer (H, W) is most wrong: in the middle of its largest error, then of the next.

    Returns:
        At most `count` clicks; fewer where there are fewer errors, none for a right answer.
    """
    wrong = (mask != answer).astype(np.uint8)
    _, pieces, facts, _ = cv2.connectedComponentsWithStats(wrong, connectivity=4)
    order = 1 + np.argsort(-facts[1:, cv2.CC_STAT_AREA], kind="stable")
    return tuple(_click_in(pieces == piece, mask) for piece in order[:count])


def clicks_inside(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Click, ...]:
    """Click once within an object (H, W) that is not empty, on any of its pixels."""
    rows, columns = np.nonzero(mask)
    place = int(rng.integers(rows.size))
    return (Click(float(columns[place]), float(rows[place]), is_inside=True),)


def _click_in(piece: NDArray[np.bool_], mask: NDArray[np.bool_]) -> Click:
    """Click on the pixel of a piece that is farthest from its border."""
    padded = np.pad(piece.astype(np.uint8), 1)
    depth = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 3))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return Click(float(x), float(y), is_inside=bool(mask[y, x]))


def drawn_correction(
    mask: NDArray[np.bool_], answer: NDArray[np.bool_], rng: np.random.Generator, *, spread: bool = False
) -> tuple[tuple[Click, ...], NDArray[np.bool_] | None]:
    """Draw the clicks on an object, and the wrong answer that they correct; None for clicks before any answer.

    spread: click all over what is right and wrong, see `clicks_from_answer`, and not on the largest errors.
    """
    if rng.random() < WITHOUT_ANSWER_SHARE or not mask.any():
        return (clicks_inside(mask, rng) if mask.any() else ()), None
    if spread:
        return clicks_from_answer(answer, int(rng.integers(1, MOST_CLICKS + 1)), rng, reference=mask), answer
    return correcting_clicks(mask, answer, count=int(rng.integers(1, MOST_CLICKS + 1))), answer


def chosen_others(count: int, own: Sequence[int], rng: np.random.Generator, *, most: int) -> list[int]:
    """Choose at most `most` of a slice's `count` objects that are not among the prompts' own."""
    free = np.setdiff1d(np.arange(count), np.array(own, np.int64))
    return [int(each) for each in rng.permutation(free)[:most]]
