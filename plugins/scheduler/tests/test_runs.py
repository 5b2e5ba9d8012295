"""The runs of the index against a dictionary, in small measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession_scheduler import chunks, facts, manifests, runs
from procession_scheduler.chunks import firsts, record_of
from procession_scheduler.facts import MANIFEST
from procession_scheduler.manifests import Manifest, decoded
from procession_scheduler.names import DamagedIndexError, Entry, name_of

FAN = 3
Batch = Sequence[bytes]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a chunk hold four names or less, and three runs be merged."""
    monkeypatch.setattr(chunks, "ROOM", 100)
    monkeypatch.setattr(manifests, "FAN", FAN)


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    """Open an index in memory."""
    with opened(":memory:") as db:
        yield db


@contextmanager
def opened(path: str) -> Iterator[apsw.Connection]:
    """Open an index, begun where there is none."""
    db = apsw.Connection(path)
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", 0)
    if not db.execute("SELECT count(*) FROM sqlite_schema").get:
        db.execute(runs.SCHEMA + facts.SCHEMA)
        facts.say(db, MANIFEST, Manifest().encoded())
    yield db
    db.close()


def add(db: apsw.Connection, records: Batch) -> Manifest:
    """Add records as one commit."""
    with db:
        manifest = runs.add(db, stand(db), records)
        facts.say(db, MANIFEST, manifest.encoded())
    return manifest


def stand(db: apsw.Connection) -> Manifest:
    """Return the manifest in the file."""
    return decoded(facts.said(db, MANIFEST))


def find(db: apsw.Connection, name: bytes) -> Entry | None:
    """Return what a name leads to."""
    return runs.find(db, stand(db), name)


def named(number: int) -> bytes:
    """Return a name."""
    return name_of("message", "p", str(number))


def batch(numbers: Sequence[int], place: int = 0) -> list[bytes]:
    """Return the records of names, one place each, some with a digest."""
    records = enumerate(map(named, numbers), place)
    return [record_of(name, at, name * 2 if name[0] % 5 == 0 else None) for at, name in records]


def filled(db: apsw.Connection, count: int, size: int = 20) -> dict[bytes, Entry]:
    """Add names until there are merges under way; return what they lead to."""
    for start in range(0, count, size):
        add(db, batch(range(start, start + size), start))
    names = map(named, range(count))
    return {name: Entry(place, name * 2 if name[0] % 5 == 0 else None) for place, name in enumerate(names)}


# -- what is found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 150), max_size=60), st.none() | st.integers(0, 12)), max_size=40),
)
def test_what_was_committed_is_found(batches: list[tuple[list[int], int | None]]) -> None:
    """Whatever comes in which batches, and whichever commits are cut off at which statement, first places are found."""
    model: dict[bytes, Entry] = {}
    with TemporaryDirectory() as folder:
        place = 1
        for numbers, cut in batches:
            records = batch(numbers, place)
            place += len(numbers)
            with opened(f"{folder}/index") as db:
                if cut_off(db, records, cut):
                    continue
            for number, record in zip(numbers, records, strict=True):
                name = named(number)
                model.setdefault(name, Entry(place_in(record), record[24:] or None))
        with opened(f"{folder}/index") as db:
            assert [model.get(named(number)) for number in range(160)] == [find(db, named(n)) for n in range(160)]
            live = {run for level in stand(db).levels for run in (*level.runs, *level.sources, level.target)}
            assert {run for (run,) in db.execute("SELECT run FROM chunks")} <= live | {*stand(db).dead}


def place_in(record: bytes) -> int:
    """Return the place that a record holds."""
    return int.from_bytes(record[16:24]) >> 1


def cut_off(db: apsw.Connection, records: Batch, statement: int | None) -> bool:
    """Add records; tell whether the program went at a statement, with the connection as it stood."""
    left = statement

    def step(cursor: object, text: str, bindings: object) -> bool:
        nonlocal left
        if left == 0:
            raise InterruptedError(text)
        left = None if left is None else left - 1
        return True

    db.exec_trace = step
    try:
        db.execute("BEGIN IMMEDIATE")
        facts.say(db, MANIFEST, runs.add(db, stand(db), records).encoded())
        db.execute("COMMIT")
    except InterruptedError:
        return True
    finally:
        db.exec_trace = None
    return False


def test_a_first_place_stays_first_through_all_levels(db: apsw.Connection) -> None:
    """A name that comes again in later runs leads to where it came first, in whichever levels they stand."""
    dice = Random(7)
    model: dict[bytes, Entry] = {}
    for start in range(0, 3_000, 20):
        numbers = [dice.randrange(900) for _ in range(20)]
        records = batch(numbers, start)
        add(db, records)
        for record in firsts(records):
            model.setdefault(record[:16], Entry(place_in(record), record[24:] or None))
    assert len(stand(db).levels) > 3
    assert [*model.values()] == [find(db, name) for name in model]
    assert [None] * 99 == [find(db, named(number)) for number in range(900, 999)]


