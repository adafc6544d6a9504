"""A race trains, exports and judges each design once; designs with weights, and random ones, are judged as they are."""

import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_slices import write_store
from tiny_spec import TINY

from benchmarks import entrants as entering
from benchmarks import judge as judging
from benchmarks import race as racing
from benchmarks.entrants import (
    RaceError,
    Way,
    config_path,
    distillation_command,
    entrant,
    entrants,
    training_command,
)
from benchmarks.judge import Judged, as_judged, export_random, has_files, judge, prompts_of, split_scores
from benchmarks.race import check_settings, chosen_splits, main, parse_options, race_table
from benchmarks.rows import size_of
from evaluation.prompts import BASELINES
from graysam.engines.select import CpuFacts
from graysam.store import open_store
from train.config import read_config
from train.run_folder import RunFolderError, only_one

SPEC = replace(TINY, memory=True, ellipse_gate=True)


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "drawn.store")


@pytest.mark.slow
def test_a_race_trains_judges_and_does_nothing_twice(tmp_path: Path, store_path: Path, capsys: pytest.CaptureFixture):
    options = ["--store", str(store_path), "--out", str(tmp_path), "--minutes", "0.02", "--designs", "smoke"]
    options += ["--processes", "1", "--threads", "1", "--per-modality", "2", "--calibration-slices", "3"]
    assert main(options) == 0
    table = capsys.readouterr().out
    assert "\n| smoke | trained here for 0.0" in table
    assert " min, " in table
    assert "| ellipse | no model |" in table
    assert (tmp_path / "curves.csv").read_text().startswith("design,step,minutes,tight_mean_dsc")
    figures = json.loads((tmp_path / "race.json").read_text())
    assert list(figures["rows"][0]["scores"]) == ["val"]  # the drawn store has no split far
    assert set(figures["rows"][0]["milliseconds"]) == {"fp32", "int8"}
    assert figures["rows"][0]["processes"]["3d"]["seconds"] > 0
    assert figures["missing"] == {}
    trained = (tmp_path / "smoke/last.pt").stat().st_mtime_ns
    assert main(options) == 0
    assert (tmp_path / "smoke/last.pt").stat().st_mtime_ns == trained


@pytest.mark.slow
def test_random_weights_are_timed_and_not_scored(tmp_path: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(judging, "cold_processes", lambda folder, *, threads: {})  # the race's own test runs them
    export_random(SPEC, tmp_path / "weights", calibration=None, count=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights"]
    assert has_files(tmp_path / "weights", "fp32")
    assert not has_files(tmp_path / "weights", "int8")
    prompts = prompts_of(open_store(store_path), ["val"], per_modality=1)
    row = judge("r", tmp_path / "weights", "random", prompts, threads=1, for_speed_only=True)
    assert row.scores == {}
    assert set(row.milliseconds) == {"fp32"}
    assert row.million_parameters == round(size_of(SPEC).parameters / 1e6, 2)


def test_a_design_is_a_row_of_the_field_a_config_or_a_file():
    assert read_config(config_path("l0")).model.name == "l0"
    assert entrant("smoke").way == "trained"
    assert entrant("l0").way == "trained"
    with pytest.raises(RaceError, match="graysam-narrow"):
        entrant("l1")


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("graysam", "trained"),
        ("graysam-shipped", "as it is"),
        ("litemedsam", "as it is"),
        ("litemedsam-tuned", "tuned"),
        ("swin-litemedsam", "trained"),
        ("vit-tiny", "trained"),
        ("l0", "trained"),
        ("medficientsam-l0", "random"),
        ("daft-l0", "random"),
    ],
)
def test_the_weights_of_a_system_of_the_field_come_from_where_its_row_says(name: str, way: Way):
    one = entrants()[name]
    assert one.way == way
    assert one.config.is_file()


