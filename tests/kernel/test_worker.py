"""The worker: batches, the live state, slots of the past, damage and its cure, deadlines and interrupts."""

from __future__ import annotations

import math
import threading
import tracemalloc
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import pytest

from kernel.devices import COUNTING, TAPING, Act, Tape, Watcher, count, kernel_of
from procession import ComputeError, Factory, Kernel, Message, Process, Result, ScheduleError, hookimpl
from procession.batches import SLOTS
from procession.errors import CacheError, ProcessionError, RequestError, SnapshotError
from procession.hands import begin
from procession.ids import from_id
from procession.intake import submission_of
from procession.results import Batch, Record
from procession.roles import Fail, Live, Ok, Part, Point, Verdict
from procession.schedules import Assignment, Head, Tick, next_assignment
from procession.stored import Source, message_of, unsaved_nodes
from procession.testing.fakes import MemoryCache, MemoryHost, MemorySnapshotter
from procession.tries import Node
from procession.worker import Worker

BIG = "x" * 300  # makes a part that is stored by itself


class Vault(MemoryCache):
    """Keep results in memory, until a test lets something go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[Batch] = []
        self.refuse: Callable[[Batch], bool] = lambda batch: False
        self.damaged: set[int] = set()

    def put(self, batch: Batch) -> None:
        """Keep a batch, or fail with none of it kept."""
        if self.refuse(batch):
            raise CacheError("no space left", where="vault", kind="full")
        self.puts.append(batch)
        self.damaged -= {record.slot for record in batch.records}
        super().put(batch)

    def get(self, process: str, slot: int) -> Record | None:
        """Return a record, or say that it is damaged."""
        if slot in self.damaged:
            raise CacheError(f"record {slot} fails its hash", where="vault", kind="damaged")
        return super().get(process, slot)

    def latest(self, process: str, at_or_below: int | None, *, with_snapshot: bool) -> Record | None:
        """Return the newest sound record."""
        found = super().latest(process, at_or_below, with_snapshot=with_snapshot)
        while found and found.slot in self.damaged:
            found = super().latest(process, found.slot - 1, with_snapshot=with_snapshot) if found.slot else None
        return found

    def record(self, slot: int) -> Record:
        """Return the record of a slot, of the only process."""
        (found,) = (record for (_, at), record in self.records.items() if at == slot)
        return found


class Shop:
    """Hold a host in memory, a watcher, and what the stages of its kernels did."""

    def __init__(self, folder: Path, text: str, fold: Any = count, kind: type | None = None) -> None:
        self.folder = folder
        self.text = text
        self.fold = fold
        self.kind = kind
        self.host = MemoryHost()
        self.host.cache = self.vault = Vault()
        self.watcher = Watcher()
        self.built: list[Any] = []
        self.steps: list[int] = []
        self.kernels: list[Kernel] = []

    def open(self, text: str | None = None, **options: Any) -> Process:
        """Open a kernel, again for a restart, and spawn the process."""
        self.close()
        device = "tape@1.0" if self.kind else "count@1.0"
        stages = {device: Factory(self.build, fingerprint=options.pop("fingerprint", {}))}
        kernel = kernel_of(self.folder, stages, text or self.text, host=self.host, plugins=[self.watcher], **options)
        self.kernels.append(kernel)
        self.built.clear()
        process = kernel.process(kernel.definition.id) if options.get("read_only") else kernel.spawn()
        self.built.clear()
        self.steps.clear()
        return process

    def build(self, options: object, binding: Any) -> Any:
        """Build a stage that notes the slots it computes."""
        stage = self.kind() if self.kind else Act(self.fold)
        compute = stage.compute

        def noting(state: Message, assignment: Assignment, n: int) -> Verdict:
            self.steps.append(assignment.slot)
            return compute(state, assignment, n)

        stage.compute = noting
        self.built.append(stage)
        return stage

    def close(self) -> None:
        """Close the kernel."""
        while self.kernels:
            self.kernels.pop().close()


Opened = Callable[..., Shop]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Opened]:
    """Return what opens shops, and close them."""
    made: list[Shop] = []

    def opened(text: str = COUNTING, fold: Any = count, kind: type | None = None) -> Shop:
        made.append(Shop(tmp_path, text, fold, kind))
        return made[-1]

    yield opened
    for one in made:
        one.close()


def filled(process: Process, slots: int, **rows: Any) -> Process:
    """Return a process with so many messages behind its definition."""
    process.schedule_many([{"n": n, **rows} for n in range(1, slots + 1)])
    return process


def all_but(name: str) -> Callable[[str, Callable[[], object]], bool]:
    """Return what begins threads of every name but one."""
    return lambda asked, work: asked != name and begin(asked, work)


TAPES = TAPING
KEEPING = COUNTING + 'cache-keys = ["count"]\n'
NEVER = '[host.snapshots]\nreplay-budget = "1h"\n'
EVERY = "[host.snapshots]\nevery = {}\nreplay-budget = '1h'\n"


# -- batches


def test_results_are_committed_in_batches(shop: Opened) -> None:
    """A long run is committed in a few batches, each slot once, and the last when the run ends."""
    one = shop()
    filled(one.open(), 2 * SLOTS).now()
    slots = [record.slot for batch in one.vault.puts for record in batch.records]
    assert list(range(2 * SLOTS + 1)) == slots
    assert all(len(batch.records) <= SLOTS for batch in one.vault.puts)


def test_nobody_is_told_before_the_commit(shop: Opened) -> None:
    """When a result is told to those who watch, its record is there."""
    one = shop()
    there: list[bool] = []

    class Looking(Watcher):
        @hookimpl
        def procession_computed(self, process: str, result: Result) -> None:
            there.append((process, result.slot) in one.vault.records)

    one.watcher = Looking()
    filled(one.open(), 3).now()
    assert [True] * 4 == there


def test_a_failed_commit_is_seen_by_nobody(shop: Opened) -> None:
    """Where the cache fails, the caller alone gets the error, the live state goes, and a retry computes again."""
    one = shop()
    process = filled(one.open(), 3)
    one.vault.refuse = lambda batch: True
    with pytest.raises(CacheError, match="no space left"):
        process.now()
    assert [] == one.watcher.slots
    assert ["full"] == one.watcher.kinds
    assert {} == one.vault.records
    assert [1] == [stage.closed for stage in one.built]
    one.vault.refuse = lambda batch: False
    assert 4 == process.now()["count"]
    assert [0, 1, 2, 3] * 2 == one.steps
    assert [0, 1, 2, 3] == one.watcher.slots


def test_batches_before_a_failed_one_stand(shop: Opened) -> None:
    """A commit that fails takes its own batch alone; what was committed before is the point to go on from."""
    one = shop()
    process = filled(one.open(), SLOTS + 10)
    one.vault.refuse = lambda batch: batch.records[0].slot >= SLOTS
    with pytest.raises(CacheError):
        process.now()
    stored = len(one.vault.records)
    assert stored >= SLOTS
    assert stored == len(one.watcher.slots)
    one.vault.refuse = lambda batch: False
    one.steps.clear()
    assert SLOTS + 11 == process.now()["count"]
    assert list(range(stored, SLOTS + 11)) == one.steps


def test_a_slot_costs_what_it_changed(shop: Opened) -> None:
    """In a state with a large table a slot writes the path to its row, also within one batch."""

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        if assignment.slot == 0:
            return Ok(state.put("table", {f"row-{n}": n for n in range(5000)}))
        return Ok(state.put(f"table/row-{assignment.slot}", -1))

    one = shop(fold=fold)
    process = filled(one.open(), 100)
    process.now()
    blobs = sum(len(batch.blobs) for batch in one.vault.puts)
    assert blobs < 500 + 100 * 5
    process = one.open()
    process.schedule({})
    one.vault.puts.clear()
    process.now()
    assert sum(len(batch.blobs) for batch in one.vault.puts) <= 6


def test_a_batch_looks_at_each_node_once(shop: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier slot of a batch will write is not looked at again for the later ones."""
    seen: list[Node] = []

    def looking(root: Node, saved: Container[object]) -> Iterator[Node]:
        for node in unsaved_nodes(root, saved):
            seen.append(node)
            yield node

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Ok(state.put("table", {f"{n}": n for n in range(2000)}) if assignment.slot == 0 else state)

    monkeypatch.setattr("procession.batches.unsaved_nodes", looking)
    one = shop(fold=fold)
    filled(one.open(), 50).now()
    assert len(seen) == len({id(node) for node in seen}) < 400


