"""A run in pictures: its curves, and its answers to some validation prompts. For the run folder only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.dice import dice
from evaluation.prompts import BOX_KINDS, Answer, ValidationPrompt
from graysam.image.geometry import PictureFit
from train.run_folder import read_rows

WHITE, BLACK, LIGHT = (255, 255, 255), (30, 30, 30), (220, 220, 220)
GREEN, RED, YELLOW = (40, 190, 40), (60, 60, 235), (60, 210, 235)  # OpenCV's order: blue, green, red
COLOURS = ((180, 90, 20), (40, 110, 230), (60, 150, 40), (150, 50, 150))
CHART_HW = (320, 520)
MARGIN_PX = 48
TILE_PX = 192
LETTERS = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Curve:
    """A line of a chart."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def write_curves(folder: Path) -> None:
    """Draw log.csv and validation.csv of a run as curves.png: loss, learning rate, and the validation's means."""
    log, validation = read_rows(folder / "log.csv"), read_rows(folder / "validation.csv")
    charts = [
        draw_chart("loss", [_curve(log, name) for name in ("loss", "cross_entropy", "dice")]),
        draw_chart("learning rate", [_curve(log, "learning_rate")]),
    ]
    for metric in ("dsc", "nsd"):
        names = [f"{kind}_mean_{metric}" for kind in BOX_KINDS]
        charts.append(draw_chart(f"validation {metric.upper()}", [_curve(validation, name) for name in names]))
    rows = [np.hstack(charts[:2]), np.hstack(charts[2:])]
    cv2.imwrite(str(folder / "curves.png"), np.vstack(rows))


def _curve(rows: Sequence[dict[str, float]], name: str) -> Curve:
    return Curve(name, tuple(row["minutes"] for row in rows), tuple(row[name] for row in rows))


def draw_chart(title: str, curves: Sequence[Curve]) -> NDArray[np.uint8]:
    """Draw lines over minutes, (320, 520, 3) in OpenCV's colour order; without points, the frame alone."""
    height, width = CHART_HW
    chart = np.full((height, width, 3), 255, np.uint8)
    left, right, top, bottom = MARGIN_PX + 16, width - 12, 32, height - MARGIN_PX
    cv2.rectangle(chart, (left, top), (right, bottom), LIGHT, 1)
    cv2.putText(chart, title, (left, 20), LETTERS, 0.5, BLACK, 1, cv2.LINE_AA)
    all_x = [value for curve in curves for value in curve.x]
    all_y = [value for curve in curves for value in curve.y]
    if not all_x:
        return chart
    low_x, high_x, low_y, high_y = min(all_x), max(all_x), min(all_y), max(all_y)
    span_x, span_y = (high_x - low_x) or 1.0, (high_y - low_y) or 1.0
    labels = (
        (f"{high_y:.3g}", (2, top + 4)),
        (f"{low_y:.3g}", (2, bottom)),
        (f"{low_x:.1f} min", (left, bottom + 16)),
        (f"{high_x:.1f} min", (right - 40, bottom + 16)),
    )
    for text, place in labels:
        cv2.putText(chart, text, place, LETTERS, 0.4, BLACK, 1, cv2.LINE_AA)
    for number, curve in enumerate(curves):
        x = left + (np.array(curve.x) - low_x) / span_x * (right - left)
        y = bottom - (np.array(curve.y) - low_y) / span_y * (bottom - top)
        points = np.rint(np.stack([x, y], axis=1)).astype(np.int32)
        colour = COLOURS[number % len(COLOURS)]
        cv2.polylines(chart, [points], False, colour, 1, cv2.LINE_AA)
        place = (left + 150 * number, bottom + 36)
        cv2.putText(chart, curve.name, place, LETTERS, 0.4, colour, 1, cv2.LINE_AA)
    return chart


def write_overlays(path: Path, prompts: Sequence[ValidationPrompt], answer: Answer, *, per_modality: int = 4) -> None:
    """Draw some prompts of every modality with their answers to tight boxes, a row of tiles for each modality.

    Green: the reference; red: the answer; yellow: the box.
    """
    by_modality: dict[str, list[ValidationPrompt]] = {}
    for prompt in prompts:
        by_modality.setdefault(prompt.entry.modality, []).append(prompt)
    rows = []
    for group in by_modality.values():
        every = max(1, len(group) // per_modality)
        tiles = [draw_tile(prompt, answer) for prompt in group[::every][:per_modality]]
        tiles += [np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)] * (per_modality - len(tiles))
        rows.append(np.hstack(tiles))
    if rows:
        cv2.imwrite(str(path), np.vstack(rows))


def draw_tile(prompt: ValidationPrompt, answer: Answer) -> NDArray[np.uint8]:
    """Draw one prompt, (192, 192, 3) in OpenCV's colour order, with its modality and DSC."""
    box = prompt.boxes["tight"]
    answered = answer(prompt.image, [box])[0]
    image = prompt.image if prompt.image.ndim == 3 else np.repeat(prompt.image[..., None], 3, axis=2)
    canvas = np.ascontiguousarray(image[..., ::-1])
    for mask, colour in ((prompt.mask, GREEN), (answered, RED)):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, colour, 1)
    corners = (int(box.x_min), int(box.y_min)), (int(box.x_max), int(box.y_max))
    cv2.rectangle(canvas, *corners, YELLOW, 1)
    size_wh = PictureFit.for_image(canvas.shape[:2], TILE_PX).size_wh
    tile = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    tile[: size_wh[1], : size_wh[0]] = cv2.resize(canvas, size_wh, interpolation=cv2.INTER_AREA)
    text = f"{prompt.entry.modality} {100 * dice(prompt.mask, answered):.0f}"
    cv2.putText(tile, text, (4, TILE_PX - 6), LETTERS, 0.42, BLACK, 3, cv2.LINE_AA)
    cv2.putText(tile, text, (4, TILE_PX - 6), LETTERS, 0.42, WHITE, 1, cv2.LINE_AA)
    return tile
