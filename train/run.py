"""Train a model from a packed store: `python -m train.run --config train/configs/graysam.toml --store S --out runs/x`.

With several processes: `torchrun --nproc-per-node 2 -m train.run ...`. On a CPU two processes of one thread each see
almost twice the images of one process with two threads. A run that was stopped, by its limit, by a signal or by a power
cut, goes on where its last checkpoint was when the same command is given again.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, distributed, nn

from graysam.models.segmenter import build_model
from graysam.models.spec import ModelSpec
from graysam.store import PackedStore, open_store
from train.answer import network_answer
from train.average import WeightAverage
from train.config import RunConfig, read_config
from train.dataset import Batch, BatchSource, SliceMemory
from train.losses import prompt_loss
from train.schedule import Progress, learning_rate_share
from train.validation import modality_means, score_prompts, validation_prompts

logger = logging.getLogger("train")

QUICK_VALIDATION_EVERY = 3  # during a run only every third prompt is asked
LOG_EVERY_STEPS = 50


class Trainer:
    """One process's share of a run."""

    def __init__(self, config: RunConfig, store: PackedStore, folder: Path, device: torch.device) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.processes = distributed.get_world_size() if distributed.is_initialized() else 1
        torch.manual_seed(config.seed)
        model = build_model(config.model).to(device)
        self.model: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = WeightAverage(self.model, config.optimiser.ema)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, config.optimiser.weight_decay), lr=config.optimiser.learning_rate
        )
        memory = SliceMemory(store, "train")
        self.source = BatchSource(memory, config.model, config.data, seed=config.seed, rank=self.rank)
        self.prompts = validation_prompts(store) if self.rank == 0 else []
        self.progress = Progress(steps=config.steps, minutes=config.minutes)
        self.best_score = 0.0
        self.stop_asked = False

    @property
    def checkpoint_path(self) -> Path:
        """Where the whole state of the run is kept."""
        return self.folder / "last.pt"

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Begin with given weights instead of fresh ones."""
        self.model.load_state_dict(weights)
        self.average = WeightAverage(self.model, self.config.optimiser.ema)

    def resume(self) -> bool:
        """Take up the last checkpoint, if there is one."""
        if not self.checkpoint_path.exists():
            return False
        state = torch.load(self.checkpoint_path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best_score = state["best_score"]
        self.progress = Progress(
            steps=self.config.steps, minutes=self.config.minutes, step=state["step"], seconds=state["seconds"]
        )
        return True

    def save(self) -> None:
        """Write the whole state; the old one stays until the new one is whole."""
        if self.rank != 0:
            return
        state = {
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "best_score": self.best_score,
            "config": self.config.to_dict(),
        }
        write_atomically(self.checkpoint_path, state)

    def run(self, limit_seconds: float) -> None:
        """Train until the run is over, this session's time is up, or a signal asks to stop."""
        session_ends = time.monotonic() + limit_seconds
        last_validation = last_checkpoint = time.monotonic()
        while True:
            terms = self.train_step()
            now = time.monotonic()
            if self.progress.step % LOG_EVERY_STEPS == 0:
                self.log(terms)
            over = self.agreed(self.progress.share >= 1 or now >= session_ends or self.stop_asked)
            if over or now - last_checkpoint > self.config.checkpoint_minutes * 60:
                self.save()
                last_checkpoint = now
            if self.agreed(now - last_validation > self.config.validate_minutes * 60) or over:
                self.validate(quick=self.progress.share < 1)
                last_validation = time.monotonic()
            if over:
                break

    def train_step(self) -> dict[str, float]:
        """Take one step of the optimiser; give the loss's parts and the gradient's norm."""
        config = self.config.optimiser
        share = learning_rate_share(self.progress.share, config)
        if self.processes > 1:  # clocks differ between processes, the rate must not
            shared = torch.tensor([share])
            distributed.broadcast(shared, 0)
            share = float(shared)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * share
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        for part in range(config.accumulate):
            batch = self.source.batch(self.progress.step * config.accumulate + part).to(self.device)
            with self.mixed_precision():
                logits, iou = prompted_forward(self.model, batch)
            terms = prompt_loss(logits, iou, batch.target, self.config.loss)
            (terms.total / config.accumulate).backward()  # type: ignore[no-untyped-call]
        if self.processes > 1:
            average_gradients(self.model, self.processes)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimiser.step()
        self.average.update(self.model, self.progress.step)
        self.progress.step += 1
        return {
            "loss": float(terms.total.detach()),
            "cross_entropy": float(terms.cross_entropy.detach()),
            "dice": float(terms.dice.detach()),
            "iou": float(terms.iou.detach()),
            "gradient_norm": float(norm),
            "learning_rate": config.learning_rate * share,
        }

    def mixed_precision(self) -> AbstractContextManager[Any]:
        """Give the context in which the network runs."""
        if self.config.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def validate(self, *, quick: bool) -> None:
        """Score the averaged weights on process 0; keep them as best.pt when no earlier ones scored higher."""
        if self.rank == 0:
            prompts = self.prompts[::QUICK_VALIDATION_EVERY] if quick else self.prompts
            answer = network_answer(self.average.model, self.config.model)
            row: dict[str, Any] = {"step": self.progress.step, "minutes": round(self.progress.seconds / 60, 2)}
            for kind in ("tight", "jit5"):
                means = modality_means(score_prompts(prompts, answer, kind))  # type: ignore[arg-type]
                for modality, (dsc, nsd) in means.items():
                    row[f"{kind}_{modality}_dsc"], row[f"{kind}_{modality}_nsd"] = round(dsc, 4), round(nsd, 4)
            append_row(self.folder / "validation.csv", row)
            logger.info(
                "step %d: tight DSC %.4f NSD %.4f, jit5 DSC %.4f NSD %.4f",
                self.progress.step,
                *(row[f"{kind}_mean_{metric}"] for kind in ("tight", "jit5") for metric in ("dsc", "nsd")),
            )
            score = row["tight_mean_dsc"] + row["tight_mean_nsd"] + row["jit5_mean_dsc"]
            if score > self.best_score:
                self.best_score = score
                weights = {name: value.half() if value.is_floating_point() else value
                           for name, value in self.average.model.state_dict().items()}
                state = {"model": weights, "spec": self.config.model.to_dict(), "validation": row}
                write_atomically(self.folder / "best.pt", state)
        if self.processes > 1:
            distributed.barrier()

    def log(self, terms: dict[str, float]) -> None:
        """Add a line to the run's CSV, and to the terminal."""
        if self.rank != 0:
            return
        images = self.progress.step * self.config.data.images_per_batch * self.processes
        row = {
            "step": self.progress.step,
            "minutes": round(self.progress.seconds / 60, 2),
            "images": images * self.config.optimiser.accumulate,
            **{name: round(value, 6) for name, value in terms.items()},
        }
        append_row(self.folder / "log.csv", row)
        logger.info("%s", " ".join(f"{name}={value}" for name, value in row.items()))

    def agreed(self, here: bool) -> bool:
        """Tell whether any process says so: all must leave the loop at the same step."""
        if self.processes == 1:
            return here
        said = torch.tensor([int(here)])
        distributed.all_reduce(said, distributed.ReduceOp.MAX)
        return bool(said.item())


