"""One object's mask on one slice, packed: runs of pixels, and how sure the model was of each.

A mask on a 512 x 512 slice is some kilobytes instead of a quarter of a megabyte, so that every state of every slice can
stay in the history. The logits are kept without loss, as they decide who owns a pixel that two objects claim: a saved
map is then the one that `graysam.api.Segmenter` gives, voxel by voxel.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from graysam.inference.images import BoxAnswer

Origin = Literal["box", "click", "brush", "follow"]
Window = tuple[slice, slice]

BRUSHED_LOGIT: Final = 1000.0
"""How sure a person is of a pixel: more than any model, and a number that float16 holds."""
EARLIER_LOGIT: Final = 1.0
"""How sure an answer of a file is taken to be of its pixels, as the file does not say: no more than a model is."""


@dataclass(frozen=True, eq=False)
class SliceMask:
    """A mask of a slice (H, W).

    Attributes:
        size_hw: height and width of the slice.
        runs: (2 N,) start and length of each run of true pixels, counted row by row, in order; see `protocol`.
        packed: the logits of the true pixels in that order, float32; see `_pack`.
        confidence: the IoU with the true mask that the model itself predicts; None where nobody told.
        origin: what made it last.
    """

    size_hw: tuple[int, int]
    runs: NDArray[np.int64]
    packed: bytes
    confidence: float | None
    origin: Origin

    @classmethod
    def of_answer(cls, answer: BoxAnswer, size_hw: tuple[int, int], origin: Origin) -> SliceMask:
        """Pack what a model answered; pixels whose logit is above 0 are the object."""
        packed = _pack(answer.logits[answer.logits > 0])
        return cls(size_hw, answer_runs(answer, size_hw), packed, told_confidence(answer), origin)

    @classmethod
    def of_earlier(cls, mask: NDArray[np.bool_]) -> SliceMask:
        """Pack an answer (H, W) that came with the case, as if following had found it: it may be followed over."""
        size_hw = (mask.shape[0], mask.shape[1])
        packed = _pack(np.full(int(mask.sum()), EARLIER_LOGIT, np.float32))
        return cls(size_hw, _runs(mask, _whole(size_hw), size_hw[1]), packed, None, "follow")

    def edited(self, mask: NDArray[np.bool_]) -> SliceMask:
        """Give the mask as a person wants it, (H, W): old pixels stay as sure as they were."""
        logits = self.logits()
        logits[mask & (logits <= 0)] = BRUSHED_LOGIT
        runs = _runs(mask, _whole(self.size_hw), self.size_hw[1])
        return SliceMask(self.size_hw, runs, _pack(logits[mask]), self.confidence, "brush")

    @property
    def is_empty(self) -> bool:
        """Tell whether no pixel is the object."""
        return self.runs.size == 0

    @property
    def pixels(self) -> int:
        """Give the number of true pixels."""
        return int(self.runs[1::2].sum())

    @property
    def nbytes(self) -> int:
        """Give the memory that it takes, about."""
        return self.runs.nbytes + len(self.packed) + 200

    def to_mask(self) -> NDArray[np.bool_]:
        """Give (H, W), true in the object."""
        height, width = self.size_hw
        steps = np.zeros(height * width + 1, np.int8)
        starts, lengths = self.runs[::2], self.runs[1::2]
        steps[starts] += 1
        steps[starts + lengths] -= 1
        return np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(height, width)

    def logits(self) -> NDArray[np.float32]:
        """Give (H, W): the logits in the object, -1 elsewhere."""
        logits = np.full(self.size_hw, -1, np.float32)
        logits[self.to_mask()] = _unpack(self.packed)
        return logits

    def under_window(self) -> tuple[Window, NDArray[np.float32]]:
        """Give the smallest window round the object, and the logits there; for a mask that is not empty."""
        mask = self.to_mask()
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        return window, self.logits()[window]

    # --- as JSON, in the session file ---

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        packed_runs = zlib.compress(self.runs.astype("<u4").tobytes(), 1)
        return {
            "runs": base64.b64encode(packed_runs).decode("ascii"),
            "logits": base64.b64encode(self.packed).decode("ascii"),
            "confidence": self.confidence,
            "origin": self.origin,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], size_hw: tuple[int, int]) -> SliceMask:
        """Read what `to_json` gave.

        Raises:
            ValueError: it does not fit the slice, or is damaged.
        """
        try:
            runs = np.frombuffer(zlib.decompress(base64.b64decode(record["runs"])), "<u4").astype(np.int64)
            packed = base64.b64decode(record["logits"])
            n_logits = len(_unpack(packed))
        except (KeyError, TypeError, zlib.error) as error:
            raise ValueError(f"a mask is damaged: {error}") from error
        starts, lengths = runs[::2], runs[1::2]
        fits = runs.size % 2 == 0 and bool((starts[1:] >= (starts + lengths)[:-1]).all())
        ends = int(starts[-1] + lengths[-1]) if fits and runs.size else 0
        if not fits or ends > size_hw[0] * size_hw[1] or int(lengths.sum()) != n_logits:
            raise ValueError("a mask does not fit its slice")
        return cls(size_hw, runs, packed, record.get("confidence"), cast("Origin", str(record.get("origin"))))


def answer_runs(answer: BoxAnswer, size_hw: tuple[int, int]) -> NDArray[np.int64]:
    """Give the runs of what a model answered; see `SliceMask.runs`."""
    return _runs(answer.logits > 0, answer.window, size_hw[1])


def told_confidence(answer: BoxAnswer) -> float | None:
    """Give the IoU that the model predicts of its mask; None where it tells none."""
    return float(answer.confidence) if math.isfinite(answer.confidence) else None


def empty_mask(size_hw: tuple[int, int]) -> SliceMask:
    """Give a mask without a pixel, to brush on."""
    return SliceMask(size_hw, np.zeros(0, np.int64), _pack(np.zeros(0, np.float32)), None, "brush")


def stroke(size_hw: tuple[int, int], points: list[tuple[float, float]], radius: float) -> NDArray[np.bool_]:
    """Give the pixels that a round brush touches: (H, W), those whose centre is within `radius` of the line.

    points: x, y of the line's corners, pixels counted at their centres; one is a dot. The pixel under a point is always
        touched.
    """
    height, width = size_hw
    touched = np.zeros(size_hw, bool)
    for start, end in zip(points, points[1:] or points, strict=False):
        left, right = (round(each) for each in (min(start[0], end[0]) - radius, max(start[0], end[0]) + radius))
        top, bottom = (round(each) for each in (min(start[1], end[1]) - radius, max(start[1], end[1]) + radius))
        rows = slice(max(0, top), max(0, min(height, bottom + 1)))
        columns = slice(max(0, left), max(0, min(width, right + 1)))
        y, x = np.ogrid[rows, columns]
        along_x, along_y = end[0] - start[0], end[1] - start[1]
        length = along_x**2 + along_y**2
        share = np.clip(((x - start[0]) * along_x + (y - start[1]) * along_y) / length, 0, 1) if length else 0.0
        distance = (x - start[0] - share * along_x) ** 2 + (y - start[1] - share * along_y) ** 2
        touched[rows, columns] |= distance <= radius**2
    for x_point, y_point in points:
        column, row = round(x_point), round(y_point)
        if 0 <= row < height and 0 <= column < width:
            touched[row, column] = True
    return touched


def _whole(size_hw: tuple[int, int]) -> Window:
    """Give the window that is all of a slice."""
    return slice(0, size_hw[0]), slice(0, size_hw[1])


def _runs(mask: NDArray[np.bool_], window: Window, width: int) -> NDArray[np.int64]:
    """Give the runs of a mask that covers a window of a slice `width` pixels wide."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    runs = np.empty(2 * len(rows), np.int64)
    runs[::2] = (rows + window[0].start) * width + first + window[1].start
    runs[1::2] = stop - first
    return runs


def _pack(logits: NDArray[np.float32]) -> bytes:
    """Pack float32 without loss: first bytes together, then second ones, ..., of which the exponents shrink well."""
    return zlib.compress(logits.astype("<f4").view(np.uint8).reshape(-1, 4).T.tobytes(), 1)


def _unpack(packed: bytes) -> NDArray[np.float32]:
    shuffled = np.frombuffer(zlib.decompress(packed), np.uint8)
    return np.ascontiguousarray(shuffled.reshape(4, -1).T).view("<f4")[:, 0].astype(np.float32)
