"""A race trains, exports and judges each design once; designs with weights, and random ones, are judged as they are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_slices import write_store
from tiny_spec import TINY

from benchmarks import judge as judging
from benchmarks.judge import Judged, as_judged, export_random, has_files, judge, prompts_of, split_scores
from benchmarks.race import (
    RaceError,
    Way,
    chosen_splits,
    config_path,
    distillation_command,
    entrant,
    entrants,
    main,
    race_table,
    training_command,
)
from benchmarks.rows import size_of
from evaluation.prompts import BASELINES
from graysam.store import open_store
from train.config import read_config

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
    assert "| ellipse | no model |" in table
    assert (tmp_path / "curves.csv").read_text().startswith("design,step,minutes,tight_mean_dsc")
    figures = json.loads((tmp_path / "race.json").read_text())
    assert list(figures["rows"][0]["scores"]) == ["val"]  # the drawn store has no split far
    assert set(figures["rows"][0]["milliseconds"]) == {"fp32", "int8"}
    assert figures["rows"][0]["processes"]["3d"]["seconds"] > 0
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
    command = training_command(*paths, minutes=3, processes=2, per_modality=9, initial=Path("i.pt"))
    assert command[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert command[-6:] == ["--init", "i.pt", "--validate-minutes", "0.75", "--validate-prompts", "9"]


def test_all_students_of_a_race_share_the_teachers_embeddings():
    run = Path("runs/race/swin/stage-one")
    command = distillation_command(Path("a.toml"), Path("s"), run, minutes=5, teacher=Path("t.pt"), slices=7)
    assert command[command.index("--embeddings") + 1] == "runs/race/embeddings"
    assert command[command.index("--slices") + 1 :][:3] == ["7", "--bits", "8"]


def test_weights_that_are_not_there_are_one_line_and_status_2(
    tmp_path: Path, store_path: Path, capsys: pytest.CaptureFixture
):
    options = ["--store", str(store_path), "--out", str(tmp_path), "--minutes", "1", "--designs", "litemedsam"]
    assert main([*options, "--weights", str(tmp_path / "none"), "--per-modality", "1"]) == 2
    assert "litemedsam: wanted its weights in" in capsys.readouterr().err


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
