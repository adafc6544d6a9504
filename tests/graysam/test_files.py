import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from graysam.errors import GraySamError, StoreError
from graysam.files import TEMPORARY_SUFFIX, remove_stale_temporaries, written_whole

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def replace_text(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text)


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("old")
    with written_whole(path) as temporary:
        temporary.write_text("new, and half of it")
        assert path.read_text() == "old"
    assert path.read_text() == "new, and half of it"
    assert names(tmp_path) == ["log.csv"]


@pytest.mark.parametrize("older", [False, True])
def test_an_error_in_the_middle_leaves_the_old_file_or_none_and_passes_on(tmp_path, older):
    path = tmp_path / "log.csv"
    if older:
        path.write_text("old")

    def fail():
        with written_whole(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [entry.read_text() for entry in tmp_path.iterdir()] == (["old"] if older else [])


@pytest.mark.parametrize("error", [GraySamError, StoreError])
def test_a_folder_that_is_not_there_is_named_in_the_error_that_was_asked_for(tmp_path, error):
    with pytest.raises(error, match=r"a\.txt: cannot be written to .*absent: No such file"):  # noqa: SIM117
        with written_whole(tmp_path / "absent/a.txt", error) as temporary:
            temporary.write_text("x")


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(GraySamError, match="No such file"), written_whole(path):
        pass
    assert path.read_text() == "old"


def test_of_writers_at_once_one_wins_and_its_file_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    texts = [letter * 100_000 for letter in "abcd"]
    writers = [threading.Thread(target=replace_text, args=(path, text)) for text in texts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in texts
    assert names(tmp_path) == ["a.txt"]


def test_a_name_as_long_as_a_file_system_allows_can_be_written(tmp_path):
    replace_text(tmp_path / ("n" * 255), "x")
    assert names(tmp_path) == ["n" * 255]


KILLED = """
import os, signal, sys
from pathlib import Path
from graysam.files import written_whole
with written_whole(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_hidden_and_cleared_by_the_name_it_was_for(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    assert subprocess.run([sys.executable, "-c", KILLED, path], cwd=ROOT).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (left,) = [entry for entry in tmp_path.iterdir() if entry != path]
    assert left.name.startswith(".")
    assert left.suffix == TEMPORARY_SUFFIX
    assert remove_stale_temporaries(tmp_path, ["b.txt"]) == []
    assert remove_stale_temporaries(tmp_path, ["b.txt", "a.txt"]) == [left]
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_that_is_not_there_holds_nothing_stale(tmp_path):
    assert remove_stale_temporaries(tmp_path / "absent", ["a.txt"]) == []


def test_the_umask_decides_who_may_read(tmp_path):
    before = os.umask(0o022)
    try:
        replace_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644
