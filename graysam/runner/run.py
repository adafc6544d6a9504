"""Run a segmenter over a folder of cases: one after the other, with an account of what became of each.

The body of `graysam predict`, free of argument parsing, terminals and exit, so that tests and other programs can call
it. Cases come from, and results go to, whatever format of `graysam.formats.registry` takes a file for its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from graysam.cases import Case, ImageCase, Labels, label_dtype
from graysam.errors import CaseError
from graysam.files import TEMPORARY_SUFFIX, remove_stale_temporaries
from graysam.formats.base import Answer
from graysam.formats.reading_options import Reading
from graysam.formats.registry import Formats, FoundCase, list_cases, wanted
from graysam.runner.account import CaseAccount, RunAccount
from graysam.runner.objects import TABLE, objects_of, write_table
from graysam.runner.parts import Part
from graysam.runner.timing import PhaseTimer

if TYPE_CHECKING:
    from graysam.inference.overlap import Overlap

logger = logging.getLogger(__name__)

CALLS_OF_AN_UNREAD_IMAGE: Final = 2
"""A slice and a box, the least."""

MANY_CALLS: Final = 100
"""From here on one more changes nothing, and no other case is looked at for the sake of counting."""
_WHERE_BOXES_ARE = (
    "Give boxes with --boxes or --boxes-from, or put NAME.boxes.csv next to each image (NAME without its suffix)."
)


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

    def segment_case(self, case: Case, *, overlap: Overlap) -> Labels:
        """Give labels of the case's `label_shape`: i + 1 inside the object of box i, 0 elsewhere."""


@dataclass(frozen=True)
class RunOptions:
    """What to run and how.

    Attributes:
        input_dir: folder of the cases, or one file that is the only case.
        output_dir: folder of the results, made if missing; never the folder of the cases.
        part: share of the folder to run.
        resume: leave cases alone whose whole result is there; without it every result is made anew.
        overlap: who wins where objects meet.
        overlay_dir: folder for pictures of the results, made if missing; None draws none.
        reading: where boxes stand and what values mean, for formats whose files do not say so.
        strict: whether a case with a warning fails.
    """

    input_dir: Path
    output_dir: Path
    part: Part = field(default_factory=Part)
    resume: bool = False
    overlap: Overlap = "auto"
    overlay_dir: Path | None = None
    reading: Reading = field(default_factory=Reading)
    strict: bool = False


