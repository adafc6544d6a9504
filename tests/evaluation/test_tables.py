"""Tables in Markdown and CSV."""

from __future__ import annotations

import pytest

from evaluation.tables import markdown_table, write_csv
from graysam.errors import ScoreError


def test_a_markdown_table_has_a_header_a_rule_and_a_line_a_row():
    assert markdown_table(["", "DSC"], [["CT", 0.5], ["MR", "86.1 <"]]) == (
        "| | DSC |\n|---|---|\n| CT | 0.5 |\n| MR | 86.1 < |"
    )  # fmt: skip


def test_what_would_end_a_markdown_cell_is_escaped_once():
    assert markdown_table(["a"], [["x|y"], ["x\\|y"], ["two\nlines"]]).splitlines()[2:] == [
        "| x\\|y |",
        "| x\\|y |",
        "| two lines |",
    ]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="wanted 2 cells a row"):
        markdown_table(["a", "b"], [["only one"]])


def test_a_csv_is_written_with_its_header_and_its_folder(tmp_path):
    write_csv(tmp_path / "new" / "t.csv", [{"case": "a", "dsc": 0.5}, {"case": "b, c", "dsc": ""}])
    assert (tmp_path / "new/t.csv").read_text() == 'case,dsc\na,0.5\n"b, c",\n'
    write_csv(tmp_path / "none.csv", [])
    assert (tmp_path / "none.csv").read_text() == "case\n"


def test_a_csv_that_cannot_be_written_is_an_error_with_its_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoreError, match=r"t\.csv: cannot be written"):
        write_csv(tmp_path / "file" / "t.csv", [])
