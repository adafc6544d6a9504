"""Scores one predicted label map against its reference: arrays in, numbers out."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from evaluation.dice import Overlap, count_overlap
from evaluation.policy import WORST, Mode, Scores, ScoringPolicy, policy_for
from evaluation.surface_dice import hausdorff, surface_dice, surface_distances
from evaluation.surfels import CornerTable, area_table, contour_table, face_table

TOLERANCE_MM = 2.0  # the challenge's; pixels in 2D
LARGEST_LABEL = 65535

Labels = NDArray[np.integer[Any]]
_Window = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class LabelScore(Scores):
    """The measures of one label."""

    label: int
    reference_voxels: int
    prediction_voxels: int


@dataclass(frozen=True, eq=False)
class _Object:
    """One label of a case. Its masks are cut when needed: those of all labels together could fill the memory."""

    label: int
    window: _Window
    """The box around it in both maps."""
    reference: Labels
    prediction: Labels

    def masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return self.reference[self.window] == self.label, self.prediction[self.window] == self.label

    def overlap(self) -> Overlap:
        return count_overlap(*self.masks())


@dataclass(frozen=True)
class _Ruler:
    """What the boundaries of a case are measured with."""

    spacing: tuple[float, ...]
    table: CornerTable
    tolerance: float
    hausdorff_too: bool

    def measure(self, one: _Object) -> dict[str, float]:
        up_to = math.inf if self.hausdorff_too else self.tolerance
        distances = surface_distances(*one.masks(), spacing=self.spacing, table=self.table, up_to=up_to)
        measured = {"nsd": surface_dice(distances, tolerance=self.tolerance)}
        if self.hausdorff_too:
            measured["hd_mm"] = hausdorff(distances)
            measured["hd95_mm"] = hausdorff(distances, percentile=95.0)
        return measured


def score_pair(
    reference: Labels,
    prediction: Labels,
    *,
    spacing_mm: Sequence[float] | None = None,
    mode: Mode = "official",
    tolerance_mm: float = TOLERANCE_MM,
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
    with ThreadPoolExecutor(threads) as pool:
        ours, theirs = pool.map(_label_windows, (reference, prediction))
        objects = [
            _Object(label, _united(ours.get(label), theirs.get(label), ndim=reference.ndim), reference, prediction)
            for label in policy.labels_to_score(ours, theirs)
        ]
        overlaps = list(pool.map(_Object.overlap, objects))
        boundaries = [{"nsd": 0.0}] * len(objects)
        if policy.measures_boundary(_mean([overlap.dice for overlap in overlaps])):
            ruler = _Ruler(spacing, _boundary_table(policy, spacing), tolerance_mm, policy.all_measures)
            boundaries = list(pool.map(ruler.measure, objects))
    return [
        _label_score(one.label, overlap, boundary=boundary, with_jaccard=policy.all_measures)
        for one, overlap, boundary in zip(objects, overlaps, boundaries, strict=True)
    ]


def mean_score(scores: Sequence[Scores], *, mode: Mode) -> Scores:
    """Give the plain mean of each measure over a case's labels; for none, what the policy says of it.

    One NaN makes the mean NaN, as in the challenge's script.
    """
    if not scores:
        return policy_for(mode).case_without_labels
    names = [field.name for field in fields(Scores)]
    return Scores(**{name: _mean([getattr(score, name) for score in scores]) for name in names})


def worst_scores(reference: Labels, *, mode: Mode) -> list[LabelScore]:
    """Give what each reference label is worth when there is no usable prediction.

    Raises:
        ValueError: a label out of range.
    """
    boundary = {"nsd": WORST.nsd}
    if policy_for(mode).all_measures:
        boundary |= {"hd_mm": WORST.hd_mm, "hd95_mm": WORST.hd95_mm}
    return [
        _label_score(
            label,
            Overlap(int(np.count_nonzero(reference[window] == label)), 0, 0),
            boundary=boundary,
            with_jaccard=policy_for(mode).all_measures,
        )
        for label, window in _label_windows(reference).items()
    ]


def _label_score(label: int, overlap: Overlap, *, boundary: dict[str, float], with_jaccard: bool) -> LabelScore:
    return LabelScore(
        label=label,
        dsc=overlap.dice,
        jaccard=overlap.jaccard if with_jaccard else math.nan,
        reference_voxels=overlap.n_reference,
        prediction_voxels=overlap.n_prediction,
        **boundary,
    )


def check_range(labels: Labels) -> None:
    """Do nothing where all labels are from 0 to 65535.

    Raises:
        ValueError: with the range found.
    """
    if labels.dtype in (np.uint8, np.uint16) or not labels.size:
        return  # nothing else fits
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > LARGEST_LABEL:
        raise ValueError(f"labels from 0 to {LARGEST_LABEL} are wanted, got {low} to {high}")


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
