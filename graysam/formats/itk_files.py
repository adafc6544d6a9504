"""Read MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr, 3D Slicer's .seg.nrrd), with SimpleITK.

SimpleITK fills up what a cut-off file lacks, allocates what a damaged header asks for, and ends the process over a name
that is no UTF-8. So the length that the header promises is compared with what is there before it gets the file
(voxel_files.py).
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from graysam.errors import PrepareError
from graysam.formats.grids import make_grid, straightened
from graysam.formats.image_volume import Remarks, Volume, finite_voxels
from graysam.formats.voxel_files import check_voxels

sitk: Any = SimpleITK  # it ships with next to no types
SitkImage: TypeAlias = Any


def read_itk_file(path: Path) -> Volume:
    """Read a MetaImage or NRRD file.

    Raises:
        PrepareError: damaged or cut off, voxels out of the header's folder, not three-dimensional, or several numbers
            per voxel.
    """
    _check_name(path)
    content_sum = check_voxels(path)
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
    return remarks.on(Volume(array, grid, straightened(grid)))


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
