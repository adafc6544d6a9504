"""Run a segmenter over a folder of cases: one at a time, each on its own, with an account of every one of
them.

The body of predict.py, free of argument parsing, terminals and exit, so that tests and other programs can
call it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, VolumeBox
from graysam.cases import (
    SUFFIX,
    Case,
    is_finished,
    label_dtype,
    list_folder,
    read_case,
    read_label_shape,
    write_labels,
)
from graysam.errors import CaseError
from graysam.files import TEMPORARY_SUFFIX, remove_stale_temporaries, written_whole
from graysam.runner.timing import PhaseTimer

logger = logging.getLogger(__name__)

Overlap = Literal["last", "confident"]
Labels = NDArray[np.uint8] | NDArray[np.uint16]
Item = TypeVar("Item")


class EngineFacts(Protocol):
    """What a report says of the back end."""

    @property
    def name(self) -> str:
        """Short name: torch, openvino, ellipse."""

    @property
    def precision(self) -> str:
        """Number format in use: fp32, bf16, int8."""

    @property
    def threads(self) -> int:
        """Number of CPU threads in use."""


class CaseSegmenter(Protocol):
    """What the runner asks of a segmenter; `graysam.api.Segmenter` and `graysam.inference.baselines` provide it."""

    @property
    def engine(self) -> EngineFacts:
        """The back end in use."""

    def segment_image(self, image: NDArray[Any], boxes: Sequence[Box], *, overlap: Overlap) -> Labels:
        """Give labels (H, W) for an image (H, W) or (H, W, 3)."""

    def segment_volume(self, volume: NDArray[Any], boxes: Sequence[VolumeBox], *, overlap: Overlap) -> Labels:
        """Give labels (D, H, W) for a volume (D, H, W)."""


# --- parts of a folder --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A share of a folder: the cases whose place in the sorted list is `index` modulo `count`."""

    index: int = 0
    count: int = 1
    source: str = "the command line"

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise CaseError(
                f"part {self.index} of {self.count} ({self.source}): wanted a count of at least 1 and an id "
                "from 0 to count - 1."
            )

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Give this part's share of `items`; all parts together give each item once."""
        return list(items[self.index :: self.count])

    @property
    def suffix(self) -> str:
        """Give ".part2of10", counted from 0, or nothing when there is one part."""
        return f".part{self.index}of{self.count}" if self.count > 1 else ""


def choose_part(num_parts: int | None, part_id: int | None, environment: Mapping[str, str]) -> Part:
    """Give the part to run: what was asked for; what is missing comes from the cluster's scheduler.

    Understood are SLURM arrays (SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _STEP) and Kubernetes indexed jobs
    (JOB_COMPLETION_INDEX; Kubernetes does not tell the count, so set GRAYSAM_NUM_PARTS to the job's
    `completions`). `num_parts` 1 runs the whole folder whatever the environment says.

    Raises:
        CaseError: an id without a count, a count of several without an id, or numbers that make no part.
    """
    if num_parts == 1 and part_id is None:
        return Part()
    if num_parts is not None and part_id is not None:
        return Part(part_id, num_parts)
    found_id, found_count, source = _part_of_scheduler(environment)
    index = found_id if part_id is None else part_id
    count = found_count if num_parts is None else num_parts
    if index is None and count is None:
        return Part()
    if count is None:
        raise CaseError(
            f"part {index} ({source}), but of how many? Give --num-parts, or set GRAYSAM_NUM_PARTS; "
            "--num-parts 1 runs the whole folder."
        )
    if index is None:
        raise CaseError(f"--num-parts {count}, but which part? Give --part-id, from 0 to {count - 1}.")
    return Part(index, count, source)


def _part_of_scheduler(environment: Mapping[str, str]) -> tuple[int | None, int | None, str]:
    """Give part id (from 0) and count as far as the environment tells them, and which variable told."""

    def number(name: str) -> int | None:
        text = environment.get(name)
        try:
            return int(text) if text else None
        except ValueError as error:
            raise CaseError(f"environment variable {name} is {text!r}, wanted a whole number.") from error

    count = number("GRAYSAM_NUM_PARTS")
    task = number("SLURM_ARRAY_TASK_ID")
    if task is not None:
        offset = task - (number("SLURM_ARRAY_TASK_MIN") or 0)
        index, rest = divmod(offset, number("SLURM_ARRAY_TASK_STEP") or 1)
        if rest:
            raise CaseError(
                f"SLURM_ARRAY_TASK_ID {task} is not a whole number of SLURM_ARRAY_TASK_STEP from the start."
            )
        return index, number("SLURM_ARRAY_TASK_COUNT") or count, "from SLURM_ARRAY_TASK_ID"
    index_of_job = number("JOB_COMPLETION_INDEX")
    if index_of_job is not None:
        return index_of_job, count, "from JOB_COMPLETION_INDEX"
    return None, count, "from GRAYSAM_NUM_PARTS"


