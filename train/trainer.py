"""Trains one model: moves its weights batch by batch, validates, and writes the run folder.

Batches come from `train.dataset`, the settings from `train.config`; weights, logs and pictures go to the run folder.

The state of a run is its weights, their average, the optimiser, the step, the seconds, the plateau and the generators
of PyTorch. There is no sampler to save: batch n is a function of the seed and n.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from evaluation.prompts import (
    BoxKind,
    ValidationPrompt,
    engine_answer,
    modality_means,
    score_kinds,
    validation_prompts,
)
from graysam.models.checkpoint import halved, own_names
from graysam.models.network import Network, build_network
from graysam.store import PackedStore
from train.average import moving_average, set_steps
from train.config import ConfigError, RunConfig
from train.dataset import Batch, BatchSource
from train.engine import NetworkEngine
from train.initial import fitted_weights
from train.loader import batches_from
from train.losses import prompt_loss
from train.parallel import Processes
from train.pictures import write_curves, write_overlays
from train.pseudo.shards import Found, read_found
from train.run_folder import append_row, forget_rows_after, write_atomically
from train.schedule import Plateau, Progress, learning_rate_share
from train.slice_memory import SliceMemory
from train.tuning import apply_tuning, merged_state, train_mode

logger = logging.getLogger("train")

LOG_EVERY_STEPS = 50
JUDGED_WEIGHTS: dict[BoxKind, float] = {"tight": 1.0, "both_ways": 0.5, "outwards": 2.0}
"""How much the DSC with each kind of box counts in the choice of best.pt: most boxes in practice are loose ones."""

Terms = dict[str, float]


class Trainer:
    """Trains one model. With several processes, each has a trainer of its own.

    Attributes:
        compared_every: of the prompts of a split, every so manieth is asked in quick validations, and weights are
            compared by these.
    """

    compared_every = 3

    def __init__(
        self,
        config: RunConfig,
        store: PackedStore,
        folder: Path,
        device: torch.device,
        *,
        initial: Mapping[str, Tensor] | None = None,
        pseudo: Path | None = None,
    ) -> None:
        """Build the model, fresh from the seed or from initial weights under plain names, and read the data.

        pseudo: a folder of `train.pseudo`, made from this store.
        """
        found = _found_by_teacher(config, store, pseudo)
        self.config, self.folder, self.device = config, folder, device
        self.processes = Processes(device)
        torch.manual_seed(config.seed)
        model = build_network(config.model).to(device)
        if initial is not None:
            model.load_state_dict(fitted_weights(initial, model))
        apply_tuning(model, config.tuning)
        self.model: Network = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = moving_average(self.model, config.optimiser.ema)
        self.forward = self.processes.averaging(PromptedForward(self.model))
        if config.compile:
            self.forward.compile()
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, config.optimiser.weight_decay), lr=config.optimiser.learning_rate
        )
        self.source = BatchSource(
            SliceMemory(store, "train", found=found),
            config.model,
            config.data,
            seed=config.seed,
            rank=self.processes.rank,
            processes=self.processes.count,
        )
        asked = config.validate_prompts
        self.prompts: dict[str, list[ValidationPrompt]] = {}
        if self.processes.rank == 0:
            self.prompts = {
                split: validation_prompts(store, split=split, per_modality=asked) for split in judging_splits(store)
            }
        self.progress = Progress(steps=config.steps, minutes=config.minutes)
        self.plateau = Plateau()
        self.best_score = 0.0
        self.stop_asked = False
        self._batches: Iterator[Batch] | None = None

    @property
    def averaged(self) -> Network:
        """The network with the averaged weights: what is validated and shipped."""
        return cast(Network, self.average.module)

    @property
    def checkpoint_path(self) -> Path:
        """Where the whole state of the run is kept."""
        return self.folder / "last.pt"

    def resume(self) -> bool:
        """Take up the last checkpoint, if there is one, and forget what was written down after it."""
        if not self.checkpoint_path.exists():
            return False
        state = torch.load(self.checkpoint_path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(own_names(state["model"]))
        self.averaged.load_state_dict(own_names(state["average"]))
        set_steps(self.average, state["step"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best_score = state["best_score"]
        self.plateau = Plateau(**state.get("plateau", {}))
        if "generator" in state:
            torch.set_rng_state(state["generator"].cpu())
        self.progress = Progress(
            steps=self.config.steps, minutes=self.config.minutes, step=state["step"], seconds=state["seconds"]
        )
        self._batches = None
        if self.processes.rank == 0:
            for name in ("log.csv", "validation.csv"):
                forget_rows_after(self.folder / name, self.progress.step)
        return True

    def save(self) -> None:
        """Write the whole state; the old one stays until the new one is whole."""
        if self.processes.rank != 0:
            return
        state = {
            "model": self.model.state_dict(),
            "average": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "best_score": self.best_score,
            "plateau": asdict(self.plateau),
            "generator": torch.get_rng_state(),
            "config": self.config.to_dict(),
        }
        write_atomically(self.checkpoint_path, state)

    def run(self, limit_seconds: float, *, after_step: Callable[[Terms], None] | None = None) -> None:
        """Train until the run is over, this session's time is up, or a signal asks to stop.

        after_step: told the terms of every step, for a progress bar.
        """
        session_ends = time.monotonic() + limit_seconds
        last_validation = last_checkpoint = time.monotonic()
        over = self.progress.share >= 1
        while not over:
            terms = self.train_step()
            if after_step:
                after_step(terms)
            now = time.monotonic()
            if self.progress.step % LOG_EVERY_STEPS == 0:
                self.log(terms)
            over = self.processes.any_says(self.progress.share >= 1 or now >= session_ends or self.stop_asked)
            if over or now - last_checkpoint > self.config.checkpoint_minutes * 60:
                self.save()
                last_checkpoint = now
            if self.processes.any_says(self._is_due(now - last_validation)) or over:
                is_last = self.processes.any_says(self.progress.share >= 1)  # clocks of processes differ by a little
                with self.progress.standing_still():
                    self.validate(quick=not is_last)
                last_validation = time.monotonic()
                self.save()  # the plateau and the best score have changed
        self._batches = None
        if self.processes.rank == 0:
            self.draw()

    def _is_due(self, seconds_since_validation: float) -> bool:
        if self.config.validate_steps:
            return self.progress.step % self.config.validate_steps == 0
        return seconds_since_validation > self.config.validate_minutes * 60

    def train_step(self) -> Terms:
        """Take one step of the optimiser; give the loss's parts and the gradient's norm."""
        config = self.config.optimiser
        share = learning_rate_share(self.progress.share, config) * self.plateau.share
        share = self.processes.first_says(share)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * share
        terms = self.gradients()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimiser.step()
        self.average.update_parameters(self.model)
        self.progress.step += 1
        return {
            **{name: float(value) for name, value in terms.items()},
            "gradient_norm": float(norm),
            "learning_rate": config.learning_rate * share,
        }

    def gradients(self) -> dict[str, Tensor]:
        """Leave the next step's gradient in the model, averaged over batches and processes; give the loss's parts."""
        accumulate = self.config.optimiser.accumulate
        train_mode(self.model, self.config.tuning)
        self.optimiser.zero_grad(set_to_none=True)
        if self._batches is None:
            self._batches = batches_from(
                self.source,
                self.progress.step * accumulate,
                workers=self.config.data.workers,
                pin_memory=self.device.type == "cuda",
            )
        for number in range(1, accumulate + 1):
            batch = next(self._batches).to(self.device)
            with self.processes.not_yet(self.forward) if number < accumulate else nullcontext():
                with self.mixed_precision():
                    logits, iou = self.forward(batch)
                terms = prompt_loss(logits, iou, batch.target, self.config.loss)
                (terms.total / accumulate).backward()  # type: ignore[no-untyped-call]
        parts = {"cross_entropy": terms.cross_entropy, "dice": terms.dice, "iou": terms.iou}
        return {"loss": terms.total.detach(), **{name: value.detach() for name, value in parts.items()}}

    def mixed_precision(self) -> AbstractContextManager[Any]:
        """Give the context in which the network runs."""
        if self.config.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def validate(self, *, quick: bool) -> None:
        """Score the averaged weights on process 0; keep them as best.pt when no earlier ones scored higher.

        Weights are compared by the prompts of quick validations, also after one of all prompts: those are harder or
        easier by chance.
        """
        if self.processes.rank == 0:
            with self.processes.threads_of_all():
                self._validate(quick=quick)
        self.processes.wait()

    def _validate(self, *, quick: bool) -> None:
        answer = engine_answer(NetworkEngine(self.averaged))
        row: dict[str, Any] = {
            "step": self.progress.step,
            "minutes": round(self.progress.seconds / 60, 2),
        }
        judged: list[float] = []
        for split, prompts in self.prompts.items():
            asked = prompts[:: self.compared_every] if quick else prompts
            prefix = "" if split == "val" else f"{split}_"
            for kind, scores in score_kinds(asked, answer).items():
                compared = modality_means(scores if quick else scores[:: self.compared_every])["mean"]
                judged.append(JUDGED_WEIGHTS[kind] * compared[0])
                for modality, (dsc, nsd) in modality_means(scores).items():
                    row[f"{prefix}{kind}_{modality}_dsc"] = round(dsc, 4)
                    row[f"{prefix}{kind}_{modality}_nsd"] = round(nsd, 4)
                logger.info(
                    "step %d: %s %s DSC %.4f NSD %.4f",
                    self.progress.step,
                    split,
                    kind,
                    *(row[f"{prefix}{kind}_mean_{metric}"] for metric in ("dsc", "nsd")),
                )
        append_row(self.folder / "validation.csv", row)
        score = sum(judged) / len(self.prompts)
        self.plateau = self.plateau.after(score, self.config.optimiser)
        if score > self.best_score:
            self.best_score = score
            write_atomically(self.folder / "best.pt", self.shipped(row))

    def shipped(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Give what best.pt holds: the averaged weights in half precision, without additions, and their spec."""
        weights = halved(merged_state(self.averaged))
        return {"model": weights, "spec": self.config.model.to_dict(), "validation": dict(row)}

    def log(self, terms: Terms) -> None:
        """Add a line to the run's CSV, and to the terminal."""
        if self.processes.rank != 0:
            return
        batches = self.progress.step * self.config.optimiser.accumulate * self.processes.count
        row = {
            "step": self.progress.step,
            "minutes": round(self.progress.seconds / 60, 2),
            "images": batches * self.config.data.images_per_batch,
            **{name: round(value, 6) for name, value in terms.items()},
        }
        append_row(self.folder / "log.csv", row)
        logger.info("%s", " ".join(f"{name}={value}" for name, value in row.items()))

    def draw(self) -> None:
        """Draw the curves and a page of answers."""
        write_curves(self.folder)
        answer = engine_answer(NetworkEngine(self.averaged))
        write_overlays(self.folder / "overlays.png", self.prompts["val"], answer)


