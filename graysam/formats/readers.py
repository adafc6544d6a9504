"""Read what hospitals and public sets hand out: NIfTI, DICOM series, MHA, NRRD, and plain images.

Volumes are read with SimpleITK: one library reads all four formats with the same geometry, sorts a DICOM
series by position and applies its rescale slope; nibabel + pydicom would leave sorting, rescaling and two
conventions of axes to us. pydicom is used for one thing that SimpleITK does not expose, the nested tags that
turn PET counts into SUV. Plain images are read with OpenCV.

Arrays are (z, y, x) exactly as stored: nothing is flipped or resampled, so that a segmentation fits the file
it came from, as in the challenge. `axes` says which way the stored axes point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from graysam.errors import PrepareError

sitk: Any = SimpleITK  # it ships with next to no types
SitkImage: TypeAlias = Any
DicomHeader: TypeAlias = Any  # pydicom.Dataset

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
LOSSY_SUFFIXES = (".jpg", ".jpeg")
LARGEST_LABEL = 65535

Units = Literal["HU", "SUV", "Bq/ml", "unknown"]

# A label map that was drawn on the image agrees with it to a fraction of a voxel; headers are often stored as
# float32.
GEOMETRY_TOLERANCE_VOXELS = 0.05


class ShapeMismatchError(PrepareError):
    """An image and its labels do not lie on one grid."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume as stored, with its place in the patient.

    Attributes:
        array: (D, H, W), any integer or float dtype; (1, H, W, 3) for a colour DICOM image.
        spacing_mm: distance of voxel centres along z, y, x.
        axes: towards where x, y, z run as the index grows: letters of L(eft), R, P(osterior), A, S(uperior),
            I. An oblique axis has the letter that is nearest.
        units: what a voxel's value means, as far as the file says.
        modality: what a DICOM header says ("CT", "PT", ...), else "".
        notes: what was decided while reading, in words.
    """

    array: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    axes: str
    units: Units = "unknown"
    modality: str = ""
    notes: tuple[str, ...] = field(default=())


def suffix_of(path: Path) -> str:
    """Give the file's suffix in lower case, ".nii.gz" taken as one; "" without one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def stem_of(path: Path) -> str:
    """Give the file's name without `suffix_of` it."""
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


# --- plain images ------------------------------------------------------------------------------------------


def read_image(path: Path) -> NDArray[Any]:
    """Read PNG, JPEG, TIFF or BMP as (H, W) or (H, W, 3) RGB, in the file's own depth, without transparency.

    Raises:
        PrepareError: unreadable, empty, or a TIFF of several pages (its other pages would be lost silently).
    """
    pages = cv2.imcount(str(path)) if suffix_of(path) in (".tif", ".tiff") else 1
    if pages > 1:
        raise PrepareError(
            f"{path.name}: {pages} pages in one TIFF; save it as a volume (NIfTI, NRRD) or one file each."
        )
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.size == 0:
        raise PrepareError(f"{path.name}: no readable image; copy the file again or save it anew as PNG.")
    if image.ndim == 2:
        return image
    if image.shape[2] < 3:  # gray with transparency
        return np.ascontiguousarray(image[..., 0])
    return np.ascontiguousarray(image[..., 2::-1])


def read_mask(path: Path) -> NDArray[Any]:
    """Read a label image as (H, W) integers; a lossy (JPEG) mask is cut at half of 255.

    Raises:
        PrepareError: unreadable, or in colours: which colour means which label is not for us to guess.
    """
    mask = read_image(path)
    if mask.ndim == 3:
        if not (np.array_equal(mask[..., 0], mask[..., 1]) and np.array_equal(mask[..., 0], mask[..., 2])):
            raise PrepareError(
                f"{path.name}: a mask in colours; save it with one channel whose numbers are the labels."
            )
        mask = np.ascontiguousarray(mask[..., 0])
    if suffix_of(path) in LOSSY_SUFFIXES:
        return (mask >= 128).astype(np.uint8)
    return check_labels(mask, path.name)


def check_labels(labels: NDArray[Any], name: str) -> NDArray[Any]:
    """Give the labels as unsigned integers.

    Raises:
        PrepareError: fractions, negative numbers or numbers above 65,535.
    """
    if labels.dtype.kind == "f":
        if not np.array_equal(labels, np.rint(labels)):
            raise PrepareError(f"{name}: labels must be whole numbers, got fractions; was the mask resampled smoothly?")
    elif labels.dtype.kind not in "uib":
        raise PrepareError(f"{name}: labels must be numbers, got dtype {labels.dtype}.")
    low, high = (float(labels.min()), float(labels.max())) if labels.size else (0.0, 0.0)
    if low < 0 or high > LARGEST_LABEL:
        raise PrepareError(f"{name}: labels must lie in 0..{LARGEST_LABEL}, got {low:g}..{high:g}.")
    if labels.dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        return labels
    return labels.astype(np.uint8 if high <= 255 else np.uint16)


