"""A process that dies takes one job with it."""

import os
import signal

import pytest

from data_prep.parallel import run_jobs


def halve(number: int) -> float:
    """Importable by a fresh process; 13 ends it as a crash in a decoder does."""
    if number == 13:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number / 2


def crashed(number: int, reason: str) -> str:
    return f"{number} {reason}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_is_told_of_its_job_and_the_others_go_on_in_order(workers):
    jobs = [1, 2, 13, 3, 4]
    results = dict(run_jobs(halve, jobs, workers=workers, what="halved", crashed=crashed))
    assert list(results) == jobs
    assert "crashed" in results.pop(13)
    assert results == {1: 0.5, 2: 1.0, 3: 1.5, 4: 2.0}


def test_no_workers_run_in_this_process():
    assert list(run_jobs(os.path.join, [], workers=0, what="x", crashed=crashed)) == []
    ((_, pid),) = run_jobs(lambda _: os.getpid(), [0], workers=0, what="x", crashed=crashed)
    assert pid == os.getpid()
