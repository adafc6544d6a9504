"""Owns how the overlap of two masks is counted: the Dice similarity coefficient and the Jaccard index."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Overlap:
    """How many elements two masks have, and have in common."""

    n_reference: int
    n_prediction: int
    n_common: int

    @property
    def dice(self) -> float:
        """Twice the common elements over the sum of both sizes, in [0, 1]; NaN when both are empty."""
        total = self.n_reference + self.n_prediction
        return 2.0 * self.n_common / total if total else math.nan

    @property
    def jaccard(self) -> float:
        """The common elements over the united ones, in [0, 1]; NaN when both are empty."""
        united = self.n_reference + self.n_prediction - self.n_common
        return self.n_common / united if united else math.nan


def count_overlap(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Overlap:
    """Count the elements of two masks of one shape; anything that is not zero counts.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"masks to compare must have one shape; got {reference.shape} and {prediction.shape}")
    common = np.logical_and(reference, prediction)
    return Overlap(*(int(np.count_nonzero(mask)) for mask in (reference, prediction, common)))


def dice(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Give the Dice similarity coefficient of two masks, in [0, 1].

    One empty mask gives 0. Two empty masks give NaN: `evaluation.policy` decides what that is worth.

    Args:
        reference: mask of any shape; anything that is not zero counts as foreground.
        prediction: mask of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    return count_overlap(reference, prediction).dice


def jaccard(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Give the Jaccard index of two masks, in [0, 1]; empty masks and errors as in `dice`."""
    return count_overlap(reference, prediction).jaccard
