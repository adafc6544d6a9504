"""The account of a run: what became of each case, for people and as the JSON report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from graysam.cases import Kind
from graysam.errors import CaseError
from graysam.files import written_whole
from graysam.runner.objects import FoundObject
from graysam.runner.parts import Part


@dataclass
class CaseAccount:
    """What became of one case, as it goes into the report.

    Attributes:
        name: what the case is called: the file's name without its suffix.
        status: "done", "failed" (an all-zero map was written if its shape was known) or "skipped" (it was
            there).
        kind: "2D" or "3D" by the arrays, None when the case could not be read.
        shape: shape of the image, None when it never came to be known.
        boxes: number of boxes, None when unknown.
        seconds: wall-clock seconds of the phases read, segment (preparation included) and write; drawing is
            not in it.
        engine: back end and precision, None when the case did not need one.
        warnings: what was put right or looked odd.
        notes: what was decided: the intensity window, and where the boxes came from.
        error: what went wrong, for a failed case.
        objects: what was found, box by box, with the model's confidence.
    """

    name: str
    status: Literal["done", "failed", "skipped"] = "done"
    kind: Kind | None = None
    shape: tuple[int, ...] | None = None
    boxes: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    engine: str | None = None
    precision: str | None = None
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    objects: list[FoundObject] = field(default_factory=list)

    def line(self) -> str:
        """Give the account in one line for people."""
        if self.status == "skipped":
            return f"{self.name}: skipped, its result is there"
        size = "unknown size" if self.shape is None else " x ".join(map(str, self.shape))
        boxes = "unknown boxes" if self.boxes is None else f"{self.boxes} box{'' if self.boxes == 1 else 'es'}"
        text = f"{self.name}: {size}, {boxes}, {sum(self.seconds.values()):.2f} s"
        return text if self.error is None else f"{text}; FAILED: {self.error}"

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON; seconds are rounded to a tenth of a millisecond and summed up."""
        seconds = {name: round(value, 4) for name, value in self.seconds.items()}
        return {
            "name": self.name,
            "status": self.status,
            "kind": self.kind,
            "shape": None if self.shape is None else list(self.shape),
            "boxes": self.boxes,
            "seconds": {**seconds, "total": round(sum(self.seconds.values()), 4)},
            "engine": self.engine,
            "precision": self.precision,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "error": self.error,
            "objects": [found.to_dict() for found in self.objects],
        }


@dataclass
class RunAccount:
    """What became of a run.

    Attributes:
        part: the share of the folder that was run.
        cases: one account for each case of the part, in order of name.
        load_seconds: time to load the segmenter, 0 when no case needed it.
        engine: name, precision and threads of the back end, empty when none was loaded.
        flag_below: the confidence below which objects are flagged, None where these weights have no such number.
    """

    part: Part
    cases: list[CaseAccount] = field(default_factory=list)
    load_seconds: float = 0.0
    engine: dict[str, Any] = field(default_factory=dict)
    flag_below: float | None = None

    @property
    def flagged(self) -> int:
        """Give the number of flagged objects."""
        return sum(bool(found.flagged) for case in self.cases for found in case.objects)

    def count(self, status: str) -> int:
        """Give the number of cases with that status."""
        return sum(case.status == status for case in self.cases)

    @property
    def exit_status(self) -> int:
        """Give 0 when every case came out or was there, 1 when some failed."""
        return 1 if self.count("failed") else 0

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "part": {"id": self.part.index, "count": self.part.count},
            "counts": {status: self.count(status) for status in ("done", "failed", "skipped")},
            "load_seconds": round(self.load_seconds, 4),
            "engine": self.engine,
            "flag_below": self.flag_below,
            "flagged": self.flagged,
            "cases": [case.to_dict() for case in self.cases],
        }


def write_report(path: Path, account: RunAccount, facts: Mapping[str, Any]) -> Path:
    """Write the account and further `facts` as JSON, whole or not at all, and give the path written.

    Parts of one run share their command line, so that the part goes into the name: run.json becomes
    run.part2of10.json.

    Raises:
        CaseError: it cannot be written.
    """
    import json  # only here: 10 ms of a start-up that is timed

    path = path.with_name(f"{path.stem}{account.part.suffix}{path.suffix}")
    with written_whole(path, CaseError) as temporary:
        temporary.write_text(json.dumps({**facts, **account.to_dict()}, indent=1) + "\n", encoding="utf-8")
    return path
