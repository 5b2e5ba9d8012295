"""Worker: computes one process: the live state forward, past slots apart, damaged parts anew.

Rules
-----
* One thread at a time computes; who that is, and for whom, is the pool's business. Reading is open to all.
* The live state only moves forward. A past slot that is not stored is replayed by an executor of its own,
  which writes nothing but missing records and is closed after.
* Results are committed in batches, and nobody hears of a result before its batch is committed.
* A run that cannot commit takes the live state with it; the next one begins from what is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import attrs

from procession.batches import KEPT_ALWAYS, Pending, divergence, read_record
from procession.errors import CacheError, ComputeError, ProcessionError
from procession.executors import Executor, Services, assignments, check_chain_of, fresh, restored
from procession.messages import Message
from procession.process import Compiled
from procession.results import Record, Result
from procession.roles import Point
from procession.stored import Source, message_of

Heal = Callable[[Record], None]
Wanted = Callable[[int], bool]  # whether somebody waits for the state after a slot


@attrs.frozen
class Advanced:
    """Tell how far a batch came: the states that somebody waits for, and why the next slot could not be computed."""

    begin: int
    at: int
    states: dict[int, Message]
    fault: ProcessionError | None = None

    def passed(self, slot: int) -> bool:
        """Tell whether a slot was computed."""
        return self.begin < slot <= self.at


class Worker:
    """Compute the slots of one process. ``heal`` rebuilds what is damaged of a record, once for all who ask."""

    def __init__(self, process: Compiled, services: Services, heal: Heal) -> None:
        self.process = process
        self.services = services
        self._heal = heal
        self._live: Executor | None = None
        self._past: Executor | None = None
        self._horizon: int | None = None  # the newest slot that may be stored, while a live state is here
        self.at = -1  # the slot that the live state stands on, all before it committed; -1 where there is none
        self.computing: tuple[int, float] | None = None  # the slot on the way, and since when (time.monotonic)

    # -- reading, from any thread

    def stored(self, slot: int, key: str) -> Message | None:
        """Return what is stored of a slot, where that is the whole or holds a key."""
        if self._horizon is not None and slot > self._horizon:
            return None
        record = read_record(self.services, self.process.id, slot)
        kept = (*KEPT_ALWAYS, *(self.services.keep or ()))
        return self.state_of(record) if record and (record.complete or key in kept) else None

    def knows(self, slot: int) -> bool:
        """Tell whether the schedule has a slot, as far as that is known without asking it."""
        return 0 <= slot <= self.at or slot in self.services.handed

    def newest(self) -> int | None:
        """Return the newest stored slot of the schedule that is here."""
        record = self._latest(None)
        while record is not None:
            try:
                check_chain_of(self.services, record)
            except CacheError as error:
                self.services.report(self.process.id, record.slot, error)
                record = self._latest(record.slot - 1) if record.slot else None
            else:
                return record.slot
        return None

    def begin_of(self, slot: int) -> int:
        """Return where computing a slot would begin: after the live state, or the newest point to restore from."""
        if 0 <= self.at <= slot:
            return self.at
        record = self.services.cache.latest(self.process.id, slot, with_snapshot=True)
        return record.slot if record else -1

    def state_of(self, record: Record) -> Message:
        """Return what a record keeps of its state, read as it is looked into.

        A part that is damaged or missing is reported and rebuilt from the schedule.
        """

        def load(digest: bytes) -> bytes:
            try:
                return self.services.cache.get_blob(digest)
            except CacheError as error:
                self.services.report(self.process.id, record.slot, error)
            self._heal(record)
            return self.services.cache.get_blob(digest)

        return message_of(record.state, Source(load, self.services.cache))

    def replay(self, last: int) -> Iterator[tuple[Record | None, Result, bytes]]:
        """Recompute slots 0..last: stored record, new result and, where a live root is stored, the new one."""
        with self._apart(fresh(self.process)) as executor:
            for assignment in assignments(self.services, self.process.id, 0, last):
                result = executor.step(assignment)
                record = read_record(self.services, self.process.id, assignment.slot, assignment)
                live = executor.stage.snapshot() if record and record.live_root else None
                yield record, result, live.root if live else b""

    # -- computing, by one thread at a time

    @property
    def size(self) -> int:
        """Return the bytes that the live state holds outside of the message."""
        return sum(executor.stage.size() for executor in (self._live, self._past) if executor)

    @property
    def is_live(self) -> bool:
        """Tell whether a live state is there."""
        return self._live is not None

    @property
    def can_rest(self) -> bool:
        """Tell whether the live state, given back, is restored where it stood and not replayed from the start."""
        live = self._live
        kept = live is None or not live.stage.live or live.snapshot_at >= 0
        return kept and not self.services.read_only

    @property
    def snapshot_at(self) -> int:
        """Return the slot that the live state was snapshotted or restored at; -1 for none."""
        return self._live.snapshot_at if self._live else -1

    def advance(self, slot: int, wanted: Wanted) -> Advanced:
        """Take the live state a batch further towards a slot, and commit it."""
        executor, self._live = self._live or self._restored(slot), None
        self.at = executor.at
        try:
            advanced = self._batch(executor, slot, wanted)
            if advanced.fault is None:
                self._live = executor
        finally:
            self.at = self._live.at if self._live else -1
            known = self._live is not None and not self.services.read_only
            self._horizon = max(self.at, executor.horizon or -1) if known else None
        return advanced

    def look_back(self, slot: int, wanted: Wanted) -> Advanced:
        """Take an executor apart from the live one a batch further towards a past slot."""
        past, self._past = self._past, None
        if past is not None and past.at >= slot:
            self._dismiss(past)
            past = None
        past = past or self._restored(slot)
        advanced = self._batch(past, slot, wanted)
        if advanced.fault is None:
            self._past = past
        return advanced

    @property
    def is_looking_back(self) -> bool:
        """Tell whether an executor of past slots is open."""
        return self._past is not None

    def forget_past(self) -> None:
        """Close the executor of past slots."""
        past, self._past = self._past, None
        if past is not None:
            self._dismiss(past)

    def rebuild(self, record: Record) -> None:
        """Recompute a record that has damaged parts, and write all of it again."""
        before = self.computing
        with self._apart(fresh(self.process)) as executor:
            try:
                for assignment in assignments(self.services, self.process.id, 0, record.slot):
                    self.computing = (assignment.slot, time.monotonic())
                    executor.step(assignment)
            finally:
                self.computing = before
            if executor.state.digest != record.state_digest:
                raise divergence(record, executor.state)
            pending = Pending(self.services, -1, self._empty, rewrite=True)
            pending.put(executor, assignment, due=record.snapshot is not None)
            pending.commit()

    def snapshot(self) -> None:
        """Snapshot the live state where it stands, if a restart would have to replay anything."""
        live = self._live
        if live is None or not live.stage.live or live.at <= live.snapshot_at or self.services.read_only:
            return
        (assignment,) = assignments(self.services, self.process.id, live.at, live.at)
        # What fails leaves the other as it was.
        pending, live = Pending(self.services, live.at, self._empty), attrs.evolve(live)
        pending.put(live, assignment, due=True)
        pending.commit()
        self._live = live

    def snapshot_newest(self) -> None:
        """Snapshot the live state where it stands, else the newest stored one, taken up again."""
        newest, point = self.newest(), self.services.cache.latest(self.process.id, None, with_snapshot=True)
        pending = self._live is None and newest is not None and (point is None or point.slot < newest)
        while pending and newest is not None and self.at < newest and not self.services.read_only:
            advanced = self.advance(newest, lambda slot: False)
            if advanced.fault is not None:
                raise advanced.fault
        self.snapshot()

    def fork(self, slot: int) -> Executor:
        """Return an executor of its own that stands at a slot: where the live state does, or replayed to there."""
        live = self._live if self._live and self._live.at == slot else None
        parts = live.stage.snapshot() if live and "initialized" in live.state else None
        if live is None or (live.stage.live and parts is None):  # nothing that could be taken over
            executor = self._restored(slot)
            for assignment in assignments(self.services, self.process.id, executor.at + 1, slot):
                executor.step(assignment)
            return executor
        executor = fresh(self.process)
        if parts is not None:
            executor.stage.restore(parts.parts, live.state)
        executor.state, executor.at = live.state, live.at
        return executor

    def rest(self) -> None:
        """Give the live state back once its snapshot is acknowledged; what the cache raises leaves it as it is."""
        self.forget_past()
        self.snapshot()
        self.drop()

    def drop(self) -> None:
        """Give the live state back as it is."""
        self.forget_past()
        live, self._live = self._live, None
        self.at, self._horizon = -1, None
        if live is not None:
            self._dismiss(live)

    # -- inside

    def _latest(self, at_or_below: int | None) -> Record | None:
        return self.services.cache.latest(self.process.id, at_or_below, with_snapshot=False)

    def _restored(self, slot: int) -> Executor:
        self.computing = (slot, time.monotonic())
        try:
            executor = restored(self.process, self.services, slot, self.state_of)
        finally:
            self.computing = None
        newest = self._latest(None)
        executor.horizon = newest.slot if newest else -1
        return executor

    def _batch(self, executor: Executor, slot: int, wanted: Wanted) -> Advanced:
        try:
            advanced = self._computed(executor, slot, wanted)
        except BaseException:
            self._dismiss(executor)
            raise
        finally:
            self.computing = None
        if advanced.fault is not None:
            self._dismiss(executor)
        return advanced

    def _computed(self, executor: Executor, slot: int, wanted: Wanted) -> Advanced:
        pending = Pending(self.services, -1 if executor.horizon is None else executor.horizon, self._empty)
        states = {executor.at: executor.state} if wanted(executor.at) else {}
        fault: ProcessionError | None = None
        begin = executor.at
        for assignment in assignments(self.services, self.process.id, begin + 1, slot):
            self.computing = (assignment.slot, time.monotonic())
            try:
                result = executor.step(assignment)
            except BaseException as error:  # noqa: BLE001 - the plugin boundary: what a slot meets is told to who asked
                fault = told(error, assignment.process, assignment.slot)
                break
            pending.add(executor, assignment, result)
            if wanted(executor.at):
                states[executor.at] = executor.state
            if pending.full:
                break
        self.computing = None
        pending.commit()
        return Advanced(begin, executor.at, states, fault)

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
            self.services.report(self.process.id, executor.at, error)

    @cached_property
    def _empty(self) -> Point:
        return self.services.snapshotter.pack({}, self.process.fingerprint)


def told(error: BaseException, process: str, slot: int) -> ProcessionError:
    """Return what a slot met as an error that names it; the cause is kept for the log."""
    if isinstance(error, ProcessionError):
        return error
    known = ComputeError.of(error, f"process {process}, slot {slot}", {"process": process, "slot": slot}, "computing")
    known.__cause__ = error
    return known
