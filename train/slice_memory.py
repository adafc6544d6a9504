"""Holds a split of a packed store in memory: slices decoded, objects as run lengths, and how they hang together.

`train.dataset` draws slices, objects and what propagation would know of them; `train.distill` draws slices alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graysam.image.preprocessing import slice_at
from graysam.machine import usable_cores
from graysam.models.spec import ModelSpec
from graysam.store import PackedStore, StoreEntry, decode_runs
from train.pseudo.shards import Found, name_of
from train.tracks import Place, Track, link_tracks

TWO_SLICES_SHARE = 0.2
"""How often propagation is drawn with a step of two slices, as volumes of half the slices would have it."""


@dataclass(frozen=True)
class Propagated:
    """What propagation knows of an object of a volume: how it was a slice or two before.

    Attributes:
        image: the slice before, (H, W) or (H, W, 3) uint8.
        mask: (H, W), the object there.
        middle: (H, W), the object on its middle slice, where propagation began.
        place: the slice to segment, counted from the object's first.
        length: slices that the object spans.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    middle: NDArray[np.bool_]
    place: int
    length: int


class SliceMemory:
    """The slices of one split, decoded once and kept as uint8; masks stay run lengths until they are drawn.

    Background loaders share this memory with the process that filled it.
    """

    def __init__(
        self,
        store: PackedStore,
        split: str,
        *,
        found: Found | None = None,
    ) -> None:
        """Read a split.

        Args:
            store: the packed store.
            split: the split.
            found: what a teacher found on some slices; of slices of other splits nothing is taken.
        """
        self.entries: list[StoreEntry] = [entry for entry in store.entries if entry.split == split]
        # OpenCV decodes without holding the interpreter, so threads use all cores.
        with ThreadPoolExecutor(usable_cores()) as pool:
            self._images = list(pool.map(store.image, self.entries))
        self._runs = [store.object_runs(entry) for entry in self.entries]
        found = found or Found()
        self._pseudo_runs = [found.objects.get(name_of(entry), ()) for entry in self.entries]
        self._soft = [found.soft.get(name_of(entry), {}) for entry in self.entries]
        self._slices_of: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, entry in sorted(enumerate(self.entries), key=lambda each: each[1].z):
            if entry.z >= 0:
                self._slices_of[entry.dataset, entry.case].append(number)
        self._volumes = {
            volume: {self.entries[number].z: self._images[number] for number in numbers}
            for volume, numbers in self._slices_of.items()
        }
        self._tracks: dict[tuple[str, str], dict[Place, Track]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, number: int) -> NDArray[np.uint8]:
        """Give (H, W) or (H, W, 3) uint8."""
        return self._images[number]

    def slice_for(self, spec: ModelSpec, number: int) -> NDArray[np.uint8]:
        """Give a slice as a model is shown it: cut out of its volume by `slice_at`, or the image alone.

        A store has no slices without objects: where it lacks the neighbouring slice that a model is to see, the slice
        itself stands in, as at either end of a volume.
        """
        entry = self.entries[number]
        if entry.z < 0:
            return self._images[number]
        return slice_at(self._volumes[entry.dataset, entry.case], entry.z, spec)

    def object_count(self, number: int) -> int:
        """Give how many objects the slice has, at least 1."""
        return len(self._runs[number])

    def masks(self, number: int, objects: Sequence[int]) -> list[NDArray[np.bool_]]:
        """Give the (H, W) masks of some objects of a slice."""
        size_hw = self.entries[number].size_hw
        return [decode_runs(self._runs[number][each], size_hw) for each in objects]

    def pseudo_mask(self, number: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
        """Give the (H, W) mask of a random pseudo-object of a slice, None where it has none."""
        runs = self._pseudo_runs[number]
        return decode_runs(runs[int(rng.integers(len(runs)))], self.entries[number].size_hw) if runs else None

    def soft_map(self, number: int, item: int) -> NDArray[np.uint8] | None:
        """Give a teacher's probabilities for a labelled object, (H, W), 255 for certainty; None where unknown."""
        target = self._soft[number].get(item)
        return target.map(self.entries[number].size_hw) if target is not None else None

    def track(self, number: int, item: int) -> Track:
        """Follow an object through its volume; an object of an image is a track of one place."""
        entry = self.entries[number]
        if entry.z < 0:
            return (Place(number, item),)
        volume = entry.dataset, entry.case
        if volume not in self._tracks:
            slices = [
                (self.entries[each].z, each, self.masks(each, range(self.object_count(each))))
                for each in self._slices_of[volume]
            ]
            self._tracks[volume] = link_tracks(slices)
        return self._tracks[volume][Place(number, item)]

    def propagated(self, number: int, item: int, spec: ModelSpec, rng: np.random.Generator) -> Propagated | None:
        """Draw what propagation from its middle slice knows of an object; None on that slice itself, and for images."""
        track = self.track(number, item)
        place, middle = track.index(Place(number, item)), (len(track) - 1) // 2
        step = min(2 if rng.random() < TWO_SLICES_SHARE else 1, abs(place - middle))
        if not step:
            return None
        before, start = track[place - step if place > middle else place + step], track[middle]
        mask, middle_mask = self.masks(before.entry, [before.item])[0], self.masks(start.entry, [start.item])[0]
        return Propagated(self.slice_for(spec, before.entry), mask, middle_mask, place, len(track))
