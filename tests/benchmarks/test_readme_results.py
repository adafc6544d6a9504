import json

import pytest

from benchmarks import ROOT
from benchmarks.pages import page_with
from benchmarks.readme import (
    HEADING,
    main,
    results_section,
    summary_section,
    validation_part,
)
from benchmarks.recorded import RESULTS, BenchmarkError, read_figures


def test_the_readme_shows_the_figures_of_the_recorded_files_and_no_others() -> None:
    for name, section in (("README.md", summary_section), ("docs/results.md", results_section)):
        made = page_with(ROOT / name, HEADING, section(RESULTS))
        assert (ROOT / name).read_text(encoding="utf-8") == made, "run: python -m benchmarks.readme --write"


def test_the_short_table_has_three_to_five_rows_and_a_peer() -> None:
    first = next(part for part in summary_section(RESULTS).split("\n\n") if part.startswith("|"))
    rows = first.splitlines()
    assert 3 <= len(rows) - 2 <= 5
    assert "LiteMedSAM" in rows[0]


def test_the_table_of_slices_puts_the_model_first_and_gives_percent() -> None:
    score = {"tight": {"CT": [0.5, 0.25], "mean": [0.5, 0.25]}, "both_ways": {"CT": [0.4, 0.2], "mean": [0.4, 0.2]}}
    slices = {"graysam (openvino int8)": score, "ellipse": score}
    figures = {"engine": "openvino", "precision": "int8", "prompts": 7, "slices": slices}
    lines = validation_part(figures).splitlines()
    assert "7 boxes" in lines[0]
    assert lines[2] == (
        "| | GraySAM, tight box | GraySAM, off by up to 5 px | ellipse, tight box | ellipse, off by up to 5 px |"
    )
    assert lines[4] == "| CT | 50.0 / 25.0 | 40.0 / 20.0 | 50.0 / 25.0 | 40.0 / 20.0 |"


def test_boxes_off_outwards_and_another_split_get_their_columns_rows_and_tables(tmp_path) -> None:
    score = {kind: {"mean": [value, value]} for kind, value in (("tight", 0.9), ("both_ways", 0.8), ("outwards", 0.7))}
    volumes = {"all volumes": {"volumes": 3, "dsc": 0.6, "ellipsoid_dsc": 0.5}}
    figures = {"engine": "openvino", "precision": "int8", "prompts": 7, "slices": {"graysam": score, "ellipse": score}}
    figures |= {"volumes": volumes, "volumes_outwards": {"all volumes": {**volumes["all volumes"], "dsc": 0.55}}}
    (tmp_path / "validation.json").write_text(json.dumps(figures))
    (tmp_path / "validation-far.json").write_text(json.dumps({**figures, "split": "far"}))
    short = summary_section(tmp_path)
    assert "| validation slices, each side off by 0 to 5 px outwards | 7 boxes | 70.0 |" in short
    assert "far" not in short  # which is in the page alone
    page = results_section(tmp_path)
    assert "GraySAM, off outwards by up to 5 px" in page
    assert "| all volumes | 3 | 60.0 | 50.0 | 55.0 | 50.0 |" in page
    assert "far split, one box for each object, openvino int8 (`validation-far.json`)" in page


def test_files_with_earlier_names_of_the_kinds_of_boxes_are_read_as_todays(tmp_path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({"rows": [{"jit5": {"dsc": 1}, "against": {"out5": 2}}]}))
    assert read_figures(tmp_path / "old.json") == {"rows": [{"both_ways": {"dsc": 1}, "against": {"outwards": 2}}]}


def test_a_file_of_figures_that_is_missing_or_broken_is_named(tmp_path) -> None:
    with pytest.raises(BenchmarkError, match=r"none\.json: cannot be read"):
        read_figures(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BenchmarkError, match=r"broken\.json: is no JSON"):
        read_figures(tmp_path / "broken.json")


def test_the_races_short_form_is_in_the_order_of_quality_and_leaves_out_what_has_no_scores(tmp_path) -> None:
    def scored(name: str, dsc: float, **took: float) -> dict[str, object]:
        scores = {"val": {"outwards": [0.1, 0.1]}, "far": {"outwards": [dsc, 0.1]}}
        return {"name": name, "scores": scores, "milliseconds": {"fp32": took} if took else {}}

    rows = [scored("a", 0.5, encode_ms_median=10.2, decode_ms_median=5), scored("ellipse", 0.6), scored("b", 0.7)]
    rows.append({"name": "random", "scores": {}, "milliseconds": {}})
    (tmp_path / "peers.json").write_text(json.dumps({"prompts": {"val": 1, "far": 1}, "rows": rows}))
    table = [line for line in summary_section(tmp_path).splitlines() if line.startswith("|")]
    assert table[0] == "| system | far, loose boxes | ms, slice + box |"
    assert table[2:] == ["| b | 70.0 | |", "| ellipse | 60.0 | |", "| a | 50.0 | 15 |"]


def test_both_documents_are_left_alone_when_one_has_no_such_section(tmp_path) -> None:
    readme, page = tmp_path / "README.md", tmp_path / "results.md"
    readme.write_text("# A\n\n## Results\n\nold\n")
    page.write_text("# A\n")
    assert HEADING not in page.read_text()
    assert main(["--write", "--readme", str(readme), "--page", str(page), "--results", str(tmp_path)]) == 2
    assert readme.read_text() == "# A\n\n## Results\n\nold\n"
    assert page.read_text() == "# A\n"


def test_a_missing_file_leaves_its_part_out(tmp_path) -> None:
    assert "Scoring" not in results_section(tmp_path)
    (tmp_path / "score_speed.json").write_text(
        json.dumps(
            {
                "volume": [2, 3, 4],
                "labels": 1,
                "median_seconds": {"official": 1.0, "honest": 2.0},
                "machine": {"processor": "a CPU", "cores": 2, "date": "2026-11-20T17:05:18"},
            }
        )
    )
    assert results_section(tmp_path).endswith(
        "a volume of 2 x 3 x 4 with 1 labels takes 1.0 s in official mode and 2.0 s in honest mode "
        "(`score_speed.json`; a CPU, 2 cores, 2026-11-20)."
    )
