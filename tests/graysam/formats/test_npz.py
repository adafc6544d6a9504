from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.cases import VolumeCase, case_kind
from graysam.errors import CaseError
from graysam.formats.npz import (
    find_cases,
    list_folder,
    read_case,
    read_label_shape,
    read_labels,
    read_spacing_as_stored,
    write_case,
    write_labels,
)

GRAY = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)  # height 6, width 8
COLOUR = np.repeat(GRAY[:, :, None], 3, axis=2)
VOLUME = np.arange(4 * 6 * 8, dtype=np.uint8).reshape(4, 6, 8)  # depth 4


def save(folder: Path, name: str = "case", **arrays: Any) -> Path:
    path = folder / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    return path


# --- what is an image and what is a volume


@pytest.mark.parametrize(
    ("name", "imgs_shape", "boxes_shape", "kind", "image_shape", "label_shape"),
    [
        ("2DBox_US_1", (6, 8, 3), (1, 4), "2D", (6, 8, 3), (6, 8)),
        ("2DBox_US_1", (6, 8), (1, 4), "2D", (6, 8), (6, 8)),
        ("3DBox_CT_1", (4, 6, 8), (1, 6), "3D", (4, 6, 8), (4, 6, 8)),
        ("train_0001", (6, 8, 3), (1, 4), "2D", (6, 8, 3), (6, 8)),
        ("train_0001", (4, 6, 8), (1, 6), "3D", (4, 6, 8), (4, 6, 8)),
        # a volume may be 3 wide: six numbers a box decide, not the trailing 3
        ("3DBox_CT_1", (4, 6, 3), (1, 6), "3D", (4, 6, 3), (4, 6, 3)),
        ("2DBox_CT_1", (4, 6, 3), (1, 6), "3D", (4, 6, 3), (4, 6, 3)),
        # names lie, arrays decide
        ("3DBox_CT_1", (6, 8), (1, 4), "2D", (6, 8), (6, 8)),
        ("3DBox_CT_1", (6, 8), (1, 6), "2D", (6, 8), (6, 8)),
        ("3DBox_CT_1", (6, 8, 3), (1, 4), "2D", (6, 8, 3), (6, 8)),
        # channel axes of other sizes
        ("2DBox_US_1", (6, 8, 1), (1, 4), "2D", (6, 8), (6, 8)),
        ("2DBox_US_1", (6, 8, 4), (1, 4), "2D", (6, 8, 3), (6, 8)),
        # one box without an axis of its own
        ("2DBox_US_1", (6, 8), (4,), "2D", (6, 8), (6, 8)),
        # no boxes: the trailing 3 decides, unless the name says 3D
        ("2DBox_US_1", (6, 8, 3), (0, 4), "2D", (6, 8, 3), (6, 8)),
        ("2DBox_US_1", (6, 8, 3), (0,), "2D", (6, 8, 3), (6, 8)),
        ("3DBox_CT_1", (6, 8, 3), (0,), "3D", (6, 8, 3), (6, 8, 3)),
        ("3DBox_CT_1", (4, 6, 8), (0,), "3D", (4, 6, 8), (4, 6, 8)),
        ("3DBox_CT_1", (4, 6, 8), (0, 6), "3D", (4, 6, 8), (4, 6, 8)),
    ],
)
def test_the_arrays_decide_whether_a_case_is_a_volume(
    tmp_path, name, imgs_shape, boxes_shape, kind, image_shape, label_shape
):
    path = save(tmp_path, name, imgs=np.ones(imgs_shape, np.uint8), boxes=np.zeros(boxes_shape, np.int64))
    case = read_case(path)
    assert (case.kind, case.image.shape, case.label_shape) == (kind, image_shape, label_shape)
    assert read_label_shape(path) == label_shape
    claims_otherwise = case_kind(name) not in (None, kind)
    assert any("the name says" in warning for warning in case.warnings) == claims_otherwise


def test_two_dimensional_boxes_for_a_volume_are_refused(tmp_path):
    path = save(tmp_path, "3DBox_CT_1", imgs=VOLUME, boxes=np.array([[1, 1, 2, 2]]))
    with pytest.raises(CaseError, match=r"3DBox_CT_1\.npz: 'imgs' has shape \(4, 6, 8\).*'boxes' 4 numbers"):
        read_case(path)


# --- pixels


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", ">u2", "i2", "i4", "u8", "i8", "?"])
def test_integers_from_0_to_255_of_any_dtype_become_uint8(tmp_path, dtype):
    pixels = np.array([[0, 1], [1, 0]]).astype(dtype)
    case = read_case(save(tmp_path, imgs=pixels, boxes=np.zeros((0, 4))))
    assert case.image.dtype == np.uint8
    assert case.image.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8", "g"])
