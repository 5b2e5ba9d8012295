"""Pulse: how long this host's durable writes take, so that a slow disk is told and not guessed."""

from __future__ import annotations

import time
from collections import deque
from statistics import median

KEPT = 16  # writes of one kind that are looked at
SLOW = 0.025  # seconds that half of them may take
STUCK = 1.0  # seconds after which one counts that is still under way


class Write:
    """Time one write. What it changes is changed at once, so that no lock is needed."""

    __slots__ = ("_taken", "_under_way", "kind")

    def __init__(self, kind: str, taken: deque[float], under_way: dict[Write, float]) -> None:
        self.kind = kind
        self._taken = taken
        self._under_way = under_way

    def __enter__(self) -> None:
        self._under_way[self] = time.monotonic()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._taken.append(time.monotonic() - self._under_way.pop(self))


class Pulse:
    """Time writes by kind, those that are on their way too. Safe to call from many threads."""

    def __init__(self) -> None:
        self._taken: dict[str, deque[float]] = {}
        self._under_way: dict[Write, float] = {}

    def write(self, kind: str) -> Write:
        """Time one write, for as long as this is entered."""
        return Write(kind, self._taken.setdefault(kind, deque(maxlen=KEPT)), self._under_way)

    def seconds(self) -> dict[str, float]:
        """Return the usual seconds of a write by kind; one under way for longer counts for all."""
        now = time.monotonic()
        usual = {kind: median(list(taken)) for kind, taken in sorted(self._taken.items()) if taken}
        for write, begun in list(self._under_way.items()):
            if now - begun > STUCK:
                usual[write.kind] = max(usual.get(write.kind, 0.0), now - begun)
        return usual

    def slow(self) -> list[str]:
        """Return the kinds of writes that are slow."""
        return [kind for kind, seconds in self.seconds().items() if seconds > SLOW]
