"""Hospital files in, label maps out: each answer is opened again with another reader, and lies voxel upon voxel."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from source_files import write_deadly_dicom

from graysam.boxes import clean_boxes
from graysam.errors import CaseError
from graysam.formats.base import Answer
from graysam.formats.npz import read_labels, write_case
from graysam.formats.reading_options import BoxSource, Reading
from graysam.formats.registry import Formats, list_cases
from graysam.image.windows import apply_window, parse_window
from graysam.inference.baselines import BaselineSegmenter
from graysam.runner.account import RunAccount
from graysam.runner.run import Runner, RunOptions

nibabel = pytest.importorskip("nibabel", reason="the extra `files` is not installed")
pydicom = pytest.importorskip("pydicom")
sitk = pytest.importorskip("SimpleITK")
pytest.importorskip("highdicom")
Image = pytest.importorskip("PIL.Image")

# As in test_boxes_as_drawn.py: oblique, anisotropic, and with two axes flipped. DICOM cannot flip the order of slices
# against their normal, so that its z runs the other way there.
DIRECTIONS = np.array([[-0.8, 0.6, 0.0], [-0.6, -0.8, 0.0], [0.0, 0.0, 1.0]])
STEPS_MM, ORIGIN = np.array([0.5, 0.8, 3.0]), np.array([10.0, 20.0, 30.0])
SHAPE = (5, 18, 24)
TABLE = "case,name,x_min,y_min,z_min,x_max,y_max,z_max\nscan,liver,3,2,1,9,7,2\nscan,lung,12,8,0,20,15,4\n"
FILLED = np.zeros(SHAPE, np.uint8)  # what the baseline that fills boxes must give
FILLED[1:3, 2:8, 3:10] = 1
FILLED[0:5, 8:16, 12:21] = 2


def drawn_volume() -> np.ndarray:
    """Air, tissue, and an object that is brighter, in HU."""
    volume = np.random.default_rng(0).integers(-20, 60, SHAPE).astype(np.int16)
    volume[:, :2] = -1000
    volume[FILLED > 0] += 80
    return volume


VOLUME = drawn_volume()


def affine_lps() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = DIRECTIONS * STEPS_MM, ORIGIN
    return affine


def write_nifti(folder: Path, name: str = "scan.nii.gz", *, sform_code: int = 2, qform_code: int = 1) -> Path:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps()
    image = nibabel.Nifti1Image(VOLUME.T, affine if sform_code or qform_code else None)
    image.header.set_sform(affine, code=sform_code)
    image.header.set_qform(affine, code=qform_code)
    folder.mkdir(exist_ok=True)
    nibabel.save(image, folder / name)
    return folder / name


def write_itk(folder: Path, name: str) -> Path:
    image = sitk.GetImageFromArray(VOLUME)
    image.SetSpacing(STEPS_MM.tolist())
    image.SetOrigin(ORIGIN.tolist())
    image.SetDirection(DIRECTIONS.ravel().tolist())
    folder.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(folder / name))
    return folder / name


def write_slice(path: Path, pixels: np.ndarray, **tags: object) -> None:
    """Write one DICOM file, of CT by default, in signed 16 bits."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = tags.pop("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = "1.2.3.4", "1.2.3", "1.2.3.9"
    data.PatientID, data.PatientName, data.Modality = "p1", "Doe^Jane", "CT"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    data.PixelData = pixels.astype("<i2").tobytes()
    for name, value in tags.items():
        if value is not None:
            setattr(data, name, value)
        elif name in data:
            delattr(data, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def write_series(folder: Path, **tags: object) -> Path:
    """Write the volume as a series whose file names run against the order of its slices."""
    for z, pixels in enumerate(VOLUME):
        place = {
            "PixelSpacing": [STEPS_MM[1], STEPS_MM[0]],
            "ImageOrientationPatient": [*DIRECTIONS[:, 0], *DIRECTIONS[:, 1]],
            "ImagePositionPatient": (affine_lps() @ [0, 0, z, 1])[:3].round(6).tolist(),
            "SliceThickness": 3,
            "InstanceNumber": z + 1,
        }
        write_slice(folder / f"IM{9 - z}", pixels, **{**place, **tags})
    return folder


def predict(folder: Path, reading: Reading | None = None, *, resume: bool = False, place: Path | None = None):
    """Fill the boxes of the cases in `in`."""
    if reading is None:
        (folder / "boxes.csv").write_text(TABLE)
        reading = Reading(BoxSource(folder / "boxes.csv"))
    options = RunOptions(place or folder / "in", folder / "out", resume=resume, reading=reading)
    return Runner(options, lambda _: BaselineSegmenter("box")).run()


def only(account: RunAccount):
    (case,) = account.cases
    assert case.error is None, case.error
    return case


# --- round trips: expected labels are FILLED


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii"])
def test_nifti_comes_back_with_both_transforms_and_their_codes(tmp_path, name):
    source = write_nifti(tmp_path / "in", name)
    case = only(predict(tmp_path))
    assert case.shape == SHAPE
    answer = sitk.ReadImage(str(tmp_path / "out" / name))  # not the library that read the image
    assert sitk.GetArrayFromImage(answer).tolist() == FILLED.tolist()
    for fact in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(answer, fact)() == getattr(sitk.ReadImage(str(source)), fact)()
    headers = [nibabel.load(path).header for path in (source, tmp_path / "out" / name)]
    for key in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "pixdim"):
        assert headers[0][key].tolist() == headers[1][key].tolist(), key
    assert (headers[1].get_data_dtype(), headers[1]["sform_code"], headers[1]["qform_code"]) == (np.uint8, 2, 1)


