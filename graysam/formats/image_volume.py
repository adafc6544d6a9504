"""`Volume`, what every reader of image files hands back, and what readers share: suffixes, clean voxels; numpy only.

A reader (nifti.py, dicom.py, itk_files.py, picture_files.py) takes a path and gives a `Volume` or an array. It tells
what it decided in `notes`, what looks wrong in `warnings`, and refuses by a `PrepareError` that names the file, the
cause and the remedy. Nothing is flipped or resampled, so that a segmentation fits the file that it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graysam.cases import Modality
from graysam.errors import PrepareError
from graysam.formats.grids import Grid

if TYPE_CHECKING:
    from graysam.image.windows import Units

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".seg.nrrd", ".seg.nhdr", ".nrrd", ".nhdr")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima", ".seg.dcm")
LOSSY_SUFFIXES = (".jpg", ".jpeg")
# Suffixes of two parts: 3D Slicer calls its segmentations "name.seg.nrrd", and ours of DICOM are "name.seg.dcm".
_DOUBLE_SUFFIXES = (".nii.gz", ".seg.nrrd", ".seg.nhdr", ".seg.dcm")

# What DICOM calls a modality, and what we call it.
DICOM_MODALITIES: dict[str, Modality] = {
    "CT": "CT",
    "MR": "MR",
    "PT": "PET",
    "US": "US",
    "DX": "X-Ray",
    "CR": "X-Ray",
    "RF": "X-Ray",
    "XA": "X-Ray",
    "MG": "Mammography",
    "OPT": "OCT",
    "OP": "Fundus",
    "ES": "Endoscopy",
    "SM": "Microscopy",
    "GM": "Microscopy",
}


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume as stored, with its place in the patient.

    Attributes:
        array: (D, H, W), any integer or float dtype, finite; (1, H, W, 3) for a colour DICOM picture.
        grid: where the voxels lie.
        other_grids: how other programs state the place of these same voxels, where they cannot say it as it is (a
            sheared stack); a label map that lies on one of them was drawn on these voxels.
        units: what a voxel's value means, as far as the file says.
        modality: what a DICOM header says ("CT", "PT", ...), else "".
        is_picture: whether this is one DICOM picture (an X-ray, say) and no stack of slices.
        notes: what was decided while reading, in words.
        warnings: what looks wrong, in words; `--strict` makes it fatal.
        not_finite: how many voxels were NaN or infinite, and were replaced.
    """

    array: NDArray[Any]
    grid: Grid
    other_grids: tuple[Grid, ...] = ()
    units: Units = "unknown"
    modality: str = ""
    is_picture: bool = False
    notes: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())
    not_finite: int = 0

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Give the distance of voxel centres along z, y, x."""
        return self.grid.spacing_mm

    @property
    def axes(self) -> str:
        """Give the letters towards which x, y, z run; see `Grid.axes`."""
        return self.grid.axes


@dataclass
class Remarks:
    """What a reader collects while it reads."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    not_finite: int = 0

    def on(self, volume: Volume) -> Volume:
        """Give the volume that was read, with what was collected."""
        notes, warnings = tuple(self.notes), tuple(self.warnings)
        return replace(volume, notes=notes, warnings=warnings, not_finite=self.not_finite)


def suffix_of(path: Path) -> str:
    """Give the file's suffix in lower case, ".nii.gz" and ".seg.nrrd" taken as one; "" without one."""
    name = path.name.lower()
    for suffix in _DOUBLE_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    return path.suffix.lower()


def stem_of(path: Path) -> str:
    """Give the file's name without `suffix_of` it."""
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def finite_voxels(array: NDArray[Any], name: str, remarks: Remarks) -> NDArray[Any]:
    """Give the voxels with NaN and -inf at the smallest finite value and +inf at the largest, with a warning.

    Scanners and registration tools write NaN where they have not measured; that is not 0 HU.

    Raises:
        PrepareError: no voxels, no finite one, or voxels that are no numbers.
    """
    if array.size == 0:
        raise PrepareError(f"{name}: the volume has no voxels; export it again.")
    if array.dtype.kind not in "uifb":
        raise PrepareError(f"{name}: voxels of type {array.dtype} (colours or complex numbers); save one gray channel.")
    if array.dtype.kind != "f":
        return array
    finite = np.isfinite(array)
    if finite.all():
        return array
    if not finite.any():
        raise PrepareError(f"{name}: all voxels are NaN or infinite; export it again.")
    low, high = float(array.min(where=finite, initial=np.inf)), float(array.max(where=finite, initial=-np.inf))
    remarks.not_finite = array.size - int(finite.sum())
    remarks.warnings.append(
        f"{remarks.not_finite} voxels are NaN or infinite; replaced by the ends of the range, {low:g} and {high:g}"
    )
    whole: NDArray[Any] = np.nan_to_num(array, nan=low, neginf=low, posinf=high)
    return whole


def scaled_voxels(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Give slope * stored + intercept: whole numbers stay whole, anything else becomes float32."""
    if slope == 1 and intercept == 0:
        return stored
    if stored.dtype.kind in "uib" and float(slope).is_integer() and float(intercept).is_integer():
        ends = [int(stored.min(initial=0)) * int(slope), int(stored.max(initial=0)) * int(slope)]
        low, high = min(ends) + int(intercept), max(ends) + int(intercept)
        if low > -(2**53) and high < 2**53:
            whole = stored.astype(np.int64) * int(slope) + int(intercept)
            fits = np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max
            return whole.astype(np.int16 if fits else np.int32 if abs(low) < 2**31 > high else np.int64)
    # In float64, so that the one rounding to float32 comes last.
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
