"""Run one function over many jobs in several processes, with progress on stderr.

Progress is a tqdm bar on a terminal and a line every ten seconds elsewhere, so that a log stays readable.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
# Few enough that a worker is not left with a long tail of large volumes, many enough that sending jobs costs
# nothing.
JOBS_AT_ONCE = 8


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int, what: str
) -> Iterator[tuple[Job, Result]]:
    """Yield (job, result) in the order of the jobs; `function` must be importable and should not raise.

    workers: processes; 1 runs in this process, which is easier to debug and to test.
    what: one word for the progress line.
    """
    if workers <= 1 or len(jobs) <= 1:
        results: Iterable[Result] = map(function, jobs)
        yield from zip(jobs, _with_progress(results, len(jobs), what), strict=True)
        return
    # Fresh processes: a fork of one whose OpenCV has threads waits for threads that it does not have.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_prepare_worker) as pool:
        results = pool.map(function, jobs, chunksize=min(JOBS_AT_ONCE, -(-len(jobs) // workers)))
        yield from zip(jobs, _with_progress(results, len(jobs), what), strict=True)


def _prepare_worker() -> None:
    """Keep the libraries to one thread each: the processes already fill the cores."""
    import cv2
    import SimpleITK

    cv2.setNumThreads(1)
    sitk: Any = SimpleITK  # it ships with next to no types
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _with_progress(results: Iterable[Result], total: int, what: str) -> Iterator[Result]:
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            yield from tqdm(results, total=total, desc=what, unit="case")
            return
    start = last_line = time.monotonic()
    for done, result in enumerate(results, 1):
        yield result
        now = time.monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES:
            last_line = now
            logger.info("%s: %d of %d, %.0f s", what, done, total, now - start)