@pytest.mark.parametrize("codes", [(0, 1), (3, 0), (0, 0)])
def test_nifti_with_one_transform_or_none_keeps_just_that(tmp_path, codes):
    write_nifti(tmp_path / "in", "scan.nii", sform_code=codes[0], qform_code=codes[1])
    only(predict(tmp_path))
    header = nibabel.load(tmp_path / "out" / "scan.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == codes


def test_a_big_endian_nifti_of_floats_is_answered_in_plain_bytes(tmp_path):
    image = nibabel.Nifti1Image(VOLUME.T.astype(">f4"), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps(),
                                nibabel.Nifti1Header(endianness=">"))  # fmt: skip
    (tmp_path / "in").mkdir()
    nibabel.save(image, tmp_path / "in" / "scan.nii")
    only(predict(tmp_path))
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "scan.nii"))).tolist() == FILLED.tolist()


@pytest.mark.parametrize("name", ["scan.mha", "scan.mhd"])
def test_metaimage_comes_back_as_one_mha_in_place(tmp_path, name):
    source = sitk.ReadImage(str(write_itk(tmp_path / "in", name)))
    only(predict(tmp_path))
    answer = sitk.ReadImage(str(tmp_path / "out" / "scan.mha"))
    assert sitk.GetArrayFromImage(answer).tolist() == FILLED.tolist()
    for fact in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(answer, fact)() == getattr(source, fact)()


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nhdr"])
def test_nrrd_comes_back_as_a_segmentation_of_3d_slicer_with_the_names_of_the_table(tmp_path, name):
    source = sitk.ReadImage(str(write_itk(tmp_path / "in", name)))
    only(predict(tmp_path))
    answer = sitk.ReadImage(str(tmp_path / "out" / "scan.seg.nrrd"))
    assert sitk.GetArrayFromImage(answer).tolist() == FILLED.tolist()
    for fact in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(answer, fact)() == getattr(source, fact)()
    facts = {key: answer.GetMetaData(key) for key in answer.GetMetaDataKeys()}
    assert (facts["Segment0_Name"], facts["Segment1_Name"]) == ("liver", "lung")
    assert (facts["Segment0_LabelValue"], facts["Segment1_LabelValue"]) == ("1", "2")
    assert facts["Segment0_Extent"] == "0 23 0 17 0 4"
    assert "Segment2_Name" not in facts
    assert len(facts["Segment0_Color"].split()) == 3


