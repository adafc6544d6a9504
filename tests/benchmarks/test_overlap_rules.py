"""The rules of --overlap measured on the same answers, and a run that goes on where it was."""

import json

import numpy as np
import pytest

from benchmarks.overlap import chosen, main, overlap_table, score_rules
from benchmarks.smoke import write_sources
from data_prep.sources import find_sources
from examples.phantoms import make_phantoms
from graysam.inference.images import BoxAnswer

WHOLE = (slice(0, 2), slice(0, 4))


def answer(index, *rows, logit):
    logits = np.array([[logit if cell == "#" else -1 for cell in row] for row in rows], np.float32)
    return 0, BoxAnswer(index, WHOLE, logits)


def test_every_rule_paints_the_same_answers():
    # The cup (2) lies in the disc (1), which is surer and was listed last in the second call.
    cup_in_disc = np.array([[1, 2, 2, 1], [1, 2, 2, 1]], np.uint8)
    disc, cup = answer(0, "####", "####", logit=9), answer(1, ".##.", ".##.", logit=1)
    assert score_rules(cup_in_disc, [disc, cup]) == {"last": 1, "confident": pytest.approx(2 * 4 / 12 / 2), "auto": 1}
    disc_in_list_last = np.array([[2, 1, 1, 2], [2, 1, 1, 2]], np.uint8)
    disc, cup = answer(1, "####", "####", logit=9), answer(0, ".##.", ".##.", logit=1)
    scores = score_rules(disc_in_list_last, [cup, disc])
    assert scores["auto"] == 1
    assert scores["last"] == scores["confident"] == pytest.approx(2 * 4 / 12 / 2)


def test_the_table_has_means_of_data_sets_and_passes_over_cases_of_one_object():
    def row(dataset, name, *dsc):
        scores = {"dsc": dict(zip(("last", "confident", "auto"), dsc, strict=True))} if dsc else {}
        return {"name": name, "dataset": dataset, "split": "far", "objects": 2, **scores}

    rows = [row("CT/a", "1", 0.5, 0.6, 0.7), row("CT/a", "2", 0.7, 0.8, 0.9), row("MR/b", "3", 0.2, 0.2, 0.4)]
    assert overlap_table([*rows, row("US/c", "4")]).splitlines()[2:] == [
        "| far | CT/a | 2 | 60.0 | 70.0 | 80.0 |",
        "| far | MR/b | 1 | 20.0 | 20.0 | 40.0 |",
        "| far | mean of 2 data sets | 3 | 40.0 | 45.0 | 60.0 |",
    ]


def test_data_sets_without_overlaps_may_be_left_out_of_the_rows_and_stay_in_the_mean():
    def row(dataset, *dsc):
        scores = dict(zip(("last", "confident", "auto"), dsc, strict=True))
        return {"name": "1", "dataset": dataset, "split": "far", "objects": 2, "dsc": scores}

    rows = [row("CT/a", 0.5, 0.6, 0.7), row("MR/b", 0.9, 0.9, 0.9)]
    assert overlap_table(rows, differing=True).splitlines()[2:] == [
        "| far | CT/a | 1 | 50.0 | 60.0 | 70.0 |",
        "| far | mean of 2 data sets | 2 | 70.0 | 75.0 | 80.0 |",
    ]


@pytest.mark.weights
@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_and_another_engine_is_refused(tmp_path, capsys):
    write_sources(tmp_path / "data", [each for each in make_phantoms(seed=1, count=1) if each.spacing_mm is None][:3])
    sources = [each for folder in (tmp_path / "data").glob("*/*") for each in find_sources(folder).sources]
    assert 1 <= len(chosen(sources, most_images=1, most_volumes=0)) <= 3
    command = ["--data", str(tmp_path / "data"), "--splits", "train", "val", "--engine", "openvino", "--threads", "1"]
    out = tmp_path / "overlap.json"
    status = main([*command, "--out", str(out)])
    first = json.loads(out.read_text())
    assert status == (0 if any("dsc" in row for row in first["rows"]) else 2)
    names = [row["name"] for row in first["rows"]]
    assert len(names) == len(set(names)) == 3
    main([*command, "--out", str(out)])
    assert json.loads(out.read_text()) == first
    out.write_text(json.dumps({**first, "precision": "int8"}))
    assert main([*command, "--out", str(out)]) == 2
    assert "figures of another model or engine" in capsys.readouterr().err
