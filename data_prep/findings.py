"""What somebody should look at in the source data: a problem with its severity, its place and its remedy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# A note says what was done; --strict makes warnings and errors fatal, not notes.
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Problem:
    """Something in the source data that somebody should look at.

    Attributes:
        severity: an "error" keeps a case out; a "warning" does not, but somebody should look; a "note" says what was
            done.
        kind: a short name by which problems are counted.
        where: the file or folder, relative to the root.
        what: what is wrong.
        remedy: what to do about it.
    """

    severity: Severity
    kind: str
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        stop = "" if self.what.endswith(("?", ".")) else "."
        return f"{self.severity}: {self.where}: {self.what}{stop} {self.remedy}"


@dataclass
class Findings:
    """The problems met on the way through the folders below `root`, in their order."""

    root: Path
    problems: list[Problem] = field(default_factory=list)

    def report(self, severity: Severity, kind: str, where: Path, what: str, remedy: str) -> None:
        """Note a problem; `where` is shown relative to the root."""
        shown = where.relative_to(self.root).as_posix() if where.is_relative_to(self.root) else where.name
        self.problems.append(Problem(severity, kind, shown if shown != "." else where.name, what, remedy))
