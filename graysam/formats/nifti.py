"""Read NIfTI-1 and NIfTI-2 (.nii, .nii.gz), with nibabel for everything that stands in the header.

nibabel is pure Python: a damaged file ends as an exception, never as a crash of the process, any file name is fine,
and both transforms of the header are there to be compared (ITK gives one, and not always the same).
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from graysam.errors import PrepareError
from graysam.formats.grids import LPS_FROM_RAS, Grid, make_grid, straightened
from graysam.formats.image_volume import Remarks, Volume, finite_voxels, scaled_voxels

Header: TypeAlias = Any  # nibabel's Nifti1Header; NIfTI-2's is a subclass

GZIP_MAGIC = b"\x1f\x8b"
# Deflate packs at most 1032 bytes into one; a header that wants more from a file lies.
LARGEST_PACKING = 1032
CHUNK_BYTES = 1 << 24
# Two transforms of one file agree while their corners are this close: they are stored as float32 and as quaternions.
TRANSFORMS_AGREE_VOXELS = 0.5
SPACING_AGREES = 0.01
_MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI file; compressed or not is told by its content, not by its name.

    Raises:
        PrepareError: damaged or cut off, not three-dimensional, colours, or a transform that makes no sense.
    """
    remarks = Remarks()
    header, stored = _read_file(path)
    shape = _three_axes(header, path.name)
    grid = _grid_of(header, shape, path.name, remarks)
    slope, intercept = header.get_slope_inter()
    if stored.dtype.kind not in "uif":
        raise PrepareError(
            f"{path.name}: voxels of type {stored.dtype} (colours or complex numbers); save one channel as numbers."
        )
    array = scaled_voxels(
        stored.reshape(shape[::-1]), 1.0 if slope is None else float(slope), 0.0 if intercept is None else intercept
    )
    array = finite_voxels(array, path.name, remarks)
    return remarks.on(Volume(array, grid, straightened(grid)))


def read_nifti_header(path: Path) -> Header:
    """Read the header alone, checked.

    Raises:
        PrepareError: damaged, or no NIfTI.
    """
    try:
        with _opened(path) as (file, _):
            return _read_header(file, path.name)[0]
    except (OSError, EOFError, zlib.error) as error:
        raise PrepareError(f"{path.name}: damaged, or no NIfTI: {error}; copy or download it again.") from error


# --- bytes -------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Give the file's content, unpacked, and how many bytes it can hold at most."""
    size = path.stat().st_size
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not packed:
            yield file, size
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast("IO[bytes]", unpacked), size * LARGEST_PACKING


def _read_file(path: Path) -> tuple[Header, NDArray[Any]]:
    """Give the header and the stored numbers, one after the other, in this machine's byte order."""
    try:
        with _opened(path) as (file, capacity):
            header, begun = _read_header(file, path.name)
            dtype = header.get_data_dtype()
            count = math.prod(int(side) for side in header.get_data_shape())
            start = int(header.get_data_offset())
            wanted = start + count * dtype.itemsize
            if count <= 0:
                raise PrepareError(f"{path.name}: the volume has no voxels, shape {header.get_data_shape()}.")
            if wanted > capacity:
                raise _cut_off(path.name, capacity, wanted)
            content = begun + _read_exactly(file, wanted - len(begun))
            if len(content) < wanted:
                raise _cut_off(path.name, len(content), wanted)
            while file.read(CHUNK_BYTES):  # to the end: gzip checks length and sum there
                pass
    except EOFError as error:
        raise PrepareError(
            f"{path.name}: cut off: the compressed data end early; copy or download it again."
        ) from error
    except (OSError, zlib.error) as error:
        raise PrepareError(f"{path.name}: damaged, or no NIfTI: {error}; copy or download it again.") from error
    stored = np.frombuffer(content, dtype, count, start)
    return header, stored if stored.dtype.isnative else stored.astype(dtype.newbyteorder("="))


def _cut_off(name: str, found: int, wanted: int) -> PrepareError:
    return PrepareError(
        f"{name}: cut off or damaged: the header wants {wanted:,} bytes, and there are at most {found:,}; "
        "copy or download it again."
    )


def _read_exactly(file: IO[bytes], wanted: int) -> bytearray:
    content = bytearray()  # not bytes: arrays on it can be written to
    while len(content) < wanted:
        part = file.read(min(wanted - len(content), CHUNK_BYTES))
        if not part:
            break
        content += part
    return content


