"""Label maps as runs: owns the [start, length, value] triples in which a label map of the training store is written.

Runs go over the rows, values above 0 only, starts counted from 0. `data_prep.paper_store` keeps them as JSON,
`data_prep.paper_import` makes them of the authors' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graysam.cases import label_dtype
from graysam.errors import PrepareError

Run = tuple[int, int, int]


def runs_from_labels(labels: NDArray[Any]) -> list[Run]:
    """Give (start, length, value) of every run of a value above 0, over the rows of (H, W) labels."""
    flat = labels.ravel()
    if not flat.size:
        return []
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.append(starts, flat.size))
    values = flat[starts]
    return [
        (int(start), int(length), int(value))
        for start, length, value in zip(starts, lengths, values, strict=True)
        if value
    ]


def labels_from_runs(runs: Sequence[Sequence[int]], size_hw: tuple[int, int]) -> NDArray[Any]:
    """Give the (H, W) label map of `runs_from_labels`, uint8 while it fits, else uint16.

    Raises:
        PrepareError: a run that is no three whole numbers, reaches over the image, or overlaps another.
    """
    try:
        table = np.array([[int(number) for number in run] for run in runs], np.int64).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError) as error:
        raise PrepareError("runs: wanted a list of (start, length, value), each a whole number.") from error
    total = size_hw[0] * size_hw[1]
    starts, lengths, values = table[:, 0], table[:, 1], table[:, 2]
    if len(table) > total or (table < 0).any() or (starts > total).any() or (lengths > total - starts).any():
        raise PrepareError(f"runs: one reaches over the image of {size_hw[0]} x {size_hw[1]} pixels.")
    order = np.argsort(starts, kind="stable")
    if (starts[order][1:] < (starts + lengths)[order][:-1]).any():
        raise PrepareError("runs: two of them overlap.")
    highest = int(values.max(initial=0))
    if highest > np.iinfo(np.uint16).max:
        raise PrepareError(f"runs: label {highest} does not fit into 16 bits.")
    flat = np.zeros(total, label_dtype(highest))
    for start, length, value in table.tolist():
        flat[start : start + length] = value
    return flat.reshape(size_hw)
