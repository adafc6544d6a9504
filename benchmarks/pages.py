"""Puts sections into pages of Markdown: owns how the text below a heading of the second level is replaced."""

from __future__ import annotations

from pathlib import Path

from benchmarks.recorded import BenchmarkError


def page_with(path: Path, heading: str, section: str) -> str:
    """Give a page's text with what stands below a heading replaced, up to the next heading of the second level.

    Nothing is written, so that several pages can be made before any is changed.

    Args:
        path: of the page.
        heading: its line, "## Results" say.
        section: the new text below it, without the heading.

    Raises:
        BenchmarkError: the page has no such line.
    """
    head, found, rest = path.read_text(encoding="utf-8").partition(f"{heading}\n")
    if not found:
        raise BenchmarkError(f"{path}: wanted a line {heading!r}, found none; nothing was written.")
    _, following, tail = rest.partition("\n## ")
    return f"{head}{found}\n{section.strip()}\n{following}{tail}"
