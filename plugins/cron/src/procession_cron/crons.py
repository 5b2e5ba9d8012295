"""Crons: the requests that a node makes of itself, when they are due.

Rules
-----
* A task is on the disk before anybody hears of it, and goes on wherever this program ended.
* Each round has a key of its own, which a schedule takes once: a round that is made again has no second effect.
* Rounds that were missed while the node was down are made up for by one.
* What this host failed at is tried again, ever later; what is refused is told, and the next round comes all the same.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import attrs

from procession.errors import CacheError, ComputeError, ProcessionError, RequestError
from procession.kernel import Kernel
from procession.messages import EMPTY, Message, decode, encode
from procession.roles import Site
from procession.settings import seconds
from procession_cron.settings import cron_settings
from procession_cron.tasks import DONE, FILE, WAITING, Task, Tasks

NAME: Final = "cron@1.0"
GLANCE: Final = 1.0  # seconds after which it looks again: a clock may be set
DRAIN: Final = 10.0  # seconds in which a request that is on its way may end
REASON: Final = 300  # characters of a refusal that are kept

log = logging.getLogger("procession.cron")


class Crons:
    """Make the requests of a kernel's tasks by one thread. Safe to call from many threads."""

    def __init__(self, kernel: Kernel, site: Site) -> None:
        self.settings = cron_settings(kernel.settings)
        self._kernel = kernel
        self._site = site
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._list: Tasks | None = None
        if not site.read_only and (site.data / FILE).exists():
            self._start()

    def add(self, task: Task) -> Task:
        """Take a task up, or find it; it is on the disk when this returns."""
        with self._lock:
            known = self._tasks.get(task.id)
            if known is not None:
                return known
            self._refuse_more(task)
            self._tasks.put(task)
            self._start()
            self._work.notify_all()
            return task

    def get(self, name: str) -> Task | None:
        """Return a task."""
        with self._lock:
            return self._tasks.get(name)

    def stop(self, name: str) -> None:
        """Make no more requests of a task."""
        with self._lock:
            task = self._tasks.get(name)
            if task is not None and task.state == WAITING:
                self._tasks.put(attrs.evolve(task, state=DONE, reason="stopped"))

    def look(self) -> None:
        """Look at the clock at once: it was set."""
        with self._lock:
            self._work.notify_all()

    def now(self) -> int:
        """Return the time, in milliseconds."""
        return self._site.clock().timestamp

    def close(self) -> None:
        """Stop, within a bound; what waits goes on with the next start."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
        if self._thread is not None:
            self._thread.join(DRAIN)
        with self._lock:
            if self._list is not None:
                self._list.close()

    # -- inside

    @property
    def _tasks(self) -> Tasks:
        if self._site.read_only:
            path = str(self._site.data / FILE)
            raise CacheError("opened read only", where=path, remedy="ask where it is written to", kind="read-only")
        if self._closed:
            raise ComputeError("the kernel is closed", remedy="open it again", kind="closed")
        if self._list is None:
            self._list = Tasks(self._site.data / FILE)
        return self._list

    def _refuse_more(self, task: Task) -> None:
        for count, most in (
            (self._tasks.count(), self.settings.most),
            (self._tasks.count(task.owner), self.settings.most_of_one),
        ):
            if count >= most:
                remedy = "stop one first"
                raise ComputeError(f"{count} tasks are waiting", where="cron", remedy=remedy, kind="queue-full")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="procession cron", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            try:
                task = self._due()
                if task is not None:
                    self._make(task)
            except ProcessionError as error:
                self._stall(error)
            except Exception as error:
                log.error("cron: %s", error, exc_info=error)
                self._stall(ComputeError("this host failed", where="cron", kind="internal"))

    def _due(self) -> Task | None:
        """Return a task whose time has come, else None after a wait."""
        with self._lock:
            if self._closed:
                return None
            task = self._tasks.next()
            wait = GLANCE if task is None else (task.due - self.now()) / 1000
            if task is not None and wait <= 0:
                return task
            self._work.wait(min(wait, GLANCE))
            return None

    def _make(self, task: Task) -> None:
        reason, final = "", True
        try:
            body = message_of(task.body) if task.body else EMPTY
            method, key = "POST" if task.body else "GET", f"cron/{task.id}/{task.round}"
            timeout = seconds(self.settings.timeout)
            self._kernel.resolve(task.path, method=method, body=body, timeout=timeout, idempotency_key=key)
        except ProcessionError as error:
            reason = error.text[:REASON]
            final = isinstance(error, RequestError) or task.attempts + 1 >= self.settings.attempts
            log.warning("cron %s, round %s: %s", task.id, task.round, error.text)
        with self._lock:
            known = None if self._closed else self._tasks.get(task.id)
            if known is not None and known.state == WAITING:  # nobody stopped it meanwhile
                self._tasks.put(self._after(known, reason) if final else self._again(known, reason))

    def _after(self, task: Task, reason: str) -> Task:
        """Return a task after a round: done, or due at its next time that is still to come."""
        rounds = task.round + 1
        if not task.interval:
            return attrs.evolve(task, state=DONE, round=rounds, attempts=0, reason=reason)
        missed = max(0, self.now() - task.due) // task.interval
        due = task.due + (missed + 1) * task.interval
        return attrs.evolve(task, due=due, round=rounds, attempts=0, reason=reason)

    def _again(self, task: Task, reason: str) -> Task:
        wait = int(seconds(self.settings.backoff) * 1000) * 2 ** min(task.attempts, 16)
        return attrs.evolve(task, due=self.now() + wait, attempts=task.attempts + 1, reason=reason)

    def _stall(self, error: ProcessionError) -> None:
        with self._lock:
            if not self._closed:
                log.warning("%s", error.text)
                self._kernel.registry.watch("procession_failed", process="", slot=None, error=error)
                self._work.wait(seconds(self.settings.backoff))


def body_of(message: Message) -> bytes:
    """Return a message as a task keeps it."""
    return encode(message)


def message_of(body: bytes) -> Message:
    """Return the message that a task keeps."""
    message = decode(body, limit=len(body))
    assert isinstance(message, Message)
    return message
