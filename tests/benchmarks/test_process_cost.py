import sys

import numpy as np
import pytest

from benchmarks.process_cost import ProcessError, process_cost

MEBIBYTE = 2**20


def test_a_process_that_holds_a_hundred_mebibytes_is_told_so():
    cost = process_cost([sys.executable, "-c", f"b'x' * (100 * {MEBIBYTE})"])
    assert 100 < cost.mebibytes < 150
    assert cost.cpu_seconds > 0
    assert 0 < cost.seconds < 60


def test_what_the_caller_holds_is_not_counted():
    held = np.ones(400 * MEBIBYTE, np.uint8)
    assert process_cost([sys.executable, "-c", "pass"]).mebibytes < 50
    assert held[0] == 1


def test_a_process_that_fails_is_an_error_with_its_words():
    with pytest.raises(ProcessError, match=r"status 3: no luck"):
        process_cost([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])


def test_a_process_that_is_killed_is_an_error():
    with pytest.raises(ProcessError, match="ended with status"):
        process_cost([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
