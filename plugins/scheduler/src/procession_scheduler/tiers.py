"""A tiered index: short hashes of names to places, written cheaply in whatever order they come.

A hash lands anywhere in a tree, so each insertion into a large one dirties a page of its own. New entries
therefore go to a small first tier, which is emptied into the next, in order, when it is full.

Rules
-----
* A name is the first 16 bytes of a sha-256: too many for a chance collision, and for a made one.
* The first place of a name wins, whichever tier it stands in.
* Tiers move inside the transaction of the rows they index, so a crash leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import apsw
import attrs

NAME_BYTES = 16
BOUNDS = (2_048, 32_768)  # entries of each tier but the last
SCHEMA = "".join(
    f"CREATE TABLE names{tier} (name BLOB PRIMARY KEY, place INTEGER NOT NULL, content BLOB) WITHOUT ROWID;"
    for tier in range(len(BOUNDS) + 1)
)

_FIND = " UNION ALL ".join(f"SELECT place, content FROM names{tier} WHERE name = ?1" for tier in range(len(BOUNDS) + 1))


@attrs.frozen
class Entry:
    """Hold where a name was first seen, and the digest of the content it was seen with where that matters."""

    place: int
    content: bytes | None = None


def name_of(kind: str, process: str, text: str) -> bytes:
    """Return the name under which a text of some kind is known in a process."""
    return sha256(f"{kind} {process} {text}".encode("utf-8", "surrogatepass")).digest()[:NAME_BYTES]


def find(db: apsw.Connection, name: bytes) -> Entry | None:
    """Return the first entry of a name."""
    entries = [Entry(place, content) for place, content in db.execute(_FIND, (name,))]
    return min(entries, key=lambda entry: entry.place) if entries else None


def fill_of(db: apsw.Connection) -> list[int]:
    """Return how many entries each tier but the last holds."""
    return [db.execute(f"SELECT count(*) FROM names{tier}").get for tier in range(len(BOUNDS))]


def add(db: apsw.Connection, entries: Iterable[tuple[bytes, int, bytes | None]], fill: list[int]) -> list[int]:
    """Add entries inside a transaction, move full tiers, and return how full each is then."""
    rows = list(entries)
    db.executemany("INSERT OR IGNORE INTO names0 VALUES (?, ?, ?)", rows)
    fill = [fill[0] + len(rows), *fill[1:]]
    for tier, bound in enumerate(BOUNDS):
        if fill[tier] > bound:
            db.execute(f"INSERT OR IGNORE INTO names{tier + 1} SELECT * FROM names{tier} ORDER BY name")
            db.execute(f"DELETE FROM names{tier}")
            fill = [*fill[:tier], 0, *[n + fill[tier] for n in fill[tier + 1 : tier + 2]], *fill[tier + 2 :]]
    return fill
