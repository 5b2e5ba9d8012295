"""Schedules: the rule of the next slot and the hash chain."""

from __future__ import annotations

from hashlib import sha256

import attrs
import cbor2
import pytest

from kernel.devices import ID
from procession import Message, ScheduleError
from procession.ids import to_id
from procession.schedules import Assignment, Given, Head, Submission, Tick, check_chain, next_assignment

TICK = Tick(1_700_000_000_000, 1000)


def submission(**fields: object) -> Submission:
    """Return a message for the next slot."""
    message = Message({"data": "x", **fields})
    return Submission(message, message.id)


def chain(count: int) -> list[Assignment]:
    """Return the first slots of a schedule."""
    made: list[Assignment] = []
    for n in range(count):
        head = Head(made[-1].slot, made[-1].chain) if made else None
        made.append(next_assignment(ID, head, submission(n=n), Tick(TICK.timestamp + n, TICK.block_height + n)))
    return made


def test_slots_are_dense_from_zero() -> None:
    """The first slot is 0 and each next one follows its head."""
    assert [0, 1, 2] == [assignment.slot for assignment in chain(3)]


def test_the_chain_is_what_its_rule_says() -> None:
    """Each chain value is the sha-256 of the one before and the canonical fields of the assignment."""
    before = b""
    for assignment in chain(3):
        fields = {
            "process": ID,
            "slot": assignment.slot,
            "timestamp": assignment.timestamp,
            "block-height": assignment.block_height,
            "path": "compute",
            "message-id": assignment.message_id,
        }
        before = sha256(before + cbor2.dumps(fields, canonical=True)).digest()
        assert before == assignment.chain


@pytest.mark.parametrize(
    "change",
    [
        {"process": to_id(bytes(32))},
        {"timestamp": 1},
        {"block_height": 1},
        {"path": "other"},
        {"message_id": ID},
        {"chain": bytes(32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_nothing_that_a_stage_reads_lies_outside_of_the_chain(change: dict) -> None:
    """An assignment with any other field breaks the chain at its slot."""
    made = chain(3)
    made[1] = attrs.evolve(made[1], **change)
    with pytest.raises(ScheduleError, match=r"slot 1.*does not continue"):
        check_chain(made, None)


def test_a_chain_that_holds_gives_its_head() -> None:
    """Checking in parts gives the head of the whole."""
    made = chain(5)
    whole = check_chain(made, None)
    assert Head(4, made[4].chain) == whole == check_chain(made[2:], check_chain(made[:2], None))
    assert None is check_chain([], None)


@pytest.mark.parametrize("slots", [[1], [0, 2], [0, 0], [0, 1, 1]])
def test_a_gap_or_a_repetition_is_named(slots: list[int]) -> None:
    """Assignments that are not dense are refused with the slot where they are not."""
    made = chain(3)
    with pytest.raises(ScheduleError, match="stands where slot"):
        check_chain([made[slot] for slot in slots], None)


def test_a_given_place_must_be_the_next() -> None:
    """A schedule made elsewhere keeps its time and height, at exactly the next slot."""
    head = Head(4, bytes(32))
    placed = attrs.evolve(submission(), given=Given(5, 77, 88))
    assignment = next_assignment(ID, head, placed, TICK)
    assert (5, 77, 88, "imported") == (
        assignment.slot,
        assignment.timestamp,
        assignment.block_height,
        assignment.provenance,
    )
    for slot in (4, 6, 0):
        with pytest.raises(ScheduleError, match=f"gives slot {slot} where slot 5 follows"):
            next_assignment(ID, head, attrs.evolve(placed, given=Given(slot, 77, 88)), TICK)


def test_a_given_chain_must_continue() -> None:
    """A chain value that comes along is compared with ours."""
    placed = attrs.evolve(submission(), given=Given(0, 77, 88))
    ours = next_assignment(ID, None, placed, TICK)
    same = attrs.evolve(placed, given=Given(0, 77, 88, ours.chain))
    assert ours == next_assignment(ID, None, same, TICK)
    with pytest.raises(ScheduleError, match="does not continue"):
        next_assignment(ID, None, attrs.evolve(placed, given=Given(0, 77, 88, bytes(32))), TICK)


@pytest.mark.parametrize(("path", "kept"), [("/x/y", "/x/y"), ("", "compute"), (5, "compute"), (["a"], "compute")])
def test_the_path_is_data(path: object, kept: str) -> None:
    """A message's own path is kept in its assignment; without one it is compute."""
    assert kept == next_assignment(ID, None, submission(path=path), TICK).path


def test_an_assignment_shows_itself_as_the_field_does() -> None:
    """The message form has the field's keys, and the message itself under body."""
    shown = chain(1)[0].as_message()
    expected = {
        "type": "Assignment",
        "data-protocol": "ao",
        "variant": "ao.N.1",
        "process": ID,
        "epoch": "0",
        "slot": 0,
        "timestamp": TICK.timestamp,
        "block-height": TICK.block_height,
        "path": "compute",
        "message-id": chain(1)[0].message_id,
        "hash-chain": to_id(chain(1)[0].chain),
        "provenance": "local",
        "body": {"data": "x", "n": 0},
    }
    assert expected == shown.plain()
    assert list(Message(expected)) == list(shown), "its keys are in canonical order as they stand"
    assert Message(expected) == shown
