import threading
import time

import pytest

from graysam.inference.lanes import Lanes


def test_one_lane_runs_a_call_when_its_result_is_asked_for_in_the_thread_that_asks():
    ran = []
    with Lanes() as lanes:
        result_of = lanes.submit(lambda: ran.append(threading.current_thread()))
        assert not ran
        result_of()
    assert ran == [threading.current_thread()]


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_the_order_of_the_items_however_long_each_takes(count):
    def slow_square(number):
        time.sleep(0.002 * (7 - number))
        return number * number

    with Lanes(count) as lanes:
        assert list(lanes.map(slow_square, range(7))) == [0, 1, 4, 9, 16, 25, 36]


@pytest.mark.parametrize(("count", "ahead"), [(1, 1), (2, 4)])
def test_items_are_taken_no_further_ahead_than_two_for_each_lane(count, ahead):
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    with Lanes(count) as lanes:
        results = lanes.map(lambda number: number, items())
        assert next(results) == 0
        assert len(taken) == ahead


def test_after_an_error_no_call_is_running_and_those_that_wait_are_dropped():
    ran = []

    def fail():
        raise ValueError("broken")

    def late(number):
        time.sleep(0.01)
        ran.append(number)

    def work():
        with Lanes(2) as lanes:
            first = lanes.submit(fail)
            for number in range(50):
                lanes.submit(lambda number=number: late(number))
            first()

    with pytest.raises(ValueError, match="broken"):
        work()
    finished = len(ran)
    time.sleep(0.05)
    assert len(ran) == finished < 50
