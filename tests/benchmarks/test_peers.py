"""docs/peers.md shows the figures of the recorded files, and no others."""

from pathlib import Path

from benchmarks.pages import page_with
from benchmarks.peers import HEADING, PAGE, figures_section, race_part
from benchmarks.recorded import RESULTS


def test_the_page_shows_the_figures_of_the_recorded_files_and_no_others():
    made = page_with(PAGE, HEADING, figures_section(RESULTS))
    assert PAGE.read_text(encoding="utf-8") == made, "run: python -m benchmarks.peers --write"


def test_the_race_says_on_how_many_boxes_and_on_which_machine_it_was_judged():
    text = race_part(figures_of(missing={}))
    assert "on 7 objects of val: 12 of each modality" in text
    assert "A, 2 cores, 2026-01-02, load average before the rows 0.5 (up to 0.5)" in text
    assert text.splitlines()[-1].startswith("| ellipse | no model | | | 50.0/25.0 | 50.0/25.0 |")


def test_rows_that_the_race_has_not_are_named_with_the_reason():
    text = race_part(figures_of(missing={"l0": "not yet run", "vit-b": "failed: no memory", "vit-tiny": "not yet run"}))
    assert text.splitlines()[-3:] == [
        "Not in the table, as not yet run: `l0`, `vit-tiny`.",
        "",
        "Not in the table, as failed: no memory: `vit-b`.",
    ]


def test_a_part_without_figures_says_that_there_are_none(tmp_path: Path):
    assert figures_section(tmp_path).count("not measured yet") == 2


def figures_of(*, missing: dict[str, str]) -> dict[str, object]:
    scores = {"val": {"tight": [0.5, 0.25], "outwards": [0.5, 0.25]}}
    return {
        "prompts": {"val": 7},
        "per_modality": 12,
        "training_precision": "fp32",
        "threads": 2,
        "date": "2026-01-02T00:00:00",
        "machine": {"cpu": "A", "cores": 2},
        "rows": [{"name": "ellipse", "weights": "no model", "scores": scores, "load_average": 0.5}],
        "missing": missing,
    }
