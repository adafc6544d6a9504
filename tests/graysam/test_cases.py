"""Cases as plain data: what their names tell, how pixels are cleaned, which dtype labels take."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.cases import (
    ImageCase,
    VolumeCase,
    case_kind,
    check_size,
    clean_image,
    label_dtype,
    modality_of,
    narrow_labels,
)
from graysam.errors import CaseError

# --- images and volumes


def test_the_labels_of_an_image_have_no_channels_and_those_of_a_volume_its_shape():
    image = ImageCase("2DBox_US_1", None, np.zeros((6, 8, 3), np.uint8), (Box(0, 0, 1, 1),))
    volume = VolumeCase("3DBox_CT_1", None, np.zeros((4, 6, 8), np.uint8), (VolumeBox(Box(0, 0, 1, 1), 0, 2),))
    assert (image.kind, image.label_shape, image.modality) == ("2D", (6, 8), "US")
    assert (volume.kind, volume.label_shape, volume.modality) == ("3D", (4, 6, 8), "CT")


# --- names


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("2DBox_OCT_0001", "OCT"),
        ("3DBox_CT_0566.npz", "CT"),
        ("CT_AbdTumor_case_00049", "CT"),
        ("2DBox_CXR_demo", "X-Ray"),
        ("2DBox_XRay_0001", "X-Ray"),
        ("2DBox_X-Ray_0001", "X-Ray"),
        ("2DBox_XR_0001", "X-Ray"),
        ("2DBox_US_0001", "US"),
        ("2DBox_Ultrasound_0001", "US"),
        ("2DBox_Microscope_0016", "Microscopy"),
        ("2DBox_Microscopy_0016", "Microscopy"),
        ("2DBox_Dermoscope_0003", "Dermoscopy"),
        ("2DBox_Endoscope_0003", "Endoscopy"),
        ("2DBox_Mamm_0003", "Mammography"),
        ("2DBox_Fundus_0003", "Fundus"),
        ("3DBox_PET_0001", "PET"),
        ("2DBox_MR_0133", "MR"),
        ("3DBox_MRI_0133", "MR"),
        ("mr_octopus", "MR"),
        ("somebody", None),
        ("fact_0001", None),
        ("", None),
    ],
)
def test_the_modality_is_read_from_a_name_in_any_of_its_spellings(name, modality):
    assert modality_of(name) == modality


def test_the_kind_is_what_the_name_begins_with():
    assert [case_kind(name) for name in ("2DBox_US_1", "3D_x", "CT_3D")] == ["2D", "3D", None]


# --- pixels


def test_whole_numbers_from_0_to_255_become_uint8_and_fractions_float32():
    image, notes = clean_image(np.array([[0, 255]], np.int32), field="x")
    assert (image.dtype, image.tolist(), notes) == (np.uint8, [[0, 255]], ())
    image, notes = clean_image(np.array([[0.5, 255.0]]), field="x")
    assert (image.dtype, image.tolist(), notes) == (np.float32, [[0.5, 255.0]], ())


def test_what_is_changed_or_odd_is_noted():
    image, notes = clean_image(np.array([[np.nan, -7.0, np.inf, 400.0]]), field="the picture")
    assert image.tolist() == [[-7.0, -7.0, 400.0, 400.0]]
    assert notes == (
        "2 pixels are NaN or infinite; replaced by the range's ends -7, 400",
        "the picture has values from -7 to 400, expected 0 to 255; its own range is used. Window CT beforehand",
    )


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [(np.full((2, 2), np.nan), "x holds no finite value"), (np.array([["a"]]), "x has dtype <U1, wanted integers")],
)
def test_what_holds_no_number_is_refused(pixels, reason):
    with pytest.raises(CaseError, match=reason):
        clean_image(pixels, field="x")


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((0, 8), "x is empty"), ((1, 32768), "sides of 32,767"), ((20000, 20000), "a slice may have 268,435,456 pixels")],
)
def test_what_is_empty_or_too_large_is_refused(shape, reason):
    with pytest.raises(CaseError, match=reason):
        check_size(shape, size_hw=shape, field="x")


# --- labels


def test_labels_take_8_bits_up_to_255_and_16_up_to_65535():
    assert [label_dtype(n) for n in (0, 255, 256, 65535)] == [np.uint8, np.uint8, np.uint16, np.uint16]
    with pytest.raises(CaseError, match="65,536 labels do not fit"):
        label_dtype(65536)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros((2, 2)), "dtype float64, wanted integers"),
        (np.zeros(4, int), r"shape \(4,\)"),
        (np.full((2, 2), -1), "the negative label -1"),
        (np.full((2, 2), 65536), "do not fit 16 bits"),
    ],
)
def test_what_is_no_label_map_is_refused(labels, reason):
    with pytest.raises(CaseError, match=reason):
        narrow_labels(labels)


def test_boxes_and_cases_import_numpy_only():
    code = "import sys, graysam.cases; print({'cv2', 'torch', 'scipy', 'pandas', 'openvino'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
