"""Runs of slots, kept apart and in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Runs:
    """Keep runs of slots, both ends included, apart from each other and in order."""

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []

    def below(self, slot: int) -> int:
        """Return the first slot at or below one that is in no run; -1 where there is none."""
        at = bisect_right(self._lows, slot) - 1
        while at >= 0 and self._highs[at] >= slot:
            slot = self._lows[at] - 1
            at -= 1
        return slot

    def add(self, low: int, high: int) -> None:
        """Add a run, made one with those it meets."""
        first, last = bisect_left(self._highs, low), bisect_right(self._lows, high)
        if first < last:
            low, high = min(low, self._lows[first]), max(high, self._highs[last - 1])
        self._lows[first:last], self._highs[first:last] = [low], [high]

    def remove(self, slot: int) -> None:
        """Take a slot out of its run."""
        at = bisect_right(self._lows, slot) - 1
        if at < 0 or self._highs[at] < slot:
            return
        pieces = [(self._lows[at], slot - 1), (slot + 1, self._highs[at])]
        kept = [(low, high) for low, high in pieces if low <= high]
        self._lows[at : at + 1] = [low for low, _ in kept]
        self._highs[at : at + 1] = [high for _, high in kept]
