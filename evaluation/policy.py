"""What a score is where its formula is silent: empty masks, absent labels, predictions that cannot be used.

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
=============================  ==================================  ==================================

In both, a prediction that is missing, unreadable or of another shape scores the worst of everything; the
script crashes on these.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Mode = Literal["official", "honest"]
SpacingOrder = Literal["official", "zyx"]
MODES: tuple[Mode, ...] = ("official", "honest")
SPACING_ORDERS: tuple[SpacingOrder, ...] = ("official", "zyx")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The measures of one label, or their means over a case; NaN where a mode does not give one."""

    dsc: float
    """Dice similarity coefficient, 0 to 1."""
    nsd: float
    """Normalised surface Dice at the tolerance, 0 to 1."""
    jaccard: float = math.nan
    """Jaccard index, 0 to 1."""
    hd_mm: float = math.nan
    """Hausdorff distance in mm (2D: pixels); inf when one boundary is absent."""
    hd95_mm: float = math.nan
    """95th percentile Hausdorff distance, as hd_mm."""


WORST = Scores(dsc=0.0, nsd=0.0, jaccard=0.0, hd_mm=math.inf, hd95_mm=math.inf)


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
    case_without_labels: Scores
    """Of a case in which there is nothing to find and nothing was found."""

    @property
    def all_measures(self) -> bool:
        """Whether Jaccard and Hausdorff distances are measured too."""
        return self.mode == "honest"

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
    case_without_labels=Scores(dsc=math.nan, nsd=0.0),
)

HONEST = ScoringPolicy(
    mode="honest",
    label_rule="present",
    flat_boundary="contour",
    spacing_order="zyx",
    dsc_gate=None,
    case_without_labels=Scores(dsc=1.0, nsd=1.0, jaccard=1.0, hd_mm=0.0, hd95_mm=0.0),
)


def policy_for(mode: Mode) -> ScoringPolicy:
    """Give the policy of a mode."""
    return OFFICIAL if mode == "official" else HONEST
