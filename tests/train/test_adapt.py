"""`graysam adapt` on drawn cases: triangles, of which an untrained model answers the ellipse in their box."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_spec import TINY

import graysam.cli
from graysam.boxes import Box
from graysam.export import export
from graysam.formats.npz import read_labels, write_case
from graysam.models.checkpoint import load_model, save_checkpoint
from graysam.models.network import build_network
from graysam.store import PackedStore, StoreWriter, encode_image, encode_runs, open_store
from train.adapt import recipe
from train.adapt.cases import AdaptError, Reading, gather, thinned
from train.adapt.fit import CaseTrainer
from train.adapt.folds import Plan, in_split, plan_folds
from train.adapt.judge import best_share, blended, drawn_objects, is_clear_gain
from train.adapt.keeping import Keeper, deviation
from train.adapt.outcome import Drawn, Outcome, Worst
from train.adapt.report import render_report, verdict
from train.config import DataConfig
from train.dataset import BatchSource
from train.run_folder import read_rows
from train.slice_memory import SliceMemory
from train.trainer import JUDGED_WEIGHTS, PromptedForward

SIDE = 48
ROOT = Path(__file__).resolve().parents[2]


def triangle(number: int) -> np.ndarray:
    """The lower left half of a square, whose ellipse covers 0.6 of it and much beside."""
    rng = np.random.default_rng(number)
    top, left, size = (*rng.integers(4, 16, 2), rng.integers(20, 28))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - top >= columns - left) & (rows < top + size) & (columns >= left)


def picture(number: int, mask: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1000 + number)
    ground = cv2.resize(rng.normal(90, 25, (6, 6)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(ground + np.where(mask, 90, 0) + rng.normal(0, 8, (SIDE, SIDE)), 0, 255).astype(np.uint8)


def write_pictures(folder: Path, count: int) -> Path:
    """A data set as data_prep reads it: images/ next to masks/."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        mask = triangle(number)
        cv2.imwrite(str(folder / "images" / f"case{number:02d}.png"), picture(number, mask))
        cv2.imwrite(str(folder / "masks" / f"case{number:02d}.png"), mask.astype(np.uint8))
    (folder / "dataset.json").write_text(json.dumps({"modality": "US", "labels": "classes"}))
    return folder


