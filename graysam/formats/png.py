"""Label maps as PNG: indices with a palette up to 255 labels, 16-bit gray beyond.

Written by hand because OpenCV, the only picture library of an installation, writes no palette, and a palette is what
lets a viewer show the labels in colours while the numbers in the file stay the labels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graysam.cases import Labels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _INDEXED = 0, 3  # PNG's colour types
_COMPRESSION_LEVEL = 1  # label maps are mostly runs
_FAILURE = b"failure"  # keyword of the text that marks a stand-in


def encode_labels(labels: Labels, palette_rgb: NDArray[np.uint8], *, failure: str | None = None) -> bytes:
    """Give the bytes of a PNG whose pixels are the labels.

    Args:
        labels: (H, W).
        palette_rgb: (256, 3) colours of the labels 0 to 255; not used for 16 bits.
        failure: why the map is only a stand-in, stored as a text.
    """
    height, width = labels.shape
    narrow = labels.dtype == np.uint8
    pixels = labels if narrow else labels.astype(">u2")
    rows = np.zeros((height, 1 + width * pixels.itemsize), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _INDEXED if narrow else _GRAY, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if narrow:
        chunks.append(_chunk(b"PLTE", np.asarray(palette_rgb, np.uint8).tobytes()))
    if failure is not None:
        # iTXt: keyword, no compression, no language, no translated keyword, text in UTF-8
        chunks.append(_chunk(b"iTXt", _FAILURE + b"\0\0\0\0\0" + failure.encode("utf-8", "replace")))
    chunks += [_chunk(b"IDAT", zlib.compress(rows.tobytes(), _COMPRESSION_LEVEL)), _chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(chunks)


def finished_shape(path: Path) -> tuple[int, int] | None:
    """Give (H, W) of a PNG that is whole and no stand-in, else None; its pixels are not decoded."""
    try:
        chunks = list(_read_chunks(path.read_bytes()))
    except (OSError, ValueError, struct.error):
        return None
    kinds = [kind for kind, _ in chunks]
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"]:
        return None
    if any(kind == b"iTXt" and data.startswith(_FAILURE + b"\0") for kind, data in chunks):
        return None
    width, height = struct.unpack(">II", chunks[0][1][:8])
    return height, width


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _read_chunks(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give kind and data of each chunk.

    Raises:
        ValueError: no PNG, truncated, or a wrong checksum.
    """
    if not raw.startswith(SIGNATURE):
        raise ValueError("no PNG")
    place = len(SIGNATURE)
    while place < len(raw):
        (length,) = struct.unpack_from(">I", raw, place)
        end = place + 12 + length
        if raw[place:end] != _chunk(raw[place + 4 : place + 8], raw[place + 8 : end - 4]):
            raise ValueError("a damaged chunk")
        yield raw[place + 4 : place + 8], raw[place + 8 : end - 4]
        place = end
