"""Put the frames of a DICOM series into a stack: alike, without copies, in order along their normal, on a grid.

What does not stack is refused by name; what stacks with a doubt is warned of.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from graysam.errors import PrepareError
from graysam.formats.dicom_headers import Frame, Header, frames_of
from graysam.formats.grids import Grid, make_grid
from graysam.formats.image_volume import Remarks

# Slices are parallel within 0.1 degrees (cosine) and evenly spaced within 1 % of a step or 0.1 mm.
PARALLEL = 1e-3
EVEN_SHARE, EVEN_MM = 0.01, 0.1
TILT_DEGREES = 0.5
# Frames of these follow each other in time.
_MOVING = ("US", "XA", "RF", "ES", "IVUS", "GM", "XC")
_NOT_IMAGES = {
    "SEG": "a DICOM segmentation, no image",
    "RTSTRUCT": "contours (RT structure set), no voxels; export them as a label map (NIfTI or NRRD)",
    "SR": "a report, no image",
    "PR": "a presentation state, no image",
    "REG": "a registration, no image",
}


def stack_of(name: str, headers: Sequence[tuple[Path, Header]], remarks: Remarks) -> tuple[str, list[Frame]]:
    """Give modality and slices in their order."""
    modality = _modality_of(name, headers)
    frames = [frame for path, header in headers for frame in frames_of(path, header)]
    _check_alike(name, frames, remarks)
    frames = _without_copies(frames, remarks)
    if len(frames) > 1:
        frames = _in_order(name, frames, modality, remarks)
    return modality, frames


def _modality_of(name: str, headers: Sequence[tuple[Path, Header]]) -> str:
    modality = str(headers[0][1].get("Modality", "") or "")
    if modality in _NOT_IMAGES:
        raise PrepareError(f"{name}: {_NOT_IMAGES[modality]}.")
    without = [path.name for path, header in headers if not header.get("Rows") or not header.get("Columns")]
    if without:
        raise PrepareError(f"{name}: {without[0]} has no picture (no Rows and Columns).")
    return modality


def _check_alike(name: str, frames: Sequence[Frame], remarks: Remarks) -> None:
    """Refuse slices of another size or orientation than most: localizers, or several scans in one series."""
    sizes = Counter(_size_of(frame) for frame in frames)
    if len(sizes) > 1:
        usual = sizes.most_common(1)[0][0]
        odd = [frame for frame in frames if _size_of(frame) != usual]
        raise PrepareError(
            f"{name}: {_odd(odd, frames)} of size {_size_of(odd[0])[:2]}, the others {usual[:2]} (a localizer or "
            "another scan in the same series); move them out of the folder."
        )
    known = [frame for frame in frames if frame.orientation is not None]
    if known and len(known) < len(frames):
        odd = [frame for frame in frames if frame.orientation is None]
        raise PrepareError(f"{name}: {_odd(odd, frames)} without orientation; move them out of the folder.")
    groups: list[list[Frame]] = []
    for frame in known:
        for group in groups:
            if np.abs(group[0].orientation - frame.orientation).max() <= PARALLEL:  # type: ignore[operator]
                group.append(frame)
                break
        else:
            groups.append([frame])
    if len(groups) > 1:
        usual_group = max(groups, key=len)
        odd = [frame for group in groups if group is not usual_group for frame in group]
        raise PrepareError(
            f"{name}: {_odd(odd, frames)} with another orientation than the others (a localizer, or several scans in "
            "one series); move them out of the folder."
        )
    stated = [frame.slope_is_stated for frame in frames]
    if any(stated) and not all(stated):
        odd = [frame for frame in frames if not frame.slope_is_stated]
        remarks.warnings.append(f"{_odd(odd, frames)} without a RescaleSlope, which the others have; taken as 1")
    spacings = [frame.spacing for frame in frames if frame.spacing is not None]
    if (
        spacings
        and max(float(np.abs(spacing - spacings[0]).max()) for spacing in spacings) > PARALLEL * spacings[0].max()
    ):
        raise PrepareError(f"{name}: slices of different pixel spacing in one series; give each scan its own folder.")


def _size_of(frame: Frame) -> tuple[int, int, int]:
    header = frame.header
    return int(header.Rows), int(header.Columns), int(header.get("SamplesPerPixel") or 1)


def _odd(odd: Sequence[Frame], frames: Sequence[Frame]) -> str:
    return f"{len(odd)} of {len(frames)} slices ({', '.join(frame.name for frame in odd[:3])})"


def _without_copies(frames: Sequence[Frame], remarks: Remarks) -> list[Frame]:
    """Give the frames without files that are there twice (the same SOPInstanceUID and place)."""
    seen: dict[tuple[str, int], Frame] = {}
    kept: list[Frame] = []
    copies: list[Frame] = []
    for frame in frames:
        key = (str(frame.header.get("SOPInstanceUID", "") or frame.path.name), frame.index)
        twin = seen.setdefault(key, frame)
        same = twin is frame or (
            (twin.position is None) != (frame.position is None)
            or (twin.position is not None and frame.position is not None and (twin.position != frame.position).any())
            or _digest(twin.path) != _digest(frame.path)
        )
        (kept if same else copies).append(frame)
    if copies:
        remarks.warnings.append(f"{len(copies)} files are there twice ({copies[0].name}); each is read once")
    return kept


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(bytes(pydicom.dcmread(path).get("PixelData", b""))).digest()
    except Exception:  # damaged: the reader of pixels names it
        return str(path).encode(errors="surrogateescape")


def _in_order(name: str, frames: list[Frame], modality: str, remarks: Remarks) -> list[Frame]:
    """Give the frames sorted by their place along the slices' normal, and look at their steps."""
    if any(frame.position is None or frame.orientation is None for frame in frames):
        return _in_numbered_order(name, frames, modality, remarks)
    normal = frames[0].normal
    heights = np.array([float(frame.position @ normal) for frame in frames])  # type: ignore[operator]
    order = np.argsort(heights, kind="stable")
    frames, heights = [frames[int(place)] for place in order], heights[order]
    steps = np.diff(heights)
    step = float(np.median(steps))
    doubled = np.flatnonzero(steps < max(1e-3, 0.01 * step))
    if doubled.size:
        first, second = frames[int(doubled[0])], frames[int(doubled[0]) + 1]
        raise PrepareError(
            f"{name}: {doubled.size + 1} slices or more lie on one another ({first.name} and {second.name} at "
            f"{heights[int(doubled[0])]:.2f} mm): several phases, echoes or scans in one series; give each its folder."
        )
    spread = float(steps.max() - steps.min())
    if spread > max(EVEN_MM, EVEN_SHARE * step):
        wide = int(np.argmax(steps))
        remarks.warnings.append(
            f"slices are not evenly spaced (distances differ by {spread:.2f} mm; {steps[wide]:.2f} mm between "
            f"{frames[wide].name} and {frames[wide + 1].name}, {step:.2f} mm in the middle of all); is a slice missing?"
        )
    _look_at_line(name, frames, heights, normal, remarks)
    return frames


