"""Reads a file of boxes of any kind: a table (`graysam.formats.box_tables`), 3D Slicer, labelme, COCO.

* 3D Slicer's markups: each ROI is a box, in mm. They name no image, so they serve one image.
* labelme: the hull of each shape's points. COCO: the field bbox of each annotation, by file_name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from graysam.cases import MAX_BOXES
from graysam.errors import CaseError
from graysam.formats.box_tables import boxes_of_rows, read_csv
from graysam.formats.drawn_boxes import DrawnBox, box_between, oriented_box
from graysam.formats.image_volume import suffix_of

# Polygons of a labelled data set take some hundred bytes a point.
MAX_JSON_BYTES = 1 << 29


def read_boxes(path: Path, *, columns: Literal[4, 6] = 6) -> tuple[DrawnBox, ...]:
    """Read a file of boxes of any kind.

    Args:
        path: the file.
        columns: how many numbers a line of a table without column names has.

    Raises:
        CaseError: unreadable, too large, or of a kind that is not known.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise CaseError(f"{path.name}: cannot be read: {error.strerror or error}.") from error
    return _read(path, facts.st_mtime_ns, facts.st_size, columns)


@lru_cache(maxsize=4)  # a file for many images is parsed once
def _read(path: Path, _changed: int, size: int, columns: Literal[4, 6]) -> tuple[DrawnBox, ...]:
    boxes = _read_json(path, size) if suffix_of(path) == ".json" else read_csv(path, size, columns)
    if len(boxes) > MAX_BOXES * 1000:
        raise CaseError(f"{path.name}: {len(boxes):,} boxes are more than can be meant.")
    return tuple(boxes)


def _read_json(path: Path, size: int) -> list[DrawnBox]:
    import json

    if size > MAX_JSON_BYTES:
        raise CaseError(f"{path.name}: {size:,} bytes are more than a file of boxes can have.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise CaseError(f"{path.name}: no JSON: {error}.") from error
    try:
        if isinstance(content, list):
            return boxes_of_rows(path, content)
        for keys, boxes_of in JSON_KINDS:
            if keys <= content.keys():
                return boxes_of(path, content)
    except CaseError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CaseError(f"{path.name}: boxes are not stored as expected ({type(error).__name__}: {error}).") from error
    raise CaseError(f"{path.name}: neither a table of boxes, nor 3D Slicer's markups, nor labelme, nor COCO.")


def _from_slicer(path: Path, content: dict[str, Any]) -> list[DrawnBox]:
    boxes = []
    for number, markup in enumerate(each for each in content["markups"] if each.get("type") == "ROI"):
        frame = str(markup.get("coordinateSystem", "LPS"))
        if frame not in ("LPS", "RAS"):
            raise CaseError(f"{path.name}: ROI {number} has the coordinate system {frame!r}, wanted LPS or RAS.")
        units = markup.get("coordinateUnits", "mm")
        unit = units if isinstance(units, str) else units[0]
        scale = {"mm": 1.0, "um": 0.001}[unit]
        if "center" not in markup or "size" not in markup:
            raise CaseError(f"{path.name}: ROI {number} has no centre and size; place it in 3D Slicer, then save.")
        centre, size = (np.array(markup[key], np.float64) * scale for key in ("center", "size"))
        # [0], [3] and [6] are the direction of the first side.
        axes = np.array(markup.get("orientation", np.eye(3).ravel()), np.float64).reshape(3, 3)
        if centre.shape != (3,) or size.shape != (3,) or not (size > 0).all() or not np.isfinite(axes).all():
            raise CaseError(f"{path.name}: ROI {number} has the centre {centre} and size {size}; wanted three numbers.")
        if markup.get("insideOut"):
            raise CaseError(f"{path.name}: ROI {number} is inside out; turn that off in 3D Slicer and save it again.")
        boxes.append(oriented_box(centre, size, axes, "LPS" if frame == "LPS" else "RAS", _slicer_name(markup)))
    if not boxes:
        raise CaseError(f"{path.name}: holds no ROI; draw one in 3D Slicer's module Markups.")
    return boxes


def _slicer_name(markup: dict[str, Any]) -> str:
    """Give the markup's own name, else that of its point without the number that 3D Slicer adds."""
    points = markup.get("controlPoints") or [{}]
    return str(markup.get("name") or str(points[0].get("label", "")).rpartition("-")[0])


def _from_labelme(_path: Path, content: dict[str, Any]) -> list[DrawnBox]:
    return [_hull(shape) for shape in content["shapes"]]


def _hull(shape: dict[str, Any]) -> DrawnBox:
    """Give the box about the points of a shape of labelme."""
    points = np.array(shape["points"], np.float64)
    if shape.get("shape_type") == "circle":  # its centre, and a point on it
        centre, radius = points[0], float(np.linalg.norm(points[1] - points[0]))
        points = np.array([centre - radius, centre + radius])
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"points of shape {points.shape}")
    return DrawnBox("edges", points, str(shape.get("label") or ""))


def _from_coco(_path: Path, content: dict[str, Any]) -> list[DrawnBox]:
    files = {image["id"]: str(image["file_name"]) for image in content["images"]}
    names = {each["id"]: str(each["name"]) for each in content.get("categories", [])}
    boxes = []
    for annotation in content["annotations"]:
        x, y, width, height = (float(number) for number in annotation["bbox"])
        name = names.get(annotation.get("category_id"), "")
        boxes.append(box_between((x, y), (x + width, y + height), "edges", name, files[annotation["image_id"]]))
    return boxes


# A JSON object is of the first kind whose keys it has.
JSON_KINDS: Final[tuple[tuple[frozenset[str], Callable[[Path, dict[str, Any]], list[DrawnBox]]], ...]] = (
    (frozenset({"markups"}), _from_slicer),
    (frozenset({"shapes"}), _from_labelme),
    (frozenset({"annotations", "images"}), _from_coco),
    (frozenset({"boxes"}), lambda path, content: boxes_of_rows(path, content["boxes"])),
)
