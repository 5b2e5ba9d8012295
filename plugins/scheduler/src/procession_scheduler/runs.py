"""Runs: sorted names in the schedule file, written once, merged by steps and then deleted.

A name lands anywhere in a tree, so each insertion into a large one dirties a page of its own. Names are therefore
gathered outside of the index (``index``), written in order as a run of chunks, and read again only to be merged:
what a name costs grows with the number of levels, and no page of many others is written anew for its sake.

Each addition takes a step of every merge that is under way, a little larger than what was added: a merge is done
before its level is full again, whatever the names are, and no commit waits for the whole of one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, repeat

import apsw
import attrs

from procession_scheduler import chunks
from procession_scheduler.chunks import END, START, Chunk, checked, chunks_of, firsts, records_of
from procession_scheduler.manifests import Level, Manifest
from procession_scheduler.names import DamagedIndexError, Entry
from procession_scheduler.rows import all_rows

PACE = 9, 8  # records that a step takes of each merge, as a fraction of those that are added
SCHEMA = (
    "CREATE TABLE chunks (number INTEGER PRIMARY KEY, run INTEGER NOT NULL, first BLOB NOT NULL, until BLOB NOT NULL,"
    " packed BLOB NOT NULL, seal INTEGER NOT NULL, UNIQUE (run, first));"
)

# One chunk a run: that which begins last of those at or before a name. Read as these types, whatever damage made of it.
_BYTES = ", ".join(f"coalesce(CAST({name} AS BLOB), x'')" for name in ("first", "until", "packed"))
_COVERING = (
    f"SELECT coalesce(CAST(run AS INTEGER), 0), {_BYTES}, seal FROM json_each(?1) CROSS JOIN chunks ON number ="
    " (SELECT number FROM chunks AS c WHERE c.run = value AND c.first <= ?2 ORDER BY c.first DESC LIMIT 1)"
)
_WRITE = (
    "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET run = excluded.run,"
    " first = excluded.first, until = excluded.until, packed = excluded.packed, seal = excluded.seal"
)
_DEAD = "SELECT number FROM chunks WHERE run = ? LIMIT ?"


def find(db: apsw.Connection, manifest: Manifest, name: bytes) -> Entry | None:
    """Return the first entry of a name. Raises DamagedIndexError where one may have gone."""
    entries = [chunks.find(chunk, name) for chunk in _covering(db, manifest.holding(name), name)]
    return min(filter(None, entries), key=lambda entry: entry.place, default=None)


def add(db: apsw.Connection, manifest: Manifest, records: Iterable[bytes]) -> Manifest:
    """Add records, and go on with what is being merged, inside a transaction. Raises DamagedIndexError."""
    added = firsts(records)
    if not added:
        return manifest
    table, given = _Table(db, manifest.dead), manifest.given + 1
    table.write(chunks_of(given, added, START, END))
    size = max(1, len(added) * PACE[0] // PACE[1])
    levels: list[Level] = []
    risen: tuple[int, ...] = (given,)
    for level in (*manifest.levels, Level()):
        level, risen = attrs.evolve(level, runs=level.runs + risen), ()
        if level.is_full and not level.sources:
            given += 1
            level = level.merging(given)
        if level.sources:
            level = _step(table, level, size)
        if level.reached == END:
            table.dead += level.sources
            level, risen = Level(level.runs), (level.target,)
        levels.append(level)
    return Manifest(tuple(levels if levels[-1] != Level() else levels[:-1]), tuple(table.dead), given, manifest.indexed)


@contextmanager
def watched() -> Iterator[None]:
    """Turn what SQLite says of a damaged table into DamagedIndexError."""
    try:
        yield
    except (apsw.CorruptError, apsw.ConstraintError) as error:  # the second: a row that stands where it should not
        raise DamagedIndexError(f"{error}") from error


class _Table:
    """Write chunks, over those of dead runs first: a row that is deleted costs its neighbours' pages."""

    def __init__(self, db: apsw.Connection, dead: Iterable[int]) -> None:
        self.db = db
        self.dead = list(dead)

    def write(self, written: Iterable[Chunk]) -> None:
        """Write chunks."""
        rows = list(written)
        numbers = chain(self._free(len(rows)), repeat(None))
        self.db.executemany(_WRITE, [(number, *row) for number, row in zip(numbers, rows, strict=False)])

    def _free(self, count: int) -> list[int]:
        """Return the numbers of so many rows that nobody reads, or of all there are."""
        found: list[int] = []
        while self.dead:
            found += [number for (number,) in all_rows(self.db, _DEAD, (self.dead[0], count - len(found)))]
            if len(found) == count:
                break
            del self.dead[0]
        return found


def _step(table: _Table, level: Level, size: int) -> Level:
    """Merge so many records, and a few more."""
    merge = _Merge(table.db, level.sources, level.reached)
    records = merge.taken(size)
    table.write(chunks_of(level.target, records, level.reached, merge.reached))
    return attrs.evolve(level, reached=merge.reached)


class _Merge:
    """Read runs side by side from a name on."""

    def __init__(self, db: apsw.Connection, sources: Sequence[int], reached: bytes) -> None:
        self._db = db
        self._ahead: dict[int, list[bytes]] = {run: [] for run in sources}  # records that are read and not taken
        self._until = dict.fromkeys(sources, reached)  # how far each is read
        self.reached = reached

    def taken(self, size: int) -> list[bytes]:
        """Take so many records at least, as long as there are any; return the first of each name, in order."""
        taken: list[bytes] = []
        count = 0
        while count < size and self.reached != END:
            records = self._next()
            count += len(records)
            taken += firsts(records)
        return taken

    def _next(self) -> list[bytes]:
        """Return what all runs have up to the nearest end of a chunk."""
        dry = [run for run, until in self._until.items() if until == self.reached]
        for chunk in _covering(self._db, dry, self.reached):
            run, _, until, *_ = chunk
            records = records_of(chunk)
            self._ahead[run] = records[bisect_left(records, self.reached) :]
            self._until[run] = until
        self.reached = min(self._until.values())
        found: list[bytes] = []
        for run, records in self._ahead.items():
            cut = bisect_left(records, self.reached)
            found += records[:cut]
            self._ahead[run] = records[cut:]
        return found


def _covering(db: apsw.Connection, runs: Sequence[int], name: bytes) -> list[Chunk]:
    """Return the one chunk of each run where a name belongs, checked. Raises DamagedIndexError."""
    found = all_rows(db, _COVERING, (str(list(runs)), name))
    if sorted(runs) != sorted([row[0] for row in found]):
        raise DamagedIndexError("a run has gone, or a part of one")
    return [checked(row, name) for row in found]
