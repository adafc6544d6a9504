"""A toy frame: the canvas in 16 x 16 cells; prediction imports it, so it imports no torch."""

from dataclasses import dataclass

import numpy as np

from graysam.image.geometry import resample
from graysam.models.frames import PromptFrame

CELLS = 16


@dataclass(frozen=True)
class ToyFrame(PromptFrame):
    prepared: object
    prompts: tuple

    @classmethod
    def of(cls, prepared, prompts, spec):
        return cls(prepared, tuple(prompts))

    def inputs(self):
        """Give inside: (N, 1, 16, 16), the share of each cell that the box covers."""
        size_hw = self.prepared.fit.size_hw
        filled = []
        for prompt in self.prompts:
            mask = np.zeros(size_hw, bool)
            rows = slice(int(prompt.box.y_min), int(prompt.box.y_max) + 1)
            mask[rows, int(prompt.box.x_min) : int(prompt.box.x_max) + 1] = True
            filled.append(mask)
        return {"inside": self.targets(filled, side=CELLS)[:, None]}

    def to_original(self, index, logits):
        height, width = self.prepared.fit.size_hw
        return (slice(0, height), slice(0, width)), self.prepared.fit.to_original(logits)

    def targets(self, masks, *, side):
        fit = self.prepared.fit
        padded = [fit.pad(fit.to_content(mask.astype(np.float32))) for mask in masks]
        return np.stack([resample(mask, (side, side)) for mask in padded])
