"""Boxes as a text file beside an image: a CSV that any spreadsheet writes.

One box a line, x_min, y_min, x_max, y_max, with z_min and z_max in their places for a volume; pixels counted from 0,
maxima inclusive, as in the challenge's files. A first line of column names may be there. A file without lines is a
case without boxes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graysam.cases import MAX_BOXES
from graysam.errors import CaseError

# A line takes 60 characters at most with numbers of ten digits.
MAX_TABLE_BYTES = 64 * MAX_BOXES


def read_box_table(path: Path, *, columns: int) -> NDArray[np.float64]:
    """Read (N, columns) numbers.

    columns: 4 for an image, 6 for a volume.

    Raises:
        CaseError: unreadable, too large, or a line of other than `columns` numbers.
    """
    import csv  # only here: most runs read no table

    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise CaseError(f"{path.name}: larger than {MAX_TABLE_BYTES:,} bytes; wanted at most {MAX_BOXES:,} boxes.")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(f"{path.name}: cannot be read as a table of boxes: {error}.") from error
    if lines and lines[0][0].strip() == "x_min":
        del lines[0]
    rows = [_numbers(path, number, line, columns) for number, line in enumerate(lines)]
    if len(rows) > MAX_BOXES:
        raise CaseError(f"{path.name}: {len(rows):,} boxes, but a 16-bit label map holds at most {MAX_BOXES:,}.")
    return np.array(rows, np.float64).reshape(-1, columns)


def _numbers(path: Path, number: int, line: list[str], columns: int) -> list[float]:
    try:
        numbers = [float(text) for text in line]
    except ValueError:
        numbers = []
    if len(numbers) != columns:
        raise CaseError(f"{path.name}: box {number} is {','.join(line)[:80]!r}, wanted {columns} numbers.")
    return numbers
