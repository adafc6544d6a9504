"""Boxes, clicks and earlier answers of the CVPR 2025 challenge of interactive 3D segmentation, as its files hold them.

All three are there only in volumes, and `clicks` also in results that `graysam view` saves. The keys and orders are
those of the challenge's evaluation script, CVPR25_iter_eval.py:

* `boxes`: for each object a dictionary z_min, z_max, z_mid, z_mid_x_min, z_mid_y_min, z_mid_x_max, z_mid_y_max; maxima
  inclusive; x and y hold the object on slice z_mid.
* `clicks`: for each object a dictionary `fg` and `bg` of points inside and outside of it, each z, y, x, the order of
  the array's axes (the script's head says x, y, z, but its code and the examples in its README have z first).
* `prev_pred`: the labels that the clicks correct.

`clicks` and `prev_pred` go with boxes of six numbers, too. `graysam.formats.npz` reads the rest of such a file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graysam.cases import MAX_BOXES
from graysam.corrections import MOST_CLICKS, ObjectClicks
from graysam.errors import CaseError
from graysam.formats.archives import Archive

BOX_KEYS: Final = ("z_mid_x_min", "z_mid_y_min", "z_min", "z_mid_x_max", "z_mid_y_max", "z_max")
"""In the order of a box of six numbers."""
KEY_SLICE: Final = "z_mid"
MOST_CLICKS_IN_ALL: Final = 100_000

VolumePoint = tuple[float, float, float, bool]
"""x, y, z, and whether it is inside, as `graysam.corrections.clean_corrections` takes it."""


def read_described_boxes(path: Path, archive: Archive) -> tuple[NDArray[np.float64], list[int | None]]:
    """Give boxes that are dictionaries as (N, 6) x_min, y_min, z_min, x_max, y_max, z_max, and the slice of each.

    Raises:
        CaseError: one of them is no such dictionary, or there are too many.
    """
    described = archive.read_objects("boxes")
    if len(described) > MAX_BOXES:
        raise CaseError(f"{path.name}: {len(described):,} boxes, but a 16-bit label map holds at most {MAX_BOXES:,}.")
    rows, slices = np.zeros((len(described), 6)), list[int | None]()
    for index, each in enumerate(described):
        where = f"{path.name}: box {index}"
        if not isinstance(each, dict):
            raise CaseError(f"{where}: wanted a dictionary with {', '.join(BOX_KEYS)}, found a {type(each).__name__}.")
        rows[index] = [_number(each.get(key), f"{where}: {key!r}") for key in BOX_KEYS]
        z_mid = each.get(KEY_SLICE)
        slices.append(None if z_mid is None else round(_number(z_mid, f"{where}: {KEY_SLICE!r}")))
    return rows, slices


def read_clicks(path: Path, archive: Archive) -> list[list[VolumePoint]] | None:
    """Give `clicks` as a list of x, y, z, is_inside for each object; None without that key.

    Raises:
        CaseError: it is no list of dictionaries `fg` and `bg` of points z, y, x, or holds too many.
    """
    if "clicks" not in archive:
        return None
    clicks: list[list[VolumePoint]] = []
    total = 0
    for index, each in enumerate(archive.read_objects("clicks")):
        where = f"{path.name}: clicks of box {index}"
        if not isinstance(each, dict) or set(each) - {"fg", "bg"}:
            raise CaseError(f"{where}: wanted a dictionary of 'fg' and 'bg', found {_in_words(each)}.")
        listed: list[VolumePoint] = []
        for key in ("fg", "bg"):
            points = each.get(key, [])
            if not isinstance(points, list | tuple):
                raise CaseError(f"{where}: {key!r} is {_in_words(points)}, wanted a list of points z, y, x.")
            total += len(points)
            if len(points) > MOST_CLICKS or total > MOST_CLICKS_IN_ALL:
                raise CaseError(f"{where}: too many; at most {MOST_CLICKS:,} of a box, {MOST_CLICKS_IN_ALL:,} in all.")
            listed += [_point(point, is_inside=key == "fg", where=f"{where}: {key!r}") for point in points]
        clicks.append(listed)
    return clicks


def clicks_array(clicks: ObjectClicks) -> NDArray[np.object_]:
    """Give clicks of each object as `read_clicks` reads them: dictionaries `fg` and `bg` of points z, y, x."""
    array = np.empty(len(clicks), object)
    for index, listed in enumerate(clicks):
        points = [(each.click.is_inside, [each.z, _plain(each.click.y), _plain(each.click.x)]) for each in listed]
        array[index] = {
            "fg": [point for is_inside, point in points if is_inside],
            "bg": [point for is_inside, point in points if not is_inside],
        }
    return array


def read_previous(path: Path, archive: Archive, shape: tuple[int, ...]) -> NDArray[np.integer[Any]] | None:
    """Give `prev_pred`, labels of the volume's shape; None without that key.

    Raises:
        CaseError: another shape, or no integers.
    """
    if "prev_pred" not in archive:
        return None
    header = archive.header("prev_pred")
    if header.shape != shape or header.dtype.kind not in "bui":
        raise CaseError(
            f"{path.name}: 'prev_pred' has shape {header.shape} and dtype {header.dtype}, wanted integers of the "
            f"image's shape {shape}."
        )
    return archive.read("prev_pred")


def _point(point: object, *, is_inside: bool, where: str) -> VolumePoint:
    if not isinstance(point, list | tuple) or len(point) != 3:
        raise CaseError(f"{where}: wanted points of three numbers z, y, x, found {_in_words(point)}.")
    z, y, x = (_number(value, where) for value in point)
    return x, y, z, is_inside


def _plain(value: float) -> float:
    """Give a whole number as int, as the challenge stores points."""
    return int(value) if value == int(value) else value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e9:
        raise CaseError(f"{where} is {_in_words(value)}, wanted a number.")
    return float(value)


def _in_words(value: object) -> str:
    """Name a value of a file without showing all of it; lists may be endless."""
    if value is None or isinstance(value, bool | int | float):
        return f"{value!s:.30}"
    if isinstance(value, str):
        return repr(value[:30])
    if isinstance(value, Sequence | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
