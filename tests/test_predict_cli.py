"""The command line: what it prints, what it returns, what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from terminals import shown_on_a_terminal

import graysam
import predict
from graysam import cli
from graysam.boxes import Box, VolumeBox
from graysam.formats.npz import read_labels, write_case
from graysam.inference.baselines import BaselineSegmenter

ROOT = Path(__file__).resolve().parent.parent
SCHEDULER = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP")


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch):
    """Hide the scheduler that may be running these tests."""
    for name in (*SCHEDULER, "JOB_COMPLETION_INDEX", "GRAYSAM_NUM_PARTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with `in`, which holds a good image, a good volume and a text file that calls itself a case."""
    (tmp_path / "in").mkdir()
    image, volume = np.zeros((6, 8, 3), np.uint8), np.zeros((4, 6, 8), np.uint8)
    write_case(tmp_path / "in" / "2DBox_US_1.npz", image=image, boxes=[Box(1, 1, 3, 3)])
    write_case(tmp_path / "in" / "3DBox_CT_1.npz", image=volume, boxes=[VolumeBox(Box(1, 1, 3, 3), 1, 2)])
    return tmp_path


def break_one(folder: Path) -> None:
    (folder / "in" / "2DBox_MR_9.npz").write_text("no case")


def run(folder: Path, *arguments: str, engine: str = "ellipse") -> int:
    return predict.main(["-i", str(folder / "in"), "-o", str(folder / "out"), "--engine", engine, *arguments])


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir())


# --- exit status and messages


def test_plain_lines_tell_each_case_and_the_sum_on_stderr_and_nothing_on_stdout(folder, capsys):
    assert run(folder) == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 3
    assert lines[0].startswith("1/2 2DBox_US_1: 6 x 8 x 3, 1 box, 0.")
    assert lines[1].startswith("2/2 3DBox_CT_1: 4 x 6 x 8, 1 box, 0.")
    assert lines[2].startswith("2 done, 0 failed, 0 skipped in ")
    assert lines[2].endswith(f"results in {folder / 'out'}")


def test_a_failed_case_is_named_with_its_cause_and_the_status_is_1(folder, capsys):
    break_one(folder)
    assert run(folder) == 1
    err = capsys.readouterr().err
    assert "2DBox_MR_9: FAILED: 2DBox_MR_9.npz: not a whole .npz (zip) file" in err
    assert "2 done, 1 failed, 0 skipped" in err
    assert results(folder) == ["2DBox_US_1.npz", "3DBox_CT_1.npz"]


def test_a_name_cannot_forge_a_line_or_command_the_terminal(folder, capsys):
    name = "x\n9 of 9 fine\x1b[2J.npz"
    (folder / "in" / name).write_text("no case")
    assert run(folder) == 1
    err = capsys.readouterr().err
    assert r"x\x0a9 of 9 fine\x1b[2J: FAILED" in err
    assert "\x1b" not in err


def test_quiet_says_nothing_unless_something_is_wrong(folder, capsys):
    assert run(folder, "-q") == 0
    assert capsys.readouterr().err == ""
    break_one(folder)
    write_case(folder / "in" / "2DBox_US_1.npz", image=np.zeros((6, 8)), boxes=[Box(1, 1, 30, 3)])
    assert run(folder, "--quiet") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["2DBox_MR_9", "2DBox_MR_9", "2DBox_US_1"]
    assert "warning: 1 of 1 boxes partly outside" in lines[2]


