import json

import numpy as np
import pytest
from source_files import write_dicom

from data_prep.dataset_facts import Assumptions
from data_prep.sources import find_sources
from graysam.errors import PrepareError

IMAGE = np.zeros((4, 4), np.uint8)


def kinds(inventory):
    return sorted(problem.kind for problem in inventory.problems)


def test_a_data_set_says_its_modality_and_objects_itself(make_dataset):
    root = make_dataset("X-Ray/Toy", {"b": (IMAGE, IMAGE), "a": (IMAGE, IMAGE)}, labels="components")
    inventory = find_sources(root)
    assert [source.name for source in inventory.sources] == ["X-Ray/Toy/a", "X-Ray/Toy/b"]
    first = inventory.sources[0]
    assert (first.modality, first.labels, first.is_volume, first.group, first.split) == (
        "X-Ray", "components", False, "a", "",
    )  # fmt: skip
    assert inventory.problems == ()


def test_group_and_split_come_from_index_csv_also_when_only_one_data_set_is_asked_for(make_dataset):
    root = make_dataset("MR/Toy", {"p1_a": (IMAGE, IMAGE), "p1_b": (IMAGE, IMAGE)})
    rows = ["dataset,case,group,split", "MR/Toy,p1_a,p1,val", "MR/Toy,p1_b,p1,val", "CT/Other,x,x,train"]
    (root / "index.csv").write_text("\n".join(rows))
    for source in find_sources(root / "MR" / "Toy").sources:
        assert (source.dataset, source.group, source.split) == ("MR/Toy", "p1", "val")
    assert kinds(find_sources(root)) == ["missing"]  # CT/Other is told of when the whole is asked for
    assert kinds(find_sources(root / "MR")) == []


def test_an_index_without_its_columns_is_refused(make_dataset):
    root = make_dataset("MR/Toy", {"a": (IMAGE, IMAGE)})
    (root / "index.csv").write_text("name,patient\na,1\n")
    with pytest.raises(PrepareError, match="columns"):
        find_sources(root)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("imagesTr/p1_0000.nii.gz", "labelsTr/p1.nii.gz"),  # nnU-Net
        ("volumes/p1_image.nii.gz", "volumes/p1_label.nii.gz"),
        ("p1.png", "p1_mask.png"),  # BUSI
        ("imgs/p1.tif", "gts/p1.png"),
        ("images/p1.jpg", "annotations/p1_seg.png"),
    ],
)
def test_the_usual_ways_to_lay_out_a_data_set_are_paired(tmp_path, image, label):
    folder = tmp_path / "CT" / "Set"
    for name in (image, label):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (source,) = find_sources(tmp_path, Assumptions(labels="classes")).sources
    assert source.name == "CT/Set/p1"
    assert source.image == folder / image
    assert source.label == folder / label
    assert source.modality == "CT"


def test_a_dicom_folder_is_paired_with_a_volume_of_its_name(tmp_path):
    write_dicom(tmp_path / "CT" / "Set" / "images" / "patient7", 1, np.zeros((3, 4)))
    (tmp_path / "CT" / "Set" / "labels").mkdir()
    (tmp_path / "CT" / "Set" / "labels" / "patient7.nii.gz").touch()
    (source,) = find_sources(tmp_path, Assumptions(labels="classes")).sources
    assert (source.case, source.is_volume) == ("patient7", True)


def test_everything_that_does_not_fit_is_listed_with_a_remedy(make_dataset, write_png):
    root = make_dataset("US/Toy", {"good": (IMAGE, IMAGE)})
    folder = root / "US" / "Toy"
    write_png(folder / "images" / "lonely.png", IMAGE)
    write_png(folder / "masks" / "orphan.png", IMAGE)
    write_png(folder / "images" / "twice.png", IMAGE)
    write_png(folder / "images" / "twice.bmp", IMAGE)
    write_png(folder / "masks" / "twice.png", IMAGE)
    (folder / "images" / "notes.xlsx").touch()
    (folder / "images" / ".DS_Store").touch()
    (folder / "README.md").touch()
    inventory = find_sources(root)
    assert [source.case for source in inventory.sources] == ["good"]
    assert kinds(inventory) == [
        "image without labels", "labels without image", "several files of one name", "wrong suffix",
    ]  # fmt: skip
    assert all(problem.remedy for problem in inventory.problems)
    assert {problem.where for problem in inventory.problems} >= {"US/Toy/images/lonely.png", "US/Toy/images/notes.xlsx"}


