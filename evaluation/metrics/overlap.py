"""Owns the metrics that count voxels: DSC and Jaccard; the formulas stand in `evaluation.dice`."""

from __future__ import annotations

from evaluation.metrics.base import Metric

DSC = Metric(
    key="dsc",
    label="DSC",
    unit="%",
    higher_is_better=True,
    best=1.0,
    worst=0.0,
    measure=lambda pair: pair.overlap.dice,
    official=True,
    ranked=True,
)

JACCARD = Metric(
    key="jaccard",
    label="Jaccard",
    unit="%",
    higher_is_better=True,
    best=1.0,
    worst=0.0,
    measure=lambda pair: pair.overlap.jaccard,
)
