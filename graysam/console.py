"""Log lines that file names cannot forge, and a progress bar that they do not run through.

Standard library only, so that every container image has it.
"""

from __future__ import annotations

import logging
import shutil
from time import perf_counter
from typing import TextIO

_CLEAR_LINE = "\r\x1b[K"  # the cursor to the first column, and nothing right of it
# Control characters, among them line ends and the escape that starts a terminal's commands, as backslash codes.
_HARMLESS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


class OneLineFormatter(logging.Formatter):
    """Gives the message alone, as one line whatever a file's name holds; a traceback follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        """Give the message with control characters spelled out."""
        return record.message.translate(_HARMLESS)


class BarHandler(logging.StreamHandler[TextIO]):
    """Writes log lines above a bar that stays the terminal's last line, from `start` to `finish`."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._total = 0
        self._done = 0
        self._current = ""
        self._start = perf_counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line where the bar was, and the bar below it."""
        if self._total:
            self.stream.write(_CLEAR_LINE)
        super().emit(record)
        self._draw()

    def start(self, total: int) -> None:
        """Show a bar of `total` steps, none of them done."""
        self._total, self._done, self._current, self._start = total, 0, "", perf_counter()
        self._draw()

    def advance(self, name: str) -> None:
        """Count the step `name` as done."""
        self._done += 1
        self._current = name.translate(_HARMLESS)
        self._draw()

    def finish(self) -> None:
        """Wipe the bar away."""
        self._total = 0
        self.stream.write(_CLEAR_LINE)
        self.stream.flush()

    def _draw(self) -> None:
        """Draw `[####....] 3/8, 12 s left, NAME`, cut to the terminal's width; nothing when there are no steps."""
        if self._total == 0:
            return
        elapsed = perf_counter() - self._start
        left = f"{elapsed / self._done * (self._total - self._done):.0f} s left, " if self._done else ""
        filled = 20 * self._done // self._total
        text = f"[{'#' * filled}{'.' * (20 - filled)}] {self._done}/{self._total}, {left}{self._current}"
        self.stream.write(_CLEAR_LINE + text[: shutil.get_terminal_size().columns - 1])
        self.stream.flush()
