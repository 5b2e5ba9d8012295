"""Hands: threads that take jobs; a new one begins only where none is free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]


class Hands:
    """Run jobs, each at once. The threads keep no program from ending; a job tells its own errors."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._free = 0

    def give(self, job: Job) -> None:
        """Have a job done."""
        with self._lock:
            if self._free:
                self._free -= 1
                self._jobs.put(job)
                return
        threading.Thread(target=self._work, args=(job,), name=self._name, daemon=True).start()

    def close(self) -> None:
        """Let the free ones go."""
        with self._lock:
            for _ in range(self._free):
                self._jobs.put(None)
            self._free = 0

    def _work(self, first: Job) -> None:
        job: Job | None = first
        while job is not None:
            job()
            with self._lock:
                self._free += 1
            job = self._jobs.get()
