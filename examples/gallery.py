"""Tile pictures into one: python examples/gallery.py demo/overlays -o demo/overview.png.

The README's picture is made so, from the overlays that `make demo` draws.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

if __package__ in (None, ""):  # run as a script: the package lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from graysam.console import run_command
from graysam.errors import GraySamError
from graysam.image.geometry import PictureFit

TILE_PX = 256
COLUMNS = 4
GAP_PX = 4
BACKGROUND = 255
# The level changes the file's size only; overlays of noisy images are hard to pack, so that the highest is worth it.
PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 9)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the gallery; 0 when it was written, 2 when there is nothing to tile or it cannot be written."""
    parser = argparse.ArgumentParser(description="Tile the PNG files of a folder into one picture.")
    parser.add_argument("folder", type=Path, help="folder of .png files")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="PNG to write")
    parser.add_argument("--columns", type=int, default=COLUMNS, help=f"pictures in a row (default: {COLUMNS})")
    options = parser.parse_args(argv)
    if options.columns < 1:
        parser.error(f"--columns {options.columns}: wanted at least 1")
    return run_command(lambda: write_gallery(options.folder, options.output, columns=options.columns))


def write_gallery(folder: Path, output: Path, *, columns: int) -> int:
    """Tile the folder's pictures into one, and give 0.

    Raises:
        GraySamError: there is nothing to tile, or the picture cannot be written.
    """
    pictures = {path: cv2.imread(str(path), cv2.IMREAD_COLOR) for path in sorted(folder.glob("*.png"))}
    named = [(path.stem, np.asarray(picture, np.uint8)) for path, picture in pictures.items() if picture is not None]
    if not named:
        raise GraySamError(f"no readable .png in {folder}.")
    if not cv2.imwrite(str(output), tile_pictures(named, columns=columns), PNG_OPTIONS):
        raise GraySamError(f"cannot write {output}.")
    return 0


def tile_pictures(named: Sequence[tuple[str, NDArray[np.uint8]]], *, columns: int) -> NDArray[np.uint8]:
    """Give one picture (H, W, 3) of all, row by row, each fitted into a square with its name below.

    named: names and pictures (h, w, 3) in BGR, at least one; each is shrunk or enlarged to touch the square's sides.
    """
    tiles = [_tile(name, picture) for name, picture in named]
    columns = min(columns, len(tiles))
    while len(tiles) % columns:
        tiles.append(np.full_like(tiles[0], BACKGROUND))
    rows = [np.concatenate(tiles[start : start + columns], axis=1) for start in range(0, len(tiles), columns)]
    return np.concatenate(rows, axis=0)


def _tile(name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give a square with a strip for the name: (TILE_PX + strip, TILE_PX, 3)."""
    strip = 20
    tile = np.full((TILE_PX + strip, TILE_PX, 3), BACKGROUND, np.uint8)
    new_width, new_height = PictureFit.for_image(picture.shape[:2], TILE_PX - 2 * GAP_PX).size_wh
    small = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_AREA)
    top, left = (TILE_PX - new_height) // 2, (TILE_PX - new_width) // 2
    tile[top : top + new_height, left : left + new_width] = small
    text_at = (GAP_PX, TILE_PX + strip - 7)
    cv2.putText(tile, name, text_at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


if __name__ == "__main__":
    sys.exit(main())
