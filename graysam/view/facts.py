"""What the page is told of the open case: its objects, masks and history, as `protocol` describes them."""

from __future__ import annotations

from typing import Any

from graysam.prompts import USUAL_FIT
from graysam.view.document import Document
from graysam.view.masks import SliceMask

Event = dict[str, Any]


def object_facts(document: Document, number: int) -> dict[str, Any]:
    """Give all of an object but its masks."""
    get, on_slices = document.get, document.on_slices
    first, last = get(number, "range") or (None, None)
    boxes, fits = on_slices(number, "box"), on_slices(number, "fit")
    masks: dict[int, SliceMask] = {z: mask for z, mask in on_slices(number, "mask").items() if not mask.is_empty}
    return {
        "id": number,
        "name": get(number, "name"),
        "colour": get(number, "colour"),
        "first": first,
        "last": last,
        "key_slice": get(number, "key"),
        "boxes": {str(z): list(box) for z, box in boxes.items()},
        "fits": {str(z): fits.get(z, USUAL_FIT) for z in boxes},
        "clicks": {
            str(z): [{"x": x, "y": y, "is_inside": is_inside} for x, y, is_inside in each]
            for z, each in on_slices(number, "clicks").items()
        },
        "slices": {str(z): mask.confidence for z, mask in masks.items()},
        "origins": {str(z): mask.origin for z, mask in masks.items()},
        "done": list(on_slices(number, "done")),
    }


def object_event(document: Document, number: int) -> Event:
    """Give the message that an object has changed."""
    return {"type": "object", "object": object_facts(document, number)}


def history_event(document: Document) -> Event:
    """Give what undo and redo would do."""
    undo, redo = document.due("undo"), document.due("redo")
    return {
        "type": "history",
        "can_undo": undo is not None,
        "can_redo": redo is not None,
        "undo": "" if undo is None else undo.what,
        "redo": "" if redo is None else redo.what,
    }


def mask_event(number: int, z: int, mask: SliceMask | None) -> Event:
    """Give the mask of an object on a slice as it is now; None where it has none."""
    return {
        "type": "mask",
        "object": number,
        "slice": z,
        "runs": [] if mask is None else mask.runs.tolist(),
        "confidence": None if mask is None else mask.confidence,
        "is_final": True,
    }
