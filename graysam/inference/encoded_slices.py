"""Prepares and encodes the slices of a volume, each once where memory allows, the next ones ahead of time.

A slice that both sweeps need, because one object climbs past the slice where another descends, is encoded in the first
sweep, and its embedding is kept for the second. So each slice is encoded once, whatever the number of objects. What is
kept is bounded (`KEPT_BYTES`); a slice beyond the bound is encoded a second time. Each is needed just once more, so
nothing is gained by exchanging kept ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from graysam.engines.protocol import Engine, FloatArray
from graysam.image.preprocessing import PreparedSlice, prepare_slice, slice_at
from graysam.inference.lanes import Lanes
from graysam.inference.sweeps import Step

# 384 MB: 1,500 slices of the default model (0.25 MB each), about 90 of SAM's (4.2 MB each).
KEPT_BYTES: Final = 384 * 1024**2

AHEAD: Final = 2
"""Slices that are encoded while others are decoded: with one only, its encoding and the decoding wait in turn."""


class EncodedSlices:
    """Prepared slices with their embeddings, each encoded once as long as the bound allows."""

    def __init__(self, engine: Engine, volume: NDArray[np.generic], kept_bytes: int, lanes: Lanes) -> None:
        self._engine = engine
        self._volume = volume
        self._room = kept_bytes
        self._lanes = lanes
        self._kept: dict[int, tuple[PreparedSlice, FloatArray]] = {}
        self._recent: dict[int, NDArray[np.generic]] = {}

    def encoded(self, steps: Sequence[Step]) -> Iterator[tuple[Step, PreparedSlice, FloatArray]]:
        """Give each step with its slice ready for decoding; the slices of the next steps are started before."""
        started: deque[tuple[Step, Callable[[], tuple[PreparedSlice, FloatArray]]]] = deque()
        for step in steps:
            started.append((step, self._start(step)))
            if len(started) > AHEAD:
                yield self._taken(*started.popleft())
        while started:
            yield self._taken(*started.popleft())

    def _start(self, step: Step) -> Callable[[], tuple[PreparedSlice, FloatArray]]:
        """Start encoding the slice of a step, unless it is kept; give what waits for the result."""

        def encode() -> tuple[PreparedSlice, FloatArray]:
            prepared = prepare_slice(slice_at(self._volume, step.z, self._engine.spec), self._engine.spec)
            return prepared, self._engine.encode(prepared.canvas)

        return encode if step.z in self._kept else self._lanes.submit(encode)

    def _taken(
        self, step: Step, encoded: Callable[[], tuple[PreparedSlice, FloatArray]]
    ) -> tuple[Step, PreparedSlice, FloatArray]:
        """Wait for the slice of a step, and keep its embedding if a later step comes back to it."""
        if step.z in self._kept:
            prepared, embedding = self._kept.pop(step.z)
            self._room += embedding.nbytes
            return step, replace(prepared, image=self.image(step.z)), embedding
        prepared, embedding = encoded()
        self._remember(step.z, prepared.image)
        if not step.last_visit and embedding.nbytes <= self._room:
            # Pixels are cut out of the volume again when needed; a canvas is not needed again.
            nothing = np.empty(0, np.float32)
            self._kept[step.z] = replace(prepared, canvas=nothing, image=nothing), embedding
            self._room -= embedding.nbytes
        return step, prepared, embedding

    def image(self, z: int) -> NDArray[np.generic]:
        """Give slice z as `prepare_slice` keeps it: (H, W), or with its neighbours as (H, W, 3).

        A step asks for its slice and, once for each object, for the one before: the last three cut are kept, since the
        first steps of the downward sweep also go back to the middle slices.
        """
        if z not in self._recent:
            self._remember(z, slice_at(self._volume, z, self._engine.spec))
        return self._recent[z]

    def _remember(self, z: int, image: NDArray[np.generic]) -> None:
        for oldest in list(self._recent)[:-2]:
            del self._recent[oldest]
        self._recent[z] = image