# -- the live state, and slots of the past


def test_the_live_state_moves_forward(shop: Opened) -> None:
    """One stage computes slot after slot, each once, whatever the steps in which callers ask."""
    one = shop()
    process = filled(one.open(), 9)
    assert [4, 6, 10] == [process.compute(slot)["count"] for slot in (3, 5, 9)]
    assert list(range(10)) == one.steps
    assert 1 == len(one.built)


def test_stored_slots_are_answered_from_the_store(shop: Opened) -> None:
    """What is stored is not computed again, after a restart neither."""
    one = shop()
    filled(one.open(), 5).now()
    process = one.open()
    assert [1, 2, 3, 4, 5, 6] == [process.compute(slot)["count"] for slot in range(6)]
    assert [] == one.steps == one.built


def test_a_slot_of_the_past_is_computed_apart(shop: Opened) -> None:
    """A past slot that is not stored is replayed by a stage of its own; the live one stays where it is."""
    one = shop(TAPES + NEVER, kind=Tape)
    process = one.open()
    process.schedule_many([{"amount": 1}] * 9)
    process.now()
    for slot in (3, 4):
        del one.vault.records[process.id, slot]
    one.steps.clear()
    one.watcher.computed.clear()
    assert 4 == process.compute(4)["total"]
    assert [0, 1, 2, 3, 4] == one.steps
    assert [3, 4] == one.watcher.slots, "what was missing is stored, and nothing else"
    process.schedule({"amount": 1})
    assert 10 == process.now()["total"]
    assert [0, 1, 2, 3, 4, 10] == one.steps


def test_a_slot_of_the_past_begins_at_a_snapshot(shop: Opened) -> None:
    """The replay of a past slot begins at the newest snapshot at or below it."""
    one = shop(TAPES + EVERY.format(4), kind=Tape)
    process = one.open()
    process.schedule_many([{"amount": 1}] * 11)
    process.now()
    assert [3, 7, 11] == one.watcher.snapshotted
    del one.vault.records[process.id, 9]
    one.steps.clear()
    assert 9 == process.compute(9)["total"]
    assert [8, 9] == one.steps


