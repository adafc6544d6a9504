import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graysam.errors import PrepareError
from graysam.image.windows import apply_window, choose_window, doubts, parse_window


def test_a_foreground_of_one_value_is_seen_against_its_ground_and_a_blank_image_is_told():
    image = np.array([[0, 1000, 1000]], np.uint16)
    shown, window = apply_window(image, parse_window("percentiles"))
    assert shown.tolist() == [[0, 255, 255]]
    assert (window.low, window.high) == (0, 1000)
    blank = np.full((2, 3), 7, np.uint16)
    assert not apply_window(blank, parse_window("percentiles"))[0].any()
    assert doubts(blank, modality="MR", is_volume=False) == ("every value is 7: there is nothing to see",)


def test_soft_tissue_runs_from_minus_160_to_240_and_results_are_cut_off_not_rounded():
    volume = np.array([[[-1000, -160, -159, 40, 239, 240, 3000]]], np.int16)
    scaled, window = apply_window(volume, parse_window("soft_tissue"))
    # one unit is 255 / 400 = 0.6375: -159 gives 0.6375 -> 0, 40 gives 127.5 -> 127, 239 gives 254.36 -> 254
    assert scaled.tolist() == [[[0, 0, 0, 127, 254, 255, 255]]]
    assert (window.low, window.high) == (-160, 240)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("soft_tissue", -160, 240), ("lung", -1350, 150), ("brain", 0, 80), ("bone", -500, 1300), ("30/100", -20, 80)],
)
def test_windows_by_name_or_as_level_and_width(name, low, high):
    window = parse_window(name)
    assert (window.low, window.high) == (low, high)


@pytest.mark.parametrize("text", ["liver", "40", "40/0", "40/-5", ""])
def test_a_window_that_does_not_exist_is_refused(text):
    with pytest.raises(PrepareError, match="window"):
        parse_window(text)


CT = np.array([[[-1000, 500]]], np.int16)
PET = np.array([[[0.0, 12.5]]], np.float32)


@pytest.mark.parametrize(
    ("image", "modality", "is_volume", "named", "expected"),
    [
        (CT, "CT", True, "CT/LIDC-IDRI/0001", "lung"),
        (CT, "CT", True, "CT/CT_LungMasks/0001", "lung"),
        (CT, "CT", True, "CT/HeadStroke/7", "brain"),
        (CT, "CT", True, "CT/VertebraSeg/7", "bone"),
        (CT, "CT", True, "CT/STS_CT/STS_001", "soft_tissue"),
        (CT + 1000, "MR", True, "MR/Brain/1", "percentiles"),
        (CT, "MR", True, "MR/Brain/1", "percentiles_signed"),
        (PET, "PET", True, "PET/x/1", "suv"),
        (PET * 1000, "PET", True, "PET/x/1", "percentiles"),
        (np.zeros((2, 2), np.uint8), "CT", False, "CT/Lung/1", "as_is"),
        (np.zeros((2, 2), np.uint16), "US", False, "US/x/1", "percentiles"),
        (np.zeros((2, 2, 3), np.uint16), "Fundus", False, "Fundus/x/1", "range"),
    ],
)
def test_the_window_follows_modality_body_part_and_depth(image, modality, is_volume, named, expected):
    assert choose_window(image, modality=modality, is_volume=is_volume, named=named).name == expected


def test_percentiles_are_those_of_the_foreground_and_the_background_stays_zero():
    # Foreground 1..201: the 0.5 percentile is 1 + 0.005 * 200 = 2, the 99.5 percentile 200. The rest is
    # background.
    volume = np.concatenate([np.zeros(1000), np.arange(1, 202)]).astype(np.int16).reshape(1, 1, -1)
    scaled, window = apply_window(volume, parse_window("percentiles"))
    assert (window.low, window.high) == (2, 200)
    assert scaled[0, 0, :1000].max() == 0
    assert scaled[0, 0, 1000:1003].tolist() == [0, 0, 1]  # 1 and 2 at the low end; (3 - 2) / 198 * 255 = 1.29
    assert scaled[0, 0, -2:].tolist() == [255, 255]


def test_suv_0_to_10():
    scaled, _ = apply_window(np.array([[[0.0, 5.0, 10.0, 25.4]]], np.float32), parse_window("suv"))
    assert scaled.tolist() == [[[0, 127, 255, 255]]]


