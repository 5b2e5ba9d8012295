"""What scheduler@1.0 does beyond the contract: damage, trouble of the disk, groups, the log."""

from __future__ import annotations

import errno
import logging
import lzma
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import apsw
import attrs
import pytest

from procession.errors import RequestError, ScheduleError
from procession.messages import Message, encode
from procession.roles import Scheduler, Site
from procession.schedules import Assignment, Clock, Given, Submission, Tick, check_chain
from procession.testing.fakes import SteppingClock
from procession.testing.schedulers import OTHER, PROCESS, submission, submissions
from procession_scheduler import FileScheduler, SchedulerOptions, index
from procession_scheduler.names import name_of
from procession_scheduler.rows import SLOTS, whole_bytes

Open = Callable[..., FileScheduler]


@pytest.fixture
def open_scheduler(tmp_path: Path) -> Iterator[Open]:
    """Open the schedule of the test's folder; all are closed after the test."""
    opened: list[FileScheduler] = []

    def open_it(clock: Clock | None = None, *, read_only: bool = False, deadline: float = 30.0) -> FileScheduler:
        site = Site(tmp_path, read_only, clock or SteppingClock())
        opened.append(FileScheduler(SchedulerOptions(), site, deadline=deadline))
        return opened[-1]

    yield open_it
    for scheduler in opened:
        scheduler.close()


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Reach the file behind the scheduler's back."""
    db = apsw.Connection(str(tmp_path / "schedule.sqlite"))
    yield db
    db.close()


class HeldClock:
    """Keep the writer waiting at its first look until it is let go."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self._clock = SteppingClock()

    def __call__(self) -> Tick:
        """Return a tick once let go."""
        self.asked.set()
        assert self.go_on.wait(30)
        return self._clock()


class FailingFile(apsw.VFSFile):
    """Fail to write or sync the write-ahead log while its disk is full or bad."""

    def __init__(self, disk: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__(disk.base_vfs, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write, or find no room."""
        if self._log and self._disk.full:
            raise apsw.FullError("a full disk")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sync, or fail."""
        if self._log and self._disk.bad:
            self._disk.fired += 1
            raise apsw.IOError("a bad disk")
        self._disk.synced += self._log
        super().xSync(flags)


class FailingDisk(apsw.VFS):
    """Be the disk below SQLite, good until told."""

    def __init__(self) -> None:
        self.bad = False
        self.full = False
        self.fired = 0
        self.synced = 0
        self.base_vfs = apsw.vfs_names()[0]
        super().__init__("failing", self.base_vfs, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """Open a file on this disk."""
        return FailingFile(self, name, flags)


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    """Put a disk that can fail below every file opened in the test."""
    disk = FailingDisk()
    yield disk
    disk.unregister()


def count_commits(scheduler: FileScheduler) -> list[int]:
    """Return a list that grows by one at each commit."""
    commits: list[int] = []

    def count() -> bool:
        commits.append(1)
        return False

    assert scheduler._writer is not None
    scheduler._writer._disk._db.set_commit_hook(count)
    return commits


def wait_until(true: Callable[[], bool]) -> bool:
    """Tell whether something comes true before the test's patience ends."""
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


# -- damage


@pytest.mark.parametrize(
    "change",
    [
        "message = CAST(substr(message, 1, length(message) - 1) || x'00' AS BLOB)",
        "message = 5",
        "path = CAST(x'ff' AS TEXT)",
        "timestamp = timestamp + 1",
        "block_height = block_height + 1",
        "path = 'other'",
        "message_id = substr(message_id, 2) || 'A'",
        "chain = zeroblob(32)",
        "provenance = 'imported'",
        "seal = zeroblob(32)",
    ],
)
def test_changed_row_is_found(open_scheduler: Open, raw: apsw.Connection, change: str) -> None:
    """A row that is not what was written is an error that names process and slot; others stay readable."""
    scheduler = open_scheduler()
    scheduler.assign(PROCESS, submissions(3))
    raw.execute(f"UPDATE slots SET {change} WHERE place % {SLOTS} = 1")
    with pytest.raises(ScheduleError) as found:
        scheduler.read(PROCESS, 0, 2)
    assert ("damaged-schedule", PROCESS, 1) == (
        found.value.kind,
        found.value.facts["process"],
        found.value.facts["slot"],
    )
    assert [2] == [item.slot for item in scheduler.read(PROCESS, 2, 9)]


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_missing_row_is_found(open_scheduler: Open, raw: apsw.Connection, slot: int) -> None:
    """A hole in a schedule is an error that names the slot."""
    scheduler = open_scheduler()
    scheduler.assign(PROCESS, submissions(3))
    raw.execute(f"DELETE FROM slots WHERE place % {SLOTS} = {slot}")
    with pytest.raises(ScheduleError) as found:
        scheduler.read(PROCESS, 0, 2)
    assert slot == found.value.facts["slot"]


