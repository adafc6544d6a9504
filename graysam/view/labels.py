"""The label map as it will be saved, kept up to date slice by slice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graysam.cases import label_dtype
from graysam.inference.overlap import PAINTERS
from graysam.view.document import Change, Document
from graysam.view.masks import SliceMask


class LabelMap:
    """Labels (D, H, W): i + 1 for the object at place i of the document, by the overlap rule "auto".

    One array for the case, whatever the number of objects; a slice is painted anew when it is looked at after a change.
    """

    def __init__(self, document: Document, shape: tuple[int, ...], *, is_volume: bool) -> None:
        self._document = document
        self._shape = shape
        self._is_volume = is_volume
        self._labels: NDArray[Any] = np.zeros(shape, np.uint8)
        self._stale: set[int] = set(range(shape[0]))

    @property
    def depth(self) -> int:
        """Give the number of slices."""
        return self._shape[0]

    def touch(self, changes: Iterable[Change]) -> None:
        """Take note of changes."""
        for change in changes:
            _, name, z = change.address
            comes_or_goes = name == "name" and None in (change.before, change.after)
            if name == "mask":
                self._stale.add(z)
            elif comes_or_goes or name in ("range", "key"):  # numbers move, or an object is painted at another turn
                self._stale = set(range(self._shape[0]))

    def on_slice(self, z: int) -> NDArray[Any]:
        """Give (H, W)."""
        if z in self._stale:
            self._paint(z)
        labels: NDArray[Any] = self._labels[z]
        return labels

    def whole(self) -> NDArray[Any]:
        """Give (D, H, W); uint8 while the number of objects fits, else uint16."""
        for z in sorted(self._stale):
            self._paint(z)
        return self._labels

    def _paint(self, z: int) -> None:
        objects = self._document.objects
        dtype = label_dtype(len(objects))
        if self._labels.dtype != dtype:
            self._labels = self._labels.astype(dtype)
        labels = self._labels[z]
        labels[:] = 0
        # As in graysam.inference: a volume's painters keep halves, and the upward sweep paints before the downward one.
        painter = PAINTERS["auto"](labels, dtype=np.float16 if self._is_volume else np.float32)
        for place in sorted(range(len(objects)), key=lambda each: (z < self._start(objects[each]), each)):
            mask: SliceMask | None = self._document.get(objects[place], "mask", z)
            if mask is not None and not mask.is_empty:
                window, logits = mask.under_window()
                painter.paint(window, logits, label=place + 1)
        self._stale.discard(z)

    def _start(self, number: int) -> int:
        """Give the slice at which prediction starts to follow an object."""
        first, last = self._document.get(number, "range") or (0, 0)
        key = self._document.get(number, "key")
        return int(key) if key is not None and first <= key <= last else (first + last) // 2
