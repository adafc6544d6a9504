import csv
import json
import os
import pickle

import cv2
import numpy as np
import pytest
import SimpleITK

from data_prep import cli
from graysam.formats.npz import find_cases, read_case, read_labels
from graysam.store import open_store


def main(arguments):
    """Run a command in this process: starting others takes longer than the work does."""
    has_workers = arguments[0] != "join" and "--workers" not in arguments
    return cli.main([*arguments, "--workers", "0"] if has_workers else arguments)


@pytest.fixture
def root(make_dataset, square_case):
    for dataset in ("US/Toy", "CT/Toy"):
        folder = make_dataset(dataset, {f"p{number}_{side}": square_case for number in range(5) for side in "ab"})
    return folder


def test_inspect_tells_what_is_there_and_strict_makes_problems_fatal(root, tmp_path, capsys):
    assert main(["inspect", str(root), "--strict", "--json", str(tmp_path / "report.json")]) == 0
    assert "US/Toy: 10 2D US" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["modalities"]["CT"]["2D"] == 10
    (root / "US/Toy/masks/p0_a.png").unlink()
    assert main(["inspect", str(root)]) == 0
    out = capsys.readouterr().out
    assert "image without labels" in out
    assert "p0_a" in out
    assert main(["inspect", str(root), "--strict"]) == 1


def test_cases_pairs_inputs_with_references(root, tmp_path, capsys):
    arguments = [
        "cases",
        str(root),
        "--out",
        str(tmp_path / "out"),
        "--limit",
        "2",
        "--box-margin",
        "0",
        "--workers",
        "2",
    ]
    assert main(arguments) == 0
    assert "4 cases" in capsys.readouterr().out
    paths = find_cases(tmp_path / "out" / "inputs")
    assert len(paths) == 4
    for path in paths:
        assert len(read_case(path).boxes) == read_labels(tmp_path / "out" / "gts" / path.name, "gts").max() == 1


