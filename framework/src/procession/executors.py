"""Executors: a stage and the state it stands on, taken forward one slot after the other.

Rules
-----
* An executor begins at the newest point at or below a slot that can be restored, else before slot 0.
* A snapshot that is damaged or gives another live root is reported and passed over. So is one of another
  fingerprint, unless the operator accepts it: then it is taken as it is, and that is written down first.
* What a transition raises leaves the executor unusable; its owner closes it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import attrs

from procession.errors import CacheError, ComputeError, Fact, ProcessionError, ScheduleError, SnapshotError, said
from procession.hands import beside
from procession.machine import initial_state, transition
from procession.messages import Message
from procession.process import Compiled
from procession.pulse import Pulse
from procession.results import Record, Result
from procession.roles import Cache, Live, Point, Scheduler, Snapshotter, Stage
from procession.schedules import Assignment, Submission

PAGE_SLOTS = 64  # assignments read at once; a batch may end before, and reads on from there
HANDED = 256  # assignments handed on at once
SMALL = 512  # bytes of a message that is handed on: in memory it may take two hundred times as much
REPORTS = 5  # troubles of one kind that are logged of a process; those who watch are told all
FOREIGN = "foreign-snapshot"
ACCEPTED = "accepted-fingerprint"
ACCEPT = "take the stored state of slot {} as it is with --accept-fingerprint"

StateOf = Callable[[Record], Message]  # what a record keeps of its state

log = logging.getLogger("procession")


@attrs.frozen
class Cadence:
    """Say when to snapshot: every so many slots (0: not by count), or when a replay would cost more seconds."""

    every: int
    replay_seconds: float


@attrs.frozen
class Services:
    """Hold what a process is computed with; ``keep`` are the keys kept of each state, None for all."""

    scheduler: Scheduler
    cache: Cache
    snapshotter: Snapshotter
    cadence: Cadence
    keep: tuple[str, ...] | None
    read_only: bool
    watch: Callable[..., None]
    pulse: Pulse
    accept: Callable[[ProcessionError], None] | None = None  # writes down that another fingerprint is accepted
    foreign: dict[str, int] = attrs.field(factory=dict, init=False, eq=False)  # newest point passed over for it
    handed: dict[int, Assignment] = attrs.field(factory=dict, init=False, eq=False)  # as they were scheduled
    _told: Counter[tuple[str, str]] = attrs.field(factory=Counter, init=False, eq=False)

    def hand_on(self, assignments: Sequence[Assignment], offered: Sequence[Submission]) -> None:
        """Spare who computes them reading small assignments that were just scheduled, as long as they are few."""
        if len(self.handed) + len(assignments) > HANDED:
            self.handed.clear()
        for assignment, submission in zip(assignments[:HANDED], offered, strict=False):
            if assignment.message is submission.message and len(submission.content) <= SMALL:
                self.handed[assignment.slot] = assignment

    def accepts(self, process: str, slot: int, what: str) -> bool:
        """Tell whether what other devices made is taken as it is; it is written down, and reported."""
        if self.accept is None:
            return False
        facts: dict[str, str | int] = {"process": process, "slot": slot}
        error = SnapshotError(what, where=f"process {process}, slot {slot}", kind=ACCEPTED, facts=facts)
        self.accept(error)
        self.report(process, slot, error)
        return True

    def report(self, process: str, slot: int | None, error: ProcessionError) -> None:
        """Log trouble that is dealt with, and tell the plugins that watch."""
        error = error.at("", process=process, slot=slot)
        self._told[process, error.kind] += 1
        count = self._told[process, error.kind]
        if count < REPORTS:
            log.warning("%s", error.text)
        elif count == REPORTS:
            log.warning("%s; more of kind %r about this process are not logged", error.text, error.kind)
        self.watch("procession_failed", process=process, slot=slot, error=error)


@attrs.define
class Executor:
    """Hold a stage, the state it stands on, and the seconds spent since the last point to restore from."""

    process: Compiled
    stage: Stage
    state: Message
    at: int
    spent: float = 0.0
    snapshot_at: int = -1
    horizon: int | None = None  # slots up to here may be stored already; None until somebody looked
    accepted: bool = False  # it began with what other devices made
    point: Point | None = None  # the last one taken or restored from: the next leans on it

    def step(self, assignment: Assignment) -> Result:
        """Compute the next slot."""
        begun = time.perf_counter()
        try:
            result = transition(self.stage, self.state, assignment, self.process.definition.policy)
            _ = result.state.digest  # hashed here, where a state that is too deep to hash is still this slot's
        except (RecursionError, MemoryError) as error:
            raise _gave_up(error, assignment) from error
        self.state, self.at = result.state, assignment.slot
        self.spent += time.perf_counter() - begun
        return result

    def due(self, cadence: Cadence) -> bool:
        """Tell whether a snapshot belongs here."""
        return self.spent >= cadence.replay_seconds or (cadence.every > 0 and (self.at + 1) % cadence.every == 0)

    def close(self) -> None:
        """Close the stage."""
        self.stage.close()


def fresh(process: Compiled) -> Executor:
    """Return an executor before slot 0."""
    return Executor(process, process.build(), initial_state(process.definition.message), -1)


def restored(process: Compiled, services: Services, slot: int, state_of: StateOf) -> Executor:
    """Return an executor at the newest point at or below a slot that can be restored, else before slot 0."""
    below, foreign = slot, False
    while below >= 0 and (record := services.cache.latest(process.id, below, with_snapshot=True)) is not None:
        try:
            return _restore(process, services, record, state_of)
        except (ProcessionError, OSError) as error:
            passed = _passed_over(error, process, record)
            if passed.kind != FOREIGN or not foreign:  # of many that another version made, the first says it
                services.report(process.id, record.slot, passed)
            if passed.kind == FOREIGN:
                services.foreign[process.id] = max(record.slot, services.foreign.get(process.id, -1))
            foreign, below = foreign or passed.kind == FOREIGN, record.slot - 1
    return fresh(process)


def assignments(services: Services, process: str, first: int, last: int) -> Iterator[Assignment]:
    """Yield the assignments of slots first..last; ScheduleError names the first that is missing."""
    while first <= last:
        handed = services.handed.pop(first, None)
        try:
            page = [handed] if handed else services.scheduler.read(process, first, min(last, first + PAGE_SLOTS - 1))
        except ScheduleError as error:
            raise _incomplete(error, services, process) from error
        for assignment in page:
            if assignment.slot != first:
                raise _incomplete(_gap(process, first), services, process)
            yield assignment
            first += 1
        if not page:
            raise _incomplete(_gap(process, first), services, process)


def check_chain_of(services: Services, record: Record, assignment: Assignment | None = None) -> None:
    """Refuse a record that was computed of another schedule than the one that is here now.

    Raises CacheError (kind ``stale``); the slot is then computed again.
    """
    held = (assignment,) if assignment else services.scheduler.read(record.process, record.slot, record.slot)
    if not held or held[0].chain != record.chain:
        facts: dict[str, Fact] = {"process": record.process, "slot": record.slot}
        what = "the stored result is of another schedule than the one that is here"
        place = f"process {record.process}, slot {record.slot}"
        remedy = "it is passed over, and computed again where the schedule has the slot"
        raise CacheError(what, where=place, remedy=remedy, kind="stale", facts=facts)


def _restore(process: Compiled, services: Services, record: Record, state_of: StateOf) -> Executor:
    assert record.snapshot is not None
    check_chain_of(services, record)
    foreign = record.fingerprint != process.fingerprint
    if foreign and services.accept is None:
        raise SnapshotError("it was made by other devices or other versions of them", kind=FOREIGN)
    blobs = [services.cache.get_blob(each) for each in record.blobs]
    unpacked = beside("procession unpacking", lambda: services.snapshotter.unpack(blobs, record.fingerprint))
    try:
        stage = process.build()
    except Exception:
        unpacked.exception()  # else one that fails at once has all snapshots unpacked at the same time
        raise
    try:
        point, state = unpacked.result(), state_of(record)
        stage.restore(point.parts, state)
        _check_root(stage.snapshot() if record.live_root else None, record)
        if foreign:
            services.accepts(process.id, record.slot, "the state that other devices made is taken as it is")
    except BaseException:
        stage.close()
        raise
    if foreign:  # what follows is of today's fingerprint, and leans on nothing of another
        return Executor(process, stage, state, record.slot, accepted=True)
    return Executor(process, stage, state, record.slot, snapshot_at=record.slot, point=point)


def _check_root(live: Live | None, record: Record) -> None:
    if live is not None and live.root != record.live_root:
        raise CacheError("the snapshot gives another live root than its slot recorded", kind="damaged")


def _passed_over(error: Exception, process: Compiled, record: Record) -> ProcessionError:
    place = f"process {process.id}, snapshot of slot {record.slot}"
    known = error if isinstance(error, ProcessionError) else CacheError(said(error))
    facts = {"phase": "restore", **known.facts, "process": process.id, "slot": record.slot}
    remedy = "passed over; the slots are replayed"
    return type(known)(known.what, where=place, kind=known.kind, remedy=remedy, facts=facts)


def _gave_up(error: Exception, assignment: Assignment) -> ProcessionError:
    facts: dict[str, Fact] = {"process": assignment.process, "slot": assignment.slot, "phase": "compute"}
    place = f"process {assignment.process}, slot {assignment.slot}"
    if isinstance(error, MemoryError):
        return ComputeError.of(error, place, facts, "the kernel")
    return ComputeError("the state is nested too deeply for this host", where=place, kind="too-deep", facts=facts)


def _incomplete(error: ScheduleError, services: Services, process: str) -> ScheduleError:
    """Return the error of a schedule that lacks a slot, with what is left where a state above it is stored."""
    slot, point = error.facts.get("slot"), services.foreign.get(process, -1)
    if type(slot) is not int or slot > point:
        return error
    remedy = f"{error.remedy or 'restore the schedule from a copy'}; else {ACCEPT.format(point)}"
    return ScheduleError(error.what, where=error.where, remedy=remedy, kind=error.kind, facts=error.facts)


def _gap(process: str, slot: int) -> ScheduleError:
    facts: dict[str, Fact] = {"process": process, "slot": slot}
    place = f"process {process}, slot {slot}"
    return ScheduleError("the schedule has no such slot", where=place, kind="gap", facts=facts)