def test_a_manifest_is_what_it_was() -> None:
    """A manifest comes out of its bytes as it went in, and other ones have other bytes."""
    level = manifests.Level((4,), (1, 2, 3), 9, b"m" * 16)
    manifest = Manifest((level, manifests.Level((5,))), (6, 7), 9, 3)
    assert manifest == decoded(manifest.encoded())
    assert (9, 4, 5) == tuple(manifest.holding(b"l" * 16))
    assert (1, 2, 3, 4, 5) == tuple(manifest.holding(b"m" * 16))


# -- what a commit costs


def skewed(start: int) -> list[bytes]:
    """Return names that all lie between those of the batch before and those of the next."""
    return [record_of(start.to_bytes(8) + n.to_bytes(8), start + n) for n in range(20)]


ARRIVALS: dict[str, Callable[[int], Batch]] = {
    "hashes": lambda start: batch(range(start, start + 20), start),
    "ascending": skewed,
    "descending": lambda start: [record_of(((1 << 40) - start - n).to_bytes(16), start + n) for n in range(20)],
    "the same": lambda start: batch(range(20), start),
    "one beside": lambda start: [record_of((1 << 60).to_bytes(16), start), *skewed(start)[1:]],
}


def most(db: apsw.Connection, arrivals: Callable[[int], Batch], count: int = 150) -> tuple[int, int]:
    """Return the most rows that a commit writes, a level, and the most runs that a level has."""
    rows, held = 0.0, 0
    for number in range(count):
        before = db.total_changes()
        manifest = add(db, arrivals(number * 20))
        rows = max(rows, (db.total_changes() - before) / len(manifest.levels))
        held = max(held, *(len(level.runs + level.sources) for level in manifest.levels))
    assert len(manifest.levels) > 3
    return int(rows), held


@pytest.mark.parametrize("kind", ARRIVALS)
def test_no_commit_waits_for_a_merge(db: apsw.Connection, kind: str) -> None:
    """However many names there are, and whatever they are, a commit writes about as many as come, and keeps up."""
    rows, held = most(db, ARRIVALS[kind])
    assert rows <= 24
    assert held <= 2 * FAN


