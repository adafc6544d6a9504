"""Finds the file of boxes that belongs to an image; `graysam.formats.box_kinds` reads it.

Which file counts: the one that the user names (--boxes FILE), the one of the image's name in the folder that the user
names (--boxes FOLDER), or else the one that lies next to the image. Names are NAME.boxes.csv, NAME.boxes.json,
NAME.mrk.json, and NAME.csv or NAME.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from graysam.boxes import Notes
from graysam.errors import CaseError
from graysam.formats.base import refusal
from graysam.formats.box_kinds import read_boxes
from graysam.formats.drawn_boxes import DrawnBox
from graysam.formats.reading_options import BoxSource

BESIDE = (".boxes.csv", ".boxes.json", ".mrk.json")
IN_A_FOLDER = (*BESIDE, ".csv", ".json")


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """The boxes of one image, as drawn.

    Attributes:
        boxes: in the file's order.
        origin: the file that they came from.
    """

    boxes: tuple[DrawnBox, ...]
    origin: Path

    @property
    def names(self) -> Notes:
        """Give a name for each box, () where none has one."""
        named = [box.name for box in self.boxes]
        return tuple(name or f"object {number}" for number, name in enumerate(named, 1)) if any(named) else ()


def file_beside(folder: Path, name: str, suffixes: Sequence[str] = BESIDE) -> Path | None:
    """Give the file of a folder that has an image's name and one of the suffixes, None when there is none."""
    return next((each for suffix in suffixes if (each := folder / (name + suffix)).is_file()), None)


def boxes_for(
    path: Path,
    name: str,
    source: BoxSource,
    *,
    columns: Literal[4, 6],
    beside: Sequence[str] = BESIDE,
    folder: Path | None = None,
) -> FoundBoxes:
    """Read the boxes of an image from where they stand.

    Args:
        path: of the image, or of the folder of a series.
        name: of the case.
        source: where the user says that boxes stand.
        columns: how many numbers a line of a table without column names has.
        beside: what a file of boxes next to the image may be called, after its name.
        folder: where to look for such a file, the image's own by default.

    Returns:
        The boxes; where they are optional and there are none, nothing that came from the image itself.

    Raises:
        CaseError: no boxes for this image, or a file that cannot be read.
    """
    given = source.given
    if given is None:
        own = file_beside(folder or path.parent, name, beside)
        remedy = f"give --boxes or --boxes-from, or put {name}{BESIDE[0]} next to the image"
    elif given.is_dir():
        own = file_beside(given, name, IN_A_FOLDER)
        remedy = f"wanted {name}{BESIDE[0]} or {name}.mrk.json in {given}"
    else:
        own, remedy = given, ""
    if own is None:
        if source.optional:
            return FoundBoxes((), path)
        raise CaseError(f"{path.name}: no boxes; {remedy}.")
    if given is None and (reason := refusal(own, own.parent.resolve())) is not None:
        raise CaseError(f"{own.name}: {reason}")
    boxes = read_boxes(own, columns=columns)
    found = _of_case(boxes, path, name)
    if not found and (boxes or own == given) and not source.optional:
        named = sorted({box.case for box in boxes})
        told = ", ".join(named[:5]) + (", ..." if len(named) > 5 else "") or "nothing"
        raise CaseError(f"{path.name}: {own.name} has no box for it; the images that it names: {told}.")
    return FoundBoxes(found, own)


def needs_one_image(source: BoxSource) -> bool:
    """Tell whether the user's file of boxes names no image, so that it can serve one only."""
    if source.given is None or source.given.is_dir():
        return False
    return any(not box.case for box in read_boxes(source.given))


def _of_case(boxes: Iterable[DrawnBox], path: Path, name: str) -> tuple[DrawnBox, ...]:
    wanted = {path.name, name}
    return tuple(box for box in boxes if not box.case or box.case in wanted or Path(box.case).name in wanted)
