"""What a person has made of a case, as plain values with addresses; every change is an operation that can be undone.

The document is one table: (object, field, slice) -> value. Whatever a person does becomes a list of changes of that
table, each with the value before and after. Undo, redo and the session file need no more than that, and no kind of
operation needs code of its own there.

Fields of an object have slice -1: name, colour, range (first, last), key (the slice of its first box). Fields of a
slice: box, fit (how the box fits, where it is not `USUAL_FIT`), clicks, mask, done. A field that is None is not there.
An object is there while it has a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from graysam.boxes import Box, VolumeBox, box_around
from graysam.view.masks import SliceMask

Address: TypeAlias = tuple[int, str, int]
Value: TypeAlias = Any  # str, int, tuples of numbers, True, a SliceMask; None: not there
NewValues: TypeAlias = list[tuple[Address, Value]]
ClickNumbers: TypeAlias = tuple[float, float, bool]  # x, y, whether it is inside

Direction = Literal["undo", "redo"]

WHOLE: Final = -1
OBJECT_FIELDS: Final = ("name", "colour", "range", "key")
SLICE_FIELDS: Final = ("box", "fit", "clicks", "mask", "done")
# The history holds what was there before; the oldest steps go when it takes more.
HISTORY_BYTES: Final = 128 * 1024**2
HISTORY_STEPS: Final = 1000


@dataclass(frozen=True)
class Change:
    """One value of the table, before and after."""

    address: Address
    before: Value
    after: Value

    @property
    def nbytes(self) -> int:
        """Give the memory that both values take, about."""
        return sum(each.nbytes if isinstance(each, SliceMask) else 64 for each in (self.before, self.after))


@dataclass
class Operation:
    """What a person did, in words, and its changes.

    Attributes:
        number: counted over the life of the session file.
        what: in words, for the buttons of undo and redo.
        changes: in order.
    """

    number: int
    what: str
    changes: list[Change] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Give the memory that it takes, about."""
        return sum(change.nbytes for change in self.changes)


