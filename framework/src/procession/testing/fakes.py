"""Fakes: a scheduler, a cache and a snapshotter in memory, and a clock that a test sets.

They keep every promise but durability, so a test of a stage needs no disk::

    Kernel.open(file, plugins=[MemoryHost(), my_plugin], discover=False)
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from hashlib import sha256

import attrs

from procession.errors import CacheError, RequestError, SnapshotError
from procession.hookspecs import hookimpl
from procession.ids import to_id
from procession.messages import Message, decode, encode
from procession.results import Batch, Record
from procession.roles import Factory, Part, Point, Site
from procession.schedules import Assignment, Clock, Head, Submission, Tick, next_assignment

_LIMIT = 1 << 30


@attrs.define
class SteppingClock:
    """Tell a time that moves by ``step`` milliseconds at every look."""

    timestamp: int = 1_700_000_000_000
    step: int = 1
    block_height: int = 1000

    def __call__(self) -> Tick:
        """Return the next tick."""
        tick = Tick(self.timestamp, self.block_height)
        self.timestamp += self.step
        return tick


class MemoryScheduler:
    """Order messages in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._schedules: dict[str, list[Assignment]] = {}
        self._recognised: dict[tuple[str, str], int] = {}
        self._keys: dict[tuple[str, str], tuple[int, str]] = {}

    def assign(self, process: str, submissions: Sequence[Submission]) -> Sequence[Assignment]:
        """Return an assignment for each submission, all or none."""
        with self._lock:
            schedule = list(self._schedules.get(process, ()))
            recognised, keys = dict(self._recognised), dict(self._keys)
            made = [self._one(process, schedule, submission) for submission in submissions]
            failed = next((item for item in made if isinstance(item, Exception)), None)
            if failed is not None:
                self._recognised, self._keys = recognised, keys
                raise failed
            self._schedules[process] = schedule
            return [item for item in made if isinstance(item, Assignment)]

    def read(self, process: str, first: int, last: int) -> Sequence[Assignment]:
        """Return the assignments of slots first..last."""
        return self._schedules.get(process, [])[first : last + 1]

    def head(self, process: str) -> Head | None:
        """Return the last slot."""
        schedule = self._schedules.get(process)
        return Head(schedule[-1].slot, schedule[-1].chain) if schedule else None

    def find(self, process: str, message_id: str) -> int | None:
        """Return the first slot that holds a message."""
        schedule = self._schedules.get(process, [])
        return next((item.slot for item in schedule if item.message_id == message_id), None)

    def processes(self) -> Sequence[str]:
        """Return the ids of all processes."""
        return list(self._schedules)

    def close(self) -> None:
        """Have nothing to close."""

    def _one(self, process: str, schedule: list[Assignment], offer: Submission) -> Assignment | Exception:
        for name in offer.recognised_by:
            if (process, name) in self._recognised:
                return schedule[self._recognised[process, name]]
        key = (process, offer.idempotency_key or "")
        if offer.idempotency_key is not None and key in self._keys:
            slot, content = self._keys[key]
            if content != offer.message.id:
                return RequestError("the idempotency key was used for another message", kind="conflict")
            return schedule[slot]
        head = Head(schedule[-1].slot, schedule[-1].chain) if schedule else None
        assignment = next_assignment(process, head, offer, self._clock())
        schedule.append(assignment)
        self._recognised |= {(process, name): assignment.slot for name in offer.recognised_by}
        if offer.idempotency_key is not None:
            self._keys[key] = (assignment.slot, offer.message.id)
        return assignment