def labels_of_seg(path: Path, positions: list[list[float]]) -> np.ndarray:
    """Read a DICOM SEG by its tags and bits alone: the frame's place tells the slice, its segment the label."""
    made = pydicom.dcmread(path)
    bits = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")
    frames = bits[: made.NumberOfFrames * made.Rows * made.Columns].reshape(-1, made.Rows, made.Columns)
    labels = np.zeros((len(positions), made.Rows, made.Columns), np.uint8)
    for frame, group in zip(frames, made.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        (z,) = (number for number, other in enumerate(positions) if np.abs(place - other).max() < 1e-3)
        named = group if "SegmentIdentificationSequence" in group else made.SharedFunctionalGroupsSequence[0]
        if frame.any():
            labels[z][frame > 0] = named.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    return labels


def slice_positions() -> list[list[float]]:
    return [(affine_lps() @ [0, 0, z, 1])[:3].tolist() for z in range(SHAPE[0])]


def test_a_dicom_series_comes_back_as_a_seg_that_lies_on_its_slices(tmp_path):
    write_series(tmp_path / "in" / "scan")
    case = only(predict(tmp_path))
    assert case.name == "scan"
    assert case.shape == SHAPE
    made = pydicom.dcmread(tmp_path / "out" / "scan.seg.dcm")
    assert labels_of_seg(tmp_path / "out" / "scan.seg.dcm", slice_positions()).tolist() == FILLED.tolist()
    shared = made.SharedFunctionalGroupsSequence[0]
    cosines = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert [float(number) for number in cosines] == pytest.approx([*DIRECTIONS[:, 0], *DIRECTIONS[:, 1]])
    assert [float(step) for step in shared.PixelMeasuresSequence[0].PixelSpacing] == [0.8, 0.5]
    assert [segment.SegmentLabel for segment in made.SegmentSequence] == ["liver", "lung"]
    assert (made.Modality, made.PatientID, made.FrameOfReferenceUID, made.StudyInstanceUID) == (
        "SEG", "p1", "1.2.3.9", "1.2.3",
    )  # fmt: skip
    assert made.SeriesInstanceUID != "1.2.3.4"
    assert "by the DICOM tag" in " ".join(case.notes)


@pytest.mark.parametrize(
    "tags",
    [
        ("SliceThickness",),
        ("PatientID", "PatientName"),
        ("StudyInstanceUID",),
        ("FrameOfReferenceUID",),
    ],
)
def test_tags_that_exports_lack_do_not_keep_an_answer_from_being_written(tmp_path, tags):
    write_series(tmp_path / "in" / "scan", **dict.fromkeys(tags))
    only(predict(tmp_path))
    assert labels_of_seg(tmp_path / "out" / "scan.seg.dcm", slice_positions()).tolist() == FILLED.tolist()


def test_an_enhanced_file_of_all_slices_comes_back_in_the_order_of_its_places(tmp_path):
    write_slice(tmp_path / "one.dcm", VOLUME[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1")
    source = pydicom.dcmread(tmp_path / "one.dcm")
    order = [2, 0, 4, 1, 3]  # the file's frames do not run along the stack
    source.NumberOfFrames, source.PixelData = len(order), VOLUME[order].astype("<i2").tobytes()
    shared, measures, orientation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.5], 3
    orientation.ImageOrientationPatient = [*DIRECTIONS[:, 0], *DIRECTIONS[:, 1]]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    source.SharedFunctionalGroupsSequence = [shared]
    source.PerFrameFunctionalGroupsSequence = []
    for z in order:
        group, place = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = slice_positions()[z]
        group.PlanePositionSequence = [place]
        source.PerFrameFunctionalGroupsSequence.append(group)
    (tmp_path / "in").mkdir()
    source.save_as(tmp_path / "in" / "scan.dcm")
    only(predict(tmp_path))
    assert labels_of_seg(tmp_path / "out" / "scan.seg.dcm", slice_positions()).tolist() == FILLED.tolist()


def test_an_x_ray_is_an_image_and_comes_back_as_a_seg_of_one_frame(tmp_path):
    pixels = np.abs(VOLUME[0])
    tags = {"Modality": "DX", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "FrameOfReferenceUID": None}
    write_slice(tmp_path / "in" / "chest.dcm", pixels, **tags)
    write_slice(tmp_path / "in" / "hand.dcm", pixels, **tags, InstanceNumber=2)  # the same series
    (tmp_path / "in" / "chest.boxes.csv").write_text("3,2,9,7\n")
    case = only(predict(tmp_path, Reading()))
    assert (case.name, case.kind, case.shape) == ("chest", "2D", SHAPE[1:])
    made = pydicom.dcmread(tmp_path / "out" / "chest.seg.dcm")
    bits = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")[: 18 * 24].reshape(18, 24)
    wanted = np.zeros((18, 24), int)
    wanted[2:8, 3:10] = 1
    assert bits.tolist() == wanted.tolist()


def test_an_empty_answer_is_a_seg_too(tmp_path):
    write_series(tmp_path / "in" / "scan")
    (tmp_path / "in" / "scan.boxes.csv").write_text("3,2,1,9,7,2\n")
    (found,) = list_cases(tmp_path / "in", Formats(Reading()))
    found.format.read(found.path)
    found.format.write(tmp_path / "scan.seg.dcm", Answer(np.zeros(SHAPE, np.uint8)), source=found.path)
    assert not labels_of_seg(tmp_path / "scan.seg.dcm", slice_positions()).any()
    assert found.format.is_finished(tmp_path / "scan.seg.dcm", found.format.describe(found.path))


# --- all routes agree


@pytest.fixture
def everywhere(tmp_path) -> Path:
    """One volume as npz, NIfTI, MetaImage, NRRD and DICOM series, each in a folder of its own."""
    pixels, _ = apply_window(VOLUME, parse_window("soft_tissue"))
    (tmp_path / "npz" / "in").mkdir(parents=True)
    rows = [[float(word) for word in line.split(",")[2:]] for line in TABLE.splitlines()[1:]]
    boxes, _ = clean_boxes(np.array(rows), size_hw=SHAPE[1:], depth=SHAPE[0])
    write_case(tmp_path / "npz" / "in" / "scan.npz", image=pixels, boxes=boxes)
    for kind in ("nii.gz", "mha", "nrrd", "dicom"):
        (tmp_path / kind).mkdir()
    write_nifti(tmp_path / "nii.gz" / "in")
    write_itk(tmp_path / "mha" / "in", "scan.mha")
    write_itk(tmp_path / "nrrd" / "in", "scan.nrrd")
    write_series(tmp_path / "dicom" / "in" / "scan")
    return tmp_path


def answers(folder: Path) -> dict[str, np.ndarray]:
    found = {"npz": np.asarray(read_labels(folder / "npz" / "out" / "scan.npz", "segs"))}
    for kind, name in (("nii.gz", "scan.nii.gz"), ("mha", "scan.mha"), ("nrrd", "scan.seg.nrrd")):
        found[kind] = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / kind / "out" / name)))
    found["dicom"] = labels_of_seg(folder / "dicom" / "out" / "scan.seg.dcm", slice_positions())
    return found


