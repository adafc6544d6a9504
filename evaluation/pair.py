"""Owns how one predicted label map is scored against its reference: arrays in, a value per label and metric out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from evaluation.labels import Labels, check_range
from evaluation.metrics.base import MaskPair, Metric, Ruler
from evaluation.policy import Mode, Scores, ScoringPolicy, policy_for
from evaluation.surface_dice import TOLERANCE
from evaluation.surfels import CornerTable, area_table, contour_table, face_table

_Window = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """What one label is worth; `score["dsc"]` is its DSC."""

    label: int
    measures: Scores
    """A value for each metric of the mode."""
    reference_voxels: int
    prediction_voxels: int

    def __getitem__(self, key: str) -> float:
        return self.measures[key]


@dataclass(frozen=True, eq=False)
class _Object:
    """One label of a case. Its masks are cut when needed: those of all labels together could fill the memory."""

    label: int
    window: _Window
    """The box around it in both maps."""
    reference: Labels
    prediction: Labels

    def pair(self, ruler: Ruler | None = None) -> MaskPair:
        reference, prediction = (labels[self.window] == self.label for labels in (self.reference, self.prediction))
        return MaskPair(reference, prediction, ruler)

    def count(self, metrics: Sequence[Metric]) -> tuple[dict[str, float], tuple[int, int]]:
        """Give the values of metrics that look at counts alone, and the voxels of reference and prediction."""
        pair = self.pair()
        return _values(metrics, pair), (pair.overlap.n_reference, pair.overlap.n_prediction)


def score_pair(
    reference: Labels,
    prediction: Labels,
    *,
    spacing_mm: Sequence[float] | None = None,
    mode: Mode = "official",
    tolerance_mm: float = TOLERANCE,
    threads: int = 1,
) -> list[LabelScore]:
    """Score each label of a case; `evaluation.policy` says which these are and what empty masks are worth.

    Args:
        reference: (H, W) or (D, H, W) labels, 0 is background, at most 65535.
        prediction: labels of the same shape.
        spacing_mm: voxel distances along the axes of the arrays. Needed in 3D; 2D is measured in pixels.
        mode: official or honest.
        tolerance_mm: of the normalised surface Dice; pixels in 2D.
        threads: labels worked on at once.

    Returns:
        One score per label, in their order. Without labels the list is empty: see `mean_score`.

    Raises:
        ValueError: shapes that differ or are not 2D or 3D, a label out of range, a volume without spacing.
    """
    policy = policy_for(mode)
    spacing = _spacing_of(reference, spacing_mm)
    if reference.shape != prediction.shape:
        raise ValueError(f"label maps of one shape are wanted, got {reference.shape} and {prediction.shape}")
    counting = [metric for metric in policy.measured if metric.looks_at == "overlap"]
    at_boundaries = [metric for metric in policy.measured if metric.looks_at != "overlap"]
    with ThreadPoolExecutor(threads) as pool:
        ours, theirs = pool.map(_label_windows, (reference, prediction))
        objects = [
            _Object(label, _united(ours.get(label), theirs.get(label), ndim=reference.ndim), reference, prediction)
            for label in policy.labels_to_score(ours, theirs)
        ]
        counted = list(pool.map(lambda one: one.count(counting), objects))
        compared = [{metric.key: metric.worst for metric in at_boundaries}] * len(objects)
        if policy.measures_boundary(_mean([values["dsc"] for values, _ in counted])):
            ruler = _ruler(policy, spacing, tolerance=tolerance_mm, metrics=at_boundaries)
            compared = list(pool.map(lambda one: _values(at_boundaries, one.pair(ruler)), objects))
    return [
        LabelScore(
            label=one.label,
            measures=_in_order(policy, {**counts, **comparisons}),
            reference_voxels=voxels[0],
            prediction_voxels=voxels[1],
        )
        for one, (counts, voxels), comparisons in zip(objects, counted, compared, strict=True)
    ]


def mean_score(scores: Sequence[LabelScore], *, mode: Mode) -> Scores:
    """Give the plain mean of each measure over a case's labels; for none, what the policy says of it.

    One NaN makes the mean NaN, as in the challenge's script.
    """
    policy = policy_for(mode)
    if not scores:
        return policy.nothing_to_find
    return {metric.key: _mean([score[metric.key] for score in scores]) for metric in policy.measured}


def worst_scores(reference: Labels, *, mode: Mode) -> list[LabelScore]:
    """Give what each reference label is worth when there is no usable prediction.

    Raises:
        ValueError: a label out of range.
    """
    return [
        LabelScore(
            label=label,
            measures=policy_for(mode).worst,
            reference_voxels=int(np.count_nonzero(reference[window] == label)),
            prediction_voxels=0,
        )
        for label, window in _label_windows(reference).items()
    ]


def _values(metrics: Sequence[Metric], pair: MaskPair) -> dict[str, float]:
    return {metric.key: metric.measure(pair) for metric in metrics if metric.measure is not None}


def _in_order(policy: ScoringPolicy, values: Mapping[str, float]) -> dict[str, float]:
    return {metric.key: values[metric.key] for metric in policy.measured}


def _ruler(policy: ScoringPolicy, spacing: tuple[float, ...], *, tolerance: float, metrics: Sequence[Metric]) -> Ruler:
    """Choose what boundaries are measured with; distances beyond the tolerance cost time, so only if wanted."""
    whole = any(metric.looks_at == "whole boundary" for metric in metrics)
    return Ruler(spacing, _boundary_table(policy, spacing), tolerance, up_to=math.inf if whole else tolerance)


def _spacing_of(reference: Labels, spacing_mm: Sequence[float] | None) -> tuple[float, ...]:
    """Give one spacing per axis; images are measured in pixels, as the challenge does."""
    if reference.ndim == 2:
        return (1.0, 1.0)
    if reference.ndim != 3:
        raise ValueError(f"label maps (H, W) or (D, H, W) are wanted, got shape {reference.shape}")
    if spacing_mm is None or len(spacing_mm) != 3 or not all(0 < step < math.inf for step in spacing_mm):
        raise ValueError(f"a volume needs three positive spacings, got {spacing_mm}")
    return tuple(float(step) for step in spacing_mm)


def _boundary_table(policy: ScoringPolicy, spacing: tuple[float, ...]) -> CornerTable:
    if len(spacing) == 3:
        return area_table(spacing)
    return face_table() if policy.flat_boundary == "face" else contour_table(spacing)


def _label_windows(labels: Labels) -> dict[int, _Window]:
    """Give the box around each label that is present."""
    if not labels.size:
        return {}
    check_range(labels)
    native = labels.astype(labels.dtype.newbyteorder("="), copy=False)
    windows: list[_Window | None] = ndimage.find_objects(native)
    return {index + 1: window for index, window in enumerate(windows) if window is not None}


def _united(one: _Window | None, other: _Window | None, *, ndim: int) -> _Window:
    """Give the box around two boxes, of which either may be missing; an empty one without both."""
    if one is None or other is None:
        return one or other or (slice(0, 0),) * ndim
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
