"""The experiment of docs/adapt.md: which cases it draws, what its rows say, and a run of it on drawn slices."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_slices import drawn_slice, write_store
from tiny_spec import TINY

from benchmarks import adapt_experiment
from benchmarks.adapt_experiment import (
    HEADING,
    OUT,
    PAGE,
    cells,
    drawn_cases,
    main,
    measured,
    possible_counts,
    write_page,
)
from benchmarks.pages import page_with
from graysam.models.checkpoint import save_checkpoint
from graysam.models.network import build_network
from graysam.store import open_store
from train.adapt import recipe
from train.adapt.cases import Reading, gather


def write_far(folder: Path, count: int, *, split: str = "far") -> Path:
    """A root with index.csv, and one data set of gray slices with two discs each."""
    for name in ("images", "masks"):
        (folder / "US" / "Discs" / name).mkdir(parents=True)
    rows = ["dataset,case,group,split"]
    for number in range(count):
        image, masks = drawn_slice(number, colour=False)
        noise = np.random.default_rng(number).integers(0, 40, image.shape).astype(np.uint8)
        cv2.imwrite(str(folder / "US" / "Discs" / "images" / f"{number}.png"), image // 2 + noise)
        labels = masks[0] + 2 * masks[1].astype(np.uint8)
        cv2.imwrite(str(folder / "US" / "Discs" / "masks" / f"{number}.png"), labels)
        rows.append(f"US/Discs,{number},{number},{split}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_whole_cases_are_drawn_and_a_third_is_left_to_test_with(tmp_path: Path):
    whole = gather(write_far(tmp_path / "data", 9) / "US" / "Discs", tmp_path / "far.store", Reading())
    assert possible_counts(whole, [5, 100]) == [5, 6]
    assert possible_counts(whole, [20, 100]) == [6]
    for asked in (5, 6):
        chosen, tested = (sorted({entry.case for entry in part}) for part in drawn_cases(whole, asked, seed=1))
        assert len(chosen) == asked
        assert sorted([*chosen, *tested]) == [str(number) for number in range(9)]
    assert drawn_cases(whole, 5, seed=1) == drawn_cases(whole, 5, seed=1)


@pytest.mark.slow
def test_a_run_gives_a_row_and_is_not_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipe, "FEWEST_STEPS", 2)
    monkeypatch.setattr(recipe, "MOST_PASSES", 1)
    (tmp_path / "weights").mkdir()
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "weights" / "model.pt", build_network(TINY), TINY)
    data, store = write_far(tmp_path / "data", 9), write_store(tmp_path / "val.store")
    assert len(open_store(store)) == 16
    options = ["--data", data, "--val-store", store, "--out", tmp_path / "work", "--results", tmp_path / "adapt.json"]
    options += ["--weights", tmp_path / "weights", "--sets", "US/Discs", "--cases", 5, "--seeds", 0, "--threads", 1]
    assert main([*map(str, options)]) == 0
    (row,) = json.loads((tmp_path / "adapt.json").read_text())["rows"]
    assert (row["cases"], row["tested_cases"], row["seed"], row["method"]) == (5, 4, 0, "decoder")
    assert 0.5 < row["far_before"]["dsc"] <= 1
    assert set(row["val_after"]) == {"dsc", "tight_dsc", "tight_nsd", "outwards_dsc", "outwards_nsd"}
    monkeypatch.setattr(adapt_experiment, "one_run", None)  # a second run would fail
    assert main([*map(str, options)]) == 0


def test_data_that_the_weights_may_have_seen_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = write_far(tmp_path / "data", 6, split="train")
    options = ["--data", data, "--val-store", "none", "--out", tmp_path / "work", "--results", tmp_path / "r.json"]
    assert main([*map(str, options), "--sets", "US/Discs"]) == 2
    assert "wanted a data set of the split far" in capsys.readouterr().err


def row(name: str, seed: int, before: float, after: float, lost: float) -> dict[str, object]:
    told = {"set": name, "asked": 20, "asked_method": "auto", "cases": 20, "seed": seed, "minutes": 10.0, "threads": 2}
    scores = {"far_before": before, "far_after": after, "val_before": 0.9, "val_after": 0.9 - lost}
    return {**told, "method": "low-rank", **{key: {"dsc": value} for key, value in scores.items()}}


def test_the_page_has_the_mean_over_seeds_and_says_whether_the_aims_are_met(tmp_path: Path):
    rows = [row("US/a", 0, 0.8, 0.9, 0.002), row("US/a", 1, 0.8, 0.88, 0.004), row("US/b", 0, 0.8, 0.81, 0.0)]
    (tmp_path / "adapt.json").write_text(json.dumps({"machine": {"cpu": "a CPU"}, "rows": rows}))
    page = tmp_path / "adapt.md"
    page.write_text(f"# Adapt\n\n{HEADING}\n\nold figures\n")
    write_page(tmp_path / "adapt.json", page)
    text = page.read_text()
    assert "| US/a | 20 | 10 | 2 | 80.0 | 89.0 | 45 % | -0.30 | low-rank |" in text
    assert "a quarter was closed on 1 of 2 sets; the largest loss is 0.30 points." in text
    assert "Not yet run" not in text
    assert "old figures" not in text


def test_the_page_names_the_runs_that_are_planned_and_not_done(tmp_path: Path):
    planned = [["US/a", 20, seed, 10.0, "auto"] for seed in (0, 1)] + [["US/a", 20, 1, 0.5, "auto"]]
    figures = {"machine": {"cpu": "a CPU"}, "planned": planned, "rows": [row("US/a", 0, 0.8, 0.9, 0.0)]}
    (tmp_path / "adapt.json").write_text(json.dumps(figures))
    assert "\n\nNot yet run: US/a with 20 cases, seed 1.\n\n" in measured(tmp_path / "adapt.json")


def test_all_sets_are_run_with_one_seed_before_any_is_with_the_next(tmp_path: Path):
    small, large = (
        gather(write_far(tmp_path / str(count), count) / "US" / "Discs", tmp_path / f"{count}.store", Reading())
        for count in (6, 9)
    )
    assert cells({"small": small, "large": large}, [4, 100], [7, 8]) == [
        (7, "small", 4),
        (7, "large", 4),
        (7, "large", 6),
        (8, "small", 4),
        (8, "large", 4),
        (8, "large", 6),
    ]


def test_the_page_in_the_repository_says_what_the_figures_say():
    assert PAGE.read_text(encoding="utf-8") == page_with(PAGE, HEADING, measured(OUT))
