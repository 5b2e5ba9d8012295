"""The tiered index against a dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import apsw
import pytest

from procession_scheduler import tiers
from procession_scheduler.tiers import BOUNDS, Entry, name_of


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    """Open an index in memory."""
    db = apsw.Connection(":memory:")
    db.execute(tiers.SCHEMA)
    yield db
    db.close()


def test_first_place_wins_over_all_tiers(db: apsw.Connection) -> None:
    """Whatever tier an entry has moved to, a name leads to the place it was first added with."""
    random = Random(7)
    model: dict[bytes, Entry] = {}
    fill = tiers.fill_of(db)
    for start in range(0, 41_000, 500):
        entries = []
        for place in range(start, start + 500):
            name = name_of("message", "p", str(random.randrange(30_000)))
            entries.append((name, place, None))
            model.setdefault(name, Entry(place))
        fill = tiers.add(db, entries, fill)
    names = random.sample(sorted(model), 2_000)
    assert [model[name] for name in names] == [tiers.find(db, name) for name in names]
    assert all(db.execute(f"SELECT count(*) FROM names{tier}").get for tier in (0, 1, 2))


def test_unknown_name_is_nowhere(db: apsw.Connection) -> None:
    """A name that was never added is not found, and kinds and processes do not mix."""
    tiers.add(db, [(name_of("key", "p", "k"), 1, b"content")], [0, 0])
    assert Entry(1, b"content") == tiers.find(db, name_of("key", "p", "k"))
    assert [None, None] == [tiers.find(db, name_of("message", "p", "k")), tiers.find(db, name_of("key", "q", "k"))]


def test_fill_is_what_the_tables_hold(db: apsw.Connection) -> None:
    """The count that decides when a tier moves agrees with the tables after each step."""
    fill = tiers.fill_of(db)
    for start in range(0, BOUNDS[0] * 3, 700):
        fill = tiers.add(db, [(name_of("m", "p", str(n)), n, None) for n in range(start, start + 700)], fill)
        assert tiers.fill_of(db) == fill
