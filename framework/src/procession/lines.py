"""Lines: who waits for one process, for which slot, and what is computed for them next.

Rules
-----
* A line is changed under the pool's lock alone.
* Callers of one slot share its computation; a caller of a slot that was passed is answered from the store, else
  by a look back.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import Any

import attrs

from procession.errors import ComputeError, ProcessionError
from procession.faults import QUARANTINED, Fault
from procession.messages import EMPTY, Message
from procession.settings import WorkerSettings
from procession.worker import Advanced, Worker, told

OWED = 8  # states of past slots that are kept for who asks again


class Place(Enum):
    """Say where a line is: nothing to do, waiting for room, or computing."""

    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"


@attrs.define(eq=False)
class Waiter:
    """Hold what callers wait for, and what they get: a state, or an error."""

    slot: int = -1
    key: str = ""
    state: Message | None = None
    error: ProcessionError | None = None
    _told: threading.Lock = attrs.field(factory=threading.Lock, init=False)  # taken once
    _gate: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._gate.acquire()

    def tell(self, state: Message | None, error: ProcessionError | None = None) -> None:
        """Let the callers go on; what is told first counts."""
        if self._told.acquire(blocking=False):
            self.state, self.error = state, error
            self._gate.release()

    def wait(self, deadline: float) -> bool:
        """Wait until it is told, and raise an error that it was told; False where the deadline passed first."""
        if not self._gate.acquire(timeout=left(deadline)):
            return False
        self._gate.release()  # for the next caller
        if self.error is not None:
            raise self.error.with_traceback(None)
        return True


class Served(list[tuple[Waiter, Message]]):
    """Hold who is told which state once this is left: a line that is free by then can be asked at once."""

    def __enter__(self) -> None:
        """Keep them waiting."""

    def __exit__(self, *raised: object) -> None:
        """Let them go on."""
        for waiter, state in self:
            waiter.tell(state)


Step = Callable[[], Served | None]  # something that a line does, with whom it served


@attrs.define(eq=False)
class Task:
    """Hold what else is done with a worker, between two batches: a snapshot, a record to rebuild."""

    name: object
    do: Callable[[Worker], None]
    waiter: Waiter = attrs.field(factory=Waiter)


@attrs.define(eq=False)
class Line:
    """Hold a worker and those who wait for it.

    ``target`` is the slot to compute up to, for callers or in the background. ``owed`` are past slots that are
    computed in the background, with their states once they are there. A ``seated`` line counts among the live;
    it runs on ``thread``, and did its first piece of work when it had ``begun``.
    """

    worker: Worker
    waiting: dict[int, list[Waiter]] = attrs.field(factory=dict)
    tasks: deque[Task] = attrs.field(factory=deque)
    owed: dict[int, Message | None] = attrs.field(factory=dict)
    target: int = -1
    place: Place = Place.IDLE
    seated: bool = False
    size: int = 0
    used: float = attrs.field(factory=time.monotonic)
    begun: float = math.inf
    thread: int | None = None
    error: ProcessionError | None = None

    @property
    def process(self) -> str:
        """Return the id of the process."""
        return self.worker.process.id

    @property
    def count(self) -> int:
        """Return how many callers wait."""
        return sum(map(len, self.waiting.values())) + len(self.tasks)

    @property
    def past(self) -> int | None:
        """Return the lowest slot that somebody waits for and the live state has passed."""
        if not self.waiting and not self.owed:
            return None
        owed = (slot for slot, state in self.owed.items() if state is None)
        return min((slot for slot in (*self.waiting, *owed) if slot <= self.worker.at), default=None)

    @property
    def has_work(self) -> bool:
        """Tell whether anything is left to do."""
        return bool(self.tasks) or self.target > self.worker.at or self.past is not None

    def had(self, seconds: float) -> bool:
        """Tell whether it did something for so long, and may give its room up and lose nothing."""
        return self.worker.can_rest and time.monotonic() - self.begun > seconds

    def wants(self, slot: int) -> bool:
        """Tell whether somebody waits for a slot, or will ask for it again."""
        return slot in self.waiting or self.owed.get(slot, EMPTY) is None

    def join(self, waiter: Waiter) -> None:
        """Let a caller wait for a slot."""
        self.waiting.setdefault(waiter.slot, []).append(waiter)
        self.target = max(self.target, waiter.slot)

    def aim(self) -> None:
        """Compute for those who wait or will ask again, and no further."""
        owed = [slot for slot, state in self.owed.items() if state is None]
        self.target = max((*self.waiting, *owed), default=-1)

    def leave(self, waiter: Waiter) -> None:
        """Let a caller go who waits no longer; its slot is computed all the same."""
        others = self.waiting.get(waiter.slot, [])
        if waiter in others:
            others.remove(waiter)
        if not others:
            self.waiting.pop(waiter.slot, None)

    def owe(self, slot: int) -> None:
        """Compute a slot in the background."""
        if slot > self.worker.at:
            self.target = max(self.target, slot)
        self.owed.setdefault(slot, None)
        while len(self.owed) > OWED:
            del self.owed[next(iter(self.owed))]

    def served(self, advanced: Advanced) -> Served:
        """Return who is to be told which state, after a batch."""
        ready = Served()
        for slot, state in advanced.states.items():
            ready += [(waiter, state) for waiter in self.waiting.pop(slot, ())]
            if slot in self.owed:
                self.owed[slot] = state
        return ready

    def drop_tasks(self) -> list[Waiter]:
        """Give up the other tasks; return who is to be told."""
        tasks, self.tasks = self.tasks, deque()
        return [task.waiter for task in tasks]

    def standing(self, head: int, fault: Fault | None) -> Message:
        """Return where the line is, beside the head of its schedule, as it is shown."""
        at = self.worker.at if self.worker.is_live else self.worker.newest()
        rows: dict[str, Any] = {
            "process": self.process,
            "state": QUARANTINED if fault and fault.quarantined else self.place.value,
            "at-slot": at,
            "head": head,
            "lag": head - (-1 if at is None else at),
            "queue": self.count,
            "bytes": self.size,
            "snapshot-at": self.worker.snapshot_at if self.worker.snapshot_at >= 0 else None,
        }
        if self.error is not None:
            facts = {"slot": self.error.facts.get("slot")}
            rows["error"] = {"kind": self.error.kind, "message": self.error.what, **facts}
        if fault is not None:
            rows["fault"] = fault.as_message()
        return Message(rows)

    def fail(self, error: ProcessionError, *, from_slot: int = 0) -> list[Waiter]:
        """Give up what leads to a slot or beyond it; return who is to be told."""
        self.error = error
        self.owed = {slot: state for slot, state in self.owed.items() if slot < from_slot}
        failed = [slot for slot in self.waiting if slot >= from_slot]
        told = [waiter for slot in failed for waiter in self.waiting.pop(slot)]
        self.aim()
        return told


# -- room


def is_full(lines: Collection[Line], settings: WorkerSettings) -> bool:
    """Tell whether no other line may be seated beside these."""
    seated = [line for line in lines if line.seated]
    too_large = sum(line.size for line in seated) >= settings.live_bytes
    return len(seated) >= settings.live or (too_large and bool(seated))


def longest_idle(lines: Collection[Line]) -> Line | None:
    """Return the seated line that was used longest ago and does nothing."""
    idle = [line for line in lines if line.seated and line.place is Place.IDLE]
    return min(idle, key=lambda line: line.used, default=None)


def refuse_full(line: Line, lines: Collection[Line], queued: int, settings: WorkerSettings) -> None:
    """Refuse a caller for whom there is no place to wait, ``queued`` lines being without room."""
    if line.thread == threading.get_ident():
        raise crowded(line, "what watches a process cannot wait for a slot of the same process", "busy")
    total = queued if line.place is Place.IDLE else sum(other.count for other in lines)
    if line.count >= settings.queue:
        raise crowded(line, f"{line.count} callers wait for it already", "queue-full")
    if total >= settings.queue_total:
        raise crowded(line, f"{total} callers wait here already", "busy")


# -- what those who wait may be told


def left(deadline: float) -> float:
    """Return the seconds until a deadline, as far as a thread can wait."""
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)


def tell_all(waiters: Sequence[Waiter], error: ProcessionError) -> None:
    """Let callers go on with an error."""
    for waiter in waiters:
        waiter.tell(None, error)


def strand(line: Line, worker: Worker, raised: BaseException) -> None:
    """Leave a line idle that no thread runs to the end, and tell who waits for it."""
    if line.worker is worker and line.place is Place.RUNNING:
        error = told(raised, line.process, worker.at + 1)
        tell_all([*line.fail(error), *line.drop_tasks()], error)
        line.place, line.thread, line.seated = Place.IDLE, None, line.seated and worker.is_live


def closed() -> ComputeError:
    """Return the error of a kernel that takes nothing more."""
    return ComputeError("the kernel is closed", remedy="open it again", kind="closed")


def crowded(line: Line, what: str, kind: str) -> ComputeError:
    """Return the refusal of a caller for whom there is no place to wait."""
    remedy = "ask again later, or raise [host.workers] queue or queue-total"
    return _refusal(line, what, kind=kind, remedy=remedy, queue=line.count)


def late(line: Line, slot: int) -> ComputeError:
    """Return the error of a caller whose deadline passed."""
    remedy = "ask again; the work goes on and what is done is kept"
    what = f"the deadline passed: {_standing(line)}"
    return _refusal(line, what, kind="deadline", remedy=remedy, slot=slot, at=line.worker.at)


def behind(line: Line, slot: int, begin: int, most: int) -> ComputeError:
    """Return the refusal of a request before which too many slots lie."""
    what = f"{slot - begin} slots are to be computed first, and one request may ask for {most}"
    remedy = "ask again; they are computed in the background"
    return _refusal(line, what, kind="behind", remedy=remedy, slot=slot, at=begin, left=slot - begin)


def too_long(line: Line, slot: int, limit: str) -> ComputeError:
    """Return the fault of a slot that runs longer than this host lets it."""
    remedy = "see what its device waits for, or raise [host.workers] slot-timeout"
    return _refusal(line, f"computing took longer than {limit}", kind="wall-clock", remedy=remedy, slot=slot)


def _refusal(line: Line, what: str, *, kind: str, remedy: str, **facts: int) -> ComputeError:
    slot = f", slot {facts['slot']}" if "slot" in facts else ""
    known: dict[str, str | int] = {"process": line.process, **facts}
    return ComputeError(what, where=f"process {line.process}{slot}", remedy=remedy, kind=kind, facts=known)


def _standing(line: Line) -> str:
    if line.place is Place.QUEUED:
        return "the process waits for room among the live ones"
    computing = line.worker.computing
    if computing is not None:
        return f"slot {computing[0]} is being computed"
    return f"slot {line.worker.at} is computed and stored" if line.worker.is_live else "nothing is computed yet"
