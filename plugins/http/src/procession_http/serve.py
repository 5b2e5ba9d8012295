"""Serving: bytes in, a reply out: bodies, threads, and an end that loses nothing.

Rules
-----
* A body is bounded while it comes; one that is too large is never held.
* Kernel calls block, so they run in a bounded number of threads; what finds no room is told so at once.
* What an operator asks of meta@1.0 has threads of its own: it is answered also where every other one is taken.
* At the end nothing new is accepted, what runs is answered within a bound, and only then does the kernel close.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from types import FrameType

import attrs
import uvicorn
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message as Frame
from starlette.types import Receive, Scope, Send

from procession.errors import ComputeError, ConfigError, ProcessionError, RequestError
from procession.kernel import Kernel
from procession.settings import seconds
from procession_http.connections import LINGER, Connection, Patience
from procession_http.settings import HttpSettings
from procession_http.wire import Asked, Reply, answer, headless, refusal

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 1024
SETTLING = (
    5.0  # seconds for threads to leave the kernel at the end; who waits longer is told by the kernel that it closes
)
OWN_THREADS = 2
OWN_REQUESTS = 16
OWN = re.compile(r"/~meta@1\.0/(info|health|workers|retry)(\?[\w=&-]*)?\Z")  # what computes nothing


def listen(settings: HttpSettings) -> socket.socket:
    """Return a listening socket; port 0 is any that is free. ConfigError if the place is taken or is none."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:  # a name that is none is a UnicodeError
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        problem = f"cannot listen on port {settings.port} of {settings.host}: {reason}; give another --host or --port"
        raise ConfigError([problem], where="serve") from error


def run(kernel: Kernel, settings: HttpSettings, place: socket.socket, *, started: Callable[[], None]) -> None:
    """Serve a kernel until SIGINT or SIGTERM, then finish what runs; the kernel is the caller's to close.

    ``started`` is called once requests are answered. A second SIGINT waits for nothing more.
    """
    node = Node(kernel, settings)
    config = uvicorn.Config(
        node,
        http=partial(Connection, settings=settings, headless=headless),  # type: ignore[arg-type] # called as a class is
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=seconds(settings.idle_timeout),  # type: ignore[arg-type] # given to call_later
        timeout_graceful_shutdown=seconds(settings.drain_timeout),  # type: ignore[arg-type] # given to wait_for
    )
    try:
        Server(config, settings, started).run(sockets=[place])
    finally:
        node.close()


