"""Owns the timing loop: runs an image or a command on one case at a time, as the challenge's official loop does.

The official loop (LiteMedSAM, ``CVPR24_time_eval.py``) copies one case into ``inputs/``, starts the team's
container and takes the wall-clock time around it, so that container start, imports and model load all count.
The two folders are open to every user and are not emptied of what a team leaves there (compile caches survive
to the next case).

What is added: a limit for each case, the peak memory, and an account of failures. A case whose run ends with
an error, does not end within the limit, or leaves no prediction costs its team the limit as its time; what it
may have written is put aside in ``rejected/``, so that the scorer finds no prediction, which is the worst
score. Its log stays, and the loop goes on.

How memory is measured stands in `evaluation.timed_run`.
"""

from __future__ import annotations

import argparse
import csv
import logging
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation.timed_run import Outcome, run_limited
from graysam.console import progress, run_command
from graysam.errors import CaseError, ScoreError
from graysam.formats.npz import find_cases

logger = logging.getLogger(__name__)

# The official script has no limit; FLARE22, by the same organisers, counts a failed case as 3600 s.
DEFAULT_LIMIT_S = 3600.0
COLUMNS = (
    "case",
    "seconds",
    "peak_memory_mib",
    "status",
    "wall_seconds",
    "exit_code",
    "memory_source",
    "log",
)

Status = Literal["ok", "failed", "timeout", "no_output"]


@dataclass(frozen=True)
class CaseRuntime:
    """One row of the CSV."""

    case: str
    status: Status
    seconds: float
    """The time that counts: as measured for "ok", else the limit."""
    outcome: Outcome
    log: Path

    def as_row(self) -> dict[str, str | int]:
        """Give the columns of the CSV as text."""
        memory, code = self.outcome.peak_memory_mib, self.outcome.exit_code
        return {
            "case": self.case,
            "seconds": f"{self.seconds:.3f}",
            "peak_memory_mib": "" if memory is None else f"{memory:.1f}",
            "status": self.status,
            "wall_seconds": f"{self.outcome.seconds:.3f}",
            "exit_code": "" if code is None else code,
            "memory_source": self.outcome.memory_source,
            "log": self.log.as_posix(),
        }


@dataclass(frozen=True)
class Contestant:
    """What is run: an image as the judges run it, or a command."""

    image: str | None = None
    """Team name: NAME:latest is run in a container NAME; made lower case, as the official loop does."""
    command: str | None = None
    """Split as a shell would, without a shell; {inputs} and {outputs} stand for the two folders."""
    memory: str = "8G"
    """Docker's limit for the container; a command has none."""
    docker: str = "docker"

    def __post_init__(self) -> None:
        """Raise ValueError unless exactly one of image and command is given, and the command can be put together."""
        if (self.image is None) == (self.command is None):
            raise ValueError("wanted either an image or a command")
        if self.command is not None:
            try:
                parts = self.argv(Path("inputs"), Path("outputs"))
            except (ValueError, LookupError) as error:  # a quotation mark that is not closed; {something else}
                raise ValueError(
                    f"--command {self.command!r} cannot be understood ({error}); {{inputs}} and {{outputs}} stand for "
                    "the two folders, other braces are doubled."
                ) from error
            if not parts:
                raise ValueError("--command is empty")

    @property
    def container(self) -> str | None:
        """Give the container's name, None for a command."""
        return None if self.image is None else self.image.lower().removesuffix(":latest")

    def argv(self, inputs: Path, outputs: Path) -> list[str]:
        """Give the arguments of one run; for an image the official command line, word for word."""
        if self.command is not None:
            return [part.format(inputs=inputs, outputs=outputs) for part in shlex.split(self.command)]
        name = self.container
        return [
            self.docker, "container", "run", "-m", self.memory, "--name", f"{name}", "--rm",
            "-v", f"{inputs}/:/workspace/inputs/", "-v", f"{outputs}/:/workspace/outputs/",
            f"{name}:latest", "/bin/bash", "-c", "sh predict.sh",
        ]  # fmt: skip


