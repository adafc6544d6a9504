"""Trains a model from a config and a packed store into a run folder, whose best.pt `graysam.export` takes.

    python -m train.run --config train/configs/graysam.toml --store S --out runs/x

With several processes: `torchrun --nproc-per-node 2 -m train.run ...`. On a CPU two processes of one thread each see
almost twice the images of one process with two threads. A run that was stopped, by its limit, by a signal or by a
power cut, goes on where its last checkpoint was when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

import torch
from torch import distributed

from graysam.console import progress, run_command
from graysam.store import open_store
from train.config import RunConfig, read_config, warn_of_slow_precision
from train.initial import mean_weights
from train.run_folder import only_one, write_provenance
from train.trainer import Terms, Trainer
from train.tuning import moved_parameters

logger = logging.getLogger("train")


def train(trainer: Trainer, session_seconds: float) -> None:
    """Run a trainer, with a bar where somebody watches, and ready to be stopped by a signal."""

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        trainer.stop_asked = True

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    # A bar on a terminal; elsewhere the trainer's own log lines are enough.
    with progress(100.0, what="train", unit="%", seconds_between_lines=None, hidden=trainer.processes.rank != 0) as bar:

        def show(terms: Terms) -> None:
            bar.reach(100 * trainer.progress.share, f"step {trainer.progress.step}, loss {terms['loss']:.3f}")

        trainer.run(session_seconds, after_step=show)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="TOML file, see train/configs")
    parser.add_argument("--store", type=Path, required=True, help="packed store, see python -m data_prep pack")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an unfinished run in it goes on")
    parser.add_argument("--minutes", type=float, help="length of the whole run, over all sessions")
    parser.add_argument("--steps", type=int, help="length of the whole run in steps")
    parser.add_argument("--session-minutes", type=float, default=float("inf"), help="leave off after this long")
    parser.add_argument(
        "--deadline",
        action="store_true",
        help="count the session's minutes from the start of the command, reading included",
    )
    parser.add_argument(
        "--init",
        type=Path,
        nargs="+",
        metavar="WEIGHTS",
        help="checkpoints or model folders to start a fresh run from; of several, their mean",
    )
    parser.add_argument(
        "--pseudo", type=Path, help="folder of train.pseudo, for the share that the config's [data] says"
    )
    parser.add_argument("--validate-minutes", type=float, help="pause between validations")
    parser.add_argument("--validate-prompts", type=int, help="prompts of each modality in a whole validation")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="instead of the config's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run or go on with a training; exit status 0 when the session ended as planned, 2 for what a user can mend."""
    started = time.monotonic()
    options = parse_options(argv)
    return run_command(lambda: run(options, started), with_time=True)


def train_in(options: argparse.Namespace, config: RunConfig, started: float) -> None:
    """Train in a folder that is ours; options and clock as for `run`."""
    store = open_store(options.store)
    initial = mean_weights(options.init) if options.init else None
    device = torch.device(options.device)
    trainer = Trainer(config, store, options.out, device, initial=initial, pseudo=options.pseudo)
    trainer.resume()
    logger.info("%d of %d parameters are trained", *moved_parameters(trainer.model))
    if trainer.processes.rank == 0:
        write_provenance(options.out, config, options.store)
    reading = time.monotonic() - started if options.deadline else 0.0
    train(trainer, options.session_minutes * 60 - reading)


def run(options: argparse.Namespace, started: float) -> None:
    """Read what the options name, and train for one session.

    started: the monotonic clock at the start of the command, for `--deadline`.
    """
    config = read_config(
        options.config,
        minutes=options.minutes,
        steps=options.steps,
        seed=options.seed,
        validate_minutes=options.validate_minutes,
        validate_prompts=options.validate_prompts,
        precision=options.precision,
    )
    warn_of_slow_precision(config, options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    if "RANK" in os.environ:
        distributed.init_process_group("nccl" if options.device == "cuda" else "gloo")
    try:
        writes = int(os.environ.get("RANK", "0")) == 0
        with only_one(options.out) if writes else nullcontext():
            train_in(options, config, started)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


if __name__ == "__main__":
    raise SystemExit(main())
