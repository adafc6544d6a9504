"""Draw files as hospitals and laboratories keep them, with boxes as their programs store them, to try prediction.

    python -m examples.hospital_files -o demo

makes demo/scans (a CT as NIfTI with boxes of 3D Slicer, an MR as NRRD, a CT as DICOM series, a photograph with shapes
of labelme), demo/boxes.csv (a table for all of them) and demo/rough (rough masks of two of them). The pictures are
those of phantoms.py. The readers must be there: pip install ".[files]".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from examples.phantoms import Phantom, boxes_of, make_phantoms
from graysam.boxes import VolumeBox
from graysam.formats.extras import install_command

ORIGIN_MM = (-120.0, -110.0, 40.0)  # LPS
SOFT_TISSUE_HU = (-160.0, 240.0)
SERIES = "1.2.826.0.1.3680043.8.498.1"
COLUMNS = "case,name,x_min,y_min,z_min,x_max,y_max,z_max"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, and give the exit status."""
    parser = argparse.ArgumentParser(description="Draw hospital files with boxes: DIR/scans, DIR/boxes.csv, DIR/rough.")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    options = parser.parse_args(argv)
    try:
        write_files(options.output)
    except ImportError as error:
        print(f"error: this needs the package {error.name}; run: {install_command()}", file=sys.stderr)
        return 2
    print(f"files in {options.output / 'scans'}, boxes in {options.output / 'boxes.csv'}")
    return 0


def write_files(folder: Path) -> None:
    """Write everything into a folder, replacing older files."""
    import SimpleITK

    sitk: Any = SimpleITK  # it ships with next to no types
    drawn = {phantom.name.split("_")[1] + phantom.name[:2]: phantom for phantom in make_phantoms()}
    ct, mr, skin = drawn["CT3D"], drawn["MR3D"], drawn["Dermoscopy2D"]
    scans, rough = folder / "scans", folder / "rough"
    for each in (scans, rough):
        each.mkdir(parents=True, exist_ok=True)
    hounsfield = in_hu(ct.image)
    for phantom, voxels, name in ((ct, hounsfield, "abdomen.nii.gz"), (mr, mr.image, "brain_MR.nrrd")):
        sitk.WriteImage(placed(sitk.GetImageFromArray(voxels), phantom), str(scans / name))
        mask = sitk.GetImageFromArray(phantom.labels)
        sitk.WriteImage(placed(mask, phantom), str(rough / f"{name.split('.')[0]}.nii.gz"))
    (scans / "abdomen.mrk.json").write_text(json.dumps(as_markups(ct), indent=1))
    write_series(scans / "chest", hounsfield, ct)
    cv2.imwrite(str(scans / "skin.jpg"), skin.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    (scans / "skin.json").write_text(json.dumps(as_labelme(skin), indent=1))
    rows = [row for name, phantom in (("abdomen", ct), ("brain_MR", mr), ("chest", ct)) for row in table(name, phantom)]
    rows += [f"skin.jpg,mole,{int(x)},{int(y)},,{int(right)},{int(low)}," for x, y, right, low in flat_boxes(skin)]
    (folder / "boxes.csv").write_text("\n".join([COLUMNS, *rows, ""]))


def in_hu(image: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Give the Hounsfield units that the soft-tissue window would show so; black becomes air."""
    low, high = SOFT_TISSUE_HU
    hounsfield = np.rint(low + image.astype(np.float64) / 255 * (high - low)).astype(np.int16)
    hounsfield[image == 0] = -1000
    return hounsfield


def placed(image: Any, phantom: Phantom) -> Any:  # noqa: ANN401  SimpleITK.Image
    """Give a SimpleITK image its spacing and place."""
    assert phantom.spacing_mm is not None
    image.SetSpacing(phantom.spacing_mm[::-1])
    image.SetOrigin(ORIGIN_MM)
    return image


def volume_boxes(phantom: Phantom) -> list[VolumeBox]:
    """Give the boxes of a drawn volume."""
    return [box for box in boxes_of(phantom.labels) if isinstance(box, VolumeBox)]


def flat_boxes(phantom: Phantom) -> list[tuple[float, ...]]:
    """Give x_min, y_min, x_max, y_max of each object of a drawn image."""
    return [box.numbers for box in boxes_of(phantom.labels)]


def table(name: str, phantom: Phantom) -> list[str]:
    """Give the lines of a table, in voxels."""
    return [
        ",".join([name, f"object {number}", *(f"{value:.0f}" for value in box.numbers)])
        for number, box in enumerate(volume_boxes(phantom), start=1)
    ]


def as_markups(phantom: Phantom) -> dict[str, Any]:
    """Give the boxes as ROIs of 3D Slicer: LPS, mm, from edge to edge of the voxels."""
    assert phantom.spacing_mm is not None
    steps, origin = np.array(phantom.spacing_mm[::-1]), np.array(ORIGIN_MM)
    markups = []
    for number, box in enumerate(volume_boxes(phantom), start=1):
        low, high = np.array(box.numbers[:3]), np.array(box.numbers[3:])
        centre = (origin + (low + high) / 2 * steps).tolist()
        markups.append(
            {
                "type": "ROI",
                "name": f"object {number}",
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "roiType": "Box",
                "center": centre,
                "orientation": np.eye(3).ravel().tolist(),
                "size": ((high - low + 1) * steps).tolist(),
                "insideOut": False,
                "controlPoints": [{"id": "1", "label": f"R-{number}", "position": centre}],
            }
        )
    return {"@schema": "markups-schema-v1.0.3.json#", "markups": markups}


def as_labelme(phantom: Phantom) -> dict[str, Any]:
    """Give the boxes as rectangles of labelme, along the edges of pixels."""
    height, width = phantom.labels.shape
    shapes = [
        {"label": "mole", "shape_type": "rectangle", "points": [[x, y], [right + 1, low + 1]]}
        for x, y, right, low in flat_boxes(phantom)
    ]
    return {
        "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "skin.jpg", "imageData": None,
        "imageHeight": height, "imageWidth": width,
    }  # fmt: skip


def write_series(folder: Path, voxels: NDArray[np.int16], phantom: Phantom) -> None:
    """Write a volume as a DICOM series of CT, one file a slice."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    assert phantom.spacing_mm is not None
    step, rows_mm, columns_mm = phantom.spacing_mm
    folder.mkdir(parents=True, exist_ok=True)
    for z, pixels in enumerate(voxels):
        data: Any = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"{SERIES}.{z + 1}"
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = SERIES + "0", SERIES, SERIES + "1"
        data.Modality, data.PatientID, data.PatientName = "CT", "drawn", "Drawn^Phantom"
        data.SeriesNumber, data.InstanceNumber, data.SliceThickness = 1, z + 1, step
        data.ImagePositionPatient = [ORIGIN_MM[0], ORIGIN_MM[1], ORIGIN_MM[2] + z * step]
        data.ImageOrientationPatient, data.PixelSpacing = [1, 0, 0, 0, 1, 0], [rows_mm, columns_mm]
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 1
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        data.PixelData = pixels.astype("<i2").tobytes()
        data.save_as(folder / f"{z + 1:03d}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    sys.exit(main())