def segment_everywhere(folder: Path, segmenter: object) -> None:
    (folder / "boxes.csv").write_text(TABLE)
    for kind in ("npz", "nii.gz", "mha", "nrrd", "dicom"):
        reading = Reading(BoxSource(folder / "boxes.csv"))
        options = RunOptions(folder / kind / "in", folder / kind / "out", reading=reading)
        account = Runner(options, lambda _: segmenter).run()
        assert only(account).boxes == 2


def test_the_same_volume_gives_the_same_labels_in_every_format(everywhere):
    segment_everywhere(everywhere, BaselineSegmenter("ellipse"))
    found = answers(everywhere)
    assert {kind for kind, labels in found.items() if labels.tolist() == found["npz"].tolist()} == {*found}
    assert found["npz"].any()


@pytest.mark.slow
@pytest.mark.weights
def test_the_model_gives_the_same_labels_in_every_format(everywhere):
    pytest.importorskip("openvino")
    from graysam.api import Segmenter, default_weights

    if not (default_weights() / "spec.json").is_file():
        pytest.skip("no weights under weights/graysam")
    segment_everywhere(everywhere, Segmenter.load(precision="fp32", threads=1))
    found = answers(everywhere)
    assert {kind for kind, labels in found.items() if labels.tolist() == found["npz"].tolist()} == {*found}
    assert found["npz"].any()


# --- which files are cases


def names(folder: Path, reading: Reading | None = None) -> list[str]:
    return [case.name for case in list_cases(folder, Formats(reading or Reading()))]


def test_series_are_sorted_out_of_loose_files_and_of_sub_folders_of_any_depth(tmp_path):
    write_series(tmp_path / "loose", SeriesInstanceUID="1.1", SeriesNumber=3)
    for number, path in enumerate(sorted((tmp_path / "loose").iterdir())):
        path.rename(path.with_name(f"A{number}"))
    write_series(tmp_path / "loose", SeriesInstanceUID="1.2", SeriesNumber=4)
    write_series(tmp_path / "loose" / "patient" / "study" / "s1", SeriesInstanceUID="1.3")
    write_slice(tmp_path / "loose" / "scout.dcm", VOLUME[0], SeriesInstanceUID="1.4")
    write_slice(tmp_path / "loose" / "old.seg.dcm", VOLUME[0], SeriesInstanceUID="1.5", Modality="SEG")
    anywhere = Reading(BoxSource(tmp_path))
    assert sorted(names(tmp_path / "loose", anywhere)) == [
        "loose_series3",
        "loose_series4",
        "patient_study_s1",
        "scout",
    ]
    assert names(tmp_path / "loose") == []  # nothing says where boxes are
    (tmp_path / "loose" / "scout.boxes.csv").write_text("1,1,2,2\n")
    assert names(tmp_path / "loose") == ["scout"]


