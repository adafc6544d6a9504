import json

import numpy as np
import pytest
from source_files import write_dicom

from data_prep.sources import Assumptions, find_sources
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
