"""What a run found, object by object: for the report, and as the table boxes.csv next to the answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graysam.boxes import Box, VolumeBox
from graysam.cases import Case, Labels
from graysam.errors import CaseError
from graysam.files import written_whole

TABLE = "boxes.csv"
COLUMNS = (
    "case", "label", "name", "x_min", "y_min", "z_min", "x_max", "y_max", "z_max", "voxels", "confidence",
    "flagged", "lowest_confidence", "lowest_slice",
)  # fmt: skip


@dataclass(frozen=True)
class FoundObject:
    """One object of a case.

    Attributes:
        label: its number in the label map.
        name: of its box, "" without one.
        box: x_min, y_min, x_max, y_max, or with z_min and z_max in their places.
        voxels: how many have its label; None where nobody counted.
        confidences: the IoU that the model predicts of its own mask, by slice (0 for an image).
        flag_below: the confidence below which a mask is likely to be poor, None where nobody knows.
    """

    label: int
    name: str
    box: tuple[float, ...]
    voxels: int | None
    confidences: Mapping[int, float]
    flag_below: float | None = None

    @property
    def confidence(self) -> float | None:
        """Give the mean over the slices on which the object was found; None where the segmenter tells none."""
        values = [value for value in self.confidences.values() if math.isfinite(value)]
        return sum(values) / len(values) if values else None

    @property
    def flagged(self) -> bool | None:
        """Tell whether somebody should look at the mask; None where there is no confidence or no threshold.

        An object that was found on no slice is flagged by its zero voxels, not by this.
        """
        if self.confidence is None or self.flag_below is None:
            return None
        return self.confidence < self.flag_below

    @property
    def caption(self) -> str:
        """Give what is written at the box: the confidence, with a "!" where the object is flagged."""
        if self.confidence is None:
            return ""
        return f"{self.confidence:.2f}{' !' if self.flagged else ''}"

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "label": self.label,
            "name": self.name,
            "box": list(self.box),
            "voxels": self.voxels,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "flagged": self.flagged,
            "slices": {str(z): round(value, 4) for z, value in sorted(self.confidences.items())},
        }

    def row(self, case: str) -> dict[str, str]:
        """Give the object's line of the table."""
        half = len(self.box) // 2
        axes = "xyz"[:half]
        numbers = {f"{axis}_min": value for axis, value in zip(axes, self.box[:half], strict=True)}
        numbers |= {f"{axis}_max": value for axis, value in zip(axes, self.box[half:], strict=True)}
        lowest = min(self.confidences, key=lambda z: self.confidences[z], default=None)
        return {
            **dict.fromkeys(COLUMNS, ""),
            "case": case,
            "label": str(self.label),
            "name": self.name,
            **{column: f"{value:g}" for column, value in numbers.items()},
            "voxels": "" if self.voxels is None else str(self.voxels),
            "confidence": "" if self.confidence is None else f"{self.confidence:.4f}",
            "flagged": "" if self.flagged is None else ("yes" if self.flagged else "no"),
            "lowest_confidence": "" if lowest is None else f"{self.confidences[lowest]:.4f}",
            "lowest_slice": "" if lowest is None or half == 2 else str(lowest),
        }


def objects_of(
    case: Case,
    labels: Labels,
    confidences: Mapping[int, Mapping[int, float]],
    *,
    count: bool,
    flag_below: float | None = None,
) -> list[FoundObject]:
    """Give the objects of a case, in the order of its boxes.

    Args:
        case: what was segmented.
        labels: the answer.
        confidences: of the model, by object (counted from 0) and slice.
        count: whether to count voxels, which takes a look at the whole map.
        flag_below: the confidence below which an object is flagged, None flags none.
    """
    sizes = np.bincount(labels.ravel(), minlength=len(case.boxes) + 1) if count else None
    boxes: Sequence[Box | VolumeBox] = case.boxes
    found = []
    for index, box in enumerate(boxes):
        name = case.box_names[index] if index < len(case.box_names) else ""
        size = None if sizes is None else int(sizes[index + 1])
        told = dict(confidences.get(index, {}))
        numbers = tuple(map(float, box.numbers))
        found.append(FoundObject(index + 1, name, numbers, size, told, flag_below))
    return found


def write_table(path: Path, objects: Mapping[str, Sequence[FoundObject]], *, kept: Sequence[str] = ()) -> None:
    """Write the table, whole or not at all.

    Args:
        path: the file to make.
        objects: those of each case of this run.
        kept: cases that an earlier run answered, whose lines of an older table stay.

    Raises:
        CaseError: it cannot be written.
    """
    import csv
    import io

    rows = [row for row in _old_rows(path) if row.get("case") in {*kept} - {*objects}]
    rows += [found.row(case) for case, each in objects.items() for found in each]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: (str(row["case"]), int(row["label"]))))
    with written_whole(path, CaseError) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _old_rows(path: Path) -> list[dict[str, str]]:
    import csv

    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [row for row in csv.DictReader(stream) if (row.get("label") or "").isdigit()]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
