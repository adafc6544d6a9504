"""Volumes as hospitals and laboratories keep them: NIfTI, MetaImage and NRRD; each is answered in its own format.

A file is a case where boxes lie next to it (`scan.boxes.csv`, `scan.mrk.json`; see box_files.py), and every file is one
where the user says where boxes stand. Values go through the intensity window of their modality. Slices are those of the
file's third axis, in the order of its voxels; a file of one slice is an image. The answer lies on the voxels of the
image, with the same geometry in its header.

The readers come with the extra `files`, and are imported when the first such file is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Notes, clean_boxes
from graysam.cases import Case, ImageCase, Labels, Original, VolumeCase, check_size, narrow_labels
from graysam.errors import CaseError, PrepareError
from graysam.files import written_whole
from graysam.formats.base import Answer, naming
from graysam.formats.extras import missing_package
from graysam.formats.reading_options import Reading, windowed

if TYPE_CHECKING:
    from graysam.formats.image_volume import Volume

# What label maps of 3D Slicer are called; they are no images.
_SEGMENTATIONS = (".seg.nrrd", ".seg.nhdr")


class VolumeFormat(ABC):
    """What the formats of one file for a volume have in common."""

    name: str
    suffixes: tuple[str, ...]
    result_suffix: str

    def __init__(self, reading: Reading | None = None) -> None:
        self.reading = reading or Reading()
        self._names: tuple[Path | None, Notes] = (None, ())  # of the objects of the case that was read last

    @property
    def cases(self) -> str:
        """Say what a case looks like in a folder."""
        return f"*{' or *'.join(self.suffixes)}"

    def claims(self, path: Path) -> bool:
        """Tell whether an entry is called like a volume, and boxes lie next to it or where the user says."""
        suffix = self._suffix(path)
        if not suffix or path.name.lower().endswith(_SEGMENTATIONS) or path.is_dir():
            return False
        if self.reading.boxes.is_named:
            return True
        from graysam.formats.box_files import file_beside

        return file_beside(path.parent, self.case_name(path)) is not None

    def _suffix(self, path: Path) -> str:
        name = path.name.lower()
        return next((suffix for suffix in self.suffixes if name.endswith(suffix)), "")

    def case_name(self, path: Path) -> str:
        """Give the file's name without its suffix."""
        return path.name[: len(path.name) - len(self._suffix(path))]

    def result_name(self, path: Path) -> str:
        """Give the case's name with the suffix of results."""
        return self.case_name(path) + self.result_suffix

    def describe(self, path: Path) -> tuple[int, ...] | None:
        """Give (D, H, W), or (H, W) for one slice, from the header alone."""
        try:
            return _without_lone_slice(self._header_shape(path))
        except Exception:  # the reader of the case names what is wrong
            return None

    def read(self, path: Path) -> Case:
        """Read the volume and its boxes, and bring its values to 0..255.

        Raises:
            CaseError: file or boxes cannot be used, or a package is missing.
        """
        with readable(path.name):
            from graysam.formats.readers import read_volume

            volume = read_volume(path)
        case = make_case(volume, path, self.case_name(path), self.reading)
        self._names = (path, case.box_names)
        return case

    def write(self, result: Path, answer: Answer, *, source: Path) -> None:
        """Write labels with the geometry of `source`.

        Raises:
            CaseError: labels of another shape, or the file cannot be written.
        """
        with readable(source.name):
            shape = self._header_shape(source)
        with naming(result):
            narrow = narrow_labels(answer.labels)
            if narrow.shape not in (shape, _without_lone_slice(shape)):
                raise CaseError(f"labels of shape {narrow.shape}, wanted {shape}.")
        if answer.names:
            self._names = (source, answer.names)
        with readable(source.name):
            content = self._encode(narrow.reshape(shape), source, answer.failure)
        with written_whole(result, CaseError) as temporary:
            temporary.write_bytes(content)

    def is_finished(self, result: Path, label_shape: tuple[int, ...] | None) -> bool:
        """Tell whether `result` is a whole result of that shape, and no stand-in."""
        if label_shape is None or not result.is_file():
            return False
        try:
            shape = self._finished_shape(result)
        except Exception:  # whatever a file that is no result leads to
            return False
        return shape is not None and _without_lone_slice(shape) == label_shape

    def _object_names(self, source: Path, labels: Labels) -> Notes:
        """Give a name for each label."""
        path, names = self._names
        known = names if path == source else ()
        count = max(len(known), int(labels.max(initial=0)))
        return tuple(known[i] if i < len(known) else f"object {i + 1}" for i in range(count))

    @abstractmethod
    def _header_shape(self, path: Path) -> tuple[int, int, int]:
        """Give (D, H, W) of an image."""

    @abstractmethod
    def _finished_shape(self, result: Path) -> tuple[int, int, int] | None:
        """Give (D, H, W) of a result, None for a stand-in."""

    @abstractmethod
    def _encode(self, labels: Labels, source: Path, failure: str | None) -> bytes:
        """Give the result's bytes. labels: (D, H, W)."""


