"""Says how far a run has come, by steps or minutes, and which share of the peak learning rate holds there.

The trainer asks before every step, and reports the score of every validation, on which a plateau's rate depends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from train.config import OptimiserConfig

FINAL_SHARE = 0.01  # of the peak, where the cosine ends
# Of the run, the rise of a one-cycle schedule, and the shares of the peak where it starts and ends: the values of
# Smith and Topin 2018 as PyTorch's OneCycleLR has them.
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4 / 25


class Progress:
    """Steps and seconds of a run, counted over all its sessions.

    A run ends after a number of steps or of minutes. Minutes are what a borrowed machine is measured in; steps are
    what makes a run repeatable bit for bit.
    """

    def __init__(
        self,
        *,
        steps: int,
        minutes: float,
        step: int = 0,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.step = step
        self._steps, self._seconds_in_all = steps, minutes * 60
        self._seconds_before, self._clock, self._started = seconds, clock, clock()

    @property
    def seconds(self) -> float:
        """Seconds that the run has trained, in this session and before it."""
        return self._seconds_before + self._clock() - self._started

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Leave what is done inside out of the run's seconds: validating takes one design longer than another."""
        began = self._clock()
        try:
            yield
        finally:
            self._started += self._clock() - began

    @property
    def share(self) -> float:
        """How much of the run is over, 0 to 1."""
        by_step = self.step / self._steps if self._steps else 0.0
        by_time = self.seconds / self._seconds_in_all if self._seconds_in_all else 0.0
        return min(1.0, max(by_step, by_time))


def learning_rate_share(progress: float, config: OptimiserConfig) -> float:
    """Give the share of the peak learning rate at a share of the run: a rise, then the schedule.

    A plateau's own factor comes on top, see `Plateau`.
    """
    if config.schedule == "one-cycle":
        return _one_cycle(progress)
    if progress < config.warmup:
        return max(progress, 1e-4) / config.warmup
    if config.schedule != "cosine":
        return 1.0
    after = (progress - config.warmup) / (1 - config.warmup)
    return _between(1.0, FINAL_SHARE, after)


def _one_cycle(progress: float) -> float:
    if progress < ONE_CYCLE_RISE:
        return _between(ONE_CYCLE_START, 1.0, progress / ONE_CYCLE_RISE)
    return _between(1.0, ONE_CYCLE_END, (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))


def _between(start: float, stop: float, share: float) -> float:
    """Go from start to stop along half a cosine."""
    return stop + (start - stop) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class Plateau:
    """The paper's ReduceLROnPlateau: a factor on the learning rate that falls when validation stops rising.

    Attributes:
        share: the factor, 1 at the start.
        best: highest score so far.
        waited: validations since then, or since the last fall.
    """

    share: float = 1.0
    best: float = -math.inf
    waited: int = 0

    def after(self, score: float, config: OptimiserConfig) -> Plateau:
        """Give the state after a validation."""
        if config.schedule != "plateau":
            return self
        if score > self.best:
            return Plateau(self.share, score, 0)
        if self.waited >= config.plateau_patience:
            return Plateau(self.share * config.plateau_factor, self.best, 0)
        return Plateau(self.share, self.best, self.waited + 1)
