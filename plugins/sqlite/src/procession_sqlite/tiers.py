"""A tiered index: short hashes to places, written cheaply in whatever order they come.

A hash lands anywhere in a tree, so each insertion into a large one dirties a page of its own. New entries
therefore go to a small first tier, which is emptied into the next, in order, when it is full.

Rules
-----
* A name is the first 16 bytes of a sha-256; what it leads to is checked by whoever follows it.
* The lowest place of a name wins, whichever tier it stands in.
* Tiers move inside the transaction of the rows they index, so a crash leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Iterable

import apsw

NAME_BYTES = 16
BOUNDS = (2_048, 32_768)  # entries of each tier but the last
TIERS = range(len(BOUNDS) + 1)

_LOWEST = "ON CONFLICT (name) DO UPDATE SET place = excluded.place WHERE excluded.place < place"


class Tiers:
    """Index places by name in the tables ``table0``, ``table1``, ..., each larger than the one before."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._fill = [0] * len(BOUNDS)
        lookups = [f"SELECT place FROM {table}{tier} WHERE name = ?1" for tier in TIERS]
        self._find = f"SELECT min(place) FROM ({' UNION ALL '.join(lookups)})"

    @property
    def schema(self) -> str:
        """Return the statements that make the tables."""
        columns = "(name BLOB PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID"
        return "".join([f"CREATE TABLE {self._table}{tier} {columns};" for tier in TIERS])

    def find(self, db: apsw.Connection, name: bytes) -> int | None:
        """Return the lowest place of a name."""
        place: int | None = db.execute(self._find, (name,)).get
        return place

    def refresh(self, db: apsw.Connection) -> None:
        """Learn how full the tiers are from the tables."""
        self._fill = [db.execute(f"SELECT count(*) FROM {self._table}{tier}").get for tier in TIERS[:-1]]

    def add(self, db: apsw.Connection, entries: Iterable[tuple[bytes, int]]) -> None:
        """Add entries inside a transaction, and move the tiers that are full."""
        rows = list(entries)
        db.executemany(f"INSERT INTO {self._table}0 VALUES (?, ?) {_LOWEST}", rows)
        self._fill[0] += len(rows)
        for tier, bound in enumerate(BOUNDS):
            if self._fill[tier] > bound:
                self._move(db, tier)

    def remove(self, db: apsw.Connection, name: bytes) -> None:
        """Remove a name from all tiers."""
        for tier in TIERS:
            db.execute(f"DELETE FROM {self._table}{tier} WHERE name = ?", (name,))

    def _move(self, db: apsw.Connection, tier: int) -> None:
        above, below = f"{self._table}{tier}", f"{self._table}{tier + 1}"
        db.execute(f"INSERT INTO {below} SELECT name, place FROM {above} WHERE true ORDER BY name {_LOWEST}")
        db.execute(f"DELETE FROM {above}")
        if tier + 1 < len(self._fill):
            self._fill[tier + 1] += self._fill[tier]
        self._fill[tier] = 0