def test_damaged_head_is_not_continued(
    open_scheduler: Open, raw: apsw.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """A process whose last slot is damaged takes no further one, says so on opening, and holds up no other."""
    first = open_scheduler()
    first.assign(PROCESS, submissions(2))
    first.assign(OTHER, submissions(1))
    first.close()
    raw.execute(f"UPDATE slots SET timestamp = 0 WHERE place % {SLOTS} = 1")
    with caplog.at_level(logging.WARNING, "procession.scheduler"):
        second = open_scheduler()
    assert PROCESS in caplog.text
    with pytest.raises(ScheduleError, match="seal"):
        second.assign(PROCESS, submissions(1))
    assert 1 == second.assign(OTHER, submissions(1))[0].slot


def test_any_flipped_byte_is_found_or_harmless(tmp_path: Path) -> None:
    """Whatever byte of the file changes, what is read is what was written, or an error of ours."""
    site = Site(tmp_path, False, SteppingClock())
    scheduler = FileScheduler(SchedulerOptions(), site)
    made = list(scheduler.assign(PROCESS, submissions(40)))
    scheduler.close()
    path = tmp_path / "schedule.sqlite"
    good = path.read_bytes()
    random = Random(11)
    seen = set()
    for _ in range(150):
        place = random.randrange(len(good))
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << random.randrange(8))]) + good[place + 1 :])
        try:
            damaged = FileScheduler(SchedulerOptions(), attrs.evolve(site, read_only=True))
        except ScheduleError as error:
            seen.add(error.kind)
            continue
        for slot, expected in enumerate(made):
            try:
                assert (slot, [expected]) == (slot, list(damaged.read(PROCESS, slot, slot)))
            except ScheduleError as error:
                seen.add(error.kind)
        damaged.close()
    assert "damaged-schedule" in seen


def test_schema_that_is_not_ours_any_more_is_an_error(open_scheduler: Open, raw: apsw.Connection) -> None:
    """A file whose tables lost a column is refused with what to do."""
    open_scheduler().close()
    raw.execute("PRAGMA writable_schema = 1")
    raw.execute("UPDATE sqlite_schema SET sql = replace(sql, 'id TEXT', 'ie TEXT') WHERE name = 'processes'")
    raw.close()
    with pytest.raises(ScheduleError, match="restore"):
        open_scheduler()


