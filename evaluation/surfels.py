"""How much boundary passes each lattice corner: contour lengths in 2D, surface areas in 3D.

Pixels (voxels) are points of a grid. Around each *corner* of the lattice between them stand 2 x 2 pixels
(2 x 2 x 2 voxels), and which of them are foreground is the corner's code: bit k of the code is set when the
neighbour whose offsets, read as a binary number, give k is foreground. The boundary inside that cell runs
through the middles of those cell edges whose ends differ, so its length or area depends on the code and the
spacing only, and is looked up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CornerTable:
    """What a corner holds, by its code."""

    ndim: int
    """2 or 3: a code has 2**ndim bits."""
    measure: NDArray[np.float64]
    """(2**2**ndim,) length in mm (2D contours) or area in mm^2 of the boundary in the cell."""
    on_surface: NDArray[np.bool_]
    """(2**2**ndim,) True where the corner counts as a boundary element; its measure weighs it."""


def contour_table(spacing: Sequence[float]) -> CornerTable:
    """Give the contour length in each of the 16 cells of 2 x 2 pixels.

    Two diagonal foreground pixels are two separate corners cut off, not one bridge.

    Args:
        spacing: (row, column) pixel distances in mm, or (1, 1) for lengths in pixels.
    """
    along_rows, along_columns = spacing
    corner = 0.5 * math.hypot(along_rows, along_columns)
    measure = np.full(16, corner)  # one or three of four pixels: one corner is cut off
    measure[[0b0000, 0b1111]] = 0.0
    measure[[0b0011, 0b1100]] = along_columns  # a row of two: the contour runs along the columns' axis
    measure[[0b0101, 0b1010]] = along_rows
    measure[[0b0110, 0b1001]] = 2.0 * corner
    return CornerTable(ndim=2, measure=measure, on_surface=measure > 0.0)


def corner_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Give the code of every lattice corner of a mask; beyond the array is background.

    Args:
        mask: (H, W) or (D, H, W).

    Returns:
        (H + 1, W + 1) or (D + 1, H + 1, W + 1) codes; corner c has the voxels c - 1 and c along each axis.
    """
    padded = np.pad(mask.astype(np.uint8), 1)
    codes = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for bit in range(2**mask.ndim):
        offsets = [bit >> (mask.ndim - 1 - axis) & 1 for axis in range(mask.ndim)]
        window = tuple(
            slice(offset, offset + size + 1) for offset, size in zip(offsets, mask.shape, strict=True)
        )
        codes |= padded[window] << np.uint8(bit)
    return codes
