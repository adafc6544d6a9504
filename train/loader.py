"""The batches of a run in their order, made where they are used or by processes in the background."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from train.dataset import Batch, BatchSource

BATCHES_AHEAD = 2
"""How many batches each background process prepares beyond the one in use."""


def batches_from(source: BatchSource, first: int, *, workers: int = 0, pin_memory: bool = False) -> Iterator[Batch]:
    """Give batch `first` of a run, the one after it, and so on without end.

    Since a batch depends on its number alone, `workers` changes who makes it, and neither what it holds nor
    the order. The background processes are forks and share the slices in memory with this one; they end when the
    iterator is closed or forgotten.
    """
    if workers == 0:
        return (source.batch(number) for number in itertools.count(first))
    # Here and not in the forks: OpenCV ends its threads now, and a fork would wait for threads that it does not have.
    cv2.setNumThreads(0)
    loader = DataLoader(
        _NumberedBatches(source),
        batch_size=None,
        sampler=_NumbersFrom(first),
        num_workers=workers,
        prefetch_factor=BATCHES_AHEAD,
        pin_memory=pin_memory,
        worker_init_fn=_use_one_thread,
        multiprocessing_context="fork",
    )
    return iter(loader)


class _NumberedBatches(Dataset[Batch]):
    def __init__(self, source: BatchSource) -> None:
        self._source = source

    def __getitem__(self, number: int) -> Batch:
        return self._source.batch(number)


class _NumbersFrom(Sampler[int]):
    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self._first)


def _use_one_thread(worker: int) -> None:
    torch.set_num_threads(1)