def test_volumes_are_cases_where_boxes_lie_next_to_them_or_the_user_says_where(tmp_path):
    write_nifti(tmp_path / "in", "a.nii")
    write_nifti(tmp_path / "in", "b.nii.gz")
    write_itk(tmp_path / "in", "c.seg.nrrd")  # a label map
    (tmp_path / "in" / "b.boxes.csv").write_text("3,2,1,9,7,2\n")
    assert names(tmp_path / "in") == ["b"]
    assert names(tmp_path / "in", Reading(BoxSource(tmp_path))) == ["a", "b"]


def test_a_single_file_may_be_given(tmp_path):
    write_nifti(tmp_path / "in", "other.nii.gz")
    path = write_nifti(tmp_path / "in")
    assert only(predict(tmp_path, place=path)).name == "scan"
    with pytest.raises(CaseError, match=r"scan.nii.gz: no case, or without boxes. Give boxes with --boxes"):
        predict(tmp_path, Reading(), place=path)


def test_boxes_that_name_no_image_are_refused_for_two(tmp_path):
    write_nifti(tmp_path / "in", "a.nii")
    write_nifti(tmp_path / "in", "b.nii")
    (tmp_path / "one.csv").write_text("3,2,1,9,7,2\n")
    with pytest.raises(CaseError, match=r"one.csv: its boxes name no image, and there are 2"):
        predict(tmp_path, Reading(BoxSource(tmp_path / "one.csv")))


# --- values, failures, resuming


def test_a_nifti_in_hu_is_taken_for_ct_and_says_so(tmp_path):
    write_nifti(tmp_path / "in")
    case = only(predict(tmp_path))
    assert "look like Hounsfield units, so it is taken for CT" in case.warnings[0]
    assert "CT (its values look like HU); intensity window soft_tissue, -160 to 240 shown as 0 to 255" in case.notes[0]


def test_modality_and_window_of_the_user_win(tmp_path):
    write_nifti(tmp_path / "in")
    (tmp_path / "boxes.csv").write_text(TABLE)
    source = BoxSource(tmp_path / "boxes.csv")
    case = only(predict(tmp_path, Reading(source, modality="MR")))
    assert "MR (as given); intensity window percentiles_signed" in case.notes[0]
    case = only(predict(tmp_path, Reading(source, window="-600/1500")))
    assert "intensity window -600/1500, -1350 to 150 shown" in case.notes[0]
    with pytest.raises(CaseError, match="window 'nonsense'"):
        predict(tmp_path, Reading(source, window="nonsense"))


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.mha", "scan.nrrd"])
def test_a_case_that_fails_gets_a_marked_stand_in_and_resuming_tries_it_again(tmp_path, name):
    path = write_nifti(tmp_path / "in", name) if ".nii" in name else write_itk(tmp_path / "in", name)
    (tmp_path / "empty.csv").write_text(TABLE.splitlines()[0] + "\nother,liver,1,1,1,2,2,2\n")
    account = predict(tmp_path, Reading(BoxSource(tmp_path / "empty.csv")))
    assert f"{name}: empty.csv has no box for it" in account.cases[0].error
    (answer,) = (tmp_path / "out").iterdir()
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(answer))).any()
    assert [case.status for case in predict(tmp_path, resume=True).cases] == ["done"]
    assert [case.status for case in predict(tmp_path, resume=True).cases] == ["skipped"]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut off" in predict(tmp_path).cases[0].error


def test_a_dicom_series_that_fails_leaves_no_seg_and_is_resumed(tmp_path):
    write_series(tmp_path / "in" / "scan")
    assert [case.status for case in predict(tmp_path).cases] == ["done"]
    assert [case.status for case in predict(tmp_path, resume=True).cases] == ["skipped"]
    broken = tmp_path / "in" / "scan" / "IM7"
    broken.write_bytes(broken.read_bytes()[:-400])
    account = predict(tmp_path)
    assert account.cases[0].status == "failed"
    assert "IM7" in account.cases[0].error
    assert not (tmp_path / "out" / "scan.seg.dcm").exists()


