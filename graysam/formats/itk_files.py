"""Read MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr, 3D Slicer's .seg.nrrd), with SimpleITK.

SimpleITK fills up what a cut-off file lacks, allocates what a damaged header asks for, and ends the process over a name
that is no UTF-8. So the length that the header promises is compared with what is there before it gets the file.
"""

from __future__ import annotations

import bz2
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from graysam.errors import PrepareError
from graysam.formats.grids import make_grid, straightened
from graysam.formats.record import Remarks, Volume, finite_voxels

sitk: Any = SimpleITK  # it ships with next to no types
SitkImage: TypeAlias = Any

HEADER_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16  # unpacked at once, at most a thousand times as many
LARGEST_VOLUME_BYTES = 1 << 36  # 64 GiB: no scan has that many voxels, and a damaged header asks for any number

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


@dataclass(frozen=True)
class _Promise:
    """What a text header says of the voxels.

    Attributes:
        wanted: bytes of voxels when unpacked.
        packing: "raw", "zlib" (with or without gzip's wrapper), "bzip2", "text", or "" where only SimpleITK can tell.
        file: where they lie.
        start: from which byte on.
        width: bytes of a number.
        start_is_known: whether `start` is said; else the voxels are the last bytes.
    """

    wanted: int
    packing: str
    file: Path
    start: int
    width: int
    start_is_known: bool = True


def read_itk_file(path: Path) -> Volume:
    """Read a MetaImage or NRRD file.

    Raises:
        PrepareError: damaged or cut off, not three-dimensional, or several numbers per voxel.
    """
    _check_name(path)
    content_sum = _check_length(path)
    try:
        image: SitkImage = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise PrepareError(f"{path.name}: cannot be read as a volume: {_last_line(error)}") from error
    volume = _volume_from(image, path.name)
    if content_sum is not None and content_sum not in _sums_of(image):
        # A damaged header lets SimpleITK hand out whatever lay in memory, without an error.
        raise PrepareError(f"{path.name}: damaged: what was decoded is not what the file holds; copy it again.")
    return volume


def _sums_of(image: SitkImage) -> tuple[int, int]:
    """Give the checksum of the voxels in either byte order."""
    array: NDArray[Any] = np.ascontiguousarray(sitk.GetArrayViewFromImage(image))
    return zlib.crc32(array.data), zlib.crc32(array.byteswap().data)


def _check_name(path: Path) -> None:
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = os.fsencode(path.name)
        raise PrepareError(f"the name {shown!r} is no UTF-8, which this format needs; rename the file.") from error


def _volume_from(image: SitkImage, name: str) -> Volume:
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise PrepareError(
            f"{name}: {image.GetNumberOfComponentsPerPixel()} numbers per voxel (colours, or 3D Slicer's segments that "
            "overlap in layers); export one layer, or a label map without overlap."
        )
    size = image.GetSize()
    if any(side != 1 for side in size[3:]) or len(size) < 2:
        raise PrepareError(
            f"{name}: wanted three dimensions, got shape {size[::-1]}; "
            "save each time point, channel or layer as a file of its own."
        )
    array: NDArray[Any] = sitk.GetArrayFromImage(image)
    n = len(size)
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(n, n) @ np.diag(image.GetSpacing())
    kept = min(n, 3)
    affine[:kept, :kept] = direction[:kept, :kept]
    affine[:kept, 3] = image.GetOrigin()[:kept]
    shape = (*size, 1)[:3]
    remarks = Remarks()
    array = finite_voxels(array.reshape(shape[::-1]), name, remarks)
    grid = make_grid(shape, affine, name)
    if grid.is_sheared:
        remarks.warnings.append("the axes are not at right angles (a sheared stack); taken in the order of voxels")
    return Volume(array, grid, straightened(grid), notes=tuple(remarks.notes), warnings=tuple(remarks.warnings))


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


# --- is all there? -----------------------------------------------------------------------------------------


def _check_length(path: Path) -> int | None:
    """Compare what the header promises with what is there; give the voxels' checksum, None where only ITK can tell.

    Raises:
        PrepareError: less, or a header that makes no sense.
    """
    with path.open("rb") as file:
        begun = file.read(HEADER_BYTES)
    try:
        promise = _promise_of_nrrd(path, begun) if begun.startswith(b"NRRD") else _promise_of_meta(path, begun)
    except (ValueError, KeyError, IndexError) as error:
        raise PrepareError(f"{path.name}: damaged header: {error}; copy or export it again.") from error
    if promise is None:
        return None
    if not 0 < promise.wanted <= LARGEST_VOLUME_BYTES:
        raise PrepareError(f"{path.name}: the header wants {promise.wanted:,} bytes of voxels; it is damaged.")
    if not promise.file.is_file():
        raise PrepareError(f"{path.name}: its voxels should lie in {promise.file.name}, which is missing.")
    found, content_sum = _bytes_there(promise)
    is_packed = promise.packing in ("zlib", "bzip2")
    if found < promise.wanted or (is_packed and found > promise.wanted):
        raise PrepareError(
            f"{path.name}: cut off or damaged: the header wants {promise.wanted:,} bytes of voxels, and there are "
            f"{found:,}; copy or download it again."
        )
    return content_sum