def time_cases(
    cases: Sequence[Path], contestant: Contestant, *, out: Path, limit_s: float, accept_failed: bool = False
) -> Iterator[CaseRuntime]:
    """Run the contestant on each case and yield the result as it comes.

    out: gets segs/ (predictions), rejected/ (what failing runs wrote), logs/ (one for each case) and work/
      (the two folders that the contestant sees; removed at the end).
    accept_failed: count a run that ended with an error but left a prediction as "ok", as the official loop
      does, which looks at no exit status.
    """
    folders = {name: (out / name).resolve() for name in ("segs", "rejected", "logs")}
    inputs, outputs = (out / "work" / "inputs").resolve(), (out / "work" / "outputs").resolve()
    for folder in (*folders.values(), inputs, outputs):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (inputs, outputs):
        folder.chmod(0o777)  # as the official loop: the image may run as any user
    for case in cases:
        (folders["segs"] / case.name).unlink(missing_ok=True)
        (outputs / case.name).unlink(missing_ok=True)
        shutil.copyfile(case, inputs / case.name)
        log = folders["logs"] / f"{case.name}.log"
        outcome = run_limited(
            contestant.argv(inputs, outputs), log=log, limit_s=limit_s,
            container=contestant.container, docker=contestant.docker,
        )  # fmt: skip
        (inputs / case.name).unlink(missing_ok=True)
        produced = outputs / case.name
        status = judge(outcome, wrote=produced.is_file(), accept_failed=accept_failed)
        if produced.is_file():
            shutil.move(produced, folders["segs" if status == "ok" else "rejected"] / case.name)
        seconds = outcome.seconds if status == "ok" else limit_s
        yield CaseRuntime(case.name, status, seconds, outcome, log.relative_to(out.resolve()))
    shutil.rmtree(out / "work", ignore_errors=True)


def judge(outcome: Outcome, *, wrote: bool, accept_failed: bool) -> Status:
    """Decide what a run was worth."""
    if outcome.exit_code is None:
        return "timeout"
    if outcome.exit_code != 0 and not (accept_failed and wrote):
        return "failed"
    return "ok" if wrote else "no_output"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0: every case was answered, 1: some were not, 2: nothing could be run."""
    options = _parse(argv)
    return run_command(lambda: time_folder(options))


def time_folder(options: argparse.Namespace) -> int:
    """Run the contestant on every case of a folder, write runtime.csv, and give the exit status.

    Raises:
        CaseError: the folder cannot be listed, or has no case.
        ScoreError: the contestant's command is no command.
    """
    try:
        contestant = Contestant(
            image=options.image, command=options.command, memory=options.memory, docker=options.docker
        )
    except ValueError as error:
        raise ScoreError(str(error)) from error
    cases = find_cases(options.inputs)
    if not cases:
        raise CaseError(f"{options.inputs}: no .npz case to run.")
    options.out.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    # The lines below say how far the loop is; the bar moves between runs only, and costs them nothing.
    with (
        (options.out / "runtime.csv").open("w", newline="", encoding="utf-8") as stream,
        progress(len(cases), what="time", seconds_between_lines=None) as shown,
    ):
        writer = csv.DictWriter(stream, fieldnames=COLUMNS)
        writer.writeheader()
        for row in time_cases(
            cases, contestant, out=options.out, limit_s=options.limit, accept_failed=options.accept_failed
        ):
            writer.writerow(row.as_row())
            stream.flush()  # a loop that is interrupted after hours keeps its rows
            counts[row.status] = counts.get(row.status, 0) + 1
            memory = row.outcome.peak_memory_mib
            used = "memory unknown" if memory is None else f"{memory:.0f} MiB"
            logger.info("%s: %s, %.2f s, %s", row.case, row.status, row.outcome.seconds, used)
            shown.advance(row.case)
    logger.info("%s; see %s", ", ".join(f"{n} {s}" for s, n in sorted(counts.items())), options.out / "runtime.csv")
    return 0 if set(counts) == {"ok"} else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.runtime",
        description=("Time an image or a command on one case at a time, as the challenge's official loop does."),
        epilog=(
            "OUT/segs then goes to evaluation.score and OUT/runtime.csv to evaluation.rank. In the CSV, a "
            "case that failed "
            "has the limit as its seconds, and its measured time in wall_seconds."
        ),
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--image",
        metavar="NAME",
        help="run NAME:latest as the judges do: docker container run ... sh predict.sh",
    )
    what.add_argument(
        "--command",
        metavar="TEXT",
        help="run this instead; {inputs} and {outputs} are replaced by the folders of the one case",
    )
    parser.add_argument("--inputs", type=Path, required=True, metavar="DIR", help="folder of .npz cases")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for runtime.csv, segs/, logs/ and rejected/",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=DEFAULT_LIMIT_S,
        metavar="SECONDS",
        help="for each case, and the time that a failed case costs (default: %(default)g)",
    )
    parser.add_argument("--memory", default="8G", help="the container's memory limit (default: %(default)s)")
    parser.add_argument(
        "--docker", default="docker", metavar="PROGRAM", help="docker, or a program that takes its arguments"
    )
    parser.add_argument(
        "--accept-failed",
        default=False,
        action=argparse.BooleanOptionalAction,
        help=("like the official loop, take a prediction even if the run ended with an error"),
    )
    options = parser.parse_args(argv)
    if not options.limit > 0:
        parser.error(f"wanted a --limit above 0, got {options.limit}")
    return options


if __name__ == "__main__":
    sys.exit(main())
