"""A schedule of two processes to damage, and what must hold of it after."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random

import apsw
import attrs
import pytest

from procession.errors import ScheduleError
from procession.ids import hash_id
from procession.messages import Message
from procession.schedules import Assignment, Submission, check_chain
from procession_scheduler import FileScheduler, chunks, index
from procession_scheduler.rows import SLOTS
from reliability.disks import PROCESS, open_scheduler

OTHER = hash_id(b"another process")
COUNT = 30
COLUMNS = "run, first, until, packed, seal"  # of a chunk
RECORDS = (
    "message = CAST(substr(message, 1, length(message) - 1) || x'00' AS BLOB)",
    "message = zeroblob(length(message))",
    "message = substr(message, 9)",
    "message = x''",
    "message = message || zeroblob(4096)",
    "message = (SELECT message FROM slots AS other WHERE other.place = 1 + slots.place)",
    "chain = zeroblob(32)",
    "chain = (SELECT chain FROM slots AS other WHERE other.place = 1 + slots.place)",
    "seal = (SELECT seal FROM slots AS other WHERE other.place = 1 + slots.place)",
    "timestamp = timestamp + 1",
    "block_height = 1 - block_height",
    "path = path || 'x'",
    "message_id = substr(message_id, 2) || 'A'",
    "provenance = 'imported'",
)


def offer(process: str, number: int) -> Submission:
    """Return what is offered, with a key, or a signature, or neither."""
    message = Message({"of": process, "number": number, "data": f"{number} " * 40})
    key = f"{process} {number}" if number % 3 == 0 else None
    names = (hash_id(message.encoded),) if number % 3 == 1 else ()
    return Submission(message, message.id, recognised_by=names, idempotency_key=key)


@attrs.frozen
class Written:
    """Hold a folder with a schedule, and what was written."""

    folder: Path
    log: Mapping[str, Sequence[Assignment]]

    @property
    def file(self) -> Path:
        """Return the schedule file."""
        return self.folder / "schedule.sqlite"

    @contextmanager
    def copy(self, folder: Path) -> Iterator[Written]:
        """Lend a copy to damage."""
        shutil.copytree(self.folder, folder)
        try:
            yield attrs.evolve(self, folder=folder)
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def raw(self) -> Iterator[apsw.Connection]:
        """Reach into the file behind the scheduler's back, and leave no log of it."""
        with closing(apsw.Connection(str(self.file))) as db:
            yield db
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def lose_names(self) -> None:
        """Take every third entry out of the index, and leave its seals as they were."""
        with self.raw() as db:
            for number, *row in db.execute(f"SELECT number, {COLUMNS} FROM chunks").fetchall():
                kept = [record for at, record in enumerate(chunks.records_of(tuple(row))) if at % 3]
                (less,) = chunks.chunks_of(row[0], kept, row[1], row[2])
                db.execute("UPDATE chunks SET packed = ? WHERE number = ?", (less[3], number))

    def check_record(self, dice: Random, change: str) -> None:
        """Damage one record; it is named where it is read, not continued where it is the last, and stops no other."""
        last = COUNT - 1
        slot = dice.choice((dice.randrange(last), last if "other." not in change else 0))
        with self.raw() as db:
            db.execute(f"UPDATE slots SET {change} WHERE place = {SLOTS + slot}")
            assert db.changes()
        with closing(open_scheduler(self.folder)) as scheduler:
            for read in ((0, COUNT), (slot, slot)):
                error = _refusal(partial(scheduler.read, PROCESS, *read))
                assert ("damaged-schedule", PROCESS, slot) == (error.kind, error.facts["process"], error.facts["slot"])
                assert f"slot {slot}" in error.text
            around = [item for item in self.log[PROCESS] if item.slot != slot]
            assert around == [item for at in around for item in scheduler.read(PROCESS, at.slot, at.slot)]
            if slot == last:
                assert "damaged-schedule" == _refusal(partial(scheduler.assign, PROCESS, [offer(PROCESS, 99)])).kind
            assert self._goes_on(scheduler, OTHER)

    def check_file(self) -> bool:
        """See that what is read is what was written, and no message gets two slots; tell if a process is untouched."""
        try:
            scheduler = open_scheduler(self.folder)
        except ScheduleError as error:
            assert self.file.name in error.text
            return False
        with closing(scheduler):
            return 0 < sum(self._goes_on(scheduler, process) for process in self.log)

    def _goes_on(self, scheduler: FileScheduler, process: str) -> bool:
        """Read, post again and post anew; tell whether nothing of it was refused. What is not refused must be right."""
        read = [_right(item, partial(scheduler.read, process, item.slot, item.slot)) for item in self.log[process]]
        named = [item for item in self.log[process] if item.slot % 3 != 2]
        again = [_right(item, partial(scheduler.assign, process, [offer(process, item.slot)])) for item in named]
        return all((*read, *again)) and self._new(scheduler, process)

    def _new(self, scheduler: FileScheduler, process: str) -> bool:
        try:
            (made,) = scheduler.assign(process, [offer(process, COUNT)])
            log = scheduler.read(process, 0, COUNT)
        except ScheduleError:
            return False
        assert [*self.log[process], made] == list(log)
        check_chain(log, None)
        return True


def written(folder: Path) -> Written:
    """Write a schedule, the slots of two processes in turns, some of its names in the index and some to come."""
    folder.mkdir()
    log: dict[str, list[Assignment]] = {PROCESS: [], OTHER: []}
    with pytest.MonkeyPatch.context() as patch, closing(open_scheduler(folder)) as scheduler:
        patch.setattr(index, "BEHIND", COUNT)
        for number in range(COUNT):
            for process, made in log.items():
                made += scheduler.assign(process, [offer(process, number)])
    return Written(folder, log)


def _right(item: Assignment, step: Callable[[], Sequence[Assignment]]) -> bool:
    """Tell whether an assignment is found; what is found in its place is wrong."""
    try:
        (found,) = step()
    except ScheduleError as error:
        assert "schedule" in error.text
        return False
    assert found.slot < COUNT, "two slots"
    assert item == found
    return True


def _refusal(step: Callable[[], Sequence[Assignment]]) -> ScheduleError:
    try:
        found = step()
    except ScheduleError as error:
        return error
    raise AssertionError(f"not refused: {found}")
