"""The server: addresses and live messages of `protocol`, put to the workspace through the worker's thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from graysam.errors import CaseError, GraySamError
from graysam.view import protocol
from graysam.view.facts import Event
from graysam.view.guard import Guard
from graysam.view.slices import cut, raw
from graysam.view.worker import Worker
from graysam.view.workspace import NotOpenError, NotReadyError, Workspace

logger = logging.getLogger(__name__)

PAGE_FOLDER: Final = Path(__file__).resolve().parent / "page"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
# Events that wait for a page that does not read them; then its connection is closed, and it asks for the state anew.
MOST_WAITING: Final = 2000


class Server:
    """The application, its worker and its live connections."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        first_case: str | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        """Bind.

        Args:
            workspace: what is served.
            first_case: the id of a case that is opened at the start.
            on_start: called when the server listens.
        """
        self.workspace = workspace
        self.worker = Worker(self._background)
        self._first_case = first_case
        self._on_start = on_start
        self._connections: set[_Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._files = _page_files(PAGE_FOLDER)

    def app(self, *, token: str, port: int) -> ASGIApp:
        """Give the application behind its guard."""
        inner = Starlette(
            routes=[
                Route(protocol.PAGE, self._page, methods=["GET"]),
                Route(protocol.PAGE_FILES, self._page_file, methods=["GET"]),
                Route(protocol.STATE, self._state, methods=["GET"]),
                Route(protocol.OPEN, self._open, methods=["POST"]),
                Route(protocol.UPLOAD, self._upload, methods=["POST"]),
                Route(protocol.UPLOADED, self._uploaded, methods=["POST"]),
                Route(protocol.SLICE, self._slice, methods=["GET"]),
                Route(protocol.LABELS, self._labels, methods=["GET"]),
                WebSocketRoute(protocol.LIVE, self._live),
            ],
            lifespan=self._lifespan,
            exception_handlers={GraySamError: _refused, protocol.MessageError: _refused, Exception: _defect},
        )
        return Guard(inner, token=token, port=port)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self._on_start()
        self.worker.submit(self._begin)
        yield
        await asyncio.to_thread(self.worker.close)
        self.workspace.close()

    def _begin(self) -> None:
        """Load the model, and open the first case; in the worker."""
        self.workspace.load_model()
        if self._first_case is not None:
            try:
                self.workspace.open(self._first_case)
            except GraySamError as error:
                self._tell([{"type": "error", "message": str(error)}])
        self._tell([self.workspace.state_event()])

    # --- requests ---

    async def _page(self, request: Request) -> Response:
        return self._file("index.html")

    async def _page_file(self, request: Request) -> Response:
        return self._file(request.path_params["file"])

    def _file(self, name: str) -> Response:
        """Give a file of the page: one of the list made at the start, so that no path is ever put together."""
        path = self._files.get(name)
        if path is None:
            return _error(404, "no such file.")
        return Response(path.read_bytes(), media_type=_TYPES[path.suffix])

    async def _state(self, request: Request) -> Response:
        return _json(await self._in_worker(self.workspace.state))

    async def _open(self, request: Request) -> Response:
        case_id = await _text_of(request, "id")
        facts = await self._in_worker(lambda: self.workspace.open(case_id))
        self._tell([await self._in_worker(self.workspace.state_event)])
        return _json(facts)

    async def _upload(self, request: Request) -> Response:
        name, batch = request.query_params.get("name", ""), request.query_params.get("batch", "")
        told = request.headers.get("content-length", "")
        if told.isdigit() and int(told) > self.workspace.upload_bytes:
            raise TooLargeError(f"{name[:80]}: {int(told):,} bytes; the limit is {self.workspace.upload_bytes:,}.")
        path = self.workspace.catalogue.upload_path(name, batch)
        size = 0
        partial = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with partial.open("xb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self.workspace.upload_bytes:
                        raise TooLargeError(f"{name[:80]}: more than {self.workspace.upload_bytes:,} bytes.")
                    await asyncio.to_thread(file.write, chunk)
            partial.replace(path)
        except OSError as error:
            raise CaseError(f"{name[:80]}: cannot be kept: {error.strerror or error}.") from error
        except ClientDisconnect:
            return _error(400, "the upload was broken off.")
        finally:
            partial.unlink(missing_ok=True)
        return _json({"name": name, "batch": batch, "bytes": size})

    async def _uploaded(self, request: Request) -> Response:
        batch = await _text_of(request, "batch")
        entries = await self._in_worker(lambda: self.workspace.catalogue.add_upload(batch))
        return _json({"cases": [entry.to_json() for entry in entries]})

    async def _slice(self, request: Request) -> Response:
        plane, index = _plane_of(request)
        stack = self.workspace.current().editor.shown  # read only, so that it need not wait for the worker
        picture = await asyncio.to_thread(lambda: raw(cut(stack, plane, index)))
        return Response(picture.content, headers=picture.headers, media_type="application/octet-stream")

    async def _labels(self, request: Request) -> Response:
        plane, index = _plane_of(request)

        def picture() -> Response:
            labels = self.workspace.current().editor.labels
            shown = labels.on_slice(index) if plane == "axial" and index < labels.depth else None
            found = raw(cut(labels.whole(), plane, index) if shown is None else shown)
            return Response(found.content, headers=found.headers, media_type="application/octet-stream")

        answer: Response = await self._in_worker(picture)
        return answer

    async def _in_worker(self, job: Callable[[], Any]) -> Any:  # noqa: ANN401  whatever the job gives
        return await asyncio.wrap_future(self.worker.submit(job))

    # --- live ---

    async def _live(self, websocket: WebSocket) -> None:
        await websocket.accept()
        connection = _Connection(websocket)
        self._connections.add(connection)
        writing = asyncio.create_task(connection.write())
        try:
            connection.put({**await self._in_worker(self.workspace.state_event), "seq": None})
            while True:
                self._take(connection, await websocket.receive_text())
        except (WebSocketDisconnect, RuntimeError, KeyError):  # KeyError: bytes instead of a text
            pass
        finally:
            self._connections.discard(connection)
            writing.cancel()
            with contextlib.suppress(Exception):
                await websocket.close()

    def _take(self, connection: _Connection, text: str) -> None:
        """Put a message to the worker; its answer goes out when it is there."""
        seq = None
        try:
            said = json.loads(text)
            seq = said.get("seq") if isinstance(said, dict) and isinstance(said.get("seq"), int) else None
            message = protocol.checked_message(said)
        except (ValueError, RecursionError) as error:  # MessageError is a ValueError
            connection.put({"type": "error", "seq": seq, "message": str(error)})
            return
        if self.worker.waiting >= MOST_WAITING:
            connection.put({"type": "error", "seq": seq, "message": "too much waits to be done; wait a little."})
            return
        key = (id(connection), message.get("object"))
        is_preview = message["type"] == "box" and not message["is_final"]
        if is_preview:
            future = self.worker.preview(key, lambda: self.workspace.handle(message))
        else:
            if message["type"] == "box":
                self.worker.drop_preview(key)
            future = self.worker.submit(lambda: self.workspace.handle(message))
        future.add_done_callback(lambda done: self._answer(connection, message, done))

    def _answer(self, connection: _Connection, message: dict[str, Any], done: Future[list[Event]]) -> None:
        """Tell what became of a message; runs in the worker's thread."""
        if done.cancelled():
            return
        seq, error = message["seq"], done.exception()
        if error is not None:
            if not isinstance(error, GraySamError):
                logger.error("%s failed", message["type"], exc_info=error)
            words = str(error) if isinstance(error, GraySamError) else f"a defect of GraySAM: {type(error).__name__}"
            self._tell([{"type": "error", "message": words}], only=connection, seq=seq)
            return
        private = message["type"] in ("masks", "save") or (message["type"] == "box" and not message["is_final"])
        self._tell(done.result(), only=connection if private else None, seq=seq, asker=connection)

    def _tell(
        self,
        events: list[Event],
        *,
        only: _Connection | None = None,
        seq: int | None = None,
        asker: _Connection | None = None,
    ) -> None:
        """Send events from the worker's thread."""
        if self._loop is None:
            return

        def put() -> None:
            for connection in [only] if only is not None else [*self._connections]:
                is_asker = connection is only or connection is asker
                for event in events:
                    connection.put({**event, "seq": seq if is_asker else None})

        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(put)

    def _background(self) -> bool:
        """Do a step of what is being followed; in the worker."""
        if not self.workspace.is_following:
            return False
        self._tell(self.workspace.step())
        return True


