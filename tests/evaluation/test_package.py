"""Submissions that are in order and not, and a competition bundle that is run as CodaBench runs it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from evaluation import codabench, package
from evaluation.bundle import BundleOptions, competition_yaml, needed_sources
from evaluation.submission import check_submission, write_flat_zip
from graysam.boxes import Box, VolumeBox
from graysam.formats.npz import read_case, read_labels, write_case, write_labels, write_reference

IMAGE_LABELS = np.array(
    [[0, 0, 0, 0, 0],
     [0, 1, 1, 0, 0],
     [0, 1, 1, 0, 2],
     [0, 0, 0, 0, 2]], np.uint8)  # fmt: skip


def volume_labels():
    """Three slices of 4x5; a 2x2 square on the middle one."""
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 1:3, 1:3] = 1
    return labels


@pytest.fixture
def folders(tmp_path):
    """An image with two objects and a volume with one: cases, references, and perfect predictions."""
    for name in ("inputs", "gts", "segs"):
        (tmp_path / name).mkdir()
    image, volume = "2DBox_X-Ray_1.npz", "3DBox_CT_1.npz"
    write_case(tmp_path / "inputs" / image, image=IMAGE_LABELS * 90, boxes=[Box(1, 1, 2, 2), Box(4, 2, 4, 3)],
               labels=IMAGE_LABELS)  # fmt: skip
    write_case(tmp_path / "inputs" / volume, image=volume_labels() * 200, spacing_mm=(5.0, 0.8, 0.9),
               boxes=[VolumeBox(Box(1, 1, 2, 2), 1, 1)])  # fmt: skip
    write_reference(tmp_path / "gts" / image, IMAGE_LABELS)
    write_reference(tmp_path / "gts" / volume, volume_labels(), spacing_mm=(5.0, 0.8, 0.9))
    write_labels(tmp_path / "segs" / image, IMAGE_LABELS)
    write_labels(tmp_path / "segs" / volume, volume_labels())
    return tmp_path


def submission(folders: Path) -> int:
    return package.main(
        ["submission", "--segs", f"{folders / 'segs'}", "--inputs", f"{folders / 'inputs'}", "--out",
         f"{folders / 'submission.zip'}"]
    )  # fmt: skip


# --- submission ---


def test_a_good_submission_is_a_flat_zip_of_the_predictions_and_nothing_else(folders):
    (folders / "segs/efficiency.csv").write_text("case,time\n")
    assert submission(folders) == 0
    with zipfile.ZipFile(folders / "submission.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["2DBox_X-Ray_1.npz", "3DBox_CT_1.npz"]
        archive.extractall(folders / "out")
    assert (read_labels(folders / "out/2DBox_X-Ray_1.npz", "segs") == IMAGE_LABELS).all()


def test_packing_twice_gives_the_same_bytes(folders):
    files = list((folders / "segs").iterdir())
    write_flat_zip(folders / "a.zip", files)
    for path in files:
        path.touch()
    write_flat_zip(folders / "b.zip", reversed(files))
    assert (folders / "a.zip").read_bytes() == (folders / "b.zip").read_bytes()


def save(path: Path, **arrays) -> None:
    np.savez_compressed(path, **arrays)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"segs": np.zeros((4, 6), np.uint8)}, r"'segs' has shape \(4, 6\), wanted \(4, 5\)"),
        ({"segs": np.zeros((4, 5, 3), np.uint8)}, r"'segs' has shape \(4, 5, 3\), wanted \(4, 5\)"),
        ({"segs": np.zeros((4, 5), np.int64)}, "'segs' has dtype int64, wanted uint8 or uint16"),
        ({"segs": np.zeros((4, 5), np.float32)}, "'segs' has dtype float32"),
        ({"segs": np.full((4, 5), 3, np.uint8)}, "label 3, but the case has 2 boxes"),
        ({"mask": np.zeros((4, 5), np.uint8)}, "segs"),
        ({"segs": np.array([[None]])}, "segs"),
    ],
)
def test_a_prediction_that_the_scorer_would_not_take_is_said(folders, arrays, message):
    save(folders / "segs/2DBox_X-Ray_1.npz", **arrays)
    check = check_submission(folders / "segs", folders / "inputs")
    assert len(check.problems) == 1
    assert re.search(f"2DBox_X-Ray_1.npz: .*{message}", check.problems[0])


def test_every_problem_is_listed_at_once_and_no_zip_is_written(folders, caplog):
    (folders / "segs/3DBox_CT_1.npz").unlink()
    (folders / "segs/2DBox_X-Ray_1.npz").write_bytes(b"no zip")
    write_labels(folders / "segs/2DBox_Xray_1.npz", IMAGE_LABELS)  # misspelt
    assert submission(folders) == 1
    assert not (folders / "submission.zip").exists()
    assert "3DBox_CT_1.npz: missing" in caplog.text
    assert "2DBox_X-Ray_1.npz: not a whole .npz" in caplog.text
    assert "2DBox_Xray_1.npz: no case of this name" in caplog.text
    assert "3 problems; nothing was written" in caplog.text


def test_a_case_without_usable_boxes_still_has_a_shape_to_check(folders):
    save(folders / "inputs/2DBox_X-Ray_1.npz", imgs=np.zeros((4, 5), np.uint8), boxes=np.array([[90, 90, 99, 99]]))
    assert check_submission(folders / "segs", folders / "inputs").problems == ()


def test_a_folder_that_is_not_there_is_status_two(folders, caplog):
    assert package.main(["submission", "--segs", str(folders / "none"), "--inputs", str(folders / "inputs")]) == 2
    assert "cannot be listed" in caplog.text


# --- bundle ---


def bundle(folders: Path, *extra: str) -> int:
    return package.main(
        ["bundle", "--inputs", f"{folders / 'inputs'}", "--gts", f"{folders / 'gts'}",
         "--out", f"{folders / 'bundle.zip'}", "--start", "2026-12-01", *extra]
    )  # fmt: skip


def unpack(folders: Path, *extra: str) -> Path:
    assert bundle(folders, *extra) == 0
    with zipfile.ZipFile(folders / "bundle.zip") as archive:
        archive.extractall(folders / "bundle")
    return folders / "bundle"


def test_everything_that_the_competition_names_is_in_the_bundle(folders):
    folder = unpack(folders, "--title", 'Thyroid: "easy"?', "--contact", "lab@example.org")
    competition = yaml.safe_load((folder / "competition.yaml").read_text(encoding="utf-8"))
    assert (competition["version"], competition["title"]) == (2, 'Thyroid: "easy"?')
    named = [competition["image"], competition["terms"], *(page["file"] for page in competition["pages"])]
    named += [competition["tasks"][0][part] for part in ("scoring_program", "reference_data")]
    named += [competition["phases"][0][part] for part in ("starting_kit", "public_data")]
    named += [competition["solutions"][0]["path"]]
    for name in named:
        assert (folder / name).exists(), name
    for page in competition["pages"]:
        text = (folder / page["file"]).read_text()
        assert text.strip()
        assert not re.search(r"\{\w+\}", text)
    assert competition["phases"][0]["start"].isoformat() == "2026-12-01T00:00:00"
    assert [column["index"] for column in competition["leaderboards"][0]["columns"]] == list(range(7))
    assert cv2.imread(str(folder / "logo.png")).shape == (400, 400, 3)


def test_participants_see_no_references_and_the_platform_no_images(folders):
    folder = unpack(folders)
    # The image's case file also held its reference, as the challenge's training files do.
    for name, keys in (("2DBox_X-Ray_1.npz", {"imgs", "boxes"}), ("3DBox_CT_1.npz", {"imgs", "boxes", "spacing"})):
        with np.load(folder / "public_data" / name) as case:
            assert set(case) == keys
    with np.load(folder / "reference_data/3DBox_CT_1.npz") as reference:
        assert set(reference) == {"gts", "spacing"}
        assert reference["spacing"].tolist() == [0.9, 0.8, 5.0]  # x, y, z, as the challenge stores it
    assert read_case(folder / "public_data/3DBox_CT_1.npz").spacing_mm == (5.0, 0.8, 0.9)
    hidden = [p.name for p in folder.rglob("*.npz") if p.parent.name not in ("public_data", "reference_data")]
    assert hidden == []


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """A Python with NumPy and SciPy and nothing else, as CodaBench's image; give its command as a list."""
    site = tmp_path_factory.mktemp("site")
    for name in ("numpy", "scipy"):
        origin = Path(__import__(name).__file__).parent
        for part in (origin, origin.with_name(f"{name}.libs")):
            if part.exists():
                (site / part.name).symlink_to(part)
    # -S: no site-packages. The folder of the script comes first on the path by itself.
    return ["env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={site}", "PYTHONUNBUFFERED=1", sys.executable, "-S"]


