"""Schedules made elsewhere: what is taken, under which ids, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernel.devices import ID, kernel_of
from procession import Assignment, ConfigError, Kernel, Message, ProcessionError, RequestError, ScheduleError
from procession.commitments import committers, original_tags
from procession.foreign import submissions
from procession.ids import to_id
from procession.testing.fakes import MemoryHost

DEFINITION = {"device": "process@1.0", "type": "Process", "device-stack": ["count@1.0"]}
OTHER = to_id(b"\1" * 32)


def entry(slot: int, message: Any = None, **fields: Any) -> dict[str, Any]:
    """Return one assignment of a schedule made elsewhere."""
    held = {"n": slot} if message is None else message
    return {"slot": slot, "timestamp": 1000 + slot, "block-height": 7 + slot, "message": held, **fields}


def ao(given_id: str = ID, **fields: Any) -> dict[str, Any]:
    """Return a message in the form of the field."""
    tags = [{"name": "Action", "value": "Eval"}, {"name": "X-Case", "value": "Kept"}]
    return {"Id": given_id, "Owner": "alice", "Tags": tags, "Data": "1+1", "Target": "bob", **fields}


def schedule(count: int = 3) -> list[dict[str, Any]]:
    """Return a schedule of our own messages."""
    return [entry(0, DEFINITION), *(entry(slot) for slot in range(1, count))]


def exported(assignments: list[Assignment]) -> list[dict[str, Any]]:
    """Return a schedule as another kernel gives it away, chain included."""
    return [
        {
            "slot": item.slot,
            "timestamp": item.timestamp,
            "block-height": item.block_height,
            "hash-chain": to_id(item.chain),
            "message": item.message.plain(),
        }
        for item in assignments
    ]


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    """Return a kernel without a process."""
    with kernel_of(tmp_path) as opened:
        yield opened


# -- entries


def test_our_own_messages_keep_their_content_ids() -> None:
    """A message without a given id is known by its content, and takes its place as given."""
    (found,) = submissions([entry(0, DEFINITION)], definition=None, trust_ids=False)
    assert Message(DEFINITION) == found.message
    assert Message(DEFINITION).id == found.message_id
    assert found.given
    assert (0, 1000, 7, None) == (found.given.slot, found.given.timestamp, found.given.block_height, found.given.chain)


def test_a_message_id_that_is_right_may_come_along() -> None:
    """An exported entry names its message, ours by its content and one of the field by its given id."""
    ours = entry(0, DEFINITION, **{"message-id": Message(DEFINITION).id})
    theirs = entry(1, ao(), **{"message-id": ID})
    found = submissions([ours, theirs], definition=None, trust_ids=True)
    assert [Message(DEFINITION).id, ID] == [item.message_id for item in found]


def test_messages_of_the_field_keep_id_owner_and_tags() -> None:
    """With trust, a message of the field is known by its id, its owner vouches, and its tags keep order and case."""
    (found,) = submissions([entry(0, ao())], definition=None, trust_ids=True)
    assert ID == found.message_id
    assert ("alice",) == committers(found.message)
    assert (("Action", "Eval"), ("X-Case", "Kept")) == original_tags(found.message)
    expected = {"action": "Eval", "x-case": "Kept", "data": "1+1", "target": "bob"}
    assert expected == found.message.without("commitments").plain()


def test_a_sender_that_is_not_the_owner_is_kept() -> None:
    """A message that a process sent names it."""
    found = next(submissions([entry(0, ao(From="carol"))], definition=None, trust_ids=True))
    assert "carol" == found.message["from-process"]
    same = next(submissions([entry(0, ao(From="alice"))], definition=None, trust_ids=True))
    assert "from-process" not in same.message


def test_an_id_that_nothing_proves_needs_trust() -> None:
    """Without trust a given id is refused with what to say."""
    with pytest.raises(RequestError, match=f"entry 0: no signature proves the id {ID}; say --trust-ids"):
        list(submissions([entry(0, ao())], definition=None, trust_ids=False))


def test_commitments_need_trust() -> None:
    """Commitments that were never verified are not believed either."""
    signed = {**DEFINITION, "commitments": {ID: {"committer": "alice"}}}
    with pytest.raises(RequestError, match="no signature was verified"):
        list(submissions([entry(0, signed)], definition=None, trust_ids=False))
    (found,) = submissions([entry(0, signed)], definition=None, trust_ids=True)
    assert ID == found.message_id


def test_a_definition_completes_slot_zero_alone() -> None:
    """The keys that slot 0 lacks come from the definition at hand, and its own stand."""
    definition = Message({**DEFINITION, "action": "mine", "name": "x"})
    zero, one = submissions([entry(0, ao()), entry(1, ao(OTHER))], definition=definition, trust_ids=True)
    assert ("Eval", "x", ID) == (zero.message["action"], zero.message["name"], zero.message_id)
    assert "name" not in one.message


WRONG: dict[str, tuple[Any, str]] = {
    "no map": (5, "'message' is missing"),
    "a list": ([], "'message' is missing"),
    "no message": ({"slot": 0, "timestamp": 0, "block-height": 0}, "'message' is missing"),
    "a message that is a text": (entry(0, "x"), "'message' is missing"),
    "no slot": ({"timestamp": 0, "block-height": 0, "message": {}}, "'slot' is None"),
    "a negative slot": (entry(-1), "'slot' is -1"),
    "a slot in quotes": ({**entry(0), "slot": "0"}, "'slot' is '0'"),
    "true for a slot": ({**entry(0), "slot": True}, "'slot' is True"),
    "a float for a time": ({**entry(0), "timestamp": 1.5}, "'timestamp' is 1.5"),
    "no height": ({"slot": 0, "timestamp": 0, "message": {}}, "'block-height' is None"),
    "a chain that is no id": (entry(0, **{"hash-chain": "x"}), "'hash-chain' is 'x'"),
    "a chain that is a number": (entry(0, **{"hash-chain": 5}), "'hash-chain' is 5"),
    "an id that is none": (entry(0, ao("short")), "'short' is no id"),
    "an id that is a number": (entry(0, ao(5)), "5 is no id"),
    "an owner that is a number": (entry(0, ao(Owner=5)), "is no id"),
    "tags that are a text": (entry(0, ao(Tags="x")), "'x' is no tag"),
    "tags that are none": (entry(0, ao(Tags=None)), "None is no tag"),
    "a tag without a value": (entry(0, ao(Tags=[{"name": "a"}])), "is no tag"),
    "a tag whose value is a number": (entry(0, ao(Tags=[{"name": "a", "value": 1}])), "is no tag"),
    "a value that is none": (entry(0, {"a": 2**300}), "an integer of 301 bits"),
    "another message id": (entry(0, **{"message-id": OTHER}), f"given message-id '{OTHER}'"),
    "a message id that is a number": (entry(0, **{"message-id": 5}), "given message-id 5"),
    "a misspelt key": (
        entry(0, **{"hash-chian": OTHER}),
        "'hash-chian' is no key of an entry; nearest is 'hash-chain'",
    ),
    "another slot": (entry(1), "slot 1 stands where slot 0 belongs"),
}


@pytest.mark.parametrize(("wrong", "problem"), WRONG.values(), ids=WRONG.keys())
def test_an_entry_that_is_wrong_is_named(wrong: Any, problem: str) -> None:
    """An entry that cannot be taken is refused with its number and the reason."""
    with pytest.raises(RequestError) as caught:
        list(submissions([wrong], definition=None, trust_ids=True))
    assert caught.value.text.startswith("schedule entry 0: ")
    assert problem in caught.value.text
    assert "message" == caught.value.kind


def test_the_time_may_stand_in_the_message() -> None:
    """An AO message brings its own time and height, as numbers or texts; what stands beside it comes first."""
    timed = ao(Timestamp="1700000000000", **{"Block-Height": 9})
    (found,) = submissions([{"slot": 0, "message": timed}], definition=None, trust_ids=True)
    assert (1_700_000_000_000, 9) == (found.given.timestamp, found.given.block_height)
    (found,) = submissions([entry(0, timed)], definition=None, trust_ids=True)
    assert (1000, 7) == (found.given.timestamp, found.given.block_height)


def test_what_a_scheduler_adds_is_left_out() -> None:
    """Keys that are far from any of an entry are somebody else's, and change nothing."""
    (plain,) = submissions([entry(0)], definition=None, trust_ids=False)
    (added,) = submissions([entry(0, epoch="0", process=ID, result={})], definition=None, trust_ids=False)
    assert plain == added


