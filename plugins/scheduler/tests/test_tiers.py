"""The tiered index against a dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import apsw
import pytest

from procession_scheduler import tiers
from procession_scheduler.tiers import BOUNDS, BUCKETS, DamagedIndexError, Entry, Index, name_of


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    """Open an index in memory."""
    db = apsw.Connection(":memory:")
    db.execute(tiers.SCHEMA)
    yield db
    db.close()


@pytest.fixture
def index() -> Index:
    """Begin to use it."""
    return Index()


def test_first_place_wins_over_all_tiers(db: apsw.Connection, index: Index) -> None:
    """Whatever tier an entry has moved to, a name leads to the place it was first added with."""
    random = Random(7)
    model: dict[bytes, Entry] = {}
    for start in range(0, 82_000, 500):
        entries = {}
        for place in range(start, start + 500):
            name = name_of("message", "p", str(random.randrange(60_000)))
            entries.setdefault(name, place)
            model.setdefault(name, Entry(place))
        index.add(db, [(name, place, None) for name, place in entries.items()])
    names = random.sample(sorted(model), 2_000)
    assert [model[name] for name in names] == [tiers.find(db, name) for name in names]
    assert [model[name] for name in names] == [Index().find(db, name) for name in names]
    assert all(db.execute(f"SELECT count(*) FROM names{tier}").get for tier in (0, 1, 2))


def test_unknown_name_is_nowhere(db: apsw.Connection, index: Index) -> None:
    """A name that was never added is not found, and kinds and processes do not mix."""
    index.add(db, [(name_of("key", "p", "k"), 1, b"content")])
    assert Entry(1, b"content") == index.find(db, name_of("key", "p", "k"))
    assert [None, None] == [index.find(db, name_of("message", "p", "k")), index.find(db, name_of("key", "q", "k"))]


def test_sums_are_of_what_the_tables_hold(db: apsw.Connection, index: Index) -> None:
    """The count that decides when a tier moves agrees with the tables after each step, and so does every sum."""
    for start in range(0, BOUNDS[0] * 3, 700):
        index.add(db, [(name_of("m", "p", str(n % 5_000)), n, None) for n in range(start, start + 700)])
        assert index._fill == [db.execute(f"SELECT count(*) FROM names{tier}").get for tier in (0, 1)]
        tiers.check(db, range(3 * BUCKETS))
        anew = Index()
        anew.refresh(db)
        assert index._fill == anew._fill


@pytest.mark.parametrize("tier", [0, 1, 2])
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM names{0} WHERE name = ?",
        "UPDATE names{0} SET place = place + 1 WHERE name = ?",
        "UPDATE names{0} SET name = name || x'00' WHERE name = ?",
        "UPDATE names{0} SET name = CAST(name AS TEXT) WHERE name = ?",
        "UPDATE names{0} SET content = x'01' WHERE name = ?",
    ],
)
def test_a_changed_entry_is_noticed(
    db: apsw.Connection, monkeypatch: pytest.MonkeyPatch, change: str, tier: int
) -> None:
    """A name whose entry has gone or changed is not taken for a new one, whichever tier it stood in."""
    monkeypatch.setattr(tiers, "BOUNDS", (100, 1_000))
    names = [name_of("m", "p", str(number)) for number in range(1_500)]
    index = Index()
    for number, name in enumerate(names):
        index.add(db, [(name, number, None)])
    name = db.execute(f"SELECT name FROM names{tier} LIMIT 1 OFFSET 9").get
    db.execute(change.format(tier), (name,))
    with pytest.raises(DamagedIndexError, match=f"names{tier}"):
        Index().find(db, name)
    tiers.sum_up(db)
    Index().find(db, name)


def test_a_damaged_tier_does_not_move(db: apsw.Connection, index: Index) -> None:
    """What has gone from a tier is noticed before the tier is emptied into the next."""
    index.add(db, [(name_of("m", "p", str(n)), n, None) for n in range(BOUNDS[0])])
    db.execute("DELETE FROM names0 WHERE name = ?", (name_of("m", "p", "7"),))
    with pytest.raises(DamagedIndexError):
        index.add(db, [(name_of("m", "p", "more"), 9, None)])
