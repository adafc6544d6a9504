"""Writes the page of `graysam adapt`: one HTML file that needs nothing else, on what came of it and how to use it.

Numbers come from `train.adapt.outcome` and are put into words here; the template lays them out, Jinja escapes names.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from graysam import __version__
from graysam.errors import GraySamError
from graysam.files import written_whole
from train.adapt.judge import KINDS, METRICS, Scores
from train.adapt.outcome import Outcome, Worst

ASSETS: Final = Path(__file__).resolve().parents[1] / "assets"
TEMPLATE: Final = "adapt.html"
REPORT_FILE: Final = "report.html"
PICTURE_SIDE_PX: Final = 360
KNOWN_LOSS: Final = 0.02
"""Of the DSC on drawn pictures, from which on the page warns."""
KIND_NAMES: Final = {"tight": "tight box", "outwards": "loose box"}
METHOD_NAMES: Final = {
    "decoder": "the decoder alone",
    "low-rank": "low-rank additions to encoder and decoder",
    "all": "all weights",
}
# As OpenCV has them: blue, green, red.
GREEN, BLUE, RED, YELLOW = (80, 200, 60), (240, 150, 40), (60, 60, 240), (40, 220, 240)


def write_report(outcome: Outcome, path: Path, *, name: str) -> None:
    """Write the page; `name` is that of the folder of weights."""
    with written_whole(path, GraySamError) as temporary:
        temporary.write_text(render_report(outcome, name=name), encoding="utf-8")


def render_report(outcome: Outcome, *, name: str) -> str:
    """Give the whole page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = [
        {"name": title, "values": _means(scores)}
        for title, scores in (
            ("ellipse in the box", outcome.ellipse),
            ("GraySAM, untouched", outcome.untouched),
            ("GraySAM, adapted", outcome.adapted),
        )
    ]
    return environment.get_template(TEMPLATE).render(
        title=f"{name}: GraySAM adapted to {outcome.cases} cases",
        helped=outcome.helped,
        verdict=verdict(outcome),
        columns=[f"{metric}, {KIND_NAMES[kind]}" for kind in KINDS for metric in METRICS],
        rows=rows,
        judged=_judged(outcome),
        general=_general(outcome),
        worst=[_worst(each) for each in outcome.worst],
        use=_use(outcome, name),
        method=_method(outcome),
        version=__version__,
    )


def verdict(outcome: Outcome) -> str:
    """Say in a sentence or two whether it helped."""
    before, after = (float(scores[:, :, 0].mean()) for scores in (outcome.untouched, outcome.adapted))
    change = f"On held-out cases the DSC went from {_percent(before)} to {_percent(after)} %"
    if outcome.helped:
        closed = (after - before) / (1 - before) if before < 1 else 0.0
        return f"Adapting helped. {change}: {100 * closed:.0f} % of what was missing to a full match."
    return f"Adapting did not help clearly. {change}. No weights were written; go on with the model as it is."


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _means(scores: Scores) -> list[str]:
    return [_percent(scores[:, kind, metric].mean()) for kind in range(len(KINDS)) for metric in range(len(METRICS))]


def _judged(outcome: Outcome) -> str:
    how = (
        f"every patient was held out once ({outcome.folds} parts, a model for each)"
        if outcome.folds > 1
        else "a part of the patients was held out"
    )
    return (
        f"{len(outcome.adapted)} objects of {outcome.judged_cases} cases, single slices; {how}. DSC: overlap with the "
        "reference. NSD: share of the contour within 2 of 256 pixels. A loose box has each side 0 to 5 of 256 pixels "
        "outside the object."
    )


def _general(outcome: Outcome) -> str:
    drawn = outcome.drawn
    lost = drawn.before - drawn.after
    said = (
        f"On {drawn.objects} objects of drawn pictures of eleven modalities the DSC is {_percent(drawn.after)} %, and "
        f"was {_percent(drawn.before)} % before; old and new answers agree to {_percent(drawn.agreement)} %."
    )
    if lost > KNOWN_LOSS:
        return f"{said} That is a clear loss: use the adapted weights for images like yours only."
    return f"{said} Drawn pictures are no patients: expect the adapted weights to be best on images like yours."


def _use(outcome: Outcome, name: str) -> list[dict[str, Any]]:
    def text(line: str) -> dict[str, Any]:
        return {"text": line, "is_command": False}

    if not outcome.helped:
        return [
            text("There is nothing to use or to undo: the model of GraySAM answers your cases about as well."),
            text("More cases, more of the kind that fails, or more minutes may help."),
        ]
    command = {"text": f"graysam predict -i inputs -o outputs --weights {name}", "is_command": True}
    return [
        command,
        text(f"In Python: Segmenter.load({name!r})."),
        text(
            "The model that comes with GraySAM was not changed: without --weights it answers as before. To undo the "
            f"adaptation, remove the folder {name}."
        ),
    ]


def _method(outcome: Outcome) -> list[str]:
    lines = [
        f"{outcome.cases} cases of {outcome.patients} patients, {outcome.slices} slices with objects; "
        f"{', '.join(outcome.modalities)}.",
        f"Trained: {METHOD_NAMES[outcome.method]}; {outcome.steps} steps, at most {outcome.minutes:g} minutes in all.",
        f"Kept: a mean of {100 * outcome.share:.0f} % new weights and {100 * (1 - outcome.share):.0f} % old ones, so "
        "that the model forgets less. Cases that the scores are not of chose the share.",
        "The weights that are kept were trained as those that were judged, but on all cases that may be learnt from.",
    ]
    if outcome.int8_agreement is not None:
        lines.append(
            f"The scores are those of fp32; answers in int8 agree with it to {_percent(outcome.int8_agreement)} %."
        )
    return [*lines, *(f"{note[:1].upper()}{note[1:]}" for note in outcome.notes)]


def _worst(each: Worst) -> dict[str, str]:
    return {
        "name": each.name,
        "before": _percent(each.dsc_before),
        "after": _percent(each.dsc_after),
        "picture": "data:image/png;base64," + base64.b64encode(drawn_png(each)).decode(),
    }


def drawn_png(each: Worst) -> bytes:
    """Give the surroundings of an object with the contours drawn on them, as PNG."""
    image = each.image if each.image.ndim == 3 else np.repeat(each.image[..., None], 3, axis=2)
    height, width = image.shape[:2]
    box = each.box
    room = max(box.width, box.height) / 2 + 4
    left, top = max(0, int(box.x_min - room)), max(0, int(box.y_min - room))
    right, bottom = min(width, int(box.x_max + room) + 1), min(height, int(box.y_max + room) + 1)
    window = (slice(top, bottom), slice(left, right))
    scale = PICTURE_SIDE_PX / max(bottom - top, right - left)
    size_wh = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    canvas = np.ascontiguousarray(cv2.resize(np.ascontiguousarray(image[window][..., ::-1]), size_wh))
    for mask, colour in ((each.truth, GREEN), (each.before, BLUE), (each.after, RED)):
        cv2.drawContours(canvas, _contours(mask[window], size_wh), -1, colour, 1)
    corners = [
        (round((x - left) * scale), round((y - top) * scale))
        for x, y in ((box.x_min, box.y_min), (box.x_max + 1, box.y_max + 1))
    ]
    cv2.rectangle(canvas, corners[0], corners[1], YELLOW, 1)
    _, encoded = cv2.imencode(".png", canvas)
    return bytes(encoded.tobytes())


def _contours(mask: NDArray[np.bool_], size_wh: tuple[int, int]) -> list[NDArray[np.int32]]:
    large = cv2.resize(mask.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
    return [np.asarray(each, np.int32) for each in cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]]
