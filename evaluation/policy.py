"""Owns what a score is where its formula is silent: empty masks, absent labels, predictions that cannot be used.

There are two. OFFICIAL repeats the challenge's script, oddities included, so that numbers can be compared
with published ones. HONEST measures what the names of the measures promise. Where they differ:

=============================  ==================================  ==================================
question                       OFFICIAL                            HONEST
=============================  ==================================  ==================================
labels of a case               1 to the reference's largest        those in either map
label that neither map holds   NaN, and with it the case's DSC     not a label of the case
label in one map only          DSC 0, NSD 0                        DSC 0, NSD 0, infinite distances
case without any label         DSC NaN, NSD 0                      DSC 1, NSD 1: nothing to find, and
                                                                   nothing was found
NSD where mean DSC <= 0.2      0, not measured (also at NaN)       measured
boundary of a 2D mask          all of its face                     its contour
spacing on z, y, x arrays      as stored (x, y, z)                 put in order
numbers that are no labels     by ``==``: they match none          see `evaluation.labels`
=============================  ==================================  ==================================

In both, a prediction that is missing, unreadable or of another shape scores the worst of everything; the
script crashes on these.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from evaluation import metrics
from evaluation.metrics import Metric

Mode = Literal["official", "honest"]
SpacingOrder = Literal["official", "zyx"]
MODES: tuple[Mode, ...] = ("official", "honest")
SPACING_ORDERS: tuple[SpacingOrder, ...] = ("official", "zyx")


Scores = Mapping[str, float]
"""A value for each metric's key, of one label or as means over a case."""


@dataclass(frozen=True, kw_only=True)
class ScoringPolicy:
    """One mode's decisions; the table above explains them."""

    mode: Mode
    label_rule: Literal["numbered", "present"]
    """Whether gaps in the reference's numbering count as labels."""
    flat_boundary: Literal["face", "contour"]
    """What bounds a 2D mask."""
    spacing_order: SpacingOrder
    """How a file's x, y, z spacing is put on z, y, x arrays unless the user says otherwise."""
    dsc_gate: float | None
    """NSD is 0 unless the case's mean DSC is above; None measures it always."""
    scores_of_nothing: Scores
    """Of a case in which there is nothing to find and nothing was found, where it is not the metric's best value."""

    @property
    def measured(self) -> tuple[Metric, ...]:
        """The metrics that this mode reads off masks, in the order of the table's columns."""
        known = (metric for metric in metrics.METRICS if metric.measure is not None)
        return tuple(metric for metric in known if metric.official or self.mode == "honest")

    @property
    def worst(self) -> Scores:
        """What a case without a usable prediction is worth."""
        return {metric.key: metric.worst for metric in self.measured}

    @property
    def nothing_to_find(self) -> Scores:
        """What a case without any label in either map is worth."""
        return {m.key: self.scores_of_nothing.get(m.key, m.best) for m in self.measured}

    def labels_to_score(self, reference: Collection[int], prediction: Collection[int]) -> list[int]:
        """Give the labels that make up the case's mean, in order, from the labels present in either map."""
        if self.label_rule == "numbered":
            return list(range(1, max(reference, default=0) + 1))
        return sorted({*reference, *prediction})

    def measures_boundary(self, mean_dsc: float) -> bool:
        """Tell whether NSD is measured at this mean DSC; NaN, from a gap in the labels, is below any gate."""
        return self.dsc_gate is None or mean_dsc > self.dsc_gate


OFFICIAL = ScoringPolicy(
    mode="official",
    label_rule="numbered",
    flat_boundary="face",
    spacing_order="official",
    dsc_gate=0.2,
    scores_of_nothing={"dsc": math.nan, "nsd": 0.0},
)

HONEST = ScoringPolicy(
    mode="honest",
    label_rule="present",
    flat_boundary="contour",
    spacing_order="zyx",
    dsc_gate=None,
    scores_of_nothing={},
)


def policy_for(mode: Mode) -> ScoringPolicy:
    """Give the policy of a mode."""
    return OFFICIAL if mode == "official" else HONEST
