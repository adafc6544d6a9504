"""Label maps as NIfTI: the header of the image with both its transforms and codes, and the labels as its voxels."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from graysam.cases import Labels
from graysam.formats.nifti import Header, read_nifti_header

_FAILURE = b"failed: "
_INTENT_LABEL = 1002
_COMPRESSION_LEVEL = 4  # label maps are mostly runs


def label_shape(header: Header) -> tuple[int, int, int]:
    """Give (D, H, W) of a file's voxels."""
    x, y, z = (*(int(side) for side in header.get_data_shape()[:3]), 1, 1, 1)[:3]
    return z, y, x


def encode_nifti(labels: Labels, source: Path, *, failure: str | None = None, packed: bool) -> bytes:
    """Give the bytes of a NIfTI file with the header of `source`, whose geometry is kept bit by bit.

    Args:
        labels: (D, H, W), voxel upon voxel of `source`.
        source: the image.
        failure: why the map is only a stand-in; begins the field descrip.
        packed: whether to compress with gzip.
    """
    header = read_nifti_header(source).as_byteswapped("<")
    header.set_data_dtype(labels.dtype)
    header.set_slope_inter(1, 0)
    facts = header.structarr
    facts["cal_max"] = facts["cal_min"] = 0
    facts["intent_code"] = _INTENT_LABEL
    facts["intent_name"] = b"labels"
    facts["aux_file"] = b""
    told = b"GraySAM labels" if failure is None else _FAILURE + failure.encode("ascii", "replace")
    facts["descrip"] = told[:79]
    size = int(facts["sizeof_hdr"])
    header.set_data_offset(size + 4)
    # Four zeros: no extensions. Those of the image may hold what says who the patient is.
    content: bytes = header.binaryblock + bytes(4) + labels.astype(labels.dtype.newbyteorder("<"), copy=False).tobytes()
    if not packed:
        return content
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, buffer, mtime=0) as stream:
        stream.write(content)
    return buffer.getvalue()


def finished_shape(path: Path) -> tuple[int, int, int] | None:
    """Give (D, H, W) of a result, None for a stand-in."""
    header = read_nifti_header(path)
    if bytes(header.structarr["descrip"].tobytes()).startswith(_FAILURE):
        return None
    return label_shape(header)
