"""The open case: what a person does to it, and what the model answers. All of it runs in the worker's one thread.

Each message of `protocol` that changes something is a method here. A change goes into the document, then into the
session file, and only then back to the page.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graysam.api import Segmenter
from graysam.boxes import Box, VolumeBox, box_around
from graysam.cases import Case, VolumeCase
from graysam.errors import CaseError
from graysam.image.drawing import label_colours
from graysam.image.preprocessing import slice_at
from graysam.inference.images import BoxAnswer, PromptedSlice, with_clicks
from graysam.inference.volumes import propagated_prompt
from graysam.prompts import USUAL_FIT, BoxFit, Click, Neighbour, Prompt, box_rows
from graysam.view.document import WHOLE, Address, Document, Operation, Value
from graysam.view.journal import Journal
from graysam.view.labels import LabelMap
from graysam.view.masks import SliceMask, answer_runs, empty_mask, stroke, told_confidence
from graysam.view.protocol import MOST_OBJECTS

Event = dict[str, Any]
Set = list[tuple[Address, Value]]

# Embeddings at hand: of the default model 2 MB each with their slice; a person scrolls to and fro over a few.
SLICES_KEPT: Final = 24
# How much wider "this box again, wider" is on each side: a tenth of it, two pixels at least.
WIDER_SHARE, WIDER_PX = 0.1, 2.0
# Boxes that came with a case are answered when it is opened, as long as nobody waits long for it.
SLICES_ANSWERED_AT_OPENING: Final = 50


@dataclass
class Following:
    """A propagation on its way.

    Attributes:
        number: the object.
        left: slices to do, each with the neighbour that is known.
        operation: the number of its step in the history, None before its first slice.
        done, total: slices.
    """

    number: int
    left: list[tuple[int, int]]
    total: int
    operation: int | None = None
    done: int = 0


class Bench:
    """A case with its document, its session file and the model."""

    def __init__(self, segmenter: Segmenter, case: Case, document: Document, journal: Journal) -> None:
        self.case = case
        self.document = document
        self.journal = journal
        self.following: Following | None = None
        self.stack: NDArray[Any] = case.image if isinstance(case, VolumeCase) else case.image[None]
        shown = case.image if case.original is None else case.original.values
        self.shown: NDArray[Any] = shown if isinstance(case, VolumeCase) else shown[None]
        self.depth = len(self.stack)
        self.size_hw = (self.stack.shape[1], self.stack.shape[2])
        self.labels = LabelMap(document, self.stack.shape[:3], is_volume=isinstance(case, VolumeCase))
        self._segmenter = segmenter
        self._prepared: OrderedDict[int, PromptedSlice] = OrderedDict()

    def begin(self) -> None:
        """Make objects of the boxes that came with the case, and answer them; for a session that is new."""
        boxes: Sequence[Box | VolumeBox] = self.case.boxes
        what = "boxes of the file"
        for index, box in enumerate(boxes[:MOST_OBJECTS]):
            name = self.case.box_names[index] if index < len(self.case.box_names) else ""
            number, values = self._new_object(name, "")
            flat, z = (box, 0) if isinstance(box, Box) else (box.box, box.key_slice)
            values += [((number, "box", z), flat.numbers), ((number, "key", WHOLE), z)]
            if isinstance(box, VolumeBox):
                values.append(((number, "range", WHOLE), (box.z_min, box.z_max)))
            self.document.do(what, values)
        by_slice: dict[int, list[int]] = {}
        for number in self.document.objects:
            by_slice.setdefault(self.document.get(number, "key"), []).append(number)
        for z in sorted(by_slice)[:SLICES_ANSWERED_AT_OPENING]:
            numbers = by_slice[z]
            prompts = [self._prompt(number, z, Box(*self.document.get(number, "box", z))) for number in numbers]
            for number, answer in zip(numbers, self._slice(z).answer(prompts), strict=True):
                mask = SliceMask.of_answer(answer, self.size_hw, "box")
                self.document.do(what, [((number, "mask", z), mask)])
        if boxes:
            # What the file brings is where a person begins, and nothing to be undone.
            self.document.load(list(self.document.everything()), [], [])
            self.journal.rewrite()

    # --- objects ---

    def add_object(self, name: str, colour: str) -> list[Event]:
        """Make an object."""
        if len(self.document.objects) >= MOST_OBJECTS:
            raise CaseError(f"there are {MOST_OBJECTS} objects; more are not shown.")
        number, values = self._new_object(name, colour)
        self._do("add object", values)
        return [self.object_event(number)]

    def rename(self, number: int, name: str) -> list[Event]:
        """Give an object another name; an empty one is refused."""
        self._check(number)
        if not name:
            raise CaseError("name: wanted at least one letter.")
        self._do("rename", [((number, "name", WHOLE), name)])
        return [self.object_event(number)]

    def recolour(self, number: int, colour: str) -> list[Event]:
        """Give an object another colour."""
        self._check(number)
        self._do("colour", [((number, "colour", WHOLE), _colour(colour))])
        return [self.object_event(number)]

    def delete_object(self, number: int) -> list[Event]:
        """Take an object with all its masks away."""
        self._check(number)
        if self.following and self.following.number == number:
            self.following = None
        values = [(address, None) for address, _ in self.document.everything() if address[0] == number]
        self._do("delete object", values)
        return [self.state_event()]

    def set_range(self, number: int, first: int, last: int) -> list[Event]:
        """Say on which slices an object lies; in either order."""
        self._check(number)
        first, last = min(first, last), max(first, last)
        if last >= self.depth:
            raise CaseError(f"slice {last}: the volume has 0 to {self.depth - 1}.")
        self._do("first and last slice", [((number, "range", WHOLE), (first, last))])
        return [self.object_event(number)]

    def set_done(self, number: int, z: int, is_done: bool) -> list[Event]:
        """Mark a slice as done, so that following leaves it as it is; or take the mark away."""
        self._check(number, z)
        self._do("slice done" if is_done else "slice not done", [((number, "done", z), True if is_done else None)])
        return [self.object_event(number)]

    # --- masks of a slice ---

    def box(self, number: int, z: int, numbers: Sequence[float], is_final: bool) -> list[Event]:
        """Answer a box; a preview changes nothing."""
        self._check(number, z)
        box = self._cleaned(numbers)
        answer = self._answer(number, z, box)
        if not is_final:  # only shown, so that its logits are not packed
            runs = answer_runs(answer, self.size_hw)
            event = {**_mask_event(number, z, None, is_final=False), "runs": runs.tolist()}
            return [{**event, "confidence": told_confidence(answer)}]
        mask = SliceMask.of_answer(answer, self.size_hw, "box")
        return self._masked("box", number, z, self._boxed(number, z, box, mask))

    def wider(self, number: int, z: int) -> list[Event]:
        """Answer the slice's box again, wider on each side."""
        self._check(number, z)
        old = self._known_box(number, z)
        room_x, room_y = (max(WIDER_PX, WIDER_SHARE * side) for side in (old.width, old.height))
        box = Box(old.x_min - room_x, old.y_min - room_y, old.x_max + room_x, old.y_max + room_y).within(self.size_hw)
        mask = SliceMask.of_answer(self._answer(number, z, box), self.size_hw, "box")
        return self._masked("wider box", number, z, self._boxed(number, z, box, mask))

    def click(self, number: int, z: int, x: float, y: float, is_inside: bool) -> list[Event]:
        """Correct a slice's mask by a click."""
        self._check(number, z)
        if not self._segmenter.takes_clicks:
            raise CaseError("the model takes no clicks; use the brush, the eraser, or the box again, wider.")
        box = self._known_box(number, z)
        clicks = (*(self.document.get(number, "clicks", z) or ()), (x, y, is_inside))
        known: SliceMask | None = self.document.get(number, "mask", z)
        prompt = with_clicks(
            # Round a mask that was followed to this slice a box is drawn by nobody.
            self._prompt(number, z, box, fit=USUAL_FIT if self.document.get(number, "box", z) else "unknown"),
            [Click(*each) for each in clicks],
            None if known is None or known.is_empty else known.to_mask(),
        )
        answer = self._slice(z).answer([prompt])[0]
        mask = SliceMask.of_answer(answer, self.size_hw, "click")
        values: Set = [((number, "clicks", z), clicks), ((number, "mask", z), mask)]
        return self._masked("click", number, z, values)

    def brush(
        self, number: int, z: int, points: list[tuple[float, float]], radius: float, is_adding: bool
    ) -> list[Event]:
        """Paint on a slice's mask, or erase."""
        self._check(number, z)
        known: SliceMask = self.document.get(number, "mask", z) or empty_mask(self.size_hw)
        touched, before = stroke(self.size_hw, points, radius), known.to_mask()
        after = before | touched if is_adding else before & ~touched
        if np.array_equal(before, after):
            return [_mask_event(number, z, known)]
        values: Set = [((number, "mask", z), known.edited(after))]
        return self._masked("brush" if is_adding else "eraser", number, z, values)

    def clear(self, number: int, z: int) -> list[Event]:
        """Take an object off a slice, with its box and clicks there."""
        self._check(number, z)
        return self._masked("clear slice", number, z, [((number, name, z), None) for name in ("mask", "box", "clicks")])

    def masks(self, z: int) -> list[Event]:
        """Give the masks of all objects on a slice."""
        self._check_slice(z)
        found = [(number, self.document.get(number, "mask", z)) for number in self.document.objects]
        masks = [
            {"object": number, "runs": mask.runs.tolist(), "confidence": mask.confidence}
            for number, mask in found
            if mask is not None
        ]
        return [{"type": "masks", "slice": z, "masks": masks}]

    # --- following ---

    def follow(self, number: int, z: int) -> list[Event]:
        """Begin to follow an object from a slice to both ends of its range; `step` does the work.

        Raises:
            CaseError: no range, nothing on that slice, or something is being followed already.
        """
        self._check(number, z)
        if self.following is not None:
            raise CaseError("an object is being followed; stop that first.")
        span = self.document.get(number, "range")
        if span is None:
            raise CaseError("set the object's first and last slice before following it.")
        first, last = span
        if not first <= z <= last:
            raise CaseError(f"slice {z} does not lie between the object's first slice {first} and its last one {last}.")
        known: SliceMask | None = self.document.get(number, "mask", z)
        if known is None or known.is_empty:
            raise CaseError("draw a box on this slice first; following begins at a mask.")
        left = [(each, each - 1) for each in range(z + 1, last + 1)]
        left += [(each, each + 1) for each in range(z - 1, first - 1, -1)]
        self.following = Following(number, left, len(left))
        return [] if left else self._end("finished")

    def step(self) -> list[Event]:
        """Do the next slice of what is being followed."""
        run = self.following
        if run is None:
            return []
        z, neighbour = run.left.pop(0)
        try:
            events = self._follow_to(run, z, neighbour)
        except CaseError as error:
            return self._end(str(error))
        return events if run.left else events + self._end("finished")

    def stop(self) -> list[Event]:
        """Stop following."""
        return self._end("stopped")

    def _end(self, reason: str) -> list[Event]:
        run, self.following = self.following, None
        if run is None:
            return []
        return [
            {"type": "follow_ended", "object": run.number, "reason": reason},
            self.object_event(run.number),
            self.history_event(),
        ]

    def _follow_to(self, run: Following, z: int, neighbour: int) -> list[Event]:
        """Answer one slice, unless a person is done with it."""
        run.done += 1
        mask: SliceMask | None = self.document.get(run.number, "mask", z)
        if not self.document.get(run.number, "done", z):
            mask = self._propagated(run.number, z, neighbour)
            values: Set = [((run.number, "mask", z), mask), ((run.number, "clicks", z), None)]
            if z != self.document.get(run.number, "key"):
                values.append(((run.number, "box", z), None))
            part = self._do("follow", values, join=run.operation)
            run.operation = run.operation if part is None else part.number
        facts = _mask_event(run.number, z, mask)
        return [{**facts, "type": "followed", "done": run.done, "total": run.total}]

    def _propagated(self, number: int, z: int, neighbour: int) -> SliceMask:
        found: SliceMask | None = self.document.get(number, "mask", neighbour)
        known = None
        if found is not None and not found.is_empty:
            known = Neighbour(self._cut(neighbour), found.to_mask())
        boxes, index = self._given(number)
        hints = self._segmenter.takes_clicks
        prompt = propagated_prompt(boxes, index, z, known, size_hw=self.size_hw, hints=hints)
        answer = self._slice(z).answer([prompt])[0]
        return SliceMask.of_answer(answer, self.size_hw, "follow")

    def _given(self, number: int) -> tuple[list[VolumeBox], int]:
        """Give the boxes of all objects that have one, as the Python API would be given them, and which is `number`."""
        boxes: list[VolumeBox] = []
        index = 0
        for each in self.document.objects:
            box = self.volume_box(each)
            if each == number:
                index = len(boxes)
                box = box or self._box_of_masks(each)
            if box is not None:
                boxes.append(box)
        return boxes, index

    def volume_box(self, number: int) -> VolumeBox | None:
        """Give an object's first box and its slices as prediction takes them; None without a box."""
        key = self.document.get(number, "key")
        numbers = None if key is None else self.document.get(number, "box", key)
        if numbers is None:
            return None
        first, last = self.document.get(number, "range") or (key, key)
        given = VolumeBox(Box(*numbers), first, last)
        return given if key == given.key_slice or not first <= key <= last else replace(given, z_box=key)

    def _box_of_masks(self, number: int) -> VolumeBox:
        """Give a box for an object that was only brushed: that of its largest slice."""
        masks: dict[int, SliceMask] = self.document.on_slices(number, "mask")
        largest = max(masks, key=lambda each: int(masks[each].runs[1::2].sum()))
        box = box_around(masks[largest].to_mask())
        assert box is not None
        first, last = self.document.get(number, "range")
        return VolumeBox(box, first, last)

    # --- history ---

    def undo(self) -> list[Event]:
        """Take the last operation back."""
        self.following = None
        if self.document.done:
            self.journal.write_undo(self.document.done[-1])
            self._changed(self.document.undo())
        return [self.state_event()]

    def redo(self) -> list[Event]:
        """Do again what was undone last."""
        self.following = None
        if self.document.undone:
            self.journal.write_redo(self.document.undone[-1])
            self._changed(self.document.redo())
        return [self.state_event()]

    # --- events ---

    def history_event(self) -> Event:
        """Give what undo and redo would do."""
        done, undone = self.document.done, self.document.undone
        return {
            "type": "history",
            "can_undo": bool(done),
            "can_redo": bool(undone),
            "undo": done[-1].what if done else "",
            "redo": undone[-1].what if undone else "",
        }

    def object_event(self, number: int) -> Event:
        """Give all of an object but its masks."""
        return {"type": "object", "object": self.object_facts(number)}

    def object_facts(self, number: int) -> dict[str, Any]:
        """Give an object as `protocol` says."""
        get, on_slices = self.document.get, self.document.on_slices
        first, last = get(number, "range") or (None, None)
        masks: dict[int, SliceMask] = on_slices(number, "mask")
        clicks = on_slices(number, "clicks")
        return {
            "id": number,
            "name": get(number, "name"),
            "colour": get(number, "colour"),
            "first": first,
            "last": last,
            "key_slice": get(number, "key"),
            "boxes": {str(z): list(box) for z, box in on_slices(number, "box").items()},
            "clicks": {
                str(z): [{"x": x, "y": y, "is_inside": is_inside} for x, y, is_inside in each]
                for z, each in clicks.items()
            },
            "slices": {str(z): mask.confidence for z, mask in masks.items() if not mask.is_empty},
            "origins": {str(z): mask.origin for z, mask in masks.items() if not mask.is_empty},
            "done": list(on_slices(number, "done")),
        }

    def state_event(self) -> Event:
        """Give everything but masks; the server adds the case and the model."""
        run = self.following
        return {
            "type": "state",
            "objects": [self.object_facts(number) for number in self.document.objects],
            "history": self.history_event(),
            "following": None if run is None else {"object": run.number, "done": run.done, "total": run.total},
        }

    # --- parts ---

    def _new_object(self, name: str, colour: str) -> tuple[int, Set]:
        number = self.document.next_object
        blue, green, red = label_colours(number)[-1].tolist()
        shown = _colour(colour) if colour else f"#{red:02x}{green:02x}{blue:02x}"
        return number, [
            ((number, "name", WHOLE), name or f"object {number}"),
            ((number, "colour", WHOLE), shown),
        ]

    def _do(self, what: str, values: Iterable[tuple[Address, Value]], *, join: int | None = None) -> Operation | None:
        """Write an operation down, then carry it out, so that what could not be kept has not happened."""
        part = self.document.plan(what, values, join=join)
        if part is not None:
            self.journal.write(part)
            self.document.enter(part)
            self._changed(part)
            self.journal.keep_small()
        return part

    def _changed(self, operation: Operation | None) -> None:
        if operation is not None:
            self.labels.touch(operation.changes)

    def _boxed(self, number: int, z: int, box: Box, mask: SliceMask) -> Set:
        """Give what a box changes; it is the object's first one where there is none, or no longer one."""
        values: Set = [((number, "box", z), box.numbers), ((number, "clicks", z), None), ((number, "mask", z), mask)]
        key = self.document.get(number, "key")
        if key is None or self.document.get(number, "box", key) is None:
            values.append(((number, "key", WHOLE), z))
        return values

    def _masked(self, what: str, number: int, z: int, values: Set) -> list[Event]:
        self._do(what, values)
        return [_mask_event(number, z, self.document.get(number, "mask", z)), self.object_event(number)]

    def _check(self, number: int, z: int | None = None) -> None:
        if self.document.get(number, "name") is None:
            raise CaseError(f"object {number} is not there (any more).")
        if z is not None:
            self._check_slice(z)

    def _check_slice(self, z: int) -> None:
        if z >= self.depth:
            raise CaseError(f"slice {z}: the case has 0 to {self.depth - 1}.")

    def _cleaned(self, numbers: Sequence[float]) -> Box:
        """Give a box as drawn, in order and cut at the borders."""
        height, width = self.size_hw
        x_min, x_max = sorted((numbers[0], numbers[2]))
        y_min, y_max = sorted((numbers[1], numbers[3]))
        if x_max < 0 or y_max < 0 or x_min > width - 1 or y_min > height - 1:
            raise CaseError("the box lies wholly outside the image.")
        return Box(x_min, y_min, x_max, y_max).within(self.size_hw)

    def _known_box(self, number: int, z: int) -> Box:
        """Give the box of a slice: as drawn, else round its mask."""
        numbers = self.document.get(number, "box", z)
        if numbers is not None:
            return Box(*numbers)
        mask: SliceMask | None = self.document.get(number, "mask", z)
        box = None if mask is None else box_around(mask.to_mask())
        if box is None:
            raise CaseError("draw a box on this slice first.")
        return box

    def _answer(self, number: int, z: int, box: Box) -> BoxAnswer:
        """Ask the model for an object on a slice."""
        return self._slice(z).answer([self._prompt(number, z, box)])[0]

    def _prompt(self, number: int, z: int, box: Box, fit: BoxFit = USUAL_FIT) -> Prompt:
        """Give what the model is asked for an object on a slice, as prediction would ask."""
        prompt = Prompt(box, fit=fit)
        return self._hinted(prompt, number, z) if self._segmenter.takes_clicks else prompt

    def _hinted(self, prompt: Prompt, number: int, z: int) -> Prompt:
        """Tell a model that is shown them the other boxes of the slice, and where in its object the slice lies."""
        if not isinstance(self.case, VolumeCase):
            # Its own box is left out: the one that is known may be an earlier one, which would pass for a neighbour.
            drawn = [self.document.get(other, "box", z) for other in self.document.objects if other != number]
            return replace(prompt, others=box_rows([Box(*each) for each in drawn if each]))
        others, place = [], 0.0
        for each in self.document.objects:
            given = self.volume_box(each)
            if given is not None and each == number and given.z_min <= z <= given.z_max:
                place = given.place(z)
            elif given is not None and each != number and given.z_min <= z <= given.z_max:
                others.append(given.cross_section(z).within(self.size_hw))
        return replace(prompt, others=box_rows(others), place=place)

    def _slice(self, z: int) -> PromptedSlice:
        """Give a slice with its embedding, encoded now unless it is at hand."""
        if z not in self._prepared:
            is_volume = isinstance(self.case, VolumeCase)
            self._prepared[z] = self._segmenter.prepare_slice(self.case.image, z if is_volume else None)
            while len(self._prepared) > SLICES_KEPT:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(z)
        return self._prepared[z]

    def _cut(self, z: int) -> NDArray[Any]:
        return slice_at(self.case.image, z, self._segmenter.engine.spec)


def _mask_event(number: int, z: int, mask: SliceMask | None, *, is_final: bool = True) -> Event:
    return {
        "type": "mask",
        "object": number,
        "slice": z,
        "runs": [] if mask is None else mask.runs.tolist(),
        "confidence": None if mask is None else mask.confidence,
        "is_final": is_final,
    }


def _colour(text: str) -> str:
    if len(text) != 7 or text[0] != "#" or not all(letter in "0123456789abcdefABCDEF" for letter in text[1:]):
        raise CaseError(f"colour {text[:20]!r}: wanted #rrggbb.")
    return text.lower()
