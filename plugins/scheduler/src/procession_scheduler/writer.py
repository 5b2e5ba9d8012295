"""The writer: the one thread that gives slots, commits what is queued at once, and answers all.

Rules
-----
* Nobody is answered before the commit that holds their slots is on the disk.
* A call that is refused does not hold up its neighbours in the same commit.
* After a failed commit nothing is known of the disk, so nothing more is promised: the writer stops for good.
  A full disk is the exception, also where it shows only in a sync: nothing was acknowledged, and SQLite writes
  the next commit, or the same pages of the file, over what it could not finish, and syncs that.
* The index of names can be made anew. A commit that finds it damaged is planned again after that was done.
* A lone caller waits for its own commit and nothing else; no timer gathers callers.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from procession.errors import ProcessionError, ScheduleError
from procession.schedules import Assignment, Clock
from procession_scheduler.disk import Disk
from procession_scheduler.files import DAMAGED, DISK_FULL, closed
from procession_scheduler.names import DamagedIndexError
from procession_scheduler.plans import Commit, Draft, Offer

GROUP = 256  # submissions a commit takes from the queue; one call alone may hold more
KNOWN = (DISK_FULL, DAMAGED, "locked")  # errors of a commit that is not in the file, or that the next writes over
IDLE = 0.1  # seconds without a call until the log is emptied into the file

_log = logging.getLogger("procession.scheduler")


class Call:
    """Hold what one caller waits for: assignments, or an error. Who claims it first decides if it is begun."""

    __slots__ = ("_claim", "_done", "answered", "assignments", "error", "offers", "process")

    def __init__(self, process: str, offers: Sequence[Offer]) -> None:
        self.process = process
        self.offers = offers
        self.assignments: Sequence[Assignment] = ()
        self.error: Exception | None = None
        self.answered = False
        self._claim = threading.Lock()
        self._done = threading.Lock()
        self._done.acquire()

    def claimed(self) -> bool:
        """Claim it: the writer in order to begin, the caller in order to take it back; False where it is claimed."""
        return self._claim.acquire(blocking=False)

    def answer(self, assignments: Sequence[Assignment], error: Exception | None = None) -> None:
        """Let the caller go on, once."""
        self.assignments, self.error, self.answered = assignments, error, True
        self._done.release()

    def awaited(self, seconds: float) -> bool:
        """Wait for the answer, as its only caller; tell whether it came."""
        return self._done.acquire(timeout=seconds)


Answer = tuple[Call, list[Assignment]]


class Writer:
    """Run the thread that owns the writing side of the file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._disk = Disk(path)
        try:
            self._disk.check_heads()
        except ScheduleError:
            self._disk.close()
            raise
        self._queue: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # nothing is queued behind the end
        self._closing = False
        self._stopped: Exception | None = None  # what a write failed with
        self._thread = threading.Thread(target=self._run, name=f"procession schedule {path.name}", daemon=True)
        self._thread.start()

    def submit(self, process: str, offers: Sequence[Offer]) -> Call:
        """Queue a call; it is answered when it is durable."""
        call = Call(process, offers)
        with self._lock:
            if self._closing:
                raise closed(self._path)
            self._queue.put(call)
        return call

    def close(self, deadline: float) -> None:
        """Finish what is queued and end the thread; ScheduleError if that takes longer than the deadline."""
        with self._lock:
            if not self._closing:
                self._closing = True
                self._queue.put(None)
        self._thread.join(deadline)
        if self._thread.is_alive():
            what = f"still writing after {deadline} seconds"
            raise ScheduleError(what, where=str(self._path), remedy="see to the disk", kind="deadline")

    def _run(self) -> None:
        try:
            while calls := self._taken():
                self._serve([call for call in calls if call.claimed()])
        finally:
            self._let_go()

    def _let_go(self) -> None:
        try:
            self._disk.close()
        except ScheduleError as error:  # what was acknowledged is in the log, and the next opening finds it there
            _log.warning("while closing: %s", error.text)

    def _taken(self) -> list[Call]:
        """Return the calls of the next commit; none once the queue is closed and drained."""
        calls: list[Call] = []
        count = 0
        call = self._first()
        while call is not None:
            calls.append(call)
            count += len(call.offers)
            if count >= GROUP or self._queue.empty():
                return calls
            call = self._queue.get()
        if calls:
            self._queue.put(None)  # the end comes again, behind these
        return calls

    def _first(self) -> Call | None:
        """Wait for a call; when none comes for a while, let the disk settle."""
        while True:
            at_rest = self._disk.settled or self._stopped is not None
            try:
                return self._queue.get(timeout=None if at_rest else IDLE)
            except queue.Empty:
                self._tidy(self._disk.settle)

    def _serve(self, calls: Sequence[Call]) -> None:
        try:
            self._refuse_if_stopped()
            answers = self._healed(calls)
        except Exception as error:  # noqa: BLE001 - the thread outlives what its calls meet, and each of them is told
            self._failed(calls, error)
            return
        for call, assignments in answers:
            call.answer(assignments)
        self._tidy(self._disk.relieve)

    def _failed(self, calls: Sequence[Call], error: Exception) -> None:
        fatal = self._stopped is None and self._disk.writing and not _is_known(error)
        if _is_damage(error) and len(calls) > 1:  # met by one of them: the others need not suffer it
            self._tidy(self._disk.undo)
            for call in calls:
                self._serve([call])
        else:
            self._fail(calls, error, fatal=fatal)

    def _healed(self, calls: Sequence[Call]) -> list[Answer]:
        """Commit calls; an index that is found damaged is made anew first."""
        try:
            return self._committed(calls)
        except DamagedIndexError as error:
            _log.warning("%s: the index of names is damaged, and is made anew: %s", self._path, error)
        try:
            self._disk.rebuild_index()
        except ScheduleError as error:
            if not _is_damage(error):
                raise
            return self._nameless(calls, error)
        return self._nameless(calls)

    def _nameless(self, calls: Sequence[Call], lost: ScheduleError | None = None) -> list[Answer]:
        """Commit calls once more; those that ask for a name of an index that is lost are refused."""
        try:
            self._disk.undo()
            return self._committed(calls)
        except DamagedIndexError as error:
            remedy = "restore the schedule file from a copy; it cannot be recomputed"
            what = f"damaged beyond what can be made anew: {error}"
            raise lost or ScheduleError(what, where=str(self._path), remedy=remedy, kind=DAMAGED) from error

    def _committed(self, calls: Sequence[Call]) -> list[Answer]:
        self._disk.begin()
        commit = Commit(self._disk)
        answers = self._planned(calls, commit)
        self._disk.write(commit)
        return answers

    def _planned(self, calls: Sequence[Call], commit: Commit) -> list[Answer]:
        answers = []
        for call in calls:
            if call.answered:  # refused when this was planned before
                continue
            try:
                draft = Draft(call.process, commit, self._clock)
                assignments = draft.answers(call.offers)
            except ProcessionError as error:
                call.answer((), error)
                continue
            commit.take(draft)
            answers.append((call, assignments))
        return answers

    def _fail(self, calls: Sequence[Call], error: Exception, *, fatal: bool) -> None:
        if fatal:
            self._stopped = error
        self._tidy(self._disk.undo)
        for call in calls:
            if not call.answered:
                call.answer((), self._stop_error() if fatal else error)

    def _tidy(self, step: Callable[[], None]) -> None:
        """Do what no caller waits for; if the disk refuses it, promise nothing more."""
        try:
            step()
        except ScheduleError as error:
            if not _is_known(error):
                self._stopped = self._stopped or error

    def _refuse_if_stopped(self) -> None:
        if self._stopped is not None:
            raise self._stop_error()

    def _stop_error(self) -> ScheduleError:
        remedy = "see to the disk, then open the schedule again; what was not acknowledged may or may not be in it"
        what = f"stopped after a failed write: {self._stopped}"
        error = ScheduleError(what, where=str(self._path), remedy=remedy, kind="stopped")
        error.__cause__ = self._stopped
        return error


def _is_damage(error: Exception) -> bool:
    return isinstance(error, ScheduleError) and error.kind == DAMAGED


def _is_known(error: Exception) -> bool:
    """Tell whether an error leaves the file as it was, for all that the next commit will say."""
    return isinstance(error, ScheduleError) and error.kind in KNOWN