def test_verbose_adds_the_traceback_of_a_defect(folder, capsys, monkeypatch):
    def broken(*args: object, **options: object) -> None:
        raise ZeroDivisionError("thirteen")

    monkeypatch.setattr(BaselineSegmenter, "segment_image", broken)
    assert run(folder, "-v") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "2DBox_US_1: FAILED: 2DBox_US_1.npz: ZeroDivisionError: thirteen" in err
    assert run(folder) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--no-such-option"], "unrecognized arguments"),
        (["-i", "in"], "give both -i and -o, or neither"),
        (["-i", "in", "-o", "out", "--resume", "--overwrite"], "not allowed with"),
        (["-i", "in", "-o", "out", "-q", "-v"], "not allowed with"),
        (["-i", "in", "-o", "out", "--engine", "tensorrt"], "invalid choice"),
        (["-i", "in", "-o", "out", "--overlap", "first"], "invalid choice"),
        (["-i", "in", "-o", "out", "--threads", "0"], "wanted at least 1"),
        (["-i", "in", "-o", "out", "--num-parts", "many"], "invalid int value"),
        (["-i", "in", "-o", "out", "--engine", "box", "--precision", "int8"], "has no model"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_says_why(arguments, reason, capsys):
    with pytest.raises(SystemExit) as stop:
        predict.main(arguments)
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-i", "nowhere", "-o", "out"], "folder nowhere: cannot be listed: No such file or directory"),
        (["-i", "empty", "-o", "out"], "; it holds nothing. Give boxes with --boxes"),
        (["-i", "in", "-o", "in"], "is the input folder too"),
        (["-i", "in", "-o", "out", "--num-parts", "3"], "but which part? Give --part-id, from 0 to 2"),
        (["-i", "in", "-o", "out", "--num-parts", "3", "--part-id", "3"], "part 3 of 3"),
    ],
)
def test_what_cannot_be_run_ends_with_status_2_in_one_line(folder, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    assert predict.main([*arguments, "--engine", "box"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert reason in err
    assert len(err.splitlines()) == 1


def test_weights_that_are_not_there_end_with_status_2_and_name_the_place(folder, capsys):
    assert run(folder, "--weights", str(folder / "nowhere"), engine="auto") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert str(folder / "nowhere") in err


def test_an_interrupted_run_says_how_to_go_on_and_still_reports(folder, monkeypatch, capsys):
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(BaselineSegmenter, "segment_volume", interrupted)
    monkeypatch.setattr(BaselineSegmenter, "segment_image", lambda self, image, boxes, overlap: image[:, :, 0])
    assert run(folder, "--report", str(folder / "run.json")) == 130
    assert "--resume" in capsys.readouterr().err
    assert results(folder) == ["2DBox_US_1.npz"]
    first, second = json.loads((folder / "run.json").read_text())["cases"]
    assert (first["status"], second["status"]) == ("done", "failed")
    assert second["error"] == "the run was ended by KeyboardInterrupt"


# --- options


DOORS = [["predict.py"], ["-m", "graysam", "predict"]]


@pytest.mark.parametrize("door", DOORS, ids=" ".join)
def test_help_explains_cases_results_parts_and_status(door):
    command = [sys.executable, *door, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ("/workspace/inputs" in result.stdout) == (door == ["predict.py"])  # the judges' folders are theirs alone
    for text in (
        *("skin.boxes.csv", "skin.png"),
        *("imgs", "boxes", "segs", "maxima belong to the box", "exit status", "SLURM_ARRAY_TASK_ID"),
        *("JOB_COMPLETION_INDEX", "GRAYSAM_NUM_PARTS", "--resume", "--overwrite", "--num-parts", "--part-id"),
        *(
            "--overlay",
            "--report",
            "--engine",
            "--precision",
            "--weights",
            "--threads",
            "--overlap",
            "--box-fit",
            "-q",
            "-v",
        ),
    ):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_resume_skips_what_is_there_and_overwrite_and_nothing_do_not(folder, capsys):
    run(folder)
    assert run(folder, "--resume") == 0
    assert "0 done, 0 failed, 2 skipped" in capsys.readouterr().err
    for arguments in ([], ["--overwrite"]):
        assert run(folder, *arguments) == 0
        assert "2 done, 0 failed, 0 skipped" in capsys.readouterr().err


def test_parts_by_option_slurm_or_kubernetes_make_the_whole_between_them(folder, monkeypatch, capsys):
    assert run(folder, "--num-parts", "2", "--part-id", "1") == 0
    assert results(folder) == ["3DBox_CT_1.npz"]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "1")
    assert run(folder) == 0
    assert "part 0 of 2, counted from 0 (from SLURM_ARRAY_TASK_ID)" in capsys.readouterr().err
    assert results(folder) == ["2DBox_US_1.npz", "3DBox_CT_1.npz"]
    for name in SCHEDULER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    assert run(folder) == 2
    monkeypatch.setenv("GRAYSAM_NUM_PARTS", "2")
    assert run(folder, "--report", str(folder / "run.json")) == 0
    assert (folder / "run.part1of2.json").exists()


def test_the_report_names_input_output_overlap_and_version(folder):
    break_one(folder)
    assert run(folder, "--report", str(folder / "run.json"), "--overlap", "confident") == 1
    report = json.loads((folder / "run.json").read_text())
    assert (report["input"], report["output"]) == (str(folder / "in"), str(folder / "out"))
    assert (report["overlap"], report["counts"]) == ("confident", {"done": 2, "failed": 1, "skipped": 0})
    assert report["graysam"].count(".") == 2
    assert report["seconds"] > 0


def test_a_report_that_cannot_be_written_costs_the_status_but_no_result(folder, capsys):
    assert run(folder, "--report", str(folder / "nowhere" / "run.json")) == 1
    assert "error: report run.json: cannot be written" in capsys.readouterr().err
    assert len(results(folder)) == 2


def test_overlays_are_off_by_default_and_drawn_where_asked(folder):
    assert run(folder) == 0
    assert not list(folder.rglob("*.png"))
    assert run(folder, "--overlay", str(folder / "new" / "png")) == 0
    assert sorted(path.name for path in folder.rglob("*.png")) == ["2DBox_US_1.png", "3DBox_CT_1.png"]


# --- the command graysam


def test_graysam_help_names_the_commands_and_imports_nothing_for_it():
    code = (
        "import sys\nfrom graysam import cli\ntry:\n    cli.main(['--help'])\nfinally:\n"
        "    print({'numpy', 'cv2', 'tqdm', 'graysam.cli.predict'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "predict    segment a folder" in result.stdout
    assert result.stdout.splitlines()[-1] == "set()"


def test_graysam_predict_does_what_the_challenge_s_door_does(folder, capsys):
    arguments = ["-i", str(folder / "in"), "-o", str(folder / "out"), "--engine", "ellipse"]
    assert cli.main(["predict", *arguments]) == 0
    assert "2 done, 0 failed, 0 skipped" in capsys.readouterr().err
    assert results(folder) == ["2DBox_US_1.npz", "3DBox_CT_1.npz"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: COMMAND"),
        (["predikt"], "invalid choice: 'predikt'"),
        (["predict"], "give -i, the folder of cases, and -o, the folder of results"),
        (["predict", "-i", "in"], "give both -i and -o"),
    ],
)
def test_wrong_usage_of_graysam_ends_with_status_2_and_says_why(arguments, reason, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert (stop.value.code, capsys.readouterr().out) == (0, f"graysam {graysam.__version__}\n")


# --- where the judges' folders are


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ("full", None, 0),
        (None, "full", 1),
        ("full", "full", 0),
        ("empty", "full", 1),
        ("empty", None, 0),
        (None, None, 0),
    ],
)
def test_without_folders_the_mounted_ones_are_taken(tmp_path, monkeypatch, first, second, wanted):
    pairs = tuple((tmp_path / place / "inputs", tmp_path / place / "outputs") for place in ("workspace", "root"))
    for (inputs, _), state in zip(pairs, (first, second), strict=True):
        if state:
            inputs.mkdir(parents=True)
        if state == "full":
            write_case(inputs / "a.npz", image=np.zeros((6, 8)), boxes=[Box(1, 1, 3, 3)])
    monkeypatch.setattr(predict, "MOUNTED", pairs)
    status = predict.main(["--engine", "box"])
    filled = "full" in (first, second)
    assert status == (0 if filled else 2)
    assert (pairs[wanted][1] / "a.npz").exists() == filled


def test_the_judges_folders_are_those_of_the_challenge():
    assert [list(map(str, pair)) for pair in predict.MOUNTED] == [
        ["/workspace/inputs", "/workspace/outputs"],
        ["/inputs", "/outputs"],
    ]


@pytest.mark.parametrize("cwd", [".", ".."])
def test_predict_sh_passes_options_on_from_any_folder(folder, cwd):
    script = os.path.relpath(ROOT / "predict.sh", ROOT / cwd)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["sh", script, "-i", folder / "in", "-o", folder / "out", "--engine", "ellipse"]
    result = subprocess.run(command, cwd=ROOT / cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(results(folder)) == 2


# --- terminals and imports


def test_a_terminal_gets_a_bar_and_what_went_wrong_but_no_line_for_each_case(folder):
    break_one(folder)
    command = [sys.executable, ROOT / "predict.py", "-i", folder / "in", "-o", folder / "out", "--engine", "box"]
    text = shown_on_a_terminal(command, status=1)
    assert "3/3" in text
    assert "3DBox_CT_1]" in text
    assert "2DBox_MR_9: FAILED" in text
    assert "2DBox_US_1: 6 x 8" not in text
    assert "2 done, 1 failed" in text


SLOW_TO_IMPORT = ("torch", "scipy", "pandas", "matplotlib", "SimpleITK", "nibabel", "pydicom", "cc3d", "sklearn", "PIL")


def imported_by(*arguments: Any) -> set[str]:
    code = "import sys, predict\npredict.main(sys.argv[1:])\nprint(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_predicting_imports_nothing_slow_and_no_option_s_modules_unasked(folder):
    modules = imported_by("-i", folder / "in", "-o", folder / "out", "--engine", "ellipse")
    assert not modules & {*SLOW_TO_IMPORT, "openvino", "tqdm", "graysam.runner.overlay", "graysam.models.network"}
    assert read_labels(folder / "out" / "2DBox_US_1.npz", "segs").any()


@pytest.mark.weights
def test_the_openvino_engine_imports_nothing_slow_either(folder):
    if not (ROOT / "weights" / "graysam" / "openvino").is_dir():
        pytest.skip("no OpenVINO files under weights/graysam")
    pytest.importorskip("openvino")
    modules = imported_by("-i", folder / "in", "-o", folder / "out", "--engine", "openvino")
    assert "openvino" in modules
    assert not modules & {*SLOW_TO_IMPORT, "nncf", "tqdm", "graysam.runner.overlay", "graysam.models.network"}


def test_importing_the_door_alone_imports_no_numpy():
    code = "import sys, predict; print('numpy' in sys.modules, 'cv2' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
