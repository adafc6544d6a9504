"""Read an image, a volume or a label map, whatever its file format: NIfTI, DICOM, MHA, NRRD and plain pictures.

Which library reads what: nibabel NIfTI, pydicom DICOM, SimpleITK MHA and NRRD, OpenCV and Pillow pictures. Each is
imported when its first file is read, so that this module costs nothing where no such file is. Arrays are (z, y, x)
exactly as stored. By which rule a label map is laid on its image stands in grids.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from graysam.errors import PrepareError
from graysam.formats.extras import install_command
from graysam.formats.grids import ShapeMismatchError, lay_on
from graysam.formats.image_volume import (
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    LOSSY_SUFFIXES,
    VOLUME_SUFFIXES,
    Volume,
    stem_of,
    suffix_of,
)
from graysam.formats.labels import SoftMasks, check_labels, doubts_of_labels
from graysam.image.windows import Units

__all__ = [
    "DICOM_SUFFIXES", "IMAGE_SUFFIXES", "LOSSY_SUFFIXES", "VOLUME_SUFFIXES", "ShapeMismatchError", "SoftMasks", "Units",
    "Volume", "check_labels", "dicom_files", "is_dicom", "is_stored_upright", "read_image", "read_label_picture",
    "read_label_volume", "read_mask", "read_picture", "read_volume", "stem_of", "suffix_of", "suv_factor",
]  # fmt: skip

if TYPE_CHECKING:
    from graysam.formats.picture_files import Picture

Read = TypeVar("Read")

NIFTI_SUFFIXES = (".nii", ".nii.gz")


def read_volume(path: Path) -> Volume:
    """Read a volume file, a folder that holds one DICOM series, or a DICOM file.

    Raises:
        PrepareError: unreadable, cut off, not three-dimensional, without voxels, or several series in the folder.
    """
    return _guarded(path, _read_volume)


def _read_volume(path: Path) -> Volume:
    if path.is_dir() or suffix_of(path) not in VOLUME_SUFFIXES:
        from graysam.formats.dicom import read_dicom

        return read_dicom(path)
    if suffix_of(path) in NIFTI_SUFFIXES:
        from graysam.formats.nifti import read_nifti

        return read_nifti(path)
    from graysam.formats.itk_files import read_itk_file

    return read_itk_file(path)


def read_label_volume(
    path: Path, image: Volume, *, soft_masks: SoftMasks = "refuse"
) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    """Read the label map of an image, in the image's own voxel order, with notes and warnings; the rule: grids.py.

    Raises:
        ShapeMismatchError: it does not lie on the image.
        PrepareError: unreadable, or no labels.
    """
    if suffix_of(path) in IMAGE_SUFFIXES:
        return _label_picture_for(path, image, soft_masks=soft_masks)
    segmentation = _segmentation_in(path)
    label = read_volume(path) if segmentation is None else _read_segmentation(segmentation, image)
    if label.array.ndim != 3:
        raise PrepareError(f"{path.name}: a label map in colours; save one channel whose numbers are the labels.")
    if label.not_finite:
        raise PrepareError(
            f"{path.name}: labels must be numbers, got {label.not_finite} that are NaN or infinite; give what is no "
            "object the number 0."
        )
    array, notes, warnings = lay_on(label.array, label.grid, image.grid, image.other_grids, path.name)
    if image.is_picture and not image.grid.is_stated:
        warnings = ()  # a picture lies nowhere, which is no reason for doubt
    # A sheared grid was told of the image already.
    own = tuple(what for what in label.warnings if what not in image.warnings and "sheared" not in what)
    labels = check_labels(array, path.name, soft_masks=soft_masks)
    own = (*own, *doubts_of_labels(array, labels))
    return labels, (*label.notes, *notes), (*(f"labels: {what}" for what in own), *warnings)


def _segmentation_in(path: Path) -> Path | None:
    """Give the DICOM SEG that a path is, or that lies alone in the folder that it is; None for anything else."""
    if not path.is_dir() and suffix_of(path) not in (*DICOM_SUFFIXES, ""):
        return None
    from graysam.formats.dicom_seg_labels import is_segmentation

    files = [each for each in path.iterdir() if not each.name.startswith(".")] if path.is_dir() else [path]
    return files[0] if len(files) == 1 and is_segmentation(files[0]) else None


def _read_segmentation(path: Path, image: Volume) -> Volume:
    from graysam.formats.dicom_seg_labels import read_segmentation

    return _guarded(path, lambda each: read_segmentation(each, image.grid))


def _label_picture_for(
    path: Path, image: Volume, *, soft_masks: SoftMasks
) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    """Read a plain picture as the labels of a volume of one slice (an X-ray as DICOM, say)."""
    picture = read_label_picture(path, soft_masks=soft_masks)
    wanted = image.array.shape[1:3]
    if image.array.shape[0] != 1 or picture.array.shape != wanted:
        raise ShapeMismatchError(
            f"{path.name}: wanted labels of shape {image.array.shape[:3]}, got a picture of {picture.array.shape}; "
            "export both from one grid."
        )
    return picture.array[None], picture.notes, picture.warnings


def read_picture(path: Path) -> Picture:
    """Read PNG, JPEG, TIFF or BMP; see `picture_files.read_picture`."""
    from graysam.formats import picture_files

    return _guarded(path, picture_files.read_picture)


def read_label_picture(path: Path, *, soft_masks: SoftMasks = "refuse") -> Picture:
    """Read a label picture; see `picture_files.read_label_picture`."""
    from graysam.formats import picture_files

    return _guarded(path, lambda each: picture_files.read_label_picture(each, soft_masks=soft_masks))


def read_image(path: Path) -> NDArray[Any]:
    """Read a picture as (H, W) or (H, W, 3) RGB, in the file's own depth."""
    return read_picture(path).array


def read_mask(path: Path, *, soft_masks: SoftMasks = "refuse") -> NDArray[Any]:
    """Read a label picture as (H, W) unsigned integers."""
    return read_label_picture(path, soft_masks=soft_masks).array


def is_stored_upright(path: Path) -> bool:
    """Tell whether a picture needs no turning by EXIF."""
    from graysam.formats import picture_files

    return _guarded(path, picture_files.is_stored_upright)


def dicom_files(folder: Path) -> dict[str, list[Path]]:
    """Give the DICOM files that lie in a folder by SeriesInstanceUID; empty when there are none."""
    from graysam.formats.dicom import series_in

    return series_in(folder)


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM, by its content."""
    from graysam.formats import dicom

    return dicom.is_dicom(path)


def suv_factor(header: Any) -> float | None:  # noqa: ANN401  pydicom.Dataset
    """Give the factor that turns a PET voxel in Bq/ml into SUV by body weight; see pet.py."""
    from graysam.formats import pet

    return pet.suv_factor(header)


def _guarded(path: Path, read: Callable[[Path], Read]) -> Read:
    """Read, and make a PrepareError with the file's name of whatever a library raises."""
    try:
        return read(path)
    except PrepareError:
        raise
    except ModuleNotFoundError as error:
        raise _missing(path, error) from error
    except Exception as error:  # libraries raise whatever a damaged file leads to
        raise _unreadable(path, error) from error


def _missing(path: Path, error: ModuleNotFoundError) -> PrepareError:
    return PrepareError(f"{path.name}: reading it needs the package {error.name}; run: {install_command()}")


def _unreadable(path: Path, error: BaseException) -> PrepareError:
    return PrepareError(
        f"{path.name}: cannot be read ({type(error).__name__}: {error}); damaged, or of a kind that is not read."
    )
