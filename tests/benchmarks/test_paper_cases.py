"""Cases of published shapes are drawn with their objects, and timed as whole processes that may be interrupted."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import paper_cases
from benchmarks.paper_cases import PAPER_CASES, PaperCase, conditions, draw_case, main, table
from graysam.formats.npz import read_case

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "graysam"


def test_the_cases_are_the_papers_fourteen():
    assert len(PAPER_CASES) == len({case.name for case in PAPER_CASES}) == 14
    shapes = {case.name: (case.shape, case.objects) for case in PAPER_CASES}
    assert shapes["US_0525"] == ((256, 256, 3), 1)
    assert shapes["CT_0566"] == ((287, 512, 512), 6)
    assert shapes["Microscope_0016"] == ((1920, 2560, 3), 241)


def test_an_image_has_as_many_bright_objects_as_boxes_and_each_fills_the_ellipse_in_its_box(tmp_path: Path):
    case = read_case(draw_case(PaperCase("US_1", (64, 96, 3), 5), tmp_path))
    assert case.image.shape == (64, 96, 3)
    assert len(case.boxes) == 5
    for box in case.boxes:
        inside = case.image[int(box.y_min) : int(box.y_max) + 1, int(box.x_min) : int(box.x_max) + 1, 0] >= 120
        assert 0.6 < inside.mean() < 0.85  # pi / 4, drawn in whole pixels


def test_an_object_of_a_volume_spans_a_third_of_its_slices(tmp_path: Path):
    case = read_case(draw_case(PaperCase("CT_1", (30, 40, 40), 2), tmp_path))
    # 10 of 30 slices; the 20 that are left before the first one are shared out as 1/3 and 2/3.
    assert [(box.z_min, box.z_max) for box in case.boxes] == [(7, 16), (13, 22)]
    assert sorted(np.flatnonzero((case.image > 119).any(axis=(1, 2)))) == list(range(7, 23))


@pytest.mark.slow
@pytest.mark.weights
def test_a_stopped_measurement_goes_on_and_nothing_is_timed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "paper_cases.json"
    options = ["--out", str(out), "--cases", "US_0525", "--runs", "1", "--weights", f"graysam={WEIGHTS}"]
    assert main(options) == 0
    first = out.read_text()
    row = json.loads(first)["cases"]["US_0525"]["rows"]["graysam"]
    assert row["n"] == 1
    assert row["seconds_median"] > 0
    assert row["peak_mebibytes"] > 20
    monkeypatch.setattr(paper_cases, "timed", lambda *_: pytest.fail("was timed already"))
    assert main(options) == 0
    assert out.read_text() == first


def test_the_table_gives_the_ratio_where_both_were_timed():
    row = {"date": "2026-01-02T00:00:00", "machine": {"cpu": "A", "cores": 2}, "load_average_before": 1.0, "n": 3}
    figures = {
        "cases": {
            "US_0525": {
                "rows": {"graysam": {**row, "seconds_median": 0.5}, "litemedsam": {**row, "seconds_median": 2.0}}
            },
            "CT_0566": {"rows": {"graysam": {**row, "seconds_median": 9.0}}},
        }
    }
    assert table(figures).splitlines()[2:] == [
        "| US_0525 | 256 x 256 x 3 | 1 | 0.50 | 2.00 | 4.0 |",
        "| CT_0566 | 287 x 512 x 512 | 6 | 9.00 | - | - |",
    ]
    assert conditions(figures) == (
        "A, 2 cores; 2026-01-02; medians of 3 runs; load average before them 1.0 (up to 1.0)"
    )


def test_other_rows_stand_behind_the_two_that_are_compared():
    seconds = {"graysam": 1.0, "efficient": 5.0, "litemedsam": 3.0}
    rows = {name: {"seconds_median": took} for name, took in seconds.items()}
    header, _, line, *more = table({"cases": {"US_0525": {"rows": rows}}}).splitlines()
    assert header.endswith("| graysam, s | litemedsam, s | litemedsam / graysam | efficient, s |")
    assert line == "| US_0525 | 256 x 256 x 3 | 1 | 1.00 | 3.00 | 3.0 | 5.00 |"
    assert not more


def test_weights_that_are_not_there_are_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--out", str(tmp_path / "f.json"), "--weights", "other=nowhere"]) == 2
    assert "row other: wanted NAME=DIR" in capsys.readouterr().err
