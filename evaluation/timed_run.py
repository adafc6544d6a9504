"""Owns one timed run: starts a command, kills it at a limit, and tells its seconds, exit code and peak memory.

Memory is the greater of two numbers, polled from /proc every 50 ms over the process tree (of a container: the
tree below its first process): the sum of the resident sets, and the greatest high-water mark of a single
process. Pages that processes share count once for each. For a command the kernel's own account (rusage of the
children) joins the maximum where it exceeds this program's own size: a child starts as a copy of its parent,
and the kernel counts that copy. Where the container's processes are not visible from here (Docker in a virtual
machine), ``docker stats`` is asked instead, about once a second. The column memory_source says which.

/proc is read by hand, not through psutil, for two reasons. psutil finds children by looking through all processes of
the machine: one poll took 4.5 ms of processor time among 126 processes against 1 ms here, that is 9 % of a core at a
poll every 50 ms, on a machine that is being timed, and more on a busier one. And it does not give the high-water mark
(VmHWM), without which a peak between two polls is lost. The control group of a container's process is read by hand too:
all that is wanted is whether the container's name stands in the file.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

POLL_S = 0.05
# How often a container is looked for: each time costs a docker client, on the machine that is being timed.
FIND_S = 0.25
MIB = 1024.0 * 1024.0
RUN_TOKEN = "GRAYSAM_TIMED_RUN"  # environment variable by which a run's processes are known again


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
