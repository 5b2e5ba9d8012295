"""The tiered index against a dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from random import Random

import apsw
import pytest

from procession_sqlite.tiers import BOUNDS, NAME_BYTES, Tiers


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    """Open an index in memory."""
    db = apsw.Connection(":memory:")
    db.execute(Tiers("names").schema)
    yield db
    db.close()


def name_of(number: int) -> bytes:
    """Return a name."""
    return sha256(str(number).encode()).digest()[:NAME_BYTES]


def test_lowest_place_wins_over_all_tiers(db: apsw.Connection) -> None:
    """Whatever tiers its entries have moved to, a name leads to the lowest of its places."""
    random = Random(7)
    model: dict[bytes, int] = {}
    tiers = Tiers("names")
    for _ in range(82):
        entries = [(name_of(random.randrange(30_000)), random.randrange(10**12)) for _ in range(500)]
        for name, place in entries:
            model[name] = min(place, model.get(name, place))
        tiers.add(db, entries)
    names = random.sample(sorted(model), 2_000)
    assert [model[name] for name in names] == [tiers.find(db, name) for name in names]
    assert all(db.execute(f"SELECT count(*) FROM names{tier}").get for tier in (0, 1, 2))


def test_removed_name_is_nowhere(db: apsw.Connection) -> None:
    """A name is removed from whichever tier it has moved to."""
    tiers = Tiers("names")
    tiers.add(db, [(name_of(number), number) for number in range(BOUNDS[0] + 1)])
    tiers.add(db, [(name_of(0), 5)])
    tiers.remove(db, name_of(0))
    assert [None, 1, None] == [tiers.find(db, name_of(number)) for number in (0, 1, -1)]


def test_refresh_learns_what_the_tables_hold(db: apsw.Connection) -> None:
    """An index that another object filled moves its tiers at the same bounds."""
    Tiers("names").add(db, [(name_of(number), number) for number in range(BOUNDS[0])])
    other = Tiers("names")
    other.refresh(db)
    other.add(db, [(name_of(-1), -1)])
    counts = [db.execute(f"SELECT count(*) FROM names{tier}").get for tier in (0, 1)]
    assert [0, BOUNDS[0] + 1] == counts