def test_several_processes_train_through_torchrun_and_start_from_what_is_there():
    paths = Path("a.toml"), Path("s"), Path("o")
    command = training_command(*paths, minutes=3, processes=2, validate_prompts=9, initial=Path("i.pt"))
    assert command[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert command[-6:] == ["--init", "i.pt", "--validate-minutes", "1.0", "--validate-prompts", "9"]


@pytest.mark.parametrize(("flags", "wanted"), [({"avx2"}, "fp32"), ({"avx512_bf16"}, "bf16")])
def test_all_designs_train_in_the_format_that_the_cpu_has_instructions_for(
    flags: set[str], wanted: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(entering, "read_cpu_facts", lambda: CpuFacts(frozenset(flags), "a CPU", 2))
    config, store = Path("a.toml"), Path("s")
    trained = training_command(config, store, Path("o"), minutes=3, processes=1, validate_prompts=9)
    stage = Path("race/o/stage-one")
    distilled = distillation_command(config, store, stage, minutes=5, teacher=Path("t"), slices=7, threads=2)
    for command in (trained, distilled):
        assert command[command.index("--precision") + 1] == wanted


def test_all_students_of_a_race_share_the_teachers_embeddings():
    run = Path("runs/race/swin/stage-one")
    command = distillation_command(Path("a.toml"), Path("s"), run, minutes=5, teacher=Path("t"), slices=7, threads=2)
    assert command[command.index("--embeddings") + 1] == "runs/race/embeddings"
    assert command[command.index("--slices") + 1 :][:3] == ["7", "--bits", "8"]


def test_a_design_that_fails_costs_no_other_and_is_named_in_the_figures(
    tmp_path: Path, store_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def judged(name: str, folder: Path, weights: str, prompts: object, **_: object) -> Judged:
        return Judged(name, weights, scores={"val": {"tight": (0.5, 0.5), "outwards": (0.5, 0.5)}})

    monkeypatch.setattr(racing, "judge", judged)
    (tmp_path / "weights/graysam").mkdir(parents=True)
    (tmp_path / "weights/graysam/spec.json").write_text("{}")
    options = ["--store", str(store_path), "--out", str(tmp_path / "out"), "--minutes", "1", "--per-modality", "1"]
    options += ["--weights", str(tmp_path / "weights"), "--designs"]
    assert main([*options, "litemedsam", "graysam-shipped"]) == 1
    assert "litemedsam: wanted its weights in" in capsys.readouterr().err
    figures = json.loads((tmp_path / "out/race.json").read_text())
    assert [row["name"] for row in figures["rows"]] == ["graysam-shipped", "ellipse"]
    assert figures["missing"]["litemedsam"].startswith("failed: litemedsam: wanted its weights in")
    assert main([*options, "litemedsam"]) == 2  # not a single row


def test_other_settings_want_another_folder(tmp_path: Path, store_path: Path):
    def options(minutes: str) -> Namespace:
        return parse_options(["--store", str(store_path), "--out", str(tmp_path), "--minutes", minutes])

    check_settings(options("20"))
    check_settings(options("20"))
    with pytest.raises(RaceError, match=r"minutes was 20\.0 and is 3\.0"):
        check_settings(options("3"))


def test_a_stage_is_stopped_and_waited_for_when_the_race_is(tmp_path: Path):
    wait = "import signal, sys, pathlib, time; signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1])"
    wait += ".touch(), sys.exit(0))); print('ready', flush=True); time.sleep(60)"
    stage = [sys.executable, "-c", wait, str(tmp_path / "saved")]
    call = "import sys\nfrom benchmarks.entrants import run_stage\nfrom graysam.console import kill_interrupts\n"
    call += "with kill_interrupts():\n    run_stage(sys.argv[1:], 'a stage', 1)\n"
    race = subprocess.Popen([sys.executable, "-c", call, *stage], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert race.stdout is not None
    assert race.stdout.readline() == b"ready\n"
    race.terminate()
    race.wait()
    assert (tmp_path / "saved").exists()


def test_a_folder_is_kept_as_long_as_a_stage_runs_that_outlives_its_race(tmp_path: Path):
    with only_one(tmp_path) as held:
        stage = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[held])
    with pytest.raises(RunFolderError, match="another process is at work in it"), only_one(tmp_path):
        pass
    stage.communicate(b"\n")
    with only_one(tmp_path):
        pass


def test_splits_that_a_store_lacks_are_left_out_and_none_at_all_is_an_error(store_path: Path):
    assert chosen_splits(store_path, ["val", "far"]) == ["val"]
    with pytest.raises(RaceError, match="wanted a split far, found train, val"):
        chosen_splits(store_path, ["far"])


def test_the_best_row_is_on_top_and_rows_without_scores_come_last():
    kinds = {"tight": (0.8, 0.5), "both_ways": (0.7, 0.4), "outwards": (0.75, 0.25)}
    worse = {**kinds, "tight": (0.7, 0.5)}
    times = {"fp32": {"encode_ms_median": 12.4, "decode_ms_median": 3.25}}
    process = {"2d": {"seconds": 0.5, "mebibytes": 99}}
    rows = [
        Judged("fast", "random", 1.0, 2.0, 0.5, milliseconds=times, processes=process),
        Judged("bad", "no model", scores={"val": worse, "far": worse}),
        Judged("good", "trained", 1.5, 1.0, 0.25, scores={"val": kinds, "far": kinds}),
    ]
    lines = race_table(rows).splitlines()
    assert "val, tight | val, off outwards | far, tight" in lines[0]
    both = "80.0/50.0 | 75.0/25.0 |"
    assert lines[2] == f"| good | trained | 1.50 | 1.00 + 0.25 | {both} {both} | | | |"
    assert lines[3].startswith("| bad | no model | | | 70.0/50.0 |")
    assert lines[4] == "| fast | random | 1.00 | 2.00 + 0.50 | | | | | 12 + 3.2 | | 0.50, 99 | |"


def test_a_row_comes_back_from_its_file(store_path: Path):
    prompts = prompts_of(open_store(store_path), ["val"], per_modality=1)
    row = Judged("ellipse", "no model", scores=split_scores(prompts, BASELINES["ellipse"]))
    assert as_judged(json.loads(json.dumps({**row.__dict__}))) == row
