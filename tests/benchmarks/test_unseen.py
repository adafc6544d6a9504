"""Models compared on whole cases: rows that are added to, means of groups, and models that are not measured whole."""

import json
import shutil

import numpy as np
import pytest

from benchmarks.readme import results_section, summary_section
from benchmarks.smoke import write_sources
from benchmarks.unseen import group_means, main, scored, unseen_table
from data_prep.sources import find_sources
from examples.phantoms import make_phantoms


def row(group, name, **dsc):
    return {"name": name, "dataset": group, "group": group, "objects": 1, **({"dsc": dsc} if dsc else {})}


def test_groups_count_alike_and_cases_without_an_object_do_not_count():
    rows = [
        row("CT", "1", graysam=0.9),
        row("CT", "2", graysam=0.7),
        row("MR volumes", "3", graysam=0.4),
        row("US", "4"),
    ]
    assert group_means(rows) == {
        "CT": {"graysam": pytest.approx(0.8)},
        "MR volumes": {"graysam": 0.4},
        "mean": {"graysam": pytest.approx(0.6)},
    }


def test_a_model_that_lacks_a_case_has_no_means():
    rows = [row("CT", "1", graysam=0.9, litemedsam=0.5), row("CT", "2", graysam=0.7)]
    table = unseen_table({"rows": rows}, {"graysam": "GraySAM", "litemedsam": "LiteMedSAM"})
    assert table.splitlines()[2:] == ["| CT | 2 | 80.0 | not measured |", "| mean | 2 | 80.0 | not measured |"]


def test_only_what_is_missing_is_answered(tmp_path):
    write_sources(tmp_path, [each for each in make_phantoms(seed=1, count=1) if each.spacing_mm is None][:1])
    (source,) = [each for folder in tmp_path.glob("*/*") for each in find_sources(folder).sources]
    asked = []

    def nothing(loaded, boxes):
        asked.append(len(boxes))
        return np.zeros(loaded.labels.shape, np.uint8)

    first = scored(source, {}, {"nothing": nothing})
    assert first["dsc"] == {"nothing": 0}
    both = scored(source, first, {"nothing": nothing, "again": nothing})
    assert both["dsc"] == {"nothing": 0, "again": 0}
    assert scored(source, both, {"nothing": nothing, "again": nothing}) == both
    assert asked == [first["objects"]] * 2


def test_the_readme_shows_the_means_and_where_the_other_model_is_ahead(tmp_path):
    rows = [
        row("CT", "1", graysam=0.9, litemedsam=0.5, ellipse=0.4),
        row("US", "2", graysam=0.7, litemedsam=0.8, ellipse=0.6),
    ]
    models = {"graysam": {"model": "graysam", "engine": "openvino", "precision": "fp32"}}
    (tmp_path / "unseen.json").write_text(json.dumps({"split": "far", "models": models, "rows": rows}))
    short = summary_section(tmp_path)
    assert "| unseen data sets, loose boxes | 2 cases | 80.0 | 65.0 | 50.0 |" in short
    assert "OpenVINO fp32, LiteMedSAM with its released weights; LiteMedSAM leads in US (80.00 to 70.00)." in short
    assert "| US | 1 | 70.0 | 80.0 | 60.0 |" in results_section(tmp_path)


@pytest.mark.weights
@pytest.mark.slow
def test_a_run_goes_on_where_it_was_and_takes_no_other_engine(tmp_path, capsys):
    write_sources(tmp_path / "data", [each for each in make_phantoms(seed=1, count=1) if each.spacing_mm is None][:2])
    splits = {source.split for folder in (tmp_path / "data").glob("*/*") for source in find_sources(folder).sources}
    out = tmp_path / "unseen.json"
    command = ["--data", str(tmp_path / "data"), "--split", splits.pop(), "--engine", "openvino", "--threads", "1"]
    assert main([*command, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "| mean |" in told
    first = json.loads(out.read_text())
    assert all(set(each["dsc"]) == {"graysam", "ellipse"} for each in first["rows"])
    first["rows"].pop()
    shutil.copy(out, tmp_path / "whole.json")
    out.write_text(json.dumps(first))
    assert main([*command, "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == json.loads((tmp_path / "whole.json").read_text())
    assert main([*command, "--precision", "int8", "--out", str(out)]) == 2
    assert "of other weights or another engine of graysam" in capsys.readouterr().err
