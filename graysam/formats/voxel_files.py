"""Where the voxels of a MetaImage or NRRD file lie by its text header, and whether all of them are there.

They follow the header, or lie in a file of their own, or in several: a LIST of names, or numbered ones ("z%03d.raw 1 40
1"). A header may come from anybody, so its files must lie in its own folder or below; links that lead out count as out.
"""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graysam.errors import PrepareError

HEADER_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16  # unpacked at once, at most a thousand times as many
LARGEST_VOLUME_BYTES = 1 << 36  # 64 GiB: no scan has that many voxels, and a damaged header asks for any number
MOST_FILES = 100_000

_META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4,
    "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
_NRRD_BYTES = {
    1: ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"),
    2: ("short", "short int", "signed short", "signed short int", "int16", "int16_t", "ushort", "unsigned short",
        "unsigned short int", "uint16", "uint16_t"),
    4: ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"),
    8: ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
        "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "double"),
}  # fmt: skip
_NRRD_PACKINGS = {"raw": "raw", "gzip": "zlib", "gz": "zlib", "bzip2": "bzip2", "bz2": "bzip2", "txt": "text",
                  "text": "text", "ascii": "text"}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """A text header.

    Attributes:
        fields: by name; names of NRRD's fields in lower case, its key/value pairs as they are.
        end: number of the first byte behind it.
        names: the lines behind a field that says LIST.
    """

    fields: dict[str, str]
    end: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Promise:
    """What a header says of the voxels.

    Attributes:
        wanted: bytes of voxels in each file when unpacked.
        packing: "raw", "zlib" (with or without gzip's wrapper), "bzip2", "text", or "" where only SimpleITK can tell.
        files: where they lie, in order.
        start: from which byte of a file on.
        width: bytes of a number.
        start_is_known: whether `start` is said; else the voxels are a file's last bytes.
    """

    wanted: int
    packing: str
    files: tuple[Path, ...]
    start: int
    width: int
    start_is_known: bool = True


def check_voxels(path: Path) -> int | None:
    """Compare what the header promises with what is there; give the voxels' checksum, None where only ITK can tell.

    Raises:
        PrepareError: less, a header that makes no sense, or voxels out of the header's folder.
    """
    try:
        with path.open("rb") as stream:
            is_nrrd = stream.read(4) == b"NRRD"
        promise = _promise_of_nrrd(path) if is_nrrd else _promise_of_meta(path)
    except (ValueError, KeyError, IndexError) as error:
        raise PrepareError(f"{path.name}: damaged header: {error}; copy or export it again.") from error
    if not 0 < promise.wanted * len(promise.files) <= LARGEST_VOLUME_BYTES:
        raise PrepareError(f"{path.name}: the header wants {promise.wanted:,} bytes of voxels; it is damaged.")
    content_sum: int | None = 0
    for file in promise.files:
        if not file.is_file():
            raise PrepareError(f"{path.name}: its voxels should lie in {file.name}, which is missing.")
        found, content_sum = _bytes_there(promise, file, content_sum)
        is_packed = promise.packing in ("zlib", "bzip2")
        if found < promise.wanted or (is_packed and found > promise.wanted):
            where = f" in {file.name}" if file != path else ""
            raise PrepareError(
                f"{path.name}: cut off or damaged: the header wants {promise.wanted:,} bytes of voxels{where}, and "
                f"there are {found:,}; copy or download it again."
            )
    return content_sum


# --- headers ----------------------------------------------------------------------------------------------------------


def read_nrrd_header(path: Path) -> Header:
    """Read the fields and key/value pairs of a NRRD header.

    Raises:
        PrepareError: no NRRD.
    """
    fields: dict[str, str] = {}
    is_list = False
    names: list[str] = []
    end = 0
    for number, (line, behind) in enumerate(_lines(path)):
        end = behind
        if number == 0:
            if not line.startswith("NRRD"):
                raise PrepareError(f"{path.name}: no NRRD file, or damaged at its beginning; copy it again.")
        elif not line:
            break
        elif is_list:
            names.append(line.strip())
        elif not line.startswith("#"):
            key, separator, value = line.partition(":")
            if value.startswith("="):
                fields[key] = value[1:]
            elif separator:
                name = key.strip().lower()
                fields[name] = value.strip()
                is_list = name in ("data file", "datafile") and value.strip().upper().startswith("LIST")
    return Header(fields, end, tuple(names))


