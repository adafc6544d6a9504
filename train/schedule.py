"""How far a run has come, and the learning rate there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from train.config import OptimiserConfig

FINAL_SHARE = 0.01  # of the peak, where the cosine ends


class Progress:
    """Steps and seconds of a run, counted over all its sessions.

    A run ends after a number of steps or of minutes. Minutes are what a borrowed machine is measured in; steps are what
    makes a run repeatable bit for bit.
    """

    def __init__(
        self, *, steps: int, minutes: float, step: int = 0, seconds: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.step = step
        self._steps, self._seconds_in_all = steps, minutes * 60
        self._seconds_before, self._clock, self._started = seconds, clock, clock()

    @property
    def seconds(self) -> float:
        """Seconds that the run has had, in this session and before it."""
        return self._seconds_before + self._clock() - self._started

    @property
    def share(self) -> float:
        """How much of the run is over, 0 to 1."""
        by_step = self.step / self._steps if self._steps else 0.0
        by_time = self.seconds / self._seconds_in_all if self._seconds_in_all else 0.0
        return min(1.0, max(by_step, by_time))


def learning_rate_share(progress: float, config: OptimiserConfig) -> float:
    """Give the share of the peak learning rate at a share of the run: a linear rise, then the schedule."""
    if progress < config.warmup:
        return max(progress, 1e-4) / config.warmup
    if config.schedule != "cosine":
        return 1.0
    after = (progress - config.warmup) / (1 - config.warmup)
    return FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * after)) / 2