# -- loading


def test_a_schedule_is_taken_up_and_computed(kernel: Kernel) -> None:
    """A loaded schedule is computed from slot 0 with its own times, marked as imported."""
    process = kernel.load(schedule())
    assert Message(DEFINITION).id == process.id
    assert 3 == process.now()["count"]
    told = [(item.slot, item.timestamp, item.block_height, item.provenance) for item in process.log()]
    assert [(slot, 1000 + slot, 7 + slot, "imported") for slot in range(3)] == told


def test_given_ids_are_found(kernel: Kernel) -> None:
    """A process and its messages are reached by the ids that came along."""
    entries = [entry(0, ao()), entry(1, ao(OTHER))]
    process = kernel.load(entries, definition=Message(DEFINITION), trust_ids=True)
    assert ID == process.id
    assert 2 == process.compute(OTHER)["count"]
    assert 2 == kernel.resolve(f"/{ID}/compute/{OTHER}/count")


def test_loading_again_is_idempotent(kernel: Kernel) -> None:
    """Entries that are here already are compared, and only what follows is added."""
    kernel.load(schedule(2))
    process = kernel.load(schedule(4))
    assert [0, 1, 2, 3] == [item.slot for item in process.log()]
    kernel.load(schedule(4))
    kernel.load(schedule(2))
    assert 3 == process.head.slot


