"""Owns the runtime as a metric; it is measured by `evaluation.runtime` and brought in a table of its own."""

from __future__ import annotations

from evaluation.metrics.base import Metric

# FLARE22's rule for a failed case: DSC = 0, NSD = 0, time = 3600 s (flare22.grand-challenge.org, Evaluation).
MISSING_SECONDS = 3600.0

SECONDS = Metric(
    key="seconds",
    label="Runtime (s)",
    unit="s",
    higher_is_better=False,
    best=0.0,
    worst=MISSING_SECONDS,
    measure=None,
    ranked=True,
)