def prompted_forward(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Encode every image once and decode all prompts: logits (B * K, g, g) and IoU (B * K,)."""
    embedding = model.encode(batch.canvas)  # type: ignore[operator]
    prompts_per_image = batch.target.shape[0] // batch.canvas.shape[0]
    repeated = embedding.repeat_interleave(prompts_per_image, dim=0)
    logits, iou = model.decode(repeated, **batch.inputs)  # type: ignore[operator]
    return logits, iou


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Keep weight decay away from norms, biases and single numbers, which it only disturbs."""
    decayed = [each for each in model.parameters() if each.requires_grad and each.ndim > 1]
    others = [each for each in model.parameters() if each.requires_grad and each.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def average_gradients(model: nn.Module, processes: int) -> None:
    """Replace every gradient by its mean over the processes, in one message."""
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= processes
    offset = 0
    for gradient in gradients:
        count = gradient.numel()
        gradient.copy_(flat[offset : offset + count].view(gradient.shape))
        offset += count


def write_atomically(path: Path, state: dict[str, Any]) -> None:
    """Save with torch under a temporary name, then rename."""
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    part.replace(path)


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV, with a header when it is the first."""
    new = not path.exists()
    with path.open("a", newline="") as out:
        writer = csv.DictWriter(out, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def read_weights(path: Path, spec: ModelSpec) -> dict[str, Tensor]:
    """Read the weights of a best.pt or last.pt to start from."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    weights = state.get("average", state["model"])
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="TOML file, see train/configs")
    parser.add_argument("--store", type=Path, required=True, help="packed store, see python -m data_prep pack")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an unfinished run in it goes on")
    parser.add_argument("--minutes", type=float, help="length of the whole run, over all sessions")
    parser.add_argument("--steps", type=int, help="length of the whole run in steps")
    parser.add_argument("--session-minutes", type=float, default=float("inf"), help="leave off after this long")
    parser.add_argument("--init", type=Path, help="weights to start a fresh run from")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run or go on with a training; exit status 0 when the session ended as planned."""
    options = parse_options(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if options.threads:
        torch.set_num_threads(options.threads)
    if "RANK" in os.environ:
        distributed.init_process_group("nccl" if options.device == "cuda" else "gloo")
    config = read_config(options.config, minutes=options.minutes, steps=options.steps, seed=options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, open_store(options.store), options.out, torch.device(options.device))
    if not trainer.resume() and options.init:
        trainer.start_from(read_weights(options.init, config.model))
    if trainer.rank == 0:
        (options.out / "config.json").write_text(json.dumps(config.to_dict(), indent=1))

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        trainer.stop_asked = True

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    trainer.run(options.session_minutes * 60)
    if distributed.is_initialized():
        distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
