"""Examining: a process of a data folder, slot by slot, beside whoever writes to it.

Rules
-----
* Everything is read, nothing is written.
* A page of the schedule and the parts of one snapshot are all that is held at one time.
* The schedule is the truth: what is stored is held against it, and never the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import attrs

from procession.canonical import BRANCH_TAG, LINK_TAG, MAX_DEPTH, loads
from procession.cli.findings import Finding, Mend
from procession.commitments import message_id
from procession.definitions import Definition, blobs_named, definition_of, options_of
from procession.errors import CacheError, ConfigError, ProcessionError, ScheduleError
from procession.ids import from_id, is_id
from procession.process import compile_process
from procession.registry import Registry
from procession.results import Record
from procession.roles import Cache, Scheduler, Snapshotter
from procession.schedules import Assignment, Head, check_chain
from procession.stacks import entry_of
from procession.tries import INLINE_LIMIT

PAGE = 256  # assignments read at once
SEEN = 100_000  # digests of parts that are remembered as whole

Step = Callable[[int], None]


@attrs.define
class Stores:
    """Hold the devices of a data folder, opened to read, and the files they keep."""

    registry: Registry
    schedulers: dict[str, Scheduler]
    files: dict[str, str]  # of the schedulers, by device
    cache: Cache | None
    cache_file: str
    snapshotter: Snapshotter
    data: str


@attrs.define
class Counts:
    """Count what was looked at; ``foreign`` are points to restore from that other devices made."""

    processes: int = 0
    slots: int = 0
    records: int = 0
    snapshots: int = 0
    foreign: int = 0


class Seen:
    """Remember digests that were found whole, as many as may be kept."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def add(self, digest: bytes) -> bool:
        """Add a digest; tell whether it is new."""
        if digest in self._digests:
            return False
        if len(self._digests) >= SEEN:
            self._digests.clear()
        self._digests.add(digest)
        return True


