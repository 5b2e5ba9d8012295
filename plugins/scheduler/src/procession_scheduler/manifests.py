"""Manifests: which runs the index consists of, and how far those that are being merged have come.

Rules
-----
* Runs come in levels. ``FAN`` runs of a level become one of the next, the oldest first.
* A merge goes from the first name to the last. What lies before ``reached`` is in its target and nowhere else of
  its sources, so that a name is looked for in the one or in the others.
* A run's number is never given again, so the count of those given tells an older manifest from a newer one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import attrs

from procession_scheduler.chunks import START

FAN = 8


@attrs.frozen
class Level:
    """Hold the runs of a level, the oldest first; and those that are being merged, into which run and how far."""

    runs: tuple[int, ...] = ()
    sources: tuple[int, ...] = ()
    target: int = 0
    reached: bytes = START

    @property
    def is_full(self) -> bool:
        """Tell whether there are as many runs as are merged."""
        return len(self.runs) >= FAN

    def merging(self, target: int) -> Level:
        """Return the level with its oldest runs being merged."""
        return Level(self.runs[FAN:], self.runs[:FAN], target)

    def holding(self, name: bytes) -> tuple[int, ...]:
        """Return the runs that can hold a name."""
        return ((self.target,) if name < self.reached else self.sources) + self.runs


@attrs.frozen
class Manifest:
    """Hold the levels, how many runs were given a number, and how many of the names that are noted are in them."""

    levels: tuple[Level, ...] = ()
    dead: tuple[int, ...] = ()  # runs that were merged, whose chunks may be written over
    given: int = 0
    indexed: int = 0

    def holding(self, name: bytes) -> list[int]:
        """Return the runs that can hold a name."""
        return [run for level in self.levels for run in level.holding(name)]

    def encoded(self) -> bytes:
        """Return it as bytes."""
        levels = [(level.runs, level.sources, level.target, level.reached.hex()) for level in self.levels]
        return json.dumps([levels, self.dead, self.given, self.indexed]).encode()


def decoded(content: bytes) -> Manifest:
    """Return a manifest of its bytes."""
    levels, dead, given, indexed = json.loads(content)
    return Manifest(tuple(_levels(levels)), tuple(dead), given, indexed)


def _levels(rows: list[tuple[list[int], list[int], int, str]]) -> Iterator[Level]:
    for runs, sources, target, reached in rows:
        yield Level(tuple(runs), tuple(sources), target, bytes.fromhex(reached))
