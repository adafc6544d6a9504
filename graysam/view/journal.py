"""The session file: what was done to a case, a line of JSON for each operation, written before it is acknowledged.

A line is appended with one write, so that a killed server loses nothing that it had answered: the system has the line.
As with all our files nothing is promised of a power cut. A last line that was cut off is dropped when the file is read.
Reading carries out the lines again, so that the history survives, too. A file that has grown is written anew, whole or
not at all, as a table with its history.

    {"session": 1, "case": NAME, "fingerprint": HEX, "shape": [D, H, W]}
    {"table": [[object, field, slice, value], ...], "done": [...], "undone": [...], "next_object": N}
    {"op": N, "what": TEXT, "changes": [[object, field, slice, value], ...]}
    {"undo": N} or {"redo": N}
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from graysam.errors import CaseError
from graysam.files import written_whole
from graysam.view.document import (
    OBJECT_FIELDS,
    SLICE_FIELDS,
    WHOLE,
    Address,
    Change,
    Direction,
    Document,
    Operation,
    Value,
)
from graysam.view.masks import SliceMask

SUFFIX: Final = ".session"
VERSION: Final = 1
# Written anew when it is opened and larger than this, and while it is in use when it has grown by this.
COMPACT_BYTES: Final = 64 * 1024**2


class Journal:
    """An open session file, held by one server at a time."""

    def __init__(self, path: Path, header: dict[str, Any], document: Document) -> None:
        """Read the file into the document, or begin it.

        Args:
            path: the file; its folder exists.
            header: case, fingerprint and shape; a file of another case is set aside as NAME.session.1, .2, ...
            document: empty; is given what the file holds.

        Raises:
            CaseError: it cannot be read or written, or another server has it open.
        """
        self.path = path
        self._header = {"session": VERSION, **header}
        self._size_hw = (int(header["shape"][1]), int(header["shape"][2]))
        self._document = document
        self.was_set_aside: Path | None = None
        self._file = -1
        self._open()
        try:
            whole = self._read()
        except BaseException:
            self.close()
            raise
        os.ftruncate(self._file, whole)
        self._size = whole
        self.is_new = whole == 0
        if self.is_new:
            self._append(self._header)
        elif whole > COMPACT_BYTES:
            self.rewrite()
        self._compact_at = self._size + COMPACT_BYTES

    # --- writing ---

    def write(self, operation: Operation) -> None:
        """Note an operation that is about to be carried out."""
        changes = [_encoded(change.address, change.after) for change in operation.changes]
        self._append({"op": operation.number, "what": operation.what, "changes": changes})

    def keep_small(self) -> None:
        """Write a file anew that has grown much; the document must be as the file says."""
        if self._size > self._compact_at:
            self.rewrite()
            self._compact_at = self._size + COMPACT_BYTES

    def write_turn(self, direction: Direction, operation: Operation) -> None:
        """Note that an operation is about to be taken back, or done again."""
        self._append({direction: operation.number})

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._file, line)
            if written != len(line):
                os.ftruncate(self._file, self._size)
                raise OSError(28, "no space left")
        except OSError as error:
            raise CaseError(
                f"{self.path.name}: the session cannot be written to {self.path.parent}: {error.strerror}. Make room; "
                "what was done last is not kept."
            ) from error
        self._size += len(line)

    def rewrite(self) -> None:
        """Write the file anew, whole or not at all: the table with its history.

        Raises:
            CaseError: it cannot be written.
        """
        document = self._document
        table = {
            "table": [_encoded(address, value) for address, value in document.everything()],
            "done": [_operation(each) for each in document.done],
            "undone": [_operation(each) for each in document.undone],
            "next_object": document.next_object,
        }
        lines = (json.dumps(each, separators=(",", ":")) for each in (self._header, table))
        with written_whole(self.path, CaseError) as temporary:
            temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        self.close()
        self._open()
        self._size = os.fstat(self._file).st_size

    def _open(self) -> None:
        # No link is followed: one planted in the folder of results could lead out of it.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise CaseError(f"{self.path.name}: cannot be opened in {self.path.parent}: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise CaseError(
                f"{self.path.name}: is open in another graysam view; close that one, or give another --out."
            ) from error

    # --- reading ---

    def _read(self) -> int:
        """Carry out the lines, and give how many bytes of the file are whole."""
        with os.fdopen(os.dup(self._file), "rb") as stream:
            stream.seek(0)
            first = stream.readline()
            if not first.endswith(b"\n"):
                return 0
            if not self._is_ours(first):
                self._set_aside()
                return 0
            whole = len(first)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                try:
                    self._carry_out(json.loads(line))
                except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
                    raise CaseError(
                        f"{self.path.name}: byte {whole:,} and what follows is damaged ({error}). Move the file away "
                        "to begin anew, or cut it off there to keep what stands before."
                    ) from error
                whole += len(line)
        return whole

    def _is_ours(self, line: bytes) -> bool:
        try:
            return bool(json.loads(line) == self._header)
        except ValueError:
            return False

    def _set_aside(self) -> None:
        """Keep the session of another case of this name."""
        number = 1
        while (other := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        self.path.rename(other)
        self.was_set_aside = other
        self.close()
        self._open()

    def _carry_out(self, record: dict[str, Any]) -> None:
        document = self._document
        if "op" in record:
            values = self._decoded(record["changes"])
            changes = [Change(address, document.get(*address), value) for address, value in values]
            document.enter(Operation(int(record["op"]), str(record["what"]), changes))
        elif "undo" in record:
            _expect(document.turn("undo"), record["undo"])
        elif "redo" in record:
            _expect(document.turn("redo"), record["redo"])
        else:
            done, undone = ([self._history(each) for each in record[name]] for name in ("done", "undone"))
            document.load(self._decoded(record["table"]), done, undone)
            document.next_object = max(document.next_object, int(record["next_object"]))

    def _history(self, record: dict[str, Any]) -> Operation:
        before, after = self._decoded(record["before"]), self._decoded(record["after"])
        changes = [Change(old[0], old[1], new[1]) for old, new in zip(before, after, strict=True)]
        return Operation(int(record["op"]), str(record["what"]), changes)

    def _decoded(self, rows: Iterable[list[Any]]) -> list[tuple[Address, Value]]:
        return [self._value(*row) for row in rows]

    def _value(self, number: int, name: str, z: int, value: Any) -> tuple[Address, Value]:  # noqa: ANN401  JSON
        fits = name in (OBJECT_FIELDS if z == WHOLE else SLICE_FIELDS)
        if not fits or not isinstance(number, int) or not isinstance(z, int) or z >= self._header["shape"][0]:
            raise ValueError(f"no field {name} on slice {z}")
        if name == "mask" and value is not None:
            value = SliceMask.from_json(value, self._size_hw)
        elif isinstance(value, list):
            value = tuple(tuple(each) if isinstance(each, list) else each for each in value)
        return (number, name, z), value


def _expect(operation: Operation | None, number: int) -> None:
    if operation is None or operation.number != number:
        raise ValueError(f"operation {number} is not the last one")


def _operation(operation: Operation) -> dict[str, Any]:
    return {
        "op": operation.number,
        "what": operation.what,
        "before": [_encoded(change.address, change.before) for change in operation.changes],
        "after": [_encoded(change.address, change.after) for change in operation.changes],
    }


def _encoded(address: Address, value: Value) -> list[Any]:
    return [*address, value.to_json() if isinstance(value, SliceMask) else value]
