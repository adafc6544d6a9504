"""Run one function over many jobs in processes of their own, with progress on stderr.

A library that crashes on a damaged file ends its process and nothing else: the job is named, the others go on.
Progress is shown as `graysam.console` does it everywhere.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from graysam.console import tracked
from graysam.isolation import CRASHED

Job = TypeVar("Job")
Result = TypeVar("Result")

# Jobs handed out per process beyond the one at work: enough that none waits, few enough that a crash costs little.
JOBS_AHEAD = 2


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    what: str,
    crashed: Callable[[Job, str], Result],
) -> Iterator[tuple[Job, Result]]:
    """Yield (job, result) in the order of the jobs.

    Args:
        function: importable, and should not raise.
        jobs: what it is called with, one by one.
        workers: processes; 0 runs in this process, which is quicker for a handful of jobs, and easier to debug and to
            test, but a crash ends it.
        what: one word for the progress line.
        crashed: gives the result of a job whose process died, from the job and the reason.
    """
    if workers <= 0:
        results: Iterable[Result] = map(function, jobs)
    else:
        results = _results(function, jobs, max(1, min(workers, len(jobs))), crashed)
    yield from zip(jobs, tracked(results, total=len(jobs), what=what), strict=True)


def _results(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, crashed: Callable[[Job, str], Result]
) -> Iterator[Result]:
    """Yield the results in order; after a crash, the jobs that were under way run again, one by one."""
    done: dict[int, Result] = {}
    place = 0
    while place < len(jobs):
        under_way: deque[tuple[int, Future[Result]]] = deque()
        following = iter([index for index in range(place, len(jobs)) if index not in done])
        try:
            with _pool(workers) as pool:
                while place < len(jobs):
                    while len(under_way) < workers * (1 + JOBS_AHEAD):
                        index = next(following, None)
                        if index is None:
                            break
                        under_way.append((index, pool.submit(function, jobs[index])))
                    if place in done:
                        yield done.pop(place)
                    else:
                        yield under_way[0][1].result()
                        under_way.popleft()
                    place += 1
        except BrokenProcessPool:
            if not under_way:  # processes that do not even start are no job's fault
                raise
            done |= _one_by_one(function, jobs, under_way, crashed)


def _one_by_one(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    under_way: Iterable[tuple[int, Future[Result]]],
    crashed: Callable[[Job, str], Result],
) -> dict[int, Result]:
    """Give the results of jobs of which one ended its process: those that are there, the others each in its own."""
    done = {}
    for index, future in under_way:
        if future.done() and not future.cancelled() and future.exception() is None:
            done[index] = future.result()
            continue
        try:
            with _pool(1) as pool:
                done[index] = pool.submit(function, jobs[index]).result()
        except BrokenProcessPool:
            done[index] = crashed(jobs[index], CRASHED)
    return done


def _pool(workers: int) -> ProcessPoolExecutor:
    # Fresh processes: a fork of one whose OpenCV has threads waits for threads that it does not have.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_prepare_worker)


def _prepare_worker() -> None:
    """Keep the libraries to one thread each: the processes already fill the cores."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # SimpleITK is imported by the first file that needs it
    import cv2

    cv2.setNumThreads(1)
