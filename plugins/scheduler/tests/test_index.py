"""The index of names as the scheduler uses it: beside readers, over crashes, by an older manifest, made anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession.errors import ScheduleError
from procession.roles import Site
from procession.schedules import Submission
from procession.testing.fakes import SteppingClock
from procession.testing.schedulers import OTHER, PROCESS, submission
from procession_scheduler import FileScheduler, SchedulerOptions, chunks, facts, index, known, manifests, runs
from procession_scheduler.facts import MANIFEST
from procession_scheduler.manifests import Manifest, decoded
from procession_scheduler.names import DamagedIndexError, name_of
from procession_scheduler.rows import SLOTS


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the index catch up where four are behind, two runs be merged, and a chunk hold four names or less."""
    monkeypatch.setattr(index, "BEHIND", 3)
    monkeypatch.setattr(manifests, "FAN", 2)
    monkeypatch.setattr(chunks, "ROOM", 100)


@contextmanager
def opened(folder: Path, *, read_only: bool = False) -> Iterator[FileScheduler]:
    """Open the schedule of a folder."""
    with closing(FileScheduler(SchedulerOptions(), Site(folder, read_only, SteppingClock()))) as scheduler:
        yield scheduler


@contextmanager
def raw(folder: Path) -> Iterator[apsw.Connection]:
    """Reach the file behind the scheduler's back."""
    with closing(apsw.Connection(str(folder / "schedule.sqlite"))) as db:
        yield db


def offer(number: int) -> Submission:
    """Return what is offered under a number: every third with a key, every third signed."""
    return submission(number, names=[f"s{number}"] * (number % 3 == 1), key=f"k{number}" if number % 3 == 0 else None)


def filled(folder: Path, count: int = 40) -> None:
    """Schedule messages one at a time, so that there are merges under way."""
    with opened(folder) as scheduler:
        for number in range(count):
            scheduler.assign(PROCESS, [offer(number)])
    assert len(manifest(folder).levels) > 2


def manifest(folder: Path) -> Manifest:
    """Return the manifest in a file."""
    with raw(folder) as db:
        return decoded(facts.said(db, MANIFEST))


def slots(scheduler: FileScheduler, numbers: Sequence[int]) -> list[int | None]:
    """Return where messages are found."""
    return [scheduler.find(PROCESS, offer(number).message_id) for number in numbers]


# -- whatever comes, and however it ends


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([PROCESS, OTHER]),
            st.lists(st.integers(0, 60), min_size=1, max_size=9),
            st.none() | st.integers(1, 30),
        ),
        max_size=25,
    )
)
def test_every_message_keeps_its_slot(calls: list[tuple[str, list[int], int | None]]) -> None:
    """Whatever is sent, and whichever calls fail at which statement, a name keeps its slot, and is found there."""
    told: dict[tuple[str, int], int] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        for process, numbers, cut in calls:
            with opened(folder) as scheduler, suppress(ScheduleError), failing(scheduler, cut):
                made = scheduler.assign(process, [offer(number) for number in numbers])
                for number, assignment in zip(numbers, made, strict=True):
                    first = told.setdefault((process, number), assignment.slot)
                    assert number % 3 == 2 or first == assignment.slot
        if calls:
            with opened(folder) as scheduler:
                for (process, number), slot in told.items():
                    assert scheduler.read(process, slot, slot)[0].message_id == offer(number).message_id
                    found = scheduler.find(process, offer(number).message_id)
                    assert found == slot if number % 3 != 2 else found is not None
                    assert found is not None
                    assert found <= slot
                    assert number % 3 == 2 or slot == scheduler.assign(process, [offer(number)])[0].slot


@contextmanager
def failing(scheduler: FileScheduler, statement: int | None) -> Iterator[None]:
    """Let the writer's disk fail at a statement, for good."""
    left = statement
    assert scheduler._writer is not None
    db = scheduler._writer._disk._db

    def step(cursor: object, text: str, bindings: object) -> bool:
        nonlocal left
        if left == 0:
            raise apsw.IOError(text)
        left = None if left is None else left - 1
        return True

    db.exec_trace = step
    try:
        yield
    finally:
        db.exec_trace = None


# -- beside a writer


def read_while_written(folder: Path, patch: pytest.MonkeyPatch) -> list[int | None]:
    """Find messages while the writer merges, between a reader's look at the manifest and its look at the chunks."""
    filled(folder)
    with opened(folder) as writer, opened(folder, read_only=True) as reader:
        real = index._manifest
        number = 100

        def looked(db: apsw.Connection) -> Manifest:
            nonlocal number
            found = real(db)
            if db.readonly("main"):
                writer.assign(PROCESS, [offer(number + at) for at in range(40)])
                number += 40
            return found

        patch.setattr(index, "_manifest", looked)
        patch.setattr(index, "_FIRST", "SELECT 'not by the index' WHERE ?1 + ?2 + length(?3) AND ?1 < ?2")
        return slots(reader, range(0, 40, 5))


def test_a_reader_sees_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader finds what it looks for by the index, however much is merged and written over while it looks."""
    assert [*range(0, 40, 5)] == read_while_written(tmp_path, monkeypatch)


def test_a_reader_that_sees_several_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same reader without its one commit is seen to meet chunks of others than its manifest (control)."""
    apart: Callable[[apsw.Connection], AbstractContextManager[None]] = nullcontext
    monkeypatch.setattr(index, "_one_commit", apart)
    with pytest.raises((TypeError, AssertionError)):
        assert [*range(0, 40, 5)] == read_while_written(tmp_path, monkeypatch)


