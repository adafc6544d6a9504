"""What the page and the server tell each other: the one owner of addresses, messages, their fields and their limits.

Frames: pixels are counted from 0 in the image as stored. An image (H, W) is a volume of one slice, number 0. A box is
[x_min, y_min, x_max, y_max] on an axial slice, maxima inclusive, fractions allowed. "axial" is the array's first axis,
"coronal" cuts it at one y, "sagittal" at one x:

| plane    | index | rows, columns of the picture |
|----------|-------|------------------------------|
| axial    | z     | H (y), W (x)                 |
| coronal  | y     | D (z), W (x)                 |
| sagittal | x     | D (z), H (y)                 |

How a box fits its object is "loose" (a little outside, as people draw), "tight" or "unknown"; only a model that takes
clicks is told, and any other refuses all but "loose".

Masks travel as `runs`: [start, length, start, length, ...] of the true pixels of an axial slice, counted row by row
(start = y * W + x), in order; [] is an empty mask.

# Addresses, all below /{token}/

| request                                      | answer                                                               |
|----------------------------------------------|----------------------------------------------------------------------|
| GET /                                        | the page                                                             |
| GET page/{file}                              | its files                                                            |
| GET api/state                                | JSON: {cases, open, model, limits, out}                              |
| POST api/open {"id"}                         | JSON: the case (below); the live connection also gets `state`        |
| POST api/upload?name=N&batch=B               | JSON: {name, batch, bytes}; the body is the file's bytes             |
| POST api/uploaded {"batch"}                  | JSON: {cases}: those that the files of a batch make                  |
| GET api/slice?plane=P&index=N                | raw pixels, little endian, row by row, channels last                 |
| GET api/labels?plane=P&index=N               | raw label map as it will be saved: i + 1 for the object at place i   |

Raw answers are application/octet-stream with X-Height, X-Width, X-Channels (1 or 3) and X-Dtype (uint8, int8, uint16,
int16, uint32, int32, float32). An error is JSON {"error": message} with status 400, 404, 409 (nothing is open), 413
(too large) or 503 (the model is still being loaded). Every POST must carry our own Origin, as browsers send it.

`cases` lists {id, name, format, source: "folder" | "demo" | "upload", refused: null or why it cannot be opened}.
`model` is {is_ready, error, name, precision, takes_clicks (such a model is also told how boxes fit)}. `limits` is
{upload_bytes, brush_radius, brush_points, name_letters}. A case is {id, name, kind: "2D" | "3D", shape: [D, H, W]
([1, H, W] for an image), channels, spacing_mm: [z, y, x] or null, window: {low, high, lowest, highest}, warnings,
notes, result: file name of the answer}.

# Live messages: WebSocket /{token}/api/live, JSON texts with `type`

Client to server; each has `seq`, a number of the client's choice, which the answer repeats. `object` is an id. What is
answered has been written to the session file.

| type          | fields                                        | answer                                               |
|---------------|-----------------------------------------------|------------------------------------------------------|
| add_object    | name (may be ""), colour (may be "")          | object                                               |
| rename        | object, name                                  | object                                               |
| recolour      | object, colour "#rrggbb"                      | object                                               |
| delete_object | object                                        | state                                                |
| box           | object, slice, box, fit, is_final             | mask; not final: a preview, of which the newest wins |
| wider         | object, slice                                 | mask: the slice's box again, wider on each side      |
| fit           | object, slice, fit                            | mask: the slice's box again, said to fit so          |
| click         | object, slice, x, y, is_inside                | mask, or error where the model takes no clicks       |
| brush         | object, slice, points [[x, y], ...], radius, is_adding | mask                                        |
| clear         | object, slice                                 | mask, empty: takes the slice's box and clicks, too   |
| range         | object, first, last                           | object                                               |
| done          | object, slice, is_done                        | object                                               |
| follow        | object, from_slice                            | followed for each slice, then follow_ended           |
| stop          |                                               | follow_ended of what runs, if anything               |
| undo, redo    |                                               | state                                                |
| masks         | slice                                         | masks                                                |
| save          |                                               | saved                                                |

Server to client; `seq` is that of the message answered, null where nobody asked. Changes go to all connections.

| type         | fields                                                                                         |
|--------------|------------------------------------------------------------------------------------------------|
| state        | case (null: none is open), objects, history, following (null, or {object, done, total}), model |
| object       | object: all of it (below)                                                                      |
| mask         | object (id), slice, runs, confidence (0 to 1 or null), is_final                                |
| masks        | slice, masks: [{object (id), runs, confidence}]                                                |
| followed     | object (id), slice, runs, confidence, done, total                                              |
| follow_ended | object (id), reason: "finished", "stopped" or an error's words                                 |
| history      | can_undo, can_redo, undo, redo: what they would take back or do again, in words                |
| saved        | files: names in the folder `out`                                                               |
| error        | message                                                                                        |

`history` follows every change. An object is {id, name, colour, first, last (its slices, or null), key_slice (where its
first box lies, or null), boxes: {slice: box}, fits: {slice: fit} (of the boxes), clicks: {slice: [{x, y, is_inside}]},
slices: {slice: confidence or null} (where it has a mask), origins: {slice: "box" | "click" | "brush" | "follow"},
done: [slice, ...]}. Keys of JSON objects are texts, so slices are "12" there. The order of `objects` is that of the
labels.

Previews (`box` with is_final false) are answered for the newest one only: a preview that waits while a newer one of the
same object arrives is dropped, unanswered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from graysam.prompts import BoxFit

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: Final[tuple[Plane, ...]] = get_args(Plane)
FITS: Final[tuple[BoxFit, ...]] = get_args(BoxFit)

PAGE = "/"
PAGE_FILES = "/page/{file:path}"
STATE = "/api/state"
OPEN = "/api/open"
UPLOAD = "/api/upload"
UPLOADED = "/api/uploaded"
SLICE = "/api/slice"
LABELS = "/api/labels"
LIVE = "/api/live"

# As large as an array that prediction takes (graysam.formats.archives.MAX_ARRAY_BYTES).
UPLOAD_BYTES: Final = 4 * 1024**3
UPLOAD_FILES: Final = 5000
MESSAGE_BYTES: Final = 1024**2
BODY_BYTES: Final = 64 * 1024
NAME_LETTERS: Final = 200
MOST_OBJECTS: Final = 1000
BRUSH_RADIUS: Final = 500
BRUSH_POINTS: Final = 5000


@dataclass(frozen=True)
class Field:
    """A field of a message: its kind, and the bounds of a number or the longest text."""

    kind: Literal["int", "number", "bool", "text", "box", "fit", "points"]
    low: float = float("-inf")
    high: float = float("inf")


_OBJECT = Field("int", 1)
_SLICE = Field("int", 0)
_NAME = Field("text", high=NAME_LETTERS)
_COORDINATE = Field("number", -1e6, 1e6)

MESSAGES: Final[dict[str, dict[str, Field]]] = {
    "add_object": {"name": _NAME, "colour": Field("text", high=7)},
    "rename": {"object": _OBJECT, "name": _NAME},
    "recolour": {"object": _OBJECT, "colour": Field("text", high=7)},
    "delete_object": {"object": _OBJECT},
    "box": {"object": _OBJECT, "slice": _SLICE, "box": Field("box"), "fit": Field("fit"), "is_final": Field("bool")},
    "wider": {"object": _OBJECT, "slice": _SLICE},
    "fit": {"object": _OBJECT, "slice": _SLICE, "fit": Field("fit")},
    "click": {"object": _OBJECT, "slice": _SLICE, "x": _COORDINATE, "y": _COORDINATE, "is_inside": Field("bool")},
    "brush": {
        "object": _OBJECT,
        "slice": _SLICE,
        "points": Field("points"),
        "radius": Field("number", 0, BRUSH_RADIUS),
        "is_adding": Field("bool"),
    },
    "clear": {"object": _OBJECT, "slice": _SLICE},
    "range": {"object": _OBJECT, "first": _SLICE, "last": _SLICE},
    "done": {"object": _OBJECT, "slice": _SLICE, "is_done": Field("bool")},
    "follow": {"object": _OBJECT, "from_slice": _SLICE},
    "stop": {},
    "undo": {},
    "redo": {},
    "masks": {"slice": _SLICE},
    "save": {},
}
"""What a client may say: the fields of each type besides `type` and `seq`; all of them are needed."""


class MessageError(ValueError):
    """A message of the client that does not keep to `MESSAGES`; its text is for people."""


def checked_message(message: object) -> dict[str, Any]:
    """Give a client's message with whole and finite numbers, or refuse it.

    Raises:
        MessageError: not an object, of no known type, or a field that is missing, of another kind or out of bounds.
    """
    if not isinstance(message, dict):
        raise MessageError("wanted a JSON object with `type` and `seq`.")
    kind, seq = message.get("type"), message.get("seq")
    if not isinstance(kind, str) or kind not in MESSAGES:
        raise MessageError(f"type {str(kind)[:40]!r}: wanted one of {', '.join(MESSAGES)}.")
    if not _is_whole(seq):
        raise MessageError(f"{kind}: seq {str(seq)[:40]!r}: wanted a whole number.")
    fields = {name: _checked(kind, name, field, message.get(name)) for name, field in MESSAGES[kind].items()}
    return {"type": kind, "seq": seq, **fields}


def _checked(kind: str, name: str, field: Field, value: object) -> Any:  # noqa: ANN401  whatever the field holds
    wanted = _CHECKS[field.kind](value, field)
    if wanted is None:
        raise MessageError(f"{kind}: {name} is {str(value)[:60]!r}, wanted {_in_words(field)}.")
    return wanted[0]


def _in_words(field: Field) -> str:
    words = {
        "int": "a whole number",
        "number": "a number",
        "bool": "true or false",
        "text": f"a text of at most {field.high:g} letters",
        "box": "[x_min, y_min, x_max, y_max]",
        "fit": " or ".join(FITS),
        "points": f"1 to {BRUSH_POINTS} pairs [x, y]",
    }[field.kind]
    return f"{words} from {field.low:g} to {field.high:g}" if field.kind in ("int", "number") else words


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(value: object, field: Field) -> tuple[Any] | None:
    return (value,) if _is_whole(value) and _is_number(value, field.low, field.high) else None


def _number(value: object, field: Field) -> tuple[Any] | None:
    return (value,) if _is_number(value, field.low, field.high) else None


def _yes_or_no(value: object, field: Field) -> tuple[Any] | None:
    return (value,) if isinstance(value, bool) else None


def _text(value: object, field: Field) -> tuple[Any] | None:
    if not isinstance(value, str) or len(value) > field.high:
        return None
    return ("".join(letter for letter in value if letter.isprintable()).strip(),)


def _box(value: object, field: Field) -> tuple[Any] | None:
    numbers = _numbers(value, 4)
    return None if numbers is None else (numbers,)


def _fit(value: object, field: Field) -> tuple[Any] | None:
    return (value,) if isinstance(value, str) and value in FITS else None


def _points(value: object, field: Field) -> tuple[Any] | None:
    if not isinstance(value, list) or not 1 <= len(value) <= BRUSH_POINTS:
        return None
    points = [_numbers(each, 2) for each in value]
    return None if any(each is None for each in points) else (points,)


def _numbers(value: object, count: int) -> tuple[float, ...] | None:
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(_is_number(each, _COORDINATE.low, _COORDINATE.high) for each in value):
        return None
    return tuple(float(each) for each in value)


_CHECKS: Final = {
    "int": _whole,
    "number": _number,
    "bool": _yes_or_no,
    "text": _text,
    "box": _box,
    "fit": _fit,
    "points": _points,
}
