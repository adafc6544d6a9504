"""Read .npz archives that nobody vouches for, and write ones that are whole or absent.

Reading never unpickles, not even arrays of objects (`Archive.read_objects`), and looks at the declared shape, dtype and
size of an array before any memory is taken. This file knows the container format only; what the arrays mean stands in
`npz.py`.
"""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from graysam.errors import CaseError
from graysam.files import written_whole

# 4 GiB holds a 1000 x 512 x 512 volume of the widest dtype twice over, and half of the 8 GB of the
# challenge's machine.
MAX_ARRAY_BYTES = 4 * 1024**3
# A large array that shrank this much is (nearly) constant. Deflate cannot exceed 1032:1; real volumes stay
# below 100:1.
BOMB_BYTES = 512 * 1024**2
BOMB_RATIO = 500
# Label maps are mostly runs: level 1 is several times faster than zlib's default 6, and the files stay small.
COMPRESSION_LEVEL = 1

_CHUNK_BYTES = 1 << 20
# What zipfile, zlib and numpy's header parser are known to raise on damaged or hostile bytes.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,  # includes UnicodeDecodeError
    RuntimeError,  # encrypted members; includes NotImplementedError (unknown compression) and RecursionError
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    tokenize.TokenError,
)


@dataclass(frozen=True)
class ArrayHeader:
    """What an array in an archive declares of itself; nothing of its data has been read.

    Attributes:
        shape: sizes, all non-negative.
        dtype: as declared, not an object dtype, not structured.
        fortran_order: whether the first axis runs fastest in the file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool

    @property
    def n_bytes(self) -> int:
        """Give the size of the data in bytes, exact however large."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """An open .npz file; use it as a context manager.

    Raises:
        CaseError: on opening, when the file is missing, unreadable, not a zip file, or truncated.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise CaseError(f"{path.name}: no such file in {path.parent}.") from error
        except PermissionError as error:
            raise CaseError(f"{path.name}: may not be read ({error.strerror}). Check its permissions.") from error
        except zipfile.BadZipFile as error:
            raise CaseError(
                f"{path.name}: not a whole .npz (zip) file: {error}. It may be truncated; copy it again."
            ) from error
        except _DAMAGE as error:
            raise CaseError(f"{path.name}: cannot be opened: {_cause(error)}.") from error
        self._members = {
            info.filename.removesuffix(".npy"): info for info in self._zip.infolist() if info.filename.endswith(".npy")
        }

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def __contains__(self, key: str) -> bool:
        return key in self._members

    @property
    def keys(self) -> tuple[str, ...]:
        """Give the names of the arrays, sorted."""
        return tuple(sorted(self._members))

    def header(self, key: str) -> ArrayHeader:
        """Read what the array declares of itself, without reading its data.

        Raises:
            CaseError: no such array, a damaged header, an object or structured dtype, a negative size, a size that
                differs from what is stored, is beyond `MAX_ARRAY_BYTES`, or is that of a zip bomb.
        """
        try:
            with self._zip.open(self._info(key)) as member:
                return self._parse_header(key, member, MAX_ARRAY_BYTES)
        except _DAMAGE as error:
            raise CaseError(f"{self._path.name}: array {key!r} is damaged: {_cause(error)}.") from error

    def read(self, key: str, *, max_bytes: int = MAX_ARRAY_BYTES) -> NDArray[Any]:
        """Read one array: C-contiguous, writable, native byte order, dtype as in the file otherwise.

        Raises:
            CaseError: as `header`; also data that is shorter, longer or other than declared, and an array
                larger than `max_bytes`, which is refused before memory is taken.
        """
        info = self._info(key)
        name = f"{self._path.name}: array {key!r}"
        try:
            with self._zip.open(info) as member:
                header = self._parse_header(key, member, max_bytes)
                flat = np.empty(math.prod(header.shape), header.dtype)
                _fill(flat.view(np.uint8), member)
        except _DAMAGE as error:
            raise CaseError(f"{name} cannot be read: {_cause(error)}.") from error
        array = flat.reshape(header.shape[::-1]).T if header.fortran_order else flat.reshape(header.shape)
        return np.ascontiguousarray(array, dtype=header.dtype.newbyteorder("=")).reshape(header.shape)

    def holds_objects(self, key: str) -> bool:
        """Tell whether an array is there and declares Python objects, which only `read_objects` reads.

        Raises:
            CaseError: a damaged header.
        """
        if key not in self._members:
            return False
        try:
            with self._zip.open(self._info(key)) as member:
                return _declared(member)[2].hasobject
        except _DAMAGE as error:
            raise CaseError(f"{self._path.name}: array {key!r} is damaged: {_cause(error)}.") from error

    def read_objects(self, key: str) -> list[Any]:
        """Read the plain data of an array of objects; nothing in it is run, see `graysam.formats.plain_pickle`.

        Raises:
            CaseError: no such array, another shape than (N,), more than plain data, too large, or damaged.
        """
        from graysam.formats.plain_pickle import MOST_PICKLE_BYTES, PickleError, read_plain_objects

        info, name = self._info(key), f"{self._path.name}: array {key!r}"
        try:
            with self._zip.open(info) as member:
                shape, _, dtype = _declared(member)
                if len(shape) != 1 or not dtype.hasobject or dtype.names is not None:
                    raise CaseError(f"{name} has shape {shape} and dtype {dtype}, wanted a list of objects.")
                objects = read_plain_objects(member.read(MOST_PICKLE_BYTES + 1))
        except PickleError as error:
            raise CaseError(
                f"{name} holds Python objects that are not plain data: {error}. They would have to be unpickled, which "
                "runs code from the file, so it is never done; save plain numbers, lists and dictionaries."
            ) from error
        except _DAMAGE as error:
            raise CaseError(f"{name} cannot be read: {_cause(error)}.") from error
        if len(objects) != shape[0]:
            raise CaseError(f"{name} declares {shape[0]} objects, but {len(objects)} are stored.")
        return objects

    def _info(self, key: str) -> zipfile.ZipInfo:
        if key not in self._members:
            raise CaseError(f"{self._path.name}: no array {key!r}; found {list(self.keys)}.")
        return self._members[key]

    def _parse_header(self, key: str, member: IO[bytes], max_bytes: int) -> ArrayHeader:
        shape, fortran_order, dtype = _declared(member)
        if dtype.hasobject:
            raise CaseError(
                f"{self._path.name}: array {key!r} holds Python objects (dtype {dtype}), which would have to be "
                "unpickled. That runs code from the file, so it is never done; save plain numbers."
            )
        if dtype.names is not None or dtype.subdtype is not None:
            raise CaseError(f"{self._path.name}: array {key!r} is structured (dtype {dtype}), wanted plain numbers.")
        if any(size < 0 for size in shape):
            raise CaseError(f"{self._path.name}: array {key!r} declares a negative size, shape {shape}.")
        header = ArrayHeader(tuple(int(size) for size in shape), dtype, bool(fortran_order))
        self._check_size(key, header, data_bytes=self._info(key).file_size - member.tell(), max_bytes=max_bytes)
        return header

    def _check_size(self, key: str, header: ArrayHeader, *, data_bytes: int, max_bytes: int) -> None:
        name, compressed = f"{self._path.name}: array {key!r}", self._info(key).compress_size
        if header.n_bytes > max_bytes:
            raise CaseError(
                f"{name} has shape {header.shape} of {header.dtype}: {header.n_bytes:,} bytes; the limit is "
                f"{max_bytes:,}."
            )
        if header.n_bytes != data_bytes:
            raise CaseError(
                f"{name} declares shape {header.shape} of {header.dtype}, {header.n_bytes:,} bytes, but "
                f"{data_bytes:,} are stored."
            )
        if header.n_bytes > BOMB_BYTES and header.n_bytes > BOMB_RATIO * compressed:
            raise CaseError(
                f"{name} would grow from {compressed:,} to {header.n_bytes:,} bytes, more than "
                f"{BOMB_RATIO} times; taken for a zip bomb."
            )


