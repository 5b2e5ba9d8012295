"""Worker: the one who computes a process: stored results first, the live state, past slots apart.

Rules
-----
* The live state only moves forward. A past slot that is not stored is replayed by an executor of its own,
  which writes nothing but missing records and is closed after.
* Results are committed in batches, and nobody hears of a result before its batch is committed.
* A run that fails takes the live state with it; the next one begins from what is stored.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from procession.batches import KEPT_ALWAYS, Pending, divergence, read_record
from procession.errors import CacheError, ComputeError, ProcessionError
from procession.executors import Executor, Services, assignments, check_chain_of, fresh, restored
from procession.messages import Message
from procession.process import Compiled
from procession.results import Record, Result
from procession.stored import Source, message_of


class _DeadlineError(ComputeError):
    """Tell a caller's deadline apart from what a device may raise."""


class Worker:
    """Compute the slots of one process, one caller at a time."""

    def __init__(self, process: Compiled, services: Services) -> None:
        self.process = process
        self._services = services
        self._lock = threading.Lock()
        self._live: Executor | None = None

    def compute(self, slot: int, *, key: str = "", deadline: float) -> Message:
        """Return the state after a slot that the schedule holds; of it at least ``key``, the whole for "".

        Raises ComputeError where this host failed or ``deadline`` (of ``time.monotonic``) passed.
        """
        found = self._stored(slot, key)
        if found is not None:
            return found
        with self._turn(slot, deadline):
            found = self._stored(slot, key)
            return self._computed(slot, deadline) if found is None else found

    def newest(self) -> int | None:
        """Return the newest stored slot of the schedule that is here."""
        record = self._latest(None)
        while record is not None:
            try:
                check_chain_of(self._services, record)
            except CacheError as error:
                self._services.report(self.process.id, record.slot, error)
                record = self._latest(record.slot - 1) if record.slot else None
            else:
                return record.slot
        return None

    def snapshot(self, deadline: float) -> Record | None:
        """Snapshot the live state where it stands; return the newest point to restore from."""
        with self._turn(-1, deadline):
            self._snapshot_live()
        return self._services.cache.latest(self.process.id, None, with_snapshot=True)

    def close(self) -> None:
        """Snapshot what a restart would have to replay, and give the live state back."""
        with self._lock:
            try:
                self._snapshot_live()
            finally:
                live, self._live = self._live, None
                if live is not None:
                    self._dismiss(live)

    def replay(self, last: int) -> Iterator[tuple[Record | None, Result, bytes]]:
        """Recompute slots 0..last: stored record, new result and, where a live root is stored, the new one."""
        with self._apart(fresh(self.process)) as executor:
            for assignment in assignments(self._services, self.process.id, 0, last):
                result = executor.step(assignment)
                record = read_record(self._services, self.process.id, assignment.slot, assignment)
                live = executor.stage.snapshot() if record and record.live_root else None
                yield record, result, live.root if live else b""

    def state_of(self, record: Record) -> Message:
        """Return what a record keeps of its state, read as it is looked into.

        A part that is damaged or missing is reported and rebuilt from the schedule.
        """

        def load(digest: bytes) -> bytes:
            try:
                return self._services.cache.get_blob(digest)
            except CacheError as error:
                self._services.report(self.process.id, record.slot, error)
            self._rebuild(record)
            return self._services.cache.get_blob(digest)

        return message_of(record.state, Source(load, self._services.cache))

    # -- inside

    def _latest(self, at_or_below: int | None) -> Record | None:
        return self._services.cache.latest(self.process.id, at_or_below, with_snapshot=False)

    def _rebuild(self, record: Record) -> None:
        with self._apart(fresh(self.process)) as executor:
            for assignment in assignments(self._services, self.process.id, 0, record.slot):
                executor.step(assignment)
            if executor.state.digest != record.state_digest:
                raise divergence(record, executor.state)
            pending = Pending(self._services, -1, self._empty_snapshot, rewrite=True)
            pending.put(executor, assignment, due=record.snapshot is not None)
            self._commit(pending)

    def _stored(self, slot: int, key: str) -> Message | None:
        record = read_record(self._services, self.process.id, slot)
        if record is None:
            return None
        if record.complete or (key and key in (*KEPT_ALWAYS, *(self._services.keep or ()))):
            return self.state_of(record)
        return None

    @contextmanager
    def _turn(self, slot: int, deadline: float) -> Iterator[None]:
        wait = min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
        if not self._lock.acquire(timeout=wait):
            raise self._late(slot, "another caller is still computing")
        try:
            yield
        finally:
            self._lock.release()

    def _computed(self, slot: int, deadline: float) -> Message:
        try:
            if self._live is None or self._live.at < slot:
                return self._advanced(slot, deadline)
            with self._apart(restored(self.process, self._services, slot, self.state_of)) as past:
                return self._forward(past, slot, deadline)
        except _DeadlineError:
            raise
        except ProcessionError as error:
            self._services.watch("procession_failed", process=self.process.id, slot=slot, error=error)
            raise

    def _advanced(self, slot: int, deadline: float) -> Message:
        executor, self._live = self._live or restored(self.process, self._services, slot, self.state_of), None
        try:
            state = self._forward(executor, slot, deadline)
        except _DeadlineError:
            self._live = executor  # everything it did is committed
            raise
        except BaseException:
            self._dismiss(executor)
            raise
        self._live = executor
        return state

    @contextmanager
    def _apart(self, executor: Executor) -> Iterator[Executor]:
        try:
            yield executor
        finally:
            self._dismiss(executor)

    def _dismiss(self, executor: Executor) -> None:
        try:
            executor.close()
        except ProcessionError as error:
            self._services.report(self.process.id, executor.at, error)

    def _forward(self, executor: Executor, slot: int, deadline: float) -> Message:
        if executor.horizon is None:
            newest = self._latest(None)
            executor.horizon = newest.slot if newest else -1
        pending = self._pending(executor.horizon)
        for assignment in assignments(self._services, self.process.id, executor.at + 1, slot):
            pending.add(executor, assignment, executor.step(assignment))
            if pending.full:
                self._commit(pending)
                pending = self._pending(executor.horizon)
                self._check_deadline(executor.at, slot, deadline)
        self._commit(pending)
        return executor.state

    def _pending(self, horizon: int) -> Pending:
        return Pending(self._services, horizon, self._empty_snapshot)

    def _commit(self, pending: Pending) -> None:
        if not self._services.read_only:
            pending.commit()

    @cached_property
    def _empty_snapshot(self) -> bytes:
        return self._services.snapshotter.pack({}, self.process.fingerprint)

    def _snapshot_live(self) -> None:
        live = self._live
        if live is None or not live.stage.live or live.at <= live.snapshot_at or self._services.read_only:
            return
        (assignment,) = assignments(self._services, self.process.id, live.at, live.at)
        pending = self._pending(live.at)
        try:
            pending.put(live, assignment, due=True)
            self._commit(pending)
        except BaseException:
            self._live = None
            self._dismiss(live)
            raise

    def _check_deadline(self, at: int, slot: int, deadline: float) -> None:
        if at < slot and time.monotonic() > deadline:
            raise self._late(slot, f"slot {at} of {slot} is computed and stored")

    def _late(self, slot: int, what: str) -> _DeadlineError:
        return _DeadlineError(
            f"the deadline passed: {what}",
            where=f"process {self.process.id}, slot {slot}",
            remedy="ask again; the work that is done is kept",
            kind="deadline",
            facts={"process": self.process.id, "slot": slot},
        )
