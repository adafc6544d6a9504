"""Log lines that file names cannot forge."""

from __future__ import annotations

import logging

# Control characters, among them line ends and the escape that starts a terminal's commands, as backslash codes.
_HARMLESS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def harmless(text: str) -> str:
    """Spell out control characters, so that a name of a file can neither end a line nor command a terminal."""
    return text.translate(_HARMLESS)


class OneLineFormatter(logging.Formatter):
    """Gives the message alone, as one line whatever a file's name holds; a traceback follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        """Give the message with control characters spelled out."""
        return harmless(record.message)
