"""Draws which slice of the training split each image of a run is, from the seed and the image's number alone.

The images of a run are numbered: image i of process r in batch n is number (n * processes + r) * images_per_batch + i.
Everything drawn for an image comes from a generator seeded with (seed, number). So a resumed run draws what an
uninterrupted one would have drawn, and two processes draw together what one process with twice the batch would have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graysam.store import StoreEntry
from train.config import DataConfig

EPOCH_STREAM = 1 << 40  # keeps the generators of epochs apart from those of images


def generator_for(seed: int, number: int) -> np.random.Generator:
    """Give the source of every random draw for one image of a run."""
    return np.random.default_rng([seed, number])


class Sampler(Protocol):
    """Chooses the entry of an image."""

    def draw(self, number: int, rng: np.random.Generator) -> int:
        """Give the position of an entry for image `number`, drawn from that image's own generator."""
        ...


def build_sampler(entries: Sequence[StoreEntry], config: DataConfig, *, seed: int) -> Sampler:
    """Give the sampler that a config wants."""
    if config.sampling == "paper":
        return EpochSampler(entries, images_per_stratum=config.epoch_images, seed=seed)
    return BalancedSampler(entries, config.modality_weights, volumes=config.volumes)


class BalancedSampler:
    """Draws modality evenly or by given weights, data set by the root of its patients, patient evenly, slice evenly."""

    def __init__(
        self,
        entries: Sequence[StoreEntry],
        modality_weights: Mapping[str, float] | None = None,
        *,
        volumes: float = 1.0,
    ) -> None:
        tree: dict[str, dict[str, dict[str, list[int]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        of_volumes = {entry.dataset for entry in entries if entry.z >= 0}
        for number, entry in enumerate(entries):
            tree[entry.modality][entry.dataset][entry.group].append(number)
        self._modalities = [
            [(dataset, list(groups.values())) for dataset, groups in sorted(tree[modality].items())]
            for modality in sorted(tree)
        ]
        shares = np.array([(modality_weights or {}).get(modality, 1.0) for modality in sorted(tree)])
        self._modality_shares = shares / shares.sum()
        self._dataset_weights = []
        for datasets in self._modalities:
            roots = np.sqrt([len(groups) for _, groups in datasets])
            roots = roots * [volumes if dataset in of_volumes else 1.0 for dataset, _ in datasets]
            self._dataset_weights.append(roots / roots.sum())

    def draw(self, number: int, rng: np.random.Generator) -> int:
        """Give the position of one entry; the number does not matter."""
        modality = int(rng.choice(len(self._modalities), p=self._modality_shares))
        dataset = int(rng.choice(len(self._modalities[modality]), p=self._dataset_weights[modality]))
        groups = self._modalities[modality][dataset][1]
        group = groups[int(rng.integers(len(groups)))]
        return group[int(rng.integers(len(group)))]


class EpochSampler:
    """The paper's epochs: a fixed number of images of each modality and of each 3D sub-modality, shuffled.

    A stratum is a modality's images, or one data set of volumes. No image of a stratum comes twice in an epoch before
    all have come once; the next epoch draws anew.
    """

    def __init__(self, entries: Sequence[StoreEntry], *, images_per_stratum: int, seed: int) -> None:
        strata: dict[str, list[int]] = defaultdict(list)
        for number, entry in enumerate(entries):
            strata[stratum_of(entry)].append(number)
        self._strata = [np.array(strata[name]) for name in sorted(strata)]
        self._images_per_stratum, self._seed = images_per_stratum, seed
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    @property
    def images_per_epoch(self) -> int:
        """Count the images of one epoch."""
        return self._images_per_stratum * len(self._strata)

    def draw(self, number: int, rng: np.random.Generator) -> int:
        """Give the position of the entry that stands at `number` in the sequence of all epochs."""
        epoch, place = divmod(number, self.images_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        return int(self._order[place])

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        rng = generator_for(self._seed, EPOCH_STREAM + epoch)
        drawn = []
        for members in self._strata:
            rounds = -(-self._images_per_stratum // len(members))
            repeated = np.concatenate([rng.permutation(members) for _ in range(rounds)])
            drawn.append(repeated[: self._images_per_stratum])
        return rng.permutation(np.concatenate(drawn))


def stratum_of(entry: StoreEntry) -> str:
    """Give the name of an entry's stratum: its modality, or, for a slice of a volume, its data set."""
    return entry.modality if entry.z < 0 else entry.dataset


def choose_objects(count: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """Choose `wanted` of `count` objects: without repeating any while there are enough."""
    if count >= wanted:
        return [int(each) for each in rng.choice(count, wanted, replace=False)]
    extra = rng.integers(count, size=wanted - count)
    return [*range(count), *(int(each) for each in extra)]
