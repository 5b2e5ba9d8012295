"""Pushes: what a slot sends is put into the schedules of those it is for, and so is what comes of that.

Rules
-----
* A delivery is on the list before it is made; wherever this program ends, the next one goes on with the list.
* The entries of one process go one after the other, in the order of slot and index, unless one has to be tried again.
* What this host failed at is tried again, ever later; what cannot be delivered at all is given up at once.
* A caller may go away: a push that is on the list is done without him.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import attrs

from procession.errors import CacheError, ComputeError, ProcessionError, RequestError
from procession.kernel import Kernel
from procession.messages import Message
from procession.results import outbox
from procession.roles import Site
from procession.settings import seconds
from procession_push.deliveries import DELIVERED, FAILED, FILE, PENDING, STOPPED, Deliveries, Delivery
from procession_push.limits import rows_of
from procession_push.settings import push_settings

NAME = "push@1.0"
LEVELS = 24  # of a tree that are told at once, one below the other
GLANCE = 1.0  # seconds after which one who waits looks again, whatever he was told
LONGEST = 128  # characters of a target that are kept
PASSING = ("disk-full", "locked", "internal")  # trouble that may go away while this program runs

Tree: TypeAlias = Mapping[tuple[str, int], Sequence[Delivery]]  # (process, slot) -> its outbox (index 0) and entries

log = logging.getLogger("procession.push")


class Pushes:
    """Deliver the outboxes of a kernel by a few threads. Safe to call from many threads."""

    def __init__(self, kernel: Kernel, site: Site) -> None:
        self.settings = push_settings(kernel.settings)
        self._kernel = kernel
        self._site = site
        self._path = site.data / FILE
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)  # told when there is something to do
        self._done = threading.Condition(self._lock)  # told when a push has nothing left to do
        self._busy: set[str] = set()  # processes that a thread works on
        self._threads: list[threading.Thread] = []
        self._list: Deliveries | None = None
        self._ended: ProcessionError | None = None  # why nothing is delivered any more
        self._resume()

    def check(self) -> None:
        """Raise what a push would be refused with now, so that nothing is scheduled for it."""
        if self._site.read_only:
            remedy = "push where it is written to"
            raise CacheError("opened read only", where=str(self._path), remedy=remedy, kind="read-only")
        with self._opened() as deliveries:
            if deliveries.pending() >= self.settings.queue:
                what = f"{self.settings.queue} deliveries are waiting"
                raise ComputeError(what, where="push", remedy="ask again later", kind="busy")

    def push(self, process: str, slot: int, *, depth: int | None = None) -> None:
        """Take a slot up: its outbox, and all that comes of it; it is on the list when this returns.

        ``depth`` may be less than the host's. What was delivered keeps its slot, what failed is tried again.
        """
        most = self.settings.depth
        row = Delivery(process, slot, 0, f"{process}/{slot}", most if depth is None else min(depth, most))
        with self._lock:
            self.check()
        with self._opened() as deliveries:
            with deliveries.transaction():
                deliveries.add([attrs.evolve(row, due=self._now())])
            self._start()
            self._work.notify_all()

    def wait(self, process: str, slot: int, *, timeout: float) -> Tree:
        """Return what came of a slot once nothing of it is pending; ComputeError (kind ``deadline``) if late."""
        end = time.monotonic() + timeout
        while True:
            with self._opened() as deliveries:
                count, reason = deliveries.pending_below(process, slot)
                left = end - time.monotonic()
                if not count:
                    return deliveries.below(process, slot, LEVELS)
                if left <= 0:
                    raise _late(process, slot, count, reason)
                self._done.wait(min(left, GLANCE))

    def below(self, process: str, slot: int) -> Tree:
        """Return what is on the list of a slot and of what came of it, as it stands."""
        if self._list is None and not self._path.exists():
            return {}
        with self._opened() as deliveries:
            return deliveries.below(process, slot, LEVELS)

    def close(self) -> None:
        """Stop delivering, within a bound; what is pending waits for the next start."""
        with self._lock:
            self._ended = ComputeError("the kernel is closed", remedy="open it again", kind="closed")
            self._work.notify_all()
            self._done.notify_all()
        end = time.monotonic() + seconds(self.settings.drain_timeout)
        for thread in set(self._threads) - {threading.current_thread()}:  # one that watches may close the kernel
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            if self._list is not None:
                self._list.close()

    # -- the list

    def _resume(self) -> None:
        """Go on with what an earlier program left. A list that does not open is told of, and refuses pushes alone."""
        if self._site.read_only or not self._path.exists():
            return
        try:
            with self._opened() as deliveries:
                if deliveries.pending():
                    self._start()
        except CacheError as error:
            self._tell(error)

    @contextmanager
    def _opened(self) -> Iterator[Deliveries]:
        """Hold the lock and give the list, opened when it is first needed."""
        with self._lock:
            if self._ended is not None:
                raise self._ended.with_traceback(None)
            if self._list is None:
                self._list = Deliveries(self._path, read_only=self._site.read_only)
            yield self._list

    # -- the threads

    def _start(self) -> None:
        for number in range(len(self._threads), self.settings.threads):
            thread = threading.Thread(target=self._run, name=f"procession push {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while self._ended is None:
            try:
                row = self._taken()
                if row is not None:
                    self._stepped(row)
            except ProcessionError as error:
                self._stall(error)
            except Exception as error:  # noqa: BLE001 - a thread outlives what it meets
                self._stall(_unforeseen(error, "push"))

    def _taken(self) -> Delivery | None:
        """Return a row that is due, its process marked as busy; None after a wait for one."""
        with self._opened() as deliveries:
            row = deliveries.next_due(self._busy)
            wait = 0.0 if row is None else self._wait_for(row)
            if row is None or wait > 0:
                self._work.wait(wait or None)
                return None
            self._busy.add(row.process)
            return row

    def _wait_for(self, row: Delivery) -> float:
        """Return the seconds until a row is due; where the clock was set back, nobody waits for it to come again."""
        left = (row.due - self._now()) / 1000
        return left if left <= seconds(self.settings.backoff_limit) else 0.0

    def _stepped(self, row: Delivery) -> None:
        try:
            self._step(row)
        finally:
            with self._lock:
                self._busy.discard(row.process)
                self._work.notify_all()

    def _step(self, row: Delivery) -> None:
        try:
            if row.index == 0:
                self._read(row)
            else:
                self._send(row)
        except ProcessionError as error:
            self._failed(row, error)
        except Exception as error:  # noqa: BLE001 - the plugin boundary: it is told, and tried again
            self._failed(row, _unforeseen(error, _place(row)))

    def _stall(self, error: ProcessionError) -> None:
        """Wait a while where the list has no room to be written; after any other trouble of it promise nothing more."""
        with self._lock:
            if self._ended is not None:
                return
            if error.kind not in PASSING:
                self._ended = error
                self._done.notify_all()
                self._work.notify_all()
            self._tell(error)
            end = time.monotonic() + seconds(self.settings.backoff)
            while self._ended is None and (left := end - time.monotonic()) > 0:
                self._work.wait(left)  # told of other work, too, that has no room either

    # -- one step

    def _read(self, row: Delivery) -> None:
        """Put the entries of an outbox on the list."""
        targets = {index: _target(entry) for index, entry in outbox(self._results(row)).items()}
        with self._opened() as deliveries, deliveries.transaction():
            known = [old for old in deliveries.of_slot(row.process, row.slot) if _is_of(old, row.push)]
            spent = deliveries.count_of(row.push) - len(known)
            deliveries.add(rows_of(row, targets, settings=self.settings, spent=spent, now=self._now()))
            self._settle(deliveries, attrs.evolve(row, state=DELIVERED, kind="", reason=""))

    def _send(self, row: Delivery) -> None:
        """Deliver an entry, and put the outbox of the slot that it got on the list."""
        timeout = seconds(self.settings.timeout)
        sent = self._kernel.deliver(row.process, row.slot, row.index, timeout=timeout)
        done = attrs.evolve(row, target_slot=sent.slot, message_id=sent.message_id)
        with self._opened() as deliveries, deliveries.transaction():
            deliveries.add([Delivery(row.target, sent.slot, 0, row.push, row.depth, due=self._now())])
            self._settle(deliveries, attrs.evolve(done, state=DELIVERED, kind="", reason=""))
        if row.target_slot != sent.slot:
            facts = {"process": row.process, "slot": row.slot, "index": row.index}
            self._kernel.registry.watch("procession_pushed", assignment=sent, **facts)

    def _failed(self, row: Delivery, error: ProcessionError) -> None:
        final = isinstance(error, RequestError) or row.attempts + 1 >= self.settings.attempts
        wait = seconds(self.settings.backoff) * 2 ** min(row.attempts, 64)
        due = self._now() + int(min(wait, seconds(self.settings.backoff_limit)) * 1000)
        tried = attrs.evolve(row, state=FAILED if final else PENDING, due=due, attempts=row.attempts + 1)
        with self._opened() as deliveries, deliveries.transaction():
            reason = f"{error.what}; {error.remedy}" if error.remedy else error.what  # its place is the row's
            self._settle(deliveries, attrs.evolve(tried, kind=error.kind, reason=reason))
        if not isinstance(error, RequestError):
            self._kernel.registry.watch("procession_failed", process=row.process, slot=row.slot, error=error)

    def _settle(self, deliveries: Deliveries, row: Delivery) -> None:
        deliveries.settle(row)
        if not deliveries.pending_of(row.push):
            self._done.notify_all()

    def _results(self, row: Delivery) -> Message:
        return self._kernel.compute(row.process, row.slot, key="results", timeout=seconds(self.settings.timeout))

    def _tell(self, error: ProcessionError) -> None:
        log.warning("%s", error.text)
        self._kernel.registry.watch("procession_failed", process="", slot=None, error=error)

    def _now(self) -> int:
        return self._site.clock().timestamp


def _is_of(row: Delivery, push: str) -> bool:
    """Tell whether a row is an entry that a push took on already."""
    return row.index > 0 and row.push == push and row.state != STOPPED


def _target(entry: Any) -> str:
    """Return the target of an entry as the list keeps it; one that is longer than an id is for nobody here."""
    target = entry.get("target") if isinstance(entry, Message) else None
    return target[:LONGEST] if isinstance(target, str) else ""


def _place(row: Delivery) -> str:
    return f"process {row.process}, slot {row.slot}, outbox {row.index}"


def _unforeseen(error: Exception, place: str) -> ComputeError:
    log.error("%s: %s", place, error, exc_info=error)
    return ComputeError("this host failed", where=place, remedy="its log has the cause", kind="internal")


def _late(process: str, slot: int, count: int, reason: str) -> ComputeError:
    met = f"; one of them met: {reason}" if reason else ""
    return ComputeError(
        f"the deadline passed with {count} of its deliveries on their way{met}",
        where=f"push of process {process}, slot {slot}",
        remedy="the work goes on without you: ask how it stands, or push again",
        kind="deadline",
        facts={"process": process, "slot": slot, "pending": count},
    )