def test_a_modality_or_kind_of_labels_that_nothing_tells_must_be_given(tmp_path, write_png):
    write_png(tmp_path / "stuff" / "images" / "a.png", IMAGE)
    write_png(tmp_path / "stuff" / "masks" / "a.png", IMAGE)
    assert kinds(find_sources(tmp_path)) == ["labels not stated", "modality unknown"]
    (source,) = find_sources(tmp_path, Assumptions("Endoscopy", "components")).sources
    assert (source.modality, source.labels) == ("Endoscopy", "components")


@pytest.mark.parametrize(("facts", "kind"), [("{", "dataset.json"), (json.dumps({"labels": "organs"}), "labels field")])
def test_a_dataset_json_that_makes_no_sense_is_a_problem(make_dataset, facts, kind):
    root = make_dataset("US/Toy", {"a": (IMAGE, IMAGE)})
    (root / "US/Toy/dataset.json").write_text(facts)
    assert kind in kinds(find_sources(root))


def test_an_empty_folder_is_a_problem_and_a_missing_one_an_error(tmp_path):
    assert kinds(find_sources(tmp_path)) == ["nothing found"]
    with pytest.raises(PrepareError, match="check the path"):
        find_sources(tmp_path / "missing")


# --- layouts as people have them ---------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


MSD = {"name": "Liver", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}, "numTraining": 1}
NNUNET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}


@pytest.mark.parametrize(
    ("facts", "image", "modality", "ignored"),
    [
        (MSD, "imagesTr/liver_1.nii.gz", "CT", ()),
        (NNUNET, "imagesTr/liver_1_0000.nii.gz", "CT", ()),
        ({**MSD, "modality": {"0": "FLAIR", "1": "T1w"}}, "imagesTr/liver_1.nii.gz", "MR", ()),
        ({**NNUNET, "channel_names": {"0": "T2w"}}, "imagesTr/liver_1_0000.nii.gz", "MR", ()),
        (
            {**NNUNET, "labels": {"background": 0, "whole": [1, 2], "ignore": 3}},
            "imagesTr/liver_1_0000.nii.gz",
            "CT",
            (3,),
        ),
    ],
)
def test_the_decathlons_and_nnunets_own_dataset_json_is_understood(tmp_path, facts, image, modality, ignored):
    touch(tmp_path / "Set", image, "labelsTr/liver_1.nii.gz", "imagesTr/._liver_1.nii.gz", "imagesTs/liver_2.nii.gz")
    (tmp_path / "Set" / "dataset.json").write_text(json.dumps(facts))
    inventory = find_sources(tmp_path)
    (source,) = inventory.sources
    assert (source.case, source.modality, source.labels, source.ignored_labels) == (
        "liver_1",
        modality,
        "classes",
        ignored,
    )
    assert [(problem.severity, problem.kind) for problem in inventory.problems] == [("note", "skipped")]  # imagesTs


def test_further_channels_of_nnunet_are_left_out_by_name(tmp_path):
    touch(tmp_path / "Set", "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz")
    (tmp_path / "Set" / "dataset.json").write_text(json.dumps({**NNUNET, "channel_names": {"0": "CT", "1": "PET"}}))
    inventory = find_sources(tmp_path)
    assert [source.image.name for source in inventory.sources] == ["a_0000.nii.gz"]
    assert kinds(inventory) == ["channel left out"]


def test_test_images_with_labels_are_sources_too(tmp_path):
    touch(tmp_path / "CT_Set", "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b.nii.gz", "labelsTs/b.nii.gz")
    assert [source.case for source in find_sources(tmp_path, Assumptions(labels="classes")).sources] == ["a", "b"]


def test_what_the_user_says_wins_over_dataset_json(make_dataset):
    root = make_dataset("US/Toy", {"a": (IMAGE, IMAGE)}, labels="organs")
    (source,) = find_sources(root, Assumptions("MR", "components")).sources
    assert (source.modality, source.labels) == ("MR", "components")


def test_pictures_beside_data_sets_hide_none_of_them(make_dataset, write_png):
    root = make_dataset("US/Toy", {"a": (IMAGE, IMAGE)})
    write_png(root / "overview.png", IMAGE)
    write_png(root / "images" / "logo.png", IMAGE)  # pictures of a README
    inventory = find_sources(root)
    assert [source.name for source in inventory.sources] == ["US/Toy/a"]
    assert kinds(inventory) == ["skipped", "skipped"]


