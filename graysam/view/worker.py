"""One thread for all that touches the model or the document, so that the server's own loop stays free.

Jobs run in order. Previews wait apart, one for each key: a newer one takes the place of an older one that has not
begun, so that 20 boxes in a row leave no queue behind. What runs in the background is done step by step, whenever no
job and no preview waits.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Worker:
    """The thread and its jobs."""

    def __init__(self, background: Callable[[], bool] = lambda: False) -> None:
        """Start the thread.

        background: does one step of background work, and tells whether there was any.
        """
        self._background = background
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._previews: dict[Hashable, tuple[Callable[[], Any], Future[Any]]] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="graysam-view", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Put a job at the end of the queue."""
        future: Future[Result] = Future()
        with self._changed:
            if self._is_closed:
                future.cancel()
            else:
                self._jobs.append((job, future))
                self._changed.notify()
        return future

    def preview(self, key: Hashable, job: Callable[[], Result]) -> Future[Result]:
        """Put a preview in the place of one with the same key that has not begun; the future of that is cancelled."""
        future: Future[Result] = Future()
        with self._changed:
            self._drop(key)
            if self._is_closed:
                future.cancel()
            else:
                self._previews[key] = (job, future)
                self._changed.notify()
        return future

    def drop_preview(self, key: Hashable) -> None:
        """Cancel a preview that has not begun."""
        with self._changed:
            self._drop(key)

    @property
    def waiting(self) -> int:
        """Give how many jobs and previews wait."""
        with self._changed:
            return len(self._jobs) + len(self._previews)

    def close(self) -> None:
        """End the thread after the job that it is at; what waits is cancelled."""
        with self._changed:
            self._is_closed = True
            for _, future in (*self._jobs, *self._previews.values()):
                future.cancel()
            self._jobs.clear()
            self._previews.clear()
            self._changed.notify()
        self._thread.join(timeout=30)

    def _drop(self, key: Hashable) -> None:
        old = self._previews.pop(key, None)
        if old is not None:
            old[1].cancel()

    def _next(self) -> tuple[Callable[[], Any], Future[Any]] | None:
        if self._jobs:
            return self._jobs.popleft()
        if self._previews:
            return self._previews.pop(next(iter(self._previews)))
        return None

    def _run(self) -> None:
        is_idle = False
        while True:
            with self._changed:
                while is_idle and not (self._jobs or self._previews or self._is_closed):
                    self._changed.wait()
                if self._is_closed:
                    return
                due = self._next()
            if due is not None:
                is_idle = False
                _carry_out(*due)
                continue
            try:
                is_idle = not self._background()
            except Exception:  # a defect of ours must not end the thread
                logger.exception("background work failed")
                is_idle = True


def _carry_out(job: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:  # it is the asker's
        future.set_exception(error)
