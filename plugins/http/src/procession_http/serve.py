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
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from types import FrameType
from typing import Any, TypeAlias

import uvicorn

from procession.errors import ComputeError, ConfigError, ProcessionError, RequestError
from procession.hands import Hands
from procession.kernel import Kernel
from procession.settings import seconds
from procession_http.connections import LINGER, WHOLE, Connection, Patience
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


Scope: TypeAlias = Mapping[str, Any]  # these as ASGI has them
Frame: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Frame]]
Send: TypeAlias = Callable[[Frame], Awaitable[None]]


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
        try:
            reply = await self._reply(scope, upload)
        except _GoneError:
            return
        except ProcessionError as error:
            reply = refusal(error, _asked(scope, b""))
        except asyncio.CancelledError:
            reply = refusal(_stopping(), _asked(scope, b""))
        finally:
            self._held -= upload.size
        await _send(reply, send, None if upload.ended or not _has_body(scope) else upload)

    async def _reply(self, scope: Scope, upload: _Upload) -> Reply:
        room = self._own_room if OWN.match(_target(scope)) else self._room
        room.refuse_when_full()
        self._check_declared(scope)
        if WHOLE in scope:
            await self._receive(upload)
        else:
            await self._receive_in_time(upload)
        asked = _asked(scope, upload.body)
        return await room.run(partial(answer, self._kernel, asked, signed=self._settings.require_signed))

    async def _receive_in_time(self, upload: _Upload) -> None:
        try:
            async with asyncio.timeout(self._body_seconds):
                await self._receive(upload)
        except TimeoutError:
            what = f"no whole body came within {self._body_seconds:g} seconds"
            raise RequestError(what, where="body", remedy="send it at once", kind="slow") from None

    async def _receive(self, upload: _Upload) -> None:
        """Receive a body within its size."""
        while not upload.ended:
            frame = await upload.next()
            if frame["type"] != "http.request":
                raise _GoneError
            part = frame.get("body", b"")
            self._check_size(upload.size + len(part))
            self._check_held(len(part))
            self._held += len(part)
            upload.keep(part)

    def _check_declared(self, scope: Scope) -> None:
        coding = _header(scope, b"transfer-encoding", "chunked")
        if coding.strip().lower() != "chunked":
            place = "transfer-encoding"
            raise RequestError(f"{coding!r:.40}", where=place, remedy="send it chunked and no more", kind="http")
        length = _header(scope, b"content-length")
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
        self._hands = Hands("procession-http")
        self._turns = asyncio.Semaphore(threads)
        self._requests = requests
        self._limit = limit  # seconds for one, with the wait for a thread
        self._quiet = threading.Condition()
        self._running: set[asyncio.Future[Reply]] = set()
        self._closed = False
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
            deadline = time.monotonic() + self._limit
            await self._turn()
            try:
                return await self._begun(call, deadline)
            finally:
                self._turns.release()
        finally:
            self._inside -= 1

    def close(self) -> None:
        """Give up what has not begun, and wait a moment for what has."""
        self._closed = True
        self._hands.close()
        with self._quiet:
            self._quiet.wait_for(lambda: not self._running, SETTLING)

    async def _turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()  # at once
            return
        try:
            async with asyncio.timeout(self._limit):
                await self._turns.acquire()
        except TimeoutError:
            what = f"no thread came free within {self._limit:g} seconds"
            raise ComputeError(what, where="node", remedy="ask again", kind="deadline") from None

    def _begun(self, call: Callable[..., Reply], deadline: float) -> asyncio.Future[Reply]:
        """Return the reply to come of a call that a thread takes."""
        told: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._running.add(told)
        self._hands.give(partial(self._work, call, deadline, told), partial(self._tell, told, None))
        return told

    def _work(self, call: Callable[..., Reply], deadline: float, told: asyncio.Future[Reply]) -> None:
        if self._closed:
            raise _stopping()
        self._tell(told, call(timeout=max(0.0, deadline - time.monotonic())), None)

    def _tell(self, told: asyncio.Future[Reply], reply: Reply | None, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            told.get_loop().call_soon_threadsafe(_settle, told, reply, error)
        with self._quiet:
            self._running.discard(told)
            self._quiet.notify_all()


def _settle(told: asyncio.Future[Reply], reply: Reply | None, error: BaseException | None) -> None:
    if told.done():  # given up at the end
        return
    if reply is not None:
        told.set_result(reply)
    elif error is not None:
        told.set_exception(error)


def _target(scope: Scope) -> str:
    raw, query = scope["raw_path"], scope["query_string"]
    target: bytes = raw + b"?" + query if query else raw
    return target.decode("ascii")


def _header(scope: Scope, name: bytes, default: str = "") -> str:
    """Return the first header of a name."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), default)


def _has_body(scope: Scope) -> bool:
    return _header(scope, b"content-length", "0") != "0" or bool(_header(scope, b"transfer-encoding"))


def _asked(scope: Scope, body: bytes) -> Asked:
    headers = tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])
    first = dict(reversed(headers))
    return Asked(
        method=scope["method"],
        target=_target(scope),
        content_type=first.get("content-type", ""),
        content_encoding=first.get("content-encoding", ""),
        idempotency_keys=tuple([value for name, value in headers if name == "idempotency-key"]),
        body=body,
        headers=headers,
    )


class _GoneError(Exception):
    """Say that a peer left before its request was whole."""


class _Upload:
    """Receive a body, and know where it ends."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._parts: list[bytes] = []
        self.size = 0  # bytes that are kept
        self.ended = False

    @property
    def body(self) -> bytes:
        """Return what was kept."""
        return b"".join(self._parts)

    async def next(self) -> Frame:
        """Receive the next part."""
        frame = await self._receive()
        self.ended = frame["type"] != "http.request" or not frame.get("more_body", False)
        return frame

    def keep(self, part: bytes) -> None:
        """Keep a part."""
        self._parts.append(part)
        self.size += len(part)

    async def throw_away(self) -> None:
        """Read on for a moment and keep nothing, so that a peer that is still sending finds its reply."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while not self.ended:
                    await self.next()


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
