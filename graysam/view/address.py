"""The address of the page: new at each start, but that of a server that was killed, so that its page finds it again.

While a server runs, its port and token lie in a hidden file of the folder of results that only its owner may read. A
server that ends takes the file away; one that is killed leaves it, and the next one with this folder takes both over,
if the port is free.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from graysam.errors import CaseError
from graysam.files import written_whole
from graysam.view.guard import new_token

FILE: Final = ".graysam-view-address"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@contextmanager
def kept_address(out: Path, port: int) -> Iterator[tuple[socket.socket, str]]:
    """Give a listening socket and a token, both kept in `out` as long as the block lasts.

    Args:
        out: the folder of results; it exists.
        port: 0 for that of a killed server, or else any that is free.

    Raises:
        CaseError: the port is taken, or the file cannot be written.
    """
    left = _left_by_killed(out / FILE)
    listener, token = None, new_token()
    if left is not None and port in (0, left[0]):
        with suppress(CaseError):  # the port is taken: by another program, or by a server that still runs
            listener, token = listening_socket(left[0]), left[1]
    listener = listener or listening_socket(port)
    content = json.dumps({"port": listener.getsockname()[1], "token": token})
    try:
        _write(out / FILE, content)
        yield listener, token
    finally:
        listener.close()
        with suppress(OSError):
            if (out / FILE).read_text(encoding="utf-8") == content:  # not that of a later server
                (out / FILE).unlink()


def listening_socket(port: int) -> socket.socket:
    """Give a socket that listens on 127.0.0.1 alone.

    port: 0 for any that is free.

    Raises:
        CaseError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise CaseError(f"port {port}: {error.strerror}; give another --port, or none for any free one.") from error
    return listener


def _write(path: Path, content: str) -> None:
    with written_whole(path, CaseError) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)


def _left_by_killed(path: Path) -> tuple[int, str] | None:
    """Read port and token; None where there is no such file, or others may have written or read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            return None
        try:
            said = json.loads(file.read(1000))
            port, token = said["port"], said["token"]
        except (ValueError, KeyError, TypeError, OSError):
            return None
    is_port = isinstance(port, int) and not isinstance(port, bool) and 0 < port <= 65535
    return (port, token) if is_port and isinstance(token, str) and _TOKEN.fullmatch(token) else None
