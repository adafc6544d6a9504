"""The box-frame decoder: a small U-Net that works on the enlarged box, not on the image.

A box says where the object lies and how large it is; so the decoder looks at a square grid laid over the enlarged box
(`geometry.BoxView`). A nucleus of 20 pixels in an image of 2,000 then fills as much of the grid as a liver, and its
contour is as sharp. Three things are stacked on the grid: the image at its original resolution, maps that tell where
the box is, and, on the coarser levels, the encoder's embedding of the whole slice, sampled under the grid.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from graysam.errors import CheckpointError
from graysam.models.encoders.conv import ConvUnit, ResidualUnit, conv_norm, upsample
from graysam.models.hints import HINT_MAPS
from graysam.models.network import Decoder, EmbeddingShape, State
from graysam.models.spec import ModelSpec

IMAGE_MAPS = 4  # red, green, blue, and gray in units of its own spread within the view
GEOMETRY_MAPS = 6
ELLIPSE_EDGE = 20.0  # makes an ellipse map the logits of a mask with a sharp edge
MEMORY_MAPS = 2  # the object on the neighbouring slice, and by how much that slice is brighter
SIDES = 4  # of a box: left, right, above, below
LOGITS_BIAS = "to_logits.bias"
LEAST_SPREAD = 0.02  # of gray within a view, so that noise on a plain ground is not blown up


def sample_embedding(embedding: Tensor, view_in_canvas: Tensor, cells: int) -> Tensor:
    """Sample embeddings under views, bilinearly; zero beyond the canvas.

    Both axes are products with a matrix of hat functions: unlike grid_sample, that is a plain matrix product forwards
    and backwards, and it is exported as one.

    Args:
        embedding: (N, C, h, w), one for each view, or (1, C, h, w) for all.
        view_in_canvas: (N, 4) edges of the views, x, y, x, y as shares of the canvas.
        cells: side of the grid to sample on.

    Returns:
        (N, C, cells, cells).
    """
    rows = hat_weights(view_in_canvas[:, 1], view_in_canvas[:, 3], cells, embedding.shape[2]).to(embedding.dtype)
    columns = hat_weights(view_in_canvas[:, 0], view_in_canvas[:, 2], cells, embedding.shape[3]).to(embedding.dtype)
    by_rows = torch.matmul(rows[:, None], embedding)  # (N, 1, cells, h) @ (N, C, h, w) -> (N, C, cells, w)
    return torch.matmul(by_rows, columns[:, None].transpose(2, 3))


def hat_weights(start: Tensor, stop: Tensor, cells: int, size: int) -> Tensor:
    """Give (N, cells, size) weights that sample `size` pixels at `cells` places spread over [start, stop]."""
    places = (torch.arange(cells, device=start.device, dtype=torch.float32) + 0.5) / cells
    positions = (start[:, None] + (stop - start)[:, None] * places) * size - 0.5  # pixel centres count from 0
    pixels = torch.arange(size, device=start.device, dtype=torch.float32)
    return functional.relu(1.0 - (positions[:, :, None] - pixels).abs())


def places_in_box(box_in_view: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Give the horizontal (N, 1, cells) and vertical (N, cells, 1) place of each cell: -1 and 1 on the box's sides."""
    places = (torch.arange(cells, device=box_in_view.device, dtype=torch.float32) + 0.5) / cells
    centre = (box_in_view[:, :2] + box_in_view[:, 2:]) / 2
    half = (box_in_view[:, 2:] - box_in_view[:, :2]) / 2
    across = ((places - centre[:, 0:1]) / half[:, 0:1]).clamp(-4, 4)
    down = ((places - centre[:, 1:2]) / half[:, 1:2]).clamp(-4, 4)
    return across[:, None, :], down[:, :, None]


def ellipse_map(box_in_view: Tensor, cells: int) -> Tensor:
    """Give (N, cells, cells): 1 in the middle of the ellipse in the box, 0 on it, negative outside, down to -4."""
    across, down = places_in_box(box_in_view, cells)
    return (1.0 - across * across - down * down).clamp_min(-4)


def geometry_maps(box_in_view: Tensor, view_in_canvas: Tensor, cells: int) -> Tensor:
    """Draw a box on its grid as maps, so that convolutions see at every cell where it is.

    Returns:
        (N, 6, cells, cells): horizontal and vertical place in the box (-1 and 1 on its sides), the ellipse in the box,
        distance to the nearest side (positive inside), and the box's width and height, as logarithms of their share
        of the canvas.
    """
    shape = (box_in_view.shape[0], cells, cells)
    across, down = places_in_box(box_in_view, cells)
    inside = 1.0 - torch.maximum(across.abs(), down.abs())
    share = (view_in_canvas[:, 2:] - view_in_canvas[:, :2]) * (box_in_view[:, 2:] - box_in_view[:, :2])
    sizes = torch.log2(share.clamp_min(1e-4)) / 4 + 1  # a box of a sixteenth of the canvas gives 0
    maps = [across, down, ellipse_map(box_in_view, cells), inside, sizes[:, 0:1, None], sizes[:, 1:2, None]]
    return torch.stack([each.expand(shape) for each in maps], dim=1)


