"""Who owns a pixel that several objects of a slice claim: one painter for each rule, and the registry of the rules.

A painter is given the objects of one slice, in any order, and enters them into the slice's labels. New rules are one
class and one line in `PAINTERS`.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Window = tuple[slice, slice]
Overlap = Literal["auto", "last", "confident"]

INSIDE_SHARE: Final = 0.75
"""An object of which at least this share lies under a larger one is inside it."""


class Painter(Protocol):
    """Enters the objects of one slice into its labels."""

    def __init__(self, labels: NDArray[np.integer[Any]], *, dtype: type[np.floating[Any]] = np.float32) -> None:
        """Take the labels (H, W), 0 where no object is yet; they are changed in place.

        dtype: of the logits that some rules remember for each pixel; float16 halves their memory.
        """

    def paint(self, window: Window, logits: NDArray[np.float32], *, label: int) -> NDArray[np.bool_]:
        """Enter one object, and give its whole mask within the window, whoever owns the pixels.

        Args:
            window: the rows and columns of the slice that the logits cover.
            logits: above 0 where the object is.
            label: the object's number, at least 1; no two objects of a slice have the same.
        """


class LastWins:
    """The challenge's rule: the object with the highest number, which is the last in the list of boxes."""

    def __init__(self, labels: NDArray[np.integer[Any]], *, dtype: type[np.floating[Any]] = np.float32) -> None:
        self._labels = labels

    def paint(self, window: Window, logits: NDArray[np.float32], *, label: int) -> NDArray[np.bool_]:
        """Enter one object; see `Painter.paint`."""
        mask = logits > 0
        region = self._labels[window]
        region[mask & (region < label)] = label
        return mask


class ConfidentWins:
    """The object whose logit is higher; where they are equal, the one that came first."""

    def __init__(self, labels: NDArray[np.integer[Any]], *, dtype: type[np.floating[Any]] = np.float32) -> None:
        self._labels = labels
        self._best = np.zeros(labels.shape, dtype)

    def paint(self, window: Window, logits: NDArray[np.float32], *, label: int) -> NDArray[np.bool_]:
        """Enter one object; see `Painter.paint`."""
        mask = logits > 0
        best = self._best[window]
        wins = mask & (logits > best)
        best[wins] = logits[wins]
        self._labels[window][wins] = label
        return mask


class InnerWins:
    """An object inside another owns its pixels, as a cup in a disc; where objects only cross, the higher logit wins.

    "Inside" is: at least `INSIDE_SHARE` of it lies under a larger object. Where logits are equal, the higher number
    wins, as in the challenge's rule. Each object is compared with the owners of the pixels that it claims; masks are
    remembered as bits, an eighth of a byte for each pixel about the object.
    """

    def __init__(self, labels: NDArray[np.integer[Any]], *, dtype: type[np.floating[Any]] = np.float32) -> None:
        self._labels = labels
        self._best = np.zeros(labels.shape, dtype)
        self._masks: dict[int, _PackedMask] = {}

    def paint(self, window: Window, logits: NDArray[np.float32], *, label: int) -> NDArray[np.bool_]:
        """Enter one object; see `Painter.paint`."""
        mask = logits > 0
        size = int(np.count_nonzero(mask))
        if not size:
            return mask
        region, best = self._labels[window], self._best[window]
        wins = mask & (region == 0)
        for other in _present(region[mask & (region != 0)]):
            contested = mask & (region == other)
            is_surer = logits >= best if label > other else logits > best
            wins |= contested & self._beats(other, mask, size, window, is_surer)
        best[wins] = logits[wins]
        region[wins] = label
        self._masks[label] = _PackedMask.of(mask, window, size)
        return mask

    def _beats(
        self, other: int, mask: NDArray[np.bool_], size: int, window: Window, is_surer: NDArray[np.bool_]
    ) -> NDArray[np.bool_] | bool:
        """Tell whether a new object wins against another: everywhere, nowhere, or where it is surer."""
        known = self._masks[other]
        shared = int(np.count_nonzero(mask & known.within(window)))
        if size < known.size and shared >= INSIDE_SHARE * size:
            return True
        if known.size < size and shared >= INSIDE_SHARE * known.size:
            return False
        return is_surer


def _present(labels: NDArray[np.integer[Any]]) -> list[int]:
    """Give the different numbers among labels (N,), in rising order.

    As np.unique, which on its first call imports numpy.ma: a fiftieth of the time of a whole case.
    """
    present: list[int] = np.flatnonzero(np.bincount(labels)).tolist()
    return present


class _PackedMask:
    """A mask of one slice as bits: only the rows and columns that hold it."""

    def __init__(self, bits: NDArray[np.uint8], rows: slice, columns: slice, size: int) -> None:
        self._bits, self._rows, self._columns = bits, rows, columns
        self.size = size

    @classmethod
    def of(cls, mask: NDArray[np.bool_], window: Window, size: int) -> _PackedMask:
        """Pack a mask that is not empty and lies in a window of the slice."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        top, left = window[0].start + int(rows[0]), window[1].start + int(columns[0])
        return cls(np.packbits(cut, axis=1), slice(top, top + cut.shape[0]), slice(left, left + cut.shape[1]), size)

    def within(self, window: Window) -> NDArray[np.bool_]:
        """Give the part of the mask under a window, in the window's shape."""
        rows, columns = window
        found = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        top, bottom = max(rows.start, self._rows.start), min(rows.stop, self._rows.stop)
        left, right = max(columns.start, self._columns.start), min(columns.stop, self._columns.stop)
        if top < bottom and left < right:
            whole = np.unpackbits(
                self._bits[top - self._rows.start : bottom - self._rows.start],
                axis=1,
                count=self._columns.stop - self._columns.start,
            ).astype(bool)
            cut = whole[:, left - self._columns.start : right - self._columns.start]
            found[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = cut
        return found


PAINTERS: Final[dict[Overlap, type[Painter]]] = {"auto": InnerWins, "last": LastWins, "confident": ConfidentWins}