class Runner:
    """Runs the cases of a folder one after the other; a case that fails does not touch the others."""

    def __init__(self, options: RunOptions, load: Callable[[int], CaseSegmenter]) -> None:
        """Look at the folders; nothing is segmented yet.

        Args:
            options: what to run.
            load: makes the segmenter, told how many calls of its networks to expect; called once, for the first case
                that needs it.

        Raises:
            CaseError: the input cannot be listed or holds no case, or the output cannot be written to.
        """
        self._options = options
        self._load = load
        self._segmenter: CaseSegmenter | None = None
        options.reading.check()
        everything = list_cases(options.input_dir, Formats(options.reading))
        if not everything:
            raise CaseError(_nothing_to_do(options.input_dir))
        _refuse_clashes(everything)
        _refuse_shared_boxes(everything, options.reading)
        self._everything = everything
        self.cases = options.part.of(everything)
        self.account = RunAccount(options.part)
        input_dir = options.input_dir.parent if options.input_dir.is_file() else options.input_dir
        prepare_folder(options.output_dir, input_dir, [case.result_name for case in self.cases])
        if options.overlay_dir is not None:
            prepare_folder(options.overlay_dir, input_dir, [_overlay_name(case) for case in self.cases])

    def run(self, *, on_case: Callable[[CaseAccount], None] = lambda case: None) -> RunAccount:
        """Run all cases of the part, and call `on_case` after each.

        Raises:
            GraySamError: the segmenter cannot be loaded; no other error of a case leaves this function.
        """
        for case in self.cases:
            account = CaseAccount(case.name)
            self.account.cases.append(account)
            try:
                if self._options.resume and self._is_finished(case):
                    account.status = "skipped"
                else:
                    self._run_case(case, account)
            except BaseException as error:  # the run ends here, and its account must not call this case done
                account.status, account.error = "failed", f"the run was ended by {type(error).__name__}"
                raise
            on_case(account)
        return self.account

    def write_table(self) -> Path | None:
        """Write boxes.csv next to the answers, with the part in its name; None where all cases are of the challenge.

        Raises:
            CaseError: it cannot be written.
        """
        told = {case.name for case in self.cases if case.format.name != "npz"}
        objects = {each.name: each.objects for each in self.account.cases if each.name in told and each.objects}
        if not objects:
            return None
        table = Path(TABLE)
        path = self._options.output_dir / f"{table.stem}{self._options.part.suffix}{table.suffix}"
        skipped = [each.name for each in self.account.cases if each.status == "skipped"]
        write_table(path, objects, kept=skipped)
        return path

    def _is_finished(self, found: FoundCase) -> bool:
        """Tell whether a whole result is there; refused entries are not even opened, as reading a pipe may hang."""
        if found.refused is not None:
            return False
        return found.format.is_finished(self._result(found), found.format.describe(found.path))

    def _result(self, found: FoundCase) -> Path:
        return self._options.output_dir / found.result_name

    def _run_case(self, found: FoundCase, account: CaseAccount) -> None:
        timer = PhaseTimer()
        account.seconds = timer.seconds
        case = labels = None
        with self._guarded(found, account), timer.phase("read"):
            if found.refused is not None:
                raise CaseError(found.refused)
            read = found.format.read(found.path)
            if self._options.strict and read.warnings:
                raise CaseError(f"{found.path.name}: {'; '.join(read.warnings)} (a warning, fatal with --strict).")
            case = read
        if case is None:
            return
        account.shape, account.kind = case.image.shape, case.kind
        account.boxes = len(case.boxes)
        account.warnings.extend(case.warnings)
        account.notes.extend(case.notes)
        segmenter = self._loaded(found, case) if case.boxes else None  # unguarded: no model, no run
        with self._guarded(found, account):
            with timer.phase("segment"):
                labels = self._segment(segmenter, case, account)
            with timer.phase("write"):
                found.format.write(self._result(found), Answer(labels), source=found.path)
        if labels is not None and account.status == "done":
            confidences = getattr(segmenter, "confidences", {})
            # The challenge's cases are timed, and nobody reads their table.
            account.objects = objects_of(
                case,
                labels,
                confidences,
                count=found.format.name != "npz",
                flag_below=self.account.flag_below,
            )
            self._draw(found, case, labels, account)

    @contextmanager
    def _guarded(self, found: FoundCase, account: CaseAccount) -> Iterator[None]:
        """Turn whatever goes wrong in the block into a failed case."""
        try:
            yield
        except CaseError as error:
            self._fail(found, account, str(error))
        except Exception as error:  # a defect of ours, or no memory, must not cost the other cases
            logger.debug("%s", found.path.name, exc_info=True)
            self._fail(found, account, f"{found.path.name}: {type(error).__name__}: {error}")

    def _loaded(self, found: FoundCase, first: Case) -> CaseSegmenter:
        if self._segmenter is None:
            others = [each for each in self._everything if each.path != found.path]
            timer = PhaseTimer()
            with timer.phase("load"):
                self._segmenter = self._load(expected_calls(first, others))
            engine = self._segmenter.engine
            self.account.load_seconds = timer.total()
            self.account.flag_below = getattr(self._segmenter, "flag_below", None)
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
        labels = segmenter.segment_case(case, overlap=self._options.overlap)
        assert labels.shape == case.label_shape, f"labels {labels.shape}, image {case.label_shape}"
        return labels

    def _fail(self, found: FoundCase, account: CaseAccount, cause: str) -> None:
        """Record a failure, and leave an all-zero map or nothing: never the result of an earlier run."""
        account.status, account.error = "failed", cause
        result = self._result(found)
        shape = None if found.refused is not None else found.format.describe(found.path)
        try:
            if shape is not None:
                zeros = np.zeros(shape, label_dtype(0))
                found.format.write(result, Answer(zeros, failure=cause), source=found.path)
                return
            account.warnings.append("no result was written, as the image's shape is not known")
        except (CaseError, MemoryError) as error:
            account.warnings.append(f"no all-zero map could be written either: {error}")
        try:
            result.unlink(missing_ok=True)
        except OSError as error:
            account.warnings.append(f"an older {result.name} could not be removed: {error.strerror}")

    def _draw(self, found: FoundCase, case: Case, labels: Labels, account: CaseAccount) -> None:
        """Draw a picture, in no timed phase; failing costs a warning only, as the result is written."""
        if self._options.overlay_dir is None:
            return
        try:
            from graysam.runner.overlay import write_overlay  # only where pictures are wanted

            told = {each.label: each.caption for each in account.objects if each.caption}
            write_overlay(self._options.overlay_dir / _overlay_name(found), case, labels, told)
        except Exception as error:
            logger.debug("%s", case.name, exc_info=True)
            account.warnings.append(f"the overlay was not drawn: {error}")


