"""Teach an image encoder what a larger one sees, before the whole is trained.

    python -m train.distill --teacher runs/big/best.pt --config train/configs/graysam.toml --store S --out runs/x

The first stage of LiteMedSAM and Swin-LiteMedSAM. The teacher embeds every slice of the training split once, or as many
as `--slices` says; the embeddings lie on disk in half precision, or with `--bits 8` in half of that. The student's
encoder then learns to give the same embeddings by their mean absolute difference; where widths or grids differ, a 1x1
convolution and a resize stand between the two, and are thrown away in the end. The second stage starts from the result:
`python -m train.run --init runs/x/best.pt ...`.

A teacher is any model of this project, a folder or a checkpoint, or an official checkpoint with `--teacher-spec l0`.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graysam.console import run_command
from graysam.engines.select import checkpoint_of
from graysam.image.preprocessing import prepare_slice
from graysam.models.checkpoint import load_model, own_names
from graysam.models.network import build_network, encoder_maps
from graysam.models.spec import SPECS
from graysam.store import index_hash, open_store
from train.config import RunConfig, read_config, warn_of_slow_precision
from train.embeddings import StoredEmbeddings, store_embeddings
from train.run_folder import append_row, forget_rows_after, only_one, write_atomically, write_provenance
from train.sampling import build_sampler, generator_for
from train.schedule import Progress, learning_rate_share
from train.slice_memory import SliceMemory

logger = logging.getLogger("train")

LOG_EVERY_STEPS = 50


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
    parser.add_argument(
        "--teacher", type=Path, required=True, help="a model folder, a best.pt or an official checkpoint"
    )
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
    spec = SPECS[options.teacher_spec] if options.teacher_spec else None
    teacher = load_model(checkpoint_of(options.teacher), spec=spec)
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