# --- volumes -----------------------------------------------------------------------------------------------


def read_volume(path: Path) -> Volume:
    """Read a volume file, or a folder that holds one DICOM series.

    Raises:
        PrepareError: unreadable, not three-dimensional, without voxels, not finite, or several series in the
        folder.
    """
    if path.is_dir():
        return _read_dicom(path)
    return _volume_from(_read_sitk(path), path.name)


def read_label_volume(path: Path, image_path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Read the label map of an image, in the image's own voxel order, with notes on what had to be done.

    A label map stored with flipped or swapped axes is brought to the image's order when its geometry then
    agrees. If only the shape agrees (many tools lose the header), it is taken voxel by voxel and a note says
    so.

    Raises:
        ShapeMismatchError: of another shape.
        PrepareError: unreadable.
    """
    image = _dicom_image(image_path)[0] if image_path.is_dir() else _read_sitk(image_path, header_only=True)
    label = _read_sitk(path)
    if _geometry_gap(label, image) <= GEOMETRY_TOLERANCE_VOXELS:
        return check_labels(sitk.GetArrayFromImage(label), path.name), ()
    turned = sitk.DICOMOrient(label, axes_of(image))
    if _geometry_gap(turned, image) <= GEOMETRY_TOLERANCE_VOXELS:
        note = f"labels turned from {axes_of(label)} to the image's {axes_of(image)}"
        return check_labels(sitk.GetArrayFromImage(turned), path.name), (note,)
    if label.GetSize() == image.GetSize():
        note = "labels and image have the same shape but another place or spacing; taken voxel by voxel"
        return check_labels(sitk.GetArrayFromImage(label), path.name), (note,)
    raise ShapeMismatchError(
        f"{path.name}: wanted the image's shape {image.GetSize()[::-1]} (z, y, x), "
        f"got {label.GetSize()[::-1]}; resample the labels onto the image without smoothing."
    )


def axes_of(image: SitkImage) -> str:
    """Give the letters towards which x, y, z run; see `Volume.axes`."""
    return str(sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection()))


def _read_sitk(path: Path, *, header_only: bool = False) -> SitkImage:
    try:
        if not header_only:
            image: SitkImage = sitk.ReadImage(str(path))
        else:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            image = _HeaderOnly(reader)
    except RuntimeError as error:
        raise PrepareError(f"{path.name}: cannot be read as a volume: {_last_line(error)}") from error
    if len(image.GetSize()) != 3:
        raise PrepareError(
            f"{path.name}: wanted three dimensions, got shape {image.GetSize()[::-1]}; "
            "save each time point or channel as a file of its own."
        )
    return image


class _HeaderOnly:
    """The geometry that a SimpleITK reader found, under the names that an image has; voxels stay unread."""

    def __init__(self, reader: SitkImage) -> None:
        self.GetSize = reader.GetSize
        self.GetSpacing = reader.GetSpacing
        self.GetOrigin = reader.GetOrigin
        self.GetDirection = reader.GetDirection


def _volume_from(image: SitkImage, name: str, *, units: Units = "unknown") -> Volume:
    array = sitk.GetArrayFromImage(image)
    if array.size == 0:
        raise PrepareError(f"{name}: the volume has no voxels.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise PrepareError(f"{name}: the volume holds NaN or infinite values; replace them and save it again.")
    spacing = image.GetSpacing()
    return Volume(array, (spacing[2], spacing[1], spacing[0]), axes_of(image), units)


def _geometry_gap(first: SitkImage, second: SitkImage) -> float:
    """Give how far apart the corners of two grids lie, in voxels of the second; infinite for other sizes."""
    if first.GetSize() != second.GetSize():
        return float("inf")
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * (np.array(second.GetSize()) - 1)
    gaps = [float(np.abs(_place(first, corner) - _place(second, corner)).max()) for corner in corners]
    return max(gaps) / float(min(second.GetSpacing()))


def _place(image: SitkImage, index: NDArray[Any]) -> NDArray[np.float64]:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    place: NDArray[np.float64] = np.array(image.GetOrigin()) + direction @ (index * np.array(image.GetSpacing()))
    return place


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


# --- DICOM -------------------------------------------------------------------------------------------------


def dicom_series(folder: Path) -> tuple[str, ...]:
    """Give the SeriesInstanceUIDs of the DICOM files that lie in a folder; empty when there are none."""
    was_shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()  # it warns about every file that is no DICOM
    try:
        return tuple(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(was_shown)


def _dicom_image(folder: Path) -> tuple[SitkImage, Sequence[str]]:
    found = dicom_series(folder)
    if not found:
        raise PrepareError(f"{folder.name}: no DICOM series in this folder.")
    if len(found) > 1:
        raise PrepareError(f"{folder.name}: {len(found)} DICOM series in one folder; give each a folder of its own.")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), found[0])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        return reader.Execute(), files
    except RuntimeError as error:
        raise PrepareError(f"{folder.name}: the DICOM series cannot be read: {_last_line(error)}") from error


def _read_dicom(folder: Path) -> Volume:
    import pydicom  # only DICOM needs it

    image, files = _dicom_image(folder)
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    header, notes = headers[0], []
    volume = _volume_from(image, folder.name)
    array, units = volume.array, volume.units
    gap = _uneven_gap_mm(headers)
    if gap is not None:
        notes.append(f"slices are not evenly spaced (distances differ by {gap:.2f} mm); is a slice missing?")
    modality = str(header.get("Modality", ""))
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        notes.append("MONOCHROME1: the reader has turned it so that dense is bright")
    if modality == "CT":
        units = "HU"
    elif modality == "PT":
        factor = suv_factor(header)
        if factor is None:
            units = "Bq/ml"
            notes.append("PET without dose, time or weight: no SUV")
        else:
            array, units = (array * factor).astype(np.float32), "SUV"
            notes.append(f"PET scaled to SUV (body weight) by {factor:.6g}")
    return Volume(array, volume.spacing_mm, volume.axes, units, modality, tuple(notes))


def _uneven_gap_mm(headers: Sequence[DicomHeader]) -> float | None:
    """Give by how much the distances between slices differ; None when within 0.1 mm, or unknown."""
    if len(headers) < 3 or any("ImagePositionPatient" not in h or "ImageOrientationPatient" not in h for h in headers):
        return None
    orientation = np.array(headers[0].ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    steps = np.diff(np.sort([float(np.dot(normal, np.array(h.ImagePositionPatient, float))) for h in headers]))
    spread = float(steps.max() - steps.min())
    return spread if spread > 0.1 else None


def suv_factor(header: DicomHeader) -> float | None:
    """Give the factor that turns a PET voxel in Bq/ml into SUV by body weight; None when a tag is missing.

    SUV = activity / (injected dose, decayed to the start of the scan, / body weight in g), as in the QIBA
    profile's vendor-neutral recipe; the scan's start is the earlier of series and acquisition time.
    """
    units = header.get("Units", "")
    if units == "GML":  # already SUV by body weight
        return 1.0
    sequence = header.get("RadiopharmaceuticalInformationSequence")
    weight_kg = float(header.get("PatientWeight") or 0)
    if units != "BQML" or not sequence or weight_kg <= 0:
        return None
    drug = sequence[0]
    dose_bq, half_life_s = (
        float(drug.get("RadionuclideTotalDose") or 0),
        float(drug.get("RadionuclideHalfLife") or 0),
    )
    if dose_bq <= 0 or half_life_s <= 0:
        return None
    if header.get("DecayCorrection") == "ADMIN":  # counts are already those of the time of injection
        return weight_kg * 1000 / dose_bq
    scans = [_clock(header.get("SeriesTime")), _clock(header.get("AcquisitionTime"))]
    starts = [time for time in scans if time is not None]
    injected = _clock(drug.get("RadiopharmaceuticalStartTime"))
    if not starts or injected is None:
        return None
    waited = min(starts) - injected
    if waited < timedelta(0):  # over midnight
        waited += timedelta(days=1)
    decayed_bq = dose_bq * 2 ** (-waited.total_seconds() / half_life_s)
    return float(weight_kg * 1000 / decayed_bq)


def _clock(value: object) -> datetime | None:
    """Read DICOM's HHMMSS.ffffff; None for anything else."""
    text = str(value or "").split(".")[0].strip()
    if len(text) < 2:  # an empty time is no midnight
        return None
    try:
        return datetime.strptime(text.ljust(6, "0")[:6], "%H%M%S")
    except ValueError:
        return None
