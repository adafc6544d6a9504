"""docs/peers.md shows the figures of the recorded files, and no others."""

import pytest

from benchmarks.peers import PAGE, RESULTS, figures_section, race_part, with_section
from benchmarks.recorded import BenchmarkError


def test_the_page_shows_the_figures_of_the_recorded_files_and_no_others():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_section(page, figures_section(RESULTS)), "run: python -m benchmarks.peers --write"


def test_only_the_section_is_replaced():
    assert with_section("# A\n\n## Figures\n\nold\n\n## B\n", "new") == "# A\n\n## Figures\n\nnew\n\n## B\n"
    with pytest.raises(BenchmarkError, match="nothing was written"):
        with_section("# A\n", "new")


def test_the_race_says_on_how_many_boxes_and_on_which_machine_it_was_judged():
    row = {"name": "ellipse", "weights": "no model", "scores": {"val": {"tight": [0.5, 0.25], "outwards": [0.5, 0.25]}}}
    figures = {
        "prompts": {"val": 7},
        "threads": 2,
        "date": "2026-01-02T00:00:00",
        "load_average_before": 0.5,
        "machine": {"cpu": "A", "cores": 2},
        "rows": [row],
    }
    text = race_part(figures)
    assert "7 boxes of val" in text
    assert "A, 2 cores, 2026-01-02, load average before 0.5" in text
    assert text.splitlines()[-1].startswith("| ellipse | no model | | | 50.0/25.0 | 50.0/25.0 |")
