"""What a command shows on stderr: log lines, progress, and the one line that becomes of an error.

A main needs three things from here:

    def main(argv: Sequence[str] | None = None) -> int:
        options = parse_options(argv)                        # argparse itself ends wrong options with status 2
        return run_command(lambda: do_the_work(options))     # logging to stderr, errors in one line, the exit status

    for result in tracked(results, total=len(jobs), what="score"):      # or: with progress(...) as shown
        ...

On a terminal progress is a tqdm bar below the log lines (tqdm is imported only then). Elsewhere it is a log line now
and then, so that a log file stays readable.
"""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from graysam.errors import GraySamError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0
LEVELS = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}
EXIT_FINE, EXIT_CASE_FAILED, EXIT_NOTHING_DONE, EXIT_INTERRUPTED = 0, 1, 2, 130
# A share of a whole needs no counter beside the bar.
_PERCENT_FORMAT = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"

# Control characters, among them line ends and the escape that starts a terminal's commands, as backslash codes.
_HARMLESS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def harmless(text: str) -> str:
    """Spell out control characters, so that a name of a file can neither end a line nor command a terminal."""
    return text.translate(_HARMLESS)


class OneLineFormatter(logging.Formatter):
    """Gives the message as one line whatever a file's name holds; a traceback follows as it is.

    It takes what `logging.Formatter` takes: without a format the message stands alone.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        """Give the line with control characters spelled out."""
        return harmless(super().formatMessage(record))


@contextmanager
def logging_to_stderr(verbosity: int = 0, *, with_time: bool = False) -> Iterator[None]:
    """Send what is logged in the block to stderr, one line each, and leave logging as it was before.

    Within another such block, where one command runs another, only the verbosity changes: no line comes twice.

    Args:
        verbosity: -1 shows warnings and errors, 0 also what happens, 1 also details and tracebacks.
        with_time: put date and time before each line, for work of hours.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLineFormatter("%(asctime)s %(message)s" if with_time else None))
    root = logging.getLogger()
    level_before = root.level
    if not any(isinstance(each.formatter, OneLineFormatter) for each in root.handlers):
        root.addHandler(handler)
    root.setLevel(LEVELS[max(-1, min(verbosity, 1))])
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level_before)


def run_command(
    body: Callable[[], int | None], *, verbosity: int = 0, with_time: bool = False, if_interrupted: str = "interrupted"
) -> int:
    """Run the body of a command with logging to stderr, and give its exit status.

    The statuses are those of all our commands: 0 fine, 1 a case failed (the body says so), 2 nothing could be done,
    130 interrupted. A GraySamError, or a file that cannot be read or written, is one line "error: ..." and status 2;
    its traceback is shown with verbosity 1. Any other exception is a defect of ours and leaves as it is.

    Args:
        body: does the work, and gives 1 when a case failed, else 0 or None.
        verbosity: as for `logging_to_stderr`.
        with_time: likewise.
        if_interrupted: what Ctrl-C is answered with.
    """
    with logging_to_stderr(verbosity, with_time=with_time):
        try:
            return body() or EXIT_FINE
        except (GraySamError, OSError) as error:
            logger.debug("the error below was raised here:", exc_info=True)
            logger.error("error: %s", error)
            return EXIT_NOTHING_DONE
        except KeyboardInterrupt:
            logger.error("%s", if_interrupted)
            return EXIT_INTERRUPTED


@contextmanager
def kill_interrupts() -> Iterator[None]:
    """Let a kill (SIGTERM) end the block as Ctrl-C does, by KeyboardInterrupt: what is open is closed, and kept."""
    import signal  # not at the top: the start of a prediction is timed, and it needs no signals

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- progress ---------------------------------------------------------------------------------------------------------


class _Bar(Protocol):
    """What is used of tqdm's bar."""

    def update(self, n: float) -> object:
        """Count n more steps as done."""

    def set_postfix_str(self, s: str, refresh: bool) -> None:
        """Show text behind the bar."""


class Progress:
    """How far a piece of work has come; made by `progress`.

    Attributes:
        done: steps done, from 0 to the total.
        on_terminal: whether somebody watches a bar, so that a log line for each step would be too much.
    """

    def __init__(self, bar: _Bar | None = None, *, report: Callable[[float], None] = lambda done: None) -> None:
        self.done: float = 0  # whole steps stay whole numbers, for the counter
        self.on_terminal = bar is not None
        self._bar = bar
        self._report = report

    def advance(self, detail: str = "", *, steps: float = 1) -> None:
        """Count `steps` more as done; `detail` (a case's name, the loss) is shown behind the bar."""
        self.reach(self.done + steps, detail)

    def reach(self, done: float, detail: str = "") -> None:
        """Say how many steps are done in all."""
        if self._bar is not None:
            if detail:
                self._bar.set_postfix_str(harmless(detail), refresh=False)
            self._bar.update(done - self.done)
        self.done = done
        self._report(done)


@contextmanager
def progress(
    total: float,
    *,
    what: str = "",
    unit: str = "case",
    seconds_between_lines: float | None = SECONDS_BETWEEN_LINES,
    hidden: bool = False,
) -> Iterator[Progress]:
    """Show the progress of the block, as far as messages of level INFO are wanted.

    Args:
        total: number of steps.
        what: one word before the bar or in the line, say "score".
        unit: what is counted; "%" for a share of 100.
        seconds_between_lines: how often a line is logged where there is no terminal; None logs none, for callers that
            log their own steps.
        hidden: show nothing at all, say in all but the first of several processes.
    """
    if hidden or not logger.isEnabledFor(logging.INFO):
        yield Progress()
    elif not sys.stderr.isatty():
        yield Progress(report=_line_writer(total, what, unit, seconds_between_lines))
    else:
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        columns, rows = shutil.get_terminal_size()  # tqdm's own look draws nothing where a terminal claims no size
        with (
            tqdm(
                total=total,
                desc=what or None,
                unit=unit,
                bar_format=_PERCENT_FORMAT if unit == "%" else None,
                file=sys.stderr,
                ncols=columns,
                nrows=rows,
                leave=False,
                mininterval=0.1 if unit == "%" else 0,
            ) as bar,
            logging_redirect_tqdm(),
        ):
            yield Progress(bar)


def tracked(items: Iterable[Item], *, total: int, what: str = "", unit: str = "case") -> Iterator[Item]:
    """Give the items one by one, and show as progress how many of the `total` have been dealt with."""
    with progress(total, what=what, unit=unit) as shown:
        for item in items:
            yield item
            shown.advance()


def _line_writer(total: float, what: str, unit: str, pause_s: float | None) -> Callable[[float], None]:
    """Give what logs a line whenever `pause_s` seconds have passed since the last one."""
    start = last_line = time.monotonic()

    def report(done: float) -> None:
        nonlocal last_line
        now = time.monotonic()
        if pause_s is not None and now - last_line >= pause_s:
            last_line = now
            logger.info("%s%g of %g %s, %.0f s", f"{what}: " if what else "", done, total, unit, now - start)

    return report
