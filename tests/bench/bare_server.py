"""The bare server: uvicorn as the node runs it, and a handler that verifies what was signed, answers, and no more.

``python tests/bench/bare_server.py`` prints its URL and serves until its input ends.
"""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from procession.commitments import message_id
from procession.registry import Registry

HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class Bare:
    """Verify each request in the loop that reads it, by the codec that the node has, and answer the id."""

    def __init__(self) -> None:
        self._codec: Any = Registry().table("codecs")["httpsig@1.0"]

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            frame = await receive()
            assert frame["type"] == "http.request"
            body, more = body + frame["body"], frame["more_body"]
        message = self._codec.decode_request(scope["method"], scope["path"], scope["headers"], body)
        told = b'{"id":"%s"}' % message_id(message).encode()
        headers = [*HEADERS, (b"content-length", str(len(told)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": told, "more_body": False})


def main() -> None:
    """Serve until the input ends."""
    place = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(Bare(), http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    print(f"http://127.0.0.1:{place.getsockname()[1]}", flush=True)
    threading.Thread(target=_end, args=(server,), daemon=True).start()
    server.run(sockets=[place])


def _end(server: uvicorn.Server) -> None:
    """Wait for the end of the input."""
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    main()
