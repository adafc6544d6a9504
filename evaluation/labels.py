"""Owns how a stored array becomes a label map to score: which numbers are labels, and which are none.

The challenge's script compares by ``==``: the voxels of label i are those that hold exactly i. People also store label
maps as floating-point numbers, or write -1 for "nothing here". The rules:

==========================  ============================================  ========================================
number in the array         reference                                     prediction
==========================  ============================================  ========================================
whole, 0 to 65535           that label, whatever the type                 that label, whatever the type
off a whole number by less  that whole number: a label map went through   official: no label, as for ``==``
than 0.001 (0.99999994)     arithmetic; both modes                        honest: that whole number
other fractions, NaN        refused                                       official: no label; honest: refused
negative (-1)               official: no label; honest: refused           official: no label; honest: refused
above 65535                 refused                                       official: no label; honest: refused
==========================  ============================================  ========================================

"No label" is background. A prediction that is refused scores as a missing one. A reference in floating-point numbers
would stop the challenge's script, so that there the first two rows repeat nothing, but say what it would mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.policy import Mode
from graysam.cases import LARGEST_LABEL
from graysam.errors import ScoreError
from graysam.formats.npz import read_map

# float32 keeps whole numbers up to 65535 to within 0.004, and what resampling leaves of a label is far more off.
WHOLE_TOLERANCE = 1e-3

Labels = NDArray[np.integer[Any]]


def read_reference(path: Path, *, mode: Mode) -> Labels:
    """Read ``gts`` of an .npz file as labels, (H, W) or (D, H, W), unsigned integers.

    Raises:
        CaseError: the file or the array cannot be read.
        ScoreError: it is no label map by the rules of the module.
    """
    array = read_map(path, "gts", floats=True)
    return _whole_labels(array, f"{path.name}: 'gts'", negative_is_background=mode == "official")


def read_prediction(path: Path, *, mode: Mode) -> tuple[Labels, str]:
    """Read ``segs`` of an .npz file as labels, (H, W) or (D, H, W), unsigned integers, and a note or "".

    The note says how many voxels hold numbers that are no labels, where the official mode takes them for background.

    Raises:
        CaseError: the file or the array cannot be read.
        ScoreError: it is no label map by the rules of the module.
    """
    array = read_map(path, "segs", floats=True)
    if mode == "honest":
        return _whole_labels(array, f"{path.name}: 'segs'", negative_is_background=False), ""
    labels = labels_by_equality(array)
    other = labels != array
    count = int(np.count_nonzero(other))
    note = f"segs holds {count} numbers that are no labels (first: {array[other][0]:g})" if count else ""
    return labels, note


def labels_by_equality(array: NDArray[Any]) -> Labels:
    """Give the labels for which ``array == label`` holds, 0 where it does for none from 1 to 65535.

    array: numbers of any real type and any shape.
    """
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype == np.float16:  # does not reach up to 65535
        array = array.astype(np.float32)
    is_label = (array >= 1) & (array <= LARGEST_LABEL)
    if array.dtype.kind == "f":
        is_label &= np.rint(array) == array
    labels = np.zeros(array.shape, np.uint16)
    labels[is_label] = array[is_label]
    return labels


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


def _whole_labels(array: NDArray[Any], what: str, *, negative_is_background: bool) -> Labels:
    """Round what is nearly whole, and refuse what is no label; `what` begins the message."""
    if array.dtype.kind == "f":
        whole = np.rint(array)
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            off = ~(np.abs(array - whole) < WHOLE_TOLERANCE)  # also True for NaN and infinities
        if off.any():
            raise ScoreError(
                f"{what} holds {np.count_nonzero(off)} numbers that are no labels (first: {array[off][0]:g}); labels "
                f"are whole numbers, to within {WHOLE_TOLERANCE:g}. Was it resampled smoothly, or is it a probability?"
            )
        array = whole
    if negative_is_background and array.dtype.kind in "if":
        array = np.maximum(array, 0)
    try:
        check_range(array)
    except ValueError as error:
        raise ScoreError(f"{what}: {error}; number the objects from 1.") from error
    return labels_by_equality(array)
