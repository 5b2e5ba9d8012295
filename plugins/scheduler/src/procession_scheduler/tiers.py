"""A tiered index: short hashes of names to places, written in order and in bulk.

A hash lands anywhere in a tree, so each insertion into a large one dirties a page of its own. New entries are
therefore gathered outside of it (``index``), added to a small first tier together, and moved on to the second
a slice of the hashes at a time, so that no commit moves more than a few thousand.

Rules
-----
* A name is the first 16 bytes of a sha-256: too many for a chance collision, and for a made one.
* The first place of a name wins, whichever tier it stands in.
* Tiers move inside the transaction of the rows they index, so a crash leaves both or neither.
* Entries are summed up by bucket; a bucket is checked before it may say that a name is not there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from struct import Struct
from typing import Any

import apsw
import attrs

from procession_scheduler.rows import all_rows

NAME_BYTES = 16
FULL = 65_536  # entries of the first tier from which on slices of it move: about as many as come, a slice each time
TIERS = (1, 2)
BUCKETS = 256  # of a tier, by the first byte of the name
SLICE = 16  # buckets that move at once
NOTED, INDEXED = 0, 1  # rows of ``sums`` that hold a number: of the names that are known, and of those in the tiers
SUMS = (1 << 61) - 1  # a prime, so that no bit of a row is without weight; SQLite adds two such totals as integers
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
    f" count = count + excluded.count, total = (total + excluded.total) % {SUMS}"
)
_SAID = "SELECT bucket, count, total FROM sums WHERE bucket BETWEEN ? AND ?"
_HALVES = Struct(">QQ").unpack
_MIX = 0x9E3779B97F4A7C15

Row = tuple[Any, ...]  # name, place, content
Sums = dict[int, tuple[int, int]]  # of a bucket: how many rows, and the sum of their weights


class DamagedIndexError(Exception):
    """Say that the index is not what was written; it can be made anew from what it indexes."""


@attrs.frozen
class Entry:
    """Hold where a name was first seen, and the digest of the content it was seen with where that matters."""

    place: int
    content: bytes | None = None


def name_of(kind: str, process: str, text: str) -> bytes:
    """Return the name under which a text of some kind is known in a process."""
    return sha256(f"{kind} {process} {text}".encode("utf-8", "surrogatepass")).digest()[:NAME_BYTES]


def namer(kind: str, process: str) -> Callable[[bytes], bytes]:
    """Return what ``name_of`` is for many texts of a kind and process, given as UTF-8."""
    begun = sha256(f"{kind} {process} ".encode("utf-8", "surrogatepass"))

    def name(text: bytes) -> bytes:
        hashed = begun.copy()
        hashed.update(text)
        return hashed.digest()[:NAME_BYTES]

    return name


def find(db: apsw.Connection, name: bytes) -> Entry | None:
    """Return the first entry of a name, unchecked."""
    entries = [Entry(place, content) for place, content in all_rows(db, _FIND, (name,))]
    return min(entries, key=lambda entry: entry.place) if entries else None


def check(db: apsw.Connection, buckets: Iterable[int]) -> None:
    """See that buckets hold what was added to them. Raises DamagedIndexError."""
    for bucket in buckets:
        _checked(db, bucket, bucket)


def buckets_of(name: bytes) -> list[int]:
    """Return where a name can stand, one bucket a tier."""
    return [_bucket(tier, name) for tier in TIERS]


def number_said(db: apsw.Connection, which: int) -> int:
    """Return a number that was written down. Raises DamagedIndexError."""
    for _, number, proof in all_rows(db, _SAID, (which, which)):
        if type(number) is int and proof == _proof(which, number):
            return number
    raise DamagedIndexError(f"number {which} of the index is not what was written")


def say_number(db: apsw.Connection, which: int, number: int) -> None:
    """Write a number down."""
    db.execute("INSERT OR REPLACE INTO sums VALUES (?, ?, ?)", (which, number, _proof(which, number)))


def distrust(db: apsw.Connection) -> None:
    """Leave sums behind that nothing adds up to."""
    db.execute("DELETE FROM sums")


def sum_up(db: apsw.Connection) -> None:
    """Take what the tables hold for what was added."""
    db.execute("DELETE FROM sums")
    for bucket in range(TIERS[0] * BUCKETS, (TIERS[-1] + 1) * BUCKETS):
        _grow(db, _sums(bucket // BUCKETS, _rows_of(db, bucket, bucket)))


def fill(db: apsw.Connection) -> int:
    """Return how many entries the first tier has."""
    counted = "SELECT coalesce(sum(count), 0) FROM sums WHERE bucket BETWEEN ? AND ?"
    count: int = db.execute(counted, (BUCKETS, 2 * BUCKETS - 1)).get
    return count


def add(db: apsw.Connection, rows: list[Row]) -> None:
    """Add rows in the order of their names inside a transaction; where the first tier is full, a slice moves on."""
    with watched():
        _insert(db, 1, rows)
        if fill(db) > FULL:
            _move_on(db)


@contextmanager
def watched() -> Iterator[None]:
    """Turn what SQLite says of a damaged table into DamagedIndexError."""
    try:
        yield
    except (apsw.CorruptError, apsw.ConstraintError) as error:  # the second: a row that stands where it should not
        raise DamagedIndexError(f"{error}") from error


def _move_on(db: apsw.Connection) -> None:
    """Move the fullest slice of the first tier to the second."""
    sliced = (
        f"SELECT bucket / {SLICE} AS slice FROM sums WHERE bucket BETWEEN ? AND ? GROUP BY 1 ORDER BY sum(count) DESC"
    )
    low = db.execute(f"{sliced} LIMIT 1", (BUCKETS, 2 * BUCKETS - 1)).get * SLICE
    high = low + SLICE - 1
    _insert(db, 2, _checked(db, low, high))
    begin, below = _bounds(low, high)
    db.execute(f"DELETE FROM names1 WHERE name >= ?1 AND {below}", (begin,))
    db.execute("DELETE FROM sums WHERE bucket BETWEEN ? AND ?", (low, high))


def _insert(db: apsw.Connection, tier: int, rows: list[Row]) -> None:
    """Insert rows that are in order, but for the names that are there already."""
    before = db.total_changes()
    db.executemany(f"INSERT INTO names{tier} VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING", rows)
    if db.total_changes() - before != len(rows):
        held = f"SELECT {_PLACE} FROM names{tier} WHERE name = ?"
        rows = [row for row in rows if db.execute(held, (row[0],)).get == row[1]]
    _grow(db, _sums(tier, rows))


def _checked(db: apsw.Connection, low: int, high: int) -> list[Row]:
    """Return the rows of neighbouring buckets. Raises DamagedIndexError where they are not what was added."""
    tier = low // BUCKETS
    rows = _rows_of(db, low, high)
    said = {bucket: (count, total) for bucket, count, total in all_rows(db, _SAID, (low, high))}
    found = _sums(tier, rows)
    for bucket in range(low, high + 1):
        if found.get(bucket, (0, 0)) != said.get(bucket, (0, 0)):
            raise DamagedIndexError(f"bucket {bucket % BUCKETS} of names{tier} is not what was written")
    return rows


def _bucket(tier: int, name: bytes) -> int:
    return tier * BUCKETS + (name[0] if name else 0)


def _bounds(low: int, high: int) -> tuple[bytes, str]:
    """Return the first name of neighbouring buckets, and a condition on the last."""
    end = high % BUCKETS + 1
    return bytes([low % BUCKETS]), "1" if end == BUCKETS else f"name < x'{end:02x}'"


def _rows_of(db: apsw.Connection, low: int, high: int) -> list[Row]:
    begin, below = _bounds(low, high)
    return all_rows(db, f"{_ROWS.format(low // BUCKETS)} WHERE name >= ?1 AND {below}", (begin,))


def _sums(tier: int, rows: Iterable[Row]) -> Sums:
    """Return how many rows each bucket has, and the sum of their weights."""
    counts: dict[int, int] = defaultdict(int)
    totals: dict[int, int] = defaultdict(int)
    for name, place, content in rows:
        byte = name[0] if name else 0
        counts[byte] += 1
        totals[byte] += _weight(name, place, content)
    return {tier * BUCKETS + byte: (count, totals[byte] % SUMS) for byte, count in counts.items()}


def _weight(name: bytes, place: int, content: bytes | None) -> int:
    """Return a number that is another one where any bit of a row is."""
    if content is None and len(name) == NAME_BYTES:
        high: int
        low: int
        high, low = _HALVES(name)
        return (high ^ _MIX) * (2 * place + 1) + low
    head = b"%d %d " % (place, -1 if content is None else len(content))
    return int.from_bytes(sha256(b"".join((head, name, content or b""))).digest()[:8])


def _proof(which: int, number: int) -> int:
    return (number + which + 1) * _MIX % SUMS


def _grow(db: apsw.Connection, sums: Sums) -> None:
    db.executemany(_GROW, [(bucket, *grown) for bucket, grown in sums.items()])