@pytest.mark.parametrize("window", ["percentiles", "range"])
@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_image_becomes_zeros(window, value):
    scaled, _ = apply_window(np.full((3, 3), value, np.uint16), parse_window(window))
    assert scaled.dtype == np.uint8
    assert not scaled.any()


def test_as_is_takes_only_what_is_within_0_to_255():
    assert apply_window(np.array([[0.0, 255.0]]), parse_window("as_is"))[0].tolist() == [[0, 255]]
    with pytest.raises(PrepareError, match=r"0\.\.255"):
        apply_window(np.array([[0, 300]]), parse_window("as_is"))


def test_a_record_for_the_manifest_has_no_nan():
    assert parse_window("percentiles").as_record()["low"] is None


@settings(deadline=None)  # a loaded machine is no failure
@given(
    st.lists(st.integers(-2000, 3000), min_size=2, max_size=30),
    st.sampled_from(["soft_tissue", "lung", "range", "percentiles"]),
)
def test_a_brighter_voxel_never_becomes_darker(values, window):
    volume = np.array(sorted(values), np.int16).reshape(1, 1, -1)
    scaled, _ = apply_window(volume, parse_window(window))
    assert (np.diff(scaled.ravel().astype(int)) >= 0).all()


HU = np.array([-1000] * 50 + [-100, 0, 40, 60, 300] * 10, np.int16).reshape(10, 10, 1)


@pytest.mark.parametrize(
    ("image", "modality", "units", "doubt"),
    [
        (HU, "CT", "unknown", ""),
        (np.where(HU < -500, -3024, HU), "CT", "HU", ""),  # padding outside the field of view
        ((HU + 1024).astype(np.uint16), "CT", "unknown", "intercept was lost"),
        (HU + 1000, "CT", "unknown", "intercept was lost"),
        (HU.view(np.uint16), "CT", "unknown", "stored as unsigned"),
        (((HU + 1000) / 1300).astype(np.float32), "CT", "unknown", "scaled to 0..1"),
        ((HU / 500).astype(np.float32), "CT", "unknown", "normalised"),
        ((HU // 8 + 125).astype(np.int16), "CT", "unknown", "8 bits"),
        (HU.astype(np.int32) * 1000, "CT", "unknown", "beyond what HU can be"),
        ((HU + 1000).astype(np.uint16), "MR", "unknown", ""),
        ((HU / 500).astype(np.float32), "MR", "unknown", "below 0"),
        (HU.view(np.uint16), "MR", "unknown", "stored as unsigned"),
        (np.linspace(0, 12, 100).reshape(10, 10, 1), "PET", "SUV", ""),
        (np.linspace(0, 5000, 100).reshape(10, 10, 1), "PET", "SUV", "no SUV"),
        (np.linspace(0, 5000, 100).reshape(10, 10, 1), "PET", "unknown", "counts or Bq/ml"),
        (np.linspace(-8, 12, 100).reshape(10, 10, 1), "PET", "SUV", "never below 0"),
    ],
)
def test_intensities_that_cannot_be_what_they_claim_are_doubted(image, modality, units, doubt):
    window = choose_window(image, modality=modality, is_volume=True, units=units)
    told = doubts(image, modality=modality, is_volume=True, units=units, window=window)
    assert len(told) == bool(doubt)
    assert doubt in "".join(told)


def test_a_window_that_does_not_rely_on_hounsfield_units_raises_no_doubt_about_them():
    image = (HU + 1024).astype(np.uint16)
    assert doubts(image, modality="CT", is_volume=True, window=parse_window("percentiles")) == ()


def test_signed_mr_gets_a_window_over_its_whole_range():
    # z-scored: -2, ..., 2. The half per cents of five values lie 0.02 within the ends.
    volume = np.array([[[-2.0, -1, 0, 1, 2]]], np.float32)
    window = choose_window(volume, modality="MR", is_volume=True)
    scaled, applied = apply_window(volume, window)
    assert (applied.low, applied.high) == pytest.approx((-1.98, 1.98))
    assert scaled.tolist() == [[[0, 63, 127, 191, 255]]]  # (-1 + 1.98) / 3.96 * 255 = 63.1


def test_a_little_ringing_below_0_leaves_the_foreground_as_it_was():
    volume = np.arange(-3, 1000, dtype=np.int16).reshape(1, 1, -1)
    assert choose_window(volume, modality="MR", is_volume=True).name == "percentiles"
