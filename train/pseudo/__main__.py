"""Ask a teacher for objects that nobody labelled: `python -m train.pseudo --teacher T --store S --out pseudo`.

It first measures how well the teacher agrees with the labels of each data set, and leaves out those where it does not.
Stopped by --minutes, Ctrl-C or SIGTERM, it writes what it has, and goes on when the same command is given again; a kill
costs the last hundred slices at most. What there is can be used at any time: slices of all modalities come in turn.
Then `python -m train.run --pseudo OUT` with `pseudo` in the config's [data] trains on it.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from graysam.api import Segmenter
from graysam.console import run_command
from graysam.engines.protocol import Engine
from graysam.engines.select import TORCH_FILE, checkpoint_of
from graysam.store import open_store
from train.pseudo.keep import Rules
from train.pseudo.maker import Plan, PseudoMaker
from train.pseudo.pages import write_page
from train.pseudo.shards import PseudoError, read_shards

logger = logging.getLogger("train")


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    plan, rules = Plan(), Rules()
    parser = argparse.ArgumentParser(
        prog="python -m train.pseudo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, required=True, help="a model folder or a checkpoint")
    parser.add_argument("--store", type=Path, required=True, help="packed store; only its split train is looked at")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is found; what is in it goes on")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="leave off after this long")
    parser.add_argument("--boxes", type=int, default=plan.boxes, help="prompts on each slice (default: %(default)s)")
    parser.add_argument(
        "--trust",
        type=float,
        default=plan.trust,
        help="leave out data sets with whose labels the teacher agrees less, in mean DSC (default: %(default)s)",
    )
    parser.add_argument(
        "--trust-slices", type=int, default=plan.trust_slices, help="slices of a data set that decide (%(default)s)"
    )
    parser.add_argument(
        "--soft",
        type=int,
        default=plan.soft,
        metavar="N",
        help="also keep the teacher's probabilities for N labelled objects of each slice (default: %(default)s)",
    )
    parser.add_argument("--predicted-iou", type=float, default=rules.predicted_iou, help="least one (%(default)s)")
    parser.add_argument("--stability", type=float, default=rules.stability, help="least one (%(default)s)")
    parser.add_argument(
        "--same-answer",
        type=float,
        default=rules.same_answer,
        help="least IoU of the answer to the mask's own box (%(default)s)",
    )
    parser.add_argument("--pictures", type=int, default=0, metavar="N", help="draw N slices to OUT/pseudo.png")
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--engine", default="auto", choices=("auto", "openvino", "torch"))
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "int8"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu", help="a GPU's name runs the teacher there with torch, in fp32")
    return parser.parse_args(argv)


def plan_of(options: argparse.Namespace) -> Plan:
    """Give what the command line asks for.

    Raises:
        PseudoError: a number that cannot be meant.
    """
    if options.boxes < 1 or options.trust_slices < 1 or options.soft < 0:
        raise PseudoError("--boxes and --trust-slices: wanted at least 1, --soft at least 0.")
    rules = Rules(predicted_iou=options.predicted_iou, stability=options.stability, same_answer=options.same_answer)
    return Plan(options.boxes, options.trust_slices, options.trust, options.soft, options.seed, rules)


def load_teacher(options: argparse.Namespace) -> Engine:
    """Load the teacher behind the Engine protocol."""
    if options.device == "cpu":
        return Segmenter.load(options.teacher, options.engine, options.precision, options.threads).engine
    from graysam.models.checkpoint import load_model
    from train.engine import NetworkEngine

    return NetworkEngine(load_model(checkpoint_of(options.teacher)).to(options.device))


def teacher_hash(teacher: Path) -> str:
    """Give the SHA-256 of a teacher's weights, whichever engine runs them.

    Raises:
        PseudoError: there are none.
    """
    path = checkpoint_of(teacher)
    if not path.is_file():
        raise PseudoError(f"--teacher {teacher}: wanted a checkpoint, or a model folder with {TORCH_FILE}.")
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Stop:
    """Whether it is time to leave off: after some minutes, or once a signal came."""

    def __init__(self, minutes: float) -> None:
        self._ends = time.monotonic() + 60 * minutes
        self._is_asked = False

    def __call__(self) -> bool:
        """Tell whether to leave off."""
        return self._is_asked or time.monotonic() >= self._ends

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self._is_asked = True

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM ask for the stop, within the block."""
        before = {number: signal.signal(number, self.ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make(options: argparse.Namespace) -> None:
    """Do the work of the command."""
    stop = Stop(options.minutes)
    plan, digest = plan_of(options), teacher_hash(options.teacher)
    store = open_store(options.store)
    maker = PseudoMaker(load_teacher(options), store, options.out, plan, teacher_hash=digest, is_stopped=stop)
    with stop.by_signals():
        is_done = maker.run()
    report = maker.write_report()
    for name, dsc in report["left_out_below_trust"].items():
        logger.info("left out: %s, where the teacher agrees with the labels by %.2f", name, dsc)
    logger.info(
        "%d objects on %d of %d slices, %d ms a slice%s",
        report["objects"],
        report["slices_visited"],
        report["slices_to_visit"],
        report["ms_a_slice"],
        "" if is_done else "; the same command goes on",
    )
    if options.pictures:
        path = options.out / "pseudo.png"
        drawn = write_page(path, maker.slices, read_shards(options.out), options.pictures)
        logger.info(f"drew {drawn} slices to {path}" if drawn else "no slice has an object: nothing to draw")


def main(argv: Sequence[str] | None = None) -> int:
    """Ask until all is asked or it is time to stop; exit status 0 in both cases."""
    options = parse_options(argv)
    return run_command(lambda: make(options), with_time=True)


if __name__ == "__main__":
    raise SystemExit(main())