def read_meta_header(path: Path) -> Header:
    """Read the fields of a MetaImage header.

    Raises:
        PrepareError: no MetaImage.
    """
    fields: dict[str, str] = {}
    lines = _lines(path)
    for line, end in lines:
        key, _, value = line.partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            is_list = value.strip().upper().startswith("LIST")
            return Header(fields, end, tuple(name.strip() for name, _ in lines if name.strip()) if is_list else ())
    raise PrepareError(f"{path.name}: no MetaImage file, or damaged at its beginning; copy it again.")


def _lines(path: Path) -> Iterator[tuple[str, int]]:
    """Give the lines of a file's beginning, and where each ends; the last one need not end with a line's end."""
    with path.open("rb") as file:
        begun = file.read(HEADER_BYTES)
    place = 0
    while place < len(begun):
        end = begun.find(b"\n", place)
        stop = len(begun) if end < 0 else end
        yield begun[place:stop].decode("utf-8", "surrogateescape").rstrip("\r"), min(stop + 1, len(begun))
        place = stop + 1


def _promise_of_meta(path: Path) -> _Promise:
    header = read_meta_header(path)
    facts, place = header.fields, header.end
    sides = [_whole(side) for side in facts["DimSize"].split()]
    if len(sides) != int(facts["NDims"]):
        raise ValueError(f"NDims {facts['NDims']} and DimSize {facts['DimSize']} disagree")
    width = _META_BYTES[facts["ElementType"].removesuffix("_ARRAY")]
    wanted = math.prod(sides) * width * _whole(facts.get("ElementNumberOfChannels", "1"))
    is_packed = facts.get("CompressedData", "False").lower().startswith("t")
    is_text = facts.get("BinaryData", "True").lower().startswith("f")
    where = facts["ElementDataFile"]
    local = where.upper() == "LOCAL"
    files = (path,) if local else _files_of(path, where, header.names, count=sides[-1])
    header_size = int(facts.get("HeaderSize", "0"))
    if is_packed and local and int(facts.get("CompressedDataSize", "-1")) not in (-1, path.stat().st_size - place):
        raise ValueError(
            f"CompressedDataSize {facts['CompressedDataSize']}, but {path.stat().st_size - place} bytes follow"
        )
    start = place if local else 0
    wanted = _share(wanted, files)
    if header_size < 0 or is_text:  # voxels are the file's last bytes, or words
        packing = "text" if is_text else "raw"
        return _Promise(wanted, packing, files, start if is_text else 0, width, start_is_known=is_text)
    return _Promise(wanted, "zlib" if is_packed else "raw", files, start + header_size, width)


def _promise_of_nrrd(path: Path) -> _Promise:
    header = read_nrrd_header(path)
    facts = header.fields
    width = next((size for size, names in _NRRD_BYTES.items() if facts["type"].lower() in names), 0)
    if not width:
        raise ValueError(f"type {facts['type']!r}")
    sizes = facts["sizes"].split()
    if len(sizes) != int(facts["dimension"]):
        raise ValueError(f"dimension {facts['dimension']} and sizes {facts['sizes']} disagree")
    packing = _NRRD_PACKINGS.get(facts["encoding"].lower(), "")
    where = facts.get("data file", facts.get("datafile"))
    files = (path,) if where is None else _files_of(path, where, header.names, count=None)
    wanted = _share(math.prod(_whole(side) for side in sizes) * width, files)
    bytes_skipped = int(facts.get("byte skip", facts.get("byteskip", "0")))
    lines_skipped = int(facts.get("line skip", facts.get("lineskip", "0")))
    start = header.end if where is None else 0
    if lines_skipped:  # only ITK knows where voxels begin
        return _Promise(wanted, "", files, 0, width, start_is_known=False)
    if bytes_skipped < 0:
        return _Promise(wanted, packing, files, 0, width, start_is_known=False)
    return _Promise(wanted, packing, files, start + bytes_skipped, width)


