from pathlib import Path

import pytest

from benchmarks.pages import page_with
from benchmarks.recorded import BenchmarkError

PAGE = """# A

## Results

old

### Of something

old, too

## Train

How.
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text)
    return path


def test_all_below_the_heading_is_replaced_up_to_the_next_one(tmp_path: Path):
    made = page_with(write(tmp_path, PAGE), "## Results", "new\n")
    assert made == "# A\n\n## Results\n\nnew\n\n## Train\n\nHow.\n"


def test_the_last_section_is_replaced_to_the_end(tmp_path: Path):
    assert page_with(write(tmp_path, PAGE), "## Train", "new").endswith("old, too\n\n## Train\n\nnew\n")


def test_writing_twice_changes_nothing(tmp_path: Path):
    once = page_with(write(tmp_path, PAGE), "## Results", "new")
    assert page_with(write(tmp_path, once), "## Results", "new") == once


def test_a_page_without_the_heading_is_refused_and_stays(tmp_path: Path):
    path = write(tmp_path, "# A\n\n## Results of others\n")
    with pytest.raises(BenchmarkError, match="wanted a line '## Results', found none"):
        page_with(path, "## Results", "new")
    assert path.read_text() == "# A\n\n## Results of others\n"
