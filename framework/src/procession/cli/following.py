"""Following: an answer that takes longer than one request may wait for, asked for again until it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

from procession.cli.progress import Progress
from procession.errors import ComputeError

FOLLOWED = ("behind", "deadline")  # kinds of refusals after which the work goes on
FIRST_PAUSE = 0.05  # seconds
LONGEST_PAUSE = 1.0

T = TypeVar("T")


def followed(ask: Callable[[], T], end: float | None) -> T:
    """Return an answer, asked for as often as it takes, with a bar; ``end`` (of ``time.monotonic``) ends it."""
    with ExitStack() as shown:
        bar: Progress | None = None
        pauses = _pauses()
        while True:
            try:
                return ask()
            except ComputeError as refusal:
                pause = next(pauses)
                _refuse_late(refusal, None if end is None else end - time.monotonic() - pause)
                slot, at = _number(refusal, "slot"), _number(refusal, "at")
            bar = bar or shown.enter_context(Progress("computing", slot + 1))
            bar.to(at + 1)
            time.sleep(pause)


def _refuse_late(refusal: ComputeError, left: float | None) -> None:
    """Raise a refusal that is none to follow, or that no time is left for."""
    if refusal.kind not in FOLLOWED:
        raise refusal
    if left is None or left > 0:
        return
    if refusal.kind == "deadline":
        raise refusal
    what = f"the time was over with {_number(refusal, 'left')} slots still to be computed"
    remedy = "ask again, or give more with --timeout; what is done is kept"
    raise ComputeError(what, where=refusal.where, remedy=remedy, kind="deadline", facts=refusal.facts) from refusal


def _number(refusal: ComputeError, fact: str) -> int:
    found = refusal.facts.get(fact)
    return found if isinstance(found, int) else -1


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)
