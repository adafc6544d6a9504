from pathlib import Path

import pytest
from drawn_slices import write_store

from benchmarks import smoke
from benchmarks.recorded import read_figures
from benchmarks.smoke import run_chain
from benchmarks.validate import main as validate
from benchmarks.validate import slice_table


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write_store(tmp_path / "drawn.store")


@pytest.mark.slow
def test_the_whole_chain_holds_on_phantoms(tmp_path: Path):
    # Untrained, the model answers with the ellipse in the box, which alone is worth more than this.
    assert run_chain(tmp_path / "smoke", minutes=0.02, count=1) > 0.6
    for name in ("all.store", "run/best.pt", "run/overlays.png", "weights/model.pt", "validation.json"):
        assert (tmp_path / "smoke" / name).stat().st_size > 0


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
