"""Owns how files of a run folder are written: whole or not at all, and tables that go on after a stop.

The trainer hands over weights, rows and its config; out come checkpoints, CSV files, and run.json, which says of every
session from which commit, data and versions it came.
"""

from __future__ import annotations

import csv
import fcntl
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from graysam.errors import GraySamError
from graysam.files import remove_stale_temporaries, written_whole
from graysam.store import index_hash
from train.config import RunConfig

REPOSITORY = Path(__file__).resolve().parent.parent
OWN_FILES = ("best.pt", "last.pt", "log.csv", "run.json", "validation.csv")
"""What a session replaces again and again."""
LOCK_FILE = ".lock"


class RunFolderError(GraySamError):
    """A run folder cannot be worked in."""


@contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """Keep a folder, made if missing, to this process; gives the descriptor by which it is held.

    The system lets go of it when this process ends, however it ends, and every child that was handed the descriptor.

    Raises:
        RunFolderError: another process holds it: two would write over each other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                f"{folder}: another process is at work in it; wait for its end, stop it, or give another folder."
            ) from error
        yield stream.fileno()


def write_atomically(path: Path, state: Mapping[str, Any]) -> None:
    """Save with torch; the old file stays until the new one is whole."""
    # A stream, as torch writes the name of a path into the file.
    with written_whole(path) as temporary, temporary.open("xb") as stream:
        torch.save(dict(state), stream)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a CSV, with a header when it is the first; columns that are new are empty in the rows before."""
    columns = _columns(path)
    new = [name for name in row if name not in columns]
    if columns and new:
        with path.open(newline="") as source:
            before = list(csv.DictReader(source))
        with written_whole(path) as temporary, temporary.open("x", newline="") as out:
            writer = csv.DictWriter(out, [*columns, *new], restval="")
            writer.writeheader()
            writer.writerows(before)
    with path.open("a", newline="") as out:
        writer = csv.DictWriter(out, [*columns, *new], restval="")
        if not columns:
            writer.writeheader()
        writer.writerow(row)


def _columns(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(newline="") as source:
        return next(csv.reader(source), [])


def read_rows(path: Path) -> list[dict[str, float]]:
    """Read a CSV of numbers, of each row what is not empty.

    A file that is not there has no rows, and a last line cut short is left out.
    """
    if not path.exists():
        return []
    with path.open(newline="") as source:
        whole = [line for line in source if line.endswith("\n")]
    rows = [row for row in csv.DictReader(whole) if None not in row and None not in row.values()]
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


def forget_rows_after(path: Path, step: int) -> None:
    """Drop a last line cut short, and the rows of steps that a run lost when it was killed: it takes those again."""
    if not path.exists():
        return
    kept = [row for row in read_rows(path) if row["step"] <= step]
    text = path.read_text()
    whole = "".join(text.splitlines(keepends=True)[: 1 + len(kept)])
    if whole != text:
        with written_whole(path) as temporary:
            temporary.write_text(whole)


def write_provenance(folder: Path, config: RunConfig, store: Path) -> None:
    """Write config.json, and add this session to run.json: commit, seed, versions, machine, hash of the index.

    What a killed session was just writing is cleared away; so only the process that writes to the folder may call.
    """
    remove_stale_temporaries(folder, OWN_FILES)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")
    path = folder / "run.json"
    sessions = json.loads(path.read_text())["sessions"] if path.exists() else []
    sessions.append(
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": commit_of(REPOSITORY),
            "seed": config.seed,
            "store": store.name,
            "store_index_sha256": index_hash(store),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "opencv": cv2.__version__,
            },
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
            "arguments": sys.argv[1:],
        }
    )
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps({"sessions": sessions}, indent=1) + "\n")


def commit_of(repository: Path) -> str:
    """Give the commit, with "+changes" where files differ from it, or "" where git knows none."""
    try:
        commit = _git(repository, "rev-parse", "HEAD")
        changed = _git(repository, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}+changes" if changed else commit


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
