"""Which slices a batch is made of: balanced over modality, data set, patient and slice, and free of state.

Step n of process r draws from a generator seeded with (seed, r, n). So a resumed run draws what an uninterrupted one
would have drawn, without a sampler state to save.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from graysam.store import StoreEntry


def generator_for(seed: int, rank: int, step: int) -> np.random.Generator:
    """Give the source of every random draw of one step of one process."""
    return np.random.default_rng([seed, rank, step])


class BalancedSampler:
    """Draws entries: modality evenly, data set by the root of its patients, patient evenly, slice evenly."""

    def __init__(self, entries: Sequence[StoreEntry]) -> None:
        tree: dict[str, dict[str, dict[str, list[int]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        for number, entry in enumerate(entries):
            tree[entry.modality][entry.dataset][entry.group].append(number)
        self._modalities = [
            [(dataset, list(groups.values())) for dataset, groups in sorted(tree[modality].items())]
            for modality in sorted(tree)
        ]
        self._dataset_weights = []
        for datasets in self._modalities:
            roots = np.sqrt([len(groups) for _, groups in datasets])
            self._dataset_weights.append(roots / roots.sum())

    def draw(self, rng: np.random.Generator) -> int:
        """Give the number of one entry."""
        modality = int(rng.integers(len(self._modalities)))
        dataset = int(rng.choice(len(self._modalities[modality]), p=self._dataset_weights[modality]))
        groups = self._modalities[modality][dataset][1]
        group = groups[int(rng.integers(len(groups)))]
        return group[int(rng.integers(len(group)))]


def choose_objects(count: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """Choose `wanted` of `count` objects: without repeating any while there are enough."""
    if count >= wanted:
        return [int(each) for each in rng.choice(count, wanted, replace=False)]
    extra = rng.integers(count, size=wanted - count)
    return [*range(count), *(int(each) for each in extra)]
