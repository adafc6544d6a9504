"""Objects of a volume's slices, followed from slice to slice, as propagation follows them in prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAME_OBJECT_SHARE = 0.5
"""Share of the smaller one of two masks on neighbouring slices that lies under the other, from which they are one."""


class Place(NamedTuple):
    """One object on one slice: the number of the store's entry, and of the object in it."""

    entry: int
    item: int


Track = tuple[Place, ...]
"""An object's places, one a slice, in rising z without gaps."""


def link_tracks(slices: Sequence[tuple[int, int, Sequence[NDArray[np.bool_]]]]) -> dict[Place, Track]:
    """Follow the objects of one volume.

    An object goes on in the one of the next slice that it covers best, if that one is covered best by it too; so a
    branch that splits off starts a track of its own.

    Args:
        slices: (z, entry, masks) of every slice with objects, in rising z; masks (H, W) of one size.

    Returns:
        For every place the track that it is part of.
    """
    open_tracks: dict[Place, list[Place]] = {}
    closed: list[list[Place]] = []
    before: tuple[int, int, Sequence[NDArray[np.bool_]]] | None = None
    for z, entry, masks in slices:
        links: Mapping[int, int] = {}
        if before is not None and before[0] == z - 1:
            links = _links(before[2], masks)
        still_open: dict[Place, list[Place]] = {}
        for item in range(len(masks)):
            place = Place(entry, item)
            track = open_tracks.pop(Place(before[1], links[item]), None) if before and item in links else None
            still_open[place] = [*(track or []), place]
        closed += open_tracks.values()
        open_tracks, before = still_open, (z, entry, masks)
    tracks: list[Track] = [tuple(track) for track in (*closed, *open_tracks.values())]
    return {place: track for track in tracks for place in track}


def _links(before: Sequence[NDArray[np.bool_]], after: Sequence[NDArray[np.bool_]]) -> Mapping[int, int]:
    """Give, for objects of the later slice, the one of the earlier slice that each goes on from."""
    if before[0].shape != after[0].shape:
        return {}
    stacked = [np.stack([mask.ravel() for mask in masks]).astype(np.float32) for masks in (before, after)]
    shared = stacked[0] @ stacked[1].T
    sizes = np.minimum(stacked[0].sum(1)[:, None], stacked[1].sum(1)[None])
    shares = shared / np.maximum(sizes, 1)
    best_before, best_after = shares.argmax(0), shares.argmax(1)
    return {
        item: int(source)
        for item, source in enumerate(best_before)
        if shares[source, item] >= SAME_OBJECT_SHARE and best_after[source] == item
    }
