"""Calls that run at the same time, as many as an engine allows, with their results in the order of the calls.

A volume is thousands of small calls, of which each needs only what was found a slice before. One thread for each of
them keeps a CPU busier than all threads for one call, which mostly wait for each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lanes:
    """A fixed number of threads that take calls in their order; one lane is the calling thread itself.

    Used as a context, at whose end no call is running any more.
    """

    def __init__(self, count: int = 1) -> None:
        """Open lanes.

        count: calls at the same time, at least 1.
        """
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        if count > 1:
            from concurrent.futures import ThreadPoolExecutor  # only where it is used: start-up is part of every case

            self._pool = ThreadPoolExecutor(count, thread_name_prefix="lane")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, call: Callable[[], Result]) -> Callable[[], Result]:
        """Start a call, and give a function that waits for its result or raises its error.

        On one lane the call runs when its result is asked for.
        """
        return call if self._pool is None else self._pool.submit(call).result

    def map(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Give the results of a call on each of the items, in their order; two for each lane are ahead at most."""
        started: deque[Callable[[], Result]] = deque()
        for item in items:
            started.append(self.submit(lambda item=item: call(item)))  # type: ignore[misc]
            if len(started) >= 2 * self.count or self._pool is None:
                yield started.popleft()()
        while started:
            yield started.popleft()()
