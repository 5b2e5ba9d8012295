"""Hands: threads that take jobs; a new one begins only where none is free, and where this host lets it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from procession.errors import ComputeError

Job = Callable[[], object]
Told = Callable[[BaseException], None]
T = TypeVar("T")

PAUSE = 0.1  # seconds until an error is told again for which there was no memory

log = logging.getLogger("procession")


class _Hand(SimpleQueue["Job | None"]):
    """Hold the next job of one thread that waits; ``below`` waits as well."""

    below: _Hand | None = None


class Hands:
    """Run jobs, each at once. The threads keep no program from ending.

    The one that was free last takes the next: what it needs is still near.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._free: _Hand | None = None
        self._jobs: deque[Job] = deque()  # that wait for a thread
        self._count = 0
        self._closed = False

    def give(self, job: Job, failed: Told) -> None:
        """Have a job done, by a thread that is busy now where no other begins.

        What it raises, or that there is none, is told to ``failed``, again and again until there is memory to tell it.
        """
        try:
            self._give(partial(_guarded, job, failed))
        except (ComputeError, MemoryError) as error:
            _tell(failed, error)

    def _give(self, job: Job) -> None:
        with self._lock:
            if (hand := self._free) is not None:
                hand.put(job)
                self._free = hand.below
            elif not self._began(job):
                self._jobs.append(job)

    def close(self) -> None:
        """Let the free ones go, and the others when they are done."""
        with self._lock:
            self._closed = True
            while (hand := self._free) is not None:
                self._free = hand.below
                hand.put(None)

    def _began(self, job: Job) -> bool:
        hand = _Hand()
        self._count += 1
        if begin(self._name, partial(self._work, job, hand)):
            return True
        self._count -= 1
        if not self._count:
            remedy = "ask again later, or let this host have more threads"
            raise ComputeError("this host begins no thread", where="workers", remedy=remedy, kind="busy")
        return False

    def _work(self, first: Job, hand: _Hand) -> None:
        job: Job | None = first
        while job is not None:
            job()
            job = self._next(hand) or hand.get()

    def _next(self, hand: _Hand) -> Job | None:
        """Return a job that waits; else have the hand wait for one, at the end for none."""
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            if self._closed:
                hand.put(None)
            else:
                hand.below, self._free = self._free, hand
            return None


def _guarded(job: Job, failed: Told) -> None:
    try:
        job()
    except BaseException as error:  # noqa: BLE001 - the boundary of a thread: what nobody told is told here
        _tell(failed, error)


def _tell(failed: Told, error: BaseException) -> None:
    while True:
        try:
            return failed(error)
        except MemoryError:
            time.sleep(PAUSE)


def begin(name: str, work: Job) -> bool:
    """Begin a thread that keeps no program from ending; False where this host begins no more."""
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except (RuntimeError, MemoryError):
        return False
    return True


def beside(name: str, work: Callable[[], T]) -> Future[T]:
    """Work on a thread of its own, here and now where this host begins none; return its answer, to be waited for."""
    answer = Future[T]()
    job = partial(_guarded, lambda: answer.set_result(work()), answer.set_exception)
    if not begin(name, job):
        job()
    return answer


def each(things: Iterable[T], do: Callable[[T], None]) -> None:
    """Do something with each thing; what one of them raises is logged, and keeps it from no other."""
    for thing in things:
        try:
            do(thing)
        except Exception as error:  # noqa: BLE001 - the boundary of a thread that outlives what it meets
            log.warning("%s", error)