# --- the account --------------------------------------------------------------------------------------------


@dataclass
class CaseAccount:
    """What became of one case, as it goes into the report.

    Attributes:
        name: the file's name without .npz.
        status: "done", "failed" (an all-zero map was written if its shape was known) or "skipped" (it was
            there).
        kind: "2D" or "3D" by the arrays, None when the case could not be read.
        shape: shape of the image, None when it never came to be known.
        boxes: number of boxes, None when unknown.
        seconds: wall-clock seconds of the phases read, segment (preparation included) and write; drawing is
            not in it.
        engine: back end and precision, None when the case did not need one.
        warnings: what was put right or looked odd.
        error: what went wrong, for a failed case.
    """

    name: str
    status: Literal["done", "failed", "skipped"] = "done"
    kind: Literal["2D", "3D"] | None = None
    shape: tuple[int, ...] | None = None
    boxes: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    engine: str | None = None
    precision: str | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None

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
            "error": self.error,
        }


@dataclass
class RunAccount:
    """What became of a run.

    Attributes:
        part: the share of the folder that was run.
        cases: one account for each case of the part, in order of name.
        load_seconds: time to load the segmenter, 0 when no case needed it.
        engine: name, precision and threads of the back end, empty when none was loaded.
    """

    part: Part
    cases: list[CaseAccount] = field(default_factory=list)
    load_seconds: float = 0.0
    engine: dict[str, Any] = field(default_factory=dict)

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


# --- the run ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunOptions:
    """What to run and how.

    Attributes:
        input_dir: folder of the cases.
        output_dir: folder of the results, made if missing; never the same as `input_dir`.
        part: share of the folder to run.
        resume: leave cases alone whose whole result is there; without it every result is made anew.
        overlap: who wins where objects meet.
        overlay_dir: folder for pictures of the results, made if missing; None draws none.
    """

    input_dir: Path
    output_dir: Path
    part: Part = field(default_factory=Part)
    resume: bool = False
    overlap: Overlap = "last"
    overlay_dir: Path | None = None