def test_a_restart_goes_on_from_the_newest_snapshot(shop: Opened) -> None:
    """After a restart, live stages are restored and only what follows is computed, to the same bytes."""
    one = shop(TAPES + NEVER, kind=Tape)
    process = one.open()
    process.schedule_many([{"amount": 1}] * 9)
    process.now()
    process = one.open()  # closing took a snapshot of slot 9
    assert [9] == one.watcher.snapshotted
    process.schedule({"amount": 5})
    state = process.now()
    assert [10] == one.steps
    assert 14 == state["total"]
    assert all(found.agrees for found in process.replay())


def test_pure_stages_need_no_snapshot(shop: Opened) -> None:
    """Where nothing lives outside of the state, every stored slot is a point to go on from."""
    one = shop(COUNTING + NEVER)
    filled(one.open(), 5).now()
    process = filled(one.open(), 1)
    assert 7 == process.now()["count"]
    assert [6] == one.steps
    assert [] == one.watcher.snapshotted


@pytest.mark.parametrize(("budget", "slots"), [("0s", list(range(6))), ("1h", [5])])
def test_snapshots_follow_the_replay_budget(shop: Opened, budget: str, slots: list[int]) -> None:
    """With no budget every slot is a snapshot; with a large one only closing is."""
    one = shop(TAPES + f'[host.snapshots]\nreplay-budget = "{budget}"\n', kind=Tape)
    filled(one.open(), 5).now()
    one.close()
    assert slots == one.watcher.snapshotted


def test_a_slot_zero_that_fails_has_no_snapshot(shop: Opened) -> None:
    """Live parts that were never initialised are not snapshotted, and a restart begins anew."""

    class Shy(Tape):
        def init(self, state: Message, genesis: Assignment) -> Verdict:
            return Fail("refused", "not yet") if genesis.slot < 2 else super().init(state, genesis)

    one = shop(TAPES + EVERY.format(1), kind=Shy)
    process = one.open()
    process.schedule({"amount": 1})
    process.now()
    assert [] == one.watcher.snapshotted
    process = one.open()
    process.schedule_many([{"amount": 1}, {"amount": 1}])
    assert 2 == process.now()["total"]
    assert [2, 3] == one.watcher.snapshotted


# -- keeping some keys


@pytest.mark.parametrize("text", [KEEPING, COUNTING + '[host.cache]\nkeep = ["count"]\n'])
def test_only_some_keys_are_kept(shop: Opened, text: str) -> None:
    """With a list of keys, these and results are kept of each slot; the whole state is recomputed, and is the same."""
    whole = filled(shop(KEEPING + '[host.cache]\nkeep = "all"\n').open(), 6)
    expected = [whole.compute(slot) for slot in range(7)]
    whole.kernel.close()
    one = shop(text + NEVER)
    process = filled(one.open(), 6)
    process.now()
    record = one.vault.record(3)
    assert (False, None) == (record.complete, record.snapshot)
    assert {"count", "results", "at-slot", "process", "device", "initialized"} == set(Message.of_rows(decoded(record)))
    one.steps.clear()
    found = [process.compute(slot) for slot in range(7)]
    assert [state.without("cache-keys", "process") for state in expected] == [
        state.without("cache-keys", "process") for state in found
    ]
    assert one.steps


def decoded(record: Record) -> Any:
    """Return the rows of a record."""
    return message_of(record.state, Source(lambda digest: b"", None)).table


@pytest.mark.parametrize("key", ["count", "results", "at-slot", "process", "device", "halted"])
def test_a_kept_key_is_answered_from_the_record(shop: Opened, key: str) -> None:
    """For a key that is kept nothing is computed again; for another one it is."""
    one = shop(KEEPING + NEVER)
    process = filled(one.open(), 3)
    process.now()
    one.steps.clear()
    process.kernel.compute(process.id, 2, key=key)
    assert [] == one.steps
    process.kernel.compute(process.id, 2, key="name")
    assert [0, 1, 2] == one.steps


def test_what_is_kept_is_in_no_answer(shop: Opened) -> None:
    """A recomputed whole state has the id that its record promised."""
    one = shop(KEEPING + NEVER)
    process = filled(one.open(), 3)
    process.now()
    promised = one.vault.record(2).state_digest
    assert promised == process.compute(2).digest
    assert all(found.agrees for found in process.replay())


# -- damage


def test_a_damaged_record_is_healed(shop: Opened) -> None:
    """A record that fails its hash is reported and recomputed to the same bytes."""
    one = shop()
    process = filled(one.open(), 3)
    before = process.compute(2).id
    one.vault.damaged = {2}
    assert before == process.compute(2).id
    assert {"damaged"} == set(one.watcher.kinds)
    assert set() == one.vault.damaged
    one.watcher.failed.clear()
    assert before == process.compute(2).id
    assert [] == one.watcher.failed


