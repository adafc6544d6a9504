"""The command `graysam view`: what it says, where it writes, how it ends."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

pytest.importorskip("starlette")
from graysam.cli.view import UPLOADS, default_out, main, remove_stale_uploads
from graysam.formats.npz import write_case


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scans").mkdir()
    write_case(tmp_path / "scans" / "one.npz", image=np.full((20, 30), 9, np.uint8), boxes=())
    return tmp_path / "scans"


@contextmanager
def viewing(*options, **environment):
    """Run the command; gives the process and its address once it has said both lines."""
    command = [sys.executable, "-m", "graysam", "view", *map(str, options), "--no-browser"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        try:
            address = re.fullmatch(r"look at (http://127\.0\.0\.1:\d+/[\w-]{43}/)\n", process.stderr.readline())[1]
            yield process, address, process.stderr.readline()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_to_look_and_ends_with_nothing_left_of_uploads(folder, tmp_path, number):
    options = [folder / "one.npz", "--weights", tmp_path / "none"]
    with viewing(*options, TMPDIR=str(tmp_path)) as (process, address, line):
        assert f"{tmp_path / 'scans' / 'one-graysam'};" in line
        assert httpx.get(address + "api/state").json()["cases"][0]["name"] == "one"
        headers = {"Origin": address[: address.index("/", 8)]}
        told = httpx.post(address + "api/upload?name=a.npz&batch=1", headers=headers, content=b"x")
        assert told.status_code == 200
        assert len(list(tmp_path.glob(f"{UPLOADS}*/upload-1/a.npz"))) == 1
        process.send_signal(number)
        assert process.wait(30) == 0
    assert list(tmp_path.glob(f"{UPLOADS}*")) == []


def test_a_missing_model_is_told_on_the_terminal_and_on_the_page(folder, tmp_path):
    with viewing(folder, "--weights", tmp_path / "none") as (process, address, _):
        assert "error" in process.stderr.readline()
        assert str(tmp_path / "none") in httpx.get(address + "api/state").json()["model"]["error"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere"], "cannot be listed"),
        (["scans", "--out", "scans"], "is the input folder too"),
        (["scans", "--boxes", "nowhere.csv"], "missing"),
        (["notes.txt"], "no image or volume"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, tmp_path, monkeypatch, caplog, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    assert main([*options, "--no-browser"]) == 2
    (line,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert words in line


def test_results_go_next_to_what_was_opened(folder, monkeypatch):
    assert default_out(folder) == folder.parent / "scans-graysam"
    (folder / "liver.nii.gz").touch()
    assert default_out(folder / "liver.nii.gz") == folder / "liver-graysam"
    assert default_out(None) == Path("graysam-view")


def test_uploads_of_a_killed_server_are_deleted_and_those_of_a_running_one_stay(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    stale, running = (
        Path(tempfile.mkdtemp(prefix=f"{UPLOADS}{each}-", dir=tmp_path)) for each in (gone.pid, os.getpid())
    )
    other = tmp_path / f"{UPLOADS}notes"
    other.mkdir()
    remove_stale_uploads(tmp_path)
    assert not stale.exists()
    assert running.exists()
    assert other.exists()
