"""A terminal for programs under test: what they show where somebody watches."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Sequence


def shown_on_a_terminal(command: Sequence[str | os.PathLike[str]], *, status: int = 0) -> str:
    """Run a command with its stderr on a terminal, and give what it showed there; it must end with `status`."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(master)
    assert process.wait() == status
    return shown.decode()
