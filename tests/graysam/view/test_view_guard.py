"""Attempts to get in, to read what was not opened, or to write elsewhere; each against the real server."""

import os
import socket
import subprocess
import sys

import httpx
import numpy as np
import pytest

pytest.importorskip("starlette")
from bright_engine import BrightEngine
from live_view import TOKEN, running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from graysam.formats.npz import write_case

SECRET = b"outside the opened folder"


@pytest.fixture
def page(tmp_path):
    """A server on `in`, with a secret next to that folder and a link to it inside."""
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "blocks.npz", image=np.full((20, 30), 9, np.uint8), boxes=())
    (tmp_path / "secret.npz").write_bytes(SECRET)
    (tmp_path / "in" / "link.npz").symlink_to(tmp_path / "secret.npz")
    with running(tmp_path / "in", tmp_path / "out", BrightEngine(), upload_bytes=1000) as page:
        yield page


def raw_request(page, text):
    """Send bytes as they are, as no client library would, and give the status line."""
    with socket.create_connection(("127.0.0.1", page.port), 10) as connection:
        connection.sendall(text.encode())
        return connection.recv(200).decode("latin-1").split("\r\n")[0]


# --- who may talk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["", "/", "/api/state", "/wrong/api/state", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", f"/{TOKEN.upper()}/", f"/x/{TOKEN}/"],
)
def test_without_the_token_there_is_nothing(page, path):
    answer = httpx.get(page.origin + path)
    assert (answer.status_code, answer.text) == (404, "not found")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:{port}", ""]
)
def test_a_foreign_name_that_points_here_gets_nothing(page, host):
    """DNS rebinding: the browser asks this server, and believes that it talks to the foreign one."""
    answer = httpx.get(page.address + "api/state", headers={"Host": host.format(port=page.port)})
    assert answer.status_code in (400, 403)
    assert "cases" not in answer.text


def test_two_hosts_in_one_request_are_none(page):
    head = f"GET /{TOKEN}/api/state HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nHost: evil.example\r\n\r\n"
    assert raw_request(page, head).split()[1] in ("400", "403")


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
        "http://127.0.0.1:{port}.evil.example",
    ],
)
def test_a_post_from_another_page_does_nothing(page, origin):
    headers = {} if origin is None else {"Origin": origin.format(port=page.port)}
    for path, options in (("api/open", {"json": {"id": "x"}}), ("api/upload?name=a.png&batch=1", {"content": b"x"})):
        assert httpx.post(page.address + path, headers=headers, **options).status_code == 403
    assert page.get("api/state").json()["open"] is None


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://localhost:1"])
def test_a_live_connection_from_another_page_is_refused(page, origin):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{page.port}/{TOKEN}/api/live", origin=origin)
    assert refused.value.response.status_code == 403


def test_a_live_connection_without_the_token_is_refused(page):
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{page.port}/wrong/api/live", origin=page.origin)


