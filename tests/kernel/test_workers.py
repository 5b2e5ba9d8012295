"""The pool of workers: room, queues, eviction, bounds on one request, quarantine, and slots that never end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel.devices import Watcher
from kernel.yards import PATIENCE, Yard, live, started, until
from procession import ComputeError, Message, Result, hookimpl
from procession.errors import CacheError
from procession.lines import Waiter


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """Return a yard; whatever is held is let go at its end."""
    one = Yard(tmp_path)
    yield one
    one.leave.set()
    one.close()


# -- room


def test_the_least_recently_used_gives_its_room_up(yard: Yard) -> None:
    """Beyond the bound the process that was used longest ago is snapshotted and closed, and goes on from there."""
    yard.open("live = 2\n")
    one, two, three = yard.spawn(3)
    one.now(), two.now(), one.schedule({"amount": 1}), one.now(), three.now()
    assert sorted([one.id, three.id]) == sorted(live(yard))
    assert [1] == yard.watcher.snapshotted
    two.schedule({"amount": 5})
    yard.steps.clear()
    assert 6 == two.now()["total"]
    assert [(two.id, 2)] == yard.steps


def test_nothing_is_closed_before_its_snapshot_is_kept(yard: Yard) -> None:
    """Where the snapshot cannot be kept, the live state stays and the newcomer is told why; later there is room."""
    yard.open("live = 1\n")
    one, two = yard.spawn(2)
    one.now()
    yard.store.full = True
    with pytest.raises(CacheError, match="no space left"):
        two.now()
    assert [one.id] == live(yard)
    yard.store.full = False
    assert 1 == two.now()["total"]
    assert [two.id] == live(yard)


def test_bytes_of_live_states_are_bounded(yard: Yard) -> None:
    """Beyond the bytes that stages may hold, those that do nothing are closed."""
    kernel = yard.open("live-bytes = 2500\n")
    for process in yard.spawn(6):
        process.now()
    yard.close()
    assert [row["bytes"] for row in kernel.workers()] == []
    assert 6 == len(yard.built)
    assert [] == live(yard)


def test_who_finds_no_room_waits_for_it(yard: Yard) -> None:
    """While every live process computes, another waits, is told so at its deadline, and runs when there is room."""
    kernel = yard.open("live = 1\n")
    one, two = yard.spawn(2, hold=True)
    first = started(one.now)
    assert yard.entered.acquire(timeout=PATIENCE)
    with pytest.raises(ComputeError, match="waits for room"):
        two.now(timeout=0.01)
    assert {one.id: "running", two.id: "queued"} == {row["process"]: row["state"] for row in kernel.workers()}
    yard.leave.set()
    first.join(PATIENCE)
    assert 1 == two.now(timeout=PATIENCE)["total"]


def test_a_slow_slot_holds_up_no_other_process(yard: Yard) -> None:
    """While one process computes, others are computed and answered."""
    yard.open()
    slow, other = yard.spawn(2)
    slow.now()
    slow.schedule({"hold": True})
    first = started(slow.now)
    assert yard.entered.acquire(timeout=PATIENCE)
    assert 1 == other.now(timeout=PATIENCE)["total"]
    assert 1 == slow.compute(1, timeout=PATIENCE)["total"], "what is stored is answered"
    yard.leave.set()
    first.join(PATIENCE)


def test_what_nobody_uses_is_put_to_rest(yard: Yard) -> None:
    """After the idle time a live state is snapshotted and closed."""
    kernel = yard.open('idle-timeout = "10ms"\n')
    (one,) = yard.spawn(1)
    one.now()
    until(lambda: not live(yard) and not kernel.workers())
    assert [1] == yard.watcher.snapshotted
    yard.steps.clear()
    one.schedule({"amount": 1})
    assert 2 == one.now()["total"]
    assert [(one.id, 2)] == yard.steps


def test_who_is_answered_finds_the_process_free(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller is told once the process does nothing any more, so that it can be asked at once."""
    kernel = yard.open()
    (one,) = yard.spawn(1)
    tell, states = Waiter.tell, []

    def noted(waiter: Waiter, *told: Any) -> None:
        states.extend(row["state"] for row in kernel.workers())
        tell(waiter, *told)

    monkeypatch.setattr(Waiter, "tell", noted)
    assert 1 == one.now()["total"]
    assert ["idle"] == states


# -- queues


