"""Cuts of a case along its three axes, as raw little-endian bytes with the facts to read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graysam.errors import CaseError
from graysam.view.protocol import PLANES

DTYPES: Final = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


@dataclass(frozen=True)
class RawPicture:
    """Pixels of a plane, row by row, channels last; see `protocol` for the headers."""

    content: bytes
    headers: dict[str, str]


def cut(stack: NDArray[Any], plane: str, index: int) -> NDArray[Any]:
    """Give a plane of (D, H, W) or (D, H, W, 3).

    Raises:
        CaseError: no such plane or index.
    """
    if plane not in [*PLANES]:
        raise CaseError(f"plane {plane[:20]!r}: wanted one of {', '.join(PLANES)}.")
    axis = [*PLANES].index(plane)
    if not 0 <= index < stack.shape[axis]:
        raise CaseError(f"index {index}: the {plane} plane has 0 to {stack.shape[axis] - 1}.")
    picture: NDArray[Any] = stack[index] if axis == 0 else stack[:, index] if axis == 1 else stack[:, :, index]
    return picture


def raw(picture: NDArray[Any]) -> RawPicture:
    """Give (H, W) or (H, W, 3) as bytes; what is no type of `DTYPES` becomes float32, bool becomes uint8."""
    if picture.dtype.kind == "b":
        picture = picture.view(np.uint8)
    if picture.dtype.newbyteorder("=").name not in DTYPES:
        picture = picture.astype(np.float32)
    little = np.ascontiguousarray(picture, picture.dtype.newbyteorder("<"))
    headers = {
        "X-Height": str(picture.shape[0]),
        "X-Width": str(picture.shape[1]),
        "X-Channels": str(picture.shape[2] if picture.ndim == 3 else 1),
        "X-Dtype": picture.dtype.newbyteorder("=").name,
    }
    return RawPicture(little.tobytes(), headers)
