"""A progress bar that log lines do not run through; imported only for a terminal, as tqdm takes time to import."""

from __future__ import annotations

import logging
import shutil
from typing import NoReturn, TextIO

from tqdm import tqdm

from graysam.console import harmless


class BarHandler(logging.StreamHandler[TextIO]):
    """Writes log lines above a tqdm bar that stays the terminal's last line, from `start` to `finish`."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._bar: tqdm[NoReturn] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line where the bar was, and the bar below it."""
        tqdm.write(self.format(record), file=self.stream)

    def start(self, total: int) -> None:
        """Show a bar of `total` steps, none of them done."""
        columns, rows = shutil.get_terminal_size()  # tqdm's own look draws nothing where a terminal claims no size
        self._bar = tqdm(
            total=total, unit="case", file=self.stream, ncols=columns, nrows=rows, leave=False, mininterval=0
        )

    def advance(self, name: str) -> None:
        """Count the step `name` as done."""
        if self._bar is not None:
            self._bar.set_postfix_str(harmless(name), refresh=False)
            self._bar.update()

    def finish(self) -> None:
        """Wipe the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
