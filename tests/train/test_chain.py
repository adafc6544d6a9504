import json
from pathlib import Path

import pytest
import torch

from benchmarks.race import RaceError, config_path, main, training_command
from benchmarks.smoke import run_chain
from benchmarks.validate import slice_table
from graysam.errors import GraySamError
from graysam.files import written_whole
from train.config import RunConfig, read_config
from train.run_folder import append_row, forget_rows_after, read_rows, write_atomically, write_provenance

REPOSITORY = Path(__file__).resolve().parents[2]


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


def test_rows_of_steps_that_were_lost_are_forgotten(tmp_path: Path):
    path = tmp_path / "log.csv"
    for step in (1, 2, 3):
        append_row(path, {"step": step, "loss": step / 10})
    forget_rows_after(path, 2)
    append_row(path, {"step": 3, "loss": 0.9})
    assert read_rows(path) == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2}, {"step": 3, "loss": 0.9}]


def test_a_line_cut_short_by_a_power_cut_is_no_row_and_goes(tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n1,0.5\n2,")
    assert read_rows(path) == [{"step": 1.0, "loss": 0.5}]
    forget_rows_after(path, 5)
    assert path.read_text() == "step,loss\n1,0.5\n"


def test_a_table_that_is_not_there_has_no_rows(tmp_path: Path):
    forget_rows_after(tmp_path / "log.csv", 5)
    assert read_rows(tmp_path / "log.csv") == []


def test_a_session_clears_what_a_killed_one_was_just_writing(tmp_path: Path, tiny_config: RunConfig, store_path: Path):
    with pytest.raises(GraySamError), written_whole(tmp_path / "last.pt") as temporary:
        pass
    temporary.write_bytes(b"half")
    for sessions in (1, 2):
        write_provenance(tmp_path, tiny_config, store_path)
        assert len(json.loads((tmp_path / "run.json").read_text())["sessions"]) == sessions
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "run.json"]


def test_equal_states_give_equal_files_whatever_their_names(tmp_path: Path):
    for name in ("last.pt", "best.pt"):
        write_atomically(tmp_path / name, {"step": 3, "weights": torch.arange(4)})
    assert (tmp_path / "last.pt").read_bytes() == (tmp_path / "best.pt").read_bytes()
