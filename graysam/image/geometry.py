"""Frames and the ways between them: every box, and every answer of a network, changes its frame here.

Four frames are in use:

* original: pixels of the image as given.
* canvas: the square that the image encoder sees. The slice is shrunk or enlarged until its longest side fills the
  canvas, and lies at the top left; the rest is zero.
* view: a square grid laid over the enlarged box of one object, which a box-frame decoder sees.
* picture: what people are shown, of any size, with the proportions of the original.

Arrays are (H, W), (H, W, C) or (D, H, W); sizes are (height, width). Boxes are x_min, y_min, x_max, y_max with
*inclusive* maxima, so that a box of one pixel has x_min == x_max, and the area that a box covers reaches from x_min to
x_max + 1 when pixel edges are counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box

# Room round a box inside its view: a share of the box and some canvas pixels. Prompts come with each side off by up to
# 5 canvas pixels, and the whole object must still be in view.
VIEW_MARGIN_SHARE = 0.15
VIEW_MARGIN_CANVAS_PX = 5.0


def resample(image: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """Resize (H, W) or (H, W, C): area averages along an axis that shrinks, linear along one that grows.

    OpenCV's area method silently turns into plain linear sampling, which aliases, as soon as one of the two axes
    grows; so the axes are then treated one after the other. A trailing axis of one channel is kept.
    """
    height, width = image.shape[:2]
    new_height, new_width = size_hw
    if (new_height, new_width) == (height, width):
        return image
    shrinks = new_height <= height and new_width <= width
    if shrinks or (new_height >= height and new_width >= width):
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(image, (new_width, new_height), interpolation=method)
        return resized.reshape(new_height, new_width, *image.shape[2:])
    first = (new_height, width) if new_height < height else (height, new_width)  # shrink first: less to do after
    return resample(resample(image, first), size_hw)


def resample_by_area(image: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """Resize (H, W) or (H, W, C) by OpenCV's area method alone, as the public inference script of LiteMedSAM does.

    It averages along axes that shrink. Where it enlarges, it repeats pixels and blends them only where two meet.
    """
    resized = cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)
    return resized.reshape(*size_hw, *image.shape[2:])


@dataclass(frozen=True)
class CanvasFit:
    """How a slice of `size_hw` lies on a square canvas.

    Attributes:
        size_hw: size of the slice in original pixels.
        canvas: side of the canvas in pixels.
        content_hw: size of the slice on the canvas; the rest, right and below, is padding.
        scale: canvas pixels per original pixel.
    """

    size_hw: tuple[int, int]
    canvas: int
    content_hw: tuple[int, int]
    scale: float

    @classmethod
    def for_image(cls, size_hw: tuple[int, int], canvas: int = 256) -> CanvasFit:
        """Fit a slice by its longest side; the short side is rounded and never less than one pixel."""
        height, width = size_hw
        scale = canvas / max(height, width)
        content_hw = max(1, math.floor(height * scale + 0.5)), max(1, math.floor(width * scale + 0.5))
        return cls((height, width), canvas, content_hw, scale)

    def to_content(self, image: NDArray[Any]) -> NDArray[Any]:
        """Resize a slice to `content_hw`, without the padding."""
        return resample(image, self.content_hw)

    def pad(self, content: NDArray[Any]) -> NDArray[Any]:
        """Lay (h, w[, C]) content on a canvas of zeros, at the top left."""
        padded = np.zeros((self.canvas, self.canvas, *content.shape[2:]), content.dtype)
        padded[: content.shape[0], : content.shape[1]] = content
        return padded

    def box_to_canvas(self, box_original: Box) -> Box:
        """Scale a box to canvas pixels, as floats: rounding would make a small object vanish."""
        return Box(*(float(side) * self.scale for side in box_original.as_array()))

    def to_original(self, logits_canvas: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring (S, S) values that cover the canvas back to (H, W), dropping the padding.

        A grid coarser or finer than the canvas is first brought to the canvas's own size, as SAM does.
        """
        square: NDArray[Any] = logits_canvas
        if square.shape[0] != self.canvas:
            square = cv2.resize(square, (self.canvas, self.canvas), interpolation=cv2.INTER_LINEAR)
        content = square[: self.content_hw[0], : self.content_hw[1]]
        return resample(content, self.size_hw).astype(np.float32, copy=False)