def run_on_the_platform(folder: Path, submission_zip: Path, app: Path, python: list[str]):
    """Lay the parts out as a compute worker does, below ``app`` instead of /app, and run metadata.yaml's command.

    Source: the platform's compute_worker.py; working directory /app/program, scores in /app/output/scores.json.
    """
    (app / "input").mkdir(parents=True)
    (app / "output").mkdir()
    (folder / "scoring_program").rename(app / "program")
    (folder / "reference_data").rename(app / "input/ref")
    with zipfile.ZipFile(submission_zip) as archive:
        archive.extractall(app / "input/res")
    metadata = (app / "program/metadata.yaml").read_text()
    command = shlex.split(re.fullmatch(r"command: (.*)\n", metadata)[1].replace("/app/", f"{app}/"))
    assert command[0] == "python3"
    done = subprocess.run([*python, *command[1:]], cwd=app / "program", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads((app / "output/scores.json").read_text())


def test_the_platform_scores_a_perfect_submission_one_in_every_column(folders, bare_python):
    folder = unpack(folders)
    assert submission(folders) == 0
    competition = yaml.safe_load((folder / "competition.yaml").read_text())
    columns = [column["key"] for column in competition["leaderboards"][0]["columns"]]
    scores = run_on_the_platform(folder, folders / "submission.zip", folders / "app", bare_python)
    assert set(scores) == set(columns)
    assert scores.pop("missing") == 0
    assert set(scores) == {f"{metric}{part}" for metric in ("dsc", "nsd") for part in ("", "_ct", "_xray")}
    assert set(scores.values()) == {1.0}


def test_the_platform_counts_a_missing_prediction_as_zero_and_tells_the_participant(folders, bare_python):
    folder = unpack(folders, "--mode", "honest")
    half = IMAGE_LABELS.copy()
    half[half == 2] = 0
    write_labels(folders / "segs/2DBox_X-Ray_1.npz", half)
    write_flat_zip(folders / "submission.zip", [folders / "segs/2DBox_X-Ray_1.npz"])
    scores = run_on_the_platform(folder, folders / "submission.zip", folders / "app", bare_python)
    # X-ray: object 1 has DSC 1, object 2 has 0, mean 0.5. CT: nothing, 0. Mean of the modalities: 0.25.
    assert (scores["dsc_xray"], scores["dsc_ct"], scores["dsc"], scores["missing"]) == (0.5, 0.0, 0.25, 1.0)
    page = (folders / "app/output/detailed_results.html").read_text()
    assert "3DBox_CT_1.npz" in page
    assert "missing" in page


def test_a_submission_with_a_folder_in_it_is_told_what_is_wrong(folders, capsys):
    settings = unpack(folders) / "scoring_program/settings.json"
    (folders / "input/res").mkdir(parents=True)
    (folders / "segs").rename(folders / "input/res/predictions")
    (folders / "gts").rename(folders / "input/ref")
    assert codabench.main([str(folders / "input"), str(folders / "output"), str(settings)]) == 0
    scores = json.loads((folders / "output/scores.json").read_text())
    assert (scores["dsc"], scores["missing"]) == (0.0, 2.0)
    assert "zip the files, not their folder" in capsys.readouterr().err


def test_the_starting_kits_checker_runs_on_a_bare_python_and_takes_its_own_sample(folders, bare_python):
    folder = unpack(folders)
    with zipfile.ZipFile(folder / "starting_kit/sample_submission.zip") as archive:
        archive.extractall(folders / "sample")
    checker = [*bare_python, str(folder / "starting_kit/check_submission.py")]
    arguments = ["--inputs", str(folder / "public_data"), "--out", str(folders / "again.zip"), "--segs"]
    done = subprocess.run([*checker, *arguments, str(folders / "sample")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folders / "again.zip").read_bytes() == (folder / "starting_kit/sample_submission.zip").read_bytes()
    (folders / "sample/3DBox_CT_1.npz").unlink()
    assert subprocess.run([*checker, *arguments, str(folders / "sample")], capture_output=True).returncode == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "gts/3DBox_CT_1.npz").unlink(), r"alone: 3DBox_CT_1.npz \(no reference\)"),
        (lambda f: (f / "inputs/3DBox_CT_1.npz").unlink(), r"alone: 3DBox_CT_1.npz \(no case\)"),
        (lambda f: write_reference(f / "gts/2DBox_X-Ray_1.npz", IMAGE_LABELS.T), r"'gts' has shape \(5, 4\)"),
        (lambda f: write_reference(f / "gts/2DBox_X-Ray_1.npz", IMAGE_LABELS * 2), "number their labels 1, 2, 3"),
        (lambda f: write_reference(f / "gts/2DBox_X-Ray_1.npz", IMAGE_LABELS * 0), "references that are empty"),
    ],
)
def test_data_that_would_spoil_the_competition_are_refused(folders, caplog, damage, message):
    damage(folders)
    assert bundle(folders) == 2
    assert re.search(message, caplog.text)
    assert not (folders / "bundle.zip").exists()
    assert not list(folders.glob(".bundle-*"))


