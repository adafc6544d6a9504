"""The order in which slices are visited: balanced wherever one stops, and the same in every session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest

import numpy as np

from graysam.store import StoreEntry


def balanced_order(entries: Sequence[StoreEntry], *, seed: int) -> list[int]:
    """Give the positions of all entries: modalities take turns, in them data sets, in those groups, in those slices.

    So any first part holds equally many slices of every modality, and within it of every data set, until one has no
    more. Groups and slices are shuffled by the seed.
    """
    tree: dict[str, dict[str, dict[str, list[int]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for number, entry in enumerate(entries):
        tree[entry.modality][entry.dataset][entry.group].append(number)
    rng = np.random.default_rng(seed)

    def shuffled_group(members: Sequence[int]) -> list[int]:
        return [members[place] for place in rng.permutation(len(members))]

    def shuffled_dataset(groups: dict[str, list[int]]) -> list[int]:
        names = sorted(groups)
        return _in_turn([shuffled_group(groups[names[place]]) for place in rng.permutation(len(names))])

    return _in_turn(
        [
            _in_turn([shuffled_dataset(groups) for _, groups in sorted(datasets.items())])
            for _, datasets in sorted(tree.items())
        ]
    )


def _in_turn(queues: Iterable[Sequence[int]]) -> list[int]:
    """Take the first of each queue, then the second of each, and so on; queues that are over are passed over."""
    return [each for turn in zip_longest(*queues) for each in turn if each is not None]
