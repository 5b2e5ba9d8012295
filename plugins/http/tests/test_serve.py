"""The end of a node from the inside: what its threads have begun is over before the kernel may close."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from procession.registry import Registry
from procession_http.serve import Node
from procession_http.settings import HttpSettings

SCOPE = {"type": "http", "method": "GET", "raw_path": b"/x", "query_string": b"", "headers": []}


class BlockedKernel:
    """Resolve nothing before a gate opens."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.resolved: list[str] = []
        self.registry = Registry((), discover=False)

    def resolve(self, path: str, **asked: object) -> int:
        """Wait, and count."""
        self.entered.set()
        assert self.gate.wait(60)
        self.resolved.append(path)
        return 1


async def cancelled(node: Node, kernel: BlockedKernel) -> list[dict[str, Any]]:
    """Ask a node, cancel the request while it runs, and return what the peer was sent."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(frame: Any) -> None:
        sent.append(frame)

    task = asyncio.ensure_future(node(dict(SCOPE), receive, send))
    await asyncio.to_thread(kernel.entered.wait, 60)
    task.cancel()
    await task
    return sent


def test_closing_waits_for_what_runs() -> None:
    """A cancelled request is told so, and closing waits until its thread has left the kernel."""
    kernel: Any = BlockedKernel()
    node = Node(kernel, HttpSettings())
    sent = asyncio.run(cancelled(node, kernel))
    closing = threading.Thread(target=node.close)
    closing.start()
    closing.join(0.2)
    assert (503, True, []) == (sent[0]["status"], closing.is_alive(), kernel.resolved)
    kernel.gate.set()
    closing.join(60)
    assert (False, ["/x"]) == (closing.is_alive(), kernel.resolved)