def _bytes_there(promise: _Promise) -> tuple[int, int | None]:
    """Give how many bytes of voxels there are, 0 where packed data end badly, and the checksum of the wanted ones."""
    if promise.packing == "":
        return promise.wanted, None
    if promise.packing == "text":
        return len(promise.file.read_bytes()[promise.start :].split()) * promise.width, None
    if promise.packing == "raw":
        there = promise.file.stat().st_size - promise.start
        # With a start that only ITK knows (the voxels are the file's last bytes) there is nothing to compare.
        return there, _sum_of_raw(promise) if there >= promise.wanted and promise.start_is_known else None
    unpacker: Any = bz2.BZ2Decompressor() if promise.packing == "bzip2" else zlib.decompressobj(47)
    found, content_sum = 0, 0
    try:
        for part in _chunks(promise.file, promise.start):
            unpacked = unpacker.decompress(part)
            found += len(unpacked)
            content_sum = zlib.crc32(unpacked, content_sum)
            if unpacker.eof:
                return found, content_sum
    except (zlib.error, OSError, EOFError):
        return 0, None
    return 0, None  # the end mark is missing


def _sum_of_raw(promise: _Promise) -> int:
    content_sum, missing = 0, promise.wanted
    for part in _chunks(promise.file, promise.start):
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


def _promise_of_meta(path: Path, begun: bytes) -> _Promise | None:
    facts: dict[str, str] = {}
    place = 0
    while "ElementDataFile" not in facts:
        end = begun.find(b"\n", place)
        if end < 0 or end - place > 10_000:
            raise ValueError("no ElementDataFile")
        key, separator, value = begun[place:end].decode("latin-1").partition("=")
        if separator:
            facts[key.strip()] = value.strip()
        place = end + 1
    kind = facts["ElementType"].removesuffix("_ARRAY")
    count = math.prod(_whole(side) for side in facts["DimSize"].split())
    if len(facts["DimSize"].split()) != int(facts["NDims"]):
        raise ValueError(f"NDims {facts['NDims']} and DimSize {facts['DimSize']} disagree")
    width = _META_BYTES[kind]
    wanted = count * width * _whole(facts.get("ElementNumberOfChannels", "1"))
    is_packed = facts.get("CompressedData", "False").lower().startswith("t")
    is_text = facts.get("BinaryData", "True").lower().startswith("f")
    where = facts["ElementDataFile"]
    if where.upper().startswith("LIST") or "%" in where:
        return None
    local = where.upper() == "LOCAL"
    file = path if local else path.parent / where
    start = place if local else 0
    header_size = int(facts.get("HeaderSize", "0"))
    if is_packed and local and int(facts.get("CompressedDataSize", "-1")) not in (-1, path.stat().st_size - place):
        raise ValueError(
            f"CompressedDataSize {facts['CompressedDataSize']}, but {path.stat().st_size - place} bytes follow"
        )
    if header_size < 0 or is_text:  # voxels are the file's last bytes, or words
        return _Promise(
            wanted, "text" if is_text else "raw", file, start if is_text else 0, width, start_is_known=is_text
        )
    return _Promise(wanted, "zlib" if is_packed else "raw", file, start + header_size, width)


def _promise_of_nrrd(path: Path, begun: bytes) -> _Promise | None:
    facts: dict[str, str] = {}
    place = 0
    while True:
        end = begun.find(b"\n", place)
        line = begun[place : end if end >= 0 else len(begun)].rstrip(b"\r").decode("latin-1")
        place = end + 1 if end >= 0 else len(begun)
        if not line:
            break
        key, separator, value = line.partition(":")
        if separator and not line.startswith("#") and not value.startswith("="):
            facts[key.strip().lower()] = value.strip()
        if end < 0:
            break
    width = next((size for size, names in _NRRD_BYTES.items() if facts["type"].lower() in names), 0)
    if not width:
        raise ValueError(f"type {facts['type']!r}")
    sizes = facts["sizes"].split()
    if len(sizes) != int(facts["dimension"]):
        raise ValueError(f"dimension {facts['dimension']} and sizes {facts['sizes']} disagree")
    wanted = math.prod(_whole(side) for side in sizes) * width
    packing = {"raw": "raw", "gzip": "zlib", "gz": "zlib", "bzip2": "bzip2", "bz2": "bzip2"}.get(
        facts["encoding"].lower(), "text" if facts["encoding"].lower() in ("txt", "text", "ascii") else ""
    )
    where = facts.get("data file", facts.get("datafile"))
    if where is not None and (where.upper().startswith("LIST") or "%" in where):
        return None
    skips = int(facts.get("byte skip", facts.get("byteskip", "0"))), int(facts.get("line skip", "0"))
    if skips[1]:
        return None
    file, start = (path, place) if where is None else (path.parent / where, 0)
    if skips[0] < 0:
        return _Promise(wanted, packing, file, 0, width, start_is_known=False)
    return _Promise(wanted, packing, file, start + skips[0], width)


def _whole(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError(f"a side of {value} voxels")
    return value
