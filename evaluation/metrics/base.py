"""Owns what a metric is: how it is measured, named and shown, and what its best and worst values are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.dice import Overlap, count_overlap
from evaluation.surface_dice import SurfaceDistances, surface_distances
from evaluation.surfels import CornerTable

LooksAt = Literal["overlap", "near boundary", "whole boundary"]


@dataclass(frozen=True)
class Ruler:
    """What the boundaries of a case are measured with."""

    spacing: Sequence[float]
    """Voxel distances along the axes of the masks, mm (2D: pixels)."""
    table: CornerTable
    """How much boundary passes each corner."""
    tolerance: float
    """Unit of the spacing."""
    up_to: float
    """Distances above this one may be given as infinite; the tolerance where no metric asks for more."""


class MaskPair:
    """Two masks of one label; what metrics need of them is worked out once, when the first one asks for it."""

    def __init__(self, reference: NDArray[np.bool_], prediction: NDArray[np.bool_], ruler: Ruler | None = None) -> None:
        self.reference, self.prediction = reference, prediction
        """(H, W) or (D, H, W), cut to a box around both."""
        self._ruler = ruler

    @cached_property
    def overlap(self) -> Overlap:
        """How many voxels the masks have, and have in common."""
        return count_overlap(self.reference, self.prediction)

    @property
    def ruler(self) -> Ruler:
        """What to measure with; there is one for the metrics that look at boundaries."""
        assert self._ruler is not None, "a metric that needs distances says so in `looks_at`"
        return self._ruler

    @cached_property
    def distances(self) -> SurfaceDistances:
        """How far each piece of either boundary is from the other boundary."""
        ruler = self.ruler
        return surface_distances(
            self.reference, self.prediction, spacing=ruler.spacing, table=ruler.table, up_to=ruler.up_to
        )


@dataclass(frozen=True)
class Metric:
    """One quantity by which label maps are scored or teams are ranked."""

    key: str
    """Column name in the CSV and key in the JSON."""
    label: str
    """Heading for people."""
    unit: Literal["%", "mm", "s"]
    """How values are shown: "%" shows a share of 0 to 1 as 0 to 100."""
    higher_is_better: bool
    best: float
    """Of perfect agreement, so too where there is nothing to find and nothing was found."""
    worst: float
    """What a missing or unusable prediction is worth, and what a missing value counts as in a mean."""
    measure: Callable[[MaskPair], float] | None
    """Gives the value of one label; None: it is not read off masks, but brought in a table of its own."""
    looks_at: LooksAt = "overlap"
    """What `measure` asks the pair for: counts of voxels, boundaries up to the tolerance, or however far apart."""
    official: bool = False
    """Whether the challenge's own scorer has it; the honest mode measures all."""
    ranked: bool = False
    """Whether teams are ranked by it."""

    def __post_init__(self) -> None:
        """Raise ValueError for a ranked metric whose worst value spoils every mean."""
        if self.ranked and not math.isfinite(self.worst):
            raise ValueError(f"{self.key}: a metric that teams are ranked by needs a finite worst value.")
