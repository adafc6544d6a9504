"""Every command answers what a user got wrong with status 2 and one line that begins with "error:"."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation import package, runtime, score
from evaluation.rank import command as rank

REPOSITORY = Path(__file__).parents[2]

COMMANDS = {
    "score": (score.main, ["--segs", "no/segs", "--gts", "no/gts", "--out", "no.csv"]),
    "rank, no table": (rank.main, ["--team", "a=no.csv", "--out", "board"]),
    "rank, no folder": (rank.main, ["--team", "a=no.csv", "--gts", "no", "--out", "board"]),
    "runtime": (runtime.main, ["--command", "true", "--inputs", "no", "--out", "timed"]),
    "submission": (package.main, ["submission", "--segs", "no", "--inputs", "no"]),
    "bundle": (package.main, ["bundle", "--inputs", "no", "--gts", "no", "--out", "b.zip"]),
    "bundle, no submissions": (
        package.main,
        ["bundle", "--inputs", "no", "--gts", "no", "--out", "b.zip", "--submissions-per-day", "0"],
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_users_mistake_is_one_line_and_status_two(name, tmp_path, monkeypatch, capsys):
    main, arguments = COMMANDS[name]
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert list(tmp_path.iterdir()) == []  # nothing was left half made


@pytest.mark.parametrize("module", ["score", "rank", "runtime", "package"])
def test_each_command_has_its_help(module, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", f"evaluation.{module}", "--help"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert f"evaluation.{module}" in done.stdout
