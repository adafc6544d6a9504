"""Source files that tests draw: small, with known geometry and values."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def write_volume() -> Callable[..., Path]:
    """Write a (z, y, x) array as a volume file; spacing, origin and direction in ITK's order x, y, z."""
    import SimpleITK

    def write(path, array, *, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None):
        image = SimpleITK.GetImageFromArray(array)
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        if direction is not None:
            image.SetDirection(direction)
        path.parent.mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(image, str(path))
        return path

    return write


@pytest.fixture
def write_png() -> Callable[[Path, NDArray], Path]:
    def write(path, image):
        path.parent.mkdir(parents=True, exist_ok=True)
        ordered = image if image.ndim == 2 else image[..., ::-1]
        assert cv2.imwrite(str(path), ordered)
        return path

    return write


def write_dicom(folder, number, pixels, **tags):
    """Write one DICOM picture; `tags` replace or add elements."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID = "1.2.3.4", "1.2.3"
    data.Modality, data.InstanceNumber = "CT", number
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelSpacing = [0.75, 0.5]  # rows, then columns
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [0, 0, 0]
    data.PixelData = pixels.astype(np.uint16).tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    folder.mkdir(parents=True, exist_ok=True)
    data.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)
    return data


def packed_by_gdcm(path, syntax):
    """Pack the pixels of a DICOM file by one of gdcm's transfer syntaxes, in place."""
    gdcm = pytest.importorskip("gdcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def write_deadly_dicom(folder, seed=34):
    """Write a DICOM picture in JPEG 2000 with a damaged header, over which gdcm ends its process."""
    write_dicom(folder, 1, np.add.outer(np.arange(48), np.arange(40)) * 7 % 3000)
    path = folder / "001.dcm"
    packed_by_gdcm(path, "JPEG2000Lossless")
    content = bytearray(path.read_bytes())
    place = content.rindex(b"\xfe\xff\x00\xe0") + 16
    random = np.random.default_rng(seed)
    content[place : place + int(random.integers(1, 60))] = random.bytes(int(random.integers(1, 60)))
    path.write_bytes(bytes(content))
    return path
