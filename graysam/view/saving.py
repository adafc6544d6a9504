"""The answer as files: a label map in the case's own format and geometry, and the boxes as a table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from graysam.boxes import VolumeBox, box_around
from graysam.cases import VolumeCase
from graysam.errors import CaseError
from graysam.runner.objects import TABLE, FoundObject, write_table
from graysam.view.bench import Bench
from graysam.view.catalogue import Entry
from graysam.view.masks import SliceMask


def save(entry: Entry, bench: Bench, out: Path, *, other_cases: Iterable[str]) -> list[str]:
    """Write the label map as `graysam predict` would, and the case's lines of boxes.csv; give the files' names.

    Args:
        entry: the case.
        bench: what was made of it.
        out: the folder; nothing is written elsewhere.
        other_cases: whose lines of an older table stay.

    Raises:
        CaseError: nothing to save, or a file cannot be written.
    """
    found = entry.found
    assert found is not None
    objects = bench.document.objects
    if not objects:
        raise CaseError("there is no object to save yet.")
    labels = bench.labels.whole()
    if not isinstance(bench.case, VolumeCase):
        labels = labels[0]
    result = out / Path(found.result_name).name
    names = tuple(bench.document.get(number, "name") for number in objects)
    found.format.write(result, labels, source=found.path, names=names)
    sizes = np.bincount(labels.ravel(), minlength=len(objects) + 1)
    rows = [
        row
        for place, number in enumerate(objects)
        if (row := _found_object(bench, number, place + 1, int(sizes[place + 1]))) is not None
    ]
    write_table(out / TABLE, {bench.case.name: rows}, kept=[*other_cases])
    return [result.name, TABLE]


def _found_object(bench: Bench, number: int, label: int, voxels: int) -> FoundObject | None:
    """Give an object's line of the table; None for one without box or mask."""
    masks: dict[int, SliceMask] = {
        z: mask for z, mask in bench.document.on_slices(number, "mask").items() if not mask.is_empty
    }
    box = bench.volume_box(number)
    if box is None:
        if not masks:
            return None
        z = max(masks, key=lambda each: int(masks[each].runs[1::2].sum()))
        around = box_around(masks[z].to_mask())
        assert around is not None
        box = VolumeBox(around, min(masks), max(masks))
    middle = masks.get((box.z_min + box.z_max) // 2)
    if box.z_box is not None and middle is not None:  # the table knows boxes of the middle slice alone
        around = box_around(middle.to_mask())
        box = box if around is None else VolumeBox(around, box.z_min, box.z_max)
    numbers = box.numbers if isinstance(bench.case, VolumeCase) else box.box.numbers
    confidences = {z: mask.confidence for z, mask in masks.items() if mask.confidence is not None}
    return FoundObject(label, bench.document.get(number, "name"), numbers, voxels, confidences)
