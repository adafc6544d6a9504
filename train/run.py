"""Train a model: `python -m train.run --config train/configs/graysam.toml --store S --out runs/x`.

With several processes: `torchrun --nproc-per-node 2 -m train.run ...`. On a CPU two processes of one thread each see
almost twice the images of one process with two threads. A run that was stopped, by its limit, by a signal or by a
power cut, goes on where its last checkpoint was when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import torch
from torch import distributed
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from graysam.store import open_store
from train.config import read_config
from train.initial import mean_weights
from train.run_folder import write_provenance
from train.trainer import Terms, Trainer


def train(trainer: Trainer, session_seconds: float) -> None:
    """Run a trainer, with a bar where somebody watches, and ready to be stopped by a signal."""

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        trainer.stop_asked = True

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    hidden = not sys.stderr.isatty() or trainer.processes.rank != 0
    with tqdm(total=100.0, unit="%", disable=hidden, bar_format=BAR) as bar, logging_redirect_tqdm():

        def show(terms: Terms) -> None:
            bar.n = 100 * trainer.progress.share
            bar.set_postfix(step=trainer.progress.step, loss=f"{terms['loss']:.3f}")

        trainer.run(session_seconds, after_step=show)


BAR = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"


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
        "--init", type=Path, nargs="+", metavar="FILE", help="weights to start a fresh run from; of several, their mean"
    )
    parser.add_argument("--validate-minutes", type=float, help="pause between validations")
    parser.add_argument("--validate-prompts", type=int, help="prompts of each modality in a whole validation")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run or go on with a training; exit status 0 when the session ended as planned."""
    started = time.monotonic()
    options = parse_options(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if options.threads:
        torch.set_num_threads(options.threads)
    if "RANK" in os.environ:
        distributed.init_process_group("nccl" if options.device == "cuda" else "gloo")
    config = read_config(
        options.config,
        minutes=options.minutes,
        steps=options.steps,
        seed=options.seed,
        validate_minutes=options.validate_minutes,
        validate_prompts=options.validate_prompts,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    initial = mean_weights(options.init) if options.init else None
    device = torch.device(options.device)
    trainer = Trainer(config, open_store(options.store), options.out, device, initial=initial)
    trainer.resume()
    if trainer.processes.rank == 0:
        write_provenance(options.out, config, options.store)
    reading = time.monotonic() - started if options.deadline else 0.0
    train(trainer, options.session_minutes * 60 - reading)
    if distributed.is_initialized():
        distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