def _files_of(path: Path, where: str, names: Sequence[str], *, count: int | None) -> tuple[Path, ...]:
    """Give the files that a header names: one, a list, or numbered ones.

    Args:
        path: of the header.
        where: what its field says.
        names: the lines behind a field that says LIST.
        count: how many numbered files there are where the field does not say (MetaImage: one for each slice).

    Raises:
        PrepareError: a file out of the header's folder.
        ValueError: a list without names, or numbers that make no sense.
    """
    if where.upper().split()[:1] == ["LIST"]:
        named = list(names)
    elif "%" in where:
        named = _numbered(where.split(), count)
    else:
        named = [where]
    if not 0 < len(named) <= MOST_FILES:
        raise ValueError(f"{len(named)} files of voxels")
    folder = path.parent.resolve()
    for name in named:
        if not (folder / name).resolve().is_relative_to(folder):
            raise PrepareError(
                f"{path.name}: its voxels should lie in {name}, out of the header's folder, which is not read; put the "
                "files together."
            )
    return tuple(path.parent / name for name in named)


def _numbered(words: Sequence[str], count: int | None) -> list[str]:
    """Give the names of "z%03d.raw FIRST LAST STEP"."""
    pattern, *numbers = words
    if count is None and len(numbers) < 3:
        raise ValueError(f"{pattern}: wanted first and last number and step")
    first = int(numbers[0]) if numbers else 1
    last = int(numbers[1]) if len(numbers) > 1 else first + (count or 1) - 1
    step = int(numbers[2]) if len(numbers) > 2 else 1
    if step == 0 or abs(last - first) // abs(step) >= MOST_FILES:
        raise ValueError(f"files numbered from {first} to {last} by {step}")
    try:
        return [pattern % number for number in range(first, last + (1 if step > 0 else -1), step)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{pattern}: no pattern with one number ({error})") from error


def _share(wanted: int, files: Sequence[Path]) -> int:
    share, rest = divmod(wanted, len(files))
    if rest:
        raise ValueError(f"{wanted:,} bytes of voxels in {len(files)} files")
    return share


def _whole(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError(f"a side of {value} voxels")
    return value


# --- is all there? ----------------------------------------------------------------------------------------------------


def _bytes_there(promise: _Promise, file: Path, content_sum: int | None) -> tuple[int, int | None]:
    """Give how many bytes of voxels there are, 0 where packed data end badly, and the checksum carried on.

    content_sum: of the files before; None once one of them could not be summed up.
    """
    if promise.packing == "":
        return promise.wanted, None
    if promise.packing == "text":
        return len(file.read_bytes()[promise.start :].split()) * promise.width, None
    if promise.packing == "raw":
        there = file.stat().st_size - promise.start
        # With a start that only ITK knows (the voxels are the file's last bytes) there is nothing to compare.
        if content_sum is None or there < promise.wanted or not promise.start_is_known:
            return there, None
        return there, _sum_of_raw(file, promise.start, promise.wanted, content_sum)
    unpacker: Any = bz2.BZ2Decompressor() if promise.packing == "bzip2" else zlib.decompressobj(47)
    found = 0
    try:
        for part in _chunks(file, promise.start):
            unpacked = unpacker.decompress(part)
            found += len(unpacked)
            content_sum = None if content_sum is None else zlib.crc32(unpacked, content_sum)
            if unpacker.eof:
                return found, content_sum
    except (zlib.error, OSError, EOFError):
        return 0, None
    return 0, None  # the end mark is missing


def _sum_of_raw(file: Path, start: int, wanted: int, content_sum: int) -> int:
    missing = wanted
    for part in _chunks(file, start):
        content_sum = zlib.crc32(part[:missing], content_sum)
        missing -= len(part)
        if missing <= 0:
            break
    return content_sum


def _chunks(path: Path, start: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while part := file.read(CHUNK_BYTES):
            yield part
