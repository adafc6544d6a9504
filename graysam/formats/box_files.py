"""Find and read the file of boxes that belongs to an image: tables, 3D Slicer, labelme, COCO, rough masks.

Which file counts: the one that the user names (--boxes FILE), the one of the image's name in the folder that the user
names (--boxes FOLDER), or else the one that lies next to the image. Names are NAME.boxes.csv, NAME.boxes.json,
NAME.mrk.json, and NAME.csv or NAME.json.

* Table (CSV with a first line of column names, or a JSON list of objects with these keys): x_min, y_min, x_max, y_max;
  for a volume z_min and z_max, too; optional: case (file name or name of the image), name (of the object) and frame
  (voxel, LPS or RAS; voxel if missing). A CSV without that first line holds 4 or 6 numbers a line, in voxels.
* 3D Slicer's markups: each ROI is a box, in mm. They name no image, so they serve one image.
* labelme: the hull of each shape's points. COCO: the field bbox of each annotation, by file_name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Notes, VolumeBox, box_around, volume_box_around
from graysam.cases import MAX_BOXES
from graysam.errors import CaseError
from graysam.formats.base import refusal
from graysam.formats.box_table import MAX_TABLE_BYTES, read_box_table
from graysam.formats.drawn_boxes import FRAMES, DrawnBox, Frame, box_between, oriented_box
from graysam.formats.image_volume import suffix_of
from graysam.formats.reading_options import BoxSource

BESIDE = (".boxes.csv", ".boxes.json", ".mrk.json")
IN_A_FOLDER = (*BESIDE, ".csv", ".json")
COLUMNS = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")
_FLAT = ("x_min", "y_min", "x_max", "y_max")
_FURTHER = ("case", "name", "frame")
# What the table of a run's objects holds besides; it may be given as boxes again.
_ANSWERS = ("label", "voxels", "confidence", "flagged", "lowest_confidence", "lowest_slice")
# Polygons of a labelled data set take some hundred bytes a point.
MAX_JSON_BYTES = 1 << 29


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """The boxes of one image, as drawn.

    Attributes:
        boxes: in the file's order.
        origin: the file that they came from.
    """

    boxes: tuple[DrawnBox, ...]
    origin: Path

    @property
    def names(self) -> Notes:
        """Give a name for each box, () where none has one."""
        named = [box.name for box in self.boxes]
        return tuple(name or f"object {number}" for number, name in enumerate(named, 1)) if any(named) else ()


def file_beside(folder: Path, name: str, suffixes: Sequence[str] = BESIDE) -> Path | None:
    """Give the file of boxes for an image of a folder, None when there is none."""
    return next((each for suffix in suffixes if (each := folder / (name + suffix)).is_file()), None)


def boxes_for(
    path: Path,
    name: str,
    source: BoxSource,
    *,
    columns: Literal[4, 6],
    beside: Sequence[str] = BESIDE,
    folder: Path | None = None,
) -> FoundBoxes:
    """Read the boxes of an image from where they stand.

    Args:
        path: of the image, or of the folder of a series.
        name: of the case.
        source: where the user says that boxes stand.
        columns: how many numbers a line of a table without column names has.
        beside: what a file of boxes next to the image may be called, after its name.
        folder: where to look for such a file, the image's own by default.

    Returns:
        The boxes; where they are optional and there are none, nothing that came from the image itself.

    Raises:
        CaseError: no boxes for this image, or a file that cannot be read.
    """
    given = source.given
    if given is None:
        own = file_beside(folder or path.parent, name, beside)
        if own is None and source.optional:
            return FoundBoxes((), path)
        if own is None:
            raise CaseError(
                f"{path.name}: no boxes; give --boxes or --boxes-from, or put {name}{BESIDE[0]} next to the image."
            )
        reason = refusal(own, own.parent.resolve())
        if reason is not None:
            raise CaseError(f"{own.name}: {reason}")
    elif given.is_dir():
        own = next((each for suffix in IN_A_FOLDER if (each := given / (name + suffix)).is_file()), None)
        if own is None and source.optional:
            return FoundBoxes((), path)
        if own is None:
            raise CaseError(f"{path.name}: no boxes for it in {given}; wanted {name}{BESIDE[0]} or {name}.mrk.json.")
    else:
        own = given
    boxes = read_boxes(own, columns=columns)
    found = _of_case(boxes, path, name)
    if not found and (boxes or own == given) and not source.optional:
        named = sorted({box.case for box in boxes})
        told = ", ".join(named[:5]) + (", ..." if len(named) > 5 else "") or "nothing"
        raise CaseError(f"{path.name}: {own.name} has no box for it; the images that it names: {told}.")
    return FoundBoxes(found, own)


def needs_one_image(source: BoxSource) -> bool:
    """Tell whether the user's file of boxes names no image, so that it can serve one only."""
    if source.given is None or source.given.is_dir():
        return False
    return any(not box.case for box in read_boxes(source.given))