class Document:
    """The table, and the history of its changes."""

    def __init__(self, *, history_bytes: int = HISTORY_BYTES) -> None:
        self._values: dict[int, dict[tuple[str, int], Value]] = {}
        self._history_bytes = history_bytes
        self._kept_bytes = 0
        self.undone: list[Operation] = []
        self.done: list[Operation] = []
        self.next_number = 1
        self.next_object = 1

    # --- reading ---

    @property
    def objects(self) -> list[int]:
        """Give the objects that are there, in the order of their labels: that in which they were made."""
        return sorted(number for number, fields in self._values.items() if ("name", WHOLE) in fields)

    def get(self, number: int, name: str, z: int = WHOLE) -> Value:
        """Give a value, None where there is none."""
        return self._values.get(number, {}).get((name, z))

    def on_slices(self, number: int, name: str) -> dict[int, Value]:
        """Give a field of an object on all slices that have it, in order."""
        found = {z: value for (each, z), value in self._values.get(number, {}).items() if each == name}
        return dict(sorted(found.items()))

    def everything(self) -> Iterator[tuple[Address, Value]]:
        """Give the whole table."""
        for number, fields in self._values.items():
            for (name, z), value in fields.items():
                yield (number, name, z), value

    @property
    def kept_bytes(self) -> int:
        """Give the memory that the history takes, about."""
        return self._kept_bytes

    # --- changing ---

    def plan(self, what: str, values: Iterable[tuple[Address, Value]], *, join: int | None = None) -> Operation | None:
        """Give what would set values as one operation, for `enter`; nothing is changed yet.

        Args:
            what: in words.
            values: address and new value; such that change nothing are left out.
            join: the number of an operation that this is a part of; it is one step of the history as long as it is
                still the last.

        Returns:
            The operation with these changes alone; None where nothing would change.
        """
        changes = [
            Change(address, before, value)
            for address, value in values
            if (before := self.get(*address)) is not value and (isinstance(value, SliceMask) or before != value)
        ]
        if not changes:
            return None
        joins = join is not None and self.done and self.done[-1].number == join
        number = join if joins and join is not None else self.next_number
        return Operation(number, what, changes)

    def do(self, what: str, values: Iterable[tuple[Address, Value]], *, join: int | None = None) -> Operation | None:
        """Set values as one operation; see `plan` and `enter`."""
        part = self.plan(what, values, join=join)
        if part is not None:
            self.enter(part)
        return part

    def enter(self, operation: Operation) -> None:
        """Carry out an operation, joining the last one where it has its number, and forget what was undone."""
        for change in operation.changes:
            self._set(change.address, change.after)
        self._forget(self.undone)
        if self.done and self.done[-1].number == operation.number:
            self.done[-1].changes += operation.changes
        else:
            self.done.append(Operation(operation.number, operation.what, list(operation.changes)))
        self._kept_bytes += operation.nbytes
        self.next_number = max(self.next_number, operation.number + 1)
        while len(self.done) > 1 and (self._kept_bytes > self._history_bytes or len(self.done) > HISTORY_STEPS):
            self._kept_bytes -= self.done.pop(0).nbytes

    def due(self, direction: Direction) -> Operation | None:
        """Give the operation that undo would take back, or redo do again; None where there is none."""
        operations = self.done if direction == "undo" else self.undone
        return operations[-1] if operations else None

    def turn(self, direction: Direction) -> Operation | None:
        """Take the last operation back, or do again what was undone last, and give it; None where there is none."""
        if self.due(direction) is None:
            return None
        if direction == "undo":
            operation = self.done.pop()
            for change in reversed(operation.changes):
                self._set(change.address, change.before)
            self.undone.append(operation)
        else:
            operation = self.undone.pop()
            for change in operation.changes:
                self._set(change.address, change.after)
            self.done.append(operation)
        return operation

    def load(
        self, values: Iterable[tuple[Address, Value]], done: Sequence[Operation], undone: Sequence[Operation]
    ) -> None:
        """Take a table and its history as a session file has them, in place of all that was there."""
        self._values.clear()
        for address, value in values:
            self._set(address, value)
        self.done, self.undone = list(done), list(undone)
        self._kept_bytes = sum(operation.nbytes for operation in (*done, *undone))
        self.next_number = 1 + max((operation.number for operation in (*done, *undone)), default=0)

    def _forget(self, operations: list[Operation]) -> None:
        self._kept_bytes -= sum(operation.nbytes for operation in operations)
        operations.clear()

    def _set(self, address: Address, value: Value) -> None:
        number, name, z = address
        fields = self._values.setdefault(number, {})
        self.next_object = max(self.next_object, number + 1)
        if value is None:
            fields.pop((name, z), None)
        else:
            fields[name, z] = value


def volume_box(document: Document, number: int) -> VolumeBox | None:
    """Give an object's first box and its slices as prediction takes them; None without a box."""
    key = document.get(number, "key")
    numbers = None if key is None else document.get(number, "box", key)
    if numbers is None:
        return None
    first, last = document.get(number, "range") or (key, key)
    given = VolumeBox(Box(*numbers), first, last)
    return given if key == given.key_slice or not first <= key <= last else replace(given, z_box=key)


def box_of_masks(document: Document, number: int) -> VolumeBox | None:
    """Give a box for an object that was only brushed: that of its largest slice; None where no slice has it.

    Its slices are those that the object is said to have, else those with a mask.
    """
    masks: dict[int, SliceMask] = document.on_slices(number, "mask")
    largest = max(masks.values(), key=lambda each: each.pixels, default=None)
    box = None if largest is None else box_around(largest.to_mask())
    if box is None:
        return None
    filled = [z for z, mask in masks.items() if not mask.is_empty]
    first, last = document.get(number, "range") or (filled[0], filled[-1])
    return VolumeBox(box, first, last)
