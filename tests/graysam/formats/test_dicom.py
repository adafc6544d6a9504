"""DICOM series that are no plain stack, PET scales, multi-frame files and single pictures."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from source_files import packed_by_gdcm, write_deadly_dicom, write_dicom

from graysam.errors import PrepareError
from graysam.formats.pet import suv_scale
from graysam.formats.readers import dicom_files, read_label_volume, read_volume

PIXELS = np.arange(12).reshape(3, 4)


def stack(folder, places, **tags):
    """Write a slice per (x, y, z), all pixels its number; the order of names is that of the list."""
    for number, place in enumerate(places, 1):
        write_dicom(folder, number, np.full((3, 4), number), ImagePositionPatient=list(map(float, place)), **tags)
    return folder


def test_slices_are_sorted_along_their_normal_whatever_their_names_and_numbers(tmp_path):
    # Sagittal: rows run along y, columns down; the normal is -x.
    folder = stack(tmp_path, [(0, 0, 0), (4, 0, 0), (2, 0, 0)], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    volume = read_volume(folder)
    assert volume.array[:, 0, 0].tolist() == [2, 3, 1]
    assert (volume.axes, volume.spacing_mm) == ("PIR", (2.0, 0.75, 0.5))
    assert volume.warnings == ()


def test_the_step_is_the_median_one_and_a_missing_slice_is_named(tmp_path):
    volume = read_volume(stack(tmp_path, [(0, 0, z) for z in (0, 2, 4, 8, 10)]))
    assert volume.spacing_mm[0] == 2.0
    assert "4.00 mm between 003.dcm and 004.dcm" in volume.warnings[0]


def test_slices_on_one_another_are_refused_as_phases(tmp_path):
    with pytest.raises(PrepareError, match=r"001\.dcm and 004\.dcm.*phases"):
        read_volume(stack(tmp_path, [(0, 0, 0), (0, 0, 2), (0, 0, 4), (0, 0, 0), (0, 0, 2), (0, 0, 4)]))


def test_a_copy_of_a_file_is_read_once(tmp_path):
    folder = stack(tmp_path, [(0, 0, 0), (0, 0, 2), (0, 0, 4)])
    (folder / "copy.dcm").write_bytes((folder / "002.dcm").read_bytes())
    volume = read_volume(folder)
    assert volume.array[:, 0, 0].tolist() == [1, 2, 3]
    assert "twice" in volume.warnings[0]


@pytest.mark.parametrize(
    ("tags", "cause"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "another orientation"),
        ({"ImageOrientationPatient": [0.99, 0.141, 0, -0.141, 0.99, 0]}, "another orientation"),  # 8 degrees
        ({"Rows": 4, "Columns": 3}, r"size \(4, 3\)"),
        ({"PixelSpacing": [0.8, 0.5]}, "pixel spacing"),
        ({"ImagePositionPatient": [40.0, 0, 6]}, "beside the line"),
        ({"SeriesInstanceUID": "1.9.9"}, "2 DICOM series"),
    ],
)
def test_a_slice_that_does_not_belong_is_refused_by_its_cause(tmp_path, tags, cause):
    stack(tmp_path, [(0, 0, 0), (0, 0, 2), (0, 0, 4), (0, 0, 8)])
    write_dicom(tmp_path, 9, PIXELS, **{"ImagePositionPatient": [0.0, 0, 6], **tags})
    with pytest.raises(PrepareError, match=cause):
        read_volume(tmp_path)


@pytest.mark.parametrize("oblique", [False, True])
def test_a_leaning_stack_is_told_and_its_step_is_the_distance_of_voxels(tmp_path, oblique):
    # Slices in the plane of x and y, each 3 mm up and 4 mm along y: 5 mm apart, leaning by atan(4 / 3) = 53.1 degrees.
    # Oblique: the slices themselves are tilted by 20 degrees and set straight on one another: leaning by 20 degrees.
    t = np.deg2rad(20)
    tags = {"ImageOrientationPatient": [1, 0, 0, 0, float(np.cos(t)), float(-np.sin(t))]} if oblique else {}
    places = [(0, 0, 5 * n) for n in range(4)] if oblique else [(0, 4 * n, 3 * n) for n in range(4)]
    volume = read_volume(stack(tmp_path, places, **tags))
    assert f"leans by {20.0 if oblique else 53.1}" in volume.warnings[0]
    assert volume.spacing_mm[0] == pytest.approx(5)


def test_an_oblique_stack_along_its_own_normal_does_not_lean(tmp_path):
    t = np.deg2rad(20)
    normal = np.array([0, np.sin(t), np.cos(t)])
    places = [tuple(3 * n * normal) for n in range(4)]
    iop = [1, 0, 0, 0, float(np.cos(t)), float(-np.sin(t))]
    volume = read_volume(stack(tmp_path, places, ImageOrientationPatient=iop, GantryDetectorTilt=20.0))
    assert volume.warnings == ()
    assert volume.spacing_mm[0] == pytest.approx(3)


def test_every_slice_has_its_own_slope(tmp_path):
    for number, slope in enumerate([1, 0.01, 0.5], 1):
        place = [0.0, 0, 2.0 * number]
        write_dicom(tmp_path, number, np.full((3, 4), 350), ImagePositionPatient=place, RescaleSlope=slope, Units="GML",
                    RescaleIntercept=0, Modality="PT")  # fmt: skip
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.array[:, 0, 0], [350, 3.5, 175])
    assert volume.units == "SUV"


def test_slices_of_different_pixel_types_keep_their_values(tmp_path):
    write_dicom(tmp_path, 1, np.full((3, 4), 40000), ImagePositionPatient=[0.0, 0, 0])
    negative = np.full((3, 4), -5, np.int16).view(np.uint16)
    write_dicom(tmp_path, 2, negative, ImagePositionPatient=[0.0, 0, 2], PixelRepresentation=1)
    assert read_volume(tmp_path).array[:, 0, 0].tolist() == [40000, -5]


def pet(drug=None, **tags):
    """70 kg and 70 MBq: SUV is Bq/ml / 1000 at injection; with a half-life of an hour, / 500 an hour later."""
    header, injected = Dataset(), Dataset()
    for name, value in {"RadionuclideTotalDose": 70e6, "RadionuclideHalfLife": 3600, **(drug or {})}.items():
        setattr(injected, name, value)
    header.Units, header.PatientWeight, header.DecayCorrection = "BQML", 70, "START"
    header.RadiopharmaceuticalInformationSequence = Sequence([injected])
    for name, value in tags.items():
        setattr(header, name, value)
    return header


AT_TEN = {"RadiopharmaceuticalStartTime": "100000"}


@pytest.mark.parametrize(
    ("drug", "tags"),
    [
        (AT_TEN, {"SeriesTime": "110000"}),
        (AT_TEN, {"AcquisitionTime": "110000.50"}),
        (AT_TEN, {"SeriesTime": "113000", "AcquisitionTime": "110000"}),  # a series made after the scan
        (AT_TEN, {"AcquisitionDateTime": "20200101110000.0+0100"}),
        ({"RadiopharmaceuticalStartDateTime": "20200101100000.00"}, {"SeriesDate": "20200101", "SeriesTime": "110000"}),
        ({"RadiopharmaceuticalStartDateTime": "20200101100000"}, {"SeriesTime": "110000"}),
        (
            {"RadiopharmaceuticalStartDateTime": "20191231233000"},
            {"SeriesDate": "20200101", "SeriesTime": "003000"},  # over midnight
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "19700101100000"},  # dates shifted for anonymity
            {"SeriesDate": "20200101", "SeriesTime": "110000"},
        ),
        ({"RadiopharmaceuticalStartTime": "233000"}, {"SeriesTime": "003000"}),
    ],
)
def test_an_hour_of_decay_is_found_by_every_standard_tag(drug, tags):
    assert suv_scale([pet(drug, **tags)]).factor == pytest.approx(1 / 500, rel=1e-3)


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        (pet(AT_TEN, SeriesTime="110000", PatientWeight=None), "weight"),
        (pet({**AT_TEN, "RadionuclideTotalDose": 0}, SeriesTime="110000"), "dose"),
        (pet({}, SeriesTime="110000"), "time"),
        (pet(AT_TEN), "time"),
        (pet(AT_TEN, Units="CNTS"), "CNTS"),
        (pet(AT_TEN, Units="GML", SUVType="LBM"), "LBM"),
    ],
)
def test_what_is_missing_for_suv_is_named(header, missing):
    scale = suv_scale([header])
    assert scale.factor is None
    assert missing in scale.missing


def test_the_scan_starts_with_its_earliest_slice():
    later = pet(AT_TEN, AcquisitionTime="120000")
    assert suv_scale([later, pet(AT_TEN, AcquisitionTime="110000")]).factor == pytest.approx(1 / 500, rel=1e-3)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("slope", [1, 2])
def test_monochrome1_is_turned_so_that_dense_is_bright(tmp_path, signed, slope):
    # 12 bits: black is 4095, or 2047 where they are signed.
    stored = np.array([[4095, 0], [4000, 95]]) - (2048 if signed else 0)
    tags = {"PixelRepresentation": int(signed), "BitsStored": 12, "HighBit": 11, "RescaleSlope": slope}
    write_dicom(tmp_path, 1, stored.astype(np.int16).view(np.uint16), Modality="DX", RescaleIntercept=0,
                PhotometricInterpretation="MONOCHROME1", **tags)  # fmt: skip
    bright = np.array([[0, 4095], [95, 4000]]) - (2048 if signed else 0)
    volume = read_volume(tmp_path / "001.dcm")
    np.testing.assert_array_equal(volume.array[0], bright * slope)
    assert volume.is_picture


def enhanced(path, places, *, slopes=None, orientation=(1, 0, 0, 0, 1, 0)):
    """Write an enhanced multi-frame file: frame i holds i + 1 everywhere."""
    frames = np.stack([np.full((3, 4), number + 1, np.uint16) for number in range(len(places))])
    groups = []
    for number, place in enumerate(places):
        group, position, scale = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = list(map(float, place))
        scale.RescaleSlope, scale.RescaleIntercept = (slopes or [1] * len(places))[number], 0
        group.PlanePositionSequence = Sequence([position])
        group.PixelValueTransformationSequence = Sequence([scale])
        groups.append(group)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 9.0
    plane.ImageOrientationPatient = list(map(float, orientation))
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    data = write_dicom(path.parent, 1, frames[0])
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(data, name)
    data.NumberOfFrames, data.PixelData = len(places), frames.tobytes()
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    (path.parent / "001.dcm").unlink()
    data.save_as(path, enforce_file_format=True)
    return path


def test_an_enhanced_file_is_a_stack_of_its_frames(tmp_path):
    path = enhanced(tmp_path / "e.dcm", [(0, 0, 6), (0, 0, 2), (0, 0, 4)], slopes=[1, 1, 0.5])
    for where in (path, tmp_path):
        volume = read_volume(where)
        np.testing.assert_allclose(volume.array[:, 0, 0], [2, 1.5, 1])  # sorted by place, each with its slope
        assert volume.spacing_mm == (2.0, 0.75, 0.5)


def test_frames_on_one_another_and_films_are_refused(tmp_path):
    with pytest.raises(PrepareError, match="phases"):
        read_volume(enhanced(tmp_path / "e.dcm", [(0, 0, 0), (0, 0, 2), (0, 0, 0), (0, 0, 2)]))
    data = write_dicom(tmp_path / "film", 1, PIXELS, Modality="US")
    del data.ImagePositionPatient
    data.NumberOfFrames, data.PixelData = 3, np.zeros((3, 3, 4), np.uint16).tobytes()
    data.save_as(tmp_path / "film" / "001.dcm", enforce_file_format=True)
    with pytest.raises(PrepareError, match="film"):
        read_volume(tmp_path / "film")


@pytest.mark.parametrize("how", ["rle", "deflated", "jpeg", "jpeg lossless", "big endian"])
def test_packed_pixels_are_the_same(tmp_path, how):
    values = np.full((64, 64), 40, np.uint8)
    values[16:48, 16:48] = 200
    data = write_dicom(tmp_path, 1, values, Modality="US", BitsAllocated=8, BitsStored=8, HighBit=7)
    data.PixelData = values.tobytes()
    path = tmp_path / "001.dcm"
    if how == "rle":
        data.compress(pydicom.uid.RLELossless)
    elif how == "deflated":
        data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    elif how.startswith("jpeg"):
        data = _as_jpeg(data, values, path, lossless="lossless" in how)
    if how == "big endian":
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelData = values.astype(">u2").tobytes()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        pydicom.dcmwrite(path, data, little_endian=False, implicit_vr=False, force_encoding=True)
    else:
        data.save_as(path, enforce_file_format=True)
    read = read_volume(tmp_path).array[0].astype(int)
    assert np.abs(read - values).max() <= (2 if how == "jpeg" else 0)


def _as_jpeg(data, values, path, *, lossless):
    import io

    from PIL import Image
    from pydicom.encaps import encapsulate

    if lossless:  # only gdcm packs it
        data.save_as(path, enforce_file_format=True)
        packed_by_gdcm(path, "JPEGLosslessProcess14_1")
        return pydicom.dcmread(path)
    content = io.BytesIO()
    Image.fromarray(values).save(content, "JPEG", quality=95)
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    data.PixelData = encapsulate([content.getvalue()])
    data["PixelData"].is_undefined_length = True
    return data


@pytest.mark.parametrize("suffix", [".png", ".nii.gz"])
def test_a_radiograph_takes_a_picture_or_a_slice_as_its_labels(tmp_path, suffix, write_png, write_volume):
    data = write_dicom(tmp_path, 1, PIXELS, Modality="DX")
    del data.ImagePositionPatient
    del data.ImageOrientationPatient
    data.save_as(tmp_path / "001.dcm", enforce_file_format=True)
    mask = (PIXELS > 5).astype(np.uint8)
    path = tmp_path / f"mask{suffix}"
    if suffix == ".png":
        write_png(path, mask)
    else:
        write_volume(path, mask[None])
    labels, _, warnings = read_label_volume(path, read_volume(tmp_path / "001.dcm"))
    np.testing.assert_array_equal(labels[0], mask)
    assert warnings == ()


def test_what_lies_beside_slices_is_skipped_but_a_damaged_slice_is_not(tmp_path):
    folder = stack(tmp_path / "s", [(0, 0, 0), (0, 0, 2), (0, 0, 4)])
    (folder / "._001.dcm").write_bytes(b"\0\5\26\7" + b"\0" * 60)
    (folder / "DICOMDIR").write_bytes(b"none")
    (folder / "notes.txt").write_text("from the archive")
    assert read_volume(folder).array.shape == (3, 3, 4)
    assert list(map(len, dicom_files(folder).values())) == [3]
    (folder / "003.dcm").write_bytes((folder / "003.dcm").read_bytes()[:100])
    with pytest.raises(PrepareError, match=r"003\.dcm"):
        read_volume(folder)


@pytest.mark.parametrize("cut", [1, 30])
def test_a_slice_whose_pixels_were_cut_off_is_refused(tmp_path, cut):
    folder = stack(tmp_path, [(0, 0, 0), (0, 0, 2)])
    (folder / "002.dcm").write_bytes((folder / "002.dcm").read_bytes()[:-cut])
    with pytest.raises(PrepareError, match=r"002\.dcm"):
        read_volume(folder)


@pytest.mark.parametrize(("modality", "cause"), [("SEG", "segmentation"), ("RTSTRUCT", "contours"), ("SR", "report")])
def test_dicom_that_is_no_image_is_told_what_it_is(tmp_path, modality, cause):
    write_dicom(tmp_path, 1, PIXELS, Modality=modality)
    with pytest.raises(PrepareError, match=cause):
        read_volume(tmp_path)


def test_labels_drawn_in_itk_on_an_uneven_series_fit_by_its_mean_step(tmp_path, write_volume):
    # 21 slices of which 10 are missing in the middle: 30 mm over 20 steps, 1.5 mm in the mean and 1 mm in the median.
    places = [(0.0, 0.0, float(z)) for z in (*range(10), *range(20, 31))]
    volume = read_volume(stack(tmp_path / "s", places))
    assert volume.spacing_mm[0] == 1.0
    mask = (volume.array > 7).astype(np.uint8)
    path = write_volume(tmp_path / "l.nii.gz", mask, spacing=(0.5, 0.75, 1.5))
    labels, _, warnings = read_label_volume(path, volume)
    np.testing.assert_array_equal(labels, mask)
    assert len(warnings) == 1


def test_a_slice_without_the_slope_that_others_have_is_told(tmp_path):
    for number in (1, 2, 3):
        slope = {} if number == 2 else {"RescaleSlope": 0.5, "RescaleIntercept": 0}
        write_dicom(tmp_path, number, PIXELS, ImagePositionPatient=[0.0, 0, 2.0 * number], **slope)
    assert "002.dcm) without a RescaleSlope" in read_volume(tmp_path).warnings[0]


@pytest.mark.parametrize("syntax", ["JPEG2000Lossless", "JPEGLSLossless", "JPEGLosslessProcess14_1"])
def test_pixels_that_are_unpacked_in_another_process_are_what_was_packed(tmp_path, syntax):
    values = (np.add.outer(np.arange(48), np.arange(40)) * 7).astype(np.uint16)
    write_dicom(tmp_path, 1, values)
    packed_by_gdcm(tmp_path / "001.dcm", syntax)
    np.testing.assert_array_equal(read_volume(tmp_path).array[0], values)


def test_a_decoder_that_ends_its_process_costs_one_file(tmp_path):
    messages = []
    for seed in (34, 49, 91):
        path = write_deadly_dicom(tmp_path / str(seed), seed)
        with pytest.raises(PrepareError, match=r"001\.dcm: ") as caught:
            read_volume(path)
        messages.append(str(caught.value))
    assert any("crashed or was killed" in message for message in messages), "no damage that this gdcm dies over"
