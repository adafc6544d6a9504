"""Plans the propagation of all objects through a volume: which slice is visited when, and for which objects.

An object is followed from a start, its middle slice or one where a person has clicked, to both ends; between two starts
each slice is reached from the nearer one. All objects together are laid into two sweeps, one upwards and one downwards.
The plan needs no image: `graysam.inference.volumes` carries it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from graysam.boxes import VolumeBox


@dataclass(frozen=True)
class Step:
    """What is due on one slice of one sweep.

    Attributes:
        z: the slice.
        objects: the objects due, in order.
        upwards: the sweep; it also holds the slices where propagation starts.
        last_visit: no later step comes back to this slice.
    """

    z: int
    objects: tuple[int, ...]
    upwards: bool
    last_visit: bool


@dataclass(frozen=True)
class Stretch:
    """The slices that are reached from one start: `first` to `last`, both included."""

    first: int
    start: int
    last: int

    def outwards(self) -> Iterator[tuple[int, int | None]]:
        """Yield (slice, neighbour already segmented): the start first, then up, then down; both ends included."""
        yield self.start, None
        yield from ((z, z - 1) for z in range(self.start + 1, self.last + 1))
        yield from ((z, z + 1) for z in range(self.start - 1, self.first - 1, -1))


def stretches(box: VolumeBox, starts: Sequence[int] = ()) -> list[Stretch]:
    """Share an object's slices among its starts, each to the nearest one, and to the lower of two that are as near.

    starts: on the object's slices; without any, its key slice is the start.
    """
    ordered = sorted(set(starts)) or [box.key_slice]
    between = [(low + high) // 2 for low, high in pairwise(ordered)]
    firsts, lasts = [box.z_min, *(z + 1 for z in between)], [*between, box.z_max]
    return [Stretch(*each) for each in zip(firsts, ordered, lasts, strict=True)]


def plan_sweeps(of_objects: Sequence[Sequence[Stretch]]) -> list[Step]:
    """Lay the propagation of all objects into an upward and a downward sweep, so that each finds its neighbour done."""
    due: dict[bool, dict[int, list[int]]] = {True: defaultdict(list), False: defaultdict(list)}
    for index, parts in enumerate(of_objects):
        for part in parts:
            for z, neighbour in part.outwards():
                due[neighbour is None or neighbour < z][z].append(index)
    up, down = due[True], due[False]
    return [
        *(Step(z, tuple(up[z]), upwards=True, last_visit=z not in down) for z in sorted(up)),
        *(Step(z, tuple(down[z]), upwards=False, last_visit=True) for z in sorted(down, reverse=True)),
    ]