@pytest.mark.parametrize("fault", ["missing", "damaged"])
@pytest.mark.parametrize("part", ["big", "process"])
def test_a_damaged_part_is_healed(shop: Opened, part: str, fault: str) -> None:
    """A part of a state that is missing or damaged is rebuilt from the schedule, the definition's own parts too."""

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Ok(state.put("big", {"data": f"{assignment.slot}{BIG}"}))

    one = shop(COUNTING + f'description = "{BIG}"\n', fold=fold)
    process = filled(one.open(), 3)
    digest = process.now()[part].digest
    assert digest in one.vault.blobs
    one.vault.blobs[digest] = b"other"
    if fault == "missing":
        del one.vault.blobs[digest]
    state = process.compute(3)
    assert [] == one.watcher.kinds, "nothing is read before it is looked into"
    expected = f"3{BIG}" if part == "big" else "count"
    assert expected == state[part]["data" if part == "big" else "name"]
    assert [fault] == one.watcher.kinds
    assert sha256(one.vault.blobs[digest]).digest() == digest


@pytest.mark.parametrize("fault", ["lost", "flipped", "cut", "empty", "foreign", "swapped"])
def test_a_damaged_snapshot_is_passed_over(shop: Opened, fault: str) -> None:
    """A snapshot that is lost, damaged or of others is reported; an older one and the schedule give the same."""
    one = shop(TAPES + EVERY.format(3), kind=Tape)
    process = one.open()
    process.schedule_many([{"amount": n} for n in range(1, 8)])
    expected = process.now().id
    one.close()
    newest, older = one.vault.record(7), one.vault.record(5)
    assert newest.snapshot
    assert older.snapshot
    blob = one.vault.blobs[newest.snapshot]
    snapshotter = SnapshotBytes(one.host)
    changed = {
        "lost": None,
        "flipped": blob[:-40] + bytes([blob[-40] ^ 1]) + blob[-39:],
        "cut": blob[:-1],
        "empty": b"",
        "foreign": snapshotter.pack({"1/total": b"28"}, "another"),
        "swapped": one.vault.blobs[older.snapshot],
    }[fault]
    del one.vault.records[process.id, 7], one.vault.records[process.id, 6]
    evolved = attrs.evolve(older, snapshot=sha256(changed).digest() if changed is not None else bytes(32))
    if changed is not None:
        one.vault.blobs[sha256(changed).digest()] = changed
    if fault == "swapped":
        evolved = attrs.evolve(older, live_root=bytes(32))
    one.vault.records[process.id, 5] = evolved
    process = one.open()
    assert expected == process.now().id
    assert 1 == len(one.watcher.kinds)
    assert "passed over" in one.watcher.failed[0].text
    assert one.steps == [3, 4, 5, 6, 7]


class SnapshotBytes:
    """Pack snapshots as the host of these tests does."""

    def __init__(self, host: MemoryHost) -> None:
        self.factory = host.procession_snapshotters()["zstd@1.0"]

    def pack(self, parts: Mapping[str, bytes], fingerprint: str) -> bytes:
        """Return the bytes of a snapshot."""
        packed: Point = self.factory.build(None, None).pack(parts, fingerprint)
        return packed.content


def test_a_restore_that_raises_is_passed_over(shop: Opened) -> None:
    """A device that chokes on its snapshot is reported and replayed from the start."""

    class Choking(Tape):
        def restore(self, parts: Mapping[str, bytes], state: Message) -> None:
            raise KeyError("total")

    one = shop(TAPES + EVERY.format(2), kind=Choking)
    process = one.open()
    process.schedule_many([{"amount": 1}] * 3)
    process.now()
    process = one.open()
    process.schedule({"amount": 1})
    assert 4 == process.now()["total"]
    assert list(range(5)) == one.steps
    assert {"device-raised"} == set(one.watcher.kinds)


def test_a_snapshot_that_fails_costs_no_result(shop: Opened) -> None:
    """A stage that cannot give its live parts is reported; its results are stored all the same."""

    class Mute(Tape):
        def snapshot(self) -> Live | None:
            raise ValueError("no memory")

    one = shop(TAPES + EVERY.format(2), kind=Mute)
    process = one.open()
    process.schedule_many([{"amount": 1}] * 3)
    assert 3 == process.now()["total"]
    assert [0, 1, 2, 3] == one.watcher.slots
    assert [SnapshotError] * 2 == [type(error) for error in one.watcher.failed]


