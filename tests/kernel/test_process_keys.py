"""process@1.0 by path: schedule, slot, compute, now, snapshot, init, push."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kernel.devices import COUNTER, COUNTING, TAPE, TAPING, Watcher, kernel_of
from procession import ConfigError, Kernel, Message, Process, ProcessionError, RequestError, hookimpl
from procession.ids import to_id
from procession.messages import EMPTY
from procession.process import PAGE
from procession.requests import Keys, Request
from procession.roles import Ok


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """Return a kernel with a process of five slots."""
    with kernel_of(tmp_path) as opened:
        process = opened.spawn()
        process.schedule_many([{"n": n} for n in range(1, 5)])
        yield opened


@pytest.fixture
def process(kernel: Kernel) -> Process:
    """Return the process."""
    return Process(kernel, kernel.processes()[0])


def refused(kernel: Kernel, path: str, **call: Any) -> str:
    """Return the kind of error that a path gives."""
    with pytest.raises(RequestError) as caught:
        kernel.resolve(path, **call)
    return caught.value.kind


@pytest.mark.parametrize(
    "place", ["compute&slot=3", "compute/3", "compute=3", "compute&slot+integer=3", "compute?slot=3", "compute&slot=03"]
)
def test_a_state_is_computed_at_a_slot(kernel: Kernel, process: Process, place: str) -> None:
    """A slot is named inline, by the step behind, as the key's own value, or in the query."""
    below, question, query = place.partition("?")
    assert "slot 3" == kernel.resolve(f"/{process.id}/{below}/results/data{question}{query}")
    assert 4 == kernel.resolve(f"/{process.id}/{place}")["count"]


def test_a_state_is_computed_at_a_message(kernel: Kernel, process: Process) -> None:
    """A message id in the place of a slot is the slot that holds it."""
    message = next(process.log(2, 2)).message_id
    assert 2 == kernel.resolve(f"/{process.id}/compute/{message}/at-slot")
    assert 2 == kernel.resolve(f"/{process.id}/compute&slot={message}/at-slot")
    assert "unknown-message" == refused(kernel, f"/{process.id}/compute/{to_id(bytes(32))}")


def test_a_message_that_has_two_slots_answers_the_first(kernel: Kernel, process: Process) -> None:
    """An unsigned message that was sent twice is found at its first slot."""
    process.schedule({"n": 1})
    message = next(process.log(1, 1)).message_id
    assert 1 == kernel.resolve(f"/{process.id}/compute/{message}/at-slot")


def test_without_a_slot_the_newest_stored_state_is_served(kernel: Kernel, process: Process) -> None:
    """Compute alone is the newest state that is stored; where none is, the head is computed."""
    assert 4 == kernel.resolve(f"/{process.id}/compute/at-slot")
    process.schedule({})
    assert 4 == kernel.resolve(f"/{process.id}/compute/at-slot")
    assert 5 == kernel.resolve(f"/{process.id}/now/at-slot")
    assert 5 == kernel.resolve(f"/{process.id}/compute/at-slot")


def test_slots_of_the_past_are_computed(kernel: Kernel, process: Process) -> None:
    """After a later slot every earlier one is still there."""
    kernel.resolve(f"/{process.id}/now")
    assert [1, 2, 3, 4, 5] == [kernel.resolve(f"/{process.id}/compute/{slot}/count") for slot in range(5)]


BAD_SLOTS = {
    "compute/5": "beyond-schedule",
    "compute/99999999999999999": "beyond-schedule",
    "compute&slot=5": "beyond-schedule",
    "compute/-1": "slot",
    "compute&slot=-1": "slot",
    "compute&slot=--1": "slot",
    "compute&slot=x": "slot",
    "compute&slot=": "slot",
    "compute&slot": "slot",
    "compute&slot=1.0": "slot",
    "compute&slot+float=1.0": "slot",
    "compute&slot=1_0": "slot",
    "compute&slot=%D9%A1": "slot",
    "compute&slot=+1": "slot",
    "compute&slot=" + "9" * 300: "slot",
    "compute&slot=0x1": "slot",
    "compute=abc": "slot",
    "compute/x": "not-found",
    "compute/--1": "not-found",
    "compute/%D9%A1": "not-found",
    "compute/" + "9" * 300: "not-found",
}


@pytest.mark.parametrize(("place", "kind"), BAD_SLOTS.items(), ids=[place[:30] for place in BAD_SLOTS])
def test_what_is_no_slot_is_refused(kernel: Kernel, process: Process, place: str, kind: str) -> None:
    """A slot that is negative, no number or beyond the schedule is one clear error, and nothing is computed."""
    assert kind == refused(kernel, f"/{process.id}/{place}")
    assert 4 == kernel.resolve(f"/{process.id}/compute/at-slot")