class NiftiFormat(VolumeFormat):
    """NIfTI; the result has the image's file name, both its transforms, and their codes."""

    name = "NIfTI"
    suffixes = (".nii.gz", ".nii")

    def result_name(self, path: Path) -> str:
        """Give the image's own file name."""
        return path.name

    def _header_shape(self, path: Path) -> tuple[int, int, int]:
        from graysam.formats.nifti import read_nifti_header
        from graysam.formats.nifti_labels import label_shape

        return label_shape(read_nifti_header(path))

    def _finished_shape(self, result: Path) -> tuple[int, int, int] | None:
        from graysam.formats.nifti_labels import finished_shape

        return finished_shape(result)

    def _encode(self, labels: Labels, source: Path, failure: str | None) -> bytes:
        from graysam.formats.nifti_labels import encode_nifti

        return encode_nifti(labels, source, failure=failure, packed=source.name.lower().endswith(".gz"))


class MetaFormat(VolumeFormat):
    """MetaImage; the result is one .mha file."""

    name = "MetaImage"
    suffixes = (".mha", ".mhd")
    result_suffix = ".mha"

    def _header_shape(self, path: Path) -> tuple[int, int, int]:
        from graysam.formats.itk_labels import label_shape
        from graysam.formats.voxel_files import read_meta_header

        return label_shape(read_meta_header(path).fields)

    def _finished_shape(self, result: Path) -> tuple[int, int, int] | None:
        from graysam.formats.itk_labels import finished_shape
        from graysam.formats.voxel_files import read_meta_header

        return finished_shape(read_meta_header(result).fields)

    def _encode(self, labels: Labels, source: Path, failure: str | None) -> bytes:
        from graysam.formats.itk_labels import encode_meta

        return encode_meta(labels, source, failure=failure)


class NrrdFormat(VolumeFormat):
    """NRRD; the result is a .seg.nrrd, which 3D Slicer opens as a segmentation with the objects' names."""

    name = "NRRD"
    suffixes = (".nrrd", ".nhdr")
    result_suffix = ".seg.nrrd"

    def _header_shape(self, path: Path) -> tuple[int, int, int]:
        from graysam.formats.itk_labels import label_shape
        from graysam.formats.voxel_files import read_nrrd_header

        return label_shape(read_nrrd_header(path).fields)

    def _finished_shape(self, result: Path) -> tuple[int, int, int] | None:
        from graysam.formats.itk_labels import finished_shape
        from graysam.formats.voxel_files import read_nrrd_header

        return finished_shape(read_nrrd_header(result).fields)

    def _encode(self, labels: Labels, source: Path, failure: str | None) -> bytes:
        from graysam.formats.itk_labels import encode_nrrd
        from graysam.image.drawing import label_colours

        names = self._object_names(source, labels)
        return encode_nrrd(labels, source, names, label_colours(len(names))[:, ::-1], failure=failure)


