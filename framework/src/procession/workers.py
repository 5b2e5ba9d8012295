"""Workers: the pool: at most so many live processes, who waits for them, and what happens where one fails.

Rules
-----
* Callers wait for a slot with a deadline; whatever their number, each slot is computed once. What is stored is
  answered without waiting.
* A live process has a thread while it has work; processes wait for room, never for each other.
* The least recently used gives its room up: its snapshot is acknowledged first, then its live state is closed.
* A slot that runs too long is given up together with its worker; whoever waited is told, and the next call begins anew.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from procession.errors import ProcessionError
from procession.executors import Services
from procession.faults import Faults
from procession.hands import Hands, begin, each
from procession.lines import (
    Line,
    Place,
    Served,
    Step,
    Task,
    Waiter,
    behind,
    closed,
    is_full,
    late,
    longest_idle,
    refuse_full,
    strand,
    tell_all,
    too_long,
)
from procession.messages import Message
from procession.process import Compiled
from procession.results import Record
from procession.schedules import Assignment, Submission
from procession.settings import WorkerSettings, seconds
from procession.worker import Advanced, Worker, told

GRACE = 1.0  # seconds beyond the limit of a slot, in which a stage may stop by itself
ENDING = 2.0  # seconds for a batch to end when the time to drain is over
TURN = 2.0  # seconds after which a process gives its room to those who wait for it
TICK = 0.5  # seconds between two looks of the keeper

log = logging.getLogger("procession")


class Workers:
    """Compute processes for many callers, within the bounds of ``[host.workers]``."""

    def __init__(self, settings: WorkerSettings, faults: Faults) -> None:
        self.faults = faults
        self._settings = settings
        self._slot_seconds = seconds(settings.slot_timeout) + GRACE
        self._idle_seconds = seconds(settings.idle_timeout)
        self._lock = threading.RLock()
        self._quiet = threading.Condition(self._lock)
        self._lines: dict[str, Line] = {}
        self._queued: deque[Line] = deque()
        self._hands = Hands("procession worker")
        self._is_kept = False
        self._closing = False
        self._ended = threading.Event()

    # -- callers

    def line(self, process: str, build: Callable[[], tuple[Compiled, Services]]) -> Line:
        """Return the line of a process; ``build`` is asked where there is none."""
        if (found := self._lines.get(process)) is not None:
            return found
        compiled, services = build()
        with self._lock:
            if process not in self._lines:
                self._lines[process] = Line(self._worker(compiled, services))
                self._is_kept = self._is_kept or begin("procession keeper", self._keep)
            return self._lines[process]

    def assigned(self, assignments: Sequence[Assignment], offered: Sequence[Submission]) -> None:
        """Hand assignments of a process on to its line, where it is here."""
        line = self._lines.get(assignments[0].process) if assignments else None
        if line is not None:
            line.worker.services.hand_on(assignments, offered)

    def compute(self, line: Line, slot: int, *, key: str, deadline: float, patient: bool) -> Message:
        """Return the state after a slot that the schedule holds; of it at least ``key``, the whole for "".

        Raises ComputeError where this host failed or ``deadline`` (of ``time.monotonic``) passed. A caller who is
        not ``patient`` is refused at once where more slots lie before it than are computed for one request; these
        are then computed in the background.
        """
        worker = line.worker
        if (found := worker.stored(slot, key)) is not None:
            return found
        self.faults.check(line.process, slot, worker.process.fingerprint, worker.begin_of)
        begin = slot if patient else worker.begin_of(slot)
        waiter = Waiter(slot, key)
        with self._lock:
            line = self._lines.setdefault(line.process, line)  # it may have been put to rest meanwhile
            if (found := line.owed.get(slot)) is not None:
                return found
            self._refuse_full(line)
            if slot - begin > self._settings.replay:
                line.owe(slot)
                self._start(line)
                raise behind(line, slot, begin, self._settings.replay)
            line.join(waiter)
            self._start(line)
        return self._awaited(line, waiter, deadline)

    def snapshot(self, line: Line, deadline: float) -> None:
        """Snapshot a process where it stands; one that is stored and not live is taken up first."""
        self.do(line, Task("snapshot", Worker.snapshot_newest), deadline)

    def lines(self) -> list[Line]:
        """Return the lines that are here, by process."""
        with self._lock:
            return [line for _, line in sorted(self._lines.items())]

    def close(self) -> list[Callable[[], None]]:
        """Take nothing new, let what is waited for end within a bound; return what is to be closed."""
        with self._lock:
            self._closing = True
            queued, self._queued = list(self._queued), deque()
            refused = [waiter for line in queued for waiter in line.fail(closed())]
            for line in queued:
                line.place = Place.IDLE
            for line in self._lines.values():
                line.owed = {}
                line.aim()
        tell_all(refused, closed())
        with self._lock:
            self._wait_until_quiet(seconds(self._settings.drain_timeout))
            self._ended.set()
            self._wait_until_quiet(ENDING)
            lines, self._lines = list(self._lines.values()), {}
            refused = [waiter for line in lines for waiter in (*line.fail(closed()), *line.drop_tasks())]
        tell_all(refused, closed())
        self._hands.close()
        return [partial(self._closed, line) for line in lines]

    # -- inside: waiting

    def _awaited(self, line: Line, waiter: Waiter, deadline: float) -> Message:
        try:
            done = waiter.wait(deadline)
        finally:
            if waiter.state is None:
                with self._lock:
                    line.leave(waiter)
        if not done or waiter.state is None:
            raise late(line, waiter.slot)
        return waiter.state

    def do(self, line: Line, task: Task, deadline: float) -> None:
        """Do something with the worker of a process between two batches, once for all who ask for the same."""
        if line.thread == threading.get_ident():
            task.do(line.worker)
            return
        with self._lock:
            line = self._lines.setdefault(line.process, line)
            same = next((other for other in line.tasks if other.name == task.name), None)
            if same is None:
                self._refuse_full(line)
                line.tasks.append(task)
                self._start(line)
        waiter = (same or task).waiter
        if not waiter.wait(deadline):
            raise late(line, line.worker.at)

    def _refuse_full(self, line: Line) -> None:
        if self._closing:
            raise closed()
        refuse_full(line, self._lines.values(), len(self._queued), self._settings)

    # -- inside: room

    def _start(self, line: Line) -> None:
        """Let a line run, where there is room or somebody to make it; else let it wait for room."""
        if line.place is not Place.IDLE:
            return
        victim: Line | None = None
        if not line.seated and is_full(self._lines.values(), self._settings):
            victim = longest_idle(self._lines.values())
            if victim is None:
                line.place = Place.QUEUED
                self._queued.append(line)
                return
        job = partial(self._run, line, line.worker, victim)
        line.seated = True
        self._hand(job, line, victim or line)

    def _freed(self, line: Line, *, evicting: bool) -> None:
        """Note that a line does nothing now; let those run who wait for room, then itself if it has more to do."""
        line.place, line.thread, line.used = Place.IDLE, None, time.monotonic()
        line.seated = line.seated and line.worker.is_live
        self._quiet.notify_all()
        if self._closing:
            return
        queued, self._queued = self._queued, deque()
        for other in (*queued, *([line] if line.has_work else [])):
            other.place = Place.IDLE if other.place is Place.QUEUED else other.place
            self._start(other)
        too_large = evicting and sum(other.size for other in self._lines.values()) > self._settings.live_bytes
        if too_large and (victim := longest_idle(self._lines.values())) is not None:
            self._hand(partial(self._rested, victim), victim)

    def _hand(self, job: Callable[[], object], *lines: Line) -> None:
        failed = partial(self._strand, {line: line.worker for line in lines})
        for line in lines:
            line.place, line.thread = Place.RUNNING, None  # nothing may fail before the job is given
        self._hands.give(job, failed)

    def _strand(self, held: dict[Line, Worker], raised: BaseException) -> None:
        with self._lock:
            for line, worker in held.items():
                strand(line, worker, raised)
            self._quiet.notify_all()

    def _rested(self, line: Line) -> ProcessionError | None:
        """Snapshot a line and close its live state; return why it stays."""
        error: ProcessionError | None = None
        line.thread = threading.get_ident()
        try:
            line.worker.rest()
        except BaseException as raised:  # noqa: BLE001 - the boundary of a thread: it stays live, and is tried again
            error = told(raised, line.process, line.worker.at)
            line.worker.services.report(line.process, line.worker.at, error)
        with self._lock:
            if error is None:
                line.size = 0
                line.aim()
            self._freed(line, evicting=error is None)
            if error is None and line.place is Place.IDLE and not self._closing:
                self._forget(line)
        return error

    # -- inside: running, each line on one thread

    def _run(self, line: Line, worker: Worker, victim: Line | None) -> None:
        line.thread, line.begun = threading.get_ident(), math.inf
        if victim is not None:
            error = self._rested(victim)
            if error is not None:
                self._fail(line, worker, error)
        served = Served()
        while (step := self._next(line, worker, served)) is not None:
            served = Served()
            try:
                served = step() or served
                self._measure(line, worker)
            except BaseException as raised:  # noqa: BLE001 - the boundary of a thread: whoever waits is told
                self._fail(line, worker, told(raised, line.process, worker.at + 1))
        if line.worker is not worker:
            worker.drop()

    def _next(self, line: Line, worker: Worker, served: Served) -> Step | None:
        with served, self._lock:
            if line.worker is not worker:
                return None
            past = line.past
            if self._queued and line.has_work and line.had(TURN):
                self._hand(partial(self._rested, line), line)
                return None
            if not self._ended.is_set():
                if worker.is_looking_back and past is None:
                    return worker.forget_past
                if line.tasks:
                    return partial(self._do, worker, line.tasks.popleft())
                if past is not None:
                    return partial(self._look_back, line, worker, past)
                if line.target > worker.at:
                    return partial(self._advance, line, worker)
            self._freed(line, evicting=line.size > 0)
            return None

    def _measure(self, line: Line, worker: Worker) -> None:
        size = worker.size
        with self._lock:
            if line.worker is worker:
                line.size, line.begun = size, min(line.begun, time.monotonic())

    def _do(self, worker: Worker, task: Task) -> None:
        error: ProcessionError | None = None
        try:
            task.do(worker)
        except BaseException as raised:  # noqa: BLE001 - the boundary of a thread: whoever waits is told
            error = told(raised, worker.process.id, worker.at)
        task.waiter.tell(None, error)

    def _advance(self, line: Line, worker: Worker) -> Served:
        return self._settle(line, worker, worker.advance(line.target, line.wants))

    def _look_back(self, line: Line, worker: Worker, slot: int) -> Served:
        """Answer those who wait for a past slot from the store, else compute it apart."""
        with self._lock:
            waiters = [*line.waiting.get(slot, ()), *([Waiter(slot)] if slot in line.owed else ())]
        for waiter in waiters:
            found = worker.stored(slot, waiter.key)
            if found is not None:
                with self._lock:
                    line.leave(waiter)
                    line.owed.pop(slot, None)
                waiter.tell(found)
        return self._settle(line, worker, worker.look_back(slot, line.wants)) if line.wants(slot) else Served()

    def _settle(self, line: Line, worker: Worker, advanced: Advanced) -> Served:
        """Return who is to be told of what is committed now; tell those who waited for what could not be computed."""
        with self._lock:
            if line.worker is not worker:
                return Served()
            served = line.served(advanced)
        fault, known = advanced.fault, self.faults.of(line.process)
        if fault is not None:
            with served:
                self.faults.note(line.process, fault, worker.process.fingerprint)
            self._fail(line, worker, fault, from_slot=advanced.at + 1)
            return Served()
        line.error = None
        if known is not None and advanced.passed(known.slot):
            with served:
                self.faults.forget(line.process)
            return Served()
        return served

    def _fail(self, line: Line, worker: Worker, error: ProcessionError, *, from_slot: int = 0) -> None:
        with self._lock:
            waiters = line.fail(error, from_slot=from_slot) if line.worker is worker else []
        worker.services.watch("procession_failed", process=line.process, slot=error.facts.get("slot"), error=error)
        tell_all(waiters, error)

    # -- inside: the keeper

    def _keep(self) -> None:
        """Rest what nobody used for long, and give up what runs too long."""
        while not self._ended.wait(min(TICK, self._idle_seconds / 2)):
            each(self.lines(), self._look_after)

    def _look_after(self, line: Line) -> None:
        computing, now = line.worker.computing, time.monotonic()
        if line.place is Place.RUNNING and computing and now - computing[1] > self._slot_seconds:
            self._give_up(line, computing[0])
        elif now - line.used > self._idle_seconds:
            self._rest(line)

    def _rest(self, line: Line) -> None:
        with self._lock:
            if line.place is not Place.IDLE or self._closing:
                return
            if line.seated:
                self._hand(partial(self._rested, line), line)
            elif not line.has_work:
                self._forget(line)

    def _forget(self, line: Line) -> None:
        if self._lines.get(line.process) is line:
            del self._lines[line.process]

    def _give_up(self, line: Line, slot: int) -> None:
        worker = line.worker
        error = too_long(line, slot, self._settings.slot_timeout)
        self.faults.note(line.process, error, worker.process.fingerprint)
        self._fail(line, worker, error)
        with self._lock:
            if line.worker is worker and line.place is Place.RUNNING:
                line.worker, line.seated, line.size = self._worker(worker.process, worker.services), False, 0
                self._freed(line, evicting=True)

    def _wait_until_quiet(self, limit: float) -> None:
        self._quiet.wait_for(lambda: all(line.place is Place.IDLE for line in self._lines.values()), limit)

    def _closed(self, line: Line) -> None:
        with self._lock:
            worker, left_behind = line.worker, line.place is Place.RUNNING
            if left_behind:  # its thread drops what it has when it comes back
                line.worker = self._worker(worker.process, worker.services)
        if left_behind:
            log.warning("process %s: still computing at the end; it is left behind", line.process)
            return
        try:
            worker.rest()
        finally:
            worker.drop()

    def _worker(self, compiled: Compiled, services: Services) -> Worker:
        return Worker(compiled, services, partial(self._heal, compiled, services))

    def _heal(self, compiled: Compiled, services: Services, record: Record) -> None:
        line = self.line(compiled.id, lambda: (compiled, services))
        task = Task(("rebuild", record.slot), lambda worker: worker.rebuild(record))
        self.do(line, task, time.monotonic() + seconds(self._settings.timeout))