def test_a_full_queue_refuses_at_once(yard: Yard) -> None:
    """One caller more than may wait for a process is refused; stored slots are answered all the same."""
    yard.open("queue = 2\n")
    (one,) = yard.spawn(1)
    one.now()
    one.schedule({"hold": True})
    callers = [started(one.now) for _ in range(2)]
    assert yard.entered.acquire(timeout=PATIENCE)
    until(lambda: yard.kernels[-1].workers()[0]["queue"] == 2)
    with pytest.raises(ComputeError) as caught:
        one.now(timeout=PATIENCE)
    assert ("queue-full", 2) == (caught.value.kind, caught.value.facts["queue"])
    assert 1 == one.compute(1)["total"]
    yard.leave.set()
    for caller in callers:
        caller.join(PATIENCE)


def test_callers_in_all_are_bounded(yard: Yard) -> None:
    """The callers of all processes together have a bound of their own."""
    yard.open("queue-total = 2\n")
    one, two = yard.spawn(2, hold=True)
    callers = [started(process.now) for process in (one, two)]
    for _ in callers:
        assert yard.entered.acquire(timeout=PATIENCE)
    with pytest.raises(ComputeError) as caught:
        two.now(timeout=PATIENCE)
    assert "busy" == caught.value.kind
    yard.leave.set()
    for caller in callers:
        caller.join(PATIENCE)


def test_a_long_replay_goes_on_in_the_background(yard: Yard) -> None:
    """A request before which too many slots lie is refused with how far it is; asked again, it comes further."""
    kernel = yard.open("replay = 10\n")
    (one,) = yard.spawn(1)
    one.schedule_many([{"amount": 1}] * 100)
    with pytest.raises(ComputeError) as caught:
        kernel.resolve(f"/{one.id}/now")
    facts = caught.value.facts
    assert ("behind", 101, -1, 102) == (caught.value.kind, facts["slot"], facts["at"], facts["left"])
    until(lambda: kernel.workers()[0]["at-slot"] == 101)
    assert 101 == kernel.resolve(f"/{one.id}/now/total")
    assert list(range(102)) == [slot for _, slot in yard.steps]


def test_a_patient_caller_waits_for_all_of_it(yard: Yard) -> None:
    """A program that embeds the kernel waits as long as its own deadline says."""
    yard.open("replay = 10\n")
    (one,) = yard.spawn(1)
    one.schedule_many([{"amount": 1}] * 100)
    assert 101 == one.now()["total"]


def test_a_slot_of_the_past_that_is_far_is_computed_in_the_background(yard: Yard) -> None:
    """A past slot whose state is not kept is computed apart, and kept for who asks again."""
    kernel = yard.open('replay = 10\n[host.cache]\nkeep = ["at-slot"]\n')
    (one,) = yard.spawn(1)
    one.schedule_many([{"amount": 1}] * 50)
    one.now()
    with pytest.raises(ComputeError) as caught:
        kernel.resolve(f"/{one.id}/compute&slot=40")
    assert "behind" == caught.value.kind

    def there() -> bool:
        try:
            return bool(kernel.resolve(f"/{one.id}/compute&slot=40/total") == 40)
        except ComputeError:
            return False

    until(there)


# -- faults


def test_faults_in_a_row_quarantine_a_slot(yard: Yard) -> None:
    """After so many faults a slot is not tried again: its callers are told the cause; earlier slots are there."""
    kernel = yard.open("faults = 3\n")
    (one,) = yard.spawn(1)
    one.schedule({"amount": 1, "raise": True})
    one.schedule({"amount": 1})
    yard.faults.extend(range(9))
    for _ in range(3):
        with pytest.raises(ComputeError, match="RuntimeError: broken"):
            one.now()
    yard.steps.clear()
    with pytest.raises(ComputeError) as caught:
        one.now()
    assert ("quarantined", 2, 3, "device-raised", "tape@1.0") == (
        caught.value.kind,
        *(caught.value.facts[key] for key in ("slot", "count", "cause", "device")),
    )
    assert "procession retry" in caught.value.remedy
    assert [] == yard.steps
    assert 1 == one.compute(1)["total"]
    (row,) = kernel.workers()
    assert ("quarantined", 2) == (row["state"], row.at("fault/slot"))


