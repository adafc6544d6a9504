"""The address of the page: new at each start, the old one after a kill, and nobody else's."""

import pytest

pytest.importorskip("starlette")
from graysam.view.address import FILE, kept_address


def left_by_a_killed_server(out):
    """Start, and put back the file that a kill would have left; give port and token."""
    with kept_address(out, 0) as (listener, token):
        content = (out / FILE).read_text()
        port = listener.getsockname()[1]
    (out / FILE).write_text(content)
    (out / FILE).chmod(0o600)
    return port, token


def test_a_server_that_ended_leaves_nothing_and_the_next_one_has_another_token(tmp_path):
    with kept_address(tmp_path, 0) as (_, first):
        assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []
    with kept_address(tmp_path, 0) as (_, second):
        assert second != first


def test_after_a_kill_the_next_server_has_the_same_port_and_token(tmp_path):
    port, token = left_by_a_killed_server(tmp_path)
    with kept_address(tmp_path, 0) as (listener, again):
        assert (listener.getsockname()[1], again) == (port, token)


def test_a_second_server_beside_one_that_runs_has_an_address_of_its_own_and_both_clear_up(tmp_path):
    with kept_address(tmp_path, 0) as (one, first), kept_address(tmp_path, 0) as (other, second):
        assert one.getsockname()[1] != other.getsockname()[1]
        assert first != second
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_not_believed(tmp_path, mode):
    _, token = left_by_a_killed_server(tmp_path)
    (tmp_path / FILE).chmod(mode)
    with kept_address(tmp_path, 0) as (_, again):
        assert again != token


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "{",
        '{"port": 80}',
        '{"port": "1", "token": "t"}',
        f'{{"port": 0, "token": "{"a" * 43}"}}',
        f'{{"port": 99999, "token": "{"a" * 43}"}}',
        '{"port": 9, "token": "../../../etc"}',
    ],
)
def test_a_damaged_file_is_as_none(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    (tmp_path / FILE).chmod(0o600)
    with kept_address(tmp_path, 0) as (_, token):
        assert len(token) == 43
        assert token != "a" * 43


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, token = left_by_a_killed_server(tmp_path / "a")
    (tmp_path / "b" / FILE).symlink_to(tmp_path / "a" / FILE)
    with kept_address(tmp_path / "b", 0) as (_, again):
        assert again != token
