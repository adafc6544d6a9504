"""Decode the pixels of DICOM frames into real values; pydicom does the work, apart where a decoder may crash."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.pixels
from numpy.typing import NDArray

from graysam.errors import PrepareError
from graysam.formats.dicom_headers import Frame, Header, first_line
from graysam.formats.image_volume import Remarks, scaled_voxels
from graysam.isolation import CrashedError, isolated

pydicom_pixels: Any = pydicom.pixels  # which does not say what it exports

# A damaged header may ask for any number of pixels; JPEG packs blank pictures a few thousand times.
LARGEST_PACKING, SMALL_BYTES = 20_000, 1 << 24
_PHYSICAL = ("CT", "PT")
# Who decodes where there is a choice. All other compressed pixels are decoded in a process of their own: gdcm, which
# alone knows JPEG lossless, ends its process over some damaged files.
_UNCOMPRESSED = (
    pydicom.uid.ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ExplicitVRBigEndian,
    pydicom.uid.DeflatedExplicitVRLittleEndian,
)  # fmt: skip
_SAFE_DECODERS: dict[str, str] = {pydicom.uid.JPEGBaseline8Bit: "pillow", pydicom.uid.RLELossless: "pydicom"}


def decoded_slices(frames: Sequence[Frame], modality: str, remarks: Remarks) -> list[NDArray[Any]]:
    """Give each frame's real values, (H, W) or (H, W, 3); all of one dtype.

    Raises:
        PrepareError: pixels that are missing, damaged or too many for their file.
    """
    pixels = _Pixels(remarks)
    slices = [pixels.real(frame, modality) for frame in frames]
    dtype = np.result_type(*{part.dtype for part in slices})
    return [part.astype(dtype, copy=False) for part in slices]


class _Pixels:
    """Decodes frames one after the other, each file once."""

    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._path: Path | None = None
        self._stored: NDArray[Any] | None = None

    def real(self, frame: Frame, modality: str) -> NDArray[Any]:
        """Give one frame's real values, (H, W) or (H, W, 3)."""
        stored = self._frame(frame)
        header = frame.header
        if stored.ndim == 3:
            return stored
        if header.get("PhotometricInterpretation") == "MONOCHROME1" and modality not in _PHYSICAL:
            # HU and SUV keep their meaning however they are shown.
            self._note("MONOCHROME1: turned so that dense is bright")
            stored = _turned_bright(stored, header)
        if header.get("ModalityLUTSequence"):
            return np.asarray(pydicom_pixels.apply_modality_lut(stored, header))
        return scaled_voxels(stored, frame.slope, frame.intercept)

    def _note(self, note: str) -> None:
        if note not in self._remarks.notes:
            self._remarks.notes.append(note)

    def _frame(self, frame: Frame) -> NDArray[Any]:
        if frame.path != self._path:
            self._path, self._stored = frame.path, None
            self._stored = _decoded(frame.path, frame.header)
        assert self._stored is not None
        count = int(frame.header.get("NumberOfFrames") or 1)
        return self._stored[frame.index] if count > 1 else self._stored


def _decoded(path: Path, header: Header) -> NDArray[Any]:
    """Give a file's stored pixels: (H, W), (H, W, 3), or these with frames first.

    Raises:
        PrepareError: they cannot be decoded, or the decoder crashed over them.
    """
    if _may_crash(header):
        try:
            return isolated(_decode, path)
        except CrashedError as error:
            raise PrepareError(f"{path.name}: {error}.") from error
    return _decode(path)


def _may_crash(header: Header) -> bool:
    """Tell whether pixels are unpacked by a library that ends its process over damaged data."""
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    return syntax is not None and syntax not in (*_SAFE_DECODERS, *_UNCOMPRESSED)


def _decode(path: Path) -> NDArray[Any]:
    """Do as `_decoded` does, in this process."""
    try:
        dataset = pydicom.dcmread(path, force=True)
        if "PixelData" not in dataset:
            raise PrepareError(f"{path.name}: no pixels (or a kind that is not read: float or double); cut off?")
        _check_size(path, dataset)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            stored = np.asarray(pydicom_pixels.apply_color_lut(pydicom_pixels.pixel_array(dataset, raw=True), dataset))
            stored = (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored
        else:
            syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
            stored = pydicom_pixels.pixel_array(dataset, decoding_plugin=_SAFE_DECODERS.get(syntax, ""))
    except PrepareError:
        raise
    except Exception as error:  # pydicom and its decoders raise whatever a damaged file leads to
        raise PrepareError(
            f"{path.name}: pixels cannot be decoded ({first_line(error)}); copy the file again, "
            "or save it uncompressed."
        ) from error
    return np.asarray(stored)


def _check_size(path: Path, dataset: Header) -> None:
    pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    wanted = pixels * int(dataset.get("SamplesPerPixel") or 1) * max(1, int(dataset.BitsAllocated) // 8)
    if wanted > max(SMALL_BYTES, LARGEST_PACKING * path.stat().st_size):
        raise PrepareError(f"{path.name}: the header wants {wanted:,} bytes of pixels; the file is damaged.")


def _turned_bright(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    """Give the stored values mirrored within the range of their bits, so that black becomes white."""
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    is_signed = bool(int(header.get("PixelRepresentation") or 0))
    mirrored = (-1 if is_signed else 2**bits - 1) - stored.astype(np.int64)
    turned: NDArray[Any] = (mirrored if is_signed else np.clip(mirrored, 0, None)).astype(stored.dtype)
    return turned