def test_sub_folders_of_patients_are_paired_and_are_the_group(make_dataset, write_png):
    root = make_dataset("US/Toy", {"a": (IMAGE, IMAGE)})
    for patient in ("p1", "p2"):
        write_png(root / "US/Toy/images" / patient / "left.png", IMAGE)
        write_png(root / "US/Toy/masks" / patient / "left_mask.png", IMAGE)
    sources = find_sources(root).sources
    assert [(source.case, source.group) for source in sources] == [("a", "a"), ("p1_left", "p1"), ("p2_left", "p2")]


def test_a_folder_per_patient_with_image_and_label_in_it(tmp_path):
    for patient in ("p1", "p2"):
        touch(tmp_path / "CT" / patient, "image.nii.gz", "label.nii.gz")
    sources = find_sources(tmp_path, Assumptions(labels="classes")).sources
    assert [(source.dataset, source.case) for source in sources] == [("CT/p1", "p1"), ("CT/p2", "p2")]


def test_a_series_for_each_patient_beside_a_folder_with_its_mask(tmp_path):
    write_dicom(tmp_path / "CT" / "Set" / "images" / "p1", 1, np.zeros((3, 4)))
    touch(tmp_path / "CT" / "Set", "images/p2/image.nii.gz", "masks/p1/seg.nii.gz", "masks/p2/mask.nii.gz")
    sources = find_sources(tmp_path, Assumptions(labels="classes")).sources
    assert [(source.case, source.group) for source in sources] == [("p1", "p1"), ("p2", "p2")]


def test_slicers_segmentations_are_labels_by_their_suffix(tmp_path):
    touch(tmp_path / "CT" / "One", "images/a.nrrd", "masks/a.seg.nrrd")
    touch(tmp_path / "CT" / "Two", "b.nrrd", "b.seg.nrrd")
    assert [source.case for source in find_sources(tmp_path, Assumptions(labels="classes")).sources] == ["a", "b"]


def test_dicom_as_archives_lay_it_out(tmp_path, write_png):
    folder = tmp_path / "CT" / "Set"
    pixels = np.zeros((3, 4))
    write_dicom(folder / "images" / "deep" / "STUDY" / "SERIES", 1, pixels)
    for name, uid in (("S1", "1.2.1"), ("S2", "1.2.2")):
        write_dicom(folder / "images" / "two" / name, 1, pixels, SeriesInstanceUID=uid)
    write_dicom(folder / "images", 1, pixels, SeriesInstanceUID="1.3.1", Modality="DX")
    write_dicom(folder / "images", 2, pixels, SeriesInstanceUID="1.3.2", Modality="DX")
    (folder / "images" / "002.dcm").rename(folder / "images" / "bare")  # no suffix
    for name in ("deep", "two", "001", "bare"):
        write_png(folder / "masks" / f"{name}.png", IMAGE[:3])
    inventory = find_sources(tmp_path, Assumptions(labels="classes"))
    assert [source.case for source in inventory.sources] == ["001", "bare", "deep"]
    assert inventory.sources[2].image == folder / "images" / "deep" / "STUDY" / "SERIES"
    assert kinds(inventory) == ["labels without image", "several series"]


def test_slices_of_one_series_that_lie_loose_are_named_once(tmp_path, write_png):
    folder = tmp_path / "CT" / "Set"
    for number in (1, 2, 3):
        write_dicom(folder / "images", number, np.zeros((3, 4)))
    write_png(folder / "masks" / "x.png", IMAGE)
    inventory = find_sources(tmp_path, Assumptions(labels="classes"))
    assert kinds(inventory) == ["labels without image", "loose series"]
    assert "3 slices" in next(problem.what for problem in inventory.problems if problem.kind == "loose series")


def test_an_accent_written_in_two_ways_is_one_name(make_dataset):
    composed, apart = "Zo\u00eb", "Zoe\u0308"  # as Linux and as macOS write it
    root = make_dataset("US/Toy", {composed: (IMAGE, IMAGE)})
    (root / "US/Toy/masks" / f"{composed}.png").rename(root / "US/Toy/masks" / f"{apart}.png")
    inventory = find_sources(root)
    assert [source.case for source in inventory.sources] == [composed]
    assert inventory.problems == ()
