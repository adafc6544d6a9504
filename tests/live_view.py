"""The real server of `graysam view` in a thread, and a client that talks to it as the page does."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from websockets.sync.client import connect

from graysam.api import Segmenter
from graysam.formats.reading_options import Reading
from graysam.view.address import listening_socket
from graysam.view.catalogue import Catalogue
from graysam.view.server import Server
from graysam.view.workspace import Workspace

TOKEN = "token-of-a-test"


@dataclass
class Page:
    """What a test sees of a running server."""

    server: Server
    port: int
    out: Path
    seq: int = 0
    others: list = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"{self.origin}/{TOKEN}/"

    def get(self, path, **options):
        return httpx.get(self.address + path, **options)

    def post(self, path, **options):
        return httpx.post(self.address + path, headers={"Origin": self.origin}, **options)

    def open(self, name):
        """Open a case of the list by its name, once the model is loaded."""
        deadline = time.monotonic() + 30
        while not (state := self.get("api/state").json())["model"]["is_ready"]:
            assert state["model"]["error"] is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (case_id,) = [each["id"] for each in state["cases"] if each["name"] == name]
        answer = self.post("api/open", json={"id": case_id})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pixels(self, path):
        """Get a raw picture as an array."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        shape = [int(answer.headers[f"x-{name}"]) for name in ("height", "width", "channels")]
        pixels = np.frombuffer(answer.content, np.dtype(answer.headers["x-dtype"]).newbyteorder("<"))
        return pixels.reshape(shape if shape[2] > 1 else shape[:2])

    @contextmanager
    def live(self):
        with connect(f"ws://127.0.0.1:{self.port}/{TOKEN}/api/live", origin=self.origin) as socket:
            live = Live(socket)
            live.state = live.next("state")
            yield live


@dataclass
class Live:
    """A live connection; `others` holds what came and was not asked for."""

    socket: object
    seq: int = 0
    state: dict = field(default_factory=dict)
    others: list = field(default_factory=list)

    def send(self, kind, **fields):
        if kind == "box":
            fields.setdefault("fit", "loose")  # as the page says of boxes of which nobody said otherwise
        self.seq += 1
        self.socket.send(json.dumps({"type": kind, "seq": self.seq, **fields}))
        return self.seq

    def receive(self, timeout=30):
        return json.loads(self.socket.recv(timeout))

    def next(self, kind, seq=None):
        """Wait for a message of a kind, and of an answer's number; an error of that number fails the test."""
        while True:
            event = self.receive()
            if event["type"] == kind and seq in (None, event["seq"]):
                return event
            assert event["type"] != "error" or kind == "error", event
            self.others.append(event)

    def ask(self, kind, wanted, **fields):
        """Say something, and give the answer of the wanted kind."""
        return self.next(wanted, self.send(kind, **fields))

    def refused(self, kind, **fields):
        """Say something, and give the words with which it is refused."""
        return self.next("error", self.send(kind, **fields))["message"]


@contextmanager
def running(place, out, engine, *, reading=None, uploads=None, **limits):
    """Serve a folder or file with an engine that looks at images once, so that calls can be counted; `out` is made."""
    out.mkdir(exist_ok=True)
    uploads = uploads or out.parent / f"{out.name}-uploads"
    uploads.mkdir(exist_ok=True)
    catalogue = Catalogue(place, reading or Reading(), uploads)
    server = Server(Workspace(catalogue, out, lambda: Segmenter(engine, mirror="never"), **limits))
    listener = listening_socket(0)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        server.app(token=TOKEN, port=port), log_config=None, access_log=False, ws="websockets-sansio", lifespan="on"
    )
    runner = uvicorn.Server(config)
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Page(server, port, out)
    finally:
        runner.should_exit = True
        thread.join(20)
        listener.close()


def mask_of(runs, size_hw):
    """Give runs as (H, W) bool."""
    flat = np.zeros(size_hw[0] * size_hw[1], bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        flat[start : start + length] = True
    return flat.reshape(size_hw)