def test_a_picture_on_another_site_may_not_ask_either(page):
    answer = page.get("api/state", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"})
    assert answer.status_code == 403


def test_every_answer_forbids_foreign_scripts_frames_and_copies(page):
    page.open("blocks")
    for answer in (
        page.get(""),
        page.get("api/state"),
        page.get("api/slice?plane=axial&index=0"),
        page.get("page/none.js"),
        page.get("api/slice?plane=none&index=0"),
        httpx.get(page.origin),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST"])
def test_other_methods_are_refused(page, method):
    for path in ("api/state", "api/slice?plane=axial&index=0", ""):
        assert httpx.request(method, page.address + path, headers={"Origin": page.origin}).status_code == 405
    assert page.get("api/open").status_code == 405


def test_the_server_listens_on_the_loopback_alone(page):
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} | {"127.0.0.2"}
    for address in others - {"127.0.0.1"}:
        with pytest.raises(OSError, match=r"refused|unreachable"):
            socket.create_connection((address, page.port), 2)


def test_no_option_binds_it_to_another_address():
    answer = subprocess.run(
        [sys.executable, "-m", "graysam", "view", "--host", "0.0.0.0"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert "unrecognized arguments" in answer.stderr


# --- what may be read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "page/../guard.py", "page/%2e%2e/guard.py", "page/..%2fguard.py", "page/....//guard.py", "page//etc/passwd",
        "page/%2fetc%2fpasswd", "page/index.html%00.js", "page/./index.html", "page/..\\guard.py", "page/",
        "../api/state",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_folder_of_the_page(page, path):
    status = raw_request(page, f"GET /{TOKEN}/{path} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n").split()[1]
    assert status in ("404", "400")


@pytest.mark.parametrize("case_id", ["../secret.npz", "/etc/passwd", "..", "", "blocks", "a" * 16, "\x00"])
def test_an_id_is_looked_up_and_never_a_path(page, case_id):
    page.open("blocks")
    answer = page.post("api/open", json={"id": case_id})
    assert answer.status_code == 400
    assert "no such case" in answer.json()["error"]


def test_a_link_that_leads_out_of_the_opened_folder_is_listed_and_not_followed(page):
    (link,) = [each for each in page.get("api/state").json()["cases"] if each["name"] == "link"]
    assert "leads out" in link["refused"]
    answer = page.post("api/open", json={"id": link["id"]})
    assert answer.status_code == 400
    assert SECRET.decode() not in answer.text


def test_paths_of_this_machine_are_not_in_the_list_of_cases(page, tmp_path):
    assert str(tmp_path / "in") not in page.get("api/state").text


# --- what may be written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../evil.npz",
        "/tmp/evil.npz",
        "..",
        ".",
        ".hidden",
        "a/b.npz",
        "a\\b.npz",
        "",
        "a\x00.npz",
        "a" * 300,
        "C:evil.npz",
    ],
)
def test_an_upload_stays_in_its_folder(page, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    answer = page.post("api/upload", params={"name": name, "batch": "1"}, content=b"x")
    assert answer.status_code == 400
    assert "file name" in answer.json()["error"]
    assert [each for each in sorted(tmp_path.rglob("*")) if each not in before and each.is_file()] == []


@pytest.mark.parametrize("batch", ["../x", "..", "", "a/b", "a" * 33])
def test_a_batch_is_no_path(page, batch):
    assert page.post("api/upload", params={"name": "a.npz", "batch": batch}, content=b"x").status_code == 400
    assert page.post("api/uploaded", json={"batch": batch}).status_code == 400


def test_an_upload_that_is_too_large_is_refused_whether_it_says_so_or_not(page, tmp_path):
    told = page.post("api/upload?name=a.npz&batch=1", content=b"x" * 1001)
    untold = page.post("api/upload?name=b.npz&batch=1", content=iter([b"x" * 600, b"x" * 600]))
    assert (told.status_code, untold.status_code) == (413, 413)
    assert "1,000" in told.json()["error"]
    assert [each for each in (tmp_path / "out-uploads").rglob("*") if each.is_file()] == []
    assert page.post("api/upload?name=a.npz&batch=1", content=b"x" * 1000).status_code == 200


def test_a_file_that_is_there_is_not_written_over(page):
    assert page.post("api/upload?name=a.npz&batch=1", content=b"x").status_code == 200
    again = page.post("api/upload?name=a.npz&batch=1", content=b"y")
    assert again.status_code == 400
    assert "already" in again.json()["error"]


def test_a_huge_request_is_cut_off(page):
    assert page.post("api/open", content=b'{"id": "' + b"x" * 100_000).status_code == 413


def test_everything_that_is_written_lies_in_out(page, tmp_path):
    before = {each for each in tmp_path.rglob("*") if not each.is_relative_to(tmp_path / "out")}
    page.open("blocks")
    with page.live() as live:
        one = live.ask("add_object", "object", name="../../evil", colour="")["object"]["id"]
        live.ask("brush", "mask", object=one, slice=0, points=[[5, 5]], radius=2, is_adding=True)
        live.ask("save", "saved")
    after = {each for each in tmp_path.rglob("*") if not each.is_relative_to(tmp_path / "out")}
    assert after == before
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "blocks.npz",
        "blocks.npz.session",
        "boxes.csv",
    ]


def test_a_planted_link_in_out_is_not_written_through(page, tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out" / "blocks.npz.session").symlink_to(tmp_path / "victim")
    (case,) = [each for each in page.get("api/state").json()["cases"] if each["name"] == "blocks"]
    answer = page.post("api/open", json={"id": case["id"]})
    assert answer.status_code in (400, 409)
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_name_of_bytes_that_are_no_text_is_listed(tmp_path):
    (tmp_path / "odd").mkdir()
    with open(os.fsencode(tmp_path / "odd") + b"/scan\xff.npz", "wb") as file:  # noqa: PTH123  a path of bytes
        file.write(b"")
    with running(tmp_path / "odd", tmp_path / "odd-out", BrightEngine()) as page:
        (case, *_) = page.get("api/state").json()["cases"]
        assert case["name"] == "scan\udcff"
        with pytest.raises(AssertionError, match="not a whole"):
            page.open(case["name"])


def test_a_defect_is_told_without_its_details(page, monkeypatch):
    def broken(path):
        raise MemoryError("secret")

    monkeypatch.setattr("graysam.formats.npz.NpzFormat.read", lambda self, path: broken(path))
    with pytest.raises(AssertionError, match="no memory: MemoryError") as told:
        page.open("blocks")
    assert "secret" not in str(told.value)


def test_html_in_a_name_stays_text(page):
    name = "<img src=x onerror=alert(1)>"
    page.open("blocks")
    with page.live() as live:
        told = live.ask("add_object", "object", name=name + "\u202e\x1b", colour="")
        assert told["object"]["name"] == name  # as data; control characters are gone
        assert "#rrggbb" in live.refused("add_object", name="", colour="red;}x{")
    answer = page.get("api/state")
    assert answer.headers["content-type"] == "application/json"
