"""Trains one model on some of the cases: the trainer of this project, with fewer files and an early end.

The plan comes from `train.adapt.folds`, the numbers from `train.adapt.recipe`; plain weights go back.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from graysam.models.network import Network
from graysam.store import PackedStore
from train.adapt.folds import Fold, in_split
from train.adapt.keeping import Keeper
from train.adapt.recipe import KEEPING_WEIGHT, kept_data
from train.config import RunConfig
from train.dataset import BatchSource
from train.initial import read_weights
from train.run_folder import write_atomically
from train.trainer import Terms, Trainer

PATIENCE_SHARE = 0.4
"""Of a training: without a better answer to the watched cases for so long, it ends."""
STAND_INS = 4
RESULT = "weights.pt"

Tell = Callable[[float, str], None]
"""Told how much of a training is over, and a few words."""


class Interrupted(KeyboardInterrupt):
    """Somebody asked to stop; what was done is saved."""


class CaseTrainer(Trainer):
    """Keeps what the model knew, draws no pictures and, where no cases are watched, validates nothing."""

    compared_every = 1  # there are few prompts, and a third of them would choose by chance

    def __init__(self, config: RunConfig, store: PackedStore, folder: Path, old: Network, *, watches: bool) -> None:
        """Start from the old network, which is left as it is, and whose answers to what nobody labelled are kept."""
        super().__init__(config, store, folder, torch.device("cpu"), initial=old.state_dict())
        kept = BatchSource(self.source.memory, old.spec, kept_data(config.data), seed=config.seed)
        self._keeper = Keeper(old, kept, weight=KEEPING_WEIGHT)
        self.watches = watches

    def gradients(self) -> dict[str, Tensor]:
        """Leave the next step's gradient in the model, that of keeping too; give the loss's parts."""
        parts = super().gradients()
        with self.mixed_precision():
            kept = self._keeper.loss(self.forward, self.progress.step)
        kept.backward()  # type: ignore[no-untyped-call]
        return {**parts, "kept": kept.detach()}

    def draw(self) -> None:
        """Leave curves and pictures to the report."""

    def validate(self, *, quick: bool) -> None:
        """Score the watched cases, if there are any."""
        if self.watches:
            super().validate(quick=quick)


def fit(
    fold: Fold, store: PackedStore, config: RunConfig, folder: Path, *, old: Network, tell: Tell
) -> dict[str, Tensor]:
    """Train on a fold's cases, or go on where an earlier call was stopped, and give the plain weights.

    Args:
        fold: its `train` and `watched` are used.
        store: has its slices.
        config: see `recipe`.
        folder: takes the state of the training.
        old: the network to start from, which is left as it is.
        tell: shown the progress.

    Raises:
        Interrupted: a signal came; the state is saved.
    """
    result = folder / RESULT
    if result.is_file():
        return read_weights(result)
    folder.mkdir(parents=True, exist_ok=True)
    # The trainer wants prompts to validate on; with none to watch, some that are learnt from stand in, never asked.
    watched = fold.watched or fold.train[:STAND_INS]
    view = store.with_entries([*in_split(fold.train, "train"), *in_split(watched, "val")])
    trainer = CaseTrainer(config, view, folder, old, watches=bool(fold.watched))
    trainer.resume()
    best, best_at = trainer.best_score, trainer.progress.share

    def after_step(terms: Terms) -> None:
        nonlocal best, best_at
        share = trainer.progress.share
        tell(share, f"step {trainer.progress.step}, loss {terms['loss']:.3f}")
        if trainer.best_score > best:
            best, best_at = trainer.best_score, share
        if trainer.watches and share - best_at > PATIENCE_SHARE:
            trainer.stop_asked = True

    with _asking_to_stop(trainer) as asked:
        trainer.run(float("inf"), after_step=after_step)
    if asked:
        raise Interrupted
    last = {"step": trainer.progress.step}
    kept = torch.load(folder / "best.pt", weights_only=True) if trainer.watches else trainer.shipped(last)
    write_atomically(result, kept)
    return read_weights(result)


def steps_taken(folder: Path) -> int:
    """Give after how many steps of a finished training its weights were taken."""
    return int(torch.load(folder / RESULT, weights_only=True)["validation"]["step"])


@contextmanager
def _asking_to_stop(trainer: Trainer) -> Iterator[list[int]]:
    """Let SIGINT and SIGTERM end the block at the next step; gives the signals that came."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        trainer.stop_asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
