"""Say what is in a folder before anything is written: counts, shapes, spacings, label values and problems."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np

from data_prep.findings import Problem, Severity
from data_prep.loading import doubts_of, read_source, window_for
from data_prep.objects import SpeckRule, objects_of
from data_prep.parallel import run_jobs
from data_prep.sources import Inventory, Source
from data_prep.split import find_leaks
from graysam.errors import PrepareError
from graysam.formats.readers import ShapeMismatchError, SoftMasks
from graysam.image.windows import parse_window

VALUES_SHOWN = 12


@dataclass(frozen=True)
class CaseFacts:
    """What one case holds.

    Attributes:
        modality, is_volume: what it is, as far as it could be read.
        shape, dtype, low, high: of the image.
        spacing_mm: z, y, x; None for images.
        axes: see `grids.Grid.axes`.
        window: the intensity window that would be used.
        values: label numbers except 0.
        objects: how many objects would be prompted.
        dropped: how many specks would be dropped.
        problems: severity ("error", "warning" or "note"), kind, what, and the remedy.
    """

    modality: str
    is_volume: bool
    shape: tuple[int, ...] = ()
    dtype: str = ""
    low: float = 0.0
    high: float = 0.0
    spacing_mm: tuple[float, float, float] | None = None
    axes: str = ""
    window: str = ""
    values: tuple[int, ...] = ()
    objects: int = 0
    dropped: int = 0
    problems: tuple[tuple[str, str, str, str], ...] = ()


@dataclass
class DatasetSummary:
    """What a data set holds, added up over its cases."""

    dataset: str
    modality: str = ""
    dimension: str = ""
    cases: int = 0
    objects: int = 0
    dropped: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    spacings: Counter[tuple[float, ...]] = field(default_factory=Counter)
    axes: Counter[str] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    windows: Counter[str] = field(default_factory=Counter)
    values: Counter[int] = field(default_factory=Counter)
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, source: Source, facts: CaseFacts) -> None:
        """Add a case."""
        self.cases += 1
        self.modality = facts.modality or self.modality
        self.dimension = "3D" if facts.is_volume else "2D"
        self.splits[source.split or "none"] += 1
        if not facts.shape:
            return
        self.objects += facts.objects
        self.dropped += facts.dropped
        self.shapes[facts.shape] += 1
        self.dtypes[facts.dtype] += 1
        self.windows[facts.window] += 1
        self.values.update(facts.values)
        self.low, self.high = min(self.low, facts.low), max(self.high, facts.high)
        if facts.spacing_mm:
            self.spacings[tuple(round(step, 3) for step in facts.spacing_mm)] += 1
            self.axes[facts.axes] += 1

    def as_record(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "dataset": self.dataset,
            "modality": self.modality,
            "dimension": self.dimension,
            "cases": self.cases,
            "objects": self.objects,
            "specks_dropped": self.dropped,
            "splits": dict(self.splits),
            "shapes": [[list(shape), count] for shape, count in self.shapes.most_common()],
            "spacings_mm_zyx": [[list(steps), count] for steps, count in self.spacings.most_common()],
            "axes_xyz": dict(self.axes),
            "dtypes": dict(self.dtypes),
            "windows": dict(self.windows),
            "intensities": [self.low, self.high] if self.shapes else None,
            "label_values": {str(value): count for value, count in sorted(self.values.items())},
        }

    def as_line(self) -> str:
        """Give one line for people."""
        parts = [
            f"{self.dataset}: {self.cases} {self.dimension} {self.modality or 'of unknown modality'}",
            f"({', '.join(f'{split} {count}' for split, count in sorted(self.splits.items()))})",
        ]
        if self.shapes:
            values = [str(value) for value in sorted(self.values)]
            shown = ", ".join(values[:VALUES_SHOWN]) + (f", ... {values[-1]}" if len(values) > VALUES_SHOWN else "")
            parts += [
                f"{self.objects} objects; {_range_of_shapes(self.shapes)}; {'/'.join(sorted(self.dtypes))} "
                f"{self.low:g}..{self.high:g}; window {'/'.join(sorted(self.windows))}; "
                f"labels {shown or 'none'}",
            ]
            if self.spacings:
                parts.append(f"; spacing (z, y, x) {_range_of_spacings(self.spacings)} mm; axes {'/'.join(self.axes)}")
        return " ".join(parts)


def _range_of_shapes(shapes: Counter[tuple[int, ...]]) -> str:
    if len(shapes) == 1:
        return "x".join(map(str, next(iter(shapes))))
    by_rank: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for shape in shapes:
        by_rank[len(shape)].append(shape)
    return " or ".join(
        "x".join(
            f"{min(sides)}" if min(sides) == max(sides) else f"{min(sides)}-{max(sides)}"
            for sides in zip(*group, strict=True)
        )
        for _, group in sorted(by_rank.items())
    )


def _range_of_spacings(spacings: Counter[tuple[float, ...]]) -> str:
    columns = list(zip(*spacings, strict=True))
    return " ".join(
        f"{min(steps):g}" if min(steps) == max(steps) else f"{min(steps):g}-{max(steps):g}" for steps in columns
    )


def examine(source: Source, *, soft_masks: SoftMasks = "refuse") -> CaseFacts:
    """Read one case and say what it holds; never raises for a bad file."""
    try:
        raw = read_source(source, soft_masks=soft_masks)
        window = parse_window(source.window) if source.window else window_for(raw, source)
    except ShapeMismatchError as error:
        return _unfit(source, "mismatched shapes", error)
    except Exception as error:  # whatever a broken file makes a library raise, the other files count
        return _unfit(source, "unreadable", error)
    problems = [("note", "note", note, "Nothing need be done.") for note in raw.notes]
    problems += [("warning", "warning", what, "Look at the case.") for what in raw.warnings]
    low, high = float(raw.image.min()), float(raw.image.max())
    kind, remedy = ("constant image", "Take it out.") if low == high else ("intensities", "Look at the case.")
    problems += [("warning", kind, what, remedy) for what in doubts_of(raw, source, window)]
    if not raw.modality:
        remedy = 'Write dataset.json with "modality", or give --modality.'
        problems.append(("error", "modality unknown", "nothing tells the modality", remedy))
    values = tuple(int(value) for value in np.unique(raw.labels) if value)
    objects, drops = objects_of(raw.labels, source.labels, rule=SpeckRule(), spacing_mm=raw.spacing_mm)
    if not values:
        problems.append(("error", "empty mask", "the label map has no object", "Annotate it, or take the pair out."))
    elif not objects:
        what = f"all {drops.pieces} pieces are smaller than a speck"
        problems.append(("error", "specks only", what, "Check the scale, or lower --min-voxels or --min-pixels."))
    return CaseFacts(
        raw.modality,
        raw.is_volume,
        raw.image.shape,
        str(raw.image.dtype),
        low,
        high,
        raw.spacing_mm,
        raw.axes,
        source.window or window.name,
        values,
        len(objects),
        drops.pieces,
        tuple(problems),
    )


def _unfit(source: Source, kind: str, error: Exception) -> CaseFacts:
    problem = ("error", kind, str(error).rstrip("."), "The case is left out until then.")
    return CaseFacts(source.modality, source.is_volume, problems=(problem,))


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        summaries: one per data set, in order.
        problems: of the folders, the splits and the files.
    """

    summaries: tuple[DatasetSummary, ...]
    problems: tuple[Problem, ...]

    def as_record(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "modalities": _count_modalities(self.summaries),
            "datasets": [summary.as_record() for summary in self.summaries],
            "problems": [dict(problem.__dict__) for problem in self.problems],
        }

    def as_lines(self) -> list[str]:
        """Give the report for people: data sets, counts per modality, problems."""
        lines = [summary.as_line() for summary in self.summaries]
        lines.append("")
        for modality, counts in _count_modalities(self.summaries).items():
            lines.append(f"{modality}: {counts['2D']} images, {counts['3D']} volumes, {counts['objects']} objects")
        kinds = Counter((problem.severity, problem.kind) for problem in self.problems)
        lines += ["", f"{len(self.problems)} problems" + (":" if kinds else "")]
        lines += [f"  {count:5d}  {severity}: {kind}" for (severity, kind), count in sorted(kinds.items())]
        return lines