def test_a_merge_that_is_slower_than_what_comes_piles_up(db: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of half of what comes are seen to fall behind (control)."""
    monkeypatch.setattr(runs, "PACE", (1, 2))
    assert most(db, ARRIVALS["hashes"])[1] > 2 * FAN


def written(path: Path, write: Callable[[apsw.Connection, int], object], count: int) -> list[int]:
    """Return the pages that each of so many commits writes."""
    pages = []
    with opened(str(path)) as db:
        for number in range(count):
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            with db:
                write(db, number)
            pages.append(db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)[0])
    return pages


def grown(pages: Sequence[int]) -> float:
    """Return what a commit writes at the end, beside what it writes once the first runs are merged."""
    young, old = pages[16 : 16 + 64], pages[-64:]
    return sum(old) / sum(young)


def test_what_is_written_for_a_name_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages a commit grow by no more than a level adds; in one tree of all names they grow with their number."""
    monkeypatch.undo()
    tree = "INSERT INTO tree VALUES (?, ?)"

    def records(number: int) -> list[bytes]:
        return [record_of(named(n), n) for n in range(number * 300, number * 300 + 300)]

    def in_a_tree(db: apsw.Connection, number: int) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS tree (name BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID")
        db.executemany(tree, [(record[:16], record[16:]) for record in sorted(records(number))])

    def in_runs(db: apsw.Connection, number: int) -> None:
        facts.say(db, MANIFEST, runs.add(db, stand(db), records(number)).encoded())

    assert grown(written(tmp_path / "runs", in_runs, 250)) < 1.5
    assert grown(written(tmp_path / "tree", in_a_tree, 250)) > 2


def test_rows_of_merged_runs_are_written_over(db: apsw.Connection) -> None:
    """What is merged leaves no rows behind: there are about as many chunks as the names need."""
    filled(db, 3_000)
    rows = db.execute("SELECT count(*) FROM chunks").get
    records = sum(len(row[0]) for row in db.execute("SELECT packed FROM chunks"))
    assert records / rows > 50
    assert rows < 2 * 3_000 * 26 / 70


# -- damage


def right_or_noticed(db: apsw.Connection, model: dict[bytes, Entry | None]) -> bool:
    """See that names are found as they are or refused; tell whether one was refused."""
    refused = False
    for name, entry in model.items():
        try:
            found = find(db, name)
        except DamagedIndexError:
            refused = True
        else:
            assert entry == found, "another answer"
    return refused


def flips(db: apsw.Connection, table: str, columns: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Flip every bit of some columns of a few rows, one at a time, and put it back; yield the column and the row."""
    for (row,) in db.execute(f"SELECT rowid FROM {table}").fetchall()[::19]:
        for column in columns:
            (whole,) = db.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,)).fetchall()[0]
            for bit in range(len(whole) * 8 if isinstance(whole, bytes) else 33):
                update = f"UPDATE {table} SET {column} = ? WHERE rowid = {row}"
                with suppress(apsw.ConstraintError), changed(db, update, (flipped(whole, bit),)):
                    yield column, row


def flipped(value: bytes | int, bit: int) -> bytes | int:
    """Return a value with one bit another one."""
    if isinstance(value, int):
        return value ^ 1 << bit
    turned = bytearray(value)
    turned[bit // 8] ^= 1 << bit % 8
    return bytes(turned)


@contextmanager
def changed(db: apsw.Connection, statement: str, bindings: tuple[object, ...] = ()) -> Iterator[None]:
    """Change the index, and put it back."""
    db.execute("SAVEPOINT whole")
    try:
        db.execute(statement, bindings)  # type: ignore[arg-type]  # what columns hold
        yield
    finally:
        db.execute("ROLLBACK TO whole; RELEASE whole")


def names_of_chunks(db: apsw.Connection) -> dict[int, dict[bytes, Entry | None]]:
    """Fill an index until merges are under way; return what the names of each chunk lead to, and one that is none."""
    model = filled(db, 220)
    levels = stand(db).levels
    assert len(levels) > 1
    assert any(level.reached > bytes(16) for level in levels)
    names: dict[int, dict[bytes, Entry | None]] = {}
    for number, first, until in db.execute("SELECT number, first, until FROM chunks").fetchall():
        names[number] = {name: entry for name, entry in model.items() if first <= name < until}
        names[number][first[:15] + bytes([first[15] ^ 1])] = None
    return names


def test_any_flipped_bit_of_a_chunk_is_noticed_or_harmless(db: apsw.Connection) -> None:
    """Whatever bit of a chunk's row changes, a name is found where it is, or the damage is told."""
    names = names_of_chunks(db)
    columns = ("run", "first", "until", "packed", "seal")
    refused = [right_or_noticed(db, names[row]) for _, row in flips(db, "chunks", columns)]
    assert len(refused) > 1_000
    assert sum(refused) > len(refused) / 2  # the others are merged already, or dead


def test_flipped_bits_that_nobody_checks_are_caught(db: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same damage is seen to give another answer where no chunk is checked (control)."""
    names = names_of_chunks(db)
    monkeypatch.setattr(runs, "checked", lambda chunk, name: chunk)
    with pytest.raises(AssertionError, match="another answer"):
        assert [right_or_noticed(db, names[row]) for _, row in flips(db, "chunks", ("packed",))]


def test_any_flipped_bit_of_a_fact_is_noticed(db: apsw.Connection) -> None:
    """Whatever bit of the manifest changes, it is not believed."""
    filled(db, 220)
    seen = [right_or_noticed(db, {named(1): Entry(1)}) for _ in flips(db, "facts", ("what", "content", "seal"))]
    assert {True} == set(seen)
    assert len(seen) > 300


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM chunks WHERE number = ?",
        "UPDATE chunks SET until = 5 WHERE number = ?",
        "UPDATE chunks SET run = 'x' WHERE number = ?",
        "UPDATE chunks SET run = run + 1000 WHERE number = ?",
        "UPDATE chunks SET seal = 'x' WHERE number = ?",
    ],
)
def test_a_lost_chunk_is_noticed(db: apsw.Connection, change: str) -> None:
    """A chunk that has gone, or is none any more, is noticed for each of its names and those between them."""
    model = filled(db, 220)
    for number, run, first, until in db.execute("SELECT number, run, first, until FROM chunks").fetchall():
        needed = [name for name in model if first <= name < until and run in stand(db).holding(name)]
        with changed(db, change, (number,)):
            assert bool(needed) == right_or_noticed(db, {**model})


def test_a_damaged_chunk_is_not_merged(db: apsw.Connection) -> None:
    """What has gone from a run is noticed before a merge makes a new one of it."""
    filled(db, 40)
    assert 2 == len(stand(db).levels[0].runs)
    db.execute("UPDATE chunks SET packed = zeroblob(length(packed)) WHERE run = 1")
    with pytest.raises(DamagedIndexError):
        add(db, batch(range(40, 60), 40))


def test_a_manifest_of_before_does_not_give_its_numbers_again(db: apsw.Connection) -> None:
    """Who adds by an older manifest meets the runs that were written since, and nothing is taken for new."""
    filled(db, 20)
    before = stand(db)
    filled(db, 40)
    with pytest.raises(DamagedIndexError), runs.watched():
        runs.add(db, before, batch(range(40, 60), 40))
