"""The open case: what a person does to it, and what the model answers. All of it runs in the worker's one thread.

Each message of `protocol` that changes something is a method here. A change goes into the document, then into the
session file, and only then back to the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graysam.api import Segmenter
from graysam.boxes import Box
from graysam.cases import Case, VolumeCase
from graysam.errors import CaseError
from graysam.image.drawing import label_colours
from graysam.prompts import USUAL_FIT, BoxFit, Prompt
from graysam.view.document import WHOLE, Address, ClickNumbers, Direction, Document, NewValues, Operation, Value
from graysam.view.facts import Event, history_event, mask_event, object_event, object_facts
from graysam.view.journal import Journal
from graysam.view.labels import LabelMap
from graysam.view.masks import Origin, SliceMask, answer_runs, empty_mask, stroke, told_confidence
from graysam.view.prompting import Prompter
from graysam.view.protocol import MOST_OBJECTS

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


class Editor:
    """Changes the open case: its document, with the session file, and asks the model."""

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
        self._prompter = Prompter(segmenter, case, document)

    def begin(self) -> None:
        """Make objects of the boxes that came with the case, with their clicks, and answer them; in a new session."""
        for index in range(min(len(self.case.boxes), MOST_OBJECTS)):
            self.document.do("boxes of the file", self._given(index))
        by_slice: dict[int, list[int]] = {}
        for number in self.document.objects:
            for z in self._slices_to_answer(number):
                by_slice.setdefault(z, []).append(number)
        for z in sorted(by_slice)[:SLICES_ANSWERED_AT_OPENING]:
            prompts = [self._prompt_as_it_stands(number, z) for number in by_slice[z]]
            answers = self._prompter.answer(z, prompts)
            for number, prompt, answer in zip(by_slice[z], prompts, answers, strict=True):
                mask = SliceMask.of_answer(answer, self.size_hw, "click" if prompt.clicks else "box")
                self.document.do("boxes of the file", [((number, "mask", z), mask)])
        if self.case.boxes:
            # What the file brings is where a person begins, and nothing to be undone.
            self.document.load(list(self.document.everything()), [], [])
            self.journal.rewrite()

    def _given(self, index: int) -> NewValues:
        """Give a new object of what the case says of box `index`: the box, its slices, clicks and an earlier answer."""
        box, corrections = self.case.boxes[index], self.case.corrections
        name = self.case.box_names[index] if index < len(self.case.box_names) else ""
        number, values = self._new_object(name, "")
        flat, key = (box, 0) if isinstance(box, Box) else (box.box, box.key_slice)
        values += [((number, "box", key), flat.numbers), ((number, "key", WHOLE), key)]
        if not isinstance(box, Box):
            values.append(((number, "range", WHOLE), (box.z_min, box.z_max)))
        if corrections is None:
            return values
        for z in range(self.depth):
            earlier = corrections.previous_on(index, z)
            if earlier is not None:
                values.append(((number, "mask", z), SliceMask.of_earlier(earlier)))
            if clicks := corrections.clicks_on(index, z):
                values.append(((number, "clicks", z), tuple((each.x, each.y, each.is_inside) for each in clicks)))
        return values

    def _slices_to_answer(self, number: int) -> set[int]:
        """Give the slices on which the case says something of an object: that of its box, and those with clicks.

        Where an earlier answer came with the case, that is what the clicks correct, and the box alone asks nothing new.
        """
        clicked = {*self.document.on_slices(number, "clicks")} if self._prompter.takes_clicks else set[int]()
        key = self.document.get(number, "key")
        return clicked if self.document.get(number, "mask", key) is not None else clicked | {key}

    # --- objects ---

    def add_object(self, name: str, colour: str) -> list[Event]:
        """Make an object."""
        if len(self.document.objects) >= MOST_OBJECTS:
            raise CaseError(f"there are {MOST_OBJECTS} objects; more are not shown.")
        number, values = self._new_object(name, colour)
        self._do("add object", values)
        return [object_event(self.document, number)]

    def rename(self, number: int, name: str) -> list[Event]:
        """Give an object another name; an empty one is refused."""
        self._check(number)
        if not name:
            raise CaseError("name: wanted at least one letter.")
        self._do("rename", [((number, "name", WHOLE), name)])
        return [object_event(self.document, number)]

    def recolour(self, number: int, colour: str) -> list[Event]:
        """Give an object another colour."""
        self._check(number)
        self._do("colour", [((number, "colour", WHOLE), _colour(colour))])
        return [object_event(self.document, number)]

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
        return [object_event(self.document, number)]

    def set_done(self, number: int, z: int, is_done: bool) -> list[Event]:
        """Mark a slice as done, so that following leaves it as it is; or take the mark away."""
        self._check(number, z)
        self._do("slice done" if is_done else "slice not done", [((number, "done", z), True if is_done else None)])
        return [object_event(self.document, number)]

    # --- masks of a slice ---

    def box(self, number: int, z: int, numbers: Sequence[float], fit: BoxFit, is_final: bool) -> list[Event]:
        """Answer a box; a preview changes nothing."""
        self._check(number, z)
        box = self._cleaned(numbers)
        self._check_fit(fit)
        if is_final:
            return self._masked("box", number, z, self._boxed(number, z, box, fit))
        # Only shown, so that its logits are not packed.
        answer = self._prompter.answer(z, [self._prompter.prompt(number, z, box, fit)])[0]
        runs, confidence = answer_runs(answer, self.size_hw).tolist(), told_confidence(answer)
        return [{**mask_event(number, z, None), "is_final": False, "runs": runs, "confidence": confidence}]

    def wider(self, number: int, z: int) -> list[Event]:
        """Answer the slice's box again, wider on each side."""
        self._check(number, z)
        old, fit = self._prompter.box(number, z)
        room_x, room_y = (max(WIDER_PX, WIDER_SHARE * side) for side in (old.width, old.height))
        box = Box(old.x_min - room_x, old.y_min - room_y, old.x_max + room_x, old.y_max + room_y).within(self.size_hw)
        return self._masked("wider box", number, z, self._boxed(number, z, box, fit))

    def fit(self, number: int, z: int, fit: BoxFit) -> list[Event]:
        """Say how the slice's box fits its object, and answer it again, with the clicks that are there."""
        self._check(number, z)
        self._check_fit(fit)
        if self.document.get(number, "box", z) is None:
            raise CaseError("draw a box on this slice first.")
        values: NewValues = [((number, "fit", z), None if fit == USUAL_FIT else fit)]
        clicks = self.document.get(number, "clicks", z) or ()
        prompt = self._prompter.prompt(number, z, self._prompter.box(number, z)[0], fit, clicks)
        values.append(((number, "mask", z), self._found(z, prompt, "click" if clicks else "box")))
        return self._masked("fit of the box", number, z, values)

    def click(self, number: int, z: int, x: float, y: float, is_inside: bool) -> list[Event]:
        """Correct a slice's mask by a click."""
        self._check(number, z)
        if not self._prompter.takes_clicks:
            raise CaseError("the model takes no clicks; use the brush, the eraser, or the box again, wider.")
        clicks = (*(self.document.get(number, "clicks", z) or ()), (x, y, is_inside))
        known: SliceMask | None = self.document.get(number, "mask", z)
        prompt = self._prompter.prompt(number, z, *self._prompter.box(number, z), clicks, known)
        values: NewValues = [((number, "clicks", z), clicks), ((number, "mask", z), self._found(z, prompt, "click"))]
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
            return [mask_event(number, z, known)]
        values: NewValues = [((number, "mask", z), known.edited(after))]
        return self._masked("brush" if is_adding else "eraser", number, z, values)

    def clear(self, number: int, z: int) -> list[Event]:
        """Take an object off a slice, with its box and clicks there."""
        self._check(number, z)
        values: NewValues = [((number, name, z), None) for name in ("mask", "box", "fit", "clicks")]
        return self._masked("clear slice", number, z, values)

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
            object_event(self.document, run.number),
            self.history_event(),
        ]

    def _follow_to(self, run: Following, z: int, neighbour: int) -> list[Event]:
        """Answer one slice, unless a person is done with it."""
        run.done += 1
        mask: SliceMask | None = self.document.get(run.number, "mask", z)
        if not self.document.get(run.number, "done", z):
            mask = self._prompter.propagated(run.number, z, neighbour)
            values: NewValues = [((run.number, "mask", z), mask), ((run.number, "clicks", z), None)]
            if z != self.document.get(run.number, "key"):
                values += [((run.number, name, z), None) for name in ("box", "fit")]
            part = self._do("follow", values, join=run.operation)
            run.operation = run.operation if part is None else part.number
        facts = mask_event(run.number, z, mask)
        return [{**facts, "type": "followed", "done": run.done, "total": run.total}]

    # --- history ---

    def turn(self, direction: Direction) -> list[Event]:
        """Take the last operation back, or do again what was undone last."""
        self.following = None
        due = self.document.due(direction)
        if due is not None:
            self.journal.write_turn(direction, due)
            self.document.turn(direction)
            self.labels.touch(due.changes)
        return [self.state_event()]

    # --- events ---

    def history_event(self) -> Event:
        """Give what undo and redo would do."""
        return history_event(self.document)

    def state_event(self) -> Event:
        """Give everything but masks; the server adds the case and the model."""
        run = self.following
        return {
            "type": "state",
            "objects": [object_facts(self.document, number) for number in self.document.objects],
            "history": history_event(self.document),
            "following": None if run is None else {"object": run.number, "done": run.done, "total": run.total},
        }

    # --- parts ---

    def _new_object(self, name: str, colour: str) -> tuple[int, NewValues]:
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
            self.labels.touch(part.changes)
            self.journal.keep_small()
        return part

    def _boxed(self, number: int, z: int, box: Box, fit: BoxFit) -> NewValues:
        """Answer a box, and give what it changes; it is the object's first one where there is none (any more)."""
        mask = self._found(z, self._prompter.prompt(number, z, box, fit), "box")
        said = None if fit == USUAL_FIT else fit
        fields: dict[str, Value] = {"box": box.numbers, "fit": said, "clicks": None, "mask": mask}
        values: NewValues = [((number, name, z), value) for name, value in fields.items()]
        key = self.document.get(number, "key")
        if key is None or self.document.get(number, "box", key) is None:
            values.append(((number, "key", WHOLE), z))
        return values

    def _found(self, z: int, prompt: Prompt, origin: Origin) -> SliceMask:
        """Ask the model one thing."""
        return SliceMask.of_answer(self._prompter.answer(z, [prompt])[0], self.size_hw, origin)

    def _prompt_as_it_stands(self, number: int, z: int) -> Prompt:
        """Make the prompt of all that is known of an object on a slice: box, clicks, and the mask that they correct."""
        box, fit = self._prompter.box(number, z)
        clicks: Sequence[ClickNumbers] = self.document.get(number, "clicks", z) or ()
        return self._prompter.prompt(number, z, box, fit, clicks, self.document.get(number, "mask", z))

    def _masked(self, what: str, number: int, z: int, values: NewValues) -> list[Event]:
        self._do(what, values)
        return [mask_event(number, z, self.document.get(number, "mask", z)), object_event(self.document, number)]

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

    def _check_fit(self, fit: BoxFit) -> None:
        """Refuse to say how a box fits to a model that is not shown it: that must not be ignored in silence."""
        if fit != USUAL_FIT and not self._prompter.takes_clicks:
            raise CaseError(f"the model is not shown how boxes fit, so that {fit!r} would change nothing.")


def _colour(text: str) -> str:
    if len(text) != 7 or text[0] != "#" or not all(letter in "0123456789abcdefABCDEF" for letter in text[1:]):
        raise CaseError(f"colour {text[:20]!r}: wanted #rrggbb.")
    return text.lower()
