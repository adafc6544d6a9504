"""What a prompt says beyond its box, as maps under a view: owns the order of these maps. Free of torch.

A decoder with `spec.hints` is shown them; where a prompt says nothing, a map is all zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import ellipsoid_share
from graysam.image.geometry import BoxView
from graysam.prompts import BoxFit, Click, Prompt

HINT_MAPS: Final = ("smaller", "larger", "inside", "outside", "previous", "place", "fit")
"""Boxes of smaller and larger objects, clicks inside and outside, a previous mask, place in a volume, the box's fit."""
FIT_LEVELS: Final[dict[BoxFit, float]] = {"unknown": 0.0, "tight": 1.0, "loose": -1.0}
CLICK_RADIUS_SHARE: Final = 0.04
"""Radius of a click's disc, as a share of the view's side: five of 128 cells."""


def draw_hints(view: BoxView, prompt: Prompt) -> NDArray[np.float32]:
    """Draw the maps of `HINT_MAPS` for one prompt on a grid of half the view's side: (7, G / 2, G / 2).

    The first two hold, for other boxes, the height of a dome over the ellipse in each: 1 in its middle, 0 on its edge
    and outside; where several meet, the higher. Clicks are discs of 1. The previous mask is 1 in the object and -1
    outside. The place is 0 on the object's middle slice and falls to -1 beyond its ends, by the ellipsoid's size there.
    The fit is 1 for a tight box, -1 for a loose one, and 0 where nobody said.
    """
    side = view.grid // 2
    maps = np.zeros((len(HINT_MAPS), side, side), np.float32)
    is_smaller, others = _others_in_view(view, prompt)
    maps[0], maps[1] = _domes(view, others[is_smaller], side), _domes(view, others[~is_smaller], side)
    for number, is_inside in ((2, True), (3, False)):
        maps[number] = _discs(view, [click for click in prompt.clicks if click.is_inside == is_inside], side)
    if prompt.previous is not None:
        found = view.sample(prompt.previous) * 2 - 1
        maps[4] = found.reshape(side, 2, side, 2).mean(axis=(1, 3))
    maps[5] = ellipsoid_share(prompt.place) - 1
    maps[6] = FIT_LEVELS[prompt.fit]
    return maps


def _others_in_view(view: BoxView, prompt: Prompt) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Give other boxes (K, 4) that reach into the view, and which of them (K,) are smaller than the prompt's own."""
    others = prompt.others
    meets = (others[:, 2] >= view.x_start) & (others[:, 0] <= view.x_stop)
    meets &= (others[:, 3] >= view.y_start) & (others[:, 1] <= view.y_stop)
    meets &= (others != np.array(prompt.box.numbers)).any(axis=1)
    others = others[meets]
    areas = (others[:, 2] - others[:, 0] + 1) * (others[:, 3] - others[:, 1] + 1)
    return areas < prompt.box.width * prompt.box.height, others


def _domes(view: BoxView, boxes: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """Draw (side, side): the highest of the domes over the ellipses in boxes (K, 4); 0 where there is none."""
    domes = np.zeros((side, side), np.float32)
    height_px, width_px = view.window_hw
    places = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = view.x_start + places * width_px, view.y_start + places * height_px  # counted from pixel edges
    for x_min, y_min, x_max, y_max in boxes:
        across = ((x - (x_min + x_max + 1) / 2) / ((x_max - x_min + 1) / 2)) ** 2
        down = ((y - (y_min + y_max + 1) / 2) / ((y_max - y_min + 1) / 2)) ** 2
        np.maximum(domes, 1 - across[None, :] - down[:, None], out=domes)
    return domes


def _discs(view: BoxView, clicks: Sequence[Click], side: int) -> NDArray[np.float32]:
    """Draw (side, side): 1 within the radius of a click, in cells, and in the cell that holds it."""
    discs = np.zeros((side, side), np.float32)
    height_px, width_px = view.window_hw
    cells = np.arange(side, dtype=np.float32)
    for click in clicks:
        x = (click.x + 0.5 - view.x_start) / width_px * side - 0.5
        y = (click.y + 0.5 - view.y_start) / height_px * side - 0.5
        distance = (cells[None, :] - x) ** 2 + (cells[:, None] - y) ** 2
        discs[distance <= max(CLICK_RADIUS_SHARE * side, 0.75) ** 2] = 1
    return discs
