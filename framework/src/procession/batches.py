"""Batches: results on their way to the cache, committed together.

Rules
-----
* A node of a state is written once; it counts as saved only after the commit that holds it.
* A slot that is stored already is compared, not written again; one that differs is a divergence.
* Snapshots are packed on a thread beside the slots that follow, and committed together with the results.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeAlias

import attrs

from procession.errors import CacheError, ComputeError, Fact, SnapshotError
from procession.executors import ACCEPT, Executor, Services, check_chain_of
from procession.hands import beside
from procession.ids import to_id
from procession.messages import EMPTY, Message, same
from procession.results import Batch, Record, Result
from procession.roles import Live, Point, Snapshotter
from procession.schedules import Assignment
from procession.stored import unsaved_nodes
from procession.tries import Node

SLOTS = 256
BYTES = 8 << 20
SECONDS = 0.25
PACKING = 8  # snapshots of a batch
KEPT_ALWAYS = ("results", "at-slot", "process", "device", "initialized", "halted")

Packing: TypeAlias = "Future[tuple[bytes, Point]]"  # a live root and the point of its parts


class Pending:
    """Collect the records of one commit."""

    def __init__(self, services: Services, horizon: int, empty: Point, *, rewrite: bool = False) -> None:
        self._services = services
        self._mark = object()  # of the nodes in here, until the store has acknowledged them
        self._saved = (self._mark,) if rewrite else (self._mark, services.cache)
        self._horizon = horizon  # slots up to here may be stored already
        self._empty = empty  # the point of a stage that keeps everything in the state
        self._packing: list[tuple[int, Executor, Packing]] = []  # with the places of their records
        self._records: list[Record] = []
        self._watched: list[tuple[str, dict[str, Any]]] = []  # what those who watch are told after the commit
        self._nodes: list[Node] = []
        self._blobs: dict[bytes, bytes] = {}
        self._size = 0
        self._since = time.monotonic()

    @property
    def full(self) -> bool:
        """Tell whether the batch ends here: by count, bytes or time."""
        if len(self._records) >= SLOTS or self._size >= BYTES or len(self._packing) >= PACKING:
            return True
        return time.monotonic() - self._since > SECONDS

    def add(self, executor: Executor, assignment: Assignment, result: Result) -> None:
        """Add a result, with a snapshot when one is due.

        Raises ComputeError (kind ``divergence``), unless the state below was accepted from other devices.
        """
        at, may_be = assignment.slot, assignment.slot <= self._horizon
        stored = read_record(self._services, assignment.process, at, assignment) if may_be else None
        if stored is not None and stored.state_digest != result.state.digest:
            what = "computing on gives another state than other devices did; the stored result stands"
            if executor.accepted and self._services.accepts(stored.process, stored.slot, what):
                return
            raise divergence(stored, result.state, self._services.foreign.get(stored.process, -1))
        due = executor.due(self._services.cadence)
        if stored is None:
            self._watched.append(("procession_computed", {"process": executor.process.id, "result": result}))
        if stored is None or (due and stored.snapshot is None):
            self.put(executor, assignment, due=due)

    def put(self, executor: Executor, assignment: Assignment, *, due: bool) -> None:
        """Add the record of the slot that an executor stands on."""
        keep, live = self._services.keep, executor.stage.live
        complete = due or keep is None
        state = executor.state if complete else only(executor.state, (*KEPT_ALWAYS, *(keep or ())))
        self._take(state)
        self._records.append(
            Record(  # by place: half the time
                executor.process.id,
                executor.at,
                assignment.message_id,
                assignment.chain,
                state.encoded,
                executor.state.digest,
                complete,
                executor.process.fingerprint,
                b"",
                self._whole(executor) if complete and not live else None,
            )
        )
        if due and live and "initialized" in executor.state:
            self._pack(executor)

    def commit(self) -> None:
        """Write everything at once, if this may write, then tell those who watch."""
        if not self._records or self._services.read_only:
            return
        for each in self._packing:
            self._finish(*each)
        try:
            with self._services.pulse.write("results"):
                self._services.cache.put(Batch(tuple(self._records), self._blobs))
        except Exception as error:
            last = self._records[-1]
            facts: dict[str, Fact] = {"process": last.process, "slot": last.slot, "phase": "commit"}
            raise CacheError.of(error, f"process {last.process}, slot {last.slot}", facts, "the cache") from error
        for node in self._nodes:
            node.saved_in = self._services.cache
        for hook, facts in self._watched:
            self._services.watch(hook, **facts)

    def _take(self, state: Message) -> None:
        self._size += len(state.encoded)
        for node in unsaved_nodes(state, self._saved):
            node.saved_in = self._mark
            self._nodes.append(node)
            if node.linked:
                self._blobs[node.digest] = node.encoded
                self._size += len(node.encoded)

    def _whole(self, executor: Executor) -> bytes:
        executor.spent, executor.snapshot_at = 0.0, executor.at
        self._blobs[self._empty.digests[-1]] = self._empty.content
        return b"".join(self._empty.digests)

    def _pack(self, executor: Executor) -> None:
        """Have the live parts packed beside the slots that follow."""
        earlier = self._packing[-1][2] if self._packing else None
        executor.spent = 0.0  # also where it fails: not again at every slot
        try:
            if (live := executor.stage.snapshot()) is None:
                return
            work = partial(_packed, self._services.snapshotter, executor, live, earlier)
            packing: Packing = beside("procession packer", work)
        except Exception as error:  # noqa: BLE001 # the plugin boundary: told where the record is finished
            packing = Future()
            packing.set_exception(error)
        self._packing.append((len(self._records) - 1, executor, packing))

    def _finish(self, place: int, executor: Executor, packing: Packing) -> None:
        """Let a record have its snapshot; what cannot be had is reported, and the result stands without."""
        record = self._records[place]
        try:
            root, point = packing.result()
        except Exception as error:  # noqa: BLE001 # the plugin boundary: a snapshot is never worth a result
            trouble = SnapshotError.of(error, "", {"phase": "snapshot"}, "the snapshotter")
            return self._services.report(record.process, record.slot, trouble)
        facts = {"process": record.process, "slot": record.slot, "size": len(point.content)}
        self._watched.append(("procession_snapshotted", facts))
        self._blobs[point.digests[-1]] = point.content
        self._records[place] = attrs.evolve(record, live_root=root, snapshot=b"".join(point.digests))
        executor.snapshot_at = record.slot


def _packed(snapshotter: Snapshotter, executor: Executor, live: Live, earlier: Packing | None) -> tuple[bytes, Point]:
    if earlier is not None:
        earlier.exception()  # each leans on the one before
    executor.point = snapshotter.pack(live.parts, executor.process.fingerprint, executor.point)
    return live.root, executor.point


def read_record(services: Services, process: str, slot: int, assignment: Assignment | None = None) -> Record | None:
    """Return the stored record of a slot; one that is damaged, or of another schedule, is reported and missing."""
    try:
        record = services.cache.get(process, slot)
        if record is not None:
            check_chain_of(services, record, assignment)
    except CacheError as error:
        services.report(process, slot, error)
        return None
    return record


def only(state: Message, keys: tuple[str, ...]) -> Message:
    """Return a message with some keys of another."""
    return Message({key: state[key] for key in keys if key in state})


def divergence(stored: Record, state: Message, point: int = -1) -> ComputeError:
    """Return the error of a recomputation that differs from what is stored.

    ``point`` is a slot whose state other devices made, from which the process could go on.
    """
    process, slot = stored.process, stored.slot
    return ComputeError(
        f"recomputing gives another state: stored {to_id(stored.state_digest)}, now {state.id}",
        where=f"process {process}, slot {slot}",
        remedy="the stored result stands; `procession replay` names the first key that differs"
        + (f"; put back the devices that made it, or {ACCEPT.format(point)}" if point >= slot else ""),
        kind="divergence",
        facts={"process": process, "slot": slot, "phase": "compute"},
    )


def first_difference(one: Message, other: Message) -> str:
    """Return the path of the first key, in canonical order, whose values differ; "" where none does."""
    for key in Message(dict.fromkeys((*one, *other))):
        left, right = one.get(key, EMPTY), other.get(key, EMPTY)
        if key in one and key in other and same(left, right):
            continue
        below = first_difference(left, right) if isinstance(left, Message) and isinstance(right, Message) else ""
        return f"{key}/{below}" if below else key
    return ""