def expected_calls(first: Case, others: Sequence[FoundCase]) -> int:
    """Give how often the networks will be called: once for each slice, and once for each box on it.

    Args:
        first: the only case that has been read.
        others: those of other parts and those that are done belong to them, so that parts choose alike. A volume counts
            as one object on half of its slices. Counting ends at `MANY_CALLS`.
    """
    if isinstance(first, ImageCase):
        calls = 1 + len(first.boxes)
    else:
        slices = {z for box in first.boxes for z in range(box.z_min, box.z_max + 1)}
        calls = len(slices) + sum(box.z_max - box.z_min + 1 for box in first.boxes)
    for other in others:
        if calls >= MANY_CALLS:
            break
        shape = None if other.refused is not None else other.format.describe(other.path)
        calls += shape[0] if shape is not None and len(shape) == 3 else CALLS_OF_AN_UNREAD_IMAGE
    return calls


def _overlay_name(case: FoundCase) -> str:
    return f"{case.name}.png"


def _refuse_clashes(cases: Sequence[FoundCase]) -> None:
    """Refuse a folder in which two cases would have one result or one picture.

    Raises:
        CaseError: naming the first two.
    """
    for name_of in (lambda case: case.result_name, _overlay_name):
        owners: dict[str, str] = {}
        for case in cases:
            other = owners.setdefault(name_of(case), case.path.name)
            if other != case.path.name:
                raise CaseError(f"{other} and {case.path.name}: both would be answered by {name_of(case)}; rename one.")


def _refuse_shared_boxes(cases: Sequence[FoundCase], reading: Reading) -> None:
    """Refuse a file of boxes that names no image, where several images would take its boxes.

    Raises:
        CaseError: naming the file.
    """
    takers = [case for case in cases if case.format.name != "npz"]
    if reading.boxes.given is None or len(takers) < 2:
        return
    from graysam.formats.box_files import needs_one_image

    if needs_one_image(reading.boxes):
        raise CaseError(
            f"{reading.boxes.given.name}: its boxes name no image, and there are {len(takers)}; give one image with "
            "-i, a folder of one file for each image with --boxes, or a table with the column 'case'."
        )


def prepare_folder(folder: Path, input_dir: Path, names: Sequence[str]) -> None:
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
    if folder.is_file():
        return f"{folder.name}: no case, or without boxes. {_WHERE_BOXES_ARE}"
    kinds: dict[str, int] = {}
    for entry in folder.iterdir():
        kind = "sub-folders" if entry.is_dir() else "".join(entry.suffixes[-2:]) or "files without a suffix"
        kinds[kind] = kinds.get(kind, 0) + 1
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())[:5]) or "nothing"
    return (
        f"folder {folder}: holds no case ({wanted()}); it holds {found}. {_WHERE_BOXES_ARE} "
        "Sub-folders are searched for DICOM only."
    )
