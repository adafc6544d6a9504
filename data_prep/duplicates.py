"""Find near-duplicates: images of different patients that look the same, above all across train and val.

Two steps: imagehash's 64-bit difference hash of every image, of which all pairs are compared (8,000 images: 32 million
pairs, about half a second with `np.bitwise_count`, exact, and no index to get wrong); then the correlation of
32x32 thumbnails, because CT slices of two people may share a hash. Volumes are hashed by their middle slice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.parallel import run_jobs
from data_prep.sources import Source
from data_prep.split import patient_of
from graysam.formats.readers import read_image, read_volume

logger = logging.getLogger(__name__)

THUMBNAIL_PX = 32
# Measured on 400 images of eleven modalities, each compared with itself shrunk to two thirds and saved as JPEG of
# quality 40: half of them differ by 1 bit or less, 96.5 % by 5 or less, all by 10 or less (a hash of cell means, used
# before: 8 and 22); of their 79,800 pairs 197 lie within 10 bits. The correlation of the thumbnails was 0.992 or more.
# Below 0.985 pairs are neighbours or look-alikes rather than copies.
HASH_BITS_APART = 10
SMALLEST_CORRELATION = 0.985
ROWS_AT_ONCE = 512
PAIRS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What an image looks like.

    Attributes:
        bits: the difference hash.
        thumbnail: (1024,) float32 of mean 0 and length 1; zeros for a constant image, which resembles
            nothing.
    """

    bits: np.uint64
    thumbnail: NDArray[np.float32]


@dataclass(frozen=True)
class NearDuplicate:
    """Two cases that look the same.

    Attributes:
        first, second: the cases' sources.
        bits_apart: of 64.
        correlation: of the thumbnails, at most 1.
    """

    first: Source
    second: Source
    bits_apart: int
    correlation: float

    @property
    def across_splits(self) -> bool:
        """Tell whether one would be trained on and the other tested with."""
        return bool(self.first.split and self.second.split and self.first.split != self.second.split)


def difference_hash(image: NDArray[np.generic]) -> np.uint64:
    """Give imagehash's dhash: whether each cell of an 8x8 grid is darker than its right neighbour, row by row.

    image: (H, W) or (H, W, 3), any dtype; its range is stretched to 8 bits first. A constant image gives 0.
    """
    gray = _gray(image)
    low, high = float(gray.min()), float(gray.max())
    stretched = (gray - low) * (255 / (high - low)) if high > low else np.zeros_like(gray)
    bits = imagehash.dhash(Image.fromarray(stretched.astype(np.uint8))).hash
    return np.uint64(int.from_bytes(np.packbits(bits).tobytes(), "big"))


def fingerprint(image: NDArray[np.generic]) -> Fingerprint:
    """Give the hash and the thumbnail of (H, W) or (H, W, 3)."""
    small = cv2.resize(_gray(image), (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).ravel()
    small = small - small.mean()
    length = float(np.linalg.norm(small))
    thumbnail = small / length if length > 1e-6 * small.size else np.zeros_like(small)
    return Fingerprint(difference_hash(image), thumbnail.astype(np.float32))


def _gray(image: NDArray[np.generic]) -> NDArray[np.float32]:
    gray = image.astype(np.float32)
    return gray if gray.ndim == 2 else np.ascontiguousarray(gray.mean(axis=2))


def _fingerprint_of(source: Source) -> Fingerprint | None:
    try:
        if source.is_volume:
            array = read_volume(source.image).array
            return fingerprint(array[array.shape[0] // 2])
        return fingerprint(read_image(source.image))
    except Exception:  # `inspect` names files that cannot be read
        logger.debug("%s cannot be read", source.name)
        return None


def _crashed(source: Source, reason: str) -> None:
    logger.debug("%s: %s", source.name, reason)


def find_near_duplicates(
    sources: Sequence[Source],
    *,
    workers: int,
    bits_apart: int = HASH_BITS_APART,
    correlation: float = SMALLEST_CORRELATION,
) -> list[NearDuplicate]:
    """Give pairs of different patients that look the same: those across splits first, then the most alike."""
    found = [
        (source, mark)
        for source, mark in run_jobs(_fingerprint_of, sources, workers=workers, what="hashed", crashed=_crashed)
        if mark
    ]
    known = [source for source, _ in found]
    marks = [mark for _, mark in found]
    pairs = [
        NearDuplicate(known[first], known[second], bits, alike)
        for first, second, bits, alike in similar_pairs(marks, bits_apart=bits_apart, correlation=correlation)
        if patient_of(known[first]) != patient_of(known[second])
    ]
    return sorted(pairs, key=lambda pair: (not pair.across_splits, -pair.correlation))


def similar_pairs(
    marks: Sequence[Fingerprint],
    *,
    bits_apart: int = HASH_BITS_APART,
    correlation: float = SMALLEST_CORRELATION,
) -> list[tuple[int, int, int, float]]:
    """Give (first, second, bits apart, correlation) of all pairs within both limits, first < second."""
    if len(marks) < 2:
        return []
    bits = np.array([mark.bits for mark in marks], np.uint64)
    thumbnails = np.stack([mark.thumbnail for mark in marks])
    pairs = []
    for start in range(0, len(bits), ROWS_AT_ONCE):
        apart = np.bitwise_count(bits[start : start + ROWS_AT_ONCE, None] ^ bits[None, :])
        rows, columns = np.nonzero(apart <= bits_apart)
        ahead = columns > rows + start
        rows, columns = rows[ahead], columns[ahead]
        alike = _correlate(thumbnails, rows + start, columns)
        for place in np.flatnonzero(alike >= correlation):
            row, second = int(rows[place]), int(columns[place])
            pairs.append((start + row, second, int(apart[row, second]), float(alike[place])))
    return pairs


def _correlate(
    thumbnails: NDArray[np.float32], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Give the correlation of each pair, a few thousand pairs at a time to bound the memory."""
    alike = np.empty(first.size, np.float32)
    for start in range(0, first.size, PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        alike[part] = np.einsum("pi,pi->p", thumbnails[first[part]], thumbnails[second[part]])
    return alike