def _read_header(file: IO[bytes], name: str) -> tuple[Header, bytearray]:
    """Give the header, checked, and the bytes read so far."""
    begun = _read_exactly(file, 540)
    sizes = {int.from_bytes(begun[:4], "little"), int.from_bytes(begun[:4], "big")}
    kinds = ((348, nib.Nifti1Header, b"n+1\0", 344), (540, nib.Nifti2Header, b"n+2\0", 4))
    for size, kind, magic, place in kinds:
        if size not in sizes or len(begun) < size:
            continue
        if begun[place : place + 4] != magic:
            raise PrepareError(f"{name}: no single-file NIfTI (mark {begun[place : place + 4]!r}); save it as .nii.")
        try:
            header: Header = kind(bytes(begun[:size]), check=False)  # type: ignore[no-untyped-call]
            header.check_fix(logger=_QUIET, error_level=30)
            # Asked for here, so that a header that is nonsense is refused here.
            header.get_data_dtype()
            header.get_slope_inter()
        except Exception as error:  # nibabel raises half a dozen kinds for nonsense
            raise PrepareError(f"{name}: damaged header: {error}; copy or download it again.") from error
        return header, begun
    raise PrepareError(f"{name}: no NIfTI file, or damaged at its beginning; copy or download it again.")


class _Quiet:
    """A logger that keeps nibabel's words to itself: what matters is raised."""

    def log(self, *_: object) -> None:
        """Say nothing."""


_QUIET = _Quiet()


# --- geometry ----------------------------------------------------------------------------------------------


def _three_axes(header: Header, name: str) -> tuple[int, int, int]:
    """Give the size along x, y, z: further axes may only have size 1, a picture is one slice."""
    shape = tuple(int(side) for side in header.get_data_shape())
    if any(side != 1 for side in shape[3:]):
        raise PrepareError(
            f"{name}: wanted three dimensions, got shape {shape} (x, y, z, ...); "
            "save each time point or channel as a file of its own."
        )
    x, y, z = (*shape, 1, 1, 1)[:3]
    return x, y, z


def _grid_of(header: Header, shape: tuple[int, int, int], name: str, remarks: Remarks) -> Grid:
    """Give where the voxels lie: by the sform if its code is above 0, else by the qform, else nowhere stated."""
    scale = np.diag([_mm_per_unit(header, remarks)] * 3 + [1.0])
    sform, _ = header.get_sform(coded=True)
    qform = _qform_of(header, remarks, sform_counts=sform is not None, name=name)
    if sform is not None and qform is not None:
        _compare(sform, qform, shape, remarks)
    if sform is not None:
        stated, affine = True, sform
        _compare_steps(header, sform, shape, remarks)
    elif qform is not None:
        stated, affine = True, qform
    else:
        zooms = [float(zoom) for zoom in (*header.get_zooms(), 1, 1, 1)[:3]]
        # An axis of one voxel needs no spacing, and writers of pictures leave it 0.
        zooms = [1.0 if count == 1 and not zoom > 0 else zoom for zoom, count in zip(zooms, shape, strict=True)]
        stated, affine = False, np.diag([-zooms[0], -zooms[1], zooms[2], 1.0])
    grid = make_grid(shape, scale @ LPS_FROM_RAS @ affine, name, is_stated=stated)
    if grid.is_sheared:
        remarks.warnings.append(
            "the axes are not at right angles (a sheared affine); taken in the order of voxels, spacing as along them"
        )
    return grid


def _mm_per_unit(header: Header, remarks: Remarks) -> float:
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:  # a number that the standard does not know
        unit = "unknown"
    if unit not in ("mm", "unknown"):
        remarks.notes.append(f"lengths are stored in the unit {unit}; taken over in mm")
    return _MM_PER_UNIT.get(unit, 1.0)


def _qform_of(header: Header, remarks: Remarks, *, sform_counts: bool, name: str) -> NDArray[Any] | None:
    try:
        qform: NDArray[Any] | None = header.get_qform(coded=True)[0]
    except Exception as error:  # a quaternion that is none
        if not sform_counts:
            raise PrepareError(f"{name}: the header's qform is no rotation ({error}); correct it.") from error
        remarks.warnings.append("the header's qform is no rotation; the sform counts")
        return None
    return qform


def _compare_steps(header: Header, sform: NDArray[Any], shape: tuple[int, int, int], remarks: Remarks) -> None:
    """Warn where the sform, which counts, has another spacing than the field pixdim."""
    zooms = np.array([float(zoom) for zoom in (*header.get_zooms(), 1, 1, 1)[:3]])
    steps = np.linalg.norm(sform[:3, :3], axis=0)
    differ = (np.abs(zooms - steps) > SPACING_AGREES * steps) & (np.array(shape) > 1) & (zooms > 0)
    if differ.any():
        remarks.warnings.append(
            f"the header's spacing {zooms.round(4).tolist()} mm (pixdim) is not that of its sform, "
            f"{steps.round(4).tolist()} mm; the sform counts"
        )


def _compare(sform: NDArray[Any], qform: NDArray[Any], shape: tuple[int, int, int], remarks: Remarks) -> None:
    """Warn where the two transforms of a file put it at different places."""
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
    corners[:, :3] *= np.array(shape) - 1
    apart = np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max()
    steps = np.linalg.norm(sform[:3, :3], axis=0)
    smallest = float(steps.min())
    if not smallest > 0:
        return  # refused later, by name
    if not apart / smallest <= TRANSFORMS_AGREE_VOXELS:
        remarks.warnings.append(
            f"the header's sform and qform disagree by up to {apart:.3g} mm; the sform counts, as its code is above 0"
        )
