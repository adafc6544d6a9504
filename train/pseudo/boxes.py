"""Proposes the boxes that a teacher is prompted with: where something may stand out that nobody labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, box_around
from graysam.noisy_boxes import REFERENCE_SIDE_PX
from train.synthetic import superpixel_regions

SOURCES: Final = ("superpixel", "blob", "neighbour", "random")
SHARES: Final[dict[str, float]] = {"superpixel": 0.35, "blob": 0.3, "neighbour": 0.2, "random": 0.15}
"""How many of a slice's boxes come from each source; without labelled objects the others share."""

SPACINGS_PX: Final = (22, 40, 72)
"""Mean distance of the superpixels' markers, at each scale, on a slice of 256 pixels."""

BLOB_SHARES: Final = (0.001, 0.4)
"""Least and largest area of a blob, as a share of the slice."""

RANDOM_SHARES: Final = (0.06, 0.6)
"""Least and largest side of a random box, as a share of the slice's longer side."""

SMALLEST_SIDE_PX: Final = 8
"""On a slice of 256 pixels."""

SMALLEST_CONTRAST: Final = 0.03
"""Standard deviation in a box, as a share of the slice's range, below which nothing can stand out there."""

ALIKE: Final = 0.8
"""IoU from which two boxes ask for the same."""

TRIES_A_BOX: Final = 4


class Candidate(NamedTuple):
    """A box to prompt with, and where it comes from: a name of `SOURCES`."""

    source: str
    box: Box


def candidate_boxes(
    image: NDArray[np.uint8], labelled: Sequence[Box], count: int, rng: np.random.Generator
) -> list[Candidate]:
    """Propose at most `count` boxes that ask for different things, and for none of the labelled objects.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        labelled: the boxes of the slice's labelled objects.
        count: of boxes.
        rng: source of all draws.
    """
    gray = image if image.ndim == 2 else image.mean(axis=2).astype(np.uint8)
    shares = {source: share for source, share in SHARES.items() if labelled or source != "neighbour"}
    wanted = count / sum(shares.values())
    chosen: list[Candidate] = []
    quota = 0.0
    for source, share in shares.items():
        quota += wanted * share
        tries = TRIES_A_BOX * count
        for box in _proposed(source, image, gray, labelled, tries, rng):
            if len(chosen) >= round(quota):
                break
            clipped = box.within((gray.shape[0], gray.shape[1]))
            taken = [*labelled, *(each.box for each in chosen)]
            if _is_worth_asking(clipped, gray) and not any(box_iou(clipped, each) > ALIKE for each in taken):
                chosen.append(Candidate(source, clipped))
    return chosen


def _proposed(
    source: str,
    image: NDArray[np.uint8],
    gray: NDArray[np.uint8],
    labelled: Sequence[Box],
    tries: int,
    rng: np.random.Generator,
) -> list[Box]:
    if source == "superpixel":
        return _superpixel_boxes(image, tries, rng)
    if source == "blob":
        return _blob_boxes(gray, tries, rng)
    if source == "neighbour":
        return [_neighbour_box(labelled[int(rng.integers(len(labelled)))], rng) for _ in range(tries)]
    return [_random_box(gray, rng) for _ in range(tries)]


def _superpixel_boxes(image: NDArray[np.uint8], tries: int, rng: np.random.Generator) -> list[Box]:
    """Give boxes of superpixels of every scale, the scales in turn."""
    queues = []
    for spacing in SPACINGS_PX:
        regions, count = superpixel_regions(image, spacing, rng)
        scale = image.shape[0] / regions.shape[0], image.shape[1] / regions.shape[1]
        numbers = 1 + rng.permutation(count)[: -(-tries // len(SPACINGS_PX))]
        found = [box_around(regions == number) for number in numbers]
        queues.append([_scaled(box, *scale) for box in found if box is not None])
    longest = max(len(queue) for queue in queues)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


def _blob_boxes(gray: NDArray[np.uint8], tries: int, rng: np.random.Generator) -> list[Box]:
    """Give boxes of connected parts above or below random levels of the smoothed slice."""
    smooth = cv2.GaussianBlur(gray, (0, 0), max(gray.shape) / REFERENCE_SIDE_PX * float(rng.uniform(0.7, 2.5)))
    boxes: list[Box] = []
    for _ in range(4):
        level = np.quantile(smooth, rng.uniform(0.1, 0.95))
        part = smooth > level if rng.random() < 0.7 else smooth <= level
        _, _, stats, _ = cv2.connectedComponentsWithStats(part.astype(np.uint8), connectivity=4)
        areas = stats[1:, cv2.CC_STAT_AREA] / gray.size
        sane = 1 + np.flatnonzero((areas > BLOB_SHARES[0]) & (areas < BLOB_SHARES[1]))
        for number in rng.permutation(sane)[: -(-tries // 4)]:
            x, y, width, height = (float(value) for value in stats[number, :4])
            boxes.append(Box(x, y, x + width - 1, y + height - 1))
    return [boxes[place] for place in rng.permutation(len(boxes))]


def _neighbour_box(box: Box, rng: np.random.Generator) -> Box:
    """Give a box beside a labelled object's, round it with its surroundings, or round a part of it."""
    kind, (x, y) = rng.random(), box.centre
    if kind < 0.5:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.3)
        centre = x + distance * box.width * np.cos(angle), y + distance * box.height * np.sin(angle)
        width, height = rng.uniform(0.6, 1.6, 2)
    elif kind < 0.8:
        centre = x + rng.uniform(-0.3, 0.3) * box.width, y + rng.uniform(-0.3, 0.3) * box.height
        width, height = rng.uniform(1.4, 2.5, 2)
    else:
        centre = x + rng.uniform(-0.3, 0.3) * box.width, y + rng.uniform(-0.3, 0.3) * box.height
        width, height = rng.uniform(0.3, 0.7, 2)
    return Box.about((float(centre[0]), float(centre[1])), width=width * box.width, height=height * box.height)


def _random_box(gray: NDArray[np.uint8], rng: np.random.Generator) -> Box:
    side = max(gray.shape) * np.exp(rng.uniform(*np.log(RANDOM_SHARES)))
    stretch = np.exp(rng.normal(0, 0.35))
    centre = float(rng.uniform(0, gray.shape[1])), float(rng.uniform(0, gray.shape[0]))
    return Box.about(centre, width=float(side * stretch), height=float(side / stretch))


def _is_worth_asking(box: Box, gray: NDArray[np.uint8]) -> bool:
    smallest = SMALLEST_SIDE_PX * max(gray.shape) / REFERENCE_SIDE_PX
    if min(box.width, box.height) < smallest:
        return False
    content = gray[int(box.y_min) : int(box.y_max) + 1, int(box.x_min) : int(box.x_max) + 1]
    spread = float(content.std())
    return spread >= SMALLEST_CONTRAST * (float(gray.max()) - float(gray.min())) and spread > 0


def _scaled(box: Box, scale_y: float, scale_x: float) -> Box:
    return Box(box.x_min * scale_x, box.y_min * scale_y, (box.x_max + 1) * scale_x - 1, (box.y_max + 1) * scale_y - 1)


def box_iou(first: Box, second: Box) -> float:
    """Give the area that two boxes share, as a share of the area that either covers."""
    width = min(first.x_max, second.x_max) - max(first.x_min, second.x_min) + 1
    height = min(first.y_max, second.y_max) - max(first.y_min, second.y_min) + 1
    shared = max(0.0, width) * max(0.0, height)
    return shared / (first.width * first.height + second.width * second.height - shared)
