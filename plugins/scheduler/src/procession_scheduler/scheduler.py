"""FileScheduler: ``scheduler@1.0``, every schedule of a data folder in one SQLite file."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from procession.errors import ScheduleError
from procession.roles import Site
from procession.schedules import Assignment, Head, Submission
from procession_scheduler.files import Readers, naming
from procession_scheduler.index import place_of
from procession_scheduler.plans import prepared
from procession_scheduler.rows import SLOTS, all_rows, assignment_of, read_range, tip_of
from procession_scheduler.writer import Writer

DEADLINE = 30.0  # seconds a caller waits for its commit, and closing for what is queued


@attrs.frozen
class SchedulerOptions:
    """Name the schedule file, relative to the data folder."""

    path: str = "schedule.sqlite"


class FileScheduler:
    """Order messages on SQLite: one file, one writing thread, readers beside it.

    A slot is answered when it is on the disk (WAL, synchronous FULL). Opened on a site that is read
    only it reads beside a running writer, of another program too. ``deadline`` in seconds.
    """

    def __init__(self, options: SchedulerOptions, site: Site, *, deadline: float = DEADLINE) -> None:
        self._path = site.data / options.path
        self._deadline = deadline
        self._writer = None if site.read_only else Writer(self._path, site.clock)
        try:
            self._readers = Readers(self._path)
        except BaseException:
            self._end_writer()
            raise

    def assign(self, process: str, submissions: Sequence[Submission]) -> Sequence[Assignment]:
        """Return an assignment for each submission, on disk when this returns, all or none.

        A repeated submission gets the assignment it had, and so does an import that is repeated
        with the same place and content. RequestError (kind ``conflict``) for an idempotency key with other content;
        ScheduleError (kind ``deadline``) where the outcome is unknown.
        """
        if self._writer is None:
            remedy = "close what writes to it and open it for writing"
            raise ScheduleError("opened read only", where=str(self._path), remedy=remedy, kind="read-only")
        if not submissions:
            return ()
        call = self._writer.submit(process, [prepared(process, submission) for submission in submissions])
        if not call.awaited(self._deadline):
            raise self._late(process, scheduled=not call.claimed())
        if call.error is not None:
            raise call.error
        return call.assignments

    def read(self, process: str, first: int, last: int) -> Sequence[Assignment]:
        """Return the assignments of slots first..last, both included, as far as there are any.

        ScheduleError (kind ``damaged-schedule``) names the slot that is missing or not what was written.
        """
        with naming(process), self._readers.lent() as db:
            rows = read_range(db, process, first, last)
        return tuple([assignment_of(process, row) for row in rows])

    def head(self, process: str) -> Head | None:
        """Return the last slot, by one seek; None for an unknown process."""
        with naming(process), self._readers.lent() as db:
            tip = tip_of(db, process)
        return None if tip is None else tip.head

    def find(self, process: str, message_id: str) -> int | None:
        """Return the first slot that holds a message, by index; where that is damaged, by reading the schedule."""
        with naming(process), self._readers.lent() as db:
            place = place_of(db, process, message_id)
        return None if place is None else place % SLOTS

    def processes(self) -> Sequence[str]:
        """Return the ids of all processes, in the order of their first slot."""
        with self._readers.lent() as db:
            return tuple([process for (process,) in all_rows(db, "SELECT id FROM processes ORDER BY key")])

    def close(self) -> None:
        """Finish what is queued and let go of the file; ScheduleError (kind ``deadline``) if that hangs."""
        self._readers.close()
        self._end_writer()

    def _end_writer(self) -> None:
        if self._writer is not None:
            self._writer.close(DEADLINE)

    def _late(self, process: str, *, scheduled: bool) -> ScheduleError:
        unknown = "its outcome is unknown" if scheduled else "nothing was scheduled"
        return ScheduleError(
            f"no answer from the disk in {self._deadline} seconds, {unknown}",
            where=f"schedule of {process}",
            remedy="send it again signed or with an idempotency key: it then keeps its slot",
            kind="deadline",
            facts={"process": process, "outcome": "unknown" if scheduled else "none"},
        )