def test_the_head_is_told(kernel: Kernel, process: Process) -> None:
    """Slot tells the newest slot of the schedule and when it was assigned."""
    head = next(process.log(4, 4))
    expected = {
        "process": process.id,
        "current": 4,
        "timestamp": head.timestamp,
        "block-height": head.block_height,
        "cache-control": "no-store",
    }
    assert expected == kernel.resolve(f"/{process.id}/slot").plain()
    assert 4 == kernel.resolve(f"/{process.id}/slot/current")


@pytest.mark.parametrize(
    ("query", "slots"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("&from=2", [2, 3, 4]),
        ("&to=1", [0, 1]),
        ("&from=1&to=3", [1, 2, 3]),
        ("&from=3&to=1", []),
        ("&from=4&to=400", [4]),
        ("&from=5", []),
        ("&from=-3&to=0", [0]),
    ],
)
def test_the_schedule_is_read_in_ranges(kernel: Kernel, process: Process, query: str, slots: list[int]) -> None:
    """A range of slots, both ends included, comes as assignments by their slots."""
    schedule = kernel.resolve(f"/{process.id}/schedule{query}")
    assert [str(slot) for slot in slots] == list(schedule["assignments"])
    assert slots == [assignment["slot"] for assignment in schedule["assignments"].values()]
    assert False is schedule["continues"]


@pytest.mark.parametrize("query", ["&from=x", "&to=", "&from=1.5", "&to=" + "9" * 30])
def test_a_range_that_is_none_is_refused(kernel: Kernel, process: Process, query: str) -> None:
    """The ends of a range are slots."""
    assert "slot" == refused(kernel, f"/{process.id}/schedule{query}")


def test_a_long_schedule_comes_in_pages(kernel: Kernel, process: Process) -> None:
    """A schedule beyond one page says that it continues, and goes on from where it ended."""
    process.schedule_many([{}] * PAGE)
    first = kernel.resolve(f"/{process.id}/schedule")
    assert (PAGE, True) == (len(first["assignments"]), first["continues"])
    rest = kernel.resolve(f"/{process.id}/schedule&from={PAGE}")
    assert ([str(slot) for slot in range(PAGE, PAGE + 5)], False) == (list(rest["assignments"]), rest["continues"])


def test_a_message_is_posted(kernel: Kernel, process: Process) -> None:
    """POST schedule adds the message and answers its assignment."""
    answer = kernel.resolve(f"/{process.id}/schedule", method="POST", body=Message({"n": 7}))
    assert (5, {"n": 7}) == (answer["slot"], answer["body"].plain())
    answer = kernel.resolve(f"/{process.id}/schedule", method="POST", body=Message({"body": {"n": 8}}))
    assert (6, {"n": 8}) == (answer["slot"], answer["body"].plain())
    assert [7, 8] == [assignment.message["n"] for assignment in process.log(5)]


def test_a_posted_message_may_name_its_process(kernel: Kernel, process: Process) -> None:
    """Without an id in the path the target of the message is the process."""
    answer = kernel.resolve("/~process@1.0/schedule", method="POST", body=Message({"target": process.id}))
    assert (process.id, 5) == (answer["process"], answer["slot"])
    body = Message({"target": to_id(bytes(32))})
    assert "unknown-process" == refused(kernel, "/~process@1.0/schedule", method="POST", body=body)


def test_a_key_makes_a_repetition_the_same_slot(kernel: Kernel, process: Process) -> None:
    """The same message under one idempotency key has one slot; another message under it is a conflict."""
    path, body = f"/{process.id}/schedule", Message({"n": 7})
    slots = [kernel.resolve(path, method="POST", body=body, idempotency_key="k")["slot"] for _ in range(3)]
    assert [5, 5, 5] == slots
    assert "conflict" == refused(kernel, path, method="POST", body=Message({"n": 8}), idempotency_key="k")


def test_a_process_begins_by_path(kernel: Kernel) -> None:
    """POSTing a definition begins its process, and again finds it."""
    definition = Message({"device": "process@1.0", "type": "Process", "device-stack": ["count@1.0"]})
    answers = [kernel.resolve("/~process@1.0/schedule", method="POST", body=definition) for _ in range(2)]
    assert [(definition.id, 0)] * 2 == [(answer["process"], answer["slot"]) for answer in answers]
    assert 1 == kernel.resolve(f"/{definition.id}/now/count")


def test_a_definition_may_leave_its_device_out(kernel: Kernel) -> None:
    """A process whose definition does not say process@1.0 is reached by path like any other."""
    process = kernel.spawn({"device-stack": ["count@1.0"]})
    assert 1 == kernel.resolve(f"/{process.id}/now/count")


@pytest.mark.parametrize("body", [EMPTY, Message({"body": {}}), Message({"body": "x"})])
def test_a_post_without_a_message_is_refused(kernel: Kernel, process: Process, body: Message) -> None:
    """There must be something to schedule."""
    assert "message" == refused(kernel, f"/{process.id}/schedule", method="POST", body=body)


