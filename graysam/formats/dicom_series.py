"""DICOM series, and single pictures, as cases; the answer is a DICOM SEG that refers to their slices.

In a folder, files that lie loose are sorted by series, and sub-folders are searched, at any depth. A series of several
slices is one case, called like its folder (with the series' number where a folder holds several); a single picture is
one, called like its file, and so is each of several X-rays or photographs that share a series.

Boxes lie in the input folder under the case's name, or where the user says; see box_files.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graysam.boxes import Notes
from graysam.cases import Case, narrow_labels
from graysam.errors import CaseError
from graysam.files import written_whole
from graysam.formats.base import Answer, naming
from graysam.formats.image_volume import DICOM_SUFFIXES, IMAGE_SUFFIXES, VOLUME_SUFFIXES, stem_of, suffix_of
from graysam.formats.reading_options import Reading
from graysam.formats.volumes import make_case, readable

if TYPE_CHECKING:
    from graysam.formats.dicom import Frames

RESULT_SUFFIX = ".seg.dcm"
_MARK, _MARK_AT = b"DICM", 128
# Files of one series that are pictures of their own, unless they state positions.
_PICTURES = ("CR", "DX", "MG", "RF", "XA", "US", "ES", "OP", "OPT", "XC", "GM", "SM", "IO", "PX")
# Objects that refer to images and hold none.
_NO_IMAGES = ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR", "PR", "REG", "KO", "DOC", "ECG")


class DicomFormat:
    """DICOM as the runner sees it before its files are sorted into series."""

    name = "DICOM"
    cases = "a DICOM series (a folder, or loose files)"

    def __init__(self, reading: Reading | None = None) -> None:
        self.reading = reading or Reading()

    def claims(self, path: Path) -> bool:
        """Tell by a file's mark, or by that of the files in a folder, whether it is DICOM."""
        if path.is_dir():
            return next(_marked_files(path), None) is not None
        return _is_marked(path)

    def gather(self, paths: Sequence[Path]) -> list[tuple[Path, SeriesFormat]]:
        """Sort entries of one folder, files and sub-folders, into series with boxes.

        Raises:
            CaseError: the package that reads DICOM is missing.
        """
        with readable(paths[0].name):
            from graysam.formats.dicom import sorted_series
        loose = [path for path in paths if not path.is_dir()]
        folders: dict[Path, list[Path]] = {loose[0].parent: loose} if loose else {}
        for folder in (path for path in paths if path.is_dir()):
            for path in _marked_files(folder):
                folders.setdefault(path.parent, []).append(path)
        root = paths[0].parent
        found: list[tuple[Path, SeriesFormat]] = []
        taken: set[str] = set()
        for folder, files in folders.items():
            for path, name, members in _cases_in(folder, sorted_series(files), root):
                unique, count = name, 1
                while unique in taken:
                    count += 1
                    unique = f"{name}_{count}"
                taken.add(unique)
                case = SeriesFormat(self.reading, unique, members, root)
                if self.reading.boxes.is_named or case.has_boxes():
                    found.append((path, case))
        return found


