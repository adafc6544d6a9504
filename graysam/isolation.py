"""Calls functions that may crash in a process of their own: a decoder that dies over a damaged file costs one file.

Some libraries end their process over damaged data (a JPEG 2000 decoder by an assertion, say); no `except` catches that.
The process is started by the first call, kept for the next ones, and ends with this one, whatever ends it.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, ParamSpec, TypeVar, cast

from graysam.errors import PrepareError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

CRASHED = "the process that read it crashed or was killed: the file is damaged, or too large for this machine's memory"
_LENGTH_BYTES = 8
_PROGRAM = "import sys; sys.path[:] = {path!r}; from graysam.isolation import serve; serve()"


class CrashedError(PrepareError):
    """A process that was called died; the message is `CRASHED`."""


_lock = threading.Lock()
_helper: subprocess.Popen[bytes] | None = None


def isolated(function: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
    """Call a function in another process, and give what it gives or raise what it raises.

    Args:
        function: one that a fresh process can import by its module and name.
        arguments: what it is called with; like its result they are pickled.
        named: the same by name.

    Raises:
        CrashedError: the process died.
    """
    with _lock:
        helper = _running_helper()
        try:
            _send(cast("BinaryIO", helper.stdin), pickle.dumps((function, arguments, named)))
            is_fine, value = pickle.loads(_receive(cast("BinaryIO", helper.stdout)))
        except (OSError, EOFError) as error:
            stop_helper()
            raise CrashedError(CRASHED) from error
        except BaseException:  # interrupted in the middle of an answer: the next call must not get its rest
            stop_helper()
            raise
    if is_fine:
        return cast("Result", value)
    raise value


def serve() -> None:
    """Answer calls until the other side is gone; the body of the helping process."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    calls = sys.stdin.buffer
    while True:
        try:
            function, arguments, named = pickle.loads(_receive(calls))
        except EOFError:
            return
        try:
            answer = pickle.dumps((True, function(*arguments, **named)), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # raised again on the other side
            answer = _pickled_error(error)
        _send(answers, answer)


def stop_helper() -> None:
    """End the helping process, if there is one; the next call starts another."""
    global _helper
    helper, _helper = _helper, None
    if helper is None:
        return
    helper.kill()
    for pipe in (helper.stdin, helper.stdout):
        if pipe is not None:
            with suppress(OSError):  # it died with something still to be written
                pipe.close()
    helper.wait()


def _running_helper() -> subprocess.Popen[bytes]:
    global _helper
    if _helper is None or _helper.poll() is not None:
        stop_helper()
        program = _PROGRAM.format(path=sys.path)
        _helper = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    return _helper


def _pickled_error(error: Exception) -> bytes:
    try:
        content = pickle.dumps((False, error))
        pickle.loads(content)  # some exceptions can be packed, but not unpacked
    except Exception:
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    return content


def _send(pipe: BinaryIO, content: bytes) -> None:
    pipe.write(len(content).to_bytes(_LENGTH_BYTES, "little"))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: BinaryIO) -> bytes:
    length = int.from_bytes(_exactly(pipe, _LENGTH_BYTES), "little")
    return _exactly(pipe, length)


def _exactly(pipe: BinaryIO, count: int) -> bytes:
    content = pipe.read(count)
    if len(content) < count:
        raise EOFError("the other process is gone")
    return content


atexit.register(stop_helper)
