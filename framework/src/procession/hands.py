"""Hands: threads that take jobs; a new one begins only where none is free, and where this host lets it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from procession.errors import ComputeError

Job = Callable[[], object]


class Hands:
    """Run jobs, each at once. The threads keep no program from ending; a job tells its own errors."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._count = 0
        self._free = 0  # threads that wait for a job; below 0 where jobs wait for a thread
        self._closed = False

    def give(self, job: Job) -> None:
        """Have a job done, by a thread that is busy now where no other begins. ComputeError where there is none."""
        with self._lock:
            if self._free <= 0 and self._began(job):
                return
            self._free -= 1
            self._jobs.put(job)

    def close(self) -> None:
        """Let the free ones go, and the others when they are done."""
        with self._lock:
            self._closed = True
            while self._free > 0:
                self._free -= 1
                self._jobs.put(None)

    def _began(self, job: Job) -> bool:
        self._count += 1
        if begin(self._name, lambda: self._work(job)):
            return True
        self._count -= 1
        if not self._count:
            remedy = "ask again later, or let this host have more threads"
            raise ComputeError("this host begins no thread", where="workers", remedy=remedy, kind="busy")
        return False

    def _work(self, first: Job) -> None:
        job: Job | None = first
        while job is not None:
            job()
            with self._lock:
                if self._closed and self._free >= 0:
                    return
                self._free += 1
            job = self._jobs.get()


def begin(name: str, work: Job) -> bool:
    """Begin a thread that keeps no program from ending; False where this host begins no more."""
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except (RuntimeError, MemoryError):
        return False
    return True
