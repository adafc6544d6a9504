"""Reads tables of boxes: CSV, as any spreadsheet writes it, or the rows of a JSON list.

The first line of a CSV names the columns; in JSON, each row has these names as keys: x_min, y_min, x_max, y_max; for a
volume z_min and z_max, too; optional: case (file name or name of the image), name (of the object) and frame (voxel, LPS
or RAS; voxel if missing). A CSV without that line holds 4 or 6 numbers a line, in voxels, all of one image. A file
without lines is a case without boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from graysam.cases import MAX_BOXES
from graysam.errors import CaseError
from graysam.formats.drawn_boxes import FRAMES, DrawnBox, Frame, box_between

COLUMNS: Final = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")
_FLAT: Final = ("x_min", "y_min", "x_max", "y_max")
_FURTHER: Final = ("case", "name", "frame")
# What the table of a run's objects holds besides; it may be given as boxes again.
_ANSWERS: Final = ("label", "voxels", "confidence", "flagged", "lowest_confidence", "lowest_slice")
# Of one image: a line takes 60 characters at most with numbers of ten digits. A table with names serves many.
_MOST_BARE_BYTES: Final = 64 * MAX_BOXES
_MOST_BYTES: Final = 1000 * _MOST_BARE_BYTES


def read_csv(path: Path, size: int, columns: Literal[4, 6]) -> list[DrawnBox]:
    """Read a CSV file.

    Args:
        path: the file.
        size: its bytes.
        columns: how many numbers a line has where the first one names no columns.

    Raises:
        CaseError: unreadable, too large, a column that is not known, or a line that is no box.
    """
    import csv  # only here: most runs read no table

    if size > _MOST_BYTES:
        raise CaseError(f"{path.name}: {size:,} bytes are more than a table of boxes can have.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            first = [word.strip() for word in next(reader, [])]
            is_named = not {*first}.isdisjoint(COLUMNS)
            if not is_named and size > _MOST_BARE_BYTES:
                raise CaseError(
                    f"{path.name}: larger than {_MOST_BARE_BYTES:,} bytes; wanted at most {MAX_BOXES:,} boxes."
                )
            lines = [line for line in reader if any(word.strip() for word in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(f"{path.name}: cannot be read as a table of boxes: {error}.") from error
    if not is_named:
        return _boxes_of_numbers(path, [first, *lines] if any(first) else lines, columns)
    strange = [word for word in first if word not in (*COLUMNS, *_FURTHER, *_ANSWERS)]
    if strange:
        raise CaseError(f"{path.name}: column {strange[0]!r}; known are {', '.join((*_FURTHER, *COLUMNS))}.")
    return boxes_of_rows(path, [dict(zip(first, line, strict=False)) for line in lines])


def _boxes_of_numbers(path: Path, lines: Sequence[Sequence[str]], columns: Literal[4, 6]) -> list[DrawnBox]:
    """Make boxes of lines without names of columns."""
    if len(lines) > MAX_BOXES:
        raise CaseError(f"{path.name}: {len(lines):,} boxes, but a 16-bit label map holds at most {MAX_BOXES:,}.")
    boxes, half = [], columns // 2
    for number, line in enumerate(lines):
        try:
            numbers = [float(text) for text in line]
        except ValueError:
            numbers = []
        if len(numbers) != columns:
            raise CaseError(f"{path.name}: box {number} is {','.join(line)[:80]!r}, wanted {columns} numbers.")
        boxes.append(box_between(numbers[:half], numbers[half:], "voxel"))
    return boxes


def boxes_of_rows(path: Path, rows: Sequence[dict[str, Any]]) -> list[DrawnBox]:
    """Make boxes of rows whose numbers have names.

    Raises:
        CaseError: a row that is no box; `path` is where it came from.
    """
    return [_row(path, number, row) for number, row in enumerate(rows)]


def _row(path: Path, number: int, row: dict[str, Any]) -> DrawnBox:
    """Make a box of one line of a table."""
    columns = COLUMNS if str(row.get("z_min", "") or "").strip() or row.get("z_min") == 0 else _FLAT
    try:
        numbers = [float(row[column]) for column in columns]
    except (KeyError, TypeError, ValueError):
        raise CaseError(
            f"{path.name}: box {number} is {str(row)[:120]}, wanted numbers under {', '.join(columns)}."
        ) from None
    frame = _frame_named(path, number, str(row.get("frame") or "voxel").strip())
    half = len(numbers) // 2
    name, case = (str(row.get(key) or "").strip() for key in ("name", "case"))
    return box_between(numbers[:half], numbers[half:], frame, name, case)


def _frame_named(path: Path, number: int, text: str) -> Frame:
    for frame in FRAMES:
        if frame.lower() == text.lower():
            return frame
    raise CaseError(f"{path.name}: box {number} has the frame {text!r}, wanted voxel, LPS or RAS.")