def test_what_is_no_definition_begins_nothing(kernel: Kernel) -> None:
    """A message without a target that is no definition is refused with what is wrong."""
    with pytest.raises(ConfigError, match=r"process\.execution-device: missing"):
        kernel.resolve("/~process@1.0/schedule", method="POST", body=Message({"n": 1}))
    assert 1 == len(kernel.processes())


@pytest.mark.parametrize("key", ["compute", "now", "slot", "schedule", "snapshot", "init"])
def test_a_process_must_be_named(kernel: Kernel, key: str) -> None:
    """A key of process@1.0 without a process, or with one that is not here, is refused."""
    assert "unknown-process" == refused(kernel, f"/~process@1.0/{key}")
    assert "unknown-process" == refused(kernel, f"/~process@1.0/{key}&target={to_id(bytes(32))}")
    assert "unknown-process" == refused(kernel, f"/{to_id(bytes(32))}/{key}")


def test_a_target_names_the_process(kernel: Kernel, process: Process) -> None:
    """The process may be a key instead of the base."""
    assert 5 == kernel.resolve(f"/~process@1.0/now&target={process.id}/count")


def test_the_state_before_the_first_slot(kernel: Kernel, process: Process) -> None:
    """Init is the definition's keys and the definition itself, before anything was computed."""
    state = kernel.resolve(f"/{process.id}/init")
    assert "count" == state["name"]
    assert {"count", "at-slot", "results", "initialized"}.isdisjoint(state)
    assert process.id == state["process"].id


def test_a_snapshot_is_told(tmp_path: Path) -> None:
    """Snapshot keeps the live parts where the process stands and tells slot, state id and live root."""
    watcher = Watcher()
    with kernel_of(tmp_path, TAPE, TAPING, plugins=[watcher]) as kernel:
        process = kernel.spawn()
        assert None is kernel.resolve(f"/{process.id}/snapshot")["slot"]
        process.schedule({"amount": 5})
        state = process.now()
        told = kernel.resolve(f"/{process.id}/snapshot")
        assert (process.id, 1, state.id) == (told["process"], told["slot"], told["state"])
        assert 43 == len(told["live-root"])
        assert [1] == watcher.snapshotted
        kernel.resolve(f"/{process.id}/snapshot")
        assert [1] == watcher.snapshotted


def test_no_key_of_the_state_shadows_the_device(tmp_path: Path) -> None:
    """Rows of a state that are named like keys of process@1.0 are reached behind a cast, and steer nothing."""

    def fold(state: Message, assignment: Any, n: int) -> Any:
        return Ok(state.put("compute", "row").put("inner", {"device": "process@1.0", "slot": "row"}))

    with kernel_of(tmp_path, {**COUNTER, "count@1.0": fold}) as kernel:
        process = kernel.spawn()
        assert 0 == kernel.resolve(f"/{process.id}/now/compute/at-slot")
        assert "row" == kernel.resolve(f"/{process.id}/now/~message@1.0/compute")
        with pytest.raises(ProcessionError):
            kernel.resolve(f"/{process.id}/now/inner/slot")


# -- push


def tell(request: Request) -> str:
    """Tell what was asked of which process."""
    return f"{request.key} {request.process} {request.params['slot']}"


class Posts:
    """Provide a push device, and a device that pushes nothing."""

    @hookimpl
    def procession_keys(self) -> Mapping[str, Keys]:
        """Provide two request devices."""
        return {"post@1.0": {"push": tell}, "mute@1.0": {}}


def test_push_is_answered_by_the_device_of_the_definition(tmp_path: Path) -> None:
    """A process swaps to the push device that its definition names, with the request as it is."""
    with kernel_of(tmp_path, text=f'{COUNTING}push-device = "post@1.0"\n', plugins=[Posts()]) as kernel:
        process = kernel.spawn()
        assert f"push {process.id} 3" == kernel.resolve(f"/{process.id}/push&slot=3")


def test_a_push_device_that_is_not_there_is_told(
    tmp_path_factory: pytest.TempPathFactory, kernel: Kernel, process: Process
) -> None:
    """The default is looked up when it is first used; another that nobody provides is refused at once."""
    other = tmp_path_factory.mktemp("other")
    assert "unknown-device" == refused(kernel, f"/{process.id}/push")
    with pytest.raises(ConfigError, match=r"process\.push-device: .*'psot@1\.0'.*nearest is 'post@1\.0'"):
        kernel_of(other, text=f'{COUNTING}push-device = "psot@1.0"\n', plugins=[Posts()])


@pytest.mark.parametrize("device", ["mute@1.0", "process@1.0"])
def test_a_push_device_that_pushes_nothing_is_told(tmp_path: Path, device: str) -> None:
    """A device that does not answer push, or would only swap again, is no push device."""
    with kernel_of(tmp_path, text=f'{COUNTING}push-device = "{device}"\n', plugins=[Posts()]) as kernel:
        assert "not-found" == refused(kernel, f"/{kernel.spawn().id}/push")
