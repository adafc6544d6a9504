"""NIfTI: which transform counts, what is whole, and what values are; written with nibabel or by hand."""

import gzip
import os

import nibabel
import numpy as np
import pytest

from graysam.errors import PrepareError
from graysam.formats.readers import read_label_volume, read_volume

# x runs fastest: value = x + 2 y + 6 z over (x, y, z) = (2, 3, 4).
XYZ = np.arange(24, dtype=np.int16).reshape(4, 3, 2).transpose(2, 1, 0).copy()


def save(path, array=XYZ, *, sform=None, qform=None, zooms=(1, 1, 1), slope=None):
    image = nibabel.Nifti1Image(array, None)
    image.header.set_zooms((*zooms, *([1] * (array.ndim - 3))) if array.ndim >= 3 else zooms[: array.ndim])
    if sform is not None:
        image.set_sform(sform, 1)
    if qform is not None:
        image.set_qform(qform, 1)
    if slope is not None:
        image.header.set_slope_inter(*slope)
    nibabel.save(image, path)
    return path


RAS, LAS = np.diag([1.0, 1, 1, 1]), np.diag([-1.0, 1, 1, 1])


@pytest.mark.parametrize(
    ("sform", "qform", "axes", "warns"),
    [
        (RAS, None, "RAS", False),
        (None, LAS, "LAS", False),
        (RAS, RAS, "RAS", False),
        (RAS, LAS, "RAS", True),  # they disagree: the sform counts, and a warning tells
        (np.diag([1.0, 1, 2, 1]), RAS, "RAS", True),  # also in spacing alone
    ],
)
def test_the_sform_counts_if_its_code_is_above_0_else_the_qform(tmp_path, sform, qform, axes, warns):
    volume = read_volume(save(tmp_path / "v.nii", sform=sform, qform=qform))
    assert volume.axes == axes
    assert volume.grid.is_stated
    assert any("the sform counts" in what for what in volume.warnings) == warns
    assert volume.spacing_mm == ((2.0, 1.0, 1.0) if sform is not None and sform[2, 2] == 2 else (1.0, 1.0, 1.0))


def test_image_and_labels_follow_the_same_transform(tmp_path):
    # The image's sform says x runs to the left although its qform says right; the label has a qform to the right.
    flipped = LAS.copy()
    flipped[0, 3] = 1.0  # the same place from the other end: x = 1, 0
    image = read_volume(save(tmp_path / "i.nii", sform=flipped, qform=RAS))
    labels, _, _ = read_label_volume(save(tmp_path / "l.nii", (XYZ[::-1] > 11).astype(np.uint8), qform=RAS), image)
    np.testing.assert_array_equal(labels, image.array > 11)


def test_without_a_transform_only_the_spacing_is_known(tmp_path):
    volume = read_volume(save(tmp_path / "v.nii", zooms=(0.5, 0.75, 3)))
    assert volume.spacing_mm == (3.0, 0.75, 0.5)
    assert not volume.grid.is_stated


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 0.001), ("meter", 1000), ("unknown", 1)])
def test_lengths_are_in_mm_whatever_unit_the_file_has(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(XYZ, np.diag([2.0, 2, 2, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "v.nii")
    assert read_volume(tmp_path / "v.nii").spacing_mm == pytest.approx((2 * factor,) * 3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.05, 0.6, 0.999])
def test_a_file_that_was_cut_off_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 999, (16, 16, 16)).astype(np.int16)
    path = save(tmp_path / f"v{suffix}", noise, sform=RAS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PrepareError, match=r"v\.nii.*(cut off|damaged)"):
        read_volume(path)


def test_a_flipped_byte_in_packed_data_is_found_by_its_sum(tmp_path):
    path = save(tmp_path / "v.nii.gz", sform=RAS)
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # within the sum at the end
    path.write_bytes(content)
    with pytest.raises(PrepareError, match="damaged"):
        read_volume(path)


def test_content_and_not_the_name_tells_whether_it_is_packed(tmp_path):
    plain = save(tmp_path / "v.nii", sform=RAS)
    (tmp_path / "PLAIN.NII.GZ").write_bytes(plain.read_bytes())
    (tmp_path / "PACKED.NII").write_bytes(gzip.compress(plain.read_bytes()))
    for name in ("PLAIN.NII.GZ", "PACKED.NII"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, XYZ.T)


@pytest.mark.parametrize(
    ("slope", "dtype", "expected"),
    [((1, -1024), np.int16, -1024 + 5), ((0.5, -1000), np.float32, -1000 + 2.5), (None, np.int16, 5)],
)
def test_slope_and_intercept_are_applied(tmp_path, slope, dtype, expected):
    array = read_volume(save(tmp_path / "v.nii", sform=RAS, slope=slope)).array
    assert array.dtype == dtype
    assert array[0, 2, 1] == expected  # x = 1, y = 2: stored 5


@pytest.mark.parametrize(
    ("shape", "read"), [((2, 3, 4, 1), (4, 3, 2)), ((2, 3, 4, 1, 1), (4, 3, 2)), ((2, 3), (1, 3, 2))]
)
def test_further_axes_of_size_1_are_dropped_and_a_picture_is_one_slice(tmp_path, shape, read):
    array = np.zeros(shape, np.int16)
    array.flat[0] = 1
    assert read_volume(save(tmp_path / "v.nii", array, sform=RAS)).array.shape == read


@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (2, 3, 4, 1, 3)])
def test_time_points_and_channels_are_refused(tmp_path, shape):
    with pytest.raises(PrepareError, match="three dimensions"):
        read_volume(save(tmp_path / "v.nii", np.zeros(shape, np.int16), sform=RAS))