def _look_at_line(
    name: str, frames: Sequence[Frame], heights: NDArray[np.float64], normal: NDArray[np.float64], remarks: Remarks
) -> None:
    """Refuse slices that lie on no straight line; warn of a line that is not at right angles to them."""
    positions = np.stack([frame.position for frame in frames])  # type: ignore[misc]
    across = positions - heights[:, None] * normal
    slope = (across[-1] - across[0]) / (heights[-1] - heights[0])
    off = np.linalg.norm(across - across[0] - (heights - heights[0])[:, None] * slope, axis=1)
    pixel = float(frames[0].spacing.max()) if frames[0].spacing is not None else 1.0
    if float(off.max()) > max(1.0, pixel):
        odd = frames[int(np.argmax(off))]
        raise PrepareError(
            f"{name}: {odd.name} lies {off.max():.1f} mm beside the line of the other slices: no stack; "
            "give each scan its own folder."
        )
    tilt = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    if tilt > TILT_DEGREES:
        remarks.warnings.append(
            f"the stack leans by {tilt:.1f} degrees against the slices' normal (gantry tilt): the volume is sheared, "
            "taken slice upon slice"
        )


def _in_numbered_order(name: str, frames: list[Frame], modality: str, remarks: Remarks) -> list[Frame]:
    """Give frames without position by their numbers; frames in time are refused."""
    one_file = len({frame.path for frame in frames}) == 1
    if one_file and modality in _MOVING:
        raise PrepareError(
            f"{name}: {len(frames)} frames of a film ({modality}), no volume; save the frames that are labelled as "
            "pictures of their own."
        )
    if not one_file:
        numbers = [int(frame.header.get("InstanceNumber") or -1) for frame in frames]
        if min(numbers) < 0 or len(set(numbers)) < len(numbers):
            raise PrepareError(
                f"{name}: {len(frames)} pictures without position or different numbers: no stack; "
                "give each a folder of its own."
            )
        frames = [frame for _, frame in sorted(zip(numbers, frames, strict=True), key=lambda pair: pair[0])]
    remarks.warnings.append("the slices state no position; stacked by their numbers")
    return frames


