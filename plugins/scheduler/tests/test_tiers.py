"""The tiered index against a dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import apsw
import pytest

from procession_scheduler import tiers
from procession_scheduler.tiers import BUCKETS, INDEXED, NOTED, DamagedIndexError, Entry, Row, name_of, namer


@pytest.fixture
def db(monkeypatch: pytest.MonkeyPatch) -> Iterator[apsw.Connection]:
    """Open tiers in memory, small ones."""
    monkeypatch.setattr(tiers, "FULL", 4_000)
    db = apsw.Connection(":memory:")
    db.execute(tiers.SCHEMA)
    yield db
    db.close()


def filled(db: apsw.Connection, count: int) -> list[bytes]:
    """Add names until both tiers hold some; return them in the order of their places."""
    names = [name_of("m", "p", str(number)) for number in range(count)]
    for start in range(0, count, 500):
        rows = list(enumerate(names))[start : start + 500]
        tiers.add(db, sorted((name, place, b"content" if place % 9 == 0 else None) for place, name in rows))
    assert all(db.execute(f"SELECT count(*) FROM names{tier}").get for tier in (1, 2))
    return names


def test_first_place_wins_over_all_tiers(db: apsw.Connection) -> None:
    """Whatever tier an entry has moved to, a name leads to the place it was first added with."""
    random = Random(7)
    model: dict[bytes, Entry] = {}
    for start in range(0, 20_000, 500):
        entries: dict[bytes, Row] = {}
        for place in range(start, start + 500):
            name = name_of("message", "p", str(random.randrange(14_000)))
            entries.setdefault(name, (name, place, None))
            model.setdefault(name, Entry(place))
        tiers.add(db, sorted(entries.values()))
        tiers.check(db, range(BUCKETS, 3 * BUCKETS))
        assert tiers.fill(db) == db.execute("SELECT count(*) FROM names1").get
    names = random.sample(sorted(model), 2_000)
    assert [model[name] for name in names] == [tiers.find(db, name) for name in names]
    assert all(db.execute(f"SELECT count(*) FROM names{tier}").get for tier in (1, 2))


def test_no_step_moves_more_than_a_slice(db: apsw.Connection) -> None:
    """However many entries there are, one addition moves about as many on as came."""
    filled(db, 8_000)
    moved = []
    for start in range(8_000, 16_000, 250):
        before = db.execute("SELECT count(*) FROM names2").get
        tiers.add(db, sorted((name_of("m", "p", str(n)), n, None) for n in range(start, start + 250)))
        moved.append(db.execute("SELECT count(*) FROM names2").get - before)
    assert 0 < max(moved) < 1_000


def test_unknown_name_is_nowhere(db: apsw.Connection) -> None:
    """A name that was never added is not found, and kinds and processes do not mix."""
    tiers.add(db, [(name_of("key", "p", "k"), 1, b"content")])
    assert Entry(1, b"content") == tiers.find(db, name_of("key", "p", "k"))
    assert [None, None] == [tiers.find(db, name_of("message", "p", "k")), tiers.find(db, name_of("key", "q", "k"))]
    assert name_of("message", "p", "\u00e4") == namer("message", "p")("\u00e4".encode())


@pytest.mark.parametrize("tier", [1, 2])
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM names{0} WHERE name = ?",
        "UPDATE names{0} SET place = place + 1 WHERE name = ?",
        "UPDATE names{0} SET place = place + (1 << 62) WHERE name = ?",
        "UPDATE names{0} SET name = name || x'00' WHERE name = ?",
        "UPDATE names{0} SET name = substr(name, 1, 15) || x'00' WHERE name = ?",
        "UPDATE names{0} SET name = CAST(name AS TEXT) WHERE name = ?",
        "UPDATE names{0} SET content = x'01' WHERE name = ?",
    ],
)
def test_a_changed_entry_is_noticed(db: apsw.Connection, change: str, tier: int) -> None:
    """What has gone or changed is noticed in its bucket, whichever tier it stood in."""
    filled(db, 8_000)
    name = db.execute(f"SELECT name FROM names{tier} LIMIT 1 OFFSET 9").get
    db.execute(change.format(tier), (name,))
    with pytest.raises(DamagedIndexError, match=f"names{tier}"):
        tiers.check(db, tiers.buckets_of(name))
    tiers.sum_up(db)
    tiers.check(db, tiers.buckets_of(name))


def test_a_damaged_slice_does_not_move(db: apsw.Connection) -> None:
    """What has gone from a tier is noticed before a slice of it moves."""
    filled(db, 4_500)
    db.execute("DELETE FROM names1 WHERE place % 2")
    more: list[Row] = sorted((name_of("n", "p", str(n)), n, None) for n in range(4_000))
    with pytest.raises(DamagedIndexError):
        tiers.add(db, more)


@pytest.mark.parametrize("change", ["count = count + 1", "total = total - 1", "count = 'x'", "bucket = 1 - bucket"])
def test_a_changed_number_is_noticed(db: apsw.Connection, change: str) -> None:
    """A number that is not what was written is not believed, nor one that is not there."""
    for which in (NOTED, INDEXED):
        with pytest.raises(DamagedIndexError):
            tiers.number_said(db, which)
    tiers.say_number(db, NOTED, 7)
    assert 7 == tiers.number_said(db, NOTED)
    db.execute(f"UPDATE sums SET {change}")
    for which in (NOTED, INDEXED):
        with pytest.raises(DamagedIndexError):
            tiers.number_said(db, which)