def test_floats_become_native_float32(tmp_path, dtype):
    case = read_case(save(tmp_path, imgs=np.array([[0.5, 255.0]]).astype(dtype), boxes=np.zeros((0, 4))))
    assert case.image.dtype == np.dtype(np.float32)
    assert case.image.tolist() == [[0.5, 255.0]]
    assert case.warnings == ()


def test_hounsfield_units_are_kept_with_a_warning(tmp_path):
    case = read_case(save(tmp_path, imgs=np.array([[-1000, 3000]], np.int16), boxes=np.zeros((0, 4))))
    assert case.image.tolist() == [[-1000.0, 3000.0]]
    assert "values from -1000 to 3000, expected 0 to 255" in case.warnings[0]


def test_pixels_that_are_not_finite_become_the_ends_of_the_range_with_a_warning(tmp_path):
    pixels = np.array([[np.nan, 10.0, 20.0], [np.inf, -np.inf, 15.0]])
    case = read_case(save(tmp_path, imgs=pixels, boxes=np.zeros((0, 4))))
    assert case.image.tolist() == [[10.0, 10.0, 20.0], [20.0, 10.0, 15.0]]
    assert case.warnings == ("3 pixels are NaN or infinite; replaced by the range's ends 10, 20",)


def test_a_volume_stored_with_the_first_axis_fastest_reads_the_same(tmp_path):
    case = read_case(save(tmp_path, imgs=np.asfortranarray(VOLUME), boxes=np.zeros((0, 6))))
    assert np.array_equal(case.image, VOLUME)
    assert case.image.flags.c_contiguous
    assert case.image.flags.writeable


def test_an_image_beyond_the_limit_of_pixels_is_refused_and_has_no_label_shape(tmp_path, monkeypatch):
    path = save(tmp_path, imgs=GRAY, boxes=np.zeros((0, 4)))
    monkeypatch.setattr("graysam.cases.MAX_SLICE_PIXELS", 47)  # GRAY has 48
    with pytest.raises(CaseError, match=r"shape \(6, 8\); a slice may have 47 pixels"):
        read_case(path)
    assert read_label_shape(path) is None


# --- boxes: the image is 8 wide and 6 high, so that the last pixel is x 7, y 5


@pytest.mark.parametrize(
    ("given", "wanted", "warning"),
    [
        ([1, 2, 3, 4], Box(1, 2, 3, 4), None),
        ([0, 0, 7, 5], Box(0, 0, 7, 5), None),  # the whole image: maxima are inclusive
        ([0, 0, 8, 6], Box(0, 0, 7, 5), "clipped"),  # maxima meant exclusively
        ([-3, -1, 2, 2], Box(0, 0, 2, 2), "clipped"),
        ([6, 5, 900, 900], Box(6, 5, 7, 5), "clipped"),
        ([-np.inf, 0, np.inf, 2], Box(0, 0, 7, 2), "clipped"),
        ([3, 4, 1, 2], Box(1, 2, 3, 4), "swapped"),
        ([1.25, 2.5, 3.75, 4], Box(1.25, 2.5, 3.75, 4), "fractional"),
        ([3, 3, 3, 3], Box(3, 3, 3, 3), None),  # one pixel
    ],
)
def test_boxes_are_put_in_order_and_clipped_with_a_warning(tmp_path, given, wanted, warning):
    case = read_case(save(tmp_path, imgs=GRAY, boxes=np.array([given])))
    assert case.boxes == (wanted,)
    assert [warning in text for text in case.warnings] == ([True] if warning else [])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([8, 0, 12, 5], r"box 1 \[8, 0, 12, 5\] lies wholly outside"),
        ([0, -9, 3, -1], r"box 1 \[0, -9, 3, -1\] lies wholly outside"),
        ([np.nan, 0, 3, 3], r"box 1 \[nan, 0, 3, 3\] is not a number"),
        ([np.nan] * 4, "box 1"),
    ],
)
def test_a_box_that_holds_no_pixel_is_an_error_naming_case_box_and_value(tmp_path, given, reason):
    path = save(tmp_path, "2DBox_US_7", imgs=GRAY, boxes=np.array([[1, 1, 2, 2], given], float))
    with pytest.raises(CaseError, match=rf"2DBox_US_7\.npz: {reason}"):
        read_case(path)