def test_a_quarantine_outlives_a_restart_and_ends_by_a_retry(yard: Yard) -> None:
    """A quarantine is kept in the data folder; a retry lifts it, and the slot is computed."""
    yard.open("faults = 1\n")
    (one,) = yard.spawn(1)
    one.schedule({"amount": 1, "raise": True})
    yard.faults.append(1)
    with pytest.raises(ComputeError, match="broken"):
        one.now()
    kernel = yard.open("faults = 1\n")
    process = kernel.process(one.id)
    with pytest.raises(ComputeError, match="quarantined after 1"):
        process.now()
    assert {"process": one.id, "slot": 2} == dict(kernel.retry(one.id))
    assert 2 == process.now()["total"]
    assert 2 == yard.open("faults = 1\n").process(one.id).now()["total"]


def test_another_version_of_a_device_tries_again(yard: Yard) -> None:
    """A quarantine holds for the devices that met it; a corrected one computes the slot."""
    yard.open("faults = 1\n", fingerprint={"engine": "1"})
    (one,) = yard.spawn(1)
    one.schedule({"amount": 1, "raise": True})
    yard.faults.append(1)
    with pytest.raises(ComputeError, match="broken"):
        one.now()
    kernel = yard.open("faults = 1\n", fingerprint={"engine": "2"})
    assert 2 == kernel.process(one.id).now()["total"]


def test_a_success_between_faults_begins_the_count_anew(yard: Yard) -> None:
    """Only faults in a row count."""
    yard.open("faults = 2\n")
    (one,) = yard.spawn(1)
    for slot in (2, 3):
        one.schedule({"amount": 1, "raise": True})
        yard.faults.append(slot)
        with pytest.raises(ComputeError, match="broken"):
            one.now()
        assert slot == one.now()["total"]


def test_a_slot_that_never_ends_is_given_up(yard: Yard) -> None:
    """A stage that hangs fails who waits, and the worker is built anew; the thread that hangs changes nothing later."""
    kernel = yard.open('slot-timeout = "1ms"\nfaults = 9\n')
    (one,) = yard.spawn(1)
    one.now()
    one.schedule({"amount": 1, "hold": True})
    with pytest.raises(ComputeError) as caught:
        one.now(timeout=PATIENCE)
    assert ("wall-clock", 2) == (caught.value.kind, caught.value.facts["slot"])
    assert 1 == one.compute(1)["total"]
    assert kernel.workers()[0]["state"] == "idle"
    yard.leave.set()
    assert 2 == one.now(timeout=PATIENCE)["total"]
    until(lambda: live(yard) == [one.id])
    assert 2 == one.compute(2)["total"]


def test_a_slot_that_never_ends_keeps_no_kernel_open(yard: Yard) -> None:
    """Closing waits for what runs within a bound, then leaves it behind; the folder is free."""
    yard.open('drain-timeout = "10ms"\n')
    (one,) = yard.spawn(1)
    one.now()
    one.schedule({"amount": 1, "hold": True})
    told: list[str] = []

    def call() -> None:
        try:
            one.now(timeout=PATIENCE)
        except ComputeError as error:
            told.append(error.kind)

    caller = started(call)
    assert yard.entered.acquire(timeout=PATIENCE)
    yard.close()
    yard.leave.set()
    caller.join(PATIENCE)
    assert ["closed"] == told
    assert 2 == yard.open().process(one.id).now()["total"]


def test_a_closed_kernel_says_so(yard: Yard) -> None:
    """Who asks a closed kernel is told, and waits for nothing."""
    yard.open()
    (one,) = yard.spawn(1)
    yard.close()
    with pytest.raises(ComputeError, match="closed"):
        one.compute(0)


def test_closing_answers_who_waits(yard: Yard) -> None:
    """What is waited for when a kernel closes is computed first."""
    yard.open()
    (one,) = yard.spawn(1, hold=True)
    found: list[Message] = []
    caller = started(lambda: found.append(one.now(timeout=PATIENCE)))
    assert yard.entered.acquire(timeout=PATIENCE)
    closing = started(yard.close)
    yard.leave.set()
    for thread in (caller, closing):
        thread.join(PATIENCE)
    assert [1] == [state["total"] for state in found]


def test_who_watches_a_process_cannot_wait_for_it(yard: Yard) -> None:
    """A plugin that asks for a later slot of the process it is told about is refused and does not hang."""
    told: list[str] = []

    class Asking(Watcher):
        @hookimpl
        def procession_computed(self, process: str, result: Result) -> None:
            try:
                kernel.compute(process, 1, timeout=PATIENCE)
            except ComputeError as error:
                told.append(error.kind)

    yard.watcher = Asking()
    kernel = yard.open()
    (one,) = yard.spawn(1)
    one.compute(0)
    assert ["busy"] == told