def _count_modalities(summaries: Sequence[DatasetSummary]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for summary in summaries:
        row = counts.setdefault(summary.modality or "unknown", {"2D": 0, "3D": 0, "objects": 0})
        row[summary.dimension] += summary.cases
        row["objects"] += summary.objects
    return dict(sorted(counts.items()))


def _crashed(source: Source, reason: str) -> CaseFacts:
    return _unfit(source, "unreadable", PrepareError(reason))


def inspect(inventory: Inventory, *, workers: int, soft_masks: SoftMasks = "refuse") -> Inspection:
    """Read everything that an inventory lists."""
    summaries: dict[str, DatasetSummary] = {}
    problems = list(inventory.problems)
    for leak in find_leaks(inventory.sources):
        remedy = "Put all cases of a patient on one side: `python -m data_prep split`."
        problems.append(Problem("error", "leak", leak.family, str(leak), remedy))
    for source, facts in run_jobs(
        partial(examine, soft_masks=soft_masks),
        inventory.sources,
        workers=workers,
        what="inspected",
        crashed=_crashed,
    ):
        summaries.setdefault(source.dataset, DatasetSummary(source.dataset)).add(source, facts)
        problems += [
            Problem(cast("Severity", severity), kind, source.name, what, remedy)
            for severity, kind, what, remedy in facts.problems
        ]
    return Inspection(tuple(summaries.values()), tuple(problems))