@pytest.mark.parametrize(
    ("given", "z_min", "z_max"),
    [
        ([1, 1, 0, 2, 2, 3], 0, 3),
        ([1, 1, 2, 2, 2, 2], 2, 2),  # one slice
        ([1, 1, 3, 2, 2, 1], 1, 3),  # swapped
        ([1, 1, -2, 2, 2, 4], 0, 3),  # depth 4: z_max 4 is one too many
        ([1, 1, 0.6, 2, 2, 2.4], 1, 2),  # the nearest slices
        ([1, 1, 1, 2, 2, np.inf], 1, 3),
    ],
)
def test_z_is_closed_and_clipped_to_whole_slices(tmp_path, given, z_min, z_max):
    case = read_case(save(tmp_path, imgs=VOLUME, boxes=np.array([given])))
    assert case.boxes == (VolumeBox(Box(1, 1, 2, 2), z_min, z_max),)
    assert isinstance(case.boxes[0].z_min, int)


def test_a_box_above_the_last_slice_is_an_error(tmp_path):
    with pytest.raises(CaseError, match=r"box 0 \[1, 1, 4, 2, 2, 6\] lies wholly outside.*depth 4"):
        read_case(save(tmp_path, imgs=VOLUME, boxes=np.array([[1, 1, 4, 2, 2, 6]])))


def test_six_numbers_for_one_image_lose_z_if_it_covers_slice_0(tmp_path):
    assert read_case(save(tmp_path, imgs=GRAY, boxes=np.array([[1, 1, 0, 2, 2, 0]]))).boxes == (Box(1, 1, 2, 2),)
    with pytest.raises(CaseError, match="box 0"):
        read_case(save(tmp_path, imgs=GRAY, boxes=np.array([[1, 1, 5, 2, 2, 9]])))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u8", "i8", ">i4", "f2", "f8"])
def test_boxes_of_any_number_type_give_the_same_floats(tmp_path, dtype):
    case = read_case(save(tmp_path, imgs=GRAY, boxes=np.array([[0, 0, 3, 3]]).astype(dtype)))
    assert case.boxes == (Box(0, 0, 3, 3),)


def test_the_largest_uint64_is_outside_and_does_not_wrap_around(tmp_path):
    case = read_case(save(tmp_path, imgs=GRAY, boxes=np.array([[0, 0, 2**64 - 1, 3]], np.uint64)))
    assert case.boxes == (Box(0, 0, 7, 3),)


def test_65535_boxes_are_read_and_one_more_is_refused(tmp_path):
    boxes = np.zeros((65536, 4), np.uint8)
    assert len(read_case(save(tmp_path, imgs=GRAY, boxes=boxes[:-1])).boxes) == 65535
    with pytest.raises(CaseError, match="65,536 boxes, but a 16-bit label map holds at most 65,535"):
        read_case(save(tmp_path, imgs=GRAY, boxes=boxes))


def test_a_case_without_boxes_is_read_when_they_are_not_needed(tmp_path):
    path = save(tmp_path, "CT_AbdTumor_case_00049", imgs=VOLUME, gts=np.ones_like(VOLUME))
    with pytest.raises(CaseError, match=r"no array 'boxes'; found \['gts', 'imgs'\]"):
        read_case(path)
    assert read_case(path, need_boxes=False).boxes == ()


# --- spacing


def test_spacing_is_stored_x_y_z_and_given_z_y_x(tmp_path):
    path = save(tmp_path, imgs=VOLUME, boxes=np.zeros((0, 6)), spacing=np.array([0.7, 0.8, 5.0]))
    assert read_case(path).spacing_mm == (5.0, 0.8, 0.7)
    assert read_spacing_as_stored(path) == (0.7, 0.8, 5.0)


@pytest.mark.parametrize("spacing", [[1.0, 1.0], [0, 1, 1], [np.nan, 1, 1], ["a", "b", "c"], [None, 1, 1]])
def test_spacing_that_makes_no_sense_is_ignored_with_a_warning(tmp_path, spacing):
    path = save(tmp_path, imgs=VOLUME, boxes=np.zeros((0, 6)), spacing=np.array(spacing))
    case = read_case(path)
    assert case.spacing_mm is None
    assert case.warnings[0].startswith("spacing is ignored")


def test_spacing_may_be_missing(tmp_path):
    case = read_case(save(tmp_path, imgs=VOLUME, boxes=np.zeros((0, 6))))
    assert (case.spacing_mm, case.warnings) == (None, ())


# --- folders


def test_cases_are_the_npz_files_of_a_folder_in_order_of_name(tmp_path):
    for name in ("b.npz", "a.npz", "notes.txt", "._a.npz", ".hidden.npz", "c.npz.part", "d.NPZ"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "deep.npz").write_bytes(b"")
    assert [path.name for path in find_cases(tmp_path)] == ["a.npz", "b.npz", "d.NPZ"]