# -- an older manifest, and marks


def put_back(folder: Path, content: bytes) -> None:
    """Let the manifest be one of before."""
    with raw(folder) as db:
        facts.say(db, MANIFEST, content)


def older(folder: Path) -> Manifest:
    """Fill a schedule; return the manifest of a time when less was in it."""
    filled(folder, 26)
    before = manifest(folder)
    with opened(folder) as scheduler:
        for number in range(26, 44):
            scheduler.assign(PROCESS, [offer(number)])
    assert manifest(folder).given > before.given
    return before


@pytest.mark.parametrize("of_the_beginning", [False, True])
def test_an_older_manifest_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, of_the_beginning: bool
) -> None:
    """By an older manifest no message is missed, neither by readers nor by the writer, which makes the index anew."""
    before = older(tmp_path)
    put_back(tmp_path, (Manifest() if of_the_beginning else before).encoded())
    with opened(tmp_path, read_only=True) as reader:
        assert [*range(44), None] == slots(reader, [*range(44), 99])
    with opened(tmp_path) as writer, caplog.at_level(logging.WARNING, "procession.scheduler"):
        for number in range(44):
            if number % 3 != 2:
                assert number == writer.assign(PROCESS, [offer(number)])[0].slot
        writer.assign(OTHER, [offer(number) for number in range(9)])
    assert 1 == caplog.text.count("made anew")
    with opened(tmp_path, read_only=True) as reader:
        assert [*range(44), None] == slots(reader, [*range(44), 99])


def test_an_older_manifest_that_is_believed_is_caught(tmp_path: Path) -> None:
    """The same manifest that says it is of today is seen to miss messages (control)."""
    older(tmp_path)
    put_back(tmp_path, Manifest(given=manifest(tmp_path).given).encoded())
    with opened(tmp_path, read_only=True) as reader:
        assert [None] * 40 == slots(reader, range(40))


def test_any_flipped_bit_of_a_mark_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Whatever bit changes of how far a process is indexed, its messages are found, and no other."""
    filled(tmp_path)
    with raw(tmp_path) as db, opened(tmp_path, read_only=True) as reader:
        mark, indexed = db.execute("SELECT mark, indexed FROM processes").fetchall()[0]
        values = [(flipped(mark, bit), indexed) for bit in range(len(mark) * 8)]
        values += [(mark, indexed ^ 1 << bit) for bit in range(40)]
        for value in values:
            db.execute("UPDATE processes SET mark = ?, indexed = ?", value)
            assert [0, 38, 39, None] == slots(reader, [0, 38, 39, 99])


def test_a_mark_that_nobody_proves_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same changes are seen to hide a message where no mark is proven (control)."""
    filled(tmp_path, 42)
    assert 41 > index_of(tmp_path)
    monkeypatch.setattr(index, "_proven", lambda row, manifest: row)
    with raw(tmp_path) as db, opened(tmp_path, read_only=True) as reader:
        db.execute("UPDATE processes SET indexed = 99")
        assert [41] != slots(reader, [41])


def index_of(folder: Path) -> int:
    """Return the last slot that is indexed."""
    with raw(folder) as db:
        indexed: int = db.execute("SELECT indexed FROM processes").get
    return indexed


def flipped(value: bytes, bit: int) -> bytes:
    """Return bytes with one bit another one."""
    turned = bytearray(value)
    turned[bit // 8] ^= 1 << bit % 8
    return bytes(turned)


# -- made anew


def test_an_index_made_anew_holds_little_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names there are, they go through memory a batch at a time, and every one is found then."""
    filled(tmp_path, 60)
    monkeypatch.setattr(known, "BATCH", 7)
    added: list[int] = []
    real = runs.add

    def watched(db: apsw.Connection, stand: Manifest, records: Sequence[bytes]) -> Manifest:
        added.append(len(records))
        return real(db, stand, records)

    monkeypatch.setattr(runs, "add", watched)
    with raw(tmp_path) as db, db:
        index.rebuild(db, 0)
        made = decoded(facts.said(db, MANIFEST))
        found = [runs.find(db, made, name_of("key", PROCESS, f"k{number}")) for number in (0, 57)]
    assert [0, 57] == [entry.place % SLOTS for entry in found if entry]
    assert (60 + 40, 7) == (sum(added), max(added))
    with opened(tmp_path) as scheduler:
        assert [*range(60)] == slots(scheduler, range(60))
        assert [0, 1] == [scheduler.assign(PROCESS, [offer(number)])[0].slot for number in (0, 1)]


def test_damage_met_while_merging_costs_no_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A chunk that is damaged where nobody looks for a name is met by a merge at last, and the index made anew."""
    filled(tmp_path)
    with raw(tmp_path) as db:
        db.execute("UPDATE chunks SET packed = zeroblob(length(packed)) WHERE first = ?", (chunks.START,))
        with pytest.raises(DamagedIndexError):
            runs.find(db, decoded(facts.said(db, MANIFEST)), bytes(15) + b"\1")
    with opened(tmp_path) as scheduler, caplog.at_level(logging.WARNING, "procession.scheduler"):
        made = scheduler.assign(PROCESS, [submission(number) for number in range(40, 140)])
    assert [*range(40, 140)] == [item.slot for item in made]
    assert "made anew" in caplog.text
    with opened(tmp_path) as scheduler:
        assert [*range(40)] == slots(scheduler, range(40))
