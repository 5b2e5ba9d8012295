"""Pulse: how long this host's durable writes take, so that a slow disk is told and not guessed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

KEPT = 16  # writes of one kind that are looked at
SLOW = 0.025  # seconds that half of them may take
STUCK = 1.0  # seconds after which one counts that is still under way


class Pulse:
    """Time writes by kind, those that are on their way too. Safe to call from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, deque[float]] = {}
        self._under_way: dict[object, tuple[str, float]] = {}

    @contextmanager
    def write(self, kind: str) -> Iterator[None]:
        """Time one write."""
        mark, begun = object(), time.monotonic()
        with self._lock:
            self._under_way[mark] = (kind, begun)
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[mark]
                self._taken.setdefault(kind, deque(maxlen=KEPT)).append(time.monotonic() - begun)

    def seconds(self) -> dict[str, float]:
        """Return the usual seconds of a write by kind; one under way for longer counts for all."""
        now = time.monotonic()
        with self._lock:
            usual = {kind: median(taken) for kind, taken in sorted(self._taken.items())}
            for kind, begun in self._under_way.values():
                if now - begun > STUCK:
                    usual[kind] = max(usual.get(kind, 0.0), now - begun)
        return usual

    def slow(self) -> list[str]:
        """Return the kinds of writes that are slow."""
        return [kind for kind, seconds in self.seconds().items() if seconds > SLOW]
