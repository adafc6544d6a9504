"""The cases that can be opened: those of the folder or file on the command line, drawn ones, and uploads.

The page names a case by its id, which is looked up here; no path ever comes from the page.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from graysam.errors import CaseError
from graysam.formats.reading_options import Reading
from graysam.formats.registry import Formats, FoundCase, list_cases
from graysam.view.demo import DEMO_NAMES, write_demo
from graysam.view.protocol import UPLOAD_FILES

Source = Literal["folder", "demo", "upload"]

_BATCH = re.compile(r"[A-Za-z0-9]{1,32}")
# Of a file in an upload: no separators, no hidden files, nothing that a terminal or a shell could take for a command.
_FILE_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,200}")


@dataclass(frozen=True)
class Entry:
    """A case that can be opened.

    Attributes:
        id: what the page calls it.
        found: where it lies, and who reads and writes it; None for a drawn case that nobody has opened yet.
        name: what it is called.
        source: where it came from.
    """

    id: str
    found: FoundCase | None
    name: str
    source: Source

    def to_json(self) -> dict[str, Any]:
        """Give what `protocol` says of a case in a list."""
        return {
            "id": self.id,
            "name": self.name,
            "format": "npz" if self.found is None else self.found.format.name,
            "source": self.source,
            "refused": None if self.found is None else self.found.refused,
        }


class Catalogue:
    """All entries, by id."""

    def __init__(self, place: Path | None, reading: Reading, uploads: Path) -> None:
        """List the cases.

        Args:
            place: the folder or file that was opened, None for none.
            reading: how cases are read; here boxes become optional, and values before their window are kept.
            uploads: an empty folder for uploads and drawn cases, deleted by its owner.

        Raises:
            CaseError: the folder cannot be listed, or the file is no case.
        """
        self._reading = replace(reading, boxes=replace(reading.boxes, optional=True), keep_original=True)
        self._uploads = uploads
        self._entries: dict[str, Entry] = {}
        if place is not None:
            found = list_cases(place, Formats(self._reading))
            if place.is_file() and not found:
                raise CaseError(f"{place.name}: no image or volume that graysam predict reads.")
            self._add(found, "folder")
        for name in DEMO_NAMES:
            self._put(Entry(_id("demo", name), None, name, "demo"))

    @property
    def entries(self) -> Sequence[Entry]:
        """Give all entries, in the order of the list that is shown."""
        return tuple(self._entries.values())

    def get(self, case_id: str) -> Entry:
        """Give an entry whose file is there: a drawn case is drawn now.

        Raises:
            CaseError: no such id, or an entry that must not be opened.
        """
        entry = self._entries.get(case_id)
        if entry is None:
            raise CaseError("no such case; it may be one of an earlier start of graysam view.")
        if entry.found is None:
            path = write_demo(self._uploads, entry.name)
            entry = replace(entry, found=list_cases(path, Formats(self._reading))[0])
            self._put(entry)
        if entry.found is not None and entry.found.refused is not None:
            raise CaseError(entry.found.refused)
        return entry

    def upload_path(self, name: str, batch: str) -> Path:
        """Give where a file of an upload goes; its folder is made.

        Raises:
            CaseError: a name that is no plain file name, one that is there already, or too many files.
        """
        if not _BATCH.fullmatch(batch):
            raise CaseError(f"batch {batch[:40]!r}: wanted up to 32 letters and digits.")
        if not _FILE_NAME.fullmatch(name) or name.startswith(".") or name != Path(name).name:
            raise CaseError(f"{name[:80]!r} is no plain file name; rename the file.")
        folder = self._uploads / f"upload-{batch}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if sum(1 for _ in folder.iterdir()) >= UPLOAD_FILES:
            raise CaseError(f"more than {UPLOAD_FILES:,} files in one upload.")
        path = folder / name
        if path.exists():
            raise CaseError(f"{name} is in this upload already.")
        return path

    def add_upload(self, batch: str) -> list[Entry]:
        """Make cases of the files of an upload, and give them.

        Raises:
            CaseError: no such upload, or its files make no case.
        """
        folder = self._uploads / f"upload-{batch}"
        if not _BATCH.fullmatch(batch) or not folder.is_dir():
            raise CaseError(f"batch {batch[:40]!r}: no such upload.")
        entries = self._add(list_cases(folder, Formats(self._reading)), "upload")
        if not entries:
            raise CaseError("the files are no image or volume that graysam predict reads.")
        return entries

    def _add(self, found: Sequence[FoundCase], source: Source) -> list[Entry]:
        entries = [Entry(_id(source, str(each.path), each.name), each, each.name, source) for each in found]
        for entry in entries:
            self._put(entry)
        return entries

    def _put(self, entry: Entry) -> None:
        self._entries[entry.id] = entry


def _id(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
