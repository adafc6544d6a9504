import json
from pathlib import Path

import pytest
import torch

from graysam.errors import GraySamError
from graysam.files import written_whole
from train.config import RunConfig
from train.run_folder import append_row, forget_rows_after, read_rows, write_atomically, write_provenance


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


def test_a_row_with_further_columns_widens_the_table(tmp_path: Path):
    # A validation of few prompts may lack a modality that the last one, of all prompts, has.
    path = tmp_path / "validation.csv"
    append_row(path, {"step": 1, "CT": 0.5, "mean": 0.5})
    append_row(path, {"step": 2, "CT": 0.6, "PET": 0.8, "mean": 0.7})
    append_row(path, {"step": 3, "CT": 0.7, "mean": 0.7})
    assert path.read_text().split() == ["step,CT,mean,PET", "1,0.5,0.5,", "2,0.6,0.7,0.8", "3,0.7,0.7,"]
    assert read_rows(path) == [
        {"step": 1, "CT": 0.5, "mean": 0.5},
        {"step": 2, "CT": 0.6, "mean": 0.7, "PET": 0.8},
        {"step": 3, "CT": 0.7, "mean": 0.7},
    ]
    forget_rows_after(path, 2)
    assert [row["step"] for row in read_rows(path)] == [1, 2]


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