def image_maps(detail: Tensor, memory: Tensor | None) -> Tensor:
    """Give (N, 4, G, G): colour, centred, and gray less its mean in units of its spread within the view.

    The fourth map makes an organ that differs by a few gray levels as visible as one that differs by a hundred. With
    memory two more follow: where the object was found, and the difference in brightness, in the same units.
    """
    gray = detail.mean(dim=1, keepdim=True)
    centred = gray - gray.mean(dim=(2, 3), keepdim=True)
    spread = (centred * centred).mean(dim=(2, 3), keepdim=True).sqrt() + LEAST_SPREAD
    maps = [detail - 0.5, centred / spread]
    if memory is not None:
        maps += [memory[:, 0:1], memory[:, 1:2] / spread]
    return torch.cat(maps, dim=1)


class EllipseGate(nn.Module):
    """Decides for each box whether the object is the ellipse in it.

    Some references are ellipses by their making: optic discs, heads of fetuses. A decoder finds their edge to a pixel
    or two; to know that the box says it better is a matter of one number, not of every cell's. An ellipse is right
    only in a box that fits, and a box that fits shows in its sides: a contour that was found by eye ends at all four.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.to_trust = nn.Sequential(nn.Linear(features + 1 + SIDES, 64), nn.ReLU(), nn.Linear(64, 1))
        self.steepness = nn.Parameter(torch.tensor(20.0))
        nn.init.constant_(self.to_trust[2].bias, 4.0)  # type: ignore[arg-type]

    def forward(self, features: Tensor, logits: Tensor, ellipse: Tensor, view_in_canvas: Tensor) -> Tensor:
        """Blend logits with the ellipse in the box.

        Args:
            features: (N, C), pooled.
            logits: (N, G, G).
            ellipse: (N, G, G), see `ellipse_map`.
            view_in_canvas: (N, 4) edges of the views, x, y, x, y as shares of the canvas.

        Returns:
            (N, G, G).
        """
        found, given = torch.sigmoid(logits.detach()), torch.sigmoid(ELLIPSE_EDGE * ellipse)
        shared = 2 * (found * given).sum(dim=(1, 2)) / (found + given).sum(dim=(1, 2))
        disagreement = (20 * (1 - shared))[:, None]  # 1 for a DSC of 0.95
        misfit = side_misfit(found, given, view_in_canvas)
        trust = torch.sigmoid(self.to_trust(torch.cat([features, disagreement, misfit], dim=1)))[:, :, None]
        return trust * logits + (1 - trust) * self.steepness * ellipse


def side_misfit(found: Tensor, given: Tensor, view_in_canvas: Tensor) -> Tensor:
    """Give (N, 4): how far apart two soft masks (N, G, G) end on the left, on the right, above and below.

    The unit is a hundredth of the canvas, 2.56 pixels of 256: people and scripts are off by pixels, not by shares of an
    object. Within each half of the view the ends are counted from the middle outwards; 0 where both end alike.
    """
    half = found.shape[1] // 2
    gaps = []
    for axis, (start, stop) in ((1, (0, 2)), (2, (1, 3))):
        apart = found.amax(dim=axis) - given.amax(dim=axis)  # (N, G), the profile along the other axis
        per_cell = 100 * (view_in_canvas[:, stop] - view_in_canvas[:, start]) / found.shape[1]
        gaps += [apart[:, :half].sum(dim=1).abs() * per_cell, apart[:, half:].sum(dim=1).abs() * per_cell]
    return torch.stack(gaps, dim=1)


class BoxDecoder(Decoder):
    """Embedding, detail and box to logits on the view's grid and a predicted IoU.

    It is exported for one box: its work per box is the same in any batch, the smaller arrays stay in the CPU's cache,
    and only one shape has to be compiled. Fastest of 20 runs on two Zen 5 cores, per box: 1.7 ms for one and 2.9 for
    eight in int8, 3.5 and 4.0 in bf16, 6.4 and 13 in fp32.
    """

    boxes_at_once: ClassVar[int | None] = 1
    float_parts: ClassVar[tuple[str, ...]] = ("ellipse_gate",)

    def __init__(self, spec: ModelSpec, shape: EmbeddingShape) -> None:
        super().__init__(spec, shape)
        fine, middle, coarse, deepest = spec.decoder_widths
        self.cells = spec.view_size
        seen = IMAGE_MAPS + (MEMORY_MAPS if spec.memory else 0)
        told = len(HINT_MAPS) if spec.hints else 0
        self.stem = ConvUnit(4 * seen + GEOMETRY_MAPS + told, fine)
        self.down_2 = ResidualUnit(fine)
        self.to_4 = ConvUnit(fine, middle, stride=2)
        self.context_4 = conv_norm(shape[0], middle, kernel=1)
        self.down_4 = nn.Sequential(ResidualUnit(middle), ResidualUnit(middle))
        self.to_8 = ConvUnit(middle, coarse, stride=2)
        self.down_8 = nn.Sequential(ResidualUnit(coarse), ResidualUnit(coarse))
        self.to_16 = ConvUnit(coarse, deepest, stride=2)
        self.down_16 = nn.Sequential(ResidualUnit(deepest), ResidualUnit(deepest))
        self.up_8 = conv_norm(deepest, coarse, kernel=1)
        self.merge_8 = ResidualUnit(coarse)
        self.up_4 = conv_norm(coarse, middle, kernel=1)
        self.merge_4 = ResidualUnit(middle)
        self.up_2 = conv_norm(middle, fine, kernel=1)
        self.merge_2 = ResidualUnit(fine)
        self.finest = ConvUnit(fine, fine)
        self.to_logits = nn.Conv2d(fine, 4, 3, padding=1)
        self.ellipse_weight = nn.Parameter(torch.tensor(2.0))
        self.to_iou = nn.Sequential(nn.Linear(deepest, 64), nn.ReLU(), nn.Linear(64, 1))
        self.ellipse_gate = EllipseGate(deepest) if spec.ellipse_gate else None
        # The untrained decoder answers with the ellipse in the box: the best guess without looking.
        nn.init.normal_(self.to_logits.weight, std=1e-3)
        nn.init.zeros_(self.to_logits.bias)  # type: ignore[arg-type]

    @classmethod
    def answer_side(cls, spec: ModelSpec, shape: EmbeddingShape) -> int:
        """Give the side of the grid of logits: the view's own."""
        return spec.view_size

    @classmethod
    def shifted(cls, state: State, shift: float) -> dict[str, Tensor]:
        """Shift the logits of the contour, before the ellipse gate; see `Decoder.shifted`."""
        if LOGITS_BIAS not in state:
            raise CheckpointError(f"wanted the weights of a box-frame decoder to shift, found no {LOGITS_BIAS!r}.")
        return {**state, LOGITS_BIAS: state[LOGITS_BIAS] + shift}

    def forward(
        self,
        embedding: Tensor,
        detail: Tensor,
        box_in_view: Tensor,
        view_in_canvas: Tensor,
        memory: Tensor | None = None,
        hints: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Segment N boxes.

        Args:
            embedding: (N, C, h, w) or (1, C, h, w).
            detail: (N, 3, G, G) in [0, 1].
            box_in_view: (N, 4) edges x, y, x, y as shares of the view.
            view_in_canvas: (N, 4) edges x, y, x, y as shares of the canvas.
            memory: (N, 2, G, G), see `frames.view_memory`; wanted by a spec with memory, and by no other.
            hints: (N, 7, G / 2, G / 2), see `hints.draw_hints`; wanted by a spec with hints, and by no other.

        Returns:
            logits (N, G, G), above 0 where the object is; predicted IoU (N,) in [0, 1].
        """
        # Each 2x2 block of the view becomes channels of one cell: no detail is lost, no layer works on the full grid.
        image = functional.pixel_unshuffle(image_maps(detail, memory), 2)
        geometry = geometry_maps(box_in_view, view_in_canvas, self.cells // 2)
        # Memory and hints come last: the weights of a model without them then only have to be continued with zeros.
        parts = [image[:, : 4 * IMAGE_MAPS], geometry]
        if memory is not None:
            parts.append(image[:, 4 * IMAGE_MAPS :])
        if hints is not None:
            parts.append(hints)
        maps = torch.cat(parts, dim=1)
        maps = maps.contiguous(memory_format=torch.channels_last)
        at_2 = self.down_2(self.stem(maps))
        context = sample_embedding(embedding, view_in_canvas, self.cells // 4)
        at_4 = self.down_4(self.to_4(at_2) + self.context_4(context))
        at_8 = self.down_8(self.to_8(at_4))
        at_16 = self.down_16(self.to_16(at_8))
        pooled = at_16.mean(dim=(2, 3))
        iou = torch.sigmoid(self.to_iou(pooled))[:, 0]
        merged = self.merge_8(functional.relu(at_8 + upsample(self.up_8(at_16))))
        merged = self.merge_4(functional.relu(at_4 + upsample(self.up_4(merged))))
        merged = self.merge_2(functional.relu(at_2 + upsample(self.up_2(merged))))
        logits = functional.pixel_shuffle(self.to_logits(self.finest(merged)), 2)[:, 0]
        ellipse = ellipse_map(box_in_view, self.cells)
        logits = logits + self.ellipse_weight * ellipse
        if self.ellipse_gate is not None:
            logits = self.ellipse_gate(pooled, logits, ellipse, view_in_canvas)
        return logits, iou
