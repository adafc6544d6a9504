"""Owns how much boundary passes each lattice corner: contour lengths in 2D, surface areas in 3D.

Pixels (voxels) are points of a grid. Around each *corner* of the lattice between them stand 2 x 2 pixels
(2 x 2 x 2 voxels), and which of them are foreground is the corner's code: bit k of the code is set when the
neighbour whose offsets, read as a binary number, give k is foreground. The boundary inside that cell runs
through the middles of those cell edges whose ends differ, so its length or area depends on the code and the
spacing only, and is looked up.

In 3D the choice of the boundary inside a cell is free where it bends or where a face has two diagonal
foreground corners. The rules here were found by comparing every possible choice with the areas that the
challenge's scorer uses, and give all of its 256 values: the rarer kind of voxel is cut off one by one, and of
all triangulations of a loop the one with the largest area (at equal spacing) is taken.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Point = tuple[float, float, float]


@dataclass(frozen=True)
class CornerTable:
    """What a corner holds, by its code."""

    ndim: int
    """2 or 3: a code has 2**ndim bits."""
    measure: NDArray[np.float64]
    """(2**2**ndim,) length in mm (2D contours) or area in mm^2 of the boundary in the cell."""
    full_is_surface: bool = False
    """Whether a corner with nothing but foreground around it is a boundary element; a mixed one always is."""

    def is_surface(self, codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell which corners count as boundary elements; the measure of each weighs it."""
        full = self.measure.size - 1
        # Code 0 wraps around to 255, so that one comparison leaves out both ends.
        return (codes - np.uint8(1)) < np.uint8(full if self.full_is_surface else full - 1)


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
    return CornerTable(ndim=2, measure=measure)


def area_table(spacing: Sequence[float]) -> CornerTable:
    """Give the surface area in each of the 256 cells of 2 x 2 x 2 voxels.

    Every corner with foreground and background around it is an element.

    Args:
        spacing: voxel distances along axes 0, 1 and 2, mm.
    """
    # A triangle's area vector has one component per plane of two axes; it grows with both their spacings.
    plane = np.array([spacing[1] * spacing[2], spacing[0] * spacing[2], spacing[0] * spacing[1]], np.float64)
    measure = np.array([np.linalg.norm(vectors * plane, axis=1).sum() for vectors in _area_vectors_by_code()])
    return CornerTable(ndim=3, measure=measure)


def face_table() -> CornerTable:
    """Give what the challenge's scorer takes as the boundary of a 2D mask: all of it, front and back.

    The scorer makes (H, W) a volume of one slice with unit spacing. No cell of it is then all foreground, so
    every corner that touches the mask is an element, twice: in front of the slice and behind it. Both
    layers are alike, so that 2D distances with the summed area give the same number.
    """
    area = area_table((1.0, 1.0, 1.0)).measure
    measure = np.zeros(16)
    for code in range(16):
        behind = sum(1 << 2 * bit for bit in range(4) if code >> bit & 1)  # last offset 0: bits 0, 2, 4, 6
        measure[code] = area[behind] + area[behind << 1]
    return CornerTable(ndim=2, measure=measure, full_is_surface=True)


def corner_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Give the code of every lattice corner of a mask; beyond the array is background.

    Args:
        mask: (H, W) or (D, H, W).

    Returns:
        (H + 1, W + 1) or (D + 1, H + 1, W + 1) codes; corner c has the voxels c - 1 and c along each axis.
    """
    codes = np.pad(mask, 1).astype(np.uint8)
    for axis in range(mask.ndim):
        before, after = (codes[(slice(None),) * axis + (part,)] for part in (slice(None, -1), slice(1, None)))
        # The neighbours after the corner along this axis have its bit of the offset set: they move up.
        codes = before | after << np.uint8(2 ** (mask.ndim - 1 - axis))
    return codes


@functools.cache
def _area_vectors_by_code() -> tuple[NDArray[np.float64], ...]:
    """Give the area vectors (T, 3) of the triangles in each of the 256 cells; their lengths are areas."""
    vectors: list[NDArray[np.float64]] = []
    for code in range(256):
        foreground = {corner for bit, corner in enumerate(_cell_corners()) if code >> bit & 1}
        rarer = foreground if len(foreground) <= 4 else set(_cell_corners()) - foreground
        triangles = [_largest_triangulation(loop) for loop in _boundary_loops(rarer)]
        vectors.append(np.concatenate([np.zeros((1, 3)), *triangles]))
    return tuple(vectors)


def _cell_corners() -> list[_Point]:
    """Give the 8 corners of the unit cell in the order of a code's bits."""
    return [(float(a), float(b), float(c)) for a, b, c in itertools.product((0, 1), repeat=3)]


def _cell_faces() -> Iterator[list[_Point]]:
    """Give each face of the unit cell as its 4 corners, one after the other around it."""
    for axis, side in itertools.product(range(3), (0.0, 1.0)):
        around = [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]
        yield [(*pair[:axis], side, *pair[axis:]) for pair in around]  # type: ignore[misc]


def _boundary_loops(inside: set[_Point]) -> list[list[_Point]]:
    """Give the closed loops in which a boundary around `inside` meets the cell's faces, as edge midpoints.

    On a face with two diagonal corners inside, each of the two is cut off by itself.
    """
    links: dict[_Point, list[_Point]] = {}
    for face in _cell_faces():
        crossed = [i for i in range(4) if (face[i] in inside) != (face[(i + 1) % 4] in inside)]
        if len(crossed) == 4:
            cuts = [((i - 1) % 4, i) for i in range(4) if face[i] in inside]
        else:
            cuts = [(crossed[0], crossed[1])] if crossed else []
        for cut in cuts:
            start, end = (_middle(face[i], face[(i + 1) % 4]) for i in cut)
            links.setdefault(start, []).append(end)
            links.setdefault(end, []).append(start)
    loops = []
    while links:
        point = min(links)
        loop = []
        while point in links:  # every midpoint lies on two faces: go on to the neighbour not yet used
            loop.append(point)
            point = next((other for other in links.pop(point) if other in links), point)
        loops.append(loop)
    return loops


def _middle(one: _Point, other: _Point) -> _Point:
    return ((one[0] + other[0]) / 2, (one[1] + other[1]) / 2, (one[2] + other[2]) / 2)


def _largest_triangulation(loop: list[_Point]) -> NDArray[np.float64]:
    """Give the area vectors (T, 3) of that triangulation of a closed loop whose summed area is largest."""
    points = np.array(loop)
    best = np.zeros((0, 3))
    for triangles in _triangulations(tuple(range(len(loop)))):
        a, b, c = (points[[triangle[k] for triangle in triangles]] for k in range(3))
        vectors = 0.5 * np.cross(b - a, c - a)
        # A margin, so that rounding does not choose between equal areas.
        if np.linalg.norm(vectors, axis=1).sum() > np.linalg.norm(best, axis=1).sum() + 1e-9:
            best = vectors
    return best


def _triangulations(loop: tuple[int, ...]) -> Iterator[list[tuple[int, int, int]]]:
    """Give every way to cut a polygon into triangles along its diagonals."""
    if len(loop) < 3:
        yield []
        return
    for apex in range(1, len(loop) - 1):
        for left in _triangulations(loop[: apex + 1]):
            for right in _triangulations(loop[apex:]):
                yield [*left, (loop[0], loop[apex], loop[-1]), *right]
