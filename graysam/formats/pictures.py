"""Pictures (PNG, JPEG, TIFF, BMP) with their boxes in a CSV beside them; the answer is an indexed PNG.

`skin.jpg` is a case where `skin.boxes.csv` lies beside it, and its result is `skin.png`, whose pixel values are the
labels. Pictures without such a file are no cases. Pixels are used as they are stored: a rotation that a camera only
notes in the file's EXIF block is not applied, so that boxes and labels are in the order of the file's own rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import clean_boxes
from graysam.cases import Case, ImageCase, check_size, clean_image, narrow_labels
from graysam.errors import CaseError
from graysam.files import written_whole
from graysam.formats.base import naming
from graysam.formats.box_table import read_box_table
from graysam.formats.png import encode_labels, finished_shape

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
BOXES_SUFFIX = ".boxes.csv"


class PictureFormat:
    """Pictures as the runner sees them."""

    name = "picture"
    cases = f"a picture ({', '.join(f'*{suffix}' for suffix in SUFFIXES)}) with *{BOXES_SUFFIX} beside it"

    def claims(self, path: Path) -> bool:
        """Tell whether an entry is called like a picture, in any case of letters, and has a file of boxes beside it."""
        return path.suffix.lower() in SUFFIXES and not path.is_dir() and _boxes_of(path).is_file()

    def case_name(self, path: Path) -> str:
        """Give the file's name without its suffix."""
        return path.stem

    def result_name(self, path: Path) -> str:
        """Give the case's name with .png."""
        return f"{path.stem}.png"

    def describe(self, path: Path) -> tuple[int, ...] | None:
        """Give (H, W), for which the picture must be read."""
        try:
            return _read_pixels(path).shape[:2]
        except CaseError:
            return None

    def read(self, path: Path) -> Case:
        """Read picture and boxes.

        Raises:
            CaseError: either of them cannot be used.
        """
        pixels = _read_pixels(path)
        with naming(path):
            image, image_notes = clean_image(pixels, field="the picture")
        boxes_path = _boxes_of(path)
        numbers = read_box_table(boxes_path, columns=4)
        with naming(boxes_path):
            boxes, box_notes = clean_boxes(numbers, size_hw=image.shape[:2])
        return ImageCase(path.stem, path, image, boxes, warnings=(*image_notes, *box_notes))

    def write(
        self, result: Path, labels: NDArray[np.integer[Any]], *, source: Path, failure: str | None = None
    ) -> None:
        """Write labels (H, W) as an indexed PNG; 16-bit gray when there are more than 255.

        Raises:
            CaseError: no label map of an image, or the file cannot be written.
        """
        from graysam.image.drawing import label_colours

        with naming(result):
            narrow = narrow_labels(labels)
            if narrow.ndim != 2:
                raise CaseError(f"labels of shape {labels.shape}, wanted (H, W).")
        content = encode_labels(narrow, label_colours(255)[:, ::-1], failure=failure)
        with written_whole(result, CaseError) as temporary:
            temporary.write_bytes(content)

    def is_finished(self, result: Path, label_shape: tuple[int, ...] | None) -> bool:
        """Tell whether `result` is a whole PNG of that shape, and no stand-in."""
        return label_shape is not None and finished_shape(result) == label_shape


def _boxes_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}{BOXES_SUFFIX}")


def _read_pixels(path: Path) -> NDArray[Any]:
    """Read (H, W) or (H, W, 3) RGB in the file's own depth, without transparency.

    Raises:
        CaseError: unreadable, empty, too large, or a TIFF of several pages (the others would be lost silently).
    """
    import cv2

    try:
        pages = cv2.imcount(str(path)) if path.suffix.lower() in (".tif", ".tiff") else 1
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # say, more pixels than OpenCV is willing to decode
        raise CaseError(f"{path.name}: cannot be read as a picture: {' '.join(str(error).split())[:200]}.") from error
    if pages > 1:
        raise CaseError(f"{path.name}: {pages} pages in one TIFF; save each as a file of its own.")
    if pixels is None:
        raise CaseError(f"{path.name}: cannot be read as a picture; copy the file again or save it anew as PNG.")
    with naming(path):
        check_size(pixels.shape, size_hw=pixels.shape[:2], field="the picture")
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] < 3:  # gray with transparency
        return np.ascontiguousarray(pixels[..., 0])
    return np.ascontiguousarray(pixels[..., 2::-1])
