"""Overlap of two masks: the Dice similarity coefficient and the Jaccard index."""

import math

import numpy as np
from numpy.typing import NDArray


def dice_from_counts(*, n_reference: int, n_prediction: int, n_common: int) -> float:
    """Give twice the common elements over the sum of both sizes, in [0, 1]; NaN when both sizes are 0."""
    total = n_reference + n_prediction
    return 2.0 * n_common / total if total else math.nan


def jaccard_from_counts(*, n_reference: int, n_prediction: int, n_common: int) -> float:
    """Give the common elements over the united ones, in [0, 1]; NaN when both sizes are 0."""
    united = n_reference + n_prediction - n_common
    return n_common / united if united else math.nan


def dice(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Give the Dice similarity coefficient of two masks, in [0, 1].

    One empty mask gives 0. Two empty masks give NaN: `evaluation.policy` decides what that is worth.

    Args:
        reference: mask of any shape; anything that is not zero counts as foreground.
        prediction: mask of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    return dice_from_counts(**_counts(reference, prediction))


def jaccard(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Give the Jaccard index of two masks, in [0, 1]; empty masks and errors as in `dice`."""
    return jaccard_from_counts(**_counts(reference, prediction))


def _counts(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> dict[str, int]:
    if reference.shape != prediction.shape:
        raise ValueError(
            f"masks to compare must have one shape; got {reference.shape} and {prediction.shape}"
        )
    reference, prediction = reference.astype(bool, copy=False), prediction.astype(bool, copy=False)
    return {
        "n_reference": int(np.count_nonzero(reference)),
        "n_prediction": int(np.count_nonzero(prediction)),
        "n_common": int(np.count_nonzero(reference & prediction)),
    }