def test_links_out_of_the_folder_and_pipes_are_refused_by_name(tmp_path, caplog):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "real.npz").write_bytes(b"")
    (outside / "secret.npz").write_bytes(b"")
    (inside / "good_link.npz").symlink_to("real.npz")
    (inside / "bad_link.npz").symlink_to(outside / "secret.npz")
    (inside / "dots.npz").symlink_to("../out/secret.npz")
    (inside / "dangling.npz").symlink_to("nowhere.npz")
    (inside / "loop.npz").symlink_to("loop.npz")
    os.mkfifo(inside / "pipe.npz")
    listing = list_folder(inside)
    assert [path.name for path in listing.cases] == ["good_link.npz", "real.npz"]
    assert [path.name for path, _ in listing.refused] == [
        "bad_link.npz", "dangling.npz", "dots.npz", "loop.npz", "pipe.npz",
    ]  # fmt: skip
    assert find_cases(inside) == list(listing.cases)
    assert "bad_link.npz: a link that leads out of the input folder" in caplog.text


def test_a_folder_that_is_itself_reached_by_a_link_is_fine(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.npz").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    assert [path.name for path in find_cases(tmp_path / "link")] == ["a.npz"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(CaseError, match="cannot be listed: No such file"):
        find_cases(tmp_path / "nowhere")


# --- labels and writing


@pytest.mark.parametrize(("highest", "dtype"), [(0, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16")])
def test_labels_come_back_as_they_were_written_in_the_smallest_dtype(tmp_path, highest, dtype):
    labels = np.array([[0, 1], [0, highest]], np.int64)
    write_labels(tmp_path / "a.npz", labels)
    back = read_labels(tmp_path / "a.npz", "segs")
    assert back.dtype == np.dtype(dtype)
    assert back.tolist() == labels.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    with np.load(tmp_path / "a.npz") as official_reader:
        assert official_reader["segs"].tolist() == labels.tolist()


@pytest.mark.parametrize("labels", [np.zeros((2, 2)), np.full((2, 2), -1), np.zeros(4, int), np.full((2, 2), 65536)])
def test_what_is_no_label_map_is_not_written(tmp_path, labels):
    with pytest.raises(CaseError):
        write_labels(tmp_path / "a.npz", labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gts", [np.zeros((2, 2)), np.full((2, 2), -1), np.zeros((1, 2, 2, 2), int)])
def test_references_that_are_no_label_maps_are_refused(tmp_path, gts):
    with pytest.raises(CaseError, match="gts"):
        read_labels(save(tmp_path, gts=gts), "gts")


def test_a_written_case_reads_back_the_same(tmp_path):
    boxes = (VolumeBox(Box(1, 2, 3, 4), 0, 2), VolumeBox(Box(0, 0, 7, 5), 3, 3))
    labels = (VOLUME > 100).astype(np.int32)
    write_case(tmp_path / "v.npz", image=VOLUME, boxes=boxes, spacing_mm=(5.0, 0.8, 0.7), labels=labels)
    case = read_case(tmp_path / "v.npz")
    assert isinstance(case, VolumeCase)
    assert (case.name, case.boxes, case.spacing_mm, case.warnings) == ("v", boxes, (5.0, 0.8, 0.7), ())
    assert np.array_equal(case.image, VOLUME)
    assert np.array_equal(read_labels(tmp_path / "v.npz", "gts"), labels)
    with np.load(tmp_path / "v.npz") as stored:
        assert stored["boxes"].tolist() == [[1, 2, 0, 3, 4, 2], [0, 0, 3, 7, 5, 3]]
        assert stored["spacing"].tolist() == [0.7, 0.8, 5.0]


@pytest.mark.parametrize(("image", "shape"), [(GRAY, (0, 4)), (COLOUR, (0, 4)), (VOLUME, (0, 6))])
def test_a_case_without_objects_keeps_the_width_of_its_boxes(tmp_path, image, shape):
    write_case(tmp_path / "n.npz", image=image, boxes=())
    with np.load(tmp_path / "n.npz") as stored:
        assert stored["boxes"].shape == shape


def test_fractional_boxes_are_not_rounded_by_writing(tmp_path):
    write_case(tmp_path / "f.npz", image=GRAY, boxes=(Box(0.5, 1, 2, 3),))
    assert read_case(tmp_path / "f.npz").boxes == (Box(0.5, 1, 2, 3),)


def test_reading_cases_needs_numpy_only():
    code = "import sys, graysam.formats.npz; print({'cv2', 'torch', 'scipy', 'pandas', 'openvino'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
