"""An engine without weights whose answers can be worked out by hand: what is bright in the view is the object."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from tiny_spec import TINY

from graysam.models.spec import ModelSpec

PLAIN_TINY = replace(TINY, channels="plain")


@dataclass
class BrightEngine:
    """Calls an object what is brighter than half of the slice's range, within the enlarged box.

    Its embedding is the canvas, shrunk, so that a test sees whether the right one was given. Calls are counted.
    """

    spec: ModelSpec = PLAIN_TINY
    name: str = "torch"
    precision: str = "fp32"
    threads: int = 1
    encoded: list[float] = field(default_factory=list)
    decoded: list[int] = field(default_factory=list)
    boxes_at_once: int | None = None
    lanes: int = 1
    begun: list[bool] = field(default_factory=list)

    def begin(self, *, many):
        self.begun.append(many)
        return self.lanes if many else 1

    def encode(self, canvas):
        self.encoded.append(float(canvas.mean()))
        return np.ascontiguousarray(canvas[:, ::8, ::8])

    def decode(self, embedding, inputs):
        detail = inputs["detail"]
        self.decoded.append(len(detail))
        return detail[:, 0] - np.float32(0.5), np.ones(len(detail), np.float32)