LOST = [
    "DELETE FROM chunks",
    "UPDATE chunks SET packed = zeroblob(length(packed))",
    "UPDATE chunks SET packed = 5",
    "UPDATE chunks SET first = first || x'00'",
    "UPDATE chunks SET run = run + 1",
    "DELETE FROM facts WHERE what = 1",
    "DELETE FROM facts",
    "UPDATE facts SET content = 5",
    "UPDATE processes SET indexed = last",
    "UPDATE processes SET indexed = -1, mark = x''",
]


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the index catch up where three are behind."""
    monkeypatch.setattr(index, "BEHIND", 2)


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize("change", LOST)
def test_message_is_found_without_its_index(open_scheduler: Open, raw: apsw.Connection, change: str) -> None:
    """A message whose index leads astray, or nowhere, is found where it is, and another one nowhere."""
    scheduler = open_scheduler()
    scheduler.assign(PROCESS, submissions(3))
    scheduler.assign(PROCESS, submissions(1, 3))
    assert (1, 2) == (raw.execute("SELECT count(*) FROM chunks").get, raw.execute("SELECT indexed FROM processes").get)
    raw.execute(change)
    found = [scheduler.find(PROCESS, submission(number).message_id) for number in (2, 0, 3, 7)]
    assert [2, 0, 3, None] == found


def test_names_that_are_gone_are_noticed(open_scheduler: Open, raw: apsw.Connection) -> None:
    """Where the newest of the names that callers gave has gone before the index had it, no message is taken for new."""
    first = open_scheduler()
    first.assign(PROCESS, [submission(0, key="k0"), submission(1, key="k1")])
    first.close()
    raw.execute("DELETE FROM known WHERE number = 2")
    second = open_scheduler()
    with pytest.raises(ScheduleError, match="restore"):
        second.assign(PROCESS, [submission(1, key="k1")])
    assert 2 == second.assign(PROCESS, [submission(2)])[0].slot


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize("change", LOST[:-2])
def test_lost_index_gives_no_message_two_slots(
    open_scheduler: Open, raw: apsw.Connection, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    """An index that lost what it held is made anew, once, with a warning, and every message keeps its slot."""
    first = open_scheduler()
    first.assign(PROCESS, [submission(0), submission(1, names=["s1"]), submission(2, key="k2"), submission(3)])
    first.assign(PROCESS, [submission(1, names=["s1"], key="late")])
    first.close()
    raw.execute(change)
    raw.close()
    second = open_scheduler()
    with caplog.at_level(logging.WARNING, "procession.scheduler"):
        again = second.assign(
            PROCESS, [submission(2, key="k2"), submission(1, names=["s1"]), submission(1, key="late")]
        )
        new = second.assign(PROCESS, [submission(4, key="k4")])
    assert [2, 1, 1, 4] == [item.slot for item in (*again, *new)]
    assert 1 == caplog.text.count("made anew")
    assert second.head(PROCESS) == check_chain(second.read(PROCESS, 0, 9), None)
    assert 3 == second.find(PROCESS, submission(3).message_id)


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize("table", ["chunks", "sqlite_autoindex_chunks_1", "facts"])
def test_index_that_cannot_be_read_is_made_anew(
    open_scheduler: Open, raw: apsw.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    """A page of the index that is no page any more costs a warning, and no message its slot."""
    first = open_scheduler()
    first.assign(PROCESS, [submission(0, key="k0"), submission(1, names=["s1"])])
    first.close()
    root = raw.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
    raw.close()
    with (tmp_path / "schedule.sqlite").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(bytes(4096))
    second = open_scheduler()
    with caplog.at_level(logging.WARNING, "procession.scheduler"):
        made = second.assign(PROCESS, [submission(2, key="k2"), submission(1, names=["s1"]), submission(0, key="k0")])
    assert [2, 1, 0] == [item.slot for item in made]
    assert 1 == caplog.text.count("made anew")
    assert [0, 1, 2] == [second.find(PROCESS, submission(number).message_id) for number in range(3)]


@pytest.mark.parametrize("change", ["seal = zeroblob(8)", "place = place + 1", "number = number + 9", "name = x''"])
def test_index_that_cannot_be_made_anew_is_an_error(open_scheduler: Open, raw: apsw.Connection, change: str) -> None:
    """Where what the index is made of has gone too, a message that would need it is refused; the others go on."""
    first = open_scheduler()
    first.assign(PROCESS, [submission(0, key="k0"), submission(1, key="k1")])
    first.close()
    raw.execute(f"DELETE FROM chunks; UPDATE known SET {change} WHERE number = 1")
    second = open_scheduler()
    with pytest.raises(ScheduleError, match="restore") as refused:
        second.assign(PROCESS, [submission(0, key="k0")])
    assert ("damaged-schedule", 2) == (refused.value.kind, second.assign(PROCESS, [submission(5)])[0].slot)


def test_damage_met_in_a_group_is_borne_alone(open_scheduler: Open, raw: apsw.Connection) -> None:
    """Calls that share a commit with one that meets damage while it is written get their slots."""
    first = open_scheduler()
    first.assign(PROCESS, submissions(2))
    first.close()
    raw.execute(f"UPDATE slots SET place = place + 1 WHERE place % {SLOTS} = 1; UPDATE processes SET last = 2")
    clock = HeldClock()
    scheduler = open_scheduler(clock)
    with ThreadPoolExecutor(4) as pool:
        held = pool.submit(scheduler.assign, OTHER, submissions(1))
        assert clock.asked.wait(20)
        calls = [pool.submit(scheduler.assign, process, submissions(1, 1)) for process in (PROCESS, OTHER)]
        writer = scheduler._writer
        assert writer is not None
        assert wait_until(lambda: writer._queue.qsize() == 2)
        clock.go_on.set()
        with pytest.raises(ScheduleError):
            calls[0].result(20)
        assert [0, 1] == [call.result(20)[0].slot for call in (held, calls[1])]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("broken", [False, True])
def test_schedule_of_an_earlier_version_is_taken_over(
    open_scheduler: Open, raw: apsw.Connection, caplog: pytest.LogCaptureFixture, version: int, broken: bool
) -> None:
    """A file of an earlier version is read as it is; its index is made anew, where it can be, when it is written to."""
    first = open_scheduler()
    first.assign(PROCESS, [submission(0), submission(1, names=["s1"]), submission(2, key="k2")])
    first.close()
    known = raw.execute("SELECT * FROM known").fetchall()
    make_earlier(raw, version, known)
    if broken and version > 1:
        raw.execute("DELETE FROM known WHERE number = ?", (version - 1,))
    reader = open_scheduler(read_only=True)
    assert [1, None] == [reader.find(PROCESS, submission(number).message_id) for number in (1, 7)]
    second = open_scheduler()
    assert 3 == second.assign(PROCESS, [submission(3)])[0].slot
    if broken and version > 1:
        with pytest.raises(ScheduleError, match="restore"):
            second.assign(PROCESS, [submission(2, key="k2")])
        assert f"number {version - 1}" in caplog.text
        return
    again = second.assign(PROCESS, [submission(2, key="k2"), submission(1, names=["s1"])])
    assert [2, 1] == [item.slot for item in again]
    assert {row[1:4] for row in known} == {row[1:4] for row in raw.execute("SELECT * FROM known")}
    assert [0, 3, None] == [second.find(PROCESS, submission(number).message_id) for number in (0, 3, 7)]


def test_a_schedule_that_version_3_wrote_is_taken_over(open_scheduler: Open, tmp_path: Path) -> None:
    """A file with both tiers full, as version 3 wrote it, is read as it is, taken over, and goes on where it was."""
    key = "the only one"  # of the second message of each process (tests/tools/older_folder.py)
    packed = Path(__file__).with_name("earlier") / "schedule-3.sqlite.xz"
    (tmp_path / "schedule.sqlite").write_bytes(lzma.decompress(packed.read_bytes()))
    reader = open_scheduler(read_only=True)
    logs = {process: reader.read(process, 0, 99) for process in reader.processes()}
    assert (5, 92) == (len(logs), sum(map(len, logs.values())))
    writer = open_scheduler()
    for scheduler in (reader, writer):
        for process, log in logs.items():
            firsts = {item.message_id: item.slot for item in reversed(log)}
            assert firsts == {message_id: scheduler.find(process, message_id) for message_id in firsts}
            assert scheduler.head(process) == check_chain(scheduler.read(process, 0, 99), None)
    for process, log in logs.items():
        again, new = writer.assign(
            process, [Submission(log[1].message, log[1].message_id, idempotency_key=key), submission(1)]
        )
        assert (log[1], len(log)) == (again, new.slot)


def test_a_damaged_page_of_a_version_3_file_costs_its_process_alone(open_scheduler: Open, tmp_path: Path) -> None:
    """A page that SQLite cannot read keeps no other process from being read and gone on with once it is taken over."""
    packed = Path(__file__).with_name("earlier") / "schedule-3.sqlite.xz"
    content = bytearray(lzma.decompress(packed.read_bytes()))
    file = tmp_path / "schedule.sqlite"
    file.write_bytes(content)
    reader = open_scheduler(read_only=True)
    logs = {process: reader.read(process, 0, 99) for process in reader.processes()}
    reader.close()
    page = int.from_bytes(content[16:18])
    last = next(iter(logs.values()))[-1].message_id.encode()
    for at in [at for at in range(0, len(content), page) if last in content[at : at + page]]:
        content[at] = 0x77  # no kind of page
    file.write_bytes(content)
    writer = open_scheduler()
    assert {"damaged-schedule", "goes on"} == {outcome(writer, process, log) for process, log in logs.items()}
    assert 0 == writer.assign(PROCESS, [submission(1)])[0].slot


def test_damage_of_a_name_refuses_those_who_need_one_alone(
    open_scheduler: Open, raw: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many messages come, those without a name go on where the index cannot be made anew; others are told."""
    monkeypatch.setattr(index, "BEHIND", 20)
    first = open_scheduler()
    first.assign(PROCESS, [submission(number, key=f"k{number}") for number in range(9)])
    first.close()
    raw.execute("UPDATE known SET name = zeroblob(16) WHERE number = 5")
    scheduler = open_scheduler()
    for number in range(9, 60):
        assert number == scheduler.assign(PROCESS, [submission(number)])[0].slot
        if number % 20 == 0:
            with pytest.raises(ScheduleError, match="number 5"):
                scheduler.assign(PROCESS, [submission(3, key="k3")])
    assert 0 == scheduler.assign(OTHER, [submission(1)])[0].slot
    assert 40 == scheduler.find(PROCESS, submission(40).message_id)


