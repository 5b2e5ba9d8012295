"""Connections: what a peer may send before there is a request, and how long it may take.

HTTP/1.1 itself is uvicorn's and httptools'; they bound neither the head of a request, nor the trailers of a body,
nor the time of either, nor a peer that does not read. A server asks each connection now and then whether it is late.

Rules
-----
* Bytes that bring neither a head, nor a body, nor an end to a request are counted, and cut off at the header limit.
* A request that was read whole is answered, whatever comes behind it.
* A refusal is written, the connection closed to writing, and what still comes is thrown away for a moment,
  so that the peer finds the refusal and not a reset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import attrs
import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from procession.errors import ComputeError, ProcessionError, RequestError
from procession_http.settings import HttpSettings

LINGER = 1.0  # seconds in which a refused peer may go on sending to nobody
VERSIONS = ("1.0", "1.1")
WHOLE = "procession.whole"  # in the scope of a request that was read to its end
TAKEN = 1 << 16  # bytes that a peer must take of what it asked for to be alive

Headless = Callable[[ProcessionError], bytes]  # the bytes of a refusal


@attrs.frozen
class Patience:
    """Hold how many seconds a head may take, and a peer that does not read."""

    head: float
    send: float


class Connection(HttpToolsProtocol):
    """Receive the requests of one peer within the bounds of a node."""

    def __init__(
        self,
        *,
        settings: HttpSettings,
        headless: Headless,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._settings = settings
        self._headless = headless
        self._refused: ProcessionError | None = None  # why, where a callback of the parser found it
        self._deaf = False  # what comes from now on is thrown away
        self._in_head = True  # no head was read whole since the last request ended
        self._head_since: float | None = None
        self._head_size = 0
        self._moved = False  # the bytes just fed brought a request forward
        self._unmoved = 0  # bytes since one did
        self._unsent: tuple[float, int] | None = None  # since when a peer has not read, and how much lay there then

    def late(self, now: float, patience: Patience) -> bool:
        """Tell whether this peer ran out of time at ``now``, and turn it away if so."""
        if self._is_stuck(now, patience.send):
            self.transport.abort()
            return True
        since = self._head_since
        waits = since is None or self._deaf or self.transport.is_closing() or self._is_busy()
        if waits or since is None or now - since <= patience.head:
            return False
        what = f"no whole head came within {patience.head:g} seconds"
        self._break_off(RequestError(what, where="request", remedy="send it at once", kind="slow"))
        return True

    # -- what the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Greet a peer, or turn it away where there are too many."""
        super().connection_made(transport)
        self._head_since = self.loop.time()
        if len(self.connections) > self._settings.connections:
            what = f"{self._settings.connections} connections are open, which is all that this node takes"
            self._break_off(ComputeError(what, where="connection", remedy="come back later", kind="busy"))

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        if self._deaf:
            return
        self._moved = False
        super().data_received(data)
        self._unmoved = 0 if self._moved else self._unmoved + len(data)
        if self._deaf:
            return
        if self._unmoved > self._settings.header_limit:
            self._break_off(self._too_large())
        elif self._in_head and self._head_since is None and not self._moved:
            self._head_since = self.loop.time()

    def send_400_response(self, msg: str) -> None:
        """Refuse what does not parse."""
        self._break_off(self._refused or _malformed())

    # -- what the parser tells

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._head_size, self._head_since = 0, self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._grow_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or throw a trailer away: no key of a request may come behind its body."""
        if self._in_head:
            self._grow_head(len(name) + len(value) + 4)
            super().on_header(name, value)
            if len(self.headers) > self._settings.header_count:
                self._refuse(self._too_large())

    def on_headers_complete(self) -> None:
        """End a head; the request begins to run."""
        if self.parser.get_http_version() not in VERSIONS:
            self._refuse(_malformed())
        super().on_headers_complete()
        self._moved, self._in_head, self._head_since = True, False, None

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._moved, self._in_head = True, True
        self.scope[WHOLE] = True  # type: ignore[literal-required] # a key of ours
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what the peer sent ahead; close where nothing more is taken from it."""
        super().on_response_complete()
        if self._head_since is not None:
            self._head_since = self.loop.time()
        if self._deaf and not self._is_busy():
            self.transport.close()

    # -- inside

    def _grow_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._settings.header_limit:
            self._refuse(self._too_large())

    def _refuse(self, error: ProcessionError) -> None:
        """Stop the parser, from within one of its callbacks."""
        self._refused = error
        raise httptools.HttpParserError(error.text)

    def _too_large(self) -> RequestError:
        limits = f"{self._settings.header_limit} bytes or {self._settings.header_count} headers"
        return RequestError(f"a head of more than {limits}", where="request", kind="head-too-large")

    def _is_busy(self) -> bool:
        """Tell whether a request of this peer runs or waits."""
        newest: RequestResponseCycle | None = self.cycle  # uvicorn begins without one
        return bool(self.pipeline) or (newest is not None and not newest.response_complete)

    def _is_stuck(self, now: float, patience: float) -> bool:
        """Tell whether the peer took too little of what it asked for."""
        size = self.transport.get_write_buffer_size()
        if size == 0:
            self._unsent = None
        elif self._unsent is None or size + TAKEN <= self._unsent[1]:
            self._unsent = (now, size)
        return self._unsent is not None and now - self._unsent[0] > patience

    def _break_off(self, error: ProcessionError) -> None:
        """Take nothing more from this peer: answer what was read whole, refuse what was not."""
        self._deaf = True
        if self.pipeline and self.cycle.more_body:
            self.pipeline[0] = (self.cycle, self._refusing(error))
        elif not self._is_busy():
            self._write_last(self._headless(error))
        elif self.cycle.more_body:
            self._abandon(error)

    def _refusing(self, error: ProcessionError) -> ASGI3Application:
        """Return what refuses a request when its turn comes."""

        async def refuse(scope: object, receive: object, send: object) -> None:
            self._abandon(error)

        return refuse

    def _abandon(self, error: ProcessionError) -> None:
        """End a request in the middle of its body."""
        begun = self.cycle.response_started
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self._write_last(b"" if begun else self._headless(error))

    def _write_last(self, content: bytes) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(content)
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER, self.transport.abort)


def _malformed() -> RequestError:
    return RequestError("not HTTP/1.1", where="request", remedy="send well-formed HTTP/1.1", kind="http")
