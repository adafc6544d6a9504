"""What the server works with: the list of cases, the model, and the open case. Lives in the worker's thread."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graysam.api import Segmenter
from graysam.cases import Case, VolumeCase
from graysam.errors import CaseError, GraySamError
from graysam.view.catalogue import Catalogue, Entry
from graysam.view.document import Document
from graysam.view.editor import Editor
from graysam.view.facts import Event
from graysam.view.journal import SUFFIX, Journal
from graysam.view.protocol import BRUSH_POINTS, BRUSH_RADIUS, MOST_OBJECTS, NAME_LETTERS, UPLOAD_BYTES
from graysam.view.saving import save

logger = logging.getLogger(__name__)


class NotOpenError(CaseError):
    """No case is open."""


class NotReadyError(CaseError):
    """The model is still being loaded, or could not be."""


@dataclass(frozen=True)
class OpenCase:
    """The open case, with what it came from.

    Attributes:
        entry: its place in the list.
        editor: what changes it.
        facts: what `protocol` says of a case.
    """

    entry: Entry
    editor: Editor
    facts: dict[str, Any]


class Workspace:
    """The one owner of what is open."""

    def __init__(
        self, catalogue: Catalogue, out: Path, load: Callable[[], Segmenter], *, upload_bytes: int = UPLOAD_BYTES
    ) -> None:
        """Bind; nothing is loaded or read yet.

        Args:
            catalogue: what can be opened.
            out: the folder for everything that is written; it exists.
            load: makes the segmenter.
            upload_bytes: how large an uploaded file may be.
        """
        self.catalogue = catalogue
        self.out = out
        self.opened: OpenCase | None = None
        self._load = load
        self._segmenter: Segmenter | None = None
        self._model_error: str | None = None
        self.upload_bytes = upload_bytes

    # --- model ---

    def load_model(self) -> None:
        """Load the model; a failure is kept for whoever asks."""
        try:
            self._segmenter = self._load()
        except GraySamError as error:
            logger.error("error: %s", error)
            self._model_error = str(error)

    def model_facts(self) -> dict[str, Any]:
        """Give `model` as `protocol` says."""
        segmenter = self._segmenter
        return {
            "is_ready": segmenter is not None,
            "error": self._model_error,
            "name": "" if segmenter is None else segmenter.engine.spec.name,
            "precision": "" if segmenter is None else segmenter.engine.precision,
            "takes_clicks": segmenter is not None and segmenter.takes_clicks,
        }

    # --- cases ---

    def state(self) -> dict[str, Any]:
        """Give the answer to `api/state`."""
        return {
            "cases": [entry.to_json() for entry in self.catalogue.entries],
            "open": None if self.opened is None else self.opened.facts,
            "model": self.model_facts(),
            "limits": {
                "upload_bytes": self.upload_bytes,
                "brush_radius": BRUSH_RADIUS,
                "brush_points": BRUSH_POINTS,
                "name_letters": NAME_LETTERS,
            },
            "out": str(self.out),
        }

    def open(self, case_id: str) -> dict[str, Any]:
        """Open a case, with what was done to it before; the one that is open is closed.

        Raises:
            NotReadyError: there is no model yet.
            CaseError: it cannot be read, or its session file cannot be used.
        """
        entry = self.catalogue.get(case_id)
        if self.opened is not None and self.opened.entry.id == entry.id:
            return self.opened.facts
        if self._segmenter is None:
            raise NotReadyError(self._model_error or "the model is still being loaded.")
        assert entry.found is not None
        self._refuse_clash(entry)
        case = entry.found.format.read(entry.found.path)
        self.close()
        document = Document()
        journal = Journal(self.out / (entry.found.result_name + SUFFIX), _header(case), document)
        editor = Editor(self._segmenter, case, document, journal)
        try:
            if journal.is_new:
                editor.begin()
        except BaseException:
            journal.close()
            raise
        facts = _facts(entry, case, journal, takes_clicks=self._segmenter.takes_clicks)
        self.opened = OpenCase(entry, editor, facts)
        return self.opened.facts

    def close(self) -> None:
        """Close the case that is open."""
        if self.opened is not None:
            self.opened.editor.journal.close()
            self.opened = None

    def save(self) -> list[Event]:
        """Write the label map and the table of boxes."""
        opened = self.current()
        names = {each.name for each in self.catalogue.entries}
        return [{"type": "saved", "files": save(opened.entry, opened.editor, self.out, other_cases=names)}]

    def current(self) -> OpenCase:
        """Give the case that is open.

        Raises:
            NotOpenError: none is.
        """
        if self.opened is None:
            raise NotOpenError("no case is open.")
        return self.opened

    def _refuse_clash(self, entry: Entry) -> None:
        """Refuse a case whose result another one of the list would replace."""
        assert entry.found is not None
        for other in self.catalogue.entries:
            if other.id == entry.id or other.found is None or other.source != entry.source == "folder":
                continue
            if other.found.result_name == entry.found.result_name and other.found.path != entry.found.path:
                raise CaseError(
                    f"{entry.name} and {other.found.path.name}: both would be answered by {entry.found.result_name}; "
                    "rename one."
                )

    # --- live messages ---

    def state_event(self) -> Event:
        """Give the whole state."""
        if self.opened is None:
            nothing = {"type": "history", "can_undo": False, "can_redo": False, "undo": "", "redo": ""}
            event: Event = {"type": "state", "objects": [], "history": nothing, "following": None}
            return {**event, "case": None, "model": self.model_facts()}
        return self._completed(self.opened.editor.state_event())

    def handle(self, message: dict[str, Any]) -> list[Event]:
        """Do what a checked message says, and give what is to be told.

        Raises:
            CaseError: it cannot be done.
        """
        if message["type"] == "save":
            return self.save()
        events = _DO[message["type"]](self.current().editor, message)
        return [self._completed(event) for event in events]

    def step(self) -> list[Event]:
        """Do a step of what is being followed; [] when nothing is."""
        return [] if self.opened is None else self.opened.editor.step()

    @property
    def is_following(self) -> bool:
        """Tell whether there is a step to do."""
        return self.opened is not None and self.opened.editor.following is not None

    def _completed(self, event: Event) -> Event:
        if event["type"] != "state":
            return event
        return {**event, "case": self.current().facts, "model": self.model_facts()}


def _changed(editor: Editor, events: Sequence[Event]) -> list[Event]:
    return [*events, editor.history_event()]


def _box(editor: Editor, say: dict[str, Any]) -> list[Event]:
    events = editor.box(say["object"], say["slice"], say["box"], say["fit"], say["is_final"])
    return _changed(editor, events) if say["is_final"] else events


_DO: dict[str, Callable[[Editor, dict[str, Any]], list[Event]]] = {
    "add_object": lambda editor, say: _changed(editor, editor.add_object(say["name"], say["colour"])),
    "rename": lambda editor, say: _changed(editor, editor.rename(say["object"], say["name"])),
    "recolour": lambda editor, say: _changed(editor, editor.recolour(say["object"], say["colour"])),
    "delete_object": lambda editor, say: _changed(editor, editor.delete_object(say["object"])),
    "box": _box,
    "wider": lambda editor, say: _changed(editor, editor.wider(say["object"], say["slice"])),
    "fit": lambda editor, say: _changed(editor, editor.fit(say["object"], say["slice"], say["fit"])),
    "click": lambda editor, say: _changed(
        editor, editor.click(say["object"], say["slice"], say["x"], say["y"], say["is_inside"])
    ),
    "brush": lambda editor, say: _changed(
        editor, editor.brush(say["object"], say["slice"], say["points"], say["radius"], say["is_adding"])
    ),
    "clear": lambda editor, say: _changed(editor, editor.clear(say["object"], say["slice"])),
    "range": lambda editor, say: _changed(editor, editor.set_range(say["object"], say["first"], say["last"])),
    "done": lambda editor, say: _changed(editor, editor.set_done(say["object"], say["slice"], say["is_done"])),
    "follow": lambda editor, say: editor.follow(say["object"], say["from_slice"]),
    "stop": lambda editor, say: editor.stop(),
    "undo": lambda editor, say: _changed(editor, editor.turn("undo")),
    "redo": lambda editor, say: _changed(editor, editor.turn("redo")),
    "masks": lambda editor, say: editor.masks(say["slice"]),
}


def _header(case: Case) -> dict[str, Any]:
    """Give what tells whether a session belongs to a case: its name, shape and values, whatever their window."""
    values = case.image if case.original is None else case.original.values
    digest = hashlib.blake2b(digest_size=16)
    for part in values:
        digest.update(np.ascontiguousarray(part).data)
    shape = case.image.shape if isinstance(case, VolumeCase) else (1, *case.image.shape[:2])
    return {"case": case.name, "fingerprint": digest.hexdigest(), "shape": list(shape)}


def _facts(entry: Entry, case: Case, journal: Journal, *, takes_clicks: bool) -> dict[str, Any]:
    assert entry.found is not None
    shape = case.image.shape if isinstance(case, VolumeCase) else (1, *case.image.shape[:2])
    warnings = [*case.warnings]
    if len(case.boxes) > MOST_OBJECTS:
        warnings.append(f"there are {len(case.boxes):,} boxes; the first {MOST_OBJECTS:,} are objects here")
    if case.corrections is not None and not takes_clicks:
        warnings.append("the file holds clicks, but this model takes none: they are kept, and correct nothing")
    if journal.was_set_aside is not None:
        warnings.append(f"the session of another image of this name is kept as {journal.was_set_aside.name}")
    return {
        "id": entry.id,
        "name": entry.name,
        "kind": case.kind,
        "shape": list(shape),
        "channels": 3 if case.kind == "2D" and case.image.ndim == 3 else 1,
        "spacing_mm": None if case.spacing_mm is None else list(case.spacing_mm),
        "window": _window(case),
        "warnings": warnings,
        "notes": [*case.notes],
        "result": entry.found.result_name,
    }


def _window(case: Case) -> dict[str, float]:
    """Give the values that are best shown as black and white, and the ends of what the pixels hold."""
    pixels = case.image if case.original is None else case.original.values
    lowest, highest = float(pixels.min()), float(pixels.max())
    if case.original is not None:
        low, high = case.original.low, case.original.high
    else:
        low, high = (0.0, 255.0) if lowest >= 0 and highest <= 255 else (lowest, highest)
    return {"low": low, "high": high, "lowest": lowest, "highest": highest}
