"""The pool of workers where a host fails it, or where two things happen to a process at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.devices import Watcher
from kernel.yards import PATIENCE, Gate, Yard, live, started, until
from procession import ComputeError, Message, hookimpl, workers
from procession.errors import CacheError, ScheduleError
from procession.hands import Hands
from procession.lines import Waiter
from procession.testing.fakes import MemoryScheduler


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """Return a yard; whatever is held is let go at its end."""
    one = Yard(tmp_path)
    yield one
    one.leave.set()
    one.close()


# -- being told


def test_a_waiter_is_told_once_and_tells_all() -> None:
    """Who waits for the same gets what was told first, whenever it comes; a deadline that passes tells nothing."""
    waiter = Waiter()
    assert not waiter.wait(time.monotonic())
    found: list[Message | None] = []
    callers = [started(lambda: found.append(waiter.state) if waiter.wait(math.inf) else None) for _ in range(4)]
    state = Message({"a": 1})
    waiter.tell(state)
    waiter.tell(None, ComputeError("too late"))
    for caller in callers:
        caller.join(PATIENCE)
    assert waiter.wait(math.inf)
    assert [state] * 4 == found


# -- giving room up


def test_a_snapshot_that_was_not_kept_is_taken_again(yard: Yard) -> None:
    """What could not be snapshotted at the first try is snapshotted before it is closed at the second."""
    yard.open("live = 1\n")
    one, two = yard.spawn(2)
    one.now()
    yard.store.full = True
    with pytest.raises(CacheError, match="no space left"):
        two.now()
    yard.store.full = False
    two.now()
    assert [1] == yard.watcher.snapshotted
    yard.steps.clear()
    one.schedule({"amount": 1})
    assert 2 == one.now()["total"]
    assert [(one.id, 2)] == yard.steps


def test_what_cannot_be_put_to_rest_is_not_tried_without_end(yard: Yard) -> None:
    """A process too large for the bound whose snapshot cannot be kept is tried when something is done, not for ever."""
    yard.open("live-bytes = 500\n")
    (one,) = yard.spawn(1)
    seen = threading.Semaphore(0)

    def resting(worker: object) -> None:
        seen.release()
        raise OSError("no space left")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("procession.worker.Worker.rest", resting)
        one.now()
        assert seen.acquire(timeout=PATIENCE)
        until(lambda: yard.kernels[-1].workers()[0]["state"] == "idle")
        assert not seen.acquire(timeout=0.3)
    assert [one.id] == live(yard)


def test_who_joins_a_process_that_is_put_to_rest_is_answered(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who comes while a process is snapshotted waits for that, and is answered."""
    kernel = yard.open("live = 1\n")
    one, two = yard.spawn(2)
    one.now()
    one.schedule({"amount": 2})
    resting, go_on, rest = threading.Event(), threading.Event(), workers.Worker.rest

    def slowly(worker: workers.Worker) -> None:
        resting.set()
        assert go_on.wait(PATIENCE)
        rest(worker)

    monkeypatch.setattr(workers.Worker, "rest", slowly)
    found: list[Message] = []
    callers = [started(lambda: found.append(two.now(timeout=PATIENCE)))]
    assert resting.wait(PATIENCE)
    callers.append(started(lambda: found.append(one.now(timeout=PATIENCE))))
    until(lambda: any(row["process"] == one.id and row["queue"] for row in kernel.workers()))
    go_on.set()
    for caller in callers:
        caller.join(PATIENCE)
    assert [1, 3] == sorted(state["total"] for state in found)