@dataclass(frozen=True)
class PictureFit:
    """How a slice is shown to people: with its proportions, in a size of our choice.

    Attributes:
        size_wh: width and height of the picture, in OpenCV's order, each at least one pixel.
        scale: pixels of the picture per original pixel.
    """

    size_wh: tuple[int, int]
    scale: float

    @classmethod
    def for_image(
        cls, size_hw: tuple[int, ...], longest_px: int, *, largest_enlargement: float = math.inf
    ) -> PictureFit:
        """Fit a slice of (height, width) so that its longer side has `longest_px` pixels.

        largest_enlargement: a small slice is shown at most that many times larger than it is.
        """
        height, width = size_hw
        scale = min(largest_enlargement, longest_px / max(height, width))
        return cls((max(1, round(width * scale)), max(1, round(height * scale))), scale)

    def corners(self, box_original: Box) -> tuple[tuple[int, int], tuple[int, int]]:
        """Give the first and the last pixel (x, y) of a box in the picture, for drawing its frame."""
        x_min, y_min, x_max, y_max = (round((side + 0.5) * self.scale - 0.5) for side in box_original.numbers)
        return (x_min, y_min), (x_max, y_max)


@dataclass(frozen=True)
class BoxView:
    """The window round one box that a box-frame decoder looks at, on a grid of `grid` x `grid` cells.

    The window has whole original pixels, half open, and may reach over the image's border. Its two axes are stretched
    independently, so that a long thin box still fills the grid.
    """

    box_original: Box
    fit: CanvasFit
    grid: int
    x_start: int
    y_start: int
    x_stop: int
    y_stop: int

    @classmethod
    def around(cls, box_original: Box, fit: CanvasFit, *, grid: int) -> BoxView:
        """Lay a view round a box: 15 % of each side and 5 canvas pixels of room on every side."""
        margin_px = VIEW_MARGIN_CANVAS_PX / fit.scale
        width = box_original.x_max + 1 - box_original.x_min
        height = box_original.y_max + 1 - box_original.y_min
        margin_x = VIEW_MARGIN_SHARE * width + margin_px
        margin_y = VIEW_MARGIN_SHARE * height + margin_px
        return cls(
            box_original,
            fit,
            grid,
            math.floor(box_original.x_min - margin_x),
            math.floor(box_original.y_min - margin_y),
            math.ceil(box_original.x_max + 1 + margin_x),
            math.ceil(box_original.y_max + 1 + margin_y),
        )

    @property
    def window_hw(self) -> tuple[int, int]:
        """Size of the window in original pixels."""
        return self.y_stop - self.y_start, self.x_stop - self.x_start

    def _inside(self) -> tuple[slice, slice, slice, slice]:
        """Give the image's and the window's slices (rows, columns) of the part of the window inside the image."""
        height, width = self.fit.size_hw
        top, bottom = min(max(self.y_start, 0), height), max(min(self.y_stop, height), 0)
        left, right = min(max(self.x_start, 0), width), max(min(self.x_stop, width), 0)
        return (
            slice(top, bottom),
            slice(left, right),
            slice(top - self.y_start, bottom - self.y_start),
            slice(left - self.x_start, right - self.x_start),
        )

    def sample(self, image: NDArray[Any]) -> NDArray[Any]:
        """Give what lies under the view, (grid, grid[, C]); zero beyond the image's border.

        The dtype is the image's; a mask becomes float32, the share of each cell that is true. Only what lies in the
        window is looked at, however large the image.
        """
        rows, columns, window_rows, window_columns = self._inside()
        dtype = np.float32 if image.dtype == np.bool_ else image.dtype
        if (rows.stop - rows.start, columns.stop - columns.start) == self.window_hw:
            window = image[rows, columns].astype(dtype, copy=False)
        else:
            window = np.zeros((*self.window_hw, *image.shape[2:]), dtype)
            window[window_rows, window_columns] = image[rows, columns]
        return resample(window, (self.grid, self.grid))

    def to_original(self, logits_view: NDArray[np.float32]) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
        """Bring (grid, grid) values back: the image's (rows, columns) they cover, and the values there."""
        rows, columns, window_rows, window_columns = self._inside()
        window = resample(logits_view, self.window_hw).astype(np.float32, copy=False)
        return (rows, columns), window[window_rows, window_columns]

    def box_in_view(self) -> NDArray[np.float32]:
        """Give the box's edges (x, y, x, y) as shares of the view, 0 to 1."""
        box, (height, width) = self.box_original, self.window_hw
        return np.array(
            [
                (box.x_min - self.x_start) / width,
                (box.y_min - self.y_start) / height,
                (box.x_max + 1 - self.x_start) / width,
                (box.y_max + 1 - self.y_start) / height,
            ],
            np.float32,
        )

    def view_in_canvas(self) -> NDArray[np.float32]:
        """Give the view's edges (x, y, x, y) as shares of the canvas; below 0 or above 1 where it reaches over."""
        edges = np.array([self.x_start, self.y_start, self.x_stop, self.y_stop], np.float32)
        return edges * np.float32(self.fit.scale / self.fit.canvas)
