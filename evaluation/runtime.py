"""Times an image or a command on one case at a time, as the challenge's official loop does.

The official loop (LiteMedSAM, ``CVPR24_time_eval.py``) copies one case into ``inputs/``, starts the team's
container and takes the wall-clock time around it, so that container start, imports and model load all count.
The two folders are open to every user and are not emptied of what a team leaves there (compile caches survive
to the next case).

What is added: a limit for each case, the peak memory, and an account of failures. A case whose run ends with
an error, does not end within the limit, or leaves no prediction costs its team the limit as its time; what it
may have written is put aside in ``rejected/``, so that the scorer finds no prediction, which is the worst
score. Its log stays, and the loop goes on.

Memory is the greater of two numbers, polled from /proc every 50 ms over the process tree (of a container: the
tree below its first process): the sum of the resident sets, and the greatest high-water mark of a single
process. Pages that processes share count once for each. For a command the kernel's own account (rusage of the
children) joins the maximum where it exceeds this program's own size: a child starts as a copy of its parent,
and the kernel counts that copy. Where the container's processes are not visible from here (Docker in a virtual
machine), ``docker stats`` is asked instead, about once a second. The column memory_source says which.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import logging
import os
import resource
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from graysam.errors import CaseError, GraySamError
from graysam.formats.npz import find_cases

logger = logging.getLogger(__name__)

# The official script has no limit; FLARE22, by the same organisers, counts a failed case as 3600 s.
DEFAULT_LIMIT_S = 3600.0
POLL_S = 0.05
# How often a container is looked for: each time costs a docker client, on the machine that is being timed.
FIND_S = 0.25
MIB = 1024.0 * 1024.0
RUN_TOKEN = "GRAYSAM_TIMED_RUN"  # environment variable by which a run's processes are known again
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
class Outcome:
    """What one process did."""

    seconds: float
    """Wall clock from before its start to its end."""
    exit_code: int | None
    """None when it was killed at the limit; negative for a signal, as subprocess has it."""
    peak_memory_mib: float | None
    """None where it could not be measured."""
    memory_source: str


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


# --- memory of a process tree
# -------------------------------------------------------------------------------------


def process_tree(root: int) -> list[int]:
    """Give the process and all its descendants, [] when it is gone or there is no /proc."""
    found, pending = [], [root] if Path(f"/proc/{root}").exists() else []
    while pending:
        process = pending.pop()
        found.append(process)
        # The kernel lists a process's children by the thread that started them. Looking through all of /proc
        # for parents would do as well, but costs milliseconds each time, on a machine that is being timed.
        for listing in Path(f"/proc/{process}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                pending += [int(child) for child in listing.read_text().split()]
    return found


def resident_bytes(process: int) -> tuple[int, int]:
    """Give (resident now, greatest resident so far) of a process in bytes; zeros when it is gone."""
    fields = {"VmRSS:": 0, "VmHWM:": 0}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            name, _, rest = line.partition("\t")
            if name in fields:
                fields[name] = int(rest.split()[0]) * 1024
    return fields["VmRSS:"], fields["VmHWM:"]


class MemoryWatch:
    """Polls the memory of a process tree in a thread until told to stop."""

    def __init__(
        self, find_root: Callable[[], int | None], ask_instead: Callable[[], float | None] | None = None
    ) -> None:
        """Watch below the process that ``find_root`` gives (None: not there yet).

        ask_instead: gives the bytes in use where ``find_root`` raises LookupError, because /proc cannot tell.
        """
        self._find_root, self._ask_instead = find_root, ask_instead
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self.peak_bytes = 0.0
        self.source = "processes"

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        root: int | None = None
        while not self._stop.is_set():
            try:
                root = self._find_root() if root is None else root
                if root is not None:
                    self._look_at(root)
            except LookupError:
                self.source = "docker stats"
                self.peak_bytes = max(self.peak_bytes, (self._ask_instead() if self._ask_instead else None) or 0.0)
            self._stop.wait(POLL_S if root is not None else FIND_S)

    def _look_at(self, root: int) -> None:
        sizes = [resident_bytes(process) for process in process_tree(root)]
        if sizes:
            self.peak_bytes = max(self.peak_bytes, sum(now for now, _ in sizes), max(peak for _, peak in sizes))


# --- one run
# ------------------------------------------------------------------------------------------------------


def run_limited(
    argv: Sequence[str],
    *,
    log: Path,
    limit_s: float,
    cwd: Path | None = None,
    container: str | None = None,
    docker: str = "docker",
) -> Outcome:
    """Run a command to its end or its limit, its output in ``log``, and leave nothing of it running.

    container: the name that ``argv`` gives its container, whose memory is then measured, and which is removed
      at the limit.

    A command that cannot be started gives exit code 127, as a shell does, with the reason in the log.
    """
    token = secrets.token_hex(16)
    with log.open("wb") as stream:
        stream.write(f"$ {shlex.join(argv)}\n".encode())
        stream.flush()
        started = time.perf_counter()
        try:
            process = _start(argv, cwd=cwd, stream=stream, token=token)
        except OSError as error:
            stream.write(f"cannot be started: {error}\n".encode())
            return Outcome(time.perf_counter() - started, 127, None, "none")
        watch = _watch(process.pid, container=container, docker=docker)
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            if container is not None:
                _quiet(docker, "rm", "--force", container)
            _kill(process.pid, token)

        timer = threading.Timer(limit_s, stop)
        with watch:
            timer.start()
            try:
                # A blocking wait: Popen.wait with a timeout polls, and would add up to 50 ms to every time.
                _, state, usage = os.wait4(process.pid, 0)
                seconds = time.perf_counter() - started
            finally:
                timer.cancel()
        timer.join()
        process.returncode = os.waitstatus_to_exitcode(state)
        _kill(process.pid, token)
        if timed_out.is_set():
            stream.write(f"\nkilled at the limit of {limit_s:g} s\n".encode())
    peak = watch.peak_bytes
    if container is None and usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        peak = max(peak, usage.ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0))
    return Outcome(
        seconds=seconds,
        exit_code=None if timed_out.is_set() else process.returncode,
        peak_memory_mib=peak / MIB if peak else None,
        memory_source=watch.source if peak else "none",
    )


def _start(argv: Sequence[str], *, cwd: Path | None, stream: IO[bytes], token: str) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output in the stream, the run's token in its environment."""
    return subprocess.Popen(
        argv,
        cwd=cwd,
        env={**os.environ, RUN_TOKEN: token},
        stdin=subprocess.DEVNULL,
        stdout=stream,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _watch(process: int, *, container: str | None, docker: str) -> MemoryWatch:
    """Make the watch over a process, or over the container that it brings up."""
    if container is None:
        return MemoryWatch(lambda: process)
    return MemoryWatch(lambda: _container_process(docker, container), lambda: _stats_bytes(docker, container))


def _kill(leader: int, token: str) -> None:
    """Kill the session that a process leads, and whatever carries the run's token, wherever it has moved to.

    A child may leave the session (setsid) and its parents (double fork), but it inherits the environment.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{RUN_TOKEN}={token}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


def _quiet(*argv: str) -> str | None:
    """Run a short command; its output, or None when it fails or takes longer than a minute."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _container_process(docker: str, name: str) -> int | None:
    """Give the number of a container's first process, None while it has not started.

    Raises:
        LookupError: it runs, but not among the processes visible here.
    """
    identity, _, number = (_quiet(docker, "inspect", "--format", "{{.Id}} {{.State.Pid}}", name) or "").partition(" ")
    if not number.isdigit() or int(number) == 0:
        return None
    try:
        # A process of the same number that is not the container's belongs to another kernel than the
        # daemon's.
        ours = identity in Path(f"/proc/{number}/cgroup").read_text() + Path(f"/proc/{number}/mountinfo").read_text()
    except OSError:
        ours = False
    if not ours and _quiet(docker, "inspect", "--format", "{{.State.Running}}", name) == "true":
        raise LookupError(f"container {name}: process {number} is not visible here")
    return int(number) if ours else None


def _stats_bytes(docker: str, name: str) -> float | None:
    """Ask ``docker stats`` for the bytes in use now, None when the container is not there."""
    text = _quiet(docker, "stats", "--no-stream", "--format", "{{.MemUsage}}", name)
    return parse_memory((text or "").partition("/")[0].strip())


def parse_memory(text: str) -> float | None:
    """Turn Docker's "123.4MiB" into bytes; None for anything else.

    >>> parse_memory("1.5KiB")
    1536.0
    """
    units = {"B": 1.0, "KiB": 1024.0, "MiB": MIB, "GiB": 1024 * MIB, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    number = text.rstrip("BKMGikT")
    try:
        return float(number) * units[text[len(number) :]]
    except (KeyError, ValueError):
        return None


# --- the loop
# -----------------------------------------------------------------------------------------------------


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
        """Raise ValueError unless exactly one of image and command is given."""
        if (self.image is None) == (self.command is None):
            raise ValueError("wanted either an image or a command")

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
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    contestant = Contestant(image=options.image, command=options.command, memory=options.memory, docker=options.docker)
    try:
        cases = find_cases(options.inputs)
        if not cases:
            raise CaseError(f"{options.inputs}: no .npz case to run.")
    except GraySamError as error:
        logger.error("error: %s", error)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    with (options.out / "runtime.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=COLUMNS)
        writer.writeheader()
        for row in time_cases(
            cases, contestant, out=options.out, limit_s=options.limit, accept_failed=options.accept_failed
        ):
            writer.writerow(row.as_row())
            stream.flush()  # a loop that is interrupted after hours keeps its rows
            counts[row.status] = counts.get(row.status, 0) + 1
            memory = row.outcome.peak_memory_mib
            shown = "memory unknown" if memory is None else f"{memory:.0f} MiB"
            logger.info("%s: %s, %.2f s, %s", row.case, row.status, row.outcome.seconds, shown)
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