def write_npz(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        mask = triangle(number)
        write_case(
            folder / f"2DBox_US_{number:04d}.npz", image=picture(number, mask), boxes=[], labels=mask.astype("u1")
        )
    return folder


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a tiny model that answers every box with its ellipse."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    save_checkpoint(folder / "model.pt", build_network(TINY), TINY)
    return folder


def adapt(data: Path, out: Path, weights: Path, *more: str) -> int:
    options = ["--data", data, "--out", out, "--weights", weights, "--threads", "1", "--workers", "0", *more]
    return graysam.cli.main(["adapt", *map(str, options)])


# --- the whole command ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_triangles_are_learnt_exported_and_predicted(
    tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(recipe.LEARNING_RATES, "all", 5e-3)  # the model has never been trained
    data, out = write_pictures(tmp_path / "data", 24), tmp_path / "mine"
    assert adapt(data, out, untrained, "--minutes", "20", "--method", "all") == 0, capsys.readouterr().err
    told = capsys.readouterr().err
    assert "Adapting helped" in told
    assert not (tmp_path / ".mine.adapting").exists()
    names = {path.name for path in out.iterdir()}
    assert {"model.pt", "spec.json", "openvino", "openvino-int8", "checksums.sha256", "report.html"} <= names
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "graysam predict -i inputs -o outputs --weights mine" in page
    assert page.count("data:image/png;base64,") == 3
    (tmp_path / "inputs").mkdir()
    mask = triangle(99)
    rows, columns = np.nonzero(mask)
    box = Box(float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
    write_case(tmp_path / "inputs" / "2DBox_US_0099.npz", image=picture(99, mask), boxes=[box])
    scores = {}
    export(untrained / "model.pt", tmp_path / "old")
    for name in ("old", "mine"):
        options = ["-i", tmp_path / "inputs", "-o", tmp_path / f"out-{name}", "--weights", tmp_path / name]
        assert graysam.cli.main(["predict", *map(str, options), "--precision", "fp32"]) == 0
        found = read_labels(tmp_path / f"out-{name}" / "2DBox_US_0099.npz", "segs") > 0
        scores[name] = 2 * (found & mask).sum() / (found.sum() + mask.sum())
    assert scores["mine"] > scores["old"] + 0.05
    assert adapt(data, out, untrained) == 2  # what is there is not written over
    assert "is there already" in capsys.readouterr().err


@pytest.mark.slow
def test_what_did_not_help_leaves_the_report_alone_and_cross_validates_few_cases(
    tmp_path: Path, untrained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recipe, "FEWEST_STEPS", 2)
    monkeypatch.setattr("train.adapt.run.MOST_PASSES", 1)  # two steps teach nothing
    data, out = write_npz(tmp_path / "data", 6), tmp_path / "mine"
    assert adapt(data, out, untrained) == 1
    assert "did not help" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["report.html"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "No weights were written" in page
    assert "every patient was held out once (3 parts" in page
    assert not (tmp_path / ".mine.adapting").exists()


def stopped(command: list[object], *, when_there: Path, by: signal.Signals) -> tuple[int, str]:
    """Run a command until a file or folder is there, send a signal, and give its status and what it told."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen([*map(str, command)], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while not when_there.exists():
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(by)
    told = running.communicate(timeout=300)[1]
    return running.returncode, told


@pytest.mark.slow
def test_a_stopped_adaptation_goes_on(tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch):
    data, out, work = write_npz(tmp_path / "data", 6), tmp_path / "mine", tmp_path / ".mine.adapting"
    command = [sys.executable, "-m", "graysam", "adapt", "--data", data, "--out", out, "--weights", untrained]
    command += ["--threads", "1", "--minutes", "60"]
    status, told = stopped(command, when_there=work / "run0", by=signal.SIGTERM)
    assert (status, "the same command goes on" in told) == (130, True)
    status, _ = stopped(command, when_there=work / "run0" / "weights.pt", by=signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert not out.exists()
    monkeypatch.setattr(recipe, "FEWEST_STEPS", 2)
    monkeypatch.setattr(recipe, "MOST_PASSES", 1)  # the other trainings are short
    kept = (work / "run0" / "weights.pt").stat().st_mtime_ns
    assert adapt(data, out, untrained, "--minutes", "5") == 2  # not the options of the unfinished work
    assert (work / "run0" / "weights.pt").stat().st_mtime_ns == kept
    assert adapt(data, out, untrained, "--minutes", "60") in (0, 1)
    assert (out / "report.html").is_file()
    assert not work.exists()


# --- refusals ---------------------------------------------------------------------------------------------------------


def divided(data: Path, tmp_path: Path, reading: Reading | None = None) -> Plan:
    """Read a folder, and divide its cases."""
    return plan_folds(gather(data, tmp_path / f"{data.name}.store", reading or Reading()), seed=0)


def refused(data: Path, tmp_path: Path, reading: Reading | None = None) -> str:
    with pytest.raises(AdaptError) as error:
        divided(data, tmp_path, reading)
    return str(error.value)


def test_four_cases_are_too_few(tmp_path: Path):
    assert refused(write_npz(tmp_path / "data", 4), tmp_path).startswith("4 labelled cases; at least 5 are wanted")


def test_a_case_that_cannot_be_read_is_left_out_and_named(tmp_path: Path):
    data = write_npz(tmp_path / "data", 6)
    write_case(
        data / "2DBox_US_0000.npz", image=np.zeros((5, 5), np.uint8), boxes=[], labels=np.zeros((4, 4), np.uint8)
    )
    gathered = gather(data, tmp_path / "cases.store", Reading())
    assert len(gathered.store.entries) == 5
    assert "2DBox_US_0000.npz: 'gts' has shape (4, 4), wanted that of the image, (5, 5)." in gathered.notes
    (data / "2DBox_US_0001.npz").write_bytes(b"no archive")
    told = refused(data, tmp_path)
    assert told.startswith("4 labelled cases")
    assert "Left out: 2DBox_US_0000.npz" in told


def test_photographs_are_no_masks(tmp_path: Path):
    data = write_pictures(tmp_path / "data", 5)
    for number, mask in enumerate(sorted((data / "masks").iterdir())):
        cv2.imwrite(str(mask), cv2.resize(picture(number, triangle(number)), (SIDE, SIDE)))
    assert "labelled cases" in refused(data, tmp_path)


def test_masks_without_a_background_are_no_labels(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    for number in range(5):
        whole = np.full((SIDE, SIDE), 2, np.uint8)
        whole[:2, :2] = 1
        write_case(data / f"{number}.npz", image=picture(number, triangle(number)), boxes=[], labels=whole)
    assert "the masks are no labels: 5 of 5 cases" in refused(data, tmp_path)


def test_a_patient_on_both_sides_of_a_given_split_is_refused(tmp_path: Path):
    data = write_pictures(tmp_path / "data", 6)
    rows = [
        f"data,case{number:02d},{'p0' if number < 2 else number},{'val' if number < 1 else 'train'}"
        for number in range(6)
    ]
    (data / "index.csv").write_text("dataset,case,group,split\n" + "\n".join(rows) + "\n")
    assert "the splits of index.csv leak" in refused(data, tmp_path)


def test_look_alikes_on_both_sides_of_a_given_split_are_refused_too(tmp_path: Path):
    data = write_pictures(tmp_path / "data", 6)
    for name in ("images", "masks"):
        (data / name / "case01.png").write_bytes((data / name / "case00.png").read_bytes())
    rows = [f"data,case{number:02d},{number},{'val' if number < 1 else 'train'}" for number in range(6)]
    (data / "index.csv").write_text("dataset,case,group,split\n" + "\n".join(rows) + "\n")
    assert "case00, case01 are of one patient or look the same" in refused(data, tmp_path)


def test_cases_of_two_patients_are_refused(tmp_path: Path):
    first, last = r"^2DBox_US_000(?=[0-4])", r"^2DBox_US_0005"  # what the pattern finds is the patient's name
    assert "the cases are of 2 patients" in refused(
        write_npz(tmp_path / "data", 6), tmp_path, Reading(patients=f"{first}|{last}")
    )


def test_weights_without_a_checkpoint_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    assert adapt(write_npz(tmp_path / "data", 5), tmp_path / "mine", tmp_path / "empty") == 2
    assert "has no model.pt" in capsys.readouterr().err


def test_an_installed_graysam_without_the_training_says_which_command_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(graysam.cli.COMMANDS, "adapt", ("nowhere.adapt", "not here"))
    assert graysam.cli.main(["adapt"]) == 2
    assert "pip install -e '.[train,prep]'" in capsys.readouterr().err


# --- the parts --------------------------------------------------------------------------------------------------------


def test_patients_stay_together_and_every_one_is_judged_once_when_there_are_few(tmp_path: Path):
    data = write_npz(tmp_path / "data", 8)
    halves = Reading(patients=r"^2DBox_US_000(?=[0-3])|\d$")  # the first four are one patient, the others one each
    plan = divided(data, tmp_path, halves)
    assert (plan.patients, len(plan.folds)) == (5, 3)
    judged = [{entry.case for entry in fold.held_out} for fold in plan.folds]
    cases = {number: f"2DBox_US_000{number}" for number in range(8)}
    assert sorted(case for each in judged for case in each) == list(cases.values())
    assert any({cases[0], cases[1], cases[2], cases[3]} <= each for each in judged)
    for fold in plan.folds:
        assert {entry.case for entry in fold.train}.isdisjoint(entry.case for entry in fold.held_out)


def store_of_volumes(path: Path, slices: int) -> PackedStore:
    """Five volumes of as many slices, with a triangle on each."""
    with StoreWriter(path) as writer:
        for number in range(5):
            for z in range(slices):
                mask = triangle(number)
                facts = {
                    "dataset": "MR/x",
                    "modality": "MR",
                    "case": f"v{number}",
                    "group": str(number),
                    "split": "train",
                }
                runs = [encode_runs(mask)]
                writer.add(encode_image(picture(number, mask)), runs, **facts, size_hw=(SIDE, SIDE), z=z)
    return open_store(path)


def test_long_volumes_are_thinned_to_pairs_of_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("train.adapt.cases.MOST_SLICES", 20)  # four for each of the five
    entries = store_of_volumes(tmp_path / "v.store", 9).entries
    kept = [entry.z for entry in thinned(entries) if entry.case == "v0"]
    assert kept == [0, 1, 8]  # nine slices are four pairs and a single one; the first and the last are taken


def test_from_twenty_patients_on_a_fifth_is_held_out_and_some_are_watched(tmp_path: Path):
    plan = divided(write_npz(tmp_path / "data", 20), tmp_path)
    (fold,) = plan.folds
    assert [len(part) for part in (fold.train, fold.watched, fold.held_out)] == [13, 3, 4]
    assert len({entry.case for entry in (*fold.train, *fold.watched, *fold.held_out)}) == 20
    assert len(plan.learnt) == 20  # by the model that is kept


def test_what_index_csv_holds_out_is_never_learnt_from(tmp_path: Path):
    data = write_pictures(tmp_path / "data", 6)
    rows = [f"data,case{number:02d},{number},{'val' if number < 2 else 'train'}" for number in range(6)]
    (data / "index.csv").write_text("dataset,case,group,split\n" + "\n".join(rows) + "\n")
    assert sorted(entry.case for entry in divided(data, tmp_path).learnt) == ["case02", "case03", "case04", "case05"]


def test_the_smallest_share_with_most_of_the_best_gain_is_taken():
    old = 0.80  # 85 % of the best gain below are 0.034
    assert best_share({0.0: old, 0.4: 0.833, 0.7: 0.835, 1.0: 0.840}) == 0.7
    assert best_share({0.0: old, 0.4: 0.9, 0.7: 0.8, 1.0: 0.7}) == 0.4
    assert best_share({0.0: old, 0.4: 0.78, 0.7: 0.79, 1.0: 0.70}) == 0.7  # none gains: the best one


def test_a_pass_learns_from_every_slice_once_and_a_step_takes_four(tmp_path: Path):
    entries = gather(write_npz(tmp_path / "data", 6), tmp_path / "cases.store", Reading()).store.entries
    assert recipe.steps_of_a_pass(entries) == 1.5


def test_the_deviation_from_the_old_answers_is_a_divergence_of_probabilities():
    """The old model says 3/4, the new one 1/2: 3/4 ln(3/2) + 1/4 ln(1/2)."""
    old = torch.full((1, 2, 2), math.log(3))
    assert deviation(torch.zeros(1, 2, 2), old).item() == pytest.approx(0.130812, abs=1e-5)
    assert deviation(old, old).item() == pytest.approx(0, abs=1e-6)


def test_keeping_pulls_a_changed_model_back_to_the_old_answers(tmp_path: Path, untrained: Path):
    store = gather(write_npz(tmp_path / "data", 5), tmp_path / "cases.store", Reading()).store
    memory = SliceMemory(store.with_entries(in_split(store.entries, "train")), "train")
    old, new = load_model(untrained / "model.pt"), load_model(untrained / "model.pt")
    keeper = Keeper(old, BatchSource(memory, TINY, recipe.kept_data(DataConfig()), seed=0), weight=2.0)
    forward = PromptedForward(new)
    assert keeper.loss(forward, 0).item() == pytest.approx(0, abs=1e-6)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in new.parameters():
            value += 0.1 * torch.randn(value.shape, generator=noise)
    optimiser = torch.optim.Adam(new.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = keeper.loss(forward, 0)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.001
    assert losses[-1] < 0.5 * losses[0]
    before = torch.load(untrained / "model.pt", weights_only=True)["model"]
    assert all(torch.equal(old.state_dict()[name].half(), value.half()) for name, value in before.items())


def test_weights_are_compared_by_all_prompts_of_the_watched_cases(tmp_path: Path, untrained: Path):
    whole = gather(write_npz(tmp_path / "data", 6), tmp_path / "cases.store", Reading()).store
    entries, old, run = whole.entries, load_model(untrained / "model.pt"), tmp_path / "run"
    run.mkdir()
    config = recipe.recipe(old.spec, entries, "all", minutes=1.0, seed=0, bf16=False, watched=4, passes=1)
    divided_store = whole.with_entries([*in_split(entries[:2], "train"), *in_split(entries[2:], "val")])
    trainer = CaseTrainer(config, divided_store, run, old, watches=True)
    trainer.validate(quick=False)
    (row,) = read_rows(run / "validation.csv")
    wanted = sum(weight * row[f"{kind}_mean_dsc"] for kind, weight in JUDGED_WEIGHTS.items())
    assert trainer.best_score == pytest.approx(wanted, abs=2e-4)  # the row is rounded


def test_a_mean_of_weights_leaves_counters_alone():
    old = {"weight": torch.tensor([1.0]), "count": torch.tensor(3)}
    new = {"weight": torch.tensor([2.0]), "count": torch.tensor(9)}
    assert {name: value.item() for name, value in blended(old, new, 0.25).items()} == {"weight": 1.25, "count": 3}


def scores(*dsc: float) -> np.ndarray:
    return np.array([[[value, value]] * 2 for value in dsc])


def test_a_gain_is_clear_when_it_is_half_a_point_and_beyond_its_error():
    before, cases = scores(0.5, 0.5, 0.5, 0.5), ["a", "b", "c", "d"]
    assert is_clear_gain(before, scores(0.6, 0.61, 0.59, 0.6), cases)
    assert not is_clear_gain(before, scores(0.503, 0.503, 0.503, 0.503), cases)
    assert not is_clear_gain(before, scores(0.9, 0.3, 0.5, 0.4), cases)  # a mean of 0.025, an error of 0.13


def test_drawn_pictures_are_the_same_on_every_call_and_of_all_modalities():
    first, second = drawn_objects(), drawn_objects()
    assert len(first) == len(second) > 20
    assert all(np.array_equal(one.image, other.image) for one, other in zip(first, second, strict=True))


def test_few_cases_train_the_decoder_alone():
    assert [recipe.chosen_method(count) for count in (5, 9, 10, 500)] == ["decoder", "decoder", "low-rank", "low-rank"]


def outcome(**changes: object) -> Outcome:
    mask = triangle(0)
    worst = Worst("<b>case</b>", picture(0, mask), mask, mask, mask, Box(4, 4, 30, 30), 0.5, 0.75)
    told = Outcome(
        cases=6,
        patients=6,
        slices=6,
        folds=5,
        method="decoder",
        steps=40,
        minutes=10,
        share=0.7,
        judged_cases=6,
        ellipse=scores(0.4),
        untouched=scores(0.5),
        adapted=scores(0.75),
        drawn=Drawn(30, 0.9, 0.85, 0.9),
        helped=True,
        worst=(worst,),
        notes=("<script>a note</script>",),
        modalities=("US",),
        int8_agreement=0.99,
    )
    return replace(told, **changes)


def test_the_page_says_what_was_gained_and_lost_and_escapes_names():
    page = render_report(outcome(), name="mine")
    assert "Adapting helped. On held-out cases the DSC went from 50.0 to 75.0 %: 50 % of what was missing" in page
    assert "a clear loss" in page  # 5 points on drawn pictures
    assert "&lt;b&gt;case&lt;/b&gt;: DSC 50.0 before, 75.0 after" in page
    assert "<script>" not in page
    assert "remove the folder mine" in page
    assert "http" not in page  # nothing is fetched


def test_a_page_without_a_gain_offers_nothing_to_use():
    page = render_report(outcome(helped=False, adapted=scores(0.5)), name="mine")
    assert verdict(outcome(helped=False, adapted=scores(0.5))) in page
    assert "--weights" not in page