def write_archive(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to an .npz file that afterwards is there whole, or not at all; an older file is replaced.

    An array of Python objects must hold plain data, which `Archive.read_objects` reads.

    Raises:
        CaseError: the folder is missing or read-only, the disk is full or a quota is reached.
    """
    # "x": no follower of a planted link; the umask decides the mode, unlike tempfile's 0600, because the
    # judge's user differs from the container's.
    with (
        written_whole(path, CaseError) as temporary,
        temporary.open("xb") as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL) as archive,
    ):
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                npy_format.write_array(member, np.ascontiguousarray(array), allow_pickle=array.dtype.hasobject)


def _declared(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and dtype from the head of an .npy file.

    Raises:
        ValueError: an unknown version; version 3 differs only for structured dtypes, which no key of ours has.
    """
    version = npy_format.read_magic(member)
    if version == (1, 0):
        return npy_format.read_array_header_1_0(member)
    if version == (2, 0):
        return npy_format.read_array_header_2_0(member)
    raise ValueError(f"npy format {version}, wanted 1.0 or 2.0")


def _fill(target: NDArray[np.uint8], member: IO[bytes]) -> None:
    """Read until `target` is full and the member, whose checksum is then tested, is at its end."""
    done = 0
    while done < len(target):
        chunk = member.read(min(_CHUNK_BYTES, len(target) - done))
        if not chunk:
            raise EOFError(f"ends after {done:,} of {len(target):,} bytes")
        target[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    if member.read(1):
        raise ValueError("holds more data than it declares")


def _cause(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
