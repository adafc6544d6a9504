"""A teacher's embeddings on disk: made once, slice by slice, in half precision or 8 bits, for `train.distill`."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from graysam.errors import GraySamError
from graysam.files import written_whole
from graysam.image.preprocessing import prepare_slice
from graysam.models.network import Network
from train.slice_memory import SliceMemory

logger = logging.getLogger("train")

REPORT_EVERY_SLICES = 50
LEVELS = 255  # between the lowest and the highest number of a channel in 8 bits

Bits = Literal[8, 16]


class EmbeddingsError(GraySamError):
    """Stored embeddings do not fit the store or the teacher."""


@dataclass(frozen=True)
class StoredEmbeddings:
    """A teacher's embeddings on disk.

    Attributes:
        values: (slices, C, h, w), mapped: float16, or uint8 between the bounds of each channel.
        teacher: name of the teacher's spec.
        numbers: which slices of the training split they are of, in rising order.
        bounds: (slices, C, 2) float32, the lowest value of each channel and the step between two levels; None for
            float16.
    """

    values: NDArray[np.float16] | NDArray[np.uint8]
    teacher: str
    numbers: tuple[int, ...]
    bounds: NDArray[np.float32] | None = None

    def read(self, row: int) -> NDArray[np.float32]:
        """Give the embedding in a row: (C, h, w)."""
        values: NDArray[np.float32] = self.values[row].astype(np.float32)
        if self.bounds is not None:
            lowest, step = self.bounds[row].T[:, :, None, None]
            values = lowest + step * values
        return values

    def write(self, row: int, embedding: NDArray[np.float32]) -> None:
        """Put an embedding into a row."""
        if self.bounds is None:
            self.values[row] = embedding
            return
        lowest, highest = embedding.min(axis=(1, 2)), embedding.max(axis=(1, 2))
        step = np.maximum((highest - lowest) / LEVELS, np.finfo(np.float32).tiny)
        self.values[row] = np.rint((embedding - lowest[:, None, None]) / step[:, None, None])
        self.bounds[row] = np.stack([lowest, step], axis=1)

    def flush(self) -> None:
        """Bring what was written to the disk."""
        for array in (self.values, self.bounds):
            if isinstance(array, np.memmap):
                array.flush()


def store_embeddings(
    teacher: Network,
    memory: SliceMemory,
    folder: Path,
    *,
    data_hash: str,
    device: torch.device,
    bits: Bits = 16,
    slices: int | None = None,
) -> StoredEmbeddings:
    """Embed slices, or go on where an earlier call was stopped; slices already embedded are not done again.

    Args:
        teacher: in evaluation mode, on the device.
        memory: the training split.
        folder: takes embeddings.f16 (or .u8, with its .bounds) and embeddings.json.
        data_hash: of the store's index; embeddings of another store are refused.
        device: where the teacher is.
        bits: of each stored number.
        slices: how many, drawn evenly over the split; None for all.

    Raises:
        EmbeddingsError: the folder holds embeddings of another store or teacher, or of other slices or bits.
    """
    spec = teacher.spec
    numbers = _chosen(len(memory), slices)
    facts_path = folder / "embeddings.json"
    origin = {"store_index_sha256": data_hash, "teacher": spec.to_dict(), "bits": bits, "slices": len(numbers)}
    earlier = {"bits": 16, "slices": len(memory)}  # of files that do not say
    facts: dict[str, Any] = {**origin, "done": 0}
    if facts_path.exists():
        facts = earlier | json.loads(facts_path.read_text())
    if {key: facts[key] for key in origin} != origin:
        raise EmbeddingsError(
            f"{facts_path}: made from another store or teacher, or with other --bits or --slices; remove it, or use "
            "another folder."
        )
    shape = tuple(facts.get("shape") or _embed(teacher, memory.slice_for(spec, numbers[0]), device).shape)
    stored = _open(folder, spec.name, numbers, shape, bits)
    for row in range(facts["done"], len(numbers)):
        stored.write(row, _embed(teacher, memory.slice_for(spec, numbers[row]), device))
        if (row + 1) % REPORT_EVERY_SLICES == 0 or row + 1 == len(numbers):
            stored.flush()
            with written_whole(facts_path) as temporary:
                temporary.write_text(json.dumps({**origin, "shape": list(shape), "done": row + 1}) + "\n")
            logger.info("embedded %d of %d slices", row + 1, len(numbers))
    return stored


def _chosen(count: int, wanted: int | None) -> tuple[int, ...]:
    """Give the numbers of the wanted slices in rising order; the draw is the same each time."""
    if wanted is None or wanted >= count:
        return tuple(range(count))
    return tuple(sorted(np.random.default_rng(0).permutation(count)[: max(1, wanted)].tolist()))


def _open(folder: Path, teacher: str, numbers: tuple[int, ...], shape: tuple[int, ...], bits: Bits) -> StoredEmbeddings:
    """Map the files, which are made where they are missing."""

    def mapped(name: str, dtype: type[np.generic], sizes: tuple[int, ...]) -> NDArray[Any]:
        path = folder / f"embeddings.{name}"
        mode: Literal["r+", "w+"] = "r+" if path.exists() else "w+"
        return np.memmap(path, dtype, mode, shape=(len(numbers), *sizes))

    if bits == 16:
        return StoredEmbeddings(mapped("f16", np.float16, shape), teacher, numbers)
    bounds = mapped("bounds", np.float32, (shape[0], 2))
    return StoredEmbeddings(mapped("u8", np.uint8, shape), teacher, numbers, bounds)


@torch.inference_mode()
def _embed(teacher: Network, image: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    canvas = torch.from_numpy(prepare_slice(image, teacher.spec).canvas)[None].to(device)
    embedding: NDArray[np.float32] = teacher.embed(canvas)[0].float().cpu().numpy()
    return embedding
