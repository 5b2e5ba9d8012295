"""Serving: a kernel behind the wire of the HTTP plugin, in this program."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from procession import Kernel
from procession_http.wire import Asked, answer


class Wire(BaseHTTPRequestHandler):
    """Answer as a node does."""

    kernel: Kernel

    def do_GET(self) -> None:
        """Answer a GET."""
        self._reply(b"")

    def do_POST(self) -> None:
        """Answer a POST."""
        self._reply(self.rfile.read(int(self.headers["content-length"])))

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _reply(self, body: bytes) -> None:
        asked = Asked(str(self.command), self.path, "application/json", body=body)
        reply = answer(self.kernel, asked, timeout=60, signed=False)
        self.send_response(reply.status)
        for name, value in (*reply.headers, ("content-length", str(len(reply.body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)


@contextmanager
def serving(kernel: Kernel) -> Iterator[str]:
    """Serve a kernel, and give its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Wire,), {"kernel": kernel}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