class SeriesFormat:
    """One series, or one picture: a format that has one case."""

    name = "DICOM"
    cases = DicomFormat.cases

    def __init__(self, reading: Reading, name: str, files: Sequence[Path], folder: Path) -> None:
        """Bind to files.

        Args:
            reading: the user's words on boxes and values.
            name: of the case.
            files: those of the series.
            folder: where files of boxes may lie.
        """
        self.reading = reading
        self._name = name
        self._files = tuple(files)
        self._folder = folder
        self._names: Notes = ()
        self._frames: Frames | None = None

    def has_boxes(self) -> bool:
        """Tell whether boxes for the case lie in the input folder."""
        from graysam.formats.box_files import file_beside

        return file_beside(self._folder, self._name) is not None

    def claims(self, path: Path) -> bool:
        """Tell whether this is the case's place."""
        return path in (self._files[0].parent, self._files[0])

    def case_name(self, path: Path) -> str:
        """Give the case's name."""
        return self._name

    def result_name(self, path: Path) -> str:
        """Give the case's name with .seg.dcm."""
        return self._name + RESULT_SUFFIX

    def describe(self, path: Path) -> tuple[int, ...] | None:
        """Give (D, H, W), or (H, W) for one slice, from the headers."""
        try:
            from graysam.formats.dicom import frames_of_series

            shape = frames_of_series(self._name, self._files).shape
        except Exception:  # the reader of the case names what is wrong
            return None
        return shape[1:] if shape[0] == 1 else shape

    def read(self, path: Path) -> Case:
        """Read the slices and the boxes, and bring values to 0..255.

        Raises:
            CaseError: the series is no stack, damaged, or without boxes.
        """
        with readable(self._name):
            from graysam.formats.dicom import read_series

            volume, self._frames = read_series(self._name, self._files)
        case = make_case(volume, path, self._name, self.reading, folder=self._folder)
        self._names = case.box_names or tuple(f"object {number + 1}" for number in range(len(case.boxes)))
        return case

    def write(self, result: Path, answer: Answer, *, source: Path) -> None:
        """Write a DICOM SEG; a case that failed gets none, as archives keep what they are sent.

        Raises:
            CaseError: a stand-in, labels of another shape, no object, or the file cannot be written.
        """
        if answer.failure is not None:
            raise CaseError(f"{result.name}: no DICOM SEG is made of a case that failed.")
        with readable(self._name):
            from graysam.formats.dicom import frames_of_series
            from graysam.formats.dicom_seg import write_segmentation

            frames = self._frames or frames_of_series(self._name, self._files)
        with naming(result):
            narrow = narrow_labels(answer.labels)
            if narrow.shape not in (frames.shape, frames.shape[1:]):
                raise CaseError(f"labels of shape {narrow.shape}, wanted {frames.shape}.")
            called = answer.names or self._names
            if not called:
                raise CaseError("without an object there is nothing that a DICOM SEG could hold.")
            with written_whole(result, CaseError) as temporary:
                write_segmentation(temporary, narrow.reshape(frames.shape), frames, called)

    def is_finished(self, result: Path, label_shape: tuple[int, ...] | None) -> bool:
        """Tell whether `result` is a DICOM SEG of that size that refers to this series."""
        if label_shape is None or not result.is_file():
            return False
        try:
            from graysam.formats.dicom import frames_of_series
            from graysam.formats.dicom_seg import refers_to

            return refers_to(result, frames_of_series(self._name, self._files))
        except Exception:  # whatever a file that is no result leads to
            return False


def _marked_files(folder: Path) -> Iterator[Path]:
    """Give the DICOM files under a folder, folder by folder, sorted; links that lead out of it are not followed."""
    root = folder.resolve()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and _is_marked(path) and path.resolve().is_relative_to(root):
                yield path


def _is_marked(path: Path) -> bool:
    """Tell whether a file has DICOM's mark; files that are called like DICOM count without it."""
    suffix = suffix_of(path)
    if suffix in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES, ".npz", ".csv", ".json") or path.name.lower() == "dicomdir":
        return False
    if not path.is_file():
        return False
    if suffix in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            file.seek(_MARK_AT)
            return file.read(len(_MARK)) == _MARK
    except OSError:
        return False


def _cases_in(
    folder: Path, series: Sequence[tuple[Any, Sequence[Path]]], root: Path
) -> list[tuple[Path, str, Sequence[Path]]]:
    """Give place, name and files of each case of a folder."""
    images = [(header, files) for header, files in series if str(header.get("Modality", "") or "") not in _NO_IMAGES]
    stacks = [pair for pair in images if len(pair[1]) > 1 and not _are_pictures(*pair)]
    below = folder.relative_to(root).parts if folder != root else ()
    called = "_".join(below) or folder.resolve().name or "series"
    cases: list[tuple[Path, str, Sequence[Path]]] = []
    for header, files in images:
        if len(files) == 1 or _are_pictures(header, files):
            cases += [(path, _picture_name(path), [path]) for path in files]
            continue
        number = str(header.get("SeriesNumber", "") or "").strip()
        name = called if len(stacks) == 1 else f"{called}_series{number or stacks.index((header, files)) + 1}"
        cases.append((folder, name, files))
    return cases


def _are_pictures(header: Any, files: Sequence[Path]) -> bool:  # noqa: ANN401  pydicom.Dataset
    return str(header.get("Modality", "") or "") in _PICTURES and header.get("ImagePositionPatient") is None


def _picture_name(path: Path) -> str:
    return stem_of(path) if suffix_of(path) in DICOM_SUFFIXES else path.name