# --- shared with DICOM ------------------------------------------------------------------------------------------------


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Make a CaseError of what a reader raises, naming the command that installs a missing package."""
    try:
        yield
    except ImportError as error:
        raise missing_package(name, error) from error
    except PrepareError as error:
        raise CaseError(str(error)) from error
    except OSError as error:
        raise CaseError(f"{name}: cannot be read: {error.strerror or error}.") from error


def make_case(volume: Volume, path: Path, name: str, reading: Reading, *, folder: Path | None = None) -> Case:
    """Make a case of a volume that was read: boxes in its voxels, values in 0..255.

    Args:
        volume: as the reader gives it; one slice becomes an image.
        path: of the file, or of the folder of a series.
        name: what the case is called.
        reading: the user's words on boxes and values.
        folder: where files of boxes may lie, that of `path` by default.

    Raises:
        CaseError: boxes that cannot be used, or an image that is too large.
    """
    from graysam.formats.image_volume import DICOM_MODALITIES

    is_volume = volume.array.shape[0] > 1
    array = volume.array if is_volume else volume.array[0]
    with naming(path):
        size_hw = volume.array.shape[1:3]
        check_size(array.shape, size_hw=(size_hw[0], size_hw[1]), field="the volume" if is_volume else "the image")
    numbers, names, box_notes = _box_numbers(volume, path, name, reading, folder, is_volume=is_volume)
    shown = windowed(
        array,
        name=path.name,
        header_modality=DICOM_MODALITIES.get(volume.modality),
        units=volume.units,
        is_volume=is_volume,
        reading=reading,
    )
    notes = (*volume.notes, *shown.notes, *box_notes)
    original = Original(array, shown.low, shown.high) if reading.keep_original else None
    spacing = volume.spacing_mm if volume.grid.is_stated else None
    with naming(path):
        if is_volume:
            solid, warnings = clean_boxes(numbers, size_hw=shown.pixels.shape[1:3], depth=len(shown.pixels))
            warnings = (*volume.warnings, *shown.warnings, *warnings)
            return VolumeCase(name, path, shown.pixels, solid, spacing, warnings, notes, names, original)
        flat, warnings = clean_boxes(numbers, size_hw=shown.pixels.shape[:2])
        warnings = (*volume.warnings, *shown.warnings, *warnings)
        return ImageCase(name, path, shown.pixels, flat, spacing, warnings, notes, names, original)


def _box_numbers(
    volume: Volume, path: Path, name: str, reading: Reading, folder: Path | None, *, is_volume: bool
) -> tuple[NDArray[np.float64], Notes, Notes]:
    """Give the boxes in voxels, their names, and where they came from."""
    from graysam.formats.box_files import boxes_for
    from graysam.formats.drawn_boxes import box_table

    masks = reading.boxes.masks
    if masks is not None:
        from graysam.formats.readers import read_label_volume
        from graysam.formats.rough_masks import boxes_round, mask_for

        mask_path = mask_for(path, name, masks)
        with readable(mask_path.name):
            labels, mask_notes, mask_warnings = read_label_volume(mask_path, volume)
        numbers, names = boxes_round(labels if is_volume else labels[0], reading.boxes.margin)
        told = f"boxes round the labels of {mask_path.name}, margin {reading.boxes.margin}"
        return numbers, names, (told, *mask_notes, *mask_warnings)
    found = boxes_for(path, name, reading.boxes, columns=6 if is_volume else 4, folder=folder)
    with naming(found.origin):
        numbers = box_table(found.boxes, volume.grid, is_volume=is_volume)
    frames = ", ".join(sorted({box.frame for box in found.boxes}))
    return numbers, found.names, (f"{len(numbers)} boxes from {found.origin.name} ({frames or 'no'} coordinates)",)


def _without_lone_slice(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