def test_colours_are_refused(tmp_path):
    rgb = np.zeros((2, 3, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(rgb, RAS), tmp_path / "v.nii")
    with pytest.raises(PrepareError, match="colours"):
        read_volume(tmp_path / "v.nii")


def test_nan_becomes_the_smallest_value_with_a_warning(tmp_path):
    array = XYZ.astype(np.float32) - 1000
    array[0, 0, 0] = np.nan
    volume = read_volume(save(tmp_path / "v.nii", array, sform=RAS))
    assert volume.array[0, 0, 0] == -999  # the smallest that is left
    assert "1 voxels are NaN" in volume.warnings[0]


def test_a_sheared_affine_is_read_in_the_order_of_voxels_with_a_warning(tmp_path):
    affine = np.diag([1.0, 1, 5, 1])
    affine[1, 2] = 1
    volume = read_volume(save(tmp_path / "v.nii", sform=affine, zooms=(1, 1, 5)))
    np.testing.assert_array_equal(volume.array, XYZ.T)
    assert any("right angles" in what for what in volume.warnings)
    label = save(tmp_path / "l.nii.gz", (XYZ > 11).astype(np.uint8), sform=affine, zooms=(1, 1, 5))
    labels, _, warnings = read_label_volume(label, volume)
    np.testing.assert_array_equal(labels, XYZ.T > 11)
    assert warnings == ()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (40, (3).to_bytes(2, "little") + (30000).to_bytes(2, "little") * 3),  # 27 million million voxels
        (70, (9999).to_bytes(2, "little")),  # a type that does not exist
        (344, b"xyz\0"),  # no NIfTI
        (0, b"\0\0\0\0"),
        (108, np.float32(1e9).tobytes()),  # voxels begin behind the end
        (42, (0).to_bytes(2, "little")),  # an axis without voxels
    ],
)
def test_a_header_that_is_nonsense_is_refused_by_name(tmp_path, place, value):
    path = save(tmp_path / "v.nii", sform=RAS)
    content = bytearray(path.read_bytes())
    content[place : place + len(value)] = value
    for name, data in (("v.nii", bytes(content)), ("w.nii.gz", gzip.compress(bytes(content)))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PrepareError, match=r"[vw]\.nii"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.99999994, 2.0000002], [0, 1, 2]),  # float rounding
        ([0, 0.9996, 1.0004], [0, 1, 1]),
    ],
)
def test_labels_that_miss_whole_numbers_by_rounding_are_labels(tmp_path, values, expected):
    image = read_volume(save(tmp_path / "i.nii", np.zeros((3, 1, 1), np.int16), sform=RAS))
    label = save(tmp_path / "l.nii", np.array(values, np.float32).reshape(3, 1, 1), sform=RAS)
    labels, _, _ = read_label_volume(label, image)
    assert labels.ravel().tolist() == expected


def test_a_name_that_is_no_utf8_is_read(tmp_path):
    save(tmp_path / "v.nii", sform=RAS).rename(tmp_path / os.fsdecode(b"caf\xe9.nii"))
    (found,) = tmp_path.iterdir()
    np.testing.assert_array_equal(read_volume(found).array, XYZ.T)


def test_shares_of_one_object_are_refused_or_cut_at_half_on_request(tmp_path):
    image = read_volume(save(tmp_path / "i.nii", np.zeros((4, 1, 1), np.int16), sform=RAS))
    path = save(tmp_path / "l.nii", np.array([0, 0.3, 0.7, 1], np.float32).reshape(4, 1, 1), sform=RAS)
    with pytest.raises(PrepareError, match="fractions"):
        read_label_volume(path, image)
    labels, _, warnings = read_label_volume(path, image, soft_masks="threshold")
    assert labels.ravel().tolist() == [0, 0, 1, 1]
    assert "cut at half" in warnings[0]


@pytest.mark.parametrize("peak", [255, 200])
def test_a_smoothed_volume_of_whole_numbers_is_no_label_map(tmp_path, peak):
    import cv2

    soft = np.stack([cv2.GaussianBlur(np.pad(np.ones((20, 20)), 20), (0, 0), 3)] * 3) * peak
    image = read_volume(save(tmp_path / "i.nii", np.zeros((60, 60, 3), np.int16), sform=RAS))
    path = save(tmp_path / "l.nii", soft.astype(np.uint8).T.copy(), sform=RAS)
    with pytest.raises(PrepareError, match="smoothed"):
        read_label_volume(path, image)