def test_without_the_extra_the_error_says_the_one_command(tmp_path, monkeypatch):
    write_nifti(tmp_path / "in")
    write_series(tmp_path / "dicom" / "scan")
    for module in ("nifti", "dicom", "nifti_labels", "dicom_seg"):
        monkeypatch.delitem(sys.modules, f"graysam.formats.{module}", raising=False)
    for package in ("nibabel", "pydicom"):
        monkeypatch.setitem(sys.modules, package, None)
    assert "needs the package nibabel; run: pip install" in predict(tmp_path).cases[0].error
    with pytest.raises(CaseError, match=r"scan: this needs the package pydicom.*; run: pip install"):
        names(tmp_path / "dicom", Reading(BoxSource(tmp_path)))


@pytest.mark.parametrize("name", ["scan.mhd", "scan.nhdr"])
def test_a_header_does_not_lead_to_voxels_out_of_the_input_folder(tmp_path, name):
    path = write_itk(tmp_path / "in", name)
    voxels = next(each for each in (tmp_path / "in").iterdir() if each != path)
    voxels.rename(tmp_path / voxels.name)
    path.write_bytes(path.read_bytes().replace(voxels.name.encode(), f"../{voxels.name}".encode()))
    assert f"should lie in ../{voxels.name}, out of the header's folder" in predict(tmp_path).cases[0].error


def test_with_strict_a_warning_is_fatal(tmp_path):
    write_nifti(tmp_path / "in")
    (tmp_path / "boxes.csv").write_text(TABLE)
    for modality, failed in ((None, True), ("CT", False)):
        reading = Reading(BoxSource(tmp_path / "boxes.csv"), modality=modality)
        options = RunOptions(tmp_path / "in", tmp_path / "out", reading=reading, strict=True)
        (case,) = Runner(options, lambda _: BaselineSegmenter("box")).run().cases
        assert (case.status == "failed") is failed
        assert case.error is None or "look like Hounsfield units" in case.error


def test_a_run_on_the_challenges_cases_imports_no_reader_of_hospital_files(tmp_path):
    write_case(tmp_path / "in.npz", image=np.zeros((4, 4), np.uint8), boxes=())
    script = (
        "import sys\nfrom graysam.cli.predict import main\n"
        f"main(['-i', {str(tmp_path / 'in.npz')!r}, '-o', {str(tmp_path / 'out')!r}, '-q'])\n"
        "slow = {'nibabel', 'pydicom', 'SimpleITK', 'highdicom', 'PIL', 'csv', 'json', 'gzip'}\n"
        "print(sorted(slow & {*sys.modules}), sorted(name for name in sys.modules if 'graysam' in name))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    slow, ours = done.stdout.split("] [")
    assert slow == "["
    for module in ("formats.nifti", "formats.dicom'", "formats.volumes", "formats.pictures", "image.windows"):
        assert f"graysam.{module}" not in ours
    assert (tmp_path / "out" / "in.npz").is_file()


def test_the_report_tells_window_and_origin_of_the_boxes(tmp_path):
    write_nifti(tmp_path / "in")
    facts = json.loads(json.dumps(predict(tmp_path).to_dict()))
    assert "2 boxes from boxes.csv (voxel coordinates)" in facts["cases"][0]["notes"]


def test_a_result_of_the_same_volume_has_the_same_bytes(tmp_path):
    write_nifti(tmp_path / "in")
    write_series(tmp_path / "in" / "series")
    (tmp_path / "boxes.csv").write_text(TABLE + TABLE.splitlines()[1].replace("scan", "series") + "\n")
    reading = Reading(BoxSource(tmp_path / "boxes.csv"))
    predict(tmp_path, reading)
    first = gzip.decompress((tmp_path / "out" / "scan.nii.gz").read_bytes())
    predict(tmp_path, reading)
    assert gzip.decompress((tmp_path / "out" / "scan.nii.gz").read_bytes()) == first


def test_a_file_over_which_a_decoder_ends_its_process_is_named_and_the_rest_goes_on(tmp_path):
    write_deadly_dicom(tmp_path / "in" / "broken")
    write_series(tmp_path / "in" / "scan")
    write_nifti(tmp_path / "in", "brain.nii.gz")
    rows = [f"{case},,3,2,1,9,7,2" for case in ("scan", "brain", "001")]
    (tmp_path / "boxes.csv").write_text("\n".join([TABLE.splitlines()[0], *rows]))
    account = predict(tmp_path, Reading(BoxSource(tmp_path / "boxes.csv")))
    failed = {case.name: case.error for case in account.cases if case.error}
    assert list(failed) == ["001"]
    assert "001.dcm: the process that read it crashed or was killed" in failed["001"]
    assert {case.name for case in account.cases if case.status == "done"} == {"scan", "brain"}
