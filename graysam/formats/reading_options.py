"""What a user says about how hospital files and pictures are to be read: where the boxes are, and what values mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graysam.cases import Modality, modality_of
from graysam.errors import CaseError, PrepareError

if TYPE_CHECKING:  # imported where a window is wanted: most runs want none, and their start is timed
    from graysam.image.windows import Units, Window


@dataclass(frozen=True)
class BoxSource:
    """Where the boxes of cases stand that hold none themselves.

    Attributes:
        given: a file, or a folder with a file for each case; None looks for files that lie next to the images.
        masks: a folder of rough masks, one for each case, round whose labels boxes are drawn.
        margin: pixels by which boxes of rough masks are wider on each side, in x and y.
        optional: whether an image without boxes is a case, too: one without objects, on which boxes will be drawn.
    """

    given: Path | None = None
    masks: Path | None = None
    margin: int = 0
    optional: bool = False

    @property
    def is_named(self) -> bool:
        """Tell whether every image is a case: the user named a place for boxes, or needs none."""
        return self.given is not None or self.masks is not None or self.optional


@dataclass(frozen=True)
class Reading:
    """How cases are read.

    Attributes:
        boxes: where their boxes stand.
        modality: what the images are, None where their files and names tell.
        window: the intensity window as `graysam.image.windows.parse_window` reads it; "" chooses by modality.
        keep_original: whether cases also keep their values before the window.
    """

    boxes: BoxSource = field(default_factory=BoxSource)
    modality: Modality | None = None
    window: str = ""
    keep_original: bool = False

    def check(self) -> None:
        """Look at what can be looked at before any case is read.

        Raises:
            CaseError: no such window, file or folder.
        """
        try:
            if self.window:
                from graysam.image.windows import parse_window

                parse_window(self.window)
        except PrepareError as error:
            raise CaseError(str(error)) from error
        for path in (self.boxes.given, self.boxes.masks):
            if path is not None and not path.exists():
                raise CaseError(f"{path}: boxes should come from there, but it is missing.")
        if self.boxes.masks is not None and not self.boxes.masks.is_dir():
            raise CaseError(f"{self.boxes.masks}: wanted a folder of rough masks.")


@dataclass(frozen=True, eq=False)
class Windowed:
    """Pixels after their intensity window.

    Attributes:
        pixels: uint8, of the shape given.
        low, high: the values that became 0 and 255.
        notes: which window, and why.
        warnings: what makes the values doubtful.
    """

    pixels: NDArray[np.uint8]
    low: float
    high: float
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def windowed(
    array: NDArray[Any], *, name: str, header_modality: Modality | None, units: Units, is_volume: bool, reading: Reading
) -> Windowed:
    """Bring intensities to 0..255 as data preparation does, and say how.

    Args:
        array: (D, H, W), (H, W) or (H, W, 3), any integer or float dtype, finite.
        name: of the file, in which a modality or a body part may stand.
        header_modality: the modality that the file's header tells.
        units: what the header says of the values.
        is_volume: whether the array is (D, H, W).
        reading: the user's modality and window, which win.

    Raises:
        CaseError: the window "as_is" for values beyond 0..255.
    """
    from graysam.image.windows import apply_window, choose_window, doubts, parse_window

    modality, how = _modality(array, name, header_modality, is_volume, reading)
    guessed = how == ""
    if reading.window:
        window = parse_window(reading.window)
    else:
        window = choose_window(array, modality=modality or "", is_volume=is_volume, named=name, units=units)
    warnings = doubts(array, modality=modality or "", is_volume=is_volume, units=units, window=window)
    if guessed and modality == "CT":
        warnings = (
            f"nothing tells the modality; values from {float(array.min()):g} to {float(array.max()):g} look like "
            "Hounsfield units, so it is taken for CT (--modality or --window overrule this)",
            *warnings,
        )
        how = "its values look like HU"
    elif modality is None and not reading.window:
        warnings = ("nothing tells the modality; give --modality for the window that it wants", *warnings)
    try:
        pixels, applied = apply_window(array, window)
    except PrepareError as error:
        raise CaseError(f"{name}: {error}") from error
    what = f"{modality} ({how})" if modality else "unknown modality"
    return Windowed(pixels, applied.low, applied.high, (f"{what}; {_in_words(applied)}",), warnings)


def _modality(
    array: NDArray[Any], name: str, header_modality: Modality | None, is_volume: bool, reading: Reading
) -> tuple[Modality | None, str]:
    """Give the modality and what tells it, "" where only the values do."""
    if reading.modality is not None:
        return reading.modality, "as given"
    if header_modality is not None:
        return header_modality, "by the DICOM tag"
    named = modality_of(name)
    if named is not None:
        return named, "by the name"
    from graysam.image.windows import looks_like_hu

    return ("CT", "") if is_volume and looks_like_hu(array) else (None, "")


def _in_words(window: Window) -> str:
    return f"intensity window {window.name}, {window.low:g} to {window.high:g} shown as 0 to 255 ({window.why})"
