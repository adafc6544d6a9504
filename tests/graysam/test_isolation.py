"""Calls in a process of their own: what comes back, what is raised, and what a crash costs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from graysam import isolation
from graysam.errors import PrepareError
from graysam.isolation import CrashedError, isolated, stop_helper

ROOT = Path(__file__).resolve().parents[2]


def test_results_and_errors_come_back_from_another_process_that_is_kept():
    first, second = isolated(os.getpid), isolated(os.getpid)
    assert first == second != os.getpid()
    np.testing.assert_array_equal(isolated(np.arange, 200_000), np.arange(200_000))
    with pytest.raises(ZeroDivisionError):
        isolated(divmod, 1, 0)
    assert isolated(os.getpid) == first


def test_a_crash_is_an_error_and_the_next_call_works():
    isolated(os.getpid)
    with pytest.raises(CrashedError, match="crashed or was killed"):
        isolated(os.kill, isolated(os.getpid), signal.SIGKILL)
    with pytest.raises(PrepareError, match="crashed or was killed"):
        isolated(os.abort)
    assert isolated(os.getpid) != os.getpid()


def test_what_a_library_prints_is_no_answer():
    assert isolated(os.write, 1, b"a decoder's chatter") == 19


def test_an_error_that_cannot_be_packed_is_told_in_words():
    with pytest.raises(RuntimeError, match="OddError: first and second"):
        isolated(fail_oddly)


class OddError(Exception):
    """Is packed as its one message, which does not suffice to make it again."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def fail_oddly():
    raise OddError("first", "second")


def test_the_process_ends_with_the_one_that_started_it(tmp_path):
    program = "import os; from graysam.isolation import isolated; print(isolated(os.getpid), flush=True); os._exit(0)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60)
    pid = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the helping process goes on")


def test_stopping_twice_does_no_harm():
    stop_helper()
    stop_helper()
    assert isolation._helper is None
