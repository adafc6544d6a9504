"""Turn label maps into objects: one mask per prompt, specks dropped and counted, and boxes drawn round them.

What is one object is told by `dataset.json`'s field `labels`:

* "classes": each number is one object, even in several pieces.
* "components": each connected part of a number is one object (26 neighbours in 3D, 8 in 2D).
* "instances": each number is one object; told apart from classes because the numbers mean nothing.
* "nested": number k lies inside k - 1; the objects are {1 or higher}, {2 or higher}, ...

Objects come in painting order: where two overlap (nested), the later one lies on top in a label map, and a
predictor whose later boxes win makes the same map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from graysam.boxes import Box, VolumeBox, volume_box_around
from graysam.cases import label_dtype
from graysam.errors import PrepareError

LabelKind = Literal["classes", "components", "instances", "nested"]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)


@dataclass(frozen=True)
class SpeckRule:
    """Below which size a connected piece is a speck; sizes at the scale of the source file.

    Attributes:
        voxels: smallest piece of a volume.
        pixels: smallest piece of an image.
        slice_pixels: smallest piece of a volume within one slice; 0 leaves slices alone. The challenge cleans
            slices too: a prompt is drawn on slices, and a few pixels there are a matter of finding, not of
            outlining.
        volume_mm3: if given, used for volumes instead of `voxels`.
        area_mm2: if given, used for slices of volumes instead of `slice_pixels`.
    """

    voxels: int = 100
    pixels: int = 10
    slice_pixels: int = 10
    volume_mm3: float | None = None
    area_mm2: float | None = None

    def smallest_voxels(self, spacing_mm: tuple[float, float, float]) -> int:
        """Give the smallest piece of a volume in voxels."""
        if self.volume_mm3 is None:
            return self.voxels
        return int(np.ceil(self.volume_mm3 / float(np.prod(spacing_mm))))

    def smallest_slice_pixels(self, spacing_mm: tuple[float, float, float]) -> int:
        """Give the smallest piece within a slice in pixels."""
        if self.area_mm2 is None:
            return self.slice_pixels
        return int(np.ceil(self.area_mm2 / (spacing_mm[1] * spacing_mm[2])))


@dataclass(frozen=True)
class Drops:
    """What was left out of a label map.

    Attributes:
        pieces: connected pieces dropped for their size, whole or within a slice.
        elements: pixels or voxels in them.
        objects: objects of which nothing was left.
    """

    pieces: int = 0
    elements: int = 0
    objects: int = 0

    def __add__(self, other: Drops) -> Drops:
        return Drops(self.pieces + other.pieces, self.elements + other.elements, self.objects + other.objects)


@dataclass(frozen=True, eq=False)
class ObjectMask:
    """One object, as a cut-out of the label map.

    Attributes:
        value: the number in the source's label map.
        window: where the cut-out lies, one slice per axis.
        mask: bool, of the window's shape, touching each of its sides.
    """

    value: int
    window: tuple[slice, ...]
    mask: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Give the number of pixels or voxels."""
        return int(self.mask.sum())

    def in_full(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Give the mask in the whole image or volume."""
        full = np.zeros(shape, bool)
        full[self.window] = self.mask
        return full


def objects_of(
    labels: NDArray[Any],
    kind: LabelKind,
    *,
    rule: SpeckRule | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
) -> tuple[tuple[ObjectMask, ...], Drops]:
    """Give a label map's objects in painting order, and what was dropped.

    Args:
        labels: (H, W) or (D, H, W) unsigned integers, 0 is background.
        kind: what is one object; see the module's head.
        rule: which pieces are specks; the challenge's by default.
        spacing_mm: z, y, x; wanted where the rule speaks of mm.

    Raises:
        PrepareError: another kind, or a rule in mm without spacing.
    """
    if kind not in LABEL_KINDS:
        raise PrepareError(f"labels {kind!r}: wanted one of {', '.join(LABEL_KINDS)}.")
    rule = rule or SpeckRule()
    if labels.ndim == 3 and spacing_mm is None and (rule.volume_mm3 is not None or rule.area_mm2 is not None):
        raise PrepareError("a size in mm needs the volume's spacing.")
    spacing = spacing_mm or (1.0, 1.0, 1.0)
    found: list[ObjectMask] = []
    drops = Drops()
    for value, numbered in _numbered_layers(labels, kind):
        cleaned, dropped = _drop_specks(numbered, rule, spacing)
        drops += dropped
        for window, mask in _cut_out(cleaned):
            own_value = value if value is not None else int(labels[window][mask][0])
            found.append(ObjectMask(own_value, window, mask))
    return tuple(found), drops


def _numbered_layers(labels: NDArray[Any], kind: LabelKind) -> Iterator[tuple[int | None, NDArray[Any]]]:
    """Yield maps in which each number is one object, with the source's number where all of them share it."""
    if kind == "nested":
        for value in (int(value) for value in np.unique(labels) if value):
            yield value, (labels >= value).astype(np.uint8)
    elif kind == "components":
        yield None, cc3d.connected_components(labels, connectivity=_connectivity(labels))
    else:
        yield None, labels


def _connectivity(labels: NDArray[Any]) -> Literal[8, 26]:
    return 26 if labels.ndim == 3 else 8


def _drop_specks(
    numbered: NDArray[Any], rule: SpeckRule, spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[Any], Drops]:
    """Give the map without pieces that are too small: whole ones first, then those of a slice."""
    is_volume = numbered.ndim == 3
    limit = rule.smallest_voxels(spacing_mm) if is_volume else rule.pixels
    cleaned, pieces, elements = _dust(numbered, limit)
    slice_limit = rule.smallest_slice_pixels(spacing_mm) if is_volume else 0
    if slice_limit > 1:
        if cleaned is numbered:
            cleaned = numbered.copy()
        for z in np.flatnonzero(cleaned.any(axis=(1, 2))):
            cleaned[z], slice_pieces, slice_elements = _dust(cleaned[z], slice_limit)
            pieces, elements = pieces + slice_pieces, elements + slice_elements
    if not pieces:
        return cleaned, Drops()
    lost = _count_values(numbered) - _count_values(cleaned)
    return cleaned, Drops(pieces, elements, lost)


def _dust(numbered: NDArray[Any], limit: int) -> tuple[NDArray[Any], int, int]:
    """Give the map without connected pieces of fewer than `limit` elements, and their number and elements."""
    if limit <= 1:
        return numbered, 0, 0
    pieces = cc3d.connected_components(numbered, connectivity=_connectivity(numbered))
    sizes = _sizes_of(pieces)
    small = sizes < limit
    small[0] = False  # background
    if not small.any():
        return numbered, 0, 0
    return (
        np.where(small[pieces], 0, numbered).astype(numbered.dtype),
        int(small.sum()),
        int(sizes[small].sum()),
    )


def _sizes_of(numbered: NDArray[Any]) -> NDArray[np.int64]:
    """Give the number of elements of every number."""
    # bincount copies to 64 bits, 600 MB for a large volume; cc3d does not, but refuses numbers above the size.
    if numbered.ndim == 3 and int(numbered.max(initial=0)) < numbered.size:
        return np.asarray(cc3d.statistics(np.ascontiguousarray(numbered))["voxel_counts"], np.int64)
    return np.bincount(numbered.ravel())


def _count_values(numbered: NDArray[Any]) -> int:
    return int(np.count_nonzero(_sizes_of(numbered)[1:]))


def _cut_out(numbered: NDArray[Any]) -> Iterator[tuple[tuple[slice, ...], NDArray[np.bool_]]]:
    """Yield (window, mask) of every number, in rising order."""
    for index, window in enumerate(find_objects(numbered)):
        if window is not None:  # numbers may have gaps
            yield window, numbered[window] == index + 1


def paint(objects: Sequence[ObjectMask], shape: tuple[int, ...]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Give the label map in which object i has the value i + 1 and later objects lie on top."""
    labels: NDArray[Any] = np.zeros(shape, label_dtype(len(objects)))
    for index, found in enumerate(objects):
        labels[found.window][found.mask] = index + 1
    return labels


# --- boxes -------------------------------------------------------------------------------------------------


def image_box(found: ObjectMask) -> Box:
    """Give the tight box of an object of an image."""
    rows, columns = found.window
    return Box(float(columns.start), float(rows.start), float(columns.stop - 1), float(rows.stop - 1))


def volume_box(found: ObjectMask) -> VolumeBox:
    """Give the tight box on the middle slice, and the closed range of slices; see `graysam.boxes.volume_box_around`."""
    depth, rows, columns = found.window
    own = volume_box_around(found.mask)
    assert own is not None
    box = own.box
    shifted = Box(box.x_min + columns.start, box.y_min + rows.start, box.x_max + columns.start, box.y_max + rows.start)
    return VolumeBox(shifted, own.z_min + int(depth.start), own.z_max + int(depth.start))
