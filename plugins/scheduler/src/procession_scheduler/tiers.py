"""A tiered index: short hashes of names to places, written cheaply in whatever order they come.

A hash lands anywhere in a tree, so each insertion into a large one dirties a page of its own. New entries
therefore go to a small first tier, which is emptied into the next, in order, when it is full.

Rules
-----
* A name is the first 16 bytes of a sha-256: too many for a chance collision, and for a made one.
* The first place of a name wins, whichever tier it stands in.
* Tiers move inside the transaction of the rows they index, so a crash leaves both or neither.
* Entries are summed up by bucket; a bucket is checked before it may say that a name is not there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import apsw
import attrs

from procession_scheduler.rows import all_rows

NAME_BYTES = 16
BOUNDS = (2_048, 32_768)  # entries of each tier but the last
TIERS = range(len(BOUNDS) + 1)
BUCKETS = 256  # of a tier: by the first byte of the name, but for the first tier, which has one
SUMS = 1 << 62  # totals stay below, so that SQLite adds two of them as integers
SUMS_SCHEMA = "CREATE TABLE sums (bucket INTEGER PRIMARY KEY, count INTEGER NOT NULL, total INTEGER NOT NULL);"
SCHEMA = SUMS_SCHEMA + "".join(
    f"CREATE TABLE names{tier} (name BLOB PRIMARY KEY, place INTEGER NOT NULL, content BLOB) WITHOUT ROWID;"
    for tier in TIERS
)

# Read as these types, whatever damage made of them.
_PLACE = "coalesce(CAST(place AS INTEGER), 0)"
_FIND = " UNION ALL ".join(f"SELECT {_PLACE}, CAST(content AS BLOB) FROM names{tier} WHERE name = ?1" for tier in TIERS)
_ROWS = f"SELECT CASE typeof(name) WHEN 'blob' THEN name ELSE x'' END, {_PLACE}, CAST(content AS BLOB) FROM names{{}}"
_GROW = (
    f"INSERT INTO sums VALUES (?, ?, ?) ON CONFLICT (bucket) DO UPDATE SET"
    f" count = count + excluded.count, total = (total + excluded.total) & {SUMS - 1}"
)

Row = tuple[Any, ...]  # name, place, content


class DamagedIndexError(Exception):
    """Say that the index is not what was written; it can be made anew from what it indexes."""


@attrs.frozen
class Entry:
    """Hold where a name was first seen, and the digest of the content it was seen with where that matters.

    A ``derived`` name follows from the row at its place.
    """

    place: int
    content: bytes | None = None
    derived: bool = attrs.field(default=False, eq=False)


def name_of(kind: str, process: str, text: str) -> bytes:
    """Return the name under which a text of some kind is known in a process."""
    return sha256(f"{kind} {process} {text}".encode("utf-8", "surrogatepass")).digest()[:NAME_BYTES]


def find(db: apsw.Connection, name: bytes) -> Entry | None:
    """Return the first entry of a name, unchecked."""
    entries = [Entry(place, content) for place, content in all_rows(db, _FIND, (name,))]
    return min(entries, key=lambda entry: entry.place) if entries else None


def check(db: apsw.Connection, buckets: Iterable[int]) -> None:
    """See that buckets hold what was added to them. Raises DamagedIndexError."""
    for bucket in buckets:
        said = all_rows(db, "SELECT count, total FROM sums WHERE bucket = ?", (bucket,))
        found = _sums(bucket // BUCKETS, _rows_of(db, bucket)).get(bucket, (0, 0))
        if found != (said[0] if said else (0, 0)):
            raise DamagedIndexError(f"bucket {bucket % BUCKETS} of names{bucket // BUCKETS} is not what was written")


def buckets_of(name: bytes) -> list[int]:
    """Return where a name can stand, one bucket a tier."""
    return [_bucket(tier, name) for tier in TIERS]


def sum_up(db: apsw.Connection) -> None:
    """Take what the tables hold for what was added."""
    db.execute("DELETE FROM sums")
    for tier in TIERS:
        for bucket in [0] if tier == 0 else range(tier * BUCKETS, (tier + 1) * BUCKETS):
            _grow(db, _sums(tier, _rows_of(db, bucket)))


class Index:
    """Find and add names through a writing connection, each bucket checked when it is first needed."""

    def __init__(self) -> None:
        self._fill = [0] * len(BOUNDS)
        self._checked: set[int] = set()

    def refresh(self, db: apsw.Connection) -> None:
        """Learn anew what the tables hold; another program, or nobody, may have written it."""
        self._checked.clear()
        bounds = [(tier * BUCKETS, (tier + 1) * BUCKETS - 1) for tier in range(len(BOUNDS))]
        counted = "SELECT coalesce(sum(count), 0) FROM sums WHERE bucket BETWEEN ? AND ?"
        with _watched():
            self._fill = [db.execute(counted, bound).get for bound in bounds]

    def find(self, db: apsw.Connection, name: bytes) -> Entry | None:
        """Return the first entry of a name. Raises DamagedIndexError where one may have gone."""
        with _watched():
            fresh = [bucket for bucket in buckets_of(name) if bucket not in self._checked]
            check(db, fresh)
            self._checked.update(fresh)
            return find(db, name)

    def add(self, db: apsw.Connection, rows: Iterable[Row]) -> None:
        """Add entries inside a transaction, and move full tiers. Raises DamagedIndexError."""
        with _watched():
            known = "SELECT 1 FROM names0 WHERE name = ?"
            new = [row for row in rows if not db.execute(known, (row[0],)).get]
            self._insert(db, 0, new)
            for tier, bound in enumerate(BOUNDS):
                if self._fill[tier] > bound:
                    self._move(db, tier)

    def _insert(self, db: apsw.Connection, tier: int, rows: list[Row]) -> None:
        db.executemany(f"INSERT INTO names{tier} VALUES (?, ?, ?)", rows)
        _grow(db, _sums(tier, rows))
        if tier < len(self._fill):
            self._fill[tier] += len(rows)

    def _move(self, db: apsw.Connection, tier: int) -> None:
        check(db, [0] if tier == 0 else range(tier * BUCKETS, (tier + 1) * BUCKETS))
        below = tier + 1
        new = f"{_ROWS.format(tier)} AS above WHERE NOT EXISTS (SELECT 1 FROM names{below} WHERE name = above.name)"
        self._insert(db, below, all_rows(db, f"{new} ORDER BY name"))
        db.execute(f"DELETE FROM names{tier}")
        db.execute("DELETE FROM sums WHERE bucket BETWEEN ? AND ?", (tier * BUCKETS, below * BUCKETS - 1))
        self._fill[tier] = 0


@contextmanager
def _watched() -> Iterator[None]:
    """Turn what SQLite says of a damaged table into DamagedIndexError."""
    try:
        yield
    except (apsw.CorruptError, apsw.ConstraintError) as error:  # the second: a row that stands where it should not
        raise DamagedIndexError(f"{error}") from error


def _bucket(tier: int, name: bytes) -> int:
    return tier * BUCKETS + (name[0] if tier and name else 0)


def _rows_of(db: apsw.Connection, bucket: int) -> list[Row]:
    tier, byte = divmod(bucket, BUCKETS)
    if tier == 0:
        return all_rows(db, _ROWS.format(0))
    above = "1" if byte == BUCKETS - 1 else "name < ?2"
    bounds = (bytes([byte]), bytes([byte + 1])) if byte < BUCKETS - 1 else (bytes([byte]),)
    return all_rows(db, f"{_ROWS.format(tier)} WHERE name >= ?1 AND {above}", bounds)


def _sums(tier: int, rows: Iterable[Row]) -> dict[int, tuple[int, int]]:
    """Return how many rows each bucket has, and the sum of their hashes."""
    sums: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for name, place, content in rows:
        count, total = sums[_bucket(tier, name)]
        head = b"%d %d " % (place, -1 if content is None else len(content))
        weight = int.from_bytes(sha256(b"".join((head, name, content or b""))).digest()[:8])
        sums[_bucket(tier, name)] = (count + 1, (total + weight) % SUMS)
    return dict(sums)


def _grow(db: apsw.Connection, sums: dict[int, tuple[int, int]]) -> None:
    db.executemany(_GROW, [(bucket, *grown) for bucket, grown in sums.items()])
