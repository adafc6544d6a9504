"""The formats that prediction reads and writes: one line each, asked in this order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graysam.formats.base import CaseFormat, list_entries
from graysam.formats.npz import NpzFormat
from graysam.formats.pictures import PictureFormat

FORMATS: tuple[CaseFormat, ...] = (NpzFormat(), PictureFormat())


@dataclass(frozen=True)
class FoundCase:
    """An entry of a folder that one of the formats takes for a case.

    Attributes:
        path: where it lies.
        format: who reads it and writes its result.
        refused: why it must not even be opened, None for an ordinary case.
    """

    path: Path
    format: CaseFormat
    refused: str | None = None

    @property
    def name(self) -> str:
        """Give what the case is called in reports and logs."""
        return self.format.case_name(self.path)

    @property
    def result_name(self) -> str:
        """Give the file name of the case's result."""
        return self.format.result_name(self.path)


def format_of(path: Path) -> CaseFormat | None:
    """Give the first format that takes an entry of a folder for a case, None when none does."""
    return next((each for each in FORMATS if each.claims(path)), None)


def list_cases(folder: Path) -> list[FoundCase]:
    """List the cases of a folder in all formats, sorted by file name, refused entries among them.

    Raises:
        CaseError: the folder is missing, is a file, or may not be listed.
    """
    listing = list_entries(folder, lambda path: format_of(path) is not None)
    entries = [*((path, None) for path in listing.cases), *listing.refused]
    found = [FoundCase(path, owner, refused) for path, refused in entries if (owner := format_of(path)) is not None]
    return sorted(found, key=lambda case: case.path.name)


def wanted() -> str:
    """Say for people what a case looks like in a folder."""
    return " or ".join(each.cases for each in FORMATS)
