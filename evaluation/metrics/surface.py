"""Owns the metrics that compare boundaries: NSD, HD, HD95; the formulas stand in `evaluation.surface_dice`."""

from __future__ import annotations

import math

from evaluation.metrics.base import Metric
from evaluation.surface_dice import hausdorff, surface_dice

NSD = Metric(
    key="nsd",
    label="NSD",
    unit="%",
    higher_is_better=True,
    best=1.0,
    worst=0.0,
    measure=lambda pair: surface_dice(pair.distances, tolerance=pair.ruler.tolerance),
    looks_at="near boundary",
    official=True,
    ranked=True,
)

HD = Metric(
    key="hd_mm",
    label="HD",
    unit="mm",
    higher_is_better=False,
    best=0.0,
    worst=math.inf,
    measure=lambda pair: hausdorff(pair.distances),
    looks_at="whole boundary",
)

HD95 = Metric(
    key="hd95_mm",
    label="HD95",
    unit="mm",
    higher_is_better=False,
    best=0.0,
    worst=math.inf,
    measure=lambda pair: hausdorff(pair.distances, percentile=95.0),
    looks_at="whole boundary",
)
