import math

import cv2
import numpy as np
import pytest
from source_files import write_dicom

from graysam.errors import PrepareError
from graysam.formats.readers import (
    ShapeMismatchError,
    read_image,
    read_label_volume,
    read_mask,
    read_volume,
    suv_factor,
)

# Two slices, three rows, four columns, every voxel another number: 10 z + 4 y + x.
VOXELS = np.array(
    [
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
        [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 20, 21]],
    ],
    np.int16,
)
SPACING_XYZ = (0.5, 0.75, 3.0)


def oblique(degrees: float) -> tuple[float, ...]:
    """Turn x and y about z, and flip z and x: the columns are where x, y and z of the array run (LPS)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (-c, -s, 0.0, -s, c, 0.0, 0.0, 0.0, -1.0)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_an_anisotropic_oblique_flipped_volume_keeps_its_voxels_and_tells_spacing_z_y_x(tmp_path, write_volume, suffix):
    path = write_volume(
        tmp_path / f"v{suffix}", VOXELS, spacing=SPACING_XYZ, origin=(-20, 7, 90), direction=oblique(20)
    )
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.spacing_mm == pytest.approx((3.0, 0.75, 0.5))
    # x runs to -L = R (and a little to A), y to P, z to -S = I.
    assert volume.axes == "RPI"


def test_axes_mean_what_nibabel_says_of_the_same_file(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    affine = np.array([[0, 0, 2.0, 5], [-0.7, 0.1, 0, 6], [0.1, 0.7, 0, 7], [0, 0, 0, 1]])
    affine[:3, :2] /= np.linalg.norm(affine[:3, :2], axis=0) / 0.5
    nibabel.save(nibabel.Nifti1Image(VOXELS.transpose(2, 1, 0).copy(), affine), tmp_path / "v.nii")
    volume = read_volume(tmp_path / "v.nii")
    assert volume.axes == "".join(nibabel.aff2axcodes(affine)) == "PSR"
    assert volume.spacing_mm == pytest.approx((2.0, 0.5, 0.5))
    np.testing.assert_array_equal(volume.array, VOXELS)


def test_labels_stored_with_other_axes_are_turned_to_those_of_the_image(tmp_path, write_volume):
    identity = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)
    image = write_volume(tmp_path / "image.nii.gz", VOXELS, spacing=SPACING_XYZ, direction=identity)
    # The same voxels, written from the other end of x and z: the origin moves to that corner.
    labels = np.ascontiguousarray((VOXELS > 15)[::-1, :, ::-1].astype(np.uint8))
    flipped = (-1.0, 0, 0, 0, 1, 0, 0, 0, -1)
    path = write_volume(tmp_path / "label.nii.gz", labels, spacing=SPACING_XYZ, origin=(1.5, 0, 3), direction=flipped)
    read, notes, warnings = read_label_volume(path, read_volume(image))
    np.testing.assert_array_equal(read, VOXELS > 15)
    assert notes == ("labels turned from RPI to the image's LPS",)
    assert warnings == ()


def test_labels_that_lost_their_place_are_taken_voxel_by_voxel_with_a_note(tmp_path, write_volume):
    image = write_volume(tmp_path / "image.nii.gz", VOXELS, spacing=SPACING_XYZ, direction=oblique(20))
    path = write_volume(tmp_path / "label.nii.gz", (VOXELS > 15).astype(np.uint8))
    read, notes, warnings = read_label_volume(path, read_volume(image))
    np.testing.assert_array_equal(read, VOXELS > 15)
    assert notes == ()
    assert "another place or spacing" in warnings[0]


def test_labels_of_another_shape_are_refused_with_both_shapes(tmp_path, write_volume):
    image = write_volume(tmp_path / "image.nii.gz", VOXELS)
    path = write_volume(tmp_path / "label.nii.gz", np.zeros((2, 3, 5), np.uint8))
    with pytest.raises(ShapeMismatchError, match=r"\(2, 3, 4\).*\(2, 3, 5\)"):
        read_label_volume(path, read_volume(image))


@pytest.mark.parametrize(
    ("suffix", "array", "message"),
    [
        (".nii", np.zeros((2, 2, 2, 2), np.uint8), "three dimensions"),
        (".mha", np.full((2, 2, 2), np.nan, np.float32), "NaN"),
    ],
)
def test_volumes_that_nobody_can_use_are_refused(tmp_path, suffix, array, message):
    import SimpleITK

    path = tmp_path / f"v{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=False), str(path))
    with pytest.raises(PrepareError, match=message):
        read_volume(path)


def test_a_file_that_only_claims_to_be_a_volume_is_refused_by_name(tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"not a volume")
    with pytest.raises(PrepareError, match=r"broken\.nii\.gz"):
        read_volume(tmp_path / "broken.nii.gz")


@pytest.mark.parametrize("value", [0.5, -1.0, 70000.0])
def test_label_volumes_hold_whole_numbers_from_0_to_65535(tmp_path, write_volume, value):
    image = write_volume(tmp_path / "i.nii.gz", VOXELS)
    path = write_volume(tmp_path / "l.nii.gz", np.full(VOXELS.shape, value, np.float32))
    with pytest.raises(PrepareError, match="labels must"):
        read_label_volume(path, read_volume(image))


# --- DICOM
# ---------------------------------------------------------------------------------------------------


def test_a_dicom_series_is_sorted_by_position_and_scaled_to_hounsfield_units(tmp_path):
    # File 1 lies on top, file 3 at the bottom: the order of names is the wrong one.
    for number, z in [(1, 5.0), (2, 2.5), (3, 0.0)]:
        write_dicom(
            tmp_path, number, np.full((3, 4), 100 * number),
            ImagePositionPatient=[0, 0, z], RescaleSlope=2, RescaleIntercept=-1024,
        )  # fmt: skip
    volume = read_volume(tmp_path)
    assert volume.array.shape == (3, 3, 4)
    assert volume.spacing_mm == pytest.approx((2.5, 0.75, 0.5))
    assert volume.array[:, 0, 0].tolist() == [2 * 300 - 1024, 2 * 200 - 1024, 2 * 100 - 1024]
    assert (volume.units, volume.modality, volume.axes) == ("HU", "CT", "LPS")


def test_a_missing_slice_of_a_series_is_noted(tmp_path):
    for number, z in [(1, 0.0), (2, 2.5), (3, 7.5)]:
        write_dicom(tmp_path, number, np.zeros((3, 4)), ImagePositionPatient=[0, 0, z])
    assert any("is a slice missing" in what for what in read_volume(tmp_path).warnings)


def test_two_series_in_one_folder_are_refused(tmp_path):
    write_dicom(tmp_path, 1, np.zeros((3, 4)))
    write_dicom(tmp_path, 2, np.zeros((3, 4)), SeriesInstanceUID="1.2.3.5")
    with pytest.raises(PrepareError, match="2 DICOM series"):
        read_volume(tmp_path)


def test_an_inverted_radiograph_is_turned_so_that_dense_is_bright(tmp_path):
    write_dicom(tmp_path, 1, np.array([[0, 1000], [400, 1000]]), Modality="DX", PhotometricInterpretation="MONOCHROME1")
    volume = read_volume(tmp_path)
    assert volume.array[0].tolist() == [[65535, 64535], [65135, 64535]]  # 65,535 minus what is stored
    assert "MONOCHROME1" in volume.notes[0]


def pet_header(**tags):
    pydicom = pytest.importorskip("pydicom")
    drug = pydicom.Dataset()
    drug.RadionuclideTotalDose = 100e6
    drug.RadionuclideHalfLife = 3600
    drug.RadiopharmaceuticalStartTime = "100000"
    header = pydicom.Dataset()
    header.Units, header.PatientWeight, header.DecayCorrection = "BQML", 50, "START"
    header.SeriesTime, header.AcquisitionTime = "110000.0", "111500"
    header.RadiopharmaceuticalInformationSequence = [drug]
    for name, value in tags.items():
        setattr(header, name, value)
    return header


def test_suv_by_body_weight_worked_out_by_hand():
    # 100 MBq at 10:00, half-life 1 h: 50 MBq at 11:00. 50 kg are 50,000 g; 50,000 g / 50e6 Bq = 0.001 g/Bq,
    # so 2000 Bq/ml are an SUV of 2.
    assert suv_factor(pet_header()) == pytest.approx(0.001)
    # Counts already corrected to the time of injection: the full dose holds.
    assert suv_factor(pet_header(DecayCorrection="ADMIN")) == pytest.approx(0.0005)
    # A scan after midnight: injected at 10:00, scanned at 00:00 the next day, 14 half-lives.
    late = pet_header(SeriesTime="000000", AcquisitionTime="000000")
    assert suv_factor(late) == pytest.approx(0.0005 * 2**14)


@pytest.mark.parametrize("tags", [{"PatientWeight": 0}, {"Units": "CNTS"}, {"SeriesTime": "", "AcquisitionTime": ""}])
def test_without_weight_unit_or_time_there_is_no_suv(tags):
    assert suv_factor(pet_header(**tags)) is None


def test_a_pet_series_is_read_as_suv(tmp_path):
    header = pet_header()
    for number in (1, 2):
        write_dicom(
            tmp_path, number, np.full((3, 4), 2000), Modality="PT", ImagePositionPatient=[0, 0, 4 * number],
            **{name: header[name].value for name in (
                "Units", "PatientWeight", "DecayCorrection", "SeriesTime", "AcquisitionTime",
                "RadiopharmaceuticalInformationSequence")},
        )  # fmt: skip
    volume = read_volume(tmp_path)
    assert volume.units == "SUV"
    np.testing.assert_allclose(volume.array, 2.0)


# --- plain images
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_colours_come_as_red_green_blue(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / f"i{suffix}"), np.array([[[3, 2, 1]]], np.uint8))  # OpenCV's order is blue first
    assert read_image(tmp_path / f"i{suffix}").tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay_sixteen_bits(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / f"i{suffix}"), np.array([[0, 40000]], np.uint16))
    image = read_image(tmp_path / f"i{suffix}")
    assert (image.dtype, image.tolist()) == (np.uint16, [[0, 40000]])


def test_transparency_is_dropped(tmp_path):
    cv2.imwrite(str(tmp_path / "i.png"), np.array([[[3, 2, 1, 0]]], np.uint8))
    assert read_image(tmp_path / "i.png").tolist() == [[[1, 2, 3]]]


def test_a_tiff_of_several_pages_is_refused(tmp_path):
    cv2.imwritemulti(str(tmp_path / "i.tif"), [np.zeros((4, 4), np.uint8)] * 3)
    with pytest.raises(PrepareError, match="3 pages"):
        read_image(tmp_path / "i.tif")


def test_an_unreadable_image_is_refused_by_name(tmp_path):
    (tmp_path / "i.png").write_bytes(b"\x89PNG but not really")
    with pytest.raises(PrepareError, match=r"i\.png"):
        read_image(tmp_path / "i.png")


def test_a_gray_mask_in_three_channels_is_read_and_one_in_colours_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "gray.png"), np.array([[[2, 2, 2], [0, 0, 0]]], np.uint8))
    assert read_mask(tmp_path / "gray.png").tolist() == [[2, 0]]
    cv2.imwrite(str(tmp_path / "red.png"), np.array([[[0, 0, 255], [0, 255, 0], [0, 0, 0]]], np.uint8))
    with pytest.raises(PrepareError, match="in colours"):
        read_mask(tmp_path / "red.png")


def test_a_jpeg_mask_is_cut_at_half(tmp_path):
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 8:] = 255
    cv2.imwrite(str(tmp_path / "m.jpg"), mask)
    assert np.unique(read_mask(tmp_path / "m.jpg")).tolist() == [0, 1]
    np.testing.assert_array_equal(read_mask(tmp_path / "m.jpg"), mask > 0)


def test_a_label_map_with_nan_for_its_background_is_refused_and_not_filled(tmp_path, write_volume):
    labels = np.full((2, 3, 4), np.nan, np.float32)
    labels[0, 0, 0] = 1
    image = read_volume(write_volume(tmp_path / "i.nii.gz", np.zeros((2, 3, 4), np.int16)))
    with pytest.raises(PrepareError, match=r"l\.nii\.gz: labels must be numbers, got 23 that are NaN"):
        read_label_volume(write_volume(tmp_path / "l.nii.gz", labels), image)
