"""Reads training slices one at a time from a store, as a model is shown them, without decoding the others."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from graysam.image.preprocessing import slice_at
from graysam.models.spec import ModelSpec
from graysam.store import PackedStore, StoredVolume, StoreEntry
from train.pseudo.shards import SPLIT


class TrainingSlices:
    """The slices of the training split, by their position in it; no other split can be reached.

    Attributes:
        entries: of the split, in the order of the store.
    """

    def __init__(self, store: PackedStore) -> None:
        self.entries: list[StoreEntry] = [entry for entry in store.entries if entry.split == SPLIT]
        self._store = store
        self._volumes: dict[tuple[str, str], dict[int, StoreEntry]] = defaultdict(dict)
        for entry in self.entries:
            if entry.z >= 0:
                self._volumes[entry.dataset, entry.case][entry.z] = entry

    def image(self, number: int) -> NDArray[np.uint8]:
        """Give a slice alone, (H, W) or (H, W, 3)."""
        return self._store.image(self.entries[number])

    def slice_for(self, spec: ModelSpec, number: int) -> NDArray[np.uint8]:
        """Give a slice as a model is shown it, cut out of its volume by `slice_at`."""
        entry = self.entries[number]
        if entry.z < 0:
            return self.image(number)
        return slice_at(StoredVolume(self._store, self._volumes[entry.dataset, entry.case]), entry.z, spec)

    def masks(self, number: int) -> list[NDArray[np.bool_]]:
        """Give the (H, W) masks of a slice's labelled objects."""
        return self._store.masks(self.entries[number])