def test_what_was_begun_in_the_background_survives_a_rest(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots that a request began to have computed while its process was put to rest are computed."""
    kernel = yard.open("live = 1\nreplay = 10\n")
    one, two = yard.spawn(2)
    one.now()
    one.schedule_many([{"amount": 1}] * 50)
    resting, go_on, rest = threading.Event(), threading.Event(), workers.Worker.rest

    def slowly(worker: workers.Worker) -> None:
        resting.set()
        assert go_on.wait(PATIENCE)
        rest(worker)

    monkeypatch.setattr(workers.Worker, "rest", slowly)
    caller = started(lambda: two.now(timeout=PATIENCE))
    assert resting.wait(PATIENCE)
    with pytest.raises(ComputeError) as caught:
        kernel.resolve(f"/{one.id}/now")
    assert "behind" == caught.value.kind
    go_on.set()
    caller.join(PATIENCE)
    until(lambda: 51 == kernel.compute(one.id, None)["at-slot"])


def test_who_watches_a_snapshot_cannot_wait_for_its_process(yard: Yard) -> None:
    """A plugin that asks for the process whose rest it is told of is refused and holds nobody up."""
    told: list[str] = []

    class Asking(Watcher):
        @hookimpl
        def procession_snapshotted(self, process: str, slot: int, size: int) -> None:
            try:
                kernel.compute(process, 2, timeout=PATIENCE)
            except ComputeError as error:
                told.append(error.kind)

    yard.watcher = Asking()
    kernel = yard.open("live = 1\n")
    one, two = yard.spawn(2)
    one.now()
    one.schedule({"amount": 1})
    assert 1 == two.now(timeout=PATIENCE)["total"]
    assert ["busy"] == told


def test_those_who_wait_for_room_get_their_turn(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with much to do gives its room to one that waits for it, and goes on after."""
    monkeypatch.setattr(workers, "TURN", 0.0)
    kernel = yard.open("live = 1\n", every=10)
    long, short = yard.spawn(2)
    long.schedule({"hold": True})
    long.schedule_many([{"amount": 1}] * 1000)
    found: list[Message] = []
    callers = [started(lambda: found.append(long.now(timeout=PATIENCE)))]
    assert yard.entered.acquire(timeout=PATIENCE)
    callers.append(started(lambda: found.append(short.now(timeout=PATIENCE))))
    until(lambda: "queued" in [row["state"] for row in kernel.workers()])
    yard.leave.set()
    for caller in callers:
        caller.join(PATIENCE)
    assert [1, 1001] == [state["total"] for state in found]
    assert 1 < yard.steps.index((short.id, 1)) < yard.steps.index((long.id, 1002))
    assert len(yard.steps) == len(set(yard.steps)), "nothing is computed twice"


def test_what_was_begun_and_never_asked_is_forgotten(yard: Yard) -> None:
    """Processes that are begun, and of which nobody asks a slot, are held no longer than others."""
    kernel = yard.open('idle-timeout = "10ms"\n')
    yard.spawn(3)
    until(lambda: not kernel.workers())


# -- a host that fails


def test_a_size_that_cannot_be_told_wedges_nothing(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that raises when it is asked for its size costs whoever waits an error at the most."""
    yard.open()
    (one,) = yard.spawn(1)
    monkeypatch.setattr(Gate, "size", lambda gate: 1 // 0)
    assert 1 == one.now(timeout=PATIENCE)["total"]
    monkeypatch.undo()
    one.schedule({"amount": 1})
    assert 2 == one.now(timeout=PATIENCE)["total"]


def test_a_host_without_threads_says_so(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread begins, callers are told at once; where one does again, they are answered."""
    yard.open("queue = 2\n")
    (one,) = yard.spawn(1)
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    for _ in range(3):
        with pytest.raises(ComputeError) as caught:
            one.now(timeout=PATIENCE)
        assert "busy" == caught.value.kind
    monkeypatch.undo()
    assert 1 == one.now(timeout=PATIENCE)["total"]


def test_one_thread_serves_many_where_there_is_but_one(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no further thread begins, those that are there compute for all processes."""
    yard.open("live = 1\n")
    one, *others = yard.spawn(4)
    one.now()
    start = threading.Thread.start

    def only_callers(thread: threading.Thread) -> None:
        start(thread) if thread.name == "caller" else _no_thread(thread)

    monkeypatch.setattr(threading.Thread, "start", only_callers)
    found: list[Message] = []
    callers = [
        threading.Thread(target=lambda process=process: found.append(process.now(timeout=PATIENCE)), name="caller")
        for process in others
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert [1, 1, 1] == [state["total"] for state in found]


def test_a_closed_kernel_leaves_no_thread(yard: Yard) -> None:
    """The threads of a kernel end with it, those too that were still busy."""
    for _ in range(20):
        yard.open()
        for process in yard.spawn(2):
            process.now()
        yard.close()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("procession")])


def test_hands_that_are_busy_at_the_end_go_when_they_are_done() -> None:
    """A thread that outlasts its pool ends with its job."""
    hands, leave, entered = Hands("a hand of this test"), threading.Event(), threading.Event()
    hands.give(lambda: (entered.set(), leave.wait(PATIENCE)), failed=lambda error: None)
    assert entered.wait(PATIENCE)
    hands.close()
    leave.set()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "a hand of this test"])


def test_the_hand_that_was_free_last_takes_the_next_job() -> None:
    """Of two threads that wait, the job goes to the one that did something last."""
    hands, done, threads = Hands("a hand of this test"), threading.Event(), {}
    entered, leaves = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def job(number: int) -> None:
        threads[number] = threading.get_ident()
        entered[number].set()
        leaves[number].wait(PATIENCE)

    for number in range(2):
        hands.give(lambda number=number: job(number), failed=lambda error: None)
        assert entered[number].wait(PATIENCE)
    for leave in leaves:
        before = hands._free
        leave.set()
        until(lambda before=before: hands._free is not before)
    hands.give(lambda: (threads.update({2: threading.get_ident()}), done.set()), failed=lambda error: None)
    assert done.wait(PATIENCE)
    assert threads[1] == threads[2] != threads[0]
    hands.close()


def test_a_close_that_cannot_snapshot_closes_all_the_same(yard: Yard) -> None:
    """A kernel whose cache is full at its end says so, and leaves no stage open."""
    kernel = yard.open()
    for process in yard.spawn(2):
        process.now()
    yard.store.full = True
    yard.kernels.clear()
    with pytest.raises(CacheError, match="no space left"):
        kernel.close()
    assert [] == live(yard)


def test_what_is_left_behind_at_the_end_is_closed_later(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot that outlasts its kernel leaves no stage open once it comes to its end."""
    monkeypatch.setattr(workers, "ENDING", 0.1)
    yard.open('drain-timeout = "10ms"\n')
    (one,) = yard.spawn(1, hold=True)

    def call() -> None:
        with pytest.raises(ComputeError, match="closed"):
            one.now()

    caller = started(call)
    assert yard.entered.acquire(timeout=PATIENCE)
    yard.close()
    caller.join(PATIENCE)
    assert [one.id] == live(yard)
    yard.leave.set()
    until(lambda: not live(yard))


@pytest.mark.parametrize("memoryless", [0, 1, 3])
def test_a_job_that_raises_is_told_once_there_is_memory(memoryless: int) -> None:
    """What a job raises is told, again where there was no memory for it, and its thread goes on to the next."""
    hands, told, done = Hands("a hand of this test"), [], threading.Event()

    def raising() -> None:
        raise KeyError("x")

    def tell(error: BaseException) -> None:
        told.append(type(error))
        if len(told) <= memoryless:
            raise MemoryError

    hands.give(raising, tell)
    until(lambda: len(told) == memoryless + 1)
    hands.give(done.set, tell)
    assert done.wait(PATIENCE)
    assert [KeyError] * (memoryless + 1) == told
    hands.close()


def test_a_process_that_could_not_begin_hides_no_other(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers are shown although a process got no slot 0."""
    kernel = yard.open()
    (one,) = yard.spawn(1)
    one.now()

    def full(*arguments: object) -> None:
        raise ScheduleError("no space left", where="schedule", kind="disk-full")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryScheduler, "assign", full)
        with pytest.raises(ScheduleError):
            kernel.spawn({"execution-device": "tape@1.0", "name": "unborn"})
    assert [one.id] == [row["process"] for row in kernel.workers()]


# -- damage


def test_a_state_outlives_its_worker(yard: Yard) -> None:
    """A part of a state that is damaged is rebuilt when it is looked into, also where its process was put to rest."""
    kernel = yard.open("live = 1\n")
    (other,) = yard.spawn(1)
    one = kernel.spawn({"execution-device": "tape@1.0", "notes": {"long": "x" * 3000}})
    one.compute(0)
    state = one.compute(0)
    other.now()
    assert [other.id] == live(yard)
    yard.store.blobs.clear()
    assert 3000 == len(state["notes"]["long"])


# -- quarantine


def test_a_past_slot_that_fails_holds_up_nothing_new(yard: Yard) -> None:
    """A slot that was computed once and cannot be recomputed is quarantined; behind the live state all goes on."""
    yard.open('faults = 2\n[host.cache]\nkeep = ["at-slot"]\n')
    (one,) = yard.spawn(1)
    one.schedule({"amount": 1, "raise": True})
    one.schedule({"amount": 1})
    assert 3 == one.now()["total"]
    yard.faults.extend(range(9))
    for _ in range(2):
        with pytest.raises(ComputeError, match="broken"):
            one.compute(2)
    one.schedule({"amount": 1})
    assert 4 == one.now()["total"]
    with pytest.raises(ComputeError) as caught:
        one.compute(2)
    assert ("quarantined", 2) == (caught.value.kind, caught.value.facts["slot"])


def test_what_was_given_up_says_no_size(yard: Yard) -> None:
    """What a worker holds that was given up is not counted for the one that took its place."""
    kernel = yard.open('slot-timeout = "1ms"\nfaults = 9\n')
    (one,) = yard.spawn(1)
    one.now()
    one.schedule({"amount": 1, "hold": True})
    with pytest.raises(ComputeError, match="took longer"):
        one.now(timeout=PATIENCE)
    gate = yard.built[-1]
    yard.leave.set()
    until(lambda: gate.closed == 1)
    assert 0 == kernel.workers()[0]["bytes"]


def _no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_one_line_that_cannot_be_looked_after_keeps_nobody_from_it(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the keeper meets at one process, it goes on with the others, and looks again."""
    yard.open('idle-timeout = "10ms"\n')
    one, two = yard.spawn(2)
    rest = workers.Workers._rest

    def failing(pool: workers.Workers, line: workers.Line) -> None:
        if line.process == one.id:
            raise RuntimeError("no way to rest")
        rest(pool, line)

    monkeypatch.setattr(workers.Workers, "_rest", failing)
    one.now(), two.now()
    until(lambda: [one.id] == live(yard))
    assert "no way to rest" in caplog.text
