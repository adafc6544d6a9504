"""The packed training store: thousands of slices and their objects in one file that executes nothing when read.

Layout of the file, all integers little-endian:

    8 bytes   magic "GSTORE01"
    8 bytes   length of the index in bytes
    index     JSON: {"entries": [...]}; each entry tells its dataset, case, group, split, modality, size, spacing and
              where its encoded image (PNG or JPEG bytes) and the run lengths of its objects lie in the body
    body      the encoded images and the runs, one after the other

Run lengths are uint32 and alternate background, object, background, ... over the slice in row order, starting with
background; so an empty object is one run, and objects of one slice may overlap.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.errors import StoreError
from graysam.files import remove_stale_temporaries, written_whole

MAGIC = b"GSTORE01"
HEADER_BYTES = 16
CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class StoreEntry:
    """One slice of the store.

    Attributes:
        dataset: "<Modality>/<data set>", as in index.csv.
        modality: the canonical modality name.
        case: name of the case; slices of a volume share it.
        group: the patient or source image; a group stands in one split only.
        split: "train", "val" or any other name; only "train" is ever trained on.
        z: slice number within a volume, or -1 for an image.
        size_hw: size in pixels.
        image_offset, image_bytes: where the encoded image lies in the body.
        objects: (offset, number of runs) of each object in the body.
    """

    dataset: str
    modality: str
    case: str
    group: str
    split: str
    z: int
    size_hw: tuple[int, int]
    image_offset: int
    image_bytes: int
    objects: tuple[tuple[int, int], ...]


def encode_runs(mask: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Give the run lengths of a (H, W) mask in row order, background first."""
    flat = np.concatenate([[False], mask.ravel(), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    if changes.size and changes[-1] != mask.size:
        changes = np.append(changes, mask.size)
    if not changes.size:
        changes = np.array([mask.size])
    return np.diff(np.concatenate([[0], changes])).astype(np.uint32)


def decode_runs(runs: NDArray[np.uint32], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Give the (H, W) mask of what `encode_runs` gave.

    Raises:
        StoreError: the runs do not add up to the size.
    """
    total = int(runs.sum(dtype=np.int64))
    if total != size_hw[0] * size_hw[1]:
        raise StoreError(f"run lengths add up to {total} pixels, wanted {size_hw[0]} x {size_hw[1]}.")
    is_object = np.arange(runs.size) % 2 == 1
    return np.repeat(is_object, runs).reshape(size_hw)


def encode_image(image: NDArray[np.uint8], codec: Literal["png", "jpeg"] = "png") -> bytes:
    """Encode (H, W) or (H, W, 3) RGB uint8; "jpeg" at quality 95 is several times smaller and not exact."""
    ordered = image if image.ndim == 2 else image[..., ::-1]
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if codec == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 4]
    done, encoded = cv2.imencode(".jpg" if codec == "jpeg" else ".png", ordered, options)
    if not done:
        raise StoreError(f"an image of shape {image.shape} and dtype {image.dtype} could not be encoded as {codec}.")
    return bytes(encoded.tobytes())


def decode_image(encoded: bytes | memoryview) -> NDArray[np.uint8]:
    """Give (H, W) or (H, W, 3) RGB uint8.

    Raises:
        StoreError: the bytes are no image.
    """
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise StoreError("an image of the store cannot be decoded; the file is damaged: pack it again.")
    decoded = image if image.ndim == 2 else image[..., 2::-1]
    return np.ascontiguousarray(decoded, np.uint8)


class StoreWriter:
    """Writes a store, whole or not at all. Use as a context manager.

    The body gathers in a nameless file beside the store, as the index, which is known last, stands before it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: list[StoreEntry] = []
        self._body: IO[bytes] | None = None

    def __enter__(self) -> StoreWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(self._path.parent, [self._path.name])
        self._body = tempfile.TemporaryFile(dir=self._path.parent)
        return self

    def add(
        self,
        encoded_image: bytes,
        objects: Iterable[NDArray[np.uint32]],
        *,
        dataset: str,
        modality: str,
        case: str,
        group: str,
        split: str,
        size_hw: tuple[int, int],
        z: int = -1,
    ) -> None:
        """Append one slice: its encoded image, and the run lengths of its objects."""
        assert self._body is not None
        image_offset = self._body.tell()
        self._body.write(encoded_image)
        places = []
        for runs in objects:
            places.append((self._body.tell(), int(runs.size)))
            self._body.write(runs.astype("<u4").tobytes())
        self._entries.append(
            StoreEntry(
                dataset,
                modality,
                case,
                group,
                split,
                z,
                size_hw,
                image_offset,
                len(encoded_image),
                tuple(places),
            )
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._body is not None
        with self._body as body:
            if error is None:
                self._assemble(body)

    def _assemble(self, body: IO[bytes]) -> None:
        index = json.dumps({"entries": [asdict(entry) for entry in self._entries]}).encode()
        body.seek(0)
        with written_whole(self._path, StoreError) as temporary, temporary.open("xb") as out:
            out.write(MAGIC + len(index).to_bytes(8, "little") + index)
            shutil.copyfileobj(body, out, CHUNK_BYTES)


class PackedStore:
    """A store opened for reading; the body is mapped, not loaded."""

    def __init__(self, path: Path, entries: tuple[StoreEntry, ...], body: NDArray[np.uint8]) -> None:
        self.path = path
        self.entries = entries
        self._body = body

    def __len__(self) -> int:
        return len(self.entries)

    def with_entries(self, entries: Sequence[StoreEntry]) -> PackedStore:
        """Give the store as if it held these entries of its own alone, which may be in another split than on disk."""
        return PackedStore(self.path, tuple(entries), self._body)

    def image(self, entry: StoreEntry) -> NDArray[np.uint8]:
        """Give the slice, (H, W) or (H, W, 3) uint8."""
        return decode_image(self.encoded_image(entry))

    def encoded_image(self, entry: StoreEntry) -> memoryview:
        """Give the slice's encoded bytes."""
        return self._body[entry.image_offset : entry.image_offset + entry.image_bytes].data

    def object_runs(self, entry: StoreEntry) -> list[NDArray[np.uint32]]:
        """Give the run lengths of every object of the slice."""
        return [
            np.frombuffer(self._body[offset : offset + 4 * count].tobytes(), "<u4").astype(np.uint32)
            for offset, count in entry.objects
        ]

    def masks(self, entry: StoreEntry) -> list[NDArray[np.bool_]]:
        """Give the (H, W) mask of every object of the slice."""
        return [decode_runs(runs, entry.size_hw) for runs in self.object_runs(entry)]


class StoredVolume(Mapping[int, NDArray[np.uint8]]):
    """The slices of one volume of a store by their z, each decoded when it is looked at."""

    def __init__(self, store: PackedStore, entries: Mapping[int, StoreEntry]) -> None:
        self._store, self._entries = store, entries

    def __getitem__(self, z: int) -> NDArray[np.uint8]:
        return self._store.image(self._entries[z])

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def open_store(path: Path) -> PackedStore:
    """Map a store into memory.

    Raises:
        StoreError: no such file, not a store, or shorter than its index says.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such store. Make one with `python -m data_prep pack`.")
    with path.open("rb") as source:
        header = source.read(HEADER_BYTES)
        if header[:8] != MAGIC:
            raise StoreError(f"{path}: wanted a store that starts with {MAGIC!r}, got {header[:8]!r}.")
        index_bytes = int.from_bytes(header[8:], "little")
        if HEADER_BYTES + index_bytes > path.stat().st_size:
            raise StoreError(f"{path}: the file ends before its index does; copy or pack it again.")
        entries = tuple(_entry_from(values) for values in json.loads(source.read(index_bytes))["entries"])
    body_start = HEADER_BYTES + index_bytes
    body_bytes = path.stat().st_size - body_start
    needed = max((_end_of(entry) for entry in entries), default=0)
    if body_bytes < needed:
        raise StoreError(f"{path}: wanted {needed} bytes of images and masks, got {body_bytes}; copy it again.")
    body = np.memmap(path, np.uint8, "r", body_start) if body_bytes else np.zeros(0, np.uint8)
    return PackedStore(path, entries, body)


def _entry_from(values: dict[str, Any]) -> StoreEntry:
    size_hw = (int(values["size_hw"][0]), int(values["size_hw"][1]))
    objects = tuple((int(offset), int(count)) for offset, count in values["objects"])
    return StoreEntry(**{**values, "size_hw": size_hw, "objects": objects})


def _end_of(entry: StoreEntry) -> int:
    ends = [offset + 4 * count for offset, count in entry.objects]
    return max([entry.image_offset + entry.image_bytes, *ends])


def split_file(path: Path, folder: Path, *, piece_bytes: int) -> list[Path]:
    """Cut any file into numbered pieces of at most `piece_bytes`, for machines that take only so much at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = []
    with path.open("rb") as source:
        for number, chunk in enumerate(_chunks(source, piece_bytes)):
            piece = folder / f"{path.name}.{number:03d}"
            piece.write_bytes(chunk)
            pieces.append(piece)
    return pieces


def join_files(pieces: Sequence[Path], path: Path) -> None:
    """Put the pieces of `split_file` together again, in the order of their names, whole or not at all.

    Raises:
        StoreError: a piece is not there, or the file cannot be written.
    """
    for piece in pieces:
        if not piece.is_file():
            raise StoreError(f"{piece}: no such piece; copy it again.")
    with written_whole(path, StoreError) as temporary, temporary.open("xb") as out:
        for piece in sorted(pieces):
            out.write(piece.read_bytes())


def _chunks(source: IO[bytes], size: int) -> Iterator[bytes]:
    while chunk := source.read(size):
        yield chunk


def index_hash(store: Path) -> str:
    """Give the SHA-256 of a store's index: which slices and objects it holds, and where."""
    with store.open("rb") as source:
        size = int.from_bytes(source.read(HEADER_BYTES)[8:], "little")
        return hashlib.sha256(source.read(size)).hexdigest()