class Runner:
    """Runs the cases of a folder one after the other; a case that fails does not touch the others."""

    def __init__(self, options: RunOptions, load: Callable[[], CaseSegmenter]) -> None:
        """Look at the folders; nothing is segmented yet.

        Args:
            options: what to run.
            load: makes the segmenter; called once, for the first case that needs it.

        Raises:
            CaseError: the input cannot be listed or holds no case, or the output cannot be written to.
        """
        self._options = options
        self._load = load
        self._segmenter: CaseSegmenter | None = None
        listing = list_folder(options.input_dir)
        self._refused = dict(listing.refused)
        everything = sorted([*listing.cases, *self._refused], key=lambda path: path.name)
        if not everything:
            raise CaseError(_nothing_to_do(options.input_dir))
        self.paths = options.part.of(everything)
        self.account = RunAccount(options.part)
        names = [path.name for path in self.paths]
        _prepare_folder(options.output_dir, options.input_dir, names)
        if options.overlay_dir is not None:
            _prepare_folder(options.overlay_dir, options.input_dir, [f"{path.stem}.png" for path in self.paths])

    def run(self, *, on_case: Callable[[CaseAccount], None] = lambda case: None) -> RunAccount:
        """Run all cases of the part, and call `on_case` after each.

        Raises:
            GraySamError: the segmenter cannot be loaded; no other error of a case leaves this function.
        """
        for path in self.paths:
            account = CaseAccount(path.name.removesuffix(SUFFIX))
            self.account.cases.append(account)
            try:
                if self._options.resume and self._is_finished(path):
                    account.status = "skipped"
                else:
                    self._run_case(path, account)
            except BaseException as error:  # the run ends here, and its account must not call this case done
                account.status, account.error = "failed", f"the run was ended by {type(error).__name__}"
                raise
            on_case(account)
        return self.account

    def _is_finished(self, path: Path) -> bool:
        """Tell whether a whole result is there; refused entries are not even opened, as reading a pipe may hang."""
        return path not in self._refused and is_finished(self._output(path), read_label_shape(path))

    def _output(self, path: Path) -> Path:
        return self._options.output_dir / path.name

    def _run_case(self, path: Path, account: CaseAccount) -> None:
        timer = PhaseTimer()
        account.seconds = timer.seconds
        case = labels = None
        with self._guarded(path, account), timer.phase("read"):
            if path in self._refused:
                raise CaseError(self._refused[path])
            case = read_case(path)
        if case is None:
            return
        account.shape, account.kind = case.image.shape, "3D" if case.is_volume else "2D"
        account.boxes = len(case.boxes)
        account.warnings.extend(case.warnings)
        segmenter = self._loaded() if case.boxes else None  # unguarded: no model, no run
        with self._guarded(path, account):
            with timer.phase("segment"):
                labels = self._segment(segmenter, case, account)
            with timer.phase("write"):
                write_labels(self._output(path), labels)
        if labels is not None and account.status == "done":
            self._draw(case, labels, account)

    @contextmanager
    def _guarded(self, path: Path, account: CaseAccount) -> Iterator[None]:
        """Turn whatever goes wrong in the block into a failed case."""
        try:
            yield
        except CaseError as error:
            self._fail(path, account, str(error))
        except Exception as error:  # a defect of ours, or no memory, must not cost the other cases
            logger.debug("%s", path.name, exc_info=True)
            self._fail(path, account, f"{path.name}: {type(error).__name__}: {error}")

    def _loaded(self) -> CaseSegmenter:
        if self._segmenter is None:
            timer = PhaseTimer()
            with timer.phase("load"):
                self._segmenter = self._load()
            engine = self._segmenter.engine
            self.account.load_seconds = timer.total()
            self.account.engine = {
                "name": engine.name,
                "precision": engine.precision,
                "threads": engine.threads,
            }
        return self._segmenter

    def _segment(self, segmenter: CaseSegmenter | None, case: Case, account: CaseAccount) -> Labels:
        """Give the labels of a case; without boxes they are all zero and no segmenter is needed."""
        if segmenter is None:
            return np.zeros(case.label_shape, label_dtype(0))
        account.engine, account.precision = segmenter.engine.name, segmenter.engine.precision
        overlap = self._options.overlap
        if case.is_volume:
            volume_boxes = [box for box in case.boxes if isinstance(box, VolumeBox)]
            labels = segmenter.segment_volume(case.image, volume_boxes, overlap=overlap)
        else:
            boxes = [box for box in case.boxes if isinstance(box, Box)]
            labels = segmenter.segment_image(case.image, boxes, overlap=overlap)
        assert labels.shape == case.label_shape, f"labels {labels.shape}, image {case.label_shape}"
        return labels

    def _fail(self, path: Path, account: CaseAccount, cause: str) -> None:
        """Record a failure, and leave an all-zero map or nothing: never the result of an earlier run."""
        account.status, account.error = "failed", cause
        output = self._output(path)
        shape = None if path in self._refused else read_label_shape(path)
        try:
            if shape is not None:
                write_labels(output, np.zeros(shape, label_dtype(0)), failure=cause)
                return
            account.warnings.append("no result was written, as the image's shape is not known")
        except (CaseError, MemoryError) as error:
            account.warnings.append(f"no all-zero map could be written either: {error}")
        try:
            output.unlink(missing_ok=True)
        except OSError as error:
            account.warnings.append(f"an older {output.name} could not be removed: {error.strerror}")

    def _draw(self, case: Case, labels: Labels, account: CaseAccount) -> None:
        """Draw a picture, in no timed phase; failing costs a warning only, as the result is written."""
        if self._options.overlay_dir is None:
            return
        try:
            from graysam.runner.overlay import write_overlay  # only when asked for

            write_overlay(self._options.overlay_dir / f"{case.name}.png", case, labels)
        except Exception as error:
            logger.debug("%s", case.name, exc_info=True)
            account.warnings.append(f"the overlay was not drawn: {error}")


def _prepare_folder(folder: Path, input_dir: Path, names: Sequence[str]) -> None:
    """Make a folder for results, prove that it can be written to, and clear what a killed run left of `names`.

    Raises:
        CaseError: it is the input folder, cannot be made, or is read-only.
    """
    if folder.resolve() == input_dir.resolve():
        raise CaseError(f"folder {folder}: is the input folder too; results would replace their cases.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(folder, names)
        probe = folder / f".graysam-probe-{os.getpid()}{TEMPORARY_SUFFIX}"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise CaseError(
            f"folder {folder}: cannot be made or written to: {error.strerror or error}. Is it mounted read-only, "
            "or does it belong to another user?"
        ) from error


def _nothing_to_do(folder: Path) -> str:
    """Say that a folder holds no case, and what it holds instead."""
    kinds: dict[str, int] = {}
    for entry in folder.iterdir():
        kind = "sub-folders" if entry.is_dir() else "".join(entry.suffixes[-2:]) or "files without a suffix"
        kinds[kind] = kinds.get(kind, 0) + 1
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())[:5]) or "nothing"
    return (
        f"folder {folder}: holds no case (*.npz); it holds {found}. Sub-folders are not searched. "
        "Turn images of other formats into cases with data_prep first."
    )