def test_a_volumes_spacing_is_taken_from_the_case_where_the_reference_has_none(folders, caplog):
    write_reference(folders / "gts/3DBox_CT_1.npz", volume_labels())
    with np.load(unpack(folders) / "reference_data/3DBox_CT_1.npz") as reference:
        assert reference["spacing"].tolist() == [0.9, 0.8, 5.0]
    write_case(folders / "inputs/3DBox_CT_1.npz", image=volume_labels(), boxes=[VolumeBox(Box(1, 1, 2, 2), 1, 1)])
    assert bundle(folders) == 2
    assert "needs 'spacing'" in caplog.text


def test_a_modules_sources_are_found_through_its_imports():
    sources = needed_sources(["evaluation.score"])
    assert {
        "evaluation/__init__.py",
        "evaluation/score.py",
        "evaluation/folder_scores.py",
        "graysam/formats/npz.py",
    } <= set(sources)
    assert not any("page" in name or "models" in name or "engines" in name for name in sources)
    assert "cv2" not in "".join(sources.values())


def test_column_keys_are_plain_words():
    assert [codabench.column_key("dsc"), codabench.column_key("nsd", "X-Ray")] == ["dsc", "nsd_xray"]
    document = yaml.safe_load(competition_yaml(BundleOptions(), ["X-Ray"]))
    columns = {column["key"]: column for column in document["leaderboards"][0]["columns"]}
    assert columns["nsd_xray"] == {
        "title": "NSD (X-Ray)", "key": "nsd_xray", "index": 3, "sorting": "desc", "precision": 4
    }  # fmt: skip
    assert list(columns) == ["dsc", "nsd", "dsc_xray", "nsd_xray", "missing"]


def test_options_that_the_scorer_or_the_platform_lack_are_refused():
    with pytest.raises(ValueError, match="mode"):
        BundleOptions(mode="kind")
    with pytest.raises(ValueError, match="submission"):
        BundleOptions(submissions_per_day=0)
