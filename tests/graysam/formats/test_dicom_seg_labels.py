"""DICOM SEG and masks in one colour as references: read where unambiguous, else refused with the true cause."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from source_files import write_dicom

from graysam.errors import PrepareError
from graysam.formats.readers import read_label_picture, read_label_volume, read_volume
from graysam.formats.rough_masks import mask_for

pytest.importorskip("highdicom")

SHAPE = (6, 8, 10)
LABELS = np.zeros(SHAPE, np.uint8)
LABELS[1:3, 2:5, 3:7] = 1
LABELS[3, 5:7, 1:4] = 2


def write_scan(folder: Path) -> Path:
    """A series of six slices, 2 mm apart; the slices' normal is +z."""
    for z in range(SHAPE[0]):
        pixels = np.full(SHAPE[1:], z)
        write_dicom(folder, z + 1, pixels, ImagePositionPatient=[0.0, 0.0, 2.0 * z], FrameOfReferenceUID="1.2.9")
    return folder


def write_seg(path: Path, scan: Path, masks: np.ndarray, *, kind: str = "BINARY", slices: slice = slice(None)) -> Path:
    """Segment some slices of a series; masks: (D, H, W) labels, or (D, H, W, segments)."""
    import highdicom
    import pydicom
    from highdicom.sr.coding import CodedConcept

    tissue = CodedConcept("85756007", "SCT", "Tissue")
    sources = [pydicom.dcmread(each) for each in sorted(scan.iterdir())][slices]
    for source in sources:
        for tag in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"):
            setattr(source, tag, "")
        source.PatientID, source.PatientName, source.ReferringPhysicianName = "p", "p^q", ""
        source.SliceThickness = 2
    count = masks.shape[3] if masks.ndim == 4 else int(masks.max())
    made = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=masks,
        segmentation_type=kind,
        segment_descriptions=[
            highdicom.seg.SegmentDescription(number, f"s{number}", tissue, tissue, "MANUAL")
            for number in range(1, count + 1)
        ],
        series_instance_uid="1.2.5",
        series_number=2,
        sop_instance_uid="1.2.6",
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="x",
        device_serial_number="x",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return path


def test_a_binary_segmentation_lies_on_its_slices_though_empty_frames_are_left_out(tmp_path):
    scan = write_scan(tmp_path / "scan")
    path = write_seg(tmp_path / "scan.seg.dcm", scan, LABELS)
    labels, _, warnings = read_label_volume(path, read_volume(scan))
    np.testing.assert_array_equal(labels, LABELS)
    assert warnings == ()


def test_a_segmentation_of_every_other_slice_takes_the_images_distance_of_slices(tmp_path):
    scan = write_scan(tmp_path / "scan")
    path = write_seg(tmp_path / "scan.seg.dcm", scan, LABELS[1::2] + (LABELS[1::2] == 0), slices=slice(1, None, 2))
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[1::2] = LABELS[1::2] + (LABELS[1::2] == 0)
    np.testing.assert_array_equal(read_label_volume(path, read_volume(scan))[0], wanted)


def test_a_segmentation_that_lies_alone_in_a_folder_is_read_too(tmp_path):
    scan = write_scan(tmp_path / "scan")
    write_seg(tmp_path / "labels" / "scan" / "seg.dcm", scan, LABELS)
    np.testing.assert_array_equal(read_label_volume(tmp_path / "labels" / "scan", read_volume(scan))[0], LABELS)


def test_segments_that_overlap_are_refused_by_name(tmp_path):
    scan = write_scan(tmp_path / "scan")
    both = np.stack([LABELS == 1, LABELS > 0], axis=-1).astype(np.uint8)
    path = write_seg(tmp_path / "scan.seg.dcm", scan, both)
    with pytest.raises(PrepareError, match=r"scan\.seg\.dcm: .*segments overlap \(1 and 2, 12 pixels"):
        read_label_volume(path, read_volume(scan))


def test_probabilities_are_refused_by_name(tmp_path):
    scan = write_scan(tmp_path / "scan")
    path = write_seg(tmp_path / "scan.seg.dcm", scan, (LABELS == 1)[..., None] * 0.5, kind="FRACTIONAL")
    with pytest.raises(PrepareError, match="FRACTIONAL"):
        read_label_volume(path, read_volume(scan))


def test_a_segmentation_of_another_patient_is_refused(tmp_path):
    scan = write_scan(tmp_path / "scan")
    path = write_seg(tmp_path / "scan.seg.dcm", scan, LABELS)
    for each in (tmp_path / "scan").iterdir():
        each.unlink()
    for z in range(SHAPE[0]):
        write_dicom(scan, z + 1, np.full(SHAPE[1:], z), ImagePositionPatient=[90.0, 0.0, 2.0 * z])
    with pytest.raises(PrepareError, match=r"scan\.seg\.dcm: "):
        read_label_volume(path, read_volume(scan))


def test_a_rough_mask_may_be_a_segmentation(tmp_path):
    (tmp_path / "scan.seg.dcm").touch()
    assert mask_for(Path("scan"), "scan", tmp_path) == tmp_path / "scan.seg.dcm"


def test_data_preparation_pairs_a_series_with_its_segmentation(tmp_path):
    from data_prep.loading import read_source
    from data_prep.sources import find_sources

    scan = write_scan(tmp_path / "CT" / "set" / "images" / "scan")
    write_seg(tmp_path / "CT" / "set" / "labels" / "scan.seg.dcm", scan, LABELS)
    (source,) = find_sources(tmp_path).sources
    np.testing.assert_array_equal(read_source(source).labels, LABELS)


# --- colours ----------------------------------------------------------------------------------------------------------


def write_colours(path: Path, *colours: tuple[int, int, int], ground=(0, 0, 0)) -> Path:
    picture = np.full((12, 12, 3), ground, np.uint8)
    for number, colour in enumerate(colours):
        picture[2:5, 1 + 4 * number : 4 + 4 * number] = colour
    cv2.imwrite(str(path), picture[..., ::-1])
    return path


def test_one_colour_on_black_is_one_object(tmp_path):
    picture = read_label_picture(write_colours(tmp_path / "m.png", (255, 0, 64)))
    assert picture.array[2:5, 1:4].tolist() == [[1, 1, 1]] * 3
    assert picture.array.sum() == 9
    assert picture.notes == ("the colour #ff0040 on black taken as label 1",)


def test_several_colours_or_a_coloured_ground_are_refused_with_their_names(tmp_path):
    with pytest.raises(PrepareError, match=r"3 of them: #000000, #ff0000, #00ff00"):
        read_label_picture(write_colours(tmp_path / "two.png", (255, 0, 0), (0, 255, 0)))
    with pytest.raises(PrepareError, match=r"2 of them: #ff0000, #ffffff.*which is no object"):
        read_label_picture(write_colours(tmp_path / "ground.png", (255, 0, 0), ground=(255, 255, 255)))