def _found_by_teacher(config: RunConfig, store: PackedStore, folder: Path | None) -> Found | None:
    """Read what a teacher found, where the config draws any of it.

    Raises:
        ConfigError: the config wants it, and no folder is given, or the other way round.
        PseudoError: the folder is not of this store.
    """
    wanted = [name for name in ("pseudo", "soft") if getattr(config.data, name)]
    if folder is None and wanted:
        raise ConfigError(f"data.{wanted[0]} is not 0: give the folder of `train.pseudo` with --pseudo.")
    if folder is not None and not wanted:
        raise ConfigError("--pseudo: data.pseudo and data.soft are 0, so that nothing would be drawn; set one.")
    return read_found(folder, store) if folder is not None else None


def judging_splits(store: PackedStore) -> list[str]:
    """Give the splits that weights are chosen by: "val", and every other one that is not trained on."""
    return ["val", *sorted({entry.split for entry in store.entries} - {"train", "val"})]


class PromptedForward(nn.Module):
    """A network as training runs it, from a batch to what the loss compares; it has no weights of its own."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Encode every image once and decode all prompts: logits (B * K, g, g) and IoU (B * K,)."""
        embedding = self.network.encode(batch.canvas)
        prompts_per_image = batch.target.shape[0] // batch.canvas.shape[0]
        repeated = embedding.repeat_interleave(prompts_per_image, dim=0)
        return self.network.decode(repeated, **batch.inputs)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Keep weight decay away from norms, biases and single numbers, which it only disturbs."""
    decayed = [each for each in model.parameters() if each.requires_grad and each.ndim > 1]
    others = [each for each in model.parameters() if each.requires_grad and each.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
