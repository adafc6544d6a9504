import json
import shutil

import numpy as np
import pytest
from source_files import write_dicom

from data_prep.convert import CaseSettings, make_cases
from data_prep.loading import load_source
from data_prep.objects import SpeckRule
from data_prep.selection import select
from data_prep.sources import find_sources
from graysam.boxes import Box, VolumeBox
from graysam.errors import PrepareError
from graysam.formats.npz import find_cases, read_case, read_labels, read_spacing_as_stored

TIGHT = CaseSettings(box_margin=0)


def run(root, out, settings=TIGHT, **options):
    return list(make_cases(find_sources(root).sources, out, settings, workers=0, **options))


def test_an_image_becomes_a_case_of_three_channels_and_a_reference_of_the_same_name(
    tmp_path, make_dataset, square_case
):
    image, mask = square_case
    root = make_dataset("Microscopy/Toy set", {"well (1)": (image, mask)})
    (record,) = run(root, tmp_path / "out")
    assert record.case == "2DBox_Microscope_Toy_set_well_1"  # the challenge's token, letters any system takes
    case = read_case(tmp_path / "out" / "inputs" / f"{record.case}.npz")
    np.testing.assert_array_equal(case.image, np.repeat(image[..., None], 3, axis=2))
    assert case.boxes == (Box(10, 3, 14, 6),)
    reference = tmp_path / "out" / "gts" / f"{record.case}.npz"
    np.testing.assert_array_equal(read_labels(reference, "gts"), mask)
    assert "imgs" not in np.load(reference)
    assert "gts" not in np.load(case.path)


def test_a_volume_becomes_a_case_with_spacing_in_the_challenges_order(tmp_path, write_volume):
    folder = tmp_path / "CT" / "Set" / "volumes"
    image = np.full((4, 8, 8), -1000, np.int16)
    image[:, 2:7, 1:7] = 40
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1:4, 2:6, 1:7] = 3
    write_volume(folder / "p_image.nii.gz", image, spacing=(0.5, 0.75, 3.0))
    write_volume(folder / "p_label.nii.gz", labels, spacing=(0.5, 0.75, 3.0))
    settings = CaseSettings(box_margin=0, specks=SpeckRule(voxels=50))
    (record,) = run(tmp_path, tmp_path / "out", settings)
    path = tmp_path / "out" / "inputs" / "3DBox_CT_Set_p.npz"
    case = read_case(path)
    assert case.boxes == (VolumeBox(Box(1, 2, 6, 5), z_min=1, z_max=3),)
    assert case.spacing_mm == pytest.approx((3.0, 0.75, 0.5))
    assert read_spacing_as_stored(tmp_path / "out" / "gts" / path.name) == pytest.approx((0.5, 0.75, 3.0))
    assert np.unique(case.image).tolist() == [0, 127]  # soft tissue: -1000 below it, 40 in its middle
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "gts" / path.name, "gts"), labels == 3)
    assert record.details["window"] == {
        "name": "soft_tissue", "kind": "levels", "low": -160.0, "high": 240.0, "why": "no other body part named",
    }  # fmt: skip
    assert record.details["axes_xyz"] == "LPS"
    assert record.details["source_values"] == [3]


