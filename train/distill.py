"""Teach an image encoder what a larger one sees, before the whole is trained.

    python -m train.distill --teacher runs/big/best.pt --config train/configs/graysam.toml --store S --out runs/x

The first stage of LiteMedSAM and Swin-LiteMedSAM. The teacher embeds every slice of the training split once, or as many
as `--slices` says; the embeddings lie on disk in half precision, or with `--bits 8` in half of that. The student's
encoder then learns to give the same embeddings by their mean absolute difference; where widths or grids differ, a 1x1
convolution and a resize stand between the two, and are thrown away in the end. The second stage starts from the result:
`python -m train.run --init runs/x/best.pt ...`.

A teacher is any model of this project, or an official checkpoint with `--teacher-spec l0`.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from graysam.console import run_command
from graysam.errors import GraySamError
from graysam.files import written_whole
from graysam.image.preprocessing import prepare_slice
from graysam.models.checkpoint import load_model, own_names
from graysam.models.network import Network, build_network, encoder_maps
from graysam.models.spec import SPECS
from graysam.store import index_hash, open_store
from train.config import RunConfig, read_config, warn_of_slow_precision
from train.dataset import SliceMemory
from train.run_folder import append_row, forget_rows_after, only_one, write_atomically, write_provenance
from train.sampling import build_sampler, generator_for
from train.schedule import Progress, learning_rate_share

logger = logging.getLogger("train")

LOG_EVERY_STEPS = 50
REPORT_EVERY_SLICES = 50
LEVELS = 255  # between the lowest and the highest number of a channel in 8 bits

Bits = Literal[8, 16]


class DistillationError(GraySamError):
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
        DistillationError: the folder holds embeddings of another store or teacher, or of other slices or bits.
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
        raise DistillationError(
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


class Distiller:
    """Trains a student's encoder on stored embeddings."""

    def __init__(
        self,
        config: RunConfig,
        memory: SliceMemory,
        embeddings: StoredEmbeddings,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.config, self.folder, self.device = config, folder, device
        self._memory, self._embeddings = memory, embeddings
        torch.manual_seed(config.seed)
        self.student = build_network(config.model).to(device)
        channels, *self._grid = embeddings.values.shape[1:]
        width = encoder_maps(config.model)[0][0]
        self.bridge: nn.Module = nn.Identity()
        if width != channels:
            self.bridge = nn.Conv2d(width, channels, 1).to(device)
        own = [*self.student.encoder.parameters(), *self.bridge.parameters()]
        self.optimiser = torch.optim.AdamW(own, config.optimiser.learning_rate)
        self.progress = Progress(steps=config.steps, minutes=config.minutes)
        entries = [memory.entries[number] for number in embeddings.numbers]
        self._sampler = build_sampler(entries, config.data, seed=config.seed)

    def resume(self) -> bool:
        """Take up the last checkpoint, if there is one."""
        path = self.folder / "last.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.student.load_state_dict(own_names(state["model"]))
        self.bridge.load_state_dict(state["bridge"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(
            steps=self.config.steps, minutes=self.config.minutes, step=state["step"], seconds=state["seconds"]
        )
        forget_rows_after(self.folder / "log.csv", self.progress.step)
        return True

    def save(self) -> None:
        """Write last.pt, the whole state, and best.pt, which a training starts from."""
        state = {
            "model": self.student.state_dict(),
            "bridge": self.bridge.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.progress.step,
            "seconds": self.progress.seconds,
        }
        write_atomically(self.folder / "last.pt", state)
        shipped = {"model": self.student.state_dict(), "spec": self.config.model.to_dict(), "validation": {}}
        write_atomically(self.folder / "best.pt", shipped)

    def run(self, session_seconds: float) -> None:
        """Train until the run or this session is over."""
        ends = time.monotonic() + session_seconds
        last_save = time.monotonic()
        while self.progress.share < 1 and time.monotonic() < ends:
            difference = self.train_step()
            if self.progress.step % LOG_EVERY_STEPS == 0:
                minutes = round(self.progress.seconds / 60, 2)
                row = {"step": self.progress.step, "minutes": minutes, "difference": round(difference, 6)}
                append_row(self.folder / "log.csv", row)
                logger.info("%s", row)
            if time.monotonic() - last_save > self.config.checkpoint_minutes * 60:
                self.save()
                last_save = time.monotonic()
        self.save()

    def train_step(self) -> float:
        """Take one step; give the mean absolute difference of the embeddings before it."""
        share = learning_rate_share(self.progress.share, self.config.optimiser)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.optimiser.learning_rate * share
        canvas, wanted = self.batch(self.progress.step)
        self.student.train()
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            given = self.bridge(self.student.embed(canvas))
        if list(given.shape[2:]) != self._grid:
            given = functional.interpolate(given, size=self._grid, mode="bilinear", align_corners=False)
        difference = functional.l1_loss(given.float(), wanted)
        self.optimiser.zero_grad(set_to_none=True)
        difference.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.student.encoder.parameters(), self.config.optimiser.clip)
        self.optimiser.step()
        self.progress.step += 1
        return float(difference.detach())

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Give canvases (B, 3, S, S) and the teacher's embeddings (B, C, h, w); slices as they are, not augmented."""
        size = self.config.data.images_per_batch
        rows = [
            self._sampler.draw(image, generator_for(self.config.seed, image))
            for image in range(step * size, (step + 1) * size)
        ]
        spec, numbers = self.config.model, self._embeddings.numbers
        canvases = [prepare_slice(self._memory.slice_for(spec, numbers[row]), spec).canvas for row in rows]
        wanted = np.stack([self._embeddings.read(row) for row in rows])
        return torch.from_numpy(np.stack(canvases)).to(self.device), torch.from_numpy(wanted).to(self.device)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="a best.pt, a shipped or an official checkpoint")
    parser.add_argument("--teacher-spec", choices=sorted(SPECS), help="of a teacher that carries none")
    parser.add_argument("--config", type=Path, required=True, help="of the student; see train/configs")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="run folder; an unfinished run in it goes on")
    parser.add_argument("--embeddings", type=Path, help="folder for the teacher's embeddings (default: OUT)")
    parser.add_argument("--bits", type=int, default=16, choices=(8, 16), help="of a stored number (default: 16)")
    parser.add_argument("--slices", type=int, help="to embed and learn from, drawn evenly (default: all)")
    parser.add_argument("--minutes", type=float, help="of training, over all sessions; embedding not counted")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--session-minutes", type=float, default=float("inf"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="instead of the config's")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Embed with the teacher, then train the student; exit status 2 for what a user can mend."""
    options = parse_options(argv)
    return run_command(lambda: run(options), with_time=True)


def run(options: argparse.Namespace) -> None:
    """Embed and train; both go on where they were stopped."""
    if options.threads:
        torch.set_num_threads(options.threads)
    config = read_config(options.config, minutes=options.minutes, steps=options.steps, precision=options.precision)
    warn_of_slow_precision(config, options.device)
    with only_one(options.out):
        distil(options, config)


def distil(options: argparse.Namespace, config: RunConfig) -> None:
    """Embed and train in a folder that is ours."""
    device, folder = torch.device(options.device), options.embeddings or options.out
    folder.mkdir(parents=True, exist_ok=True)
    memory = SliceMemory(open_store(options.store), "train")
    teacher = load_model(options.teacher, spec=SPECS[options.teacher_spec] if options.teacher_spec else None)
    embeddings = store_embeddings(
        teacher.to(device),
        memory,
        folder,
        data_hash=index_hash(options.store),
        device=device,
        bits=options.bits,
        slices=options.slices,
    )
    distiller = Distiller(config, memory, embeddings, options.out, device)
    distiller.resume()
    write_provenance(options.out, config, options.store)
    distiller.run(options.session_minutes * 60)


if __name__ == "__main__":
    raise SystemExit(main())
