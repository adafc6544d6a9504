"""Reads a source: image and labels on one grid, intensities brought to 0..255 by a window.

Files are read by `graysam.formats`, windows chosen by `graysam.image.windows`. What comes out becomes cases
(`data_prep.convert`), training stores (`data_prep.pack`, `data_prep.paper_store`) or a report (`data_prep.inspection`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.sources import Source
from graysam.errors import PrepareError
from graysam.formats.image_volume import DICOM_MODALITIES
from graysam.formats.readers import (
    ShapeMismatchError,
    SoftMasks,
    Units,
    read_label_picture,
    read_label_volume,
    read_picture,
    read_volume,
)
from graysam.image.windows import Window, apply_window, choose_window, doubts, parse_window


@dataclass(frozen=True, eq=False)
class RawSource:
    """An image and its labels as the files have them.

    Attributes:
        image: (H, W), (H, W, 3) or (D, H, W), of the file's dtype and range.
        labels: (H, W) or (D, H, W) unsigned integers, on the image's grid.
        is_volume: whether the arrays are (D, H, W).
        modality: canonical name, "" when nothing tells it.
        units: what the values mean.
        spacing_mm: z, y, x; None for images.
        axes: see `grids.Grid.axes`; "" for images.
        notes: what was decided on the way.
        warnings: what looks wrong; `--strict` makes it fatal.
    """

    image: NDArray[Any]
    labels: NDArray[Any]
    is_volume: bool
    modality: str
    units: Units = "unknown"
    spacing_mm: tuple[float, float, float] | None = None
    axes: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LoadedSource:
    """A source ready for use: intensities as 0..255, labels beside them.

    Attributes:
        image: (H, W), (H, W, 3) or (D, H, W) uint8.
        labels, is_volume, modality, spacing_mm, axes, notes, warnings: see `RawSource`.
        window: how the intensities were brought to 0..255.
    """

    image: NDArray[np.uint8]
    labels: NDArray[Any]
    is_volume: bool
    modality: str
    spacing_mm: tuple[float, float, float] | None
    axes: str
    window: Window
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def read_source(source: Source, *, soft_masks: SoftMasks = "refuse") -> RawSource:
    """Read an image and its labels, untouched.

    Raises:
        ShapeMismatchError: they do not lie on one grid.
        PrepareError: unreadable, or a volume in colours.
    """
    raw = _read_volume_source(source, soft_masks) if source.is_volume else _read_picture_source(source, soft_masks)
    if raw.image.ndim == 4:
        raise PrepareError(f"{source.name}: a volume in colours, shape {raw.image.shape}; save one gray channel.")
    wanted = raw.image.shape if raw.is_volume else raw.image.shape[:2]
    if raw.labels.shape != wanted:
        turned = "".join(f" ({note})" for note in raw.notes if "EXIF" in note)
        raise ShapeMismatchError(
            f"{source.name}: image {wanted} and labels {raw.labels.shape} differ in shape{turned}; export both from "
            "one grid."
        )
    return _without_ignored(raw, source)


def _read_volume_source(source: Source, soft_masks: SoftMasks) -> RawSource:
    volume = read_volume(source.image)
    labels, label_notes, label_warnings = read_label_volume(source.label, volume, soft_masks=soft_masks)
    modality = source.modality or DICOM_MODALITIES.get(volume.modality, "")
    notes, warnings = (*volume.notes, *label_notes), (*volume.warnings, *label_warnings)
    # One DICOM picture (an X-ray, say) comes as a volume of one slice; it is an image.
    if volume.is_picture:
        return RawSource(volume.array[0], labels[0], False, modality, volume.units, notes=notes, warnings=warnings)
    return RawSource(
        volume.array, labels, True, modality, volume.units, volume.spacing_mm, volume.axes, notes, warnings
    )


def _read_picture_source(source: Source, soft_masks: SoftMasks) -> RawSource:
    picture = read_picture(source.image)
    mask = read_label_picture(source.label, soft_masks=soft_masks)
    notes, warnings = (*picture.notes, *mask.notes), (*picture.warnings, *mask.warnings)
    return RawSource(picture.array, mask.array, False, source.modality, notes=notes, warnings=warnings)


def _without_ignored(raw: RawSource, source: Source) -> RawSource:
    """Give the source with the numbers that mean "ignore" as background."""
    ignored = np.isin(raw.labels, source.ignored_labels) if source.ignored_labels else None
    if ignored is None or not ignored.any():
        return raw
    note = f"{int(ignored.sum())} pixels or voxels of the label 'ignore' taken as background"
    return replace(raw, labels=np.where(ignored, 0, raw.labels).astype(raw.labels.dtype), notes=(*raw.notes, note))


def load_source(
    source: Source, *, window: str = "auto", soft_masks: SoftMasks = "refuse", strict: bool = False
) -> LoadedSource:
    """Read an image and its labels, and bring the intensities to 0..255.

    Raises:
        PrepareError: see `read_source`; also for an unknown modality, and with `strict` for any warning.
    """
    raw = read_source(source, soft_masks=soft_masks)
    if not raw.modality:
        raise PrepareError(f"{source.name}: the modality is not known; give --modality or write dataset.json.")
    asked = window if window != "auto" else source.window
    chosen = parse_window(asked) if asked else window_for(raw, source)
    warnings = (*raw.warnings, *doubts_of(raw, source, chosen))
    if strict and warnings:
        raise PrepareError(f"{'; '.join(warnings)} (--strict makes this fatal)")
    image, applied = apply_window(raw.image, chosen)
    return LoadedSource(
        image, raw.labels, raw.is_volume, raw.modality, raw.spacing_mm, raw.axes, applied, raw.notes, warnings
    )


def window_for(raw: RawSource, source: Source) -> Window:
    """Choose the intensity window of a source that asks for none."""
    return choose_window(raw.image, modality=raw.modality, is_volume=raw.is_volume, named=source.name, units=raw.units)


def doubts_of(raw: RawSource, source: Source, window: Window) -> tuple[str, ...]:
    """Give what makes the intensities doubtful, in words; see `windows.doubts`."""
    return doubts(raw.image, modality=raw.modality, is_volume=raw.is_volume, units=raw.units, window=window)
