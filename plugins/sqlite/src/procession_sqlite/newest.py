"""The search for the newest whole record, and the memory of where none is.

Rules
-----
* A run is a stretch of slots whose records were all found damaged: it is jumped over, neither read nor told again.
* What is put takes its slot out of the runs, and a search that a put overtook remembers nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import apsw

from procession.errors import CacheError
from procession.results import Record
from procession_sqlite.records import COLUMNS, SLOTS, SNAPSHOT, record_of
from procession_sqlite.runs import Runs

DOWN = f"SELECT {COLUMNS} FROM records WHERE place BETWEEN ? AND ? ORDER BY place DESC LIMIT 1"
_LIVE_POINT = (
    "SELECT max(place) FROM records INDEXED BY points WHERE snapshot IS NOT NULL AND live_root <> x''"
    " AND place BETWEEN ?1 AND ?2"
)
POINTS_DOWN = (  # those without a live part are in no index: they are met at once, or after what is replayed anyway
    f"SELECT {COLUMNS} FROM records NOT INDEXED WHERE snapshot IS NOT NULL"
    f" AND place BETWEEN coalesce(({_LIVE_POINT}), ?1) AND ?2 ORDER BY place DESC LIMIT 1"
)
_log = logging.getLogger("procession.sqlite")


class Newest:
    """Find newest records by index, passing over damaged ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._every: dict[str, Runs] = {}  # by process: no record in them is whole
        self._points: dict[str, Runs] = {}  # no record with a snapshot is
        self._puts: dict[str, int] = {}

    def find(self, db: apsw.Connection, process: str, places: range, *, with_snapshot: bool) -> Record | None:
        """Return the newest whole record among the places of a process; tell in one line how many were not."""
        puts = self._puts.get(process, 0)
        damaged: list[int] = []
        newest = None
        for slot, row in self._descent(db, process, places, with_snapshot=with_snapshot):
            newest = _whole(process, row)
            if newest is not None:
                break
            damaged.append(slot)
        if damaged:
            low = 0 if newest is None else newest.slot + 1
            self._remember(process, (low, damaged[0]), puts, with_snapshot=with_snapshot)
            _tell(process, damaged)
        return newest

    def replaced(self, process: str, slots: Iterable[int]) -> None:
        """Forget the damage of slots that were put anew."""
        with self._lock:
            self._puts[process] = self._puts.get(process, 0) + 1
            found = [kept[process] for kept in (self._every, self._points) if process in kept]
            for slot in slots if found else ():
                for runs in found:
                    runs.remove(slot)

    def _descent(
        self, db: apsw.Connection, process: str, places: range, *, with_snapshot: bool
    ) -> Iterator[tuple[int, tuple[Any, ...]]]:
        statement = POINTS_DOWN if with_snapshot else DOWN
        slot = self._below(process, len(places) - 1, with_snapshot=with_snapshot)
        while slot >= 0:
            rows: list[tuple[Any, ...]] = db.execute(statement, (places.start, places.start + slot)).fetchall()
            if not rows:
                return
            slot = rows[0][0] % SLOTS
            if not self._is_told(process, slot, rows[0]):
                yield slot, rows[0]
            slot = self._below(process, slot - 1, with_snapshot=with_snapshot)

    def _below(self, process: str, slot: int, *, with_snapshot: bool) -> int:
        """Return the first slot at or below one that may hold a whole record."""
        with self._lock:
            kept = (self._every, self._points) if with_snapshot else (self._every,)
            for runs in [found[process] for found in kept if process in found]:
                slot = runs.below(slot)
            return slot

    def _is_told(self, process: str, slot: int, row: tuple[Any, ...]) -> bool:
        """Tell whether a record was found damaged before, as a point to restore from or whichever."""
        with self._lock:
            kept = (self._every,) if row[SNAPSHOT] is None else (self._every, self._points)
            return any(process in found and found[process].below(slot) != slot for found in kept)

    def _remember(self, process: str, run: tuple[int, int], puts: int, *, with_snapshot: bool) -> None:
        with self._lock:
            if puts == self._puts.get(process, 0):
                kept = self._points if with_snapshot else self._every
                kept.setdefault(process, Runs()).add(*run)


def _whole(process: str, row: tuple[Any, ...]) -> Record | None:
    try:
        return record_of(process, row)
    except CacheError:
        return None


def _tell(process: str, damaged: list[int]) -> None:
    _log.warning(
        "cache of %s, slots %d to %d: records that do not match their seals: %d; they are passed over,"
        " and computed again from the schedule",
        process,
        damaged[-1],
        damaged[0],
        len(damaged),
    )