class Server(uvicorn.Server):
    """Run the event loop of a node, and turn late peers away."""

    def __init__(self, config: uvicorn.Config, settings: HttpSettings, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._patience = Patience(head=seconds(settings.head_timeout), send=seconds(settings.send_timeout))
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        self._tell()

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections, ten times a second."""
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.late(now, self._patience)
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal, without raising it again at the end: the kernel is closed after this."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {name: signal.signal(name, self._stop) for name in SIGNALS}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def _stop(self, name: int, frame: FrameType | None) -> None:
        self.handle_exit(name, frame)


class Node:
    """Take requests in as ASGI has them, and give each to the kernel in a thread."""

    def __init__(self, kernel: Kernel, settings: HttpSettings) -> None:
        self._kernel = kernel
        self._settings = settings
        self._body_seconds = seconds(settings.body_timeout)
        limit = seconds(settings.request_timeout)
        self._room = Room(settings.threads, settings.requests, limit)
        self._own_room = Room(OWN_THREADS, OWN_REQUESTS, limit)
        self._held = 0  # bytes of bodies

    def close(self) -> None:
        """Wait a moment for the threads; what has not begun is given up, and who still waits the kernel will tell."""
        self._room.close()
        self._own_room.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        upload = _Upload(receive)
        request = Request(scope, upload)
        body = bytearray()
        try:
            reply = await self._reply(request, body)
        except ClientDisconnect:
            return
        except ProcessionError as error:
            reply = refusal(error, _asked(request, b""))
        except asyncio.CancelledError:
            reply = refusal(_stopping(), _asked(request, b""))
        finally:
            self._held -= len(body)
        await _send(reply, send, None if _is_whole(request, upload) else upload)

    async def _reply(self, request: Request, body: bytearray) -> Reply:
        asked = _asked(request, b"")
        room = self._own_room if OWN.match(asked.target) else self._room
        room.refuse_when_full()
        await self._receive(request, body)
        asked = attrs.evolve(asked, body=bytes(body))
        return await room.run(partial(answer, self._kernel, asked, signed=self._settings.require_signed))

    async def _receive(self, request: Request, body: bytearray) -> None:
        """Receive a body within its size and time."""
        self._check_declared(request.headers)
        try:
            async with asyncio.timeout(self._body_seconds):
                async for chunk in request.stream():
                    self._check_size(len(body) + len(chunk))
                    self._check_held(len(chunk))
                    self._held += len(chunk)
                    body += chunk
        except TimeoutError:
            what = f"no whole body came within {self._body_seconds:g} seconds"
            raise RequestError(what, where="body", remedy="send it at once", kind="slow") from None

    def _check_declared(self, headers: Headers) -> None:
        length, coding = headers.get("content-length", ""), headers.get("transfer-encoding", "chunked")
        if coding.strip().lower() != "chunked":
            place = "transfer-encoding"
            raise RequestError(f"{coding!r:.40}", where=place, remedy="send it chunked and no more", kind="http")
        self._check_size(int(length) if length.isdecimal() else 0)

    def _check_size(self, size: int) -> None:
        limit = self._settings.body_limit
        if size > limit:
            what = f"a body of more than {limit} bytes"
            raise RequestError(what, where="body", remedy="send less", kind="too-large", facts={"limit": limit})

    def _check_held(self, more: int) -> None:
        if self._held + more > self._settings.bodies_limit:
            raise _busy(f"{self._held} bytes of bodies are held, which is all that this node takes")


class Room:
    """Run calls in threads, at most so many at once, and so many that run or wait for a thread."""

    def __init__(self, threads: int, requests: int, limit: float) -> None:
        self._threads = ThreadPoolExecutor(threads, "procession-http")
        self._turns = asyncio.Semaphore(threads)
        self._requests = requests
        self._limit = limit  # seconds for one, with the wait for a thread
        self._running: set[Future[Reply]] = set()
        self._inside = 0

    def refuse_when_full(self) -> None:
        """Refuse one more."""
        if self._inside >= self._requests:
            raise _busy(f"{self._inside} requests are running, which is all that this node takes")

    async def run(self, call: Callable[..., Reply]) -> Reply:
        """Run a call that is told how many seconds are left, as ``timeout``."""
        self.refuse_when_full()
        self._inside += 1
        try:
            return await self._ran(call)
        finally:
            self._inside -= 1

    def close(self) -> None:
        """Give up what has not begun, and wait a moment for what has."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        wait(self._running, SETTLING)

    async def _ran(self, call: Callable[..., Reply]) -> Reply:
        deadline = time.monotonic() + self._limit
        try:
            async with asyncio.timeout(self._limit):
                await self._turns.acquire()
        except TimeoutError:
            what = f"no thread came free within {self._limit:g} seconds"
            raise ComputeError(what, where="node", remedy="ask again", kind="deadline") from None
        try:
            running = self._threads.submit(call, timeout=max(0.0, deadline - time.monotonic()))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
            return await asyncio.wrap_future(running)
        finally:
            self._turns.release()


def _asked(request: Request, body: bytes) -> Asked:
    scope, headers = request.scope, request.headers
    query: bytes = scope["query_string"]
    raw: bytes = scope["raw_path"]
    return Asked(
        method=request.method,
        target=(raw + b"?" + query if query else raw).decode("ascii"),
        content_type=headers.get("content-type", ""),
        content_encoding=headers.get("content-encoding", ""),
        idempotency_keys=tuple(headers.getlist("idempotency-key")),
        body=body,
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw),
    )


class _Upload:
    """Receive a body, and know where it ends."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Frame:
        """Receive the next part."""
        frame = await self._receive()
        self.ended = frame["type"] != "http.request" or not frame.get("more_body", False)
        return frame

    async def throw_away(self) -> None:
        """Read on for a moment and keep nothing, so that a peer that is still sending finds its reply."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while not self.ended:
                    await self()


def _is_whole(request: Request, upload: _Upload) -> bool:
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return upload.ended or not has_body


async def _send(reply: Reply, send: Send, unread: _Upload | None) -> None:
    """Send a reply; where there is a body that was not read to its end, close after it."""
    rows = list(reply.headers)
    rows += [] if reply.status == HTTPStatus.NO_CONTENT else [("content-length", str(len(reply.body)))]
    rows += [("connection", "close")] if unread else []
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in rows]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": unread is not None})
    if unread is not None:
        await unread.throw_away()
        await send({"type": "http.response.body", "body": b""})


def _stopping() -> ComputeError:
    what = "the node stops; what was asked may have been done or not"
    return ComputeError(what, where="node", remedy="ask again when it is back", kind="stopping")


def _busy(what: str) -> ComputeError:
    return ComputeError(what, where="node", remedy="ask again later", kind="busy")
