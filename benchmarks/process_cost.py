"""Runs a command in a process of its own, and tells what it took: seconds, CPU seconds, peak memory.

    python -m benchmarks.process_cost COMMAND ...

runs one and prints its cost as JSON. `process_cost` does so through this command, which imports next to nothing: Linux
counts for a program also the peak of the one that started it, so that a benchmark that holds much itself would find as
much in every process that it starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter

from benchmarks import ROOT
from graysam.errors import GraySamError


class ProcessError(GraySamError):
    """A measured process failed."""


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        seconds: from its start to its end.
        cpu_seconds: of all its threads and children.
        mebibytes: at most at once.
    """

    seconds: float
    cpu_seconds: float
    mebibytes: float


def process_cost(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command in the repository's root to its end; its output is not shown.

    Raises:
        ProcessError: it ended with a status other than 0; with what it wrote to stderr.
    """
    between = [sys.executable, "-m", "benchmarks.process_cost", *command]
    done = subprocess.run(between, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise ProcessError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()}")
    return Cost(**json.loads(done.stdout))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and print its cost; exit status: the command's."""
    command = list(sys.argv[1:] if argv is None else argv)
    start = perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    cost = Cost(perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    process.returncode = os.waitstatus_to_exitcode(status)
    print(json.dumps(asdict(cost)))
    return process.returncode if process.returncode >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
