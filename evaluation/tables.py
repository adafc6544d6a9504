"""Owns how rows become a table: Markdown in a document, CSV in a file; scoring and benchmarks write theirs with it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graysam.errors import ScoreError
from graysam.files import written_whole


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay rows out as a Markdown table; lines are joined by line ends, none after the last.

    Args:
        header: the columns' titles; an empty title is allowed.
        rows: cells, shown by `str`. A bar or a line end in a cell would end it, and is escaped; a bar that is
            escaped already stays as it is.

    Raises:
        ValueError: a row with more or fewer cells than the header.
    """
    lines = [_markdown_line(header), "|" + "---|" * len(header)]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"wanted {len(header)} cells a row, as in the header; got {list(row)}")
        lines.append(_markdown_line(row))
    return "\n".join(lines)


def _markdown_line(cells: Sequence[object]) -> str:
    texts = (_markdown_cell(str(cell)) for cell in cells)
    return "|" + "".join(f" {text} |" if text else " |" for text in texts)


def _markdown_cell(text: str) -> str:
    return " ".join(text.replace("\\|", "|").replace("|", "\\|").split("\n"))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of the same keys as CSV, whole or not at all, making the folder where it is missing.

    Without any row, the header is the one column ``case``.

    Raises:
        ScoreError: it cannot be written.
    """
    rows = list(rows)
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["case"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with written_whole(path, ScoreError) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text.getvalue(), encoding="utf-8")