class _Connection:
    """A live connection, with the events that wait to be sent."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(MOST_WAITING)
        self._is_lost = False

    def put(self, event: Event) -> None:
        """Send soon; a page that does not read is given up."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._is_lost = True

    async def write(self) -> None:
        """Send what waits, until cancelled."""
        while not self._is_lost:
            event = await self._waiting.get()
            try:
                await self._websocket.send_text(json.dumps(event, separators=(",", ":"), allow_nan=False))
            except (WebSocketDisconnect, RuntimeError):
                return
        await self._websocket.close(code=1013, reason="too slow; connect again")


class TooLargeError(CaseError):
    """An upload beyond the limit."""


_STATUS: Final[dict[type[GraySamError], int]] = {TooLargeError: 413, NotOpenError: 409, NotReadyError: 503}


def _page_files(folder: Path) -> dict[str, Path]:
    """List the page's files by their address; links and unknown kinds are not served."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path for path in found if path.suffix in _TYPES}


async def _text_of(request: Request, field: str) -> str:
    """Give a field of a JSON body."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > protocol.BODY_BYTES:
            raise TooLargeError("the request is too large.")
    try:
        value = json.loads(body)[field]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise protocol.MessageError(f"wanted a JSON object with {field}.") from None
    if not isinstance(value, str):
        raise protocol.MessageError(f"{field}: wanted a text.")
    return value


def _plane_of(request: Request) -> tuple[str, int]:
    index = request.query_params.get("index", "")
    if not (index.isascii() and index.isdigit() and len(index) < 10):
        raise protocol.MessageError(f"index {index[:20]!r}: wanted a whole number from 0.")
    return request.query_params.get("plane", "axial"), int(index)


def _refused(request: Request, error: Exception) -> Response:
    return _error(next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400), str(error))


async def _defect(request: Request, error: Exception) -> Response:
    """Tell of a defect of ours, or of no memory; what was raised is logged."""
    return _error(500, f"a defect of GraySAM, or no memory: {type(error).__name__}.")


def _error(status: int, message: str) -> Response:
    return _json({"error": message}, status)


def _json(value: Any, status: int = 200) -> Response:  # noqa: ANN401  whatever JSON holds
    """Give JSON in ASCII: names of files may hold bytes that are no text, which UTF-8 cannot carry."""
    return Response(json.dumps(value, allow_nan=False), status, media_type="application/json")