def test_the_manifest_says_what_was_made_and_what_was_not(tmp_path, make_dataset, square_case):
    image, mask = square_case
    speck = np.zeros_like(mask)
    speck[0, :9] = 1
    cases = {"good": (image, mask), "empty": (image, mask * 0), "speck": (image, speck), "other": (image, mask[:5])}
    records = run(make_dataset("US/Toy", cases), tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert lines[0]["settings"]["box_margin"] == 0
    assert [line["source"] for line in lines[1:]] == [record.source for record in records]
    errors = {record.source.split("/")[-1]: record.error for record in records}
    assert errors["good"] == ""
    assert "empty" in errors["empty"]
    assert "smaller than a speck" in errors["speck"]
    assert "(20, 30)" in errors["other"]
    assert "(5, 30)" in errors["other"]
    assert records[-1].details["dropped"] == {"pieces": 1, "elements": 9, "objects": 1}


def test_a_run_that_was_cut_short_goes_on_and_other_settings_are_refused(tmp_path, make_dataset, square_case):
    root, out = make_dataset("US/Toy", dict.fromkeys("abc", square_case)), tmp_path / "out"
    first = run(root, out)
    paths = find_cases(out / "inputs")
    stamps = [path.stat().st_mtime_ns for path in paths]
    paths[1].unlink()
    manifest = out / "manifest.jsonl"
    manifest.write_text(manifest.read_text()[:-20])  # killed while writing the line of c
    again = run(root, out)
    assert sorted(record.case for record in again) == [record.case for record in first]
    assert paths[0].stat().st_mtime_ns == stamps[0]
    assert all(path.is_file() for path in paths)
    assert len(run(root, out)) == 3
    with pytest.raises(PrepareError, match="other settings"):
        run(root, out, CaseSettings(box_margin=3))
    assert len(run(root, out, CaseSettings(box_margin=3), overwrite=True)) == 3


def test_random_margins_depend_on_seed_and_name_alone(tmp_path, make_dataset, square_case):
    root = make_dataset("US/Toy", dict.fromkeys("abcd", square_case))
    settings = CaseSettings(box_margin=5, seed=3)
    run(root, tmp_path / "all", settings)
    shutil.rmtree(root / "US/Toy/images" / "..", ignore_errors=True)
    root = make_dataset("US/Toy", {"d": square_case})
    run(root, tmp_path / "alone", settings)
    name = "2DBox_US_Toy_d.npz"
    together = read_case(tmp_path / "all" / "inputs" / name).boxes
    assert together == read_case(tmp_path / "alone" / "inputs" / name).boxes
    run(root, tmp_path / "reseeded", CaseSettings(box_margin=200, seed=4))
    assert together != read_case(tmp_path / "reseeded" / "inputs" / name).boxes


def test_names_that_would_be_spelt_alike_stay_apart(tmp_path, make_dataset, square_case):
    root = make_dataset(
        "US/Toy", dict.fromkeys(["a b", "a_b", "\u60a3\u8005\u7532", "\u60a3\u8005\u4e59"], square_case)
    )
    names = [record.case for record in run(root, tmp_path / "out")]
    assert len(set(names)) == 4
    assert all(name.isascii() for name in names)
    assert "2DBox_US_Toy_a_b" in names  # the one that needs no other spelling keeps its name


def test_a_single_dicom_picture_becomes_an_image(tmp_path, write_png):
    folder = tmp_path / "Set"
    pixels = np.arange(400).reshape(20, 20) * 10
    write_dicom(folder / "images" / "p1", 1, pixels, Modality="DX")
    labels = np.zeros((1, 20, 20), np.uint8)
    labels[0, 2:9, 2:9] = 1
    import SimpleITK

    (folder / "labels").mkdir()
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(folder / "labels" / "p1.nii.gz"))
    (source,) = find_sources(tmp_path).sources
    loaded = load_source(source)
    assert (loaded.modality, loaded.is_volume, loaded.image.shape) == ("X-Ray", False, (20, 20))


def test_a_small_share_shows_every_kind_and_many_data_sets(make_dataset, square_case):
    for dataset in ("US/One", "US/Two", "MR/Three"):
        root = make_dataset(dataset, {f"c{number}": square_case for number in range(5)})
    sources = find_sources(root).sources
    chosen = [source.dataset for source in select(sources, limit=2, seed=0)]
    assert sorted(chosen) == ["MR/Three", "MR/Three", "US/One", "US/Two"]
    assert select(sources, limit=2, seed=0) == select(sources, limit=2, seed=0)
    assert len(select(sources, datasets="US/*")) == 10
    assert select(sources, split="val") == []


def test_a_name_too_long_for_a_file_is_cut_and_stays_its_own(tmp_path, make_dataset, square_case):
    names = ["n" * 230 + end for end in "ab"]
    records = run(make_dataset("US/Toy", dict.fromkeys(names, square_case)), tmp_path / "out")
    assert [record.error for record in records] == ["", ""]
    assert len({record.case for record in records}) == 2


def test_nnunets_label_ignore_becomes_background(tmp_path, make_dataset, square_case):
    image, mask = square_case
    mask = mask * 2
    mask[10:15, 10:15] = 7
    root = make_dataset("US/Toy", {"a": (image, mask)})
    facts = {"channel_names": {"0": "US"}, "labels": {"background": 0, "lesion": 2, "ignore": 7}}
    (root / "US/Toy/dataset.json").write_text(json.dumps(facts))
    (record,) = run(root, tmp_path / "out")
    assert record.details["source_values"] == [2]
    assert "'ignore'" in record.details["notes"][0]


def test_a_photograph_and_its_mask_overlap_after_exif(tmp_path):
    from PIL import Image

    shown = np.full((40, 60), 30, np.uint8)
    shown[5:15, 10:40] = 220
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "Dermoscopy" / "Set"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(np.rot90(shown)).save(folder / "images" / "a.jpg", exif=exif, quality=95)
    Image.fromarray((shown > 120).astype(np.uint8) * 255).save(folder / "masks" / "a.png")
    (record,) = run(tmp_path, tmp_path / "out")
    case = read_case(tmp_path / "out" / "inputs" / f"{record.case}.npz")
    labels = read_labels(tmp_path / "out" / "gts" / f"{record.case}.npz", "gts")
    assert case.image[labels > 0].min() > 200
    assert case.image[labels == 0].max() < 60
