from pathlib import Path

import pytest
from drawn_slices import write_store

from benchmarks import smoke
from benchmarks.race import RaceError, config_path, main, training_command
from benchmarks.recorded import read_figures
from benchmarks.smoke import run_chain
from benchmarks.validate import main as validate
from benchmarks.validate import slice_table
from train.config import read_config


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write_store(tmp_path / "drawn.store")


@pytest.mark.slow
def test_the_whole_chain_holds_on_phantoms(tmp_path: Path):
    # Untrained, the model answers with the ellipse in the box, which alone is worth more than this.
    assert run_chain(tmp_path / "smoke", minutes=0.02, count=1) > 0.6
    for name in ("all.store", "run/best.pt", "run/overlays.png", "weights/model.pt", "validation.json"):
        assert (tmp_path / "smoke" / name).stat().st_size > 0


@pytest.mark.slow
def test_a_race_trains_judges_and_does_nothing_twice(tmp_path: Path, store_path: Path, capsys: pytest.CaptureFixture):
    options = ["--store", str(store_path), "--out", str(tmp_path), "--minutes", "0.02", "--designs", "smoke"]
    options += ["--processes", "1", "--threads", "1", "--per-modality", "2"]
    assert main(options) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[2].startswith("| smoke |")
    assert "| ellipse |" in table
    assert (tmp_path / "curves.csv").read_text().startswith("design,step,minutes,tight_mean_dsc")
    trained = (tmp_path / "smoke/last.pt").stat().st_mtime_ns
    assert main(options) == 0
    assert (tmp_path / "smoke/last.pt").stat().st_mtime_ns == trained


def test_a_design_is_a_name_or_a_file():
    assert read_config(config_path("l0")).model.name == "l0"
    with pytest.raises(RaceError, match="graysam-narrow"):
        config_path("l1")


def test_several_processes_train_through_torchrun():
    command = training_command(Path("a.toml"), Path("s"), Path("o"), minutes=3, processes=2, per_modality=9)
    assert command[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert command[-4:] == ["--validate-minutes", "0.75", "--validate-prompts", "9"]


def test_a_table_marks_where_the_model_loses_to_the_ellipse():
    model = {"tight": {"CT": (0.8, 0.5), "mean": (0.8, 0.5)}, "both_ways": {"CT": (0.7, 0.4), "mean": (0.7, 0.4)}}
    ellipse = {"tight": {"CT": (0.9, 0.5), "mean": (0.9, 0.5)}, "both_ways": {"CT": (0.6, 0.4), "mean": (0.6, 0.4)}}
    lines = slice_table({"ours": model, "ellipse": ellipse}).splitlines()
    assert lines[2] == "| CT | 80.0/50.0 < | 70.0/40.0 | 90.0/50.0 | 60.0/40.0 |"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--store", "none.store"], "none.store"),
        ([], "found nothing to score"),
        (["--volumes", ".", "--split", "far"], "split 'far'"),
    ],
)
def test_what_cannot_be_scored_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, options: list[str], words: str
):
    monkeypatch.chdir(tmp_path)
    assert validate(options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error


def test_a_smoke_test_into_a_full_folder_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "mine.txt").touch()
    assert smoke.main(["--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.weights
def test_a_split_of_another_name_is_scored_with_every_kind_of_box(tmp_path: Path, store_path: Path):
    out = tmp_path / "f.json"
    options = ["--store", str(store_path), "--split", "train", "--per-modality", "1", "--no-baselines"]
    assert validate([*options, "--threads", "1", "--out", str(out)]) == 0
    figures = read_figures(out)
    assert figures["split"] == "train"
    for kinds in figures["slices"].values():
        assert list(kinds) == ["tight", "both_ways", "outwards"]
