"""Label maps as DICOM SEG, made by highdicom: one segment for each object, placed by the slices' own tags."""

from __future__ import annotations

import hashlib
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import highdicom
import pydicom
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from graysam.cases import Labels
from graysam.errors import CaseError
from graysam.formats.dicom import Frames

Dataset: TypeAlias = Any  # pydicom.Dataset

# The package is there already, as this module is part of it; an import statement would point up the layers.
VERSION = str(getattr(sys.modules["graysam"], "__version__", "0"))

_SERIES_NUMBER_ADDED = 1000
_LONGEST_LABEL = 64
# What the standard wants to be there, even if empty, and exports often lack.
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def write_segmentation(path: Path, labels: Labels, frames: Frames, names: Sequence[str]) -> None:
    """Write a DICOM SEG.

    Args:
        path: the file to make.
        labels: (D, H, W) in the order of `frames`; label i + 1 is the object `names[i]`.
        frames: the slices that were segmented.
        names: of the objects; those of which the map shows nothing are segments without frames.

    Raises:
        CaseError: what the source lacks, in highdicom's words.
    """
    sources, pixels = _sources(labels, frames)
    digest = [str(sources[0].get("SeriesInstanceUID", "")), VERSION, hashlib.sha256(labels.tobytes()).hexdigest()]
    logging.getLogger("highdicom").setLevel(logging.ERROR)  # it warns of an empty map, which is an answer too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[_segment(number, name) for number, name in enumerate(names, start=1)],
                series_instance_uid=generate_uid(entropy_srcs=["series", *digest]),
                series_number=int(sources[0].get("SeriesNumber") or 0) + _SERIES_NUMBER_ADDED,
                sop_instance_uid=generate_uid(entropy_srcs=["instance", *digest]),
                instance_number=1,
                manufacturer="GraySAM",
                manufacturer_model_name="GraySAM",
                software_versions=VERSION,
                device_serial_number="0",
                series_description="GraySAM, boxes to masks",
                content_description="Not for clinical use",
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CaseError(f"no DICOM SEG can be made of this series: {error}") from error
    made.save_as(path, enforce_file_format=True)


def _sources(labels: Labels, frames: Frames) -> tuple[list[Dataset], NDArray[Any]]:
    """Give the source files, and the labels in the order of their frames."""
    files: dict[Path, Dataset] = {}
    order: dict[Path, list[tuple[int, int]]] = {}
    for z, frame in enumerate(frames.slices):
        if frame.path not in files:
            files[frame.path] = _completed(frame.header, _step_mm(frames))
        order.setdefault(frame.path, []).append((frame.index, z))
    if len(files) == 1:  # several frames in one file, in whatever order they stack
        ((path, places),) = order.items()
        return [files[path]], labels[[z for _, z in sorted(places)]]
    return list(files.values()), labels


def _step_mm(frames: Frames) -> float:
    """Give the distance of the first two slices, 1 mm where nothing tells it."""
    if len(frames.slices) < 2:
        return 1.0
    first, second = frames.slices[:2]
    if first.position is None or second.position is None or first.orientation is None:
        return 1.0
    return abs(float((second.position - first.position) @ first.normal))


def _completed(header: Dataset, step_mm: float) -> Dataset:
    """Give a copy with the tags that a SEG must have, empty or worked out where the source has none."""
    full = pydicom.Dataset()
    full.update(header)
    full.file_meta = header.file_meta
    for tag in _MAY_BE_EMPTY:
        if tag not in full:
            setattr(full, tag, "")
    if full.get("SliceThickness") is None and "ImagePositionPatient" in full:
        full.SliceThickness = round(step_mm, 6)
    if "StudyInstanceUID" not in full:
        full.StudyInstanceUID = generate_uid(entropy_srcs=[str(full.get("SeriesInstanceUID", "")), "study"])
    if "FrameOfReferenceUID" not in full and "ImagePositionPatient" in full:
        full.FrameOfReferenceUID = generate_uid(entropy_srcs=[str(full.get("SeriesInstanceUID", "")), "frame"])
    return full


def _segment(number: int, name: str) -> highdicom.seg.SegmentDescription:
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:_LONGEST_LABEL],
        segmented_property_category=CodedConcept("85756007", "SCT", "Tissue"),
        segmented_property_type=CodedConcept("85756007", "SCT", "Tissue"),
        # The box is a person's.
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="GraySAM",
            version=VERSION,
            family=CodedConcept("123109", "DCM", "Artificial Intelligence"),
        ),
    )


def refers_to(path: Path, frames: Frames) -> bool:
    """Tell whether a file is a whole DICOM SEG of the slices' size that refers to each of their files."""
    made = pydicom.dcmread(path, stop_before_pixels=True)
    depth, height, width = frames.shape
    if made.get("Modality") != "SEG" or (int(made.Rows), int(made.Columns)) != (height, width):
        return False
    wanted = {str(frame.header.get("SOPInstanceUID", "")) for frame in frames.slices}
    listed = {
        str(item.ReferencedSOPInstanceUID)
        for series in made.get("ReferencedSeriesSequence", [])
        for item in series.get("ReferencedInstanceSequence", [])
    }
    return depth > 0 and wanted <= listed
