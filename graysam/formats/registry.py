"""The formats that prediction reads and writes: one line each, asked in this order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from graysam.formats.base import CaseFormat, CaseListing, GatheringFormat, list_entries
from graysam.formats.reading_options import Reading

AnyFormat: TypeAlias = CaseFormat | GatheringFormat

# Module and class, each made with the user's `Reading`.
FORMATS = (
    ("npz", "NpzFormat"),
    ("pictures", "PictureFormat"),
    ("volumes", "NiftiFormat"),
    ("volumes", "MetaFormat"),
    ("volumes", "NrrdFormat"),
    ("dicom_series", "DicomFormat"),
)


class Formats:
    """The formats in order, told how the user wants cases to be read; each is imported when the ones before say no.

    A folder of the challenge's cases, whose start is timed, therefore imports nothing but their own.
    """

    def __init__(self, reading: Reading | None = None) -> None:
        self._reading = reading or Reading()
        self._made: list[AnyFormat] = []

    def __iter__(self) -> Iterator[AnyFormat]:
        for number, (module, name) in enumerate(FORMATS):
            if number == len(self._made):
                kind = getattr(import_module(f"graysam.formats.{module}"), name)
                self._made.append(kind(self._reading))
            yield self._made[number]


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


def format_of(path: Path, formats: Iterable[AnyFormat] | None = None) -> AnyFormat | None:
    """Give the first format that takes an entry of a folder for a case, None when none does."""
    return next((each for each in formats or Formats() if each.claims(path)), None)


def list_cases(place: Path, formats: Iterable[AnyFormat] | None = None) -> list[FoundCase]:
    """List the cases of a folder in all formats, sorted by file name, refused entries among them.

    Args:
        place: a folder, or a single file, which must be a case.
        formats: who is asked, in this order; all by default.

    Raises:
        CaseError: the folder is missing or may not be listed, or the file is no case.
    """
    asked = formats or Formats()
    owners: dict[Path, AnyFormat] = {}

    def claims(path: Path) -> bool:
        owner = format_of(path, asked)
        if owner is not None:
            owners[path] = owner
        return owner is not None

    listing = CaseListing((place,) if claims(place) else (), ()) if place.is_file() else list_entries(place, claims)
    found: list[FoundCase] = []
    for path, refused in [*((path, None) for path in listing.cases), *listing.refused]:
        owner = owners[path]
        if not isinstance(owner, GatheringFormat):
            found.append(FoundCase(path, owner, refused))
    gathering = {id(owner): owner for owner in owners.values() if isinstance(owner, GatheringFormat)}
    for owner in gathering.values():
        own = [path for path in listing.cases if owners[path] is owner]
        found += [FoundCase(path, each) for path, each in owner.gather(own)]
    return sorted(found, key=lambda case: (case.path.name, case.name))


def wanted() -> str:
    """Say for people what a case looks like in a folder."""
    first, *others = Formats()
    return f"{first.cases}, or with boxes {', '.join(each.cases for each in others)}"
