"""The formats that prediction reads and writes: one line each, asked in this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from graysam.formats.base import CaseFormat, CaseListing, GatheringFormat, list_entries
from graysam.formats.dicom_series import DicomFormat
from graysam.formats.npz import NpzFormat
from graysam.formats.pictures import PictureFormat
from graysam.formats.reading import Reading
from graysam.formats.volumes import MetaFormat, NiftiFormat, NrrdFormat

AnyFormat: TypeAlias = CaseFormat | GatheringFormat


def make_formats(reading: Reading) -> tuple[AnyFormat, ...]:
    """Give the formats, told how the user wants cases to be read."""
    return (
        NpzFormat(),
        PictureFormat(reading),
        NiftiFormat(reading),
        MetaFormat(reading),
        NrrdFormat(reading),
        DicomFormat(reading),
    )


FORMATS = make_formats(Reading())


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


def format_of(path: Path, formats: Sequence[AnyFormat] = FORMATS) -> AnyFormat | None:
    """Give the first format that takes an entry of a folder for a case, None when none does."""
    return next((each for each in formats if each.claims(path)), None)


def list_cases(place: Path, formats: Sequence[AnyFormat] = FORMATS) -> list[FoundCase]:
    """List the cases of a folder in all formats, sorted by file name, refused entries among them.

    Args:
        place: a folder, or a single file, which must be a case.
        formats: who is asked, in this order.

    Raises:
        CaseError: the folder is missing or may not be listed, or the file is no case.
    """
    owners: dict[Path, AnyFormat] = {}

    def claims(path: Path) -> bool:
        owner = format_of(path, formats)
        if owner is not None:
            owners[path] = owner
        return owner is not None

    listing = CaseListing((place,) if claims(place) else (), ()) if place.is_file() else list_entries(place, claims)
    found: list[FoundCase] = []
    for path, refused in [*((path, None) for path in listing.cases), *listing.refused]:
        owner = owners[path]
        if not isinstance(owner, GatheringFormat):
            found.append(FoundCase(path, owner, refused))
    for owner in formats:
        own = [path for path in listing.cases if owners[path] is owner]
        if own and isinstance(owner, GatheringFormat):
            found += [FoundCase(path, each) for path, each in owner.gather(own)]
    return sorted(found, key=lambda case: (case.path.name, case.name))


def wanted() -> str:
    """Say for people what a case looks like in a folder."""
    first, *others = FORMATS
    return f"{first.cases}, or with boxes {', '.join(each.cases for each in others)}"
