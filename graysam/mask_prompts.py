"""Prompts made of a mask: a rough one that somebody has, or a model's own first answer; numpy only.

A mask says more than its box. Any decoder takes the box; one with `hints` in its spec is also shown the mask as an
earlier answer, and clicks. The clicks are spread evenly over a region by a centroidal Voronoi tessellation, as in
ClickSAM (Guo et al. 2024), which takes further clicks from its first answer so.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, box_around
from graysam.prompts import Click, Prompt

LLOYD_ROUNDS: Final = 8
"""Each round brings every point to the centre of the pixels nearest to it (Lloyd 1982); then they hardly move."""
MOST_PIXELS: Final = 4096
"""Larger regions are thinned to about so many pixels first: where a click lies to a pixel does not matter."""


def spread_clicks(
    region: NDArray[np.bool_], count: int, rng: np.random.Generator, *, is_inside: bool
) -> tuple[Click, ...]:
    """Spread clicks evenly over a region: near the centres of its Voronoi cells, each on a pixel of the region.

    Args:
        region: (H, W), where the clicks may lie; of any number of parts.
        count: how many; fewer where the region has fewer pixels, none for an empty one.
        rng: source of the first places; the same generator gives the same clicks.
        is_inside: what the clicks say of their pixels.
    """
    rows, columns = np.nonzero(region)
    pixels = np.stack([columns, rows], axis=1).astype(np.float64)
    pixels = pixels[:: max(1, len(pixels) // MOST_PIXELS)]
    count = min(count, len(pixels))
    if not count:
        return ()
    points = pixels[rng.choice(len(pixels), count, replace=False)]
    for _ in range(LLOYD_ROUNDS):
        owner = _distances(pixels, points).argmin(axis=1)
        points = np.stack(
            [pixels[owner == each].mean(axis=0) if (owner == each).any() else points[each] for each in range(count)]
        )
    # The centre of a cell may lie beside the region, as in a ring: the nearest pixel of the region then.
    nearest = pixels[_distances(pixels, points).argmin(axis=0)]
    return tuple(Click(float(x), float(y), is_inside) for x, y in nearest)


def clicks_from_answer(
    answer: NDArray[np.bool_], count: int, rng: np.random.Generator, *, reference: NDArray[np.bool_] | None = None
) -> tuple[Click, ...]:
    """Give further clicks from a first answer (H, W).

    Without a reference, as in prediction, the answer itself is taken to be right in the main: `count` clicks lie in it.
    With one, as in training, they lie where both agree, where the object was missed, and, from outside, where the
    answer goes too far: `count` in each of the three.
    """
    if reference is None:
        return spread_clicks(answer, count, rng, is_inside=True)
    found = spread_clicks(answer & reference, count, rng, is_inside=True)
    missed = spread_clicks(reference & ~answer, count, rng, is_inside=True)
    return (*found, *missed, *spread_clicks(answer & ~reference, count, rng, is_inside=False))


def prompt_from_mask(
    mask: NDArray[np.bool_], *, margin_px: float = 0.0, clicks: tuple[Click, ...] = ()
) -> Prompt | None:
    """Make a prompt of a rough mask (H, W): its box, `margin_px` larger on each side, and the mask as earlier answer.

    None for an empty mask.
    """
    box = box_around(mask)
    if box is None:
        return None
    size_hw = (mask.shape[0], mask.shape[1])
    sides = [box.x_min - margin_px, box.y_min - margin_px, box.x_max + margin_px, box.y_max + margin_px]
    return Prompt(Box(*sides).within(size_hw), clicks=clicks, previous=mask)


def _distances(pixels: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the squared distance of every pixel (P, 2) to every point (K, 2): (P, K)."""
    apart = pixels[:, None] - points[None]
    squares: NDArray[np.float64] = (apart * apart).sum(axis=2)
    return squares
