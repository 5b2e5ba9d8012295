"""Advancing: a process computed up to a slot, in steps short enough to show how far it is."""

from __future__ import annotations

import sys
import time

import click

from procession.cli.progress import Progress
from procession.errors import ComputeError
from procession.kernel import Kernel

REPORT = "at slot "
FIRST_STEP = 16  # slots
LONGEST_STEP = 256
BRISK = 0.2  # seconds: a step that took less is followed by a longer one
SLOW = 1.0


def advance(kernel: Kernel, process: str, last: int, *, end: float | None = None) -> None:
    """Compute a process up to a slot; what is stored already costs a look.

    ``end`` (of ``time.monotonic``) ends it with a ComputeError of kind ``deadline``.
    """
    with Progress("computing", last + 1) as progress:
        slot, size = -1, FIRST_STEP
        while slot < last:
            slot, begun = min(slot + size, last), time.monotonic()
            kernel.compute(process, slot, key="at-slot", timeout=_left(end, process, slot), patient=True)
            progress.to(slot + 1)
            size = next_size(size, time.monotonic() - begun)


def drill(kernel: Kernel, process: str, last: int, *, step: int) -> None:
    """Compute a process up to a slot; after each step tell on stderr what is stored, and wait for a line on stdin."""
    slot = -1
    while slot < last:
        slot = min(slot + step, last)
        kernel.compute(process, slot, key="at-slot", patient=True)
        click.echo(f"{REPORT}{slot}", err=True)
        sys.stdin.readline()


def next_size(size: int, seconds: float) -> int:
    """Return how many slots the next step has.

    >>> next_size(16, 0.01), next_size(16, 0.5), next_size(16, 3.0), next_size(1, 3.0)
    (32, 16, 8, 1)
    """
    if seconds < BRISK:
        return min(size * 2, LONGEST_STEP)
    return max(size // 2, 1) if seconds > SLOW else size


def _left(end: float | None, process: str, slot: int) -> float | None:
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0:
        text, place = f"the time was over before slot {slot}", f"process {process}"
        raise ComputeError(text, where=place, remedy="ask again; the work that is done is kept", kind="deadline")
    return left