def outcome(scheduler: Scheduler, process: str, log: Sequence[Assignment]) -> str:
    """Return how a schedule is found, and another message taken up."""
    try:
        assert log == scheduler.read(process, 0, 99)
        assert len(log) == scheduler.assign(process, [submission(1)])[0].slot
    except ScheduleError as error:
        return error.kind
    return "goes on"


def make_earlier(db: apsw.Connection, version: int, known: list[tuple[object, ...]]) -> None:
    """Make a file one of an earlier version, whose index was tables; that of 1 and 2 held the messages too."""
    db.execute("DROP TABLE chunks; DROP TABLE facts")
    columns = "(name BLOB PRIMARY KEY, place INTEGER NOT NULL, content BLOB) WITHOUT ROWID"
    db.execute("".join(f"CREATE TABLE names{tier} {columns};" for tier in range(version // 3, 3)))
    if version < 3:
        db.execute("ALTER TABLE processes DROP COLUMN indexed; ALTER TABLE processes DROP COLUMN mark")
        messages = db.execute("SELECT place, message_id FROM slots").fetchall()
        names = [(name_of("message", PROCESS, message_id), place, None) for place, message_id in messages]
        db.executemany("INSERT INTO names0 VALUES (?, ?, ?)", [*names, *(row[1:4] for row in known)])
    if version == 1:
        db.execute("DROP TABLE known")
    else:
        db.execute("CREATE TABLE sums (bucket INTEGER PRIMARY KEY, count INTEGER NOT NULL, total INTEGER NOT NULL)")
    if version == 3:
        proofs = [((number + 1) * 0x9E3779B97F4A7C15) % ((1 << 61) - 1) for number in (2, 1)]
        db.execute("INSERT INTO sums VALUES (0, 2, ?), (1, 0, ?)", (proofs[0], proofs[1]))
    db.pragma("user_version", version)


# -- files that are not ours to write


@pytest.mark.parametrize(
    ("prepare", "kind"),
    [
        ("PRAGMA application_id = 99; CREATE TABLE theirs (x)", "foreign"),
        ("CREATE TABLE theirs (x)", "foreign"),
        (None, "foreign"),
    ],
)
def test_foreign_file_is_refused_untouched(tmp_path: Path, prepare: str | None, kind: str) -> None:
    """A file of another program is refused and stays as it is."""
    path = tmp_path / "schedule.sqlite"
    path.write_bytes(b"no database at all" * 100)
    if prepare is not None:
        path.unlink()
        with apsw.Connection(str(path)) as db:
            db.execute(prepare)
        db.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(ScheduleError) as refused:
            FileScheduler(SchedulerOptions(), Site(tmp_path, read_only, SteppingClock()))
        assert kind == refused.value.kind
    assert before == path.read_bytes()


def test_newer_schema_is_refused(open_scheduler: Open, raw: apsw.Connection) -> None:
    """A file of a newer version is refused with what to install."""
    open_scheduler().close()
    raw.pragma("user_version", 5)
    with pytest.raises(ScheduleError, match="install") as refused:
        open_scheduler()
    assert "newer-schema" == refused.value.kind


def test_locked_file_is_refused_at_once(open_scheduler: Open, raw: apsw.Connection) -> None:
    """A file that another program writes to is refused with what to do."""
    open_scheduler().close()
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(ScheduleError, match="other program") as refused:
        open_scheduler()
    assert "locked" == refused.value.kind


def test_lock_met_later_passes(open_scheduler: Open, raw: apsw.Connection) -> None:
    """A lock that another program takes and gives back costs the calls between, and no more."""
    scheduler = open_scheduler()
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(ScheduleError) as refused:
        scheduler.assign(PROCESS, submissions(1))
    raw.execute("ROLLBACK")
    assert ("locked", 0) == (refused.value.kind, scheduler.assign(PROCESS, submissions(1))[0].slot)


def test_nothing_to_read_is_an_error(open_scheduler: Open, tmp_path: Path) -> None:
    """A folder without a schedule cannot be opened read only, and is not written to."""
    with pytest.raises(ScheduleError) as refused:
        open_scheduler(read_only=True)
    assert ("missing", []) == (refused.value.kind, list(tmp_path.iterdir()))


def test_two_writers_share_a_file(open_scheduler: Open) -> None:
    """Two schedulers on one file give dense slots and one chain, and know each other's names."""
    one, two = open_scheduler(), open_scheduler()
    made = [(one, two)[number % 2].assign(PROCESS, [submission(number)])[0] for number in range(6)]
    one.assign(OTHER, [submission(0, names=["s1"])])
    (again,) = two.assign(OTHER, [submission(1, names=["s1"])])
    assert one.head(PROCESS) == check_chain(made, None)
    assert 0 == again.slot


# -- trouble while writing


def test_failed_commit_stops_the_writer(open_scheduler: Open, disk: FailingDisk) -> None:
    """After a commit that failed nothing is acknowledged until the file is opened again, where all is whole."""
    scheduler = open_scheduler()
    made = list(scheduler.assign(PROCESS, submissions(2)))
    disk.bad = True
    told = set()
    for _ in range(3):
        with pytest.raises(ScheduleError) as refused:
            scheduler.assign(PROCESS, submissions(1))
        disk.bad = False
        assert "stopped" == refused.value.kind
        told.add(refused.value.text)
    assert 1 == len(told)
    assert (1, made) == (disk.fired, list(scheduler.read(PROCESS, 0, 1)))
    scheduler.close()
    second = open_scheduler()
    second.assign(PROCESS, submissions(1, 2))
    stored = list(second.read(PROCESS, 0, 99))
    assert (made, second.head(PROCESS)) == (stored[:2], check_chain(stored, None))


def test_acknowledged_means_synced(open_scheduler: Open, disk: FailingDisk) -> None:
    """Each call that is answered with a new slot has synced the log; a repeated one need not."""
    scheduler = open_scheduler()
    for number in range(3):
        before = disk.synced
        scheduler.assign(PROCESS, [submission(number, names=[str(number)])])
        assert disk.synced > before
    before = disk.synced
    scheduler.assign(PROCESS, [submission(2, names=["2"])])
    assert before == disk.synced


def test_full_disk_is_not_the_end(open_scheduler: Open, disk: FailingDisk) -> None:
    """A call that finds no room is refused and not scheduled; once there is room the schedule goes on."""
    scheduler = open_scheduler()
    scheduler.assign(PROCESS, submissions(2))
    disk.full = True
    with pytest.raises(ScheduleError) as refused:
        scheduler.assign(PROCESS, [submission(2, names=["s1"])])
    disk.full = False
    made = scheduler.assign(PROCESS, [submission(3), submission(2, names=["s1"])])
    stored = scheduler.read(PROCESS, 0, 9)
    assert ("disk-full", [2, 3]) == (refused.value.kind, [item.slot for item in made])
    assert scheduler.head(PROCESS) == check_chain(stored, None)


def test_name_that_cannot_be_synced_is_refused(open_scheduler: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule whose files may lose their names in a power cut does not open."""

    def fsync(handle: int) -> None:
        raise OSError(errno.EIO, "trouble")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        with pytest.raises(ScheduleError) as refused:
            open_scheduler()
    assert "io" == refused.value.kind
    assert 0 == open_scheduler().assign(PROCESS, submissions(1))[0].slot


def test_what_a_killed_writer_left_is_synced_before_anything(
    open_scheduler: Open, disk: FailingDisk, raw: apsw.Connection
) -> None:
    """A log that another program left, and may have failed to sync, is in the file before the first answer."""
    first = open_scheduler()
    first.assign(PROCESS, submissions(1))
    assert raw.execute("SELECT count(*) FROM slots").get  # keeps the log when the writer goes
    first.close()
    second = open_scheduler()
    disk.bad = True
    for kind in ("stopped", "stopped"):
        with pytest.raises(ScheduleError) as refused:
            second.assign(PROCESS, submissions(1, 1))
        assert kind == refused.value.kind
    assert (1, 1) == (disk.fired, len(second.read(PROCESS, 0, 9)))


def test_clock_that_fails_stops_nothing(open_scheduler: Open) -> None:
    """A clock that raises fails the calls that met it; the next one gets its slot."""
    steps = SteppingClock()
    asked = iter([False, True])

    def clock() -> Tick:
        if not next(asked, True):
            raise OSError("no time")
        return steps()

    scheduler = open_scheduler(clock)
    with pytest.raises(OSError, match="no time"):
        scheduler.assign(PROCESS, submissions(1))
    assert 0 == scheduler.assign(PROCESS, submissions(1))[0].slot


def test_deadline_tells_what_is_known(open_scheduler: Open, tmp_path: Path) -> None:
    """A call that waits too long says whether it may still be scheduled; one not yet begun never is."""
    clock = HeldClock()
    scheduler = open_scheduler(clock, deadline=0.2)
    with pytest.raises(ScheduleError) as begun:
        scheduler.assign(PROCESS, submissions(1))
    with pytest.raises(ScheduleError) as queued:
        scheduler.assign(PROCESS, submissions(1, 1))
    clock.go_on.set()
    scheduler.close()
    assert ["deadline", "deadline"] == [begun.value.kind, queued.value.kind]
    assert ["unknown", "none"] == [begun.value.facts["outcome"], queued.value.facts["outcome"]]
    stored = open_scheduler(read_only=True).read(PROCESS, 0, 9)
    assert [0] == [item.message["quantity"] for item in stored]


def test_closing_drains_what_is_queued(open_scheduler: Open) -> None:
    """Calls that were queued before the end are answered, those after it refused."""
    clock = HeldClock()
    scheduler = open_scheduler(clock)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(scheduler.assign, PROCESS, submissions(1))
        assert clock.asked.wait(20)
        queued = [pool.submit(scheduler.assign, PROCESS, submissions(1, n)) for n in range(1, 3)]
        writer = scheduler._writer
        assert writer is not None
        assert wait_until(lambda: writer._queue.qsize() == 2)
        closing = pool.submit(scheduler.close)
        assert wait_until(lambda: writer._closing)
        with pytest.raises(ScheduleError) as refused:
            scheduler.assign(PROCESS, submissions(1))
        clock.go_on.set()
        closing.result(20)
        assert [0, 1, 2] == sorted(call.result(20)[0].slot for call in (first, *queued))
    assert "closed" == refused.value.kind


# -- groups and the log


def test_queued_calls_share_a_commit(open_scheduler: Open) -> None:
    """Calls that queue up behind a commit are committed together."""
    clock = HeldClock()
    scheduler = open_scheduler(clock)
    writer = scheduler._writer
    assert writer is not None
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(scheduler.assign, PROCESS, submissions(1))
        assert clock.asked.wait(20)
        queued = [pool.submit(scheduler.assign, PROCESS, submissions(1, n)) for n in range(1, 7)]
        assert wait_until(lambda: writer._queue.qsize() == 6)
        commits = count_commits(scheduler)
        clock.go_on.set()
        for call in (first, *queued):
            call.result(20)
    assert (2, 7) == (len(commits), len(scheduler.read(PROCESS, 0, 99)))


def test_idle_writer_empties_the_log(open_scheduler: Open, tmp_path: Path) -> None:
    """What is committed moves into the main file when nobody calls."""
    scheduler = open_scheduler()
    before = (tmp_path / "schedule.sqlite").stat().st_size
    scheduler.assign(PROCESS, submissions(100))
    assert wait_until(lambda: (tmp_path / "schedule.sqlite").stat().st_size > before)


def test_log_is_bounded(open_scheduler: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log of a writer that never rests is emptied when it reaches its bound."""
    monkeypatch.setattr("procession_scheduler.disk.WAL_BYTES", 1 << 20)
    scheduler = open_scheduler()
    sizes = []
    for number in range(30):
        message = Message({"data": bytes([number]) * 200_000})
        scheduler.assign(PROCESS, [Submission(message, message.id)])
        sizes.append((tmp_path / "schedule.sqlite-wal").stat().st_size)
    assert max(sizes) < 2 << 20


def test_one_call_of_thousands_is_one_commit(open_scheduler: Open) -> None:
    """A call larger than a group is committed whole, at once."""
    scheduler = open_scheduler()
    commits = count_commits(scheduler)
    made = scheduler.assign(PROCESS, submissions(1000))
    assert (1, 999) == (len(commits), made[-1].slot)


# -- what is answered

NAN = struct.unpack(">d", b"\xff\xf8\0\0\0\0\0\7")[0]


@pytest.mark.parametrize(
    "rows",
    [
        {"a": 1, "b": True, "c": None, "d": "text", "e": b"bytes"},
        {"nan": NAN, "zero": -0.0, "half": 0.5},
        {"of": {f"k{number}": NAN for number in range(100)}, "list": [1, [NAN, {"deep": -0.0}]]},
        {f"k{number}": number for number in range(100)},
        {"commitments": {"x": {"committer": "y", "signature": b"z"}}, "list": [1, ["a", {"b": True}]], "none": ()},
    ],
)
def test_what_is_answered_is_what_is_read(open_scheduler: Open, rows: dict[str, object]) -> None:
    """What is answered is in every bit what is read, so that it can be computed with as it is."""
    message = Message(rows)
    scheduler = open_scheduler()
    (made,) = scheduler.assign(PROCESS, [Submission(message, message.id)])
    (stored,) = scheduler.read(PROCESS, 0, 0)
    assert bits(stored.message) == bits(made.message)
    assert stored == made


def bits(value: object) -> object:
    """Return a value with every float as its bytes."""
    if isinstance(value, Message):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [bits(item) for item in value]
    return struct.pack(">d", value) if isinstance(value, float) else (type(value), value)


# -- what comes in


def test_repeated_import_is_answered(open_scheduler: Open) -> None:
    """An import that is sent again gets what it had; with other content it does not follow."""
    scheduler = open_scheduler()
    offers = [attrs.evolve(submission(n), given=Given(n, n, n)) for n in range(3)]
    made = scheduler.assign(PROCESS, offers)
    assert list(made) == list(scheduler.assign(PROCESS, offers[1:] + offers[:1]))[-1:] + list(made[1:])
    for changed in (submission(9), attrs.evolve(submission(1), message_id=submission(2).message_id)):
        with pytest.raises(ScheduleError):
            scheduler.assign(PROCESS, [attrs.evolve(changed, given=Given(1, 1, 1))])


def test_import_is_not_mistaken_for_a_repetition(open_scheduler: Open) -> None:
    """A schedule made elsewhere may hold one message at two slots, and keeps both."""
    scheduler = open_scheduler()
    offers = [attrs.evolve(submission(5, names=["s1"]), given=Given(n, 1, 1)) for n in range(2)]
    made = scheduler.assign(PROCESS, offers)
    (recognised,) = scheduler.assign(PROCESS, [submission(5, names=["s1"])])
    assert [0, 1, 0] == [item.slot for item in (*made, recognised)]


@pytest.mark.parametrize("number", [1 << 63, -(1 << 70)])
def test_import_with_impossible_numbers_is_refused(open_scheduler: Open, number: int) -> None:
    """A timestamp that the file cannot hold is the caller's mistake."""
    with pytest.raises(RequestError):
        open_scheduler().assign(PROCESS, [attrs.evolve(submission(0), given=Given(0, number, 0))])


def test_message_that_nests_too_deeply_is_refused(open_scheduler: Open) -> None:
    """A message that could not be read back is not scheduled."""
    nested = Message({"a": 1})
    for _ in range(100):
        nested = Message({"a": nested})
    scheduler = open_scheduler()
    with pytest.raises(RequestError):
        scheduler.assign(PROCESS, [submission(0), attrs.evolve(submission(0), message=nested)])
    assert scheduler.head(PROCESS) is None


def test_late_recognition_remembers_the_key(open_scheduler: Open) -> None:
    """A key that came with a recognised message stands for its slot from then on."""
    scheduler = open_scheduler()
    scheduler.assign(PROCESS, [submission(0), submission(1, names=["s1"])])
    scheduler.assign(PROCESS, [submission(1, names=["s1"], key="k1")])
    (again,) = scheduler.assign(PROCESS, [submission(1, key="k1")])
    with pytest.raises(RequestError):
        scheduler.assign(PROCESS, [submission(2, key="k1")])
    assert 1 == again.slot


@pytest.mark.parametrize(
    "message",
    [
        Message({}),
        Message({"a": 1.5, "b": [b"\xda\x6c\x69\x6e\x6b", True], "c": {"d": None}}),
        Message({"deep": {"text": "x" * 300}}),
        Message({"deep": {"small": {"text": "x" * 200, "more": "y" * 100}}}),
        Message({f"k{n}": {"n": n} for n in range(100)}),
    ],
)
def test_whole_bytes_are_those_of_the_wire(message: Message) -> None:
    """The bytes that are kept are those that the wire would carry."""
    assert encode(message) == whole_bytes(message)


@pytest.mark.parametrize("behind", [0, index.BEHIND])
@pytest.mark.parametrize("restart", [False, True])
def test_the_first_place_of_an_import_counts(
    open_scheduler: Open, monkeypatch: pytest.MonkeyPatch, behind: int, restart: bool
) -> None:
    """Where an imported schedule holds a signed message twice, who sends it again is told the first slot."""
    monkeypatch.setattr(index, "BEHIND", behind)
    scheduler = open_scheduler()
    signed = attrs.evolve(submission(1), recognised_by=("signature",))
    scheduler.assign(PROCESS, [attrs.evolve(submission(0), given=Given(0, 1000, 1))])
    for slot in (1, 2):
        scheduler.assign(PROCESS, [attrs.evolve(signed, given=Given(slot, 1000 + slot, 1))])
    if restart:
        scheduler.close()
        scheduler = open_scheduler()
    assert 1 == scheduler.assign(PROCESS, [signed])[0].slot
