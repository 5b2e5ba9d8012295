"""Writers: many threads that post to one process, and what must hold of the slots that they were told.

A post is told with the moments at which it began and ended, so that the order of slots can be held against time.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import attrs

PATIENCE = 60.0  # seconds within which anything that happens at all has happened
MOST = 1 << 20  # bytes of a reply

Job = TypeVar("Job")


@attrs.frozen
class Posted:
    """Hold a post: the number of its message, the slot that was answered, when it began and when it ended."""

    number: int
    slot: int
    began: int
    ended: int


def timed(post: Callable[[int], int | None]) -> Callable[[int], Posted | None]:
    """Return a post of the message of a number that tells its times; None where nobody heard the answer."""

    def timing(number: int) -> Posted | None:
        began = time.monotonic_ns()
        slot = post(number)
        return None if slot is None else Posted(number, slot, began, time.monotonic_ns())

    return timing


def by_writers(writers: int, jobs: Sequence[Job], work: Callable[[Job], Posted | None]) -> list[Posted]:
    """Do jobs by so many threads that begin at once, and return what they were told; an error of one is raised."""
    told: list[Posted] = []
    errors: list[BaseException] = []
    ready = threading.Barrier(writers)

    def write(share: Sequence[Job]) -> None:
        try:
            ready.wait(PATIENCE)
            told.extend(posted for posted in map(work, share) if posted is not None)
        except BaseException as error:  # noqa: BLE001 # a thread's error is the test's
            errors.append(error)

    threads = [threading.Thread(target=write, args=(jobs[start::writers],)) for start in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a writer waits without end"
    if errors:
        raise errors[0]
    return told


def check_order(told: Sequence[Posted]) -> None:
    """Hold that a message first posted after another was answered has the later slot; repeats have the first's."""
    slots = {slot: [one for one in told if one.slot == slot] for slot in {one.slot for one in told}}
    earliest = None  # answer of a later slot
    for slot in sorted(slots, reverse=True):
        began, ended = min(one.began for one in slots[slot]), min(one.ended for one in slots[slot])
        assert earliest is None or began < earliest, f"slot {slot} began after a later slot was answered"
        earliest = ended if earliest is None else min(ended, earliest)


def post_raw(port: int, path: str, message: object, key: str | None, *, hear: bool) -> int | None:
    """Post over a connection of its own, and return the slot; if nobody is to hear, cut it as soon as all is sent."""
    body = json.dumps(message).encode()
    rows = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {len(body)}"]
    rows += [f"idempotency-key: {key}"] if key else []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as wire:
        wire.sendall("\r\n".join([*rows, "connection: close", "", ""]).encode() + body)
        return _slot_of(wire) if hear else None


def _slot_of(wire: socket.socket) -> int | None:
    content = bytearray()
    with suppress(ConnectionError):  # of a node that was killed
        while len(content) < MOST and (chunk := wire.recv(65536)):
            content += chunk
    head, _, body = bytes(content).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        assert not head or b" 503 " in head[:16], head
        return None
    return int(json.loads(body)["slot"])
