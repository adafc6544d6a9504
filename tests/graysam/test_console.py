"""What a command shows, and what becomes of its errors; a real terminal is made where one is needed."""

from __future__ import annotations

import logging
import re
import sys
import time

import pytest
from terminals import shown_on_a_terminal

from graysam.console import OneLineFormatter, harmless, logging_to_stderr, progress, run_command, tracked
from graysam.errors import CaseError

logger = logging.getLogger("graysam.something")


def failing(error: BaseException) -> int:
    raise error


def test_control_characters_are_spelled_out():
    assert harmless("a\nb\x1b[2Jc") == r"a\x0ab\x1b[2Jc"
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "case %s", ("a\nb",), None)
    assert OneLineFormatter().format(record) == r"case a\x0ab"


@pytest.mark.parametrize(
    ("verbosity", "shown"), [(-1, ["wrong"]), (0, ["news", "wrong"]), (1, ["more", "news", "wrong"])]
)
def test_the_verbosity_decides_which_lines_reach_stderr(verbosity, shown, capsys):
    with logging_to_stderr(verbosity):
        logger.debug("more")
        logger.info("news")
        logger.warning("wrong")
    assert capsys.readouterr().err.split() == shown


def test_long_work_has_the_time_before_each_line(capsys):
    with logging_to_stderr(with_time=True):
        logger.info("news\nof a file")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} news\\x0aof a file\n", capsys.readouterr().err)


def test_a_command_that_runs_another_gets_each_line_once(capsys):
    def inner() -> None:
        logger.info("inner")

    def outer() -> None:
        logger.info("before")
        assert run_command(inner) == 0
        logger.info("after")

    assert run_command(outer) == 0
    assert capsys.readouterr().err.split() == ["before", "inner", "after"]


def test_logging_is_afterwards_what_it_was():
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with pytest.raises(KeyError), logging_to_stderr(1):
        raise KeyError
    assert (root.level, root.handlers) == before


@pytest.mark.parametrize(("given", "status"), [(0, 0), (1, 1), (None, 0)])
def test_the_status_of_a_body_is_that_of_its_command(given, status):
    assert run_command(lambda: given) == status


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (CaseError("folder x: holds no case."), "error: folder x: holds no case."),
        (FileNotFoundError(2, "No such file", "x.toml"), "error: [Errno 2] No such file: 'x.toml'"),
    ],
)
def test_an_error_of_the_user_is_one_line_and_status_2(error, line, capsys):
    assert run_command(lambda: failing(error)) == 2
    assert capsys.readouterr().err == f"{line}\n"


def test_verbose_shows_where_an_error_of_the_user_came_from(capsys):
    assert run_command(lambda: failing(CaseError("no case")), verbosity=1) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: no case\n")


def test_an_interrupted_command_says_how_to_go_on_with_status_130(capsys):
    assert run_command(lambda: failing(KeyboardInterrupt()), if_interrupted="run it again") == 130
    assert capsys.readouterr().err == "run it again\n"


def test_a_defect_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: failing(ZeroDivisionError()))


# --- progress


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    clock = iter([0.0, 4.0, 11.0, 12.0])  # start, and after each of three steps; a line is due every 10 s
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with logging_to_stderr():
        assert list(tracked("abc", total=3, what="score")) == ["a", "b", "c"]
    assert capsys.readouterr().err == "score: 2 of 3 case, 11 s\n"


@pytest.mark.parametrize("silent", [{"seconds_between_lines": None}, {"hidden": True}])
def test_progress_may_be_silent_and_still_counts(silent, capsys):
    with logging_to_stderr(), progress(4, **silent) as shown:
        shown.advance()
        shown.reach(3)
    assert (shown.done, shown.on_terminal, capsys.readouterr().err) == (3, False, "")


def on_a_terminal(program: str) -> str:
    """Give what a program's stderr shows on a terminal."""
    return shown_on_a_terminal([sys.executable, "-c", program])


PROGRAM = """
import logging
from graysam.console import progress, run_command
def body():
    with progress(2, what="score", unit={unit!r}) as shown:
        assert shown.on_terminal == {watched}
        shown.advance("first\\n")
        logging.warning("a line between")
        shown.advance("second")
    return 0
raise SystemExit(run_command(body, verbosity={verbosity}))
"""


def test_a_terminal_shows_a_bar_and_whole_log_lines_above_it():
    shown = on_a_terminal(PROGRAM.format(unit="case", watched=True, verbosity=0))
    assert "score" in shown
    assert "1/2" in shown
    assert r"first\x0a]" in shown
    assert "\ra line between\r\n" in shown.replace("\x1b[A", "").replace(" \r", "\r")


def test_a_share_is_shown_as_percents_without_a_counter():
    shown = on_a_terminal(PROGRAM.format(unit="%", watched=True, verbosity=0))
    assert "/2" not in shown


def test_a_quiet_command_has_no_bar():
    shown = on_a_terminal(PROGRAM.format(unit="case", watched=False, verbosity=-1))
    assert shown == "a line between\r\n"