def test_what_was_loaded_can_be_spawned_and_continued(kernel: Kernel) -> None:
    """Spawning the definition of a loaded process finds it, and new messages follow."""
    process = kernel.load(schedule())
    assert process.id == kernel.spawn(DEFINITION).id
    assert 2 == process.head.slot
    assert (3, "local") == (process.schedule({}).slot, next(process.log(3)).provenance)


def test_what_was_spawned_can_be_loaded(tmp_path: Path, kernel: Kernel) -> None:
    """A schedule that left this kernel comes back to it unchanged."""
    process = kernel.spawn(DEFINITION)
    process.schedule({"n": 1})
    kernel.load(exported(list(process.log())))
    assert 1 == process.head.slot
    assert process.id == kernel.spawn(DEFINITION).id


def test_a_chain_that_comes_along_is_continued(tmp_path: Path) -> None:
    """Another kernel's schedule, with its chain, is the same schedule here and computes to the same states."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with kernel_of(tmp_path / "a") as one, kernel_of(tmp_path / "b", host=MemoryHost()) as other:
        process = one.spawn()
        process.schedule_many([{"n": n} for n in range(5)])
        copy = other.load(exported(list(process.log())))
        assert process.head == copy.head
        assert process.now().id == copy.now().id


@pytest.mark.parametrize("slot", [0, 2])
def test_a_chain_that_does_not_continue_is_refused(kernel: Kernel, slot: int) -> None:
    """A chain value that is not the one of its entry is refused at its slot, and the page is not taken."""
    entries = schedule(3)
    entries[slot]["hash-chain"] = OTHER
    with pytest.raises(ScheduleError, match=f"slot {slot}: .*does not continue"):
        kernel.load(entries)
    assert [] == kernel.processes()


@pytest.mark.parametrize(
    "change",
    [{"message": {"n": 99}}, {"timestamp": 5}, {"block-height": 5}, {"hash-chain": OTHER}],
    ids=["message", "timestamp", "block-height", "hash-chain"],
)
def test_a_slot_that_holds_something_else_is_a_conflict(kernel: Kernel, change: dict) -> None:
    """An entry that differs from what its slot holds is refused, and nothing behind it is taken."""
    process = kernel.load(schedule(3))
    entries = schedule(5)
    entries[2] |= change
    with pytest.raises(RequestError, match="slot 2 holds message") as caught:
        kernel.load(entries)
    assert "conflict" == caught.value.kind
    assert 2 == process.head.slot


@pytest.mark.parametrize("slots", [[0, 2], [0, 1, 1], [0, 1, 3], [1, 2], [5]])
def test_a_schedule_with_a_gap_is_refused(kernel: Kernel, slots: list[int]) -> None:
    """Slots are dense from 0, also where they are here already."""
    entries = [entry(slot, DEFINITION if slot == 0 else None) for slot in slots]
    for _ in range(2):
        with pytest.raises(RequestError, match="stands where slot"):
            kernel.load(entries)
        kernel.load(schedule(9))


def test_an_empty_schedule_is_refused(kernel: Kernel) -> None:
    """There is no process without a slot 0."""
    with pytest.raises(RequestError, match="the schedule is empty"):
        kernel.load([])


def test_a_schedule_whose_first_message_is_no_definition_is_refused(kernel: Kernel) -> None:
    """Slot 0 is checked like any definition."""
    with pytest.raises(ConfigError, match="execution-device: missing"):
        kernel.load([entry(0)])
    assert [] == kernel.processes()


@pytest.mark.parametrize("wrong", [{"data": "x" * (17 << 20)}, {"deep": None}], ids=["large", "deep"])
def test_a_message_that_could_not_be_read_again_is_refused(kernel: Kernel, wrong: dict) -> None:
    """A loaded message has the bounds of every message, so that whatever is taken can be read."""
    message = Message({"x": 1})
    for _ in range(70):
        message = Message({"deep": message})
    held = message if "deep" in wrong else wrong
    with pytest.raises(ProcessionError):
        kernel.load([entry(0, DEFINITION), entry(1, held)])
    assert [] == kernel.processes()


def test_a_long_schedule_is_taken_in_pages(kernel: Kernel) -> None:
    """A schedule longer than a page is taken whole, and again where it was broken off."""
    entries = schedule(2500)
    process = kernel.load(entries[:1700])
    assert 1699 == process.head.slot
    assert 2499 == kernel.load(iter(entries)).head.slot
