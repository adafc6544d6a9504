"""Owns the list of metrics: what the scorer measures, what teams are ranked by, and in which order columns stand.

A new metric is one file beside this one, with a `Metric` in it, and one line in METRICS. Scoring, tables, ranking and
the leaderboard's page take it from there.
"""

from __future__ import annotations

from evaluation.metrics.base import MaskPair, Metric
from evaluation.metrics.overlap import DSC, JACCARD
from evaluation.metrics.runtime import SECONDS
from evaluation.metrics.surface import HD, HD95, NSD

__all__ = ["DSC", "METRICS", "NSD", "SECONDS", "MaskPair", "Metric", "ranked_scores"]

METRICS: tuple[Metric, ...] = (
    DSC,
    NSD,
    JACCARD,
    HD,
    HD95,
    SECONDS,
)


def ranked_scores() -> tuple[Metric, ...]:
    """Give the metrics of masks that teams are ranked by, in their order; the runtime is no such metric."""
    return tuple(metric for metric in METRICS if metric.ranked and metric.measure is not None)