class Examination:
    """Examine one process: its schedule from slot 0 to the head, and what is stored of each slot."""

    def __init__(self, stores: Stores, device: str, process: str, counts: Counts) -> None:
        self.process = process
        self._stores = stores
        self._scheduler = stores.schedulers[device]
        self._file = stores.files[device]
        self._counts = counts
        self._found: list[Finding] = []
        self._broken: set[int] = set()  # slots of the schedule
        self._usable = False  # the process can be opened to compute
        self._fingerprint = ""
        self._before: Head | None = None
        self._parts, self._points = Seen(), Seen()

    def findings(self, step: Step) -> Iterator[Finding]:
        """Yield what is wrong; ``step`` is told how many slots are done."""
        self._counts.processes += 1
        last = self._last()
        ends = [self._read(slot) for slot in range(max(last - 1, 0), last + 1)]
        if self._look_at_definition():
            self._usable = bool(ends) and None not in ends and not self._broken
        yield from self._taken()
        for slot, assignment in self._slots(last):
            self._counts.slots += 1
            if assignment is not None:
                self._look_at_assignment(assignment)
            if self._stores.cache is not None:
                self._look_at_record(self._stores.cache, slot, assignment)
            yield from self._taken()
            step(slot + 1)
        if self._stores.cache is not None:
            self._look_beyond(self._stores.cache)
        yield from self._taken()

    # -- the schedule

    def _last(self) -> int:
        try:
            head = self._scheduler.head(self.process)
        except ScheduleError as error:
            slot = error.facts.get("slot")
            self._break(error, slot)
            return slot if type(slot) is int else -1
        return head.slot if head else -1

    def _slots(self, last: int) -> Iterator[tuple[int, Assignment | None]]:
        for first in range(0, last + 1, PAGE):
            end = min(last, first + PAGE - 1)
            try:
                found = {item.slot: item for item in self._scheduler.read(self.process, first, end)}
            except ScheduleError:
                found = {slot: item for slot in range(first, end + 1) if (item := self._read(slot))}
            for slot in range(first, end + 1):
                if slot not in found:
                    self._break(ScheduleError("the schedule has no such slot"), slot)
                yield slot, found.get(slot)

    def _read(self, slot: int) -> Assignment | None:
        try:
            return next(iter(self._scheduler.read(self.process, slot, slot)), None)
        except ScheduleError as error:
            if "slot" not in error.facts:  # the disk, and no row of it
                raise
            self._break(error, slot)
            return None

    def _look_at_assignment(self, assignment: Assignment) -> None:
        slot = assignment.slot
        before, self._before = self._before, Head(slot, assignment.chain)
        if slot == 0 or (before is not None and before.slot == slot - 1):
            try:
                check_chain([assignment], before)
            except ScheduleError as error:
                self._break(error, slot)
        if message_id(assignment.message) != assignment.message_id:
            self._break(ScheduleError("the message has another id than its slot names"), slot)
        if slot % PAGE == 0:  # of each page: where an index is damaged, a look-up may read all rows
            self._look_at_index(assignment)

    def _look_at_index(self, assignment: Assignment) -> None:
        try:
            found = self._scheduler.find(self.process, assignment.message_id)
        except ScheduleError:
            found = None
        if found is None or found > assignment.slot:
            todo = "a repeat of the message would get another slot; restore the file from a backup"
            self._note("no index leads to the message", self._file, assignment.slot, todo=todo)

    def _break(self, error: ScheduleError, slot: object) -> None:
        """Note a break of the schedule, once a slot; nothing is done about it."""
        place = slot if type(slot) is int else None
        if place in self._broken:
            return
        if place is not None:
            self._broken.add(place)
        todo = "restore the file from a backup"
        if place:
            below = f"procession log {self.process} --to {place - 1} --jsonl --data {self._stores.data}"
            todo += f"; what is whole before it: `{below}`"
        self._note(error.what, self._file, place, todo=todo)

    # -- the definition

    def _look_at_definition(self) -> bool:
        """Look at slot 0; tell whether its devices are here, and what they need."""
        genesis = self._read(0)
        if genesis is None:
            return False
        if message_id(genesis.message) != self.process:
            self._break(ScheduleError("slot 0 does not hold the definition of this process"), 0)
        registry = self._stores.registry
        try:
            definition = definition_of(genesis.message, registry)
        except ConfigError as error:
            for problem in error.problems:
                what = f"its definition is not usable here: {problem}"
                self._note(what, self._file, 0, todo="install what is missing")
            return False
        self._fingerprint = compile_process(definition, registry, str.encode).fingerprint
        missing = [name for name in images_of(definition, registry) if not self._has_image(name)]
        return not missing

    def _has_image(self, name: str) -> bool:
        if self._stores.cache is None:  # it does not open, so nothing is known of images
            return True
        try:
            self._stores.cache.get_blob(from_id(name))
        except CacheError as error:
            todo = "bring it again: procession spawn FILE.toml, with the definition file"
            self._note(f"the image {name} of its definition: {error.what}", self._stores.cache_file, todo=todo)
            return False
        return True

    # -- what is stored

    def _look_at_record(self, cache: Cache, slot: int, assignment: Assignment | None) -> None:
        try:
            record = cache.get(self.process, slot)
        except CacheError as error:
            self._refused(error, slot)
            return
        if record is None:
            return
        self._counts.records += 1
        if assignment is None:  # nothing is here to hold it against
            return
        if (record.chain, record.message_id) != (assignment.chain, assignment.message_id):
            self._stale("the stored result is of another schedule than the one that is here", slot)
        elif record.complete and sha256(record.state).digest() != record.state_digest:
            self._stale("the stored state does not have the id that is stored with it", slot)
        else:
            self._look_at_parts(cache, record)
            self._look_at_snapshot(cache, record)

    def _refused(self, error: CacheError, slot: int) -> None:
        """Note a record that cannot be read; where it is the whole file, nothing more of it is asked."""
        if "slot" in error.facts:
            self._stale(error.what, slot)
            return
        self._stores.cache = None
        mend = Mend.ANEW if error.kind == "damaged" else None
        self._found.append(Finding(error.what, self._stores.cache_file, mend=mend, todo="" if mend else error.remedy))

    def _look_at_parts(self, cache: Cache, record: Record) -> None:
        pending = links_in(record.state)
        while pending:
            digest = pending.pop()
            if not self._parts.add(digest):
                continue
            try:
                content = cache.get_blob(digest)
            except CacheError as error:
                what = f"a part of the stored state cannot be read: {error.kind}"
                self._stale(what, record.slot, Mend.PARTS)
                return
            pending += links_in(content)

    def _look_at_snapshot(self, cache: Cache, record: Record) -> None:
        if record.snapshot is None:
            return
        self._counts.snapshots += 1
        self._counts.foreign += record.fingerprint != self._fingerprint
        if not self._points.add(sha256(record.snapshot + record.fingerprint.encode()).digest()):
            return
        try:
            self._stores.snapshotter.unpack([cache.get_blob(digest) for digest in record.blobs], record.fingerprint)
        except ProcessionError as error:
            self._points = Seen()  # each record that names it is told
            what = f"the snapshot cannot be read: {error.kind}"
            self._note(what, self._stores.cache_file, record.slot, mend=Mend.SNAPSHOT)

    def _look_beyond(self, cache: Cache) -> None:
        try:
            newest = cache.latest(self.process, None, with_snapshot=False)
        except CacheError as error:
            self._refused(error, -1)
            return
        if newest is None or self._broken:
            return
        head = self._scheduler.head(self.process)  # asked after the cache: a node may be writing
        end = head.slot if head else -1
        if newest.slot > end:
            what = "results are stored of slots that the schedule, an older copy it seems, does not have"
            found = Finding(what, self._stores.cache_file, self.process, end + 1, newest.slot, mend=Mend.DROP)
            self._found.append(found)

    def _stale(self, what: str, slot: int, cure: Mend = Mend.COMPUTE) -> None:
        is_whole_below = all(slot < broken for broken in self._broken)
        mend = cure if self._usable and is_whole_below else None
        todo = "it is passed over; it cannot be computed again before the rest is mended"
        self._note(what, self._stores.cache_file, slot, mend=mend, todo="" if mend else todo)

    def _note(self, what: str, file: str, slot: int | None = None, *, mend: Mend | None = None, todo: str = "") -> None:
        self._found.append(Finding(what, file, self.process, slot, slot, mend, todo))

    def _taken(self) -> list[Finding]:
        taken, self._found = self._found, []
        return taken


def images_of(definition: Definition, registry: Registry) -> Iterator[str]:
    """Yield the ids of the bytes that the stages of a definition name."""
    plain = definition.message.plain()
    pending: list[Any] = [{"device": definition.execution}]
    while pending:
        device, table = entry_of(pending.pop())
        factory = registry.factory("stages", device)
        options = options_of(factory, table, plain)
        names = [getattr(options, field.name) for _, field in blobs_named(factory)]
        yield from (str(name) for name in names if name and is_id(str(name)))
        pending += getattr(options, "device_stack", ())


def links_in(content: bytes) -> list[bytes]:
    """Return the digests of the parts that the bytes of a state, or of a part, name."""
    found: list[bytes] = []

    def note(tag: Any, immutable: bool) -> Any:
        if tag.tag == LINK_TAG:
            found.append(tag.value)
        elif tag.tag != BRANCH_TAG:
            raise ValueError(f"tag {tag.tag} has no meaning here")
        return None

    loads(content, limit=len(content), tag_hook=note, depth=MAX_DEPTH + INLINE_LIMIT)
    return found
