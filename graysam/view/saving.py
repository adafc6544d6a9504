"""The answer as files: a label map in the case's own format and geometry, and the boxes as a table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from graysam.boxes import VolumeBox, box_around
from graysam.cases import VolumeCase
from graysam.corrections import VolumeClick
from graysam.errors import CaseError
from graysam.formats.base import Answer
from graysam.prompts import Click
from graysam.runner.objects import TABLE, FoundObject, write_table
from graysam.view.catalogue import Entry
from graysam.view.document import ClickNumbers, Document, box_of_masks, volume_box
from graysam.view.editor import Editor
from graysam.view.masks import SliceMask


def save(entry: Entry, editor: Editor, out: Path, *, other_cases: Iterable[str]) -> list[str]:
    """Write the label map as `graysam predict` would, and the case's lines of boxes.csv; give the files' names.

    Args:
        entry: the case.
        editor: what was made of it.
        out: the folder; nothing is written elsewhere.
        other_cases: whose lines of an older table stay.

    Raises:
        CaseError: nothing to save, or a file cannot be written.
    """
    found = entry.found
    assert found is not None
    objects = editor.document.objects
    if not objects:
        raise CaseError("there is no object to save yet.")
    labels = editor.labels.whole()
    if not isinstance(editor.case, VolumeCase):
        labels = labels[0]
    result = out / Path(found.result_name).name
    names = tuple(editor.document.get(number, "name") for number in objects)
    clicks = [_clicks(editor.document, number) for number in objects]
    found.format.write(result, Answer(labels, names, clicks), source=found.path)
    sizes = np.bincount(labels.ravel(), minlength=len(objects) + 1)
    rows = [
        row
        for place, number in enumerate(objects)
        if (row := _found_object(editor, number, place + 1, int(sizes[place + 1]))) is not None
    ]
    write_table(out / TABLE, {editor.case.name: rows}, kept=[*other_cases])
    return [result.name, TABLE]


def _clicks(document: Document, number: int) -> list[VolumeClick]:
    """Give an object's clicks on all slices."""
    on_slices: dict[int, tuple[ClickNumbers, ...]] = document.on_slices(number, "clicks")
    return [VolumeClick(Click(*numbers), z) for z, listed in on_slices.items() for numbers in listed]


def _found_object(editor: Editor, number: int, label: int, voxels: int) -> FoundObject | None:
    """Give an object's line of the table; None for one without box or mask."""
    masks: dict[int, SliceMask] = {
        z: mask for z, mask in editor.document.on_slices(number, "mask").items() if not mask.is_empty
    }
    box = volume_box(editor.document, number) or box_of_masks(editor.document, number)
    if box is None:
        return None
    middle = masks.get((box.z_min + box.z_max) // 2)
    if box.z_box is not None and middle is not None:  # the table knows boxes of the middle slice alone
        around = box_around(middle.to_mask())
        box = box if around is None else VolumeBox(around, box.z_min, box.z_max)
    numbers = box.numbers if isinstance(editor.case, VolumeCase) else box.box.numbers
    confidences = {z: mask.confidence for z, mask in masks.items() if mask.confidence is not None}
    return FoundObject(label, editor.document.get(number, "name"), numbers, voxels, confidences)
