"""Damaged files by the hundred: each ends as an error that names the file, or as what the file's bytes still say.

The files are drawn from one seed. A file that is cut off must be refused. One with wrong bytes may be read if what
comes out is right by a decoder of this test's own: for formats with sums (PNG, gzip) that is the picture as it was, for
plain ones the bytes that are there, in the shape and scale that their header states.
"""

import io
import struct
import warnings

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image
from source_files import write_dicom

from graysam.errors import PrepareError
from graysam.formats.readers import read_image, read_volume

FILES_OF_A_KIND = 60
VOXELS = np.random.default_rng(1).integers(-999, 999, (6, 7, 8)).astype(np.int16)
PICTURE = np.kron(np.random.default_rng(2).integers(0, 255, (6, 8)), np.ones((8, 8))).astype(np.uint8)


def damaged(content: bytes, random: np.random.Generator, header_bytes: int) -> tuple[bytes, bool]:
    """Give a file with one kind of damage, and whether its end is missing."""
    kind = int(random.integers(5))
    data = bytearray(content)
    if kind == 0:
        return bytes(data[: int(random.integers(0, len(data)))]), True
    reach = len(data) if kind == 1 else min(header_bytes, len(data))
    if kind in (1, 2):  # a few flipped bits, anywhere or in the header
        for place in random.integers(0, reach, int(random.integers(1, 9))):
            data[place] ^= 1 << int(random.integers(8))
    elif kind == 3:  # absurd numbers in the header
        place = int(random.integers(0, max(1, reach - 4)))
        absurd = random.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0", b"9999"])
        data[place : place + 4] = absurd
    else:  # a block of another file
        place, length = int(random.integers(0, len(data))), int(random.integers(1, 200))
        data[place : place + length] = random.bytes(length)
    return bytes(data), False


# --- what the bytes say, decoded here ----------------------------------------------------------------------


def by_nifti_header(content: bytes):
    order = "<" if struct.unpack("<i", content[:4])[0] == 348 else ">"
    dim = struct.unpack(order + "8h", content[40:56])
    code = struct.unpack(order + "h", content[70:72])[0]
    slope, intercept = struct.unpack(order + "2f", content[112:120])
    start = int(struct.unpack(order + "f", content[108:112])[0])
    names = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
    shape = list(dim[1 : dim[0] + 1])
    while len(shape) < 3:
        shape.append(1)
    stored = np.frombuffer(content, order + names[code], int(np.prod(shape)), start).astype(np.float64)
    if np.isfinite(slope) and slope != 0 and np.isfinite(intercept):
        stored = stored * slope + intercept
    return stored.reshape(shape[2::-1])


def by_nrrd_header(content: bytes):
    head, _, body = content.partition(b"\n\n")
    facts = dict(line.split(": ", 1) for line in head.decode("latin-1").splitlines() if ": " in line)
    names = {"short": "i2", "ushort": "u2", "unsigned short": "u2", "int16": "i2", "int16_t": "i2"}
    order = ">" if facts.get("endian") == "big" else "<"
    shape = [int(side) for side in facts["sizes"].split()]
    dtype = np.dtype(order + names[facts["type"]])
    return np.frombuffer(body, dtype, int(np.prod(shape))).reshape(shape[::-1])


def by_dicom_header(content: bytes):
    data = pydicom.dcmread(io.BytesIO(content), force=True)
    dtype = "<i2" if data.PixelRepresentation else "<u2"
    stored = np.frombuffer(data.PixelData, dtype, data.Rows * data.Columns).astype(np.float64)
    return (stored * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))).reshape(
        1, data.Rows, data.Columns
    )


def by_pillow(content: bytes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(Image.open(io.BytesIO(content)))


# --- whole files -------------------------------------------------------------------------------------------


def nifti(path):
    image = nibabel.Nifti1Image(VOXELS.T.copy(), np.diag([1.0, 1, 2, 1]))
    image.header.set_slope_inter(2, -5)
    nibabel.save(image, path)


def itk(path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS), str(path))


def packed(path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS), str(path), True)


def dicom(path):
    tags = {"RescaleSlope": 2, "RescaleIntercept": -5, "Modality": "OT"}
    write_dicom(path.parent, 1, VOXELS[0].view(np.uint16), **tags)
    (path.parent / "001.dcm").rename(path)


def picture(path):
    cv2.imwrite(str(path), PICTURE)


KINDS = {
    # name: writer, reader, bytes of header, decoder of this test (None: sums make it the original or an error)
    "v.nii": (nifti, read_volume, 352, by_nifti_header),
    "v.nii.gz": (nifti, read_volume, 40, None),
    "v.nrrd": (itk, read_volume, 250, by_nrrd_header),
    "v.mha": (itk, read_volume, 300, ...),
    "p.nrrd": (packed, read_volume, 250, None),
    "p.mha": (packed, read_volume, 300, None),
    "v.dcm": (dicom, read_volume, 700, by_dicom_header),
    "v.png": (picture, read_image, 60, None),
    "v.jpg": (picture, read_image, 330, by_pillow),
}


def attempt(read, path):
    """Give the result and "", or None and the named error; any other error is a defect and escapes."""
    try:
        return read(path), ""
    except PrepareError as error:
        return None, str(error)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_ends_as_a_named_error_or_a_right_result(tmp_path, name):
    write, read, header_bytes, decode = KINDS[name]
    path = tmp_path / name
    write(path)
    content = path.read_bytes()
    whole = np.asarray(getattr(read(path), "array", None) if read is read_volume else read(path))
    random = np.random.default_rng([7, len(name), *name.encode()])
    refused = 0
    for number in range(FILES_OF_A_KIND):
        data, is_cut = damaged(content, random, header_bytes)
        path.write_bytes(data)
        result, told = attempt(read, path)
        if told:
            assert name in told, f"file {number} is not named: {told}"
            refused += 1
            continue
        assert not is_cut, f"file {number}: {len(data)} of {len(content)} bytes were read as whole"
        array = np.asarray(getattr(result, "array", result))
        if decode is None:
            np.testing.assert_array_equal(array, whole, err_msg=f"file {number}")
        elif decode is ...:
            assert array.size <= len(data), f"file {number}"  # at least a byte a voxel
        else:
            assert array.shape == np.shape(decode(data)), f"file {number}"
            if name != "v.jpg":  # two decoders may differ on wrong bits
                np.testing.assert_allclose(array, np.nan_to_num(decode(data)), rtol=1e-6, err_msg=f"file {number}")
    assert refused >= FILES_OF_A_KIND // 5  # every fifth is cut off at least


def test_the_generator_makes_more_than_three_hundred_files():
    assert FILES_OF_A_KIND * len(KINDS) >= 300