def test_cases_gives_status_1_when_a_source_failed_and_strict_refuses_to_begin(root, tmp_path, capsys):
    (root / "US/Toy/images/p0_a.png").write_bytes(b"broken")
    assert main(["cases", str(root), "--out", str(tmp_path / "out")]) == 1
    assert "p0_a" in capsys.readouterr().err
    (root / "US/Toy/images/p0_a.png").unlink()
    assert main(["cases", str(root), "--out", str(tmp_path / "other"), "--strict"]) == 2
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["cases", "missing", "--out", "x"],
        ["cases", ".", "--out", "x", "--window", "liver"],
        ["pack", "missing", "--out", "x"],
        ["cases", ".", "--out", "x", "--split", "val"],
    ],
)
def test_what_makes_no_sense_gives_status_2_and_a_reason(arguments, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "data_prep: " in capsys.readouterr().err


def test_split_by_patient_then_check_then_pack_then_join(root, tmp_path, capsys):
    arguments = ["split", str(root), "--out", str(root / "index.csv"), "--val-share", "0.2", "--group-pattern", r"p\d"]
    assert main(arguments) == 0
    with (root / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert sum(row["split"] == "val" for row in rows) == 4  # 2 of 10 cases, in either family
    assert main(["check", str(root), "--out", str(tmp_path / "pairs.csv")]) == 0
    assert "0 patients in several splits" in capsys.readouterr().out
    packed = tmp_path / "all.gstore"
    assert main(["pack", str(root), "--out", str(packed), "--codec", "jpeg", "--pieces-mb", "0.003"]) == 0
    pieces = sorted(tmp_path.glob("all.gstore.0*"))
    assert len(pieces) > 1
    assert main(["join", *map(str, pieces), "--out", str(tmp_path / "joined.gstore")]) == 0
    assert len(open_store(tmp_path / "joined.gstore")) == 20


def test_check_gives_status_1_for_a_leak(root, capsys):
    rows = [
        f"{dataset},p{n}_{side},p{n},{'val' if side == 'b' else 'train'}"
        for dataset in ("US/Toy", "CT/Toy")
        for n in range(5)
        for side in "ab"
    ]
    (root / "index.csv").write_text("\n".join(["dataset,case,group,split", *rows]))
    assert main(["check", str(root)]) == 1
    assert "is on several sides" in capsys.readouterr().out


def test_store_and_import_store_make_something_that_can_be_packed(root, tmp_path, write_png):
    assert main(["store", str(root), "--out", str(tmp_path / "store")]) == 0
    assert main(["pack", str(tmp_path / "store"), "--out", str(tmp_path / "a.gstore")]) == 0
    assert len(open_store(tmp_path / "a.gstore")) == 20
    write_png(tmp_path / "paper" / "imgs" / "MR_x_1.png", np.zeros((256, 256), np.uint8))
    (tmp_path / "paper" / "gts").mkdir()
    (tmp_path / "paper" / "gts" / "MR_x_1.pkl").write_bytes(pickle.dumps([(1, 40, 1)]))
    assert main(["import-store", str(tmp_path / "paper"), "--out", str(tmp_path / "imported")]) == 0


@pytest.mark.slow
def test_real_images_of_all_eleven_modalities_become_cases(shared_data, tmp_path):
    arguments = ["cases", str(shared_data), "--split", "val", "--out", str(tmp_path), "--limit", "1", "--seed", "0"]
    assert cli.main(arguments) == 0
    cases = [read_case(path) for path in find_cases(tmp_path / "inputs")]
    assert len({case.modality for case in cases}) == 11
    assert sorted(case.modality for case in cases if case.kind == "3D") == ["CT", "MR", "PET"]
    for case in cases:
        labels = read_labels(tmp_path / "gts" / f"{case.name}.npz", "gts")
        assert labels.shape == case.label_shape
        assert labels.max() == len(case.boxes)
        assert not case.warnings


# --- what the readers notice -------------------------------------------------------------------------------


@pytest.fixture
def doubtful(tmp_path, write_volume):
    """A CT whose intercept was lost beside a good one."""
    hu = np.full((4, 16, 16), -900, np.int16)
    hu[1:3, 2:14, 2:14] = 40
    for name, image in (("good", hu), ("lost", hu + 1024)):
        write_volume(tmp_path / "src" / "CT" / "Set" / "images" / f"{name}.nii.gz", image)
        write_volume(tmp_path / "src" / "CT" / "Set" / "masks" / f"{name}.nii.gz", (hu == 40).astype(np.uint8))
    return tmp_path / "src"


COMMANDS = [["inspect"], ["cases", "--out", "out"], ["pack", "--out", "out.gstore"], ["store", "--out", "out"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_warning_reaches_the_user_in_every_command_and_strict_makes_it_fatal(
    command, doubtful, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arguments = [command[0], str(doubtful), *command[1:], "--labels", "classes"]
    assert main(arguments) == 0
    told = "".join(capsys.readouterr())
    assert "intercept was lost" in told
    assert "CT/Set/lost" in told
    assert "CT/Set/good: warning" not in told
    arguments = [{"out": "strict", "out.gstore": "strict.gstore"}.get(part, part) for part in [*arguments, "--strict"]]
    assert main(arguments) == 1
    assert "intercept was lost" in "".join(capsys.readouterr())


def test_strict_makes_no_case_of_a_doubtful_source(doubtful, tmp_path):
    assert main(["cases", str(doubtful), "--out", str(tmp_path / "o"), "--labels", "classes", "--strict"]) == 1
    assert [path.stem for path in find_cases(tmp_path / "o" / "inputs")] == ["3DBox_CT_Set_good"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_an_odd_name_is_told_or_used_and_stops_nothing(command, doubtful, tmp_path, monkeypatch, capsys):
    """A name that is no UTF-8, of formats that can and that cannot take it."""
    odd = os.fsdecode(b"caf\xe9")
    for part in ("images", "masks"):
        folder = doubtful / "CT" / "Set" / part
        (folder / f"{odd}.nii.gz").write_bytes((folder / "good.nii.gz").read_bytes())
        image = SimpleITK.ReadImage(str(folder / "good.nii.gz"))
        SimpleITK.WriteImage(image, str(folder / "plain.mha"))
        (folder / "plain.mha").rename(folder / f"{odd}2.mha")
    monkeypatch.chdir(tmp_path)
    status = main([command[0], str(doubtful), *command[1:], "--labels", "classes"])
    assert status == (0 if command[0] == "inspect" else 1)
    assert "UTF-8" in "".join(capsys.readouterr())
    if command[0] == "cases":
        assert len(find_cases(tmp_path / "out" / "inputs")) == 3


def test_a_smoothed_mask_is_refused_or_cut_on_request(tmp_path, make_dataset, square_case, capsys):
    image = np.kron(square_case[0], np.ones((4, 4))).astype(np.uint8)
    soft = cv2.GaussianBlur(np.kron(square_case[1], np.ones((4, 4))).astype(np.uint8) * 255, (0, 0), 2)
    root = make_dataset("US/Toy", {"a": (image, soft)})
    assert main(["cases", str(root), "--out", str(tmp_path / "a")]) == 1
    assert "smoothed mask" in capsys.readouterr().err
    assert main(["cases", str(root), "--out", str(tmp_path / "b"), "--soft-masks", "threshold"]) == 0
    (path,) = find_cases(tmp_path / "b" / "inputs")
    assert len(read_case(path).boxes) == 1