class MemoryCache:
    """Keep results and blobs in memory."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], Record] = {}
        self.blobs: dict[bytes, bytes] = {}

    def put(self, batch: Batch) -> None:
        """Keep records and blobs."""
        self.blobs.update(batch.blobs)
        self.records.update({(record.process, record.slot): record for record in batch.records})

    def get(self, process: str, slot: int) -> Record | None:
        """Return the record of a slot."""
        return self.records.get((process, slot))

    def latest(self, process: str, at_or_below: int | None, *, with_snapshot: bool) -> Record | None:
        """Return the newest record at or below a slot."""
        found = [record for (owner, _), record in self.records.items() if owner == process]
        found = [record for record in found if at_or_below is None or record.slot <= at_or_below]
        found = [record for record in found if record.snapshot is not None or not with_snapshot]
        return max(found, key=lambda record: record.slot, default=None)

    def get_blob(self, digest: bytes) -> bytes:
        """Return a blob."""
        if digest not in self.blobs:
            raise CacheError(f"blob {to_id(digest)} is missing", where="memory cache", kind="missing")
        if digest_of(self.blobs[digest]) != digest:
            raise CacheError(f"blob {to_id(digest)} is damaged", where="memory cache", kind="damaged")
        return self.blobs[digest]

    def put_blob(self, content: bytes) -> bytes:
        """Keep bytes."""
        self.blobs[digest_of(content)] = content
        return digest_of(content)

    def prune(self, process: str, keep: int) -> int:
        """Drop all snapshots of a process but the newest."""
        points = sorted(slot for (owner, slot), record in self.records.items() if owner == process and record.snapshot)
        for slot in points[: max(len(points) - keep, 0)]:
            self.records[process, slot] = attrs.evolve(self.records[process, slot], snapshot=None)
        return max(len(points) - keep, 0)

    def drop(self, process: str, first: int, last: int) -> int:
        """Drop the records of slots first..last."""
        gone = [(owner, slot) for owner, slot in self.records if owner == process and first <= slot <= last]
        for place in gone:
            del self.records[place]
        return len(gone)

    def close(self) -> None:
        """Have nothing to close."""


class MemorySnapshotter:
    """Write parts as one canonical message, followed by its digest; each point is whole."""

    def pack(self, parts: Mapping[str, Part], fingerprint: str, before: Point | None = None) -> Point:
        """Return the parts as a point."""
        rows = [{"name": name, **_told(parts[name])} for name in sorted(parts)]
        body = encode(Message({"parts": rows, "of": fingerprint}))
        content = body + digest_of(body)
        return Point(parts, content, (digest_of(content),), (len(content),))

    def unpack(self, blobs: Sequence[bytes], fingerprint: str) -> Point:
        """Return the point of a blob."""
        (content,) = blobs
        body, digest = content[:-32], content[-32:]
        if digest_of(body) != digest:
            raise SnapshotError("does not match its digest", where="snapshot", kind="damaged-snapshot")
        message = decode(body, limit=_LIMIT)
        if not isinstance(message, Message) or message["of"] != fingerprint:
            raise SnapshotError("is of another fingerprint", where="snapshot", kind="foreign-snapshot")
        parts = {row["name"]: row["bytes"] if "bytes" in row else dict(row["cells"]) for row in message["parts"]}
        return Point(parts, content, (digest_of(content),), (len(content),))


def _told(part: Part) -> dict[str, object]:
    return (
        {"bytes": part} if isinstance(part, bytes) else {"cells": [(number, part[number]) for number in sorted(part)]}
    )


class MemoryHost:
    """Provide scheduler@1.0, sqlite@1.0 and zstd@1.0 by fakes in memory, as one plugin.

    What they hold lives as long as this object, so a second kernel over it is a restart.
    """

    def __init__(self) -> None:
        self.cache = MemoryCache()
        self._scheduler: MemoryScheduler | None = None

    @hookimpl
    def procession_schedulers(self) -> Mapping[str, Factory]:
        """Provide the scheduler."""
        return {"scheduler@1.0": Factory(self._opened, summary="messages in memory")}

    @hookimpl
    def procession_caches(self) -> Mapping[str, Factory]:
        """Provide the cache."""
        return {"sqlite@1.0": Factory(lambda options, site: self.cache, summary="results in memory")}

    @hookimpl
    def procession_snapshotters(self) -> Mapping[str, Factory]:
        """Provide the snapshotter."""
        return {"zstd@1.0": Factory(lambda options, site: MemorySnapshotter(), summary="parts, not compressed")}

    def _opened(self, options: object, site: Site) -> MemoryScheduler:
        if self._scheduler is None:
            self._scheduler = MemoryScheduler(site.clock)
        return self._scheduler


def digest_of(content: bytes) -> bytes:
    """Return the sha-256 of some bytes."""
    return sha256(content).digest()
