"""Pictures (PNG, JPEG, TIFF, BMP) with their boxes in a file next to them; the answer is an indexed PNG.

`skin.jpg` is a case where `skin.boxes.csv` lies next to it (or `skin.boxes.json`, or labelme's `skin.json`), and its
result is `skin.png`, whose pixel values are the labels. Pictures without such a file are cases only where the user says
where boxes stand (see box_files.py). Boxes and labels are those of the picture as a viewer shows it: where
a camera notes in the file's EXIF block how a photograph is to be turned, it is turned. Reading needs the extra [files].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Notes, clean_boxes
from graysam.cases import Case, ImageCase, Pixels, check_size, clean_image, narrow_labels
from graysam.errors import CaseError
from graysam.files import written_whole
from graysam.formats.base import Answer, naming
from graysam.formats.image_volume import IMAGE_SUFFIXES
from graysam.formats.png import encode_labels, finished_shape
from graysam.formats.reading_options import Reading, windowed
from graysam.formats.volumes import readable

BOXES_SUFFIX = ".boxes.csv"
BESIDE = (BOXES_SUFFIX, ".boxes.json", ".json")


class PictureFormat:
    """Pictures as the runner sees them."""

    name = "picture"
    cases = f"a picture ({', '.join(f'*{suffix}' for suffix in IMAGE_SUFFIXES)})"

    def __init__(self, reading: Reading | None = None) -> None:
        self.reading = reading or Reading()

    def claims(self, path: Path) -> bool:
        """Tell whether an entry is called like a picture, in any case of letters, and has boxes."""
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.is_dir():
            return False
        return self.reading.boxes.is_named or any((path.parent / (path.stem + suffix)).is_file() for suffix in BESIDE)

    def case_name(self, path: Path) -> str:
        """Give the file's name without its suffix."""
        return path.stem

    def result_name(self, path: Path) -> str:
        """Give the case's name with .png."""
        return f"{path.stem}.png"

    def describe(self, path: Path) -> tuple[int, ...] | None:
        """Give (H, W), for which the picture must be read."""
        try:
            return _read(path, self.reading)[0].shape[:2]
        except CaseError:
            return None

    def read(self, path: Path) -> Case:
        """Read picture and boxes.

        Raises:
            CaseError: either of them cannot be used.
        """
        image, notes, warnings = _read(path, self.reading)
        numbers, names, told, origin = self._box_numbers(path, image.shape[:2])
        with naming(origin):
            boxes, box_notes = clean_boxes(numbers, size_hw=image.shape[:2])
        return ImageCase(path.stem, path, image, boxes, None, (*warnings, *box_notes), (*notes, told), names)

    def _box_numbers(self, path: Path, size_hw: tuple[int, int]) -> tuple[NDArray[np.float64], Notes, str, Path]:
        """Give the boxes, their names, where they came from in words, and that file."""
        from graysam.formats.box_files import boxes_for
        from graysam.formats.drawn_boxes import box_table

        source = self.reading.boxes
        if source.masks is None:
            found = boxes_for(path, path.stem, source, columns=4, beside=BESIDE)
            with naming(found.origin):
                numbers = box_table(found.boxes, None, is_volume=False)
            return numbers, found.names, f"{len(numbers)} boxes from {found.origin.name}", found.origin
        from graysam.formats.rough_masks import boxes_round, mask_for

        mask_path = mask_for(path, path.stem, source.masks)
        with readable(mask_path.name):
            from graysam.formats.readers import read_mask

            mask = read_mask(mask_path)
        if mask.shape != size_hw:
            raise CaseError(f"{mask_path.name}: has shape {mask.shape}, the picture {path.name} {size_hw}.")
        numbers, names = boxes_round(mask, source.margin)
        told = f"boxes round the labels of {mask_path.name}, margin {source.margin}"
        return numbers, names, told, mask_path

    def write(self, result: Path, answer: Answer, *, source: Path) -> None:
        """Write labels (H, W) as an indexed PNG; 16-bit gray when there are more than 255.

        Raises:
            CaseError: no label map of an image, or the file cannot be written.
        """
        from graysam.image.drawing import label_colours

        with naming(result):
            narrow = narrow_labels(answer.labels)
            if narrow.ndim != 2:
                raise CaseError(f"labels of shape {narrow.shape}, wanted (H, W).")
        content = encode_labels(narrow, label_colours(255)[:, ::-1], failure=answer.failure)
        with written_whole(result, CaseError) as temporary:
            temporary.write_bytes(content)

    def is_finished(self, result: Path, label_shape: tuple[int, ...] | None) -> bool:
        """Tell whether `result` is a whole PNG of that shape, and no stand-in."""
        return label_shape is not None and finished_shape(result) == label_shape


def _read(path: Path, reading: Reading) -> tuple[Pixels, Notes, Notes]:
    """Read (H, W) or (H, W, 3) RGB as it is to be looked at, what was decided, and what looks wrong.

    Values go through an intensity window only where the user names one, or a modality for more than 8 bits.

    Raises:
        CaseError: unreadable, cut off, empty, too large, a TIFF of several pages, or no reader is installed.
    """
    with readable(path.name):
        from graysam.formats.picture_files import read_picture

        picture = read_picture(path)
    with naming(path):
        check_size(picture.array.shape, size_hw=picture.array.shape[:2], field="the picture")
        if reading.window or (reading.modality is not None and picture.array.dtype != np.uint8):
            shown = windowed(
                picture.array, name=path.name, header_modality=None, units="unknown", is_volume=False, reading=reading
            )
            return shown.pixels, (*picture.notes, *shown.notes), (*picture.warnings, *shown.warnings)
        image, warnings = clean_image(picture.array, field="the picture")
    return image, picture.notes, (*picture.warnings, *warnings)
