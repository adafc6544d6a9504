"""What a file format of cases must offer, so that the runner needs to know none of them.

A new format is one file here that has a class with these members, and one line in `registry.py`; see `npz.py` for the
challenge's own and `pictures.py` for a small one. A reader that is slow to import, or comes with an extra, is
imported inside the functions that need it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Notes
from graysam.cases import Case
from graysam.corrections import ObjectClicks
from graysam.errors import CaseError

logger = logging.getLogger(__name__)


@runtime_checkable
class GatheringFormat(Protocol):
    """A format whose cases may be several entries of a folder: it sorts those that it claims into cases."""

    @property
    def name(self) -> str:
        """Short name, "DICOM"."""

    @property
    def cases(self) -> str:
        """What a case of the format looks like in a folder, for people."""

    def claims(self, path: Path) -> bool:
        """Tell whether an entry of a folder is a case, or part of one."""

    def gather(self, paths: Sequence[Path]) -> Sequence[tuple[Path, CaseFormat]]:
        """Give the place of each case, and the format that reads it and writes its result.

        Raises:
            CaseError: the package that reads such files is missing.
        """


@dataclass(frozen=True)
class Answer:
    """What a case is answered with.

    Attributes:
        labels: (H, W) or (D, H, W), integers from 0 to 65,535.
        names: of the objects; those of the case that was read last where none are given.
        clicks: that a person has made, a sequence for each object.
        failure: why the labels are only a stand-in for those of a case that failed; `is_finished` then says no.
    """

    labels: NDArray[np.integer[Any]]
    names: Notes = ()
    clicks: ObjectClicks = ()
    failure: str | None = None


class CaseFormat(Protocol):
    """A file format of cases and of their results; results lie in the space of the case that they answer."""

    @property
    def name(self) -> str:
        """Short name, "npz"."""

    @property
    def cases(self) -> str:
        """What a case of the format looks like in a folder, for people: "*.npz"."""

    def claims(self, path: Path) -> bool:
        """Tell by its name, what lies next to it, or its first bytes, whether an entry of a folder is a case."""

    def case_name(self, path: Path) -> str:
        """Give what the case is called in reports and logs: the file's name without its suffix."""

    def result_name(self, path: Path) -> str:
        """Give the file name of the case's result."""

    def describe(self, path: Path) -> tuple[int, ...] | None:
        """Give the shape that the case's label map must have, (H, W) or (D, H, W), or None when it cannot be told.

        Meant for cases that `read` refuses, and for resuming: it never raises, and reads as little as it can.
        """

    def read(self, path: Path) -> Case:
        """Read, check and clean a case.

        Raises:
            CaseError: it cannot be used; the message names file, field, found and wanted.
        """

    def write(self, result: Path, answer: Answer, *, source: Path) -> None:
        """Write a result, whole or not at all, replacing an older file.

        Args:
            result: the file to make; its folder exists.
            answer: what goes into it; of names and clicks what the format's results hold.
            source: the case that is answered, for formats whose results repeat its header.

        Raises:
            CaseError: no label map, or the file cannot be written.
        """

    def is_finished(self, result: Path, label_shape: tuple[int, ...] | None) -> bool:
        """Tell whether `result` is a whole result of that shape, and no stand-in; a None for the shape is none."""


@dataclass(frozen=True)
class CaseListing:
    """The cases of a folder, and the entries that look like cases but are refused, each with the reason."""

    cases: tuple[Path, ...]
    refused: tuple[tuple[Path, str], ...]


def list_entries(folder: Path, claims: Callable[[Path], bool]) -> CaseListing:
    """List the entries of a folder that are cases, sorted by name; hidden ones are none.

    Refused are links that lead out of the folder or nowhere, and pipes, sockets and devices (reading one could hang).

    Raises:
        CaseError: the folder is missing, is a file, or may not be listed.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
        root = folder.resolve(strict=True)
    except OSError as error:
        raise CaseError(f"folder {folder}: cannot be listed: {error.strerror or error}.") from error
    cases, refused = [], []
    for entry in entries:
        # Hidden: macOS puts "._name.npz" beside each file that it copies to a foreign file system.
        if entry.name.startswith(".") or not claims(entry):
            continue
        reason = refusal(entry, root)
        if reason is not None:
            refused.append((entry, f"{entry.name}: {reason}"))
        else:
            cases.append(entry)
    return CaseListing(tuple(cases), tuple(refused))


def refusal(entry: Path, root: Path) -> str | None:
    """Say why a file must not be opened, None when it may be.

    Args:
        entry: an entry of an input folder, or a file that belongs to one.
        root: the input folder, resolved; nothing outside it is read.
    """
    try:
        if entry.is_symlink() and not entry.resolve(strict=True).is_relative_to(root):
            return "a link that leads out of the input folder is not followed; copy the file instead."
        if not entry.is_file() and not entry.is_dir():
            return "not a regular file."
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        return f"cannot be looked at: {error}."
    return None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before the message of a CaseError that the block raises."""
    try:
        yield
    except CaseError as error:
        raise CaseError(f"{path.name}: {error}") from error