def grid_of(name: str, frames: Sequence[Frame], array: NDArray[Any], remarks: Remarks) -> Grid:
    """Give the grid on which the sorted frames lie, in mm; steps that are not stated are taken as 1 mm.

    Args:
        name: the case, for errors.
        frames: in their order along the normal.
        array: (D, H, W) or (D, H, W, 3), their pixels.
        remarks: gets a warning where the spacing is not stated.

    Raises:
        PrepareError: a pixel spacing that is not positive.
    """
    first = frames[0]
    height, width = array.shape[1:3]
    size = (width, height, len(frames))
    rows_mm, columns_mm = (float(step) for step in first.spacing) if first.spacing is not None else (1.0, 1.0)
    if not min(rows_mm, columns_mm) > 0:
        raise PrepareError(f"{name}: pixel spacing {rows_mm}, {columns_mm} mm makes no sense; correct the header.")
    if first.spacing is None and len(frames) > 1:
        remarks.warnings.append("no pixel spacing is stated; taken as 1 mm")
    is_stated = first.position is not None and first.orientation is not None
    affine = np.eye(4)
    if first.orientation is not None:
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = first.orientation[:3], first.orientation[3:], first.normal
    affine[:3, 0] *= columns_mm
    affine[:3, 1] *= rows_mm
    if is_stated and len(frames) > 1:
        positions = np.stack([frame.position for frame in frames])  # type: ignore[misc]
        heights = positions @ first.normal
        # The median step, so that a missing slice does not stretch the others; along the line of the stack.
        line = (positions[-1] - positions[0]) / (heights[-1] - heights[0])
        affine[:3, 2] = line * float(np.median(np.diff(heights)))
    else:
        affine[:3, 2] *= _stated_step(first)
    if is_stated:
        affine[:3, 3] = first.position
    return make_grid(size, affine, name, is_stated=is_stated)


def evened_grids(grid: Grid, frames: Sequence[Frame]) -> tuple[Grid, ...]:
    """Give the grid of a series with uneven steps as ITK states it: by the mean step instead of the median one."""
    if len(frames) < 3 or frames[0].position is None or frames[-1].position is None:
        return ()
    affine = grid.affine.copy()
    affine[:3, 2] = (frames[-1].position - frames[0].position) / (len(frames) - 1)
    return () if np.allclose(affine, grid.affine, atol=1e-3) else (Grid(grid.size, affine),)


def _stated_step(frame: Frame) -> float:
    """Give the distance of slices that a lone slice or a stack without positions states; 1 mm when it states none."""
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        try:
            value = abs(float(frame.header.get(name) or 0))
        except (TypeError, ValueError):
            value = 0.0
        if np.isfinite(value) and value > 0:
            return value
    return 1.0
