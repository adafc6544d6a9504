"""Chooses among the sources: those of a split or of some data sets, or a small share that still shows every kind."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from fnmatch import fnmatch

import numpy as np

from data_prep.sources import Source


def select(
    sources: Sequence[Source],
    *,
    split: str = "",
    limit: int | None = None,
    seed: int = 0,
    datasets: str = "*",
) -> list[Source]:
    """Choose sources of a split, of data sets whose name fits a pattern, and at most `limit` of a kind.

    A kind is a modality and dimension; its share is drawn at random, in turn from each of its data sets, so
    that a small share still shows many of them. The result keeps the order of `sources`.
    """
    chosen = [
        source for source in sources if (not split or source.split == split) and fnmatch(source.dataset, datasets)
    ]
    if limit is None:
        return chosen
    kept: set[str] = set()
    kinds: dict[tuple[str, bool], list[Source]] = defaultdict(list)
    for source in chosen:
        kinds[source.modality, source.is_volume].append(source)
    for kind in sorted(kinds):
        random = np.random.default_rng([seed, zlib.crc32(repr(kind).encode())])
        kept.update(source.name for source in _in_turn(kinds[kind], random)[:limit])
    return [source for source in chosen if source.name in kept]


def _in_turn(sources: Sequence[Source], random: np.random.Generator) -> list[Source]:
    """Give the sources so that data sets take turns, both in random order."""
    ranks: dict[str, int] = defaultdict(int)
    placed: list[tuple[int, int, Source]] = []
    for place in random.permutation(len(sources)):
        source = sources[int(place)]
        placed.append((ranks[source.dataset], len(placed), source))
        ranks[source.dataset] += 1
    return [source for _, _, source in sorted(placed, key=lambda item: item[:2])]
