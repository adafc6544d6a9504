"""One volume as NIfTI, NRRD and DICOM series through data preparation and prediction: the same mask, to the voxel.

The way of the challenge's cases (`python -m data_prep cases`, then prediction on .npz) is what the others are compared
with; their answers are read by other libraries than those that wrote them. The drawn volume is always run. A real one
is run where GRAYSAM_DATA names a folder of data sets as data preparation reads them (data/MODALITY/NAME): its smallest
CT volume.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.cli import main as prepare
from data_prep.loading import read_source
from data_prep.sources import find_sources
from examples.hospital_files import in_hu
from examples.phantoms import make_phantoms
from graysam.cli.predict import main as predict
from graysam.errors import PrepareError

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
sitk = pytest.importorskip("SimpleITK")

ROOT = Path(__file__).resolve().parent.parent
HAS_WEIGHTS = (ROOT / "weights" / "graysam" / "spec.json").is_file()
ORIGIN_MM = (-31.5, 12.25, 40.0)  # LPS
COLUMNS = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")

pytestmark = [pytest.mark.weights, pytest.mark.slow]

Voxels = NDArray[np.int16]


def drawn() -> tuple[Voxels, NDArray[np.uint8], tuple[float, float, float]]:
    """A drawn CT in HU, its labels, and its spacing along z, y, x."""
    (phantom,) = [each for each in make_phantoms() if each.name.startswith("3DBox_CT")]
    assert phantom.spacing_mm is not None
    return in_hu(phantom.image), phantom.labels.astype(np.uint8), phantom.spacing_mm


def real() -> tuple[Voxels, NDArray[np.uint8], tuple[float, float, float]]:
    """The smallest CT volume of the data sets under GRAYSAM_DATA."""
    place = os.environ.get("GRAYSAM_DATA")
    if not place or not Path(place).is_dir():
        pytest.skip("GRAYSAM_DATA names no folder of data sets: the real volume is not run")
    sources = [
        source
        for folder in sorted(Path(place).glob("CT/*/volumes"))
        for source in find_sources(folder.parent).sources
        if source.is_volume and source.image.is_file()
    ]
    if not sources:
        pytest.skip("GRAYSAM_DATA holds no CT volumes: the real volume is not run")
    for source in sorted(sources, key=lambda each: each.image.stat().st_size):
        try:
            raw = read_source(source)
        except PrepareError:
            continue
        is_whole = raw.image.dtype != np.uint8 and np.array_equal(raw.image, np.rint(raw.image))
        if is_whole and raw.labels.any():
            assert raw.spacing_mm is not None
            return raw.image.astype(np.int16), raw.labels.astype(np.uint8), raw.spacing_mm
    pytest.skip("GRAYSAM_DATA holds no CT volume in whole HU: the real volume is not run")


def affine_lps(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    z, y, x = spacing_mm
    affine = np.diag([x, y, z, 1.0])
    affine[:3, 3] = ORIGIN_MM
    return affine


def write_nifti(path: Path, voxels: NDArray[np.generic], spacing_mm: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps(spacing_mm)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(voxels.T), affine), path)


def write_nrrd(path: Path, voxels: Voxels, spacing_mm: tuple[float, float, float]) -> None:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(tuple(float(step) for step in spacing_mm[::-1]))
    image.SetOrigin(ORIGIN_MM)
    sitk.WriteImage(image, str(path))


def write_series(folder: Path, voxels: Voxels, spacing_mm: tuple[float, float, float]) -> None:
    """Write a file for each slice, whose names and numbers run against the order of the slices."""
    folder.mkdir(parents=True)
    for z, pixels in enumerate(voxels):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.1.{z + 1}"
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data = pydicom.Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = "1.2.3.4", "1.2.3", "1.2.3.9"
        data.PatientID, data.PatientName, data.Modality = "p", "p^q", "CT"
        data.InstanceNumber = len(voxels) - z
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.RescaleSlope, data.RescaleIntercept = 1, -10_000
        data.PixelData = (pixels.astype(np.int32) + 10_000).astype("<u2").tobytes()
        data.PixelSpacing = [f"{step:.12g}" for step in spacing_mm[1:]]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [ORIGIN_MM[0], ORIGIN_MM[1], f"{ORIGIN_MM[2] + z * spacing_mm[0]:.10g}"]
        data.SliceThickness = f"{spacing_mm[0]:.12g}"
        data.save_as(folder / f"I{len(voxels) - z:04d}", enforce_file_format=True)


def write_boxes(path: Path, boxes: NDArray[np.generic]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *boxes.tolist()])


def labels_of_seg(path: Path, shape: tuple[int, ...], step_mm: float) -> NDArray[np.uint8]:
    """Read a DICOM SEG frame by frame, by pydicom alone."""
    made = pydicom.dcmread(path)
    (shared,) = made.SharedFunctionalGroupsSequence
    labels = np.zeros(shape, np.uint8)
    for mask, group in zip(made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True):
        height = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        z = round((height - ORIGIN_MM[2]) / step_mm)
        told = group if "SegmentIdentificationSequence" in group else shared  # one segment alone is told once
        labels[z][mask > 0] = told.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    return labels


@pytest.mark.parametrize("volume", [drawn, real])
def test_nifti_nrrd_and_dicom_give_the_mask_that_the_challenges_case_gives(tmp_path, volume):
    if not HAS_WEIGHTS:
        pytest.skip("no weights under weights/graysam")
    voxels, labels, spacing_mm = volume()
    common = ["--engine", "openvino", "--precision", "fp32", "--threads", "1", "-q"]

    source = tmp_path / "source" / "CT" / "set"
    write_nifti(source / "images" / "scan.nii.gz", voxels, spacing_mm)
    write_nifti(source / "masks" / "scan.nii.gz", labels, spacing_mm)
    options = ["--box-margin", "0", "--labels", "classes", "--workers", "0"]
    assert prepare(["cases", str(tmp_path / "source"), "--out", str(tmp_path / "cases"), *options]) == 0
    assert predict(["-i", str(tmp_path / "cases" / "inputs"), "-o", str(tmp_path / "npz"), *common]) == 0
    (case,) = (tmp_path / "cases" / "inputs").iterdir()
    wanted = np.load(tmp_path / "npz" / case.name)["segs"]
    assert set(np.unique(wanted)) >= {0, 1}

    scans = tmp_path / "scans"
    write_nifti(scans / "nifti" / "scan.nii.gz", voxels, spacing_mm)
    (scans / "nrrd").mkdir()
    write_nrrd(scans / "nrrd" / "scan.nrrd", voxels, spacing_mm)
    write_series(scans / "dicom" / "scan", voxels, spacing_mm)
    boxes = tmp_path / "boxes.csv"
    write_boxes(boxes, np.load(case)["boxes"])
    for kind in ("nifti", "nrrd", "dicom"):
        told = [] if kind == "dicom" else ["--modality", "CT"]  # DICOM's own tag tells it
        out = tmp_path / "out" / kind
        words = ["-i", str(scans / kind), "-o", str(out), "--boxes", str(boxes), *told, *common]
        assert predict(words) == 0, kind

    nifti = nibabel.load(tmp_path / "out" / "nifti" / "scan.nii.gz")
    assert np.array_equal(np.asarray(nifti.dataobj).T, wanted)
    assert np.array_equal(nifti.affine, nibabel.load(scans / "nifti" / "scan.nii.gz").affine)
    nrrd = sitk.ReadImage(str(tmp_path / "out" / "nrrd" / "scan.seg.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(nrrd), wanted)
    assert nrrd.GetOrigin() == sitk.ReadImage(str(scans / "nrrd" / "scan.nrrd")).GetOrigin()
    seg = tmp_path / "out" / "dicom" / "scan.seg.dcm"
    assert np.array_equal(labels_of_seg(seg, wanted.shape, spacing_mm[0]), wanted)