def test_a_snapshot_that_cannot_be_packed_costs_no_result(shop: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live parts beyond the limit of the host's snapshots are reported with their place; the results are stored."""
    one = shop(TAPES + EVERY.format(2), kind=Tape)
    process = one.open()
    whole = MemorySnapshotter.pack

    def refusing(packer: MemorySnapshotter, parts: Mapping[str, bytes], fingerprint: str, *before: Any) -> Point:
        if parts:
            raise SnapshotError("holds too much", kind="too-large")
        return whole(packer, parts, fingerprint, *before)

    monkeypatch.setattr(MemorySnapshotter, "pack", refusing)
    process.schedule_many([{"amount": 1}] * 3)
    assert 3 == process.now()["total"]
    assert [0, 1, 2, 3] == one.watcher.slots
    told = [(error.kind, error.facts["process"], error.facts["slot"]) for error in one.watcher.failed]
    assert [("too-large", process.id, 1), ("too-large", process.id, 3)] == told


def test_a_process_that_is_stored_and_not_live_is_snapshotted(shop: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill behind the last slot there is nothing to compute, and still something to snapshot."""
    one = shop(TAPES + NEVER, kind=Tape)
    filled(one.open(), 3, amount=1).now()
    with monkeypatch.context() as killed:
        killed.setattr(Worker, "snapshot", lambda worker: None)  # as a kill leaves it
        process = one.open()
    told = process.kernel.snapshot(process.id)
    assert (3, True) == (told["slot"], told["live-root"] is not None)
    assert process.now().id == told["state"]


@pytest.mark.parametrize("beside", [True, False])
def test_slots_are_computed_while_a_snapshot_is_packed(
    shop: Opened, monkeypatch: pytest.MonkeyPatch, *, beside: bool
) -> None:
    """Packing waits for a slot that comes behind it, which only comes where packing is done beside the slots."""
    monkeypatch.setattr("procession.hands.begin", begin if beside else all_but("procession packer"))
    one = shop(TAPES + EVERY.format(2), kind=Tape)
    process = one.open()
    pack, fourth = MemorySnapshotter.pack, threading.Event()
    came: list[bool] = []

    def patient(self: MemorySnapshotter, parts: Mapping[str, Part], fingerprint: str, *before: Any) -> Point:
        if parts:
            came.append(fourth.wait(30 if beside else 0.2))
        return pack(self, parts, fingerprint, *before)

    def computing(tape: Tape, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        if assignment.slot == 4:
            fourth.set()
        return compute(tape, state, assignment, pass_number)

    compute = Tape.compute
    monkeypatch.setattr(MemorySnapshotter, "pack", patient)
    monkeypatch.setattr(Tape, "compute", computing)
    process.schedule_many([{"amount": 1}] * 5)
    assert 5 == process.now()["total"]
    assert beside == all(came[:2])
    assert [1, 3, 5] == one.watcher.snapshotted


@pytest.mark.parametrize("beside", [True, False])
def test_a_stage_is_built_while_its_snapshot_is_unpacked(
    shop: Opened, monkeypatch: pytest.MonkeyPatch, *, beside: bool
) -> None:
    """Unpacking waits for a stage, which only comes where it is built beside; a host without threads does both."""
    one = shop(TAPES + EVERY.format(2), kind=Tape)
    filled(one.open(), 3, amount=1).now()
    process = one.open()
    unpack, begun, came = MemorySnapshotter.unpack, Tape.__init__, threading.Event()
    waited: list[bool] = []

    def patient(self: MemorySnapshotter, blobs: Sequence[bytes], fingerprint: str) -> Point:
        waited.append(came.wait(30 if beside else 0.2))
        return unpack(self, blobs, fingerprint)

    def coming(tape: Tape, options: object = None, binding: object = None) -> None:
        came.set()
        begun(tape, options, binding)

    monkeypatch.setattr("procession.hands.begin", begin if beside else all_but("procession unpacking"))
    monkeypatch.setattr(MemorySnapshotter, "unpack", patient)
    monkeypatch.setattr(Tape, "__init__", coming)
    process.schedule({"amount": 1})
    assert 4 == process.now()["total"]
    assert ([beside], [4]) == (waited, one.steps)


def test_snapshots_are_unpacked_one_at_a_time(shop: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no stage can be built, an older snapshot is not begun with before the newer one is unpacked."""
    one = shop(TAPES + EVERY.format(2), kind=Tape)
    filled(one.open(), 9, amount=1).now()
    process = one.open()
    unpack, lock, at_once = MemorySnapshotter.unpack, threading.Lock(), list[bool]()

    def alone(self: MemorySnapshotter, blobs: Sequence[bytes], fingerprint: str) -> Point:
        at_once.append(not lock.acquire(blocking=False))
        try:
            threading.Event().wait(0.05)  # as long as another one needs to begin
            return unpack(self, blobs, fingerprint)
        finally:
            lock.release()

    def missing(tape: Tape, options: object = None, binding: object = None) -> None:
        raise RequestError("not here", kind="missing-blob")

    monkeypatch.setattr(MemorySnapshotter, "unpack", alone)
    monkeypatch.setattr(Tape, "__init__", missing)
    process.schedule({"amount": 1})
    with pytest.raises(ProcessionError, match="not here"):
        process.now()
    assert len(at_once) > 2
    assert not any(at_once)


def test_a_stage_whose_snapshot_does_not_unpack_is_closed(shop: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was built beside the unpacking is let go of where that fails, whatever it raises."""
    one = shop(TAPES + EVERY.format(2), kind=Tape)
    filled(one.open(), 3, amount=1).now()
    process = one.open()
    closed: list[Tape] = []

    def closing(tape: Tape) -> None:
        closed.append(tape)

    def torn(self: MemorySnapshotter, blobs: Sequence[bytes], fingerprint: str) -> Point:
        raise SnapshotError("torn", kind="damaged")

    monkeypatch.setattr(Tape, "close", closing)
    monkeypatch.setattr(MemorySnapshotter, "unpack", torn)
    process.schedule({"amount": 1})
    assert 4 == process.now()["total"]
    assert one.built[: len(closed)] == closed
    assert len(one.built) - 1 == len(closed) >= 1


# -- other versions, other answers


@pytest.mark.parametrize("text", [COUNTING + NEVER, TAPES + EVERY.format(2)])
def test_another_version_recomputes(shop: Opened, text: str) -> None:
    """Under another fingerprint stored results stand, nothing is restored, and the bytes are the same."""
    one = shop(text, kind=Tape if "tape" in text else None)
    process = filled(one.open(fingerprint={"engine": "1"}), 9, amount=1)
    before = process.now().id
    process = one.open(fingerprint={"engine": "2"})
    one.watcher.failed.clear()
    assert before == process.compute(9).id
    assert [] == one.steps
    process.schedule({"amount": 1})
    process.now()
    assert list(range(11)) == one.steps
    assert ["foreign-snapshot"] == one.watcher.kinds
    assert all(found.agrees for found in process.replay())
    process = one.open(fingerprint={"engine": "1"})
    process.schedule({"amount": 1})
    process.now()
    assert one.steps in ([10, 11], list(range(10, 12)))


def test_a_divergence_is_reported_and_the_stored_result_stands(shop: Opened) -> None:
    """A recomputation that differs is an error that names the slot; the store is left as it was, and is still read."""
    answers = iter([1, 1, 1, 2, 2])

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Ok(state.put("x", next(answers)))

    one = shop(COUNTING + NEVER, fold=fold)
    process = filled(one.open(fingerprint={"engine": "1"}), 2)
    before = process.now().id
    process = one.open(fingerprint={"engine": "2"})
    one.watcher.failed.clear()
    process.schedule({})
    with pytest.raises(ComputeError, match="recomputing gives another state") as caught:
        process.now()
    assert ("divergence", 0) == (caught.value.kind, caught.value.facts["slot"])
    assert ["foreign-snapshot", "divergence"] == one.watcher.kinds
    assert before == process.compute(2).id
    assert None is one.vault.get(process.id, 3)


def test_a_replay_names_what_differs(shop: Opened) -> None:
    """Recomputing from slot 0 tells each slot, and of one that differs the first key."""
    values = iter([0, 1, 2, 0, 9, 2])

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Ok(state.put("deep", {"a": 1, "b": next(values), "c": assignment.slot}))

    one = shop(fold=fold)
    process = filled(one.open(), 2)
    process.now()
    told = [(found.slot, found.agrees, found.key) for found in process.replay()]
    assert [(0, True, ""), (1, False, "deep/b"), (2, True, "")] == told


def test_a_replay_tells_what_is_not_stored(shop: Opened) -> None:
    """A slot without a record does not agree, and no key is blamed."""
    process = filled(shop().open(), 2)
    process.compute(1)
    assert [(True, ""), (True, ""), (False, "")] == [(found.agrees, found.key) for found in process.replay()]


def test_a_replay_compares_live_roots(shop: Opened) -> None:
    """Live parts that differ are told although the states agree."""

    class Drifting(Tape):
        def snapshot(self) -> Live | None:
            live = super().snapshot()
            assert live
            return Live(live.parts, sha256(str(next(roots)).encode()).digest())

    roots = iter(range(100))
    one = shop(TAPES + EVERY.format(2), kind=Drifting)
    process = filled(one.open(), 3, amount=1)
    process.now()
    assert ["", "live root", "", "live root"] == [found.key for found in process.replay()]


# -- stages that fail this host


def test_a_stage_that_raises_leaves_the_slot_uncomputed(shop: Opened) -> None:
    """An exception is told with its place, stored nowhere and watched; earlier slots stay, and a retry may succeed."""
    faults = iter([True])

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        if assignment.slot == 3 and next(faults, False):
            raise OSError(28, "no space")
        return count(state, assignment, n)

    one = shop(fold=fold)
    process = filled(one.open(), 5)
    process.compute(2)
    with pytest.raises(ComputeError, match=r"slot 3, stage 1, count@1\.0") as caught:
        process.now()
    assert 3 == caught.value.facts["slot"]
    assert [0, 1, 2] == one.watcher.slots
    assert ["device-raised"] == one.watcher.kinds
    assert 3 == process.compute(2)["count"]
    assert 1 == one.built[0].closed
    assert 6 == process.now()["count"]
    assert all(found.agrees for found in process.replay())


def test_a_state_that_is_too_deep_fails_its_slot(shop: Opened) -> None:
    """A stage that nests without end fails its slot for this host, whatever it is that gives up first."""

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        inner = Message({})
        for _ in range(assignment.message.get("depth", 0)):
            inner = Message({"in": inner})
        return Ok(state.put("deep", inner))

    one = shop(fold=fold)
    process = one.open()
    process.schedule_many([{}, {"depth": 100_000}])
    process.compute(1)
    with pytest.raises(ComputeError) as caught:
        process.now()
    assert ("too-deep", 2) == (caught.value.kind, caught.value.facts["slot"])
    assert 1 == process.compute(1)["at-slot"]


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, MemoryError, RecursionError, AssertionError])
def test_whatever_a_stage_raises_its_caller_is_told(shop: Opened, raised: type[BaseException]) -> None:
    """Nothing that a stage raises leaves its caller without an answer; what was computed before stands."""
    faults = iter([True])

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        if assignment.slot == 3 and next(faults, False):
            raise raised
        return count(state, assignment, n)

    one = shop(fold=fold)
    process = filled(one.open(), 5)
    process.compute(1)
    with pytest.raises(ComputeError) as caught:
        process.now(timeout=30)
    assert 3 == caught.value.facts["slot"]
    assert [0, 1, 2] == one.watcher.slots
    assert 1 == one.built[0].closed
    assert 6 == process.now()["count"]


def test_an_interrupt_in_the_commit_loses_nothing(shop: Opened) -> None:
    """Whatever ends a commit is told to the caller, and the next call goes on."""
    one = shop()
    process = filled(one.open(), 3)

    def interrupted(batch: Batch) -> bool:
        raise KeyboardInterrupt

    one.vault.refuse = interrupted
    with pytest.raises(ComputeError, match="KeyboardInterrupt"):
        process.now(timeout=30)
    one.vault.refuse = lambda batch: False
    assert [] == one.watcher.slots
    assert 4 == process.now()["count"]


def test_an_interrupted_caller_leaves_the_others_alone(shop: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who is interrupted while it waits goes; the slot is computed all the same."""
    entered, leave = threading.Event(), threading.Event()

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        entered.set()
        leave.wait(30)
        return count(state, assignment, n)

    one = shop(fold=fold)
    process = one.open()
    wait = threading.Event.wait

    def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread() is threading.main_thread() and event not in (entered, leave):
            raise KeyboardInterrupt
        return wait(event, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            process.now()
        assert entered.wait(30)
        leave.set()
    assert 1 == process.now()["count"]
    assert [0] == one.steps


def test_a_stage_that_cannot_close_keeps_no_result_back(shop: Opened) -> None:
    """A past slot is answered although the stage that computed it does not close; that is reported."""

    class Stuck(Tape):
        def close(self) -> None:
            if self.total:
                raise OSError("stuck")

    one = shop(TAPES + NEVER, kind=Stuck)
    process = filled(one.open(), 3, amount=1)
    process.now()
    del one.vault.records[process.id, 1]
    assert 1 == process.compute(1)["total"]
    process.kernel.snapshot(process.id)  # what was computed apart is closed before this
    assert ["device-raised"] == one.watcher.kinds
    assert "stuck" in one.watcher.failed[0].text


@pytest.mark.parametrize(
    ("error", "cls", "kind"),
    [
        (CacheError("no space left", kind="full"), CacheError, "full"),
        (MemoryError(), CacheError, "host-memory"),
        (OSError(5, "Input/output error"), CacheError, "device-raised"),
    ],
)
def test_a_commit_that_fails_names_its_place(shop: Opened, error: Exception, cls: type, kind: str) -> None:
    """What the cache raises over a batch names the process, the batch's last slot and the phase; nothing is told."""
    one = shop()
    process = filled(one.open(), 3)

    def refused(batch: Batch) -> bool:
        raise error

    one.vault.refuse = refused
    with pytest.raises(cls) as caught:
        process.now()
    assert (kind, "commit", process.id, 3) == (
        caught.value.kind,
        *(caught.value.facts[key] for key in ("phase", "process", "slot")),
    )
    assert [] == one.watcher.slots


def test_memory_that_ends_outside_of_a_stage_is_this_hosts(shop: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory for the kernel's own part of a slot nothing is stored, and a retry computes it."""
    one = shop()
    process = filled(one.open(), 3)
    process.compute(1)

    def spent(*given: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr("procession.executors.transition", spent)
        with pytest.raises(ComputeError) as caught:
            process.now()
    assert ("host-memory", 2, "compute") == (caught.value.kind, caught.value.facts["slot"], caught.value.facts["phase"])
    assert [0, 1] == one.watcher.slots
    assert 4 == process.now()["count"]


# -- hand-overs


def test_what_was_just_scheduled_is_not_read_again(shop: Opened) -> None:
    """Small messages go from the scheduler to who computes them; what is large, or one too many, is read."""
    process = filled(shop().open(), 1)
    process.now()
    scheduler = process.kernel._host.scheduler_of(process.id)  # the test counts what is read
    seen: list[int] = []
    read = scheduler.read
    scheduler.read = lambda name, first, last: [seen.append(first), read(name, first, last)][1]
    process.schedule_many([{"n": n} for n in range(SLOTS)])
    assert SLOTS + 2 == process.now()["count"]
    assert [] == seen
    large = process.schedule({"data": "x" * 5000}).slot
    assert large + 1 == process.now()["count"]
    assert [large] == seen
    process.schedule_many([{"n": n} for n in range(300)])
    assert large + 301 == process.now()["count"]
    assert [large, large + 257] == seen


def test_what_is_handed_on_takes_little_memory(shop: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """However hungry the messages are that nobody computes, they hold a bounded part of the memory that they could."""
    process = filled(shop().open(), 1)
    services = process.kernel._line(process.id).worker.services  # the test hands on itself

    def hand_on() -> None:
        offers = [submission_of({"n": n, "maps": [{}] * 4000}, {}) for n in range(3)]
        heads = [Head(n, bytes(32)) for n in range(3)]
        services.hand_on([next_assignment("P", *each, Tick(0)) for each in zip(heads, offers, strict=True)], offers)

    small = held_by(hand_on)
    monkeypatch.setattr("procession.executors.SMALL", 1 << 12)
    assert 10 * small < held_by(hand_on)


def held_by(work: Callable[[], object]) -> int:
    """Return the bytes that stay taken behind something."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


# -- gaps


def test_a_schedule_with_a_hole_is_an_error(shop: Opened) -> None:
    """A slot that the scheduler lost is named, and nothing behind it is computed."""
    one = shop()
    filled(one.open(), 5)
    process = one.open()  # that reads its schedule: nothing was handed on
    scheduler = process.kernel._host.scheduler_of(process.id)  # the test breaks it
    read = scheduler.read
    scheduler.read = lambda name, first, last: [item for item in read(name, first, last) if item.slot != 3]
    with pytest.raises(ScheduleError, match="slot 3: the schedule has no such slot"):
        process.now()
    assert 3 == process.compute(2)["count"]


# -- deadlines and many callers


def test_a_deadline_keeps_what_is_done(shop: Opened) -> None:
    """A caller whose time is over is told so at once; the work goes on, and each slot is computed once."""
    entered, leave = threading.Event(), threading.Event()

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        if assignment.slot == SLOTS + 1:
            entered.set()
            leave.wait(30)
        return count(state, assignment, n)

    one = shop(fold=fold)
    process = filled(one.open(), 3 * SLOTS)
    with pytest.raises(ComputeError, match="the deadline passed") as caught:
        process.now(timeout=0)
    assert ("deadline", process.id) == (caught.value.kind, caught.value.facts["process"])
    assert entered.wait(30)
    with pytest.raises(ComputeError, match=f"slot {SLOTS + 1} is being computed"):
        process.now(timeout=0.01)
    leave.set()
    assert 3 * SLOTS + 1 == process.now()["count"]
    assert list(range(3 * SLOTS + 1)) == one.steps
    assert 1 == len(one.built)
    assert [] == one.watcher.failed


@pytest.mark.parametrize("timeout", [math.inf, 1e300, -1, 0, -math.inf])
def test_any_timeout_is_a_timeout(shop: Opened, timeout: float) -> None:
    """A caller is answered under any deadline, and told at once under one that has passed."""
    process = filled(shop().open(), 2)
    if timeout <= 0:
        with pytest.raises(ComputeError, match="the deadline passed"):
            process.now(timeout=timeout)
    assert 3 == process.now(timeout=max(timeout, 30))["count"]


def test_a_deadline_that_a_device_makes_up_is_its_own_fault(shop: Opened) -> None:
    """A device that raises an error of kind deadline does not keep its half-done state alive."""

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        raise ComputeError("too slow", kind="deadline")

    one = shop(fold=fold)
    process = one.open()
    for _ in range(2):
        with pytest.raises(ComputeError, match="too slow"):
            process.now()
    assert [1, 1] == [stage.closed for stage in one.built]


@pytest.mark.parametrize("text", [COUNTING + NEVER, TAPES + NEVER])
def test_many_callers_of_one_slot_cost_one_computation(
    shop: Opened, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Callers who ask for the same slot at the same time get the same state, and each slot is computed once."""
    callers, everybody = iter(range(16)), threading.Event()
    get = Vault.get

    def counting(vault: Vault, process: str, slot: int) -> Record | None:
        if slot == 50 and next(callers, 15) == 15:
            everybody.set()  # all of them have looked into the store, and found nothing
        return get(vault, process, slot)

    class Waiting(Tape):
        def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
            assert everybody.wait(30)
            return super().compute(state, assignment, pass_number)

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        assert everybody.wait(30)
        return count(state, assignment, n)

    monkeypatch.setattr(Vault, "get", counting)
    one = shop(text, fold=fold, kind=Waiting if "tape" in text else None)
    process = filled(one.open(), 50)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(process.compute(50).id)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 16 == len(found)
    assert 1 == len(set(found))
    assert list(range(51)) == one.steps


def test_a_caller_does_not_wait_longer_than_it_says(shop: Opened) -> None:
    """While another caller computes, one whose time is over is told so, and stored slots are answered at once."""
    entered, leave = threading.Event(), threading.Event()

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        if assignment.slot == 3:
            entered.set()
            leave.wait(30)
        return count(state, assignment, n)

    one = shop(fold=fold)
    process = filled(one.open(), 3)
    process.compute(2)
    thread = threading.Thread(target=process.now)
    thread.start()
    try:
        assert entered.wait(30)
        with pytest.raises(ComputeError, match="slot 3 is being computed") as caught:
            process.compute(3, timeout=0)
        assert "deadline" == caught.value.kind
        assert 2 == process.compute(1, timeout=0)["count"]
    finally:
        leave.set()
        thread.join(30)
    assert 4 == process.compute(3)["count"]


# -- readers


def test_a_reader_computes_and_writes_nothing(shop: Opened) -> None:
    """A kernel opened to read answers slots that are not stored, and leaves the cache as it was."""
    one = shop(TAPES + EVERY.format(1), kind=Tape)
    process = filled(one.open(), 3, amount=1)
    process.compute(1)
    process = one.open(read_only=True)
    kept = dict(one.vault.records), dict(one.vault.blobs)
    one.vault.puts.clear()
    assert [1, 3, 2] == [process.compute(slot)["total"] for slot in (1, 3, 2)]
    assert all(found.agrees or not found.stored_id for found in process.replay())
    one.close()
    assert [] == one.vault.puts
    assert kept == (one.vault.records, one.vault.blobs)


def test_a_reader_is_told_of_damage(shop: Opened) -> None:
    """A reader cannot heal: a part that is lost is an error for it, and the rest is readable."""

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Ok(state.put("big", {"data": BIG}))

    one = shop(fold=fold)
    process = one.open()
    digest = from_id(process.now()["big"].id)
    del one.vault.blobs[digest]
    process = one.open(read_only=True)
    state = process.compute(0)
    with pytest.raises(CacheError, match="missing"):
        state.at("big/data")
    assert "count" == state["name"]