def _of_case(boxes: Iterable[DrawnBox], path: Path, name: str) -> tuple[DrawnBox, ...]:
    wanted = {path.name, name}
    return tuple(box for box in boxes if not box.case or box.case in wanted or Path(box.case).name in wanted)


# --- files ------------------------------------------------------------------------------------------------------------


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
    boxes = _read_json(path, size) if suffix_of(path) == ".json" else _read_csv(path, size, columns)
    if len(boxes) > MAX_BOXES * 1000:
        raise CaseError(f"{path.name}: {len(boxes):,} boxes are more than can be meant.")
    return tuple(boxes)


def _read_csv(path: Path, size: int, columns: Literal[4, 6]) -> list[DrawnBox]:
    import csv  # only here: most runs read no table

    if size > 1000 * MAX_TABLE_BYTES:
        raise CaseError(f"{path.name}: {size:,} bytes are more than a table of boxes can have.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = next(csv.reader(stream), [])
            header = [word.strip() for word in first]
            if not {*header} & {*COLUMNS}:
                rows = read_box_table(path, columns=columns)
                half = columns // 2
                return [box_between(row[:half], row[half:], "voxel") for row in rows]
            lines = [line for line in csv.reader(stream) if any(word.strip() for word in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(f"{path.name}: cannot be read as a table of boxes: {error}.") from error
    strange = [word for word in header if word not in (*COLUMNS, *_FURTHER, *_ANSWERS)]
    if strange:
        raise CaseError(f"{path.name}: column {strange[0]!r}; known are {', '.join((*_FURTHER, *COLUMNS))}.")
    return [_row(path, number, dict(zip(header, line, strict=False))) for number, line in enumerate(lines)]


def _row(path: Path, number: int, row: dict[str, Any]) -> DrawnBox:
    """Make a box of one line of a table."""
    columns = COLUMNS if str(row.get("z_min", "") or "").strip() or row.get("z_min") == 0 else _FLAT
    try:
        numbers = [float(row[column]) for column in columns]
    except (KeyError, TypeError, ValueError):
        raise CaseError(
            f"{path.name}: box {number} is {str(row)[:120]}, wanted numbers under {', '.join(columns)}."
        ) from None
    frame = _frame_named(path, number, str(row.get("frame") or "voxel").strip())
    half = len(numbers) // 2
    name, case = (str(row.get(key) or "").strip() for key in ("name", "case"))
    return box_between(numbers[:half], numbers[half:], frame, name, case)


def _frame_named(path: Path, number: int, text: str) -> Frame:
    for frame in FRAMES:
        if frame.lower() == text.lower():
            return frame
    raise CaseError(f"{path.name}: box {number} has the frame {text!r}, wanted voxel, LPS or RAS.")


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
            return [_row(path, number, row) for number, row in enumerate(content)]
        if "markups" in content:
            return _from_slicer(path, content["markups"])
        if "shapes" in content:
            return [_from_labelme(shape) for shape in content["shapes"]]
        if "annotations" in content and "images" in content:
            return _from_coco(content)
        if "boxes" in content:
            return [_row(path, number, row) for number, row in enumerate(content["boxes"])]
    except CaseError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CaseError(f"{path.name}: boxes are not stored as expected ({type(error).__name__}: {error}).") from error
    raise CaseError(f"{path.name}: neither a table of boxes, nor 3D Slicer's markups, nor labelme, nor COCO.")


def _from_slicer(path: Path, markups: list[dict[str, Any]]) -> list[DrawnBox]:
    boxes = []
    for number, markup in enumerate(each for each in markups if each.get("type") == "ROI"):
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


def _from_labelme(shape: dict[str, Any]) -> DrawnBox:
    points = np.array(shape["points"], np.float64)
    if shape.get("shape_type") == "circle":  # its centre, and a point on it
        centre, radius = points[0], float(np.linalg.norm(points[1] - points[0]))
        points = np.array([centre - radius, centre + radius])
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"points of shape {points.shape}")
    return DrawnBox("edges", points, str(shape.get("label") or ""))


def _from_coco(content: dict[str, Any]) -> list[DrawnBox]:
    files = {image["id"]: str(image["file_name"]) for image in content["images"]}
    names = {each["id"]: str(each["name"]) for each in content.get("categories", [])}
    boxes = []
    for annotation in content["annotations"]:
        x, y, width, height = (float(number) for number in annotation["bbox"])
        name = names.get(annotation.get("category_id"), "")
        boxes.append(box_between((x, y), (x + width, y + height), "edges", name, files[annotation["image_id"]]))
    return boxes


# --- rough masks ------------------------------------------------------------------------------------------------------


def mask_for(path: Path, name: str, folder: Path) -> Path:
    """Find the rough mask of an image: the file of its name, in any format; nnU-Net's "_0000" may be missing in it.

    Raises:
        CaseError: none, or several.
    """
    from graysam.formats.image_volume import DICOM_SUFFIXES, IMAGE_SUFFIXES, VOLUME_SUFFIXES, stem_of

    wanted = {name, name.removesuffix("_0000")}
    found = [
        entry
        for entry in sorted(folder.iterdir())
        if suffix_of(entry) in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES, *DICOM_SUFFIXES) and stem_of(entry) in wanted
    ]
    if len(found) != 1:
        told = "none" if not found else " and ".join(entry.name for entry in found[:2])
        raise CaseError(f"{path.name}: wanted one rough mask called {name} in {folder}, found {told}.")
    return found[0]


def boxes_round(labels: NDArray[Any], margin: int) -> tuple[NDArray[np.float64], Notes]:
    """Give the boxes round the labels of a rough mask, and a name for each: the label's number.

    Args:
        labels: (H, W) or (D, H, W).
        margin: pixels by which each side in x and y moves outwards, within the image.

    Returns:
        (N, 4) or (N, 6) numbers, in the order of the labels.
    """
    rows, names = [], []
    for value in np.unique(labels[labels > 0]):
        mask = labels == value
        found = volume_box_around(mask) if labels.ndim == 3 else box_around(mask)
        assert found is not None
        numbers = np.array(found.numbers)
        half = len(numbers) // 2
        last = np.array(labels.shape[::-1][:2]) - 1
        numbers[:2] = np.maximum(numbers[:2] - margin, 0)
        numbers[half : half + 2] = np.minimum(numbers[half : half + 2] + margin, last)
        rows.append(numbers)
        names.append(f"label {value}")
        assert isinstance(found, VolumeBox) == (labels.ndim == 3)
    width = 6 if labels.ndim == 3 else 4
    return np.array(rows, np.float64).reshape(-1, width), tuple(names)
