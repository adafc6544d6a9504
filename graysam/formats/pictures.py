"""Pictures (PNG, JPEG, TIFF, BMP) with their boxes in a CSV beside them; the answer is an indexed PNG.

`skin.jpg` is a case where `skin.boxes.csv` lies beside it, and its result is `skin.png`, whose pixel values are the
labels. Pictures without such a file are no cases. Boxes and labels are those of the picture as a viewer shows it: where
a camera notes in the file's EXIF block how a photograph is to be turned, it is turned. Reading needs the extra [files].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Notes, clean_boxes
from graysam.cases import Case, ImageCase, Pixels, check_size, clean_image, narrow_labels
from graysam.errors import CaseError, PrepareError
from graysam.files import written_whole
from graysam.formats.base import naming, refusal
from graysam.formats.box_table import read_box_table
from graysam.formats.png import encode_labels, finished_shape
from graysam.formats.record import IMAGE_SUFFIXES

BOXES_SUFFIX = ".boxes.csv"


class PictureFormat:
    """Pictures as the runner sees them."""

    name = "picture"
    cases = f"a picture ({', '.join(f'*{suffix}' for suffix in IMAGE_SUFFIXES)}) with *{BOXES_SUFFIX} beside it"

    def claims(self, path: Path) -> bool:
        """Tell whether an entry is called like a picture, in any case of letters, and has a file of boxes beside it."""
        return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir() and _boxes_of(path).is_file()

    def case_name(self, path: Path) -> str:
        """Give the file's name without its suffix."""
        return path.stem

    def result_name(self, path: Path) -> str:
        """Give the case's name with .png."""
        return f"{path.stem}.png"

    def describe(self, path: Path) -> tuple[int, ...] | None:
        """Give (H, W), for which the picture must be read."""
        try:
            return _read(path)[0].shape[:2]
        except CaseError:
            return None

    def read(self, path: Path) -> Case:
        """Read picture and boxes.

        Raises:
            CaseError: either of them cannot be used.
        """
        image, image_notes = _read(path)
        boxes_path = _boxes_of(path)
        reason = refusal(boxes_path, boxes_path.parent.resolve())
        if reason is not None:
            raise CaseError(f"{boxes_path.name}: {reason}")
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


def _read(path: Path) -> tuple[Pixels, Notes]:
    """Read (H, W) or (H, W, 3) RGB as it is to be looked at, and what was decided or changed on the way.

    Raises:
        CaseError: unreadable, cut off, empty, too large, a TIFF of several pages, or no reader is installed.
    """
    try:
        from graysam.formats.picture_files import read_picture
    except ImportError as error:
        raise CaseError(
            f"{path.name}: reading pictures needs the package {error.name}; install graysam with the extra [files]."
        ) from error
    try:
        picture = read_picture(path)
    except PrepareError as error:
        raise CaseError(str(error)) from error
    except OSError as error:
        raise CaseError(f"{path.name}: cannot be read: {error.strerror or error}.") from error
    with naming(path):
        check_size(picture.array.shape, size_hw=picture.array.shape[:2], field="the picture")
        image, notes = clean_image(picture.array, field="the picture")
    return image, (*picture.notes, *picture.warnings, *notes)
