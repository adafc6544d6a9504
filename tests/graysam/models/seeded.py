"""Numbers that anyone can make again: weights and inputs as a function of a name and a shape alone.

No generator of a library is used, since its stream may change with a version; the tensors recorded from the
public code under data/ were made with these.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from graysam.models.checkpoint import OFFICIAL_PARTS


def seeded_uniform(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Give numbers in [-1, 1) from a hash (splitmix64) of the name's CRC and each element's index."""
    count = math.prod(shape)
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(zlib.crc32(name.encode())) << np.uint64(20)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return ((z >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0).reshape(shape)


def seeded_state(model: nn.Module, *, name_of: Callable[[str], str] = str) -> dict[str, torch.Tensor]:
    """Give weights and BatchNorm statistics for every key of the model, scaled to keep signals of order 1.

    name_of: gives the name that a key's numbers are made from.
    """
    state = model.state_dict().items()
    return {key: torch.from_numpy(_values(name_of(key), value)).to(value.dtype) for key, value in state}


def _values(key: str, like: torch.Tensor) -> NDArray[np.float64]:
    shape = tuple(like.shape)
    values = seeded_uniform(key, shape)
    if key.endswith("num_batches_tracked"):
        return np.ones(shape)
    if key.endswith("running_var"):
        return 1.0 + 0.5 * values
    if like.ndim < 2:  # biases, running means; scales of normalisations
        is_scale = key.endswith("weight")
        return 0.2 * values + (1.0 if is_scale else 0.0)
    if "embed" in key or "token.weight" in key or "tokens.weight" in key or "gaussian" in key:
        return values
    return values * math.sqrt(3.0 / math.prod(shape[1:]))  # variance 1 / fan-in


def official_name(key: str) -> str:
    """Give what the public model calls a weight of ours."""
    for official, own in OFFICIAL_PARTS.items():
        if key.startswith(own):
            return official + key.removeprefix(own)
    raise AssertionError(f"{key} is of no part that the public model has")


def canvas(size: int = 256) -> NDArray[np.float32]:
    """Give a (1, 3, size, size) image in [0, 1): smooth waves with some noise."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = np.stack([np.sin(7 * x + 3 * y), np.cos(11 * x * y), np.sin(5 * y) * np.cos(9 * x)])
    noise = seeded_uniform("canvas", (3, size, size))
    return (0.5 + 0.35 * waves + 0.1 * noise)[None].astype(np.float32)


def embedding(size: int = 64) -> NDArray[np.float32]:
    """Give a (1, 256, size, size) image embedding of variance about 1."""
    return (math.sqrt(3.0) * seeded_uniform("embedding", (1, 256, size, size))).astype(np.float32)


BOXES = np.array([[10.0, 20.0, 130.5, 90.25], [0.0, 0.0, 255.0, 255.0], [200.0, 201.0, 203.0, 207.0]], np.float32)
"""Three boxes on a canvas of 256: a usual one with fractions, the whole canvas, and a tiny one."""


def images() -> dict[str, NDArray[np.generic]]:
    """Give small images by name, uint8: gray ones to enlarge and to shrink, flat ones, a blank one, one in colour."""

    def drawn(name: str, *shape: int) -> NDArray[np.generic]:
        return np.floor(128 + 100 * seeded_uniform(name, shape)).astype(np.uint8)

    return {
        "small": drawn("small", 60, 80),
        "large": drawn("large", 290, 270),
        "canvas": drawn("canvas", 256, 200),
        "flat": drawn("flat", 3, 300),
        "blank": np.full((40, 30), 7, np.uint8),
        "colour": drawn("colour", 120, 310, 3),
    }


def points() -> NDArray[np.float32]:
    """Give (3, 4, 2) points x, y, four in each of the boxes."""
    share = 0.5 + 0.5 * seeded_uniform("points", (len(BOXES), 4, 2))
    return (BOXES[:, None, :2] + share * (BOXES[:, None, 2:] - BOXES[:, None, :2])).astype(np.float32)


def scribbles(size: int = 256) -> NDArray[np.float32]:
    """Give (3, 1, size, size): a thick diagonal across each of the boxes, 1 on it and 0 elsewhere."""
    rows, columns = np.mgrid[:size, :size]
    drawn = [
        (np.abs((columns - x_min) * (y_max - y_min) - (rows - y_min) * (x_max - x_min)) <= 3 * (x_max - x_min))
        & (columns >= x_min)
        & (columns <= x_max)
        for x_min, y_min, x_max, y_max in BOXES
    ]
    return np.stack(drawn)[:, None].astype(np.float32)
