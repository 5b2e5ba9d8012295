"""dedup@1.0 lets each message through once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

import procession_dedup
from procession import ConfigError, Kernel, Message
from procession.commitments import trusted
from procession.ids import hash_id
from procession.messages import encode
from procession.testing import StageContract, Trial, devices
from procession.testing.trials import Row, rows_of
from procession.tries import Branch

PLUGINS = (procession_dedup, devices)
STACK = ["append@1.0", "dedup@1.0", "append@1.0"]


def run(messages: Sequence[Mapping[str, Any]], stack: Sequence[Any] = STACK, **keys: Any) -> list[Row]:
    """Return the slots of some messages, slot 0 included."""
    definition = {"device-stack": list(stack), **{key.replace("_", "-"): value for key, value in keys.items()}}
    return rows_of(Trial(PLUGINS, definition, messages))


def trace_of(rows: Sequence[Row]) -> str:
    """Return which stages ran in which pass."""
    return " ".join(rows[-1].state["trace"])


class TestContract(StageContract):
    """Run the contract of stages on a memory that forgets."""

    @pytest.fixture
    def device(self) -> Trial:
        """Return messages that repeat, fail and repeat again."""
        definition = {"dedup-limit": 3, "device-stack": [*STACK, "write@1.0"]}
        words = ["a", "a", "b", "c", "d", "a"]
        messages = [*({"data": word} for word in words), {"refuse": 1}, {"refuse": 1}, {"data": "d"}]
        return Trial(PLUGINS, definition, messages)


class TestWideMemory(StageContract):
    """Run the contract of stages on a memory that is a trie."""

    @pytest.fixture
    def device(self) -> Trial:
        """Return more messages than a flat map holds, known by a key of theirs."""
        definition = {"dedup-subject": "reference", "dedup-limit": 66, "device-stack": STACK}
        return Trial(PLUGINS, definition, [{"reference": number % 68} for number in range(72)])


def test_each_message_is_computed_once() -> None:
    """Of four messages sent twice each, the stages behind dedup see each once, those before it all."""
    rows = run([{"n": number} for number in (1, 2, 3, 4, 1, 2, 3, 4)])
    assert "11 31 11 31 11 31 11 31 11 31 11 11 11 11" == trace_of(rows)


def test_passes_of_one_message_are_not_repetitions() -> None:
    """In the second pass of its own slot a message is no repetition; a repeated one has no second pass."""
    rows = run([{"n": 1}, {"n": 1}], ["dedup@1.0", "append@1.0", "append@1.0", "again@1.0"])
    assert "21 31 22 32 21 31 22 32" == trace_of(rows)


def test_a_skipped_slot_leaves_the_state_as_it_was() -> None:
    """A repeated message changes nothing but the slot, and has no results."""
    first, second = run([{"write": {"results": {"data": 1}, "x": 1}}] * 2, ["dedup@1.0", "write@1.0"])[1:]
    assert first.state.without("at-slot", "results") == second.state.without("at-slot", "results")
    assert (1, None, "") == (first.state.at("results/data"), second.state.get("results"), second.failure)


def test_the_definition_is_remembered() -> None:
    """The definition is a message too: sent again it is skipped."""
    definition = {"device-stack": STACK}
    rows = rows_of(Trial(PLUGINS, definition, [definition]))
    assert "11 31 11" == trace_of(rows)


def test_signed_messages_are_known_by_their_signed_id() -> None:
    """A message is known by its message id, whatever else it carries."""
    signed = trusted(Message({"n": 1}), given_id=hash_id(b"signed"), owner="someone")
    resent = trusted(Message({"n": 1, "extra": 2}), given_id=hash_id(b"signed"), owner="someone")
    other = trusted(Message({"n": 1}), given_id=hash_id(b"otherwise"), owner="someone")
    assert "11 31 11 31 11 11 31" == trace_of(run([signed, resent, other]))


def test_requests_are_never_repetitions() -> None:
    """With the whole request as subject every slot is new, since its slot and time are part of it."""
    assert "11 31 11 31 11 31" == trace_of(run([{"n": 1}, {"n": 1}], dedup_subject="request"))


def test_a_key_of_the_message_is_the_subject() -> None:
    """Messages are known by a key, by its type too, and below others by a path; one without it is new."""
    rows = run([{"reference": value} for value in (1, 1, "1", True, 1.0)], dedup_subject="reference")
    assert "11 31 11 31 11 11 31 11 31 11 31" == trace_of(rows)
    rows = run([{"x": {"y": [1]}}, {"x": {"y": [1]}, "z": 2}, {"x": {}}, {"x": {}}], dedup_subject="/x/y")
    assert "11 31 11 31 11 11 31 11 31" == trace_of(rows)


def test_a_message_as_subject_is_known_by_its_id() -> None:
    """A subject that is a map is known by its message id."""
    rows = run([{"subject": {"a": 1}}, {"subject": {"a": 1}}], dedup_subject="subject")
    assert {Message({"a": 1}).id: 0} == rows[-1].state["dedup"]["seen"]


def test_the_state_is_asked_first() -> None:
    """A subject that the state holds is the same for every message."""
    rows = run([{"reference": 1}, {"reference": 2}], dedup_subject="reference", reference="the process's own")
    assert "11 31 11 11" == trace_of(rows)
    assert {hash_id(encode("the process's own")): 0} == rows[-1].state["dedup"]["seen"]


def test_the_oldest_is_forgotten() -> None:
    """Of more messages than the limit the oldest is forgotten first, and may come again."""
    rows = run([{"n": number} for number in (1, 2, 3, 2, 1)], dedup_limit=2)
    assert "11 31 11 31 11 31 11 31 11 11 31" == trace_of(rows)
    memory = rows[-1].state["dedup"]
    assert (5, 2, 2) == (memory["next"], len(memory["seen"]), len(memory["ring"]))


def test_a_failed_message_is_not_remembered() -> None:
    """A message whose slot fails is computed again when it comes again."""
    rows = run([{"refuse": 1}, {"refuse": 1}], ["dedup@1.0", "write@1.0"])
    assert ["", "refused", "refused"] == [row.failure for row in rows]
    assert 1 == rows[-1].state["dedup"]["next"]


@pytest.mark.parametrize(
    "memory",
    [1, {}, {"next": 1}, {"next": -1, "seen": {}, "ring": {}}, {"next": 2**200, "seen": {}, "ring": {}}, [1]],
)
def test_an_overwritten_memory_begins_anew(memory: object) -> None:
    """Whatever another stage wrote in the memory's place, messages are computed and remembered."""
    rows = run([{"write": {"dedup": memory}}, {"n": 1}, {"n": 1}], ["write@1.0", "dedup@1.0", "append@1.0"])
    assert "31 31 31" == trace_of(rows)


def test_an_overwritten_ring_forgets_nothing() -> None:
    """A ring that holds anything but ids is written over, place by place."""
    broken = {"write": {"dedup": {"next": 0, "seen": {}, "ring": {"0": {"a": 1}, "1": None}}}}
    rows = run([broken, {"n": 1}, {"n": 1}], ["write@1.0", "dedup@1.0", "append@1.0"], dedup_limit=2)
    assert "31 31 31" == trace_of(rows)


def test_a_large_memory_is_a_trie() -> None:
    """A memory of many ids shares all but a few nodes with the slot before."""
    rows = run([{"n": number} for number in range(300)], ["dedup@1.0"])
    before, after = (row.state["dedup"]["seen"].table for row in rows[-2:])
    assert isinstance(before, Branch)
    shared = sum(one is other for one, other in zip(before.children, after.children, strict=True))
    assert 15 == shared


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("dedup-limit = 0", "dedup-limit: 0 is out of range"),
        ("dedup-limit = 100_000_000", "is out of range; give 1 to 10000000"),
        ('dedup-subject = ""', "dedup-subject: '' is no subject"),
        ('dedup-subject = "/"', "dedup-subject: '/' is no subject"),
        ("dedup-subject = 1", "dedup-subject: 1 is an integer; give a text"),
    ],
)
def test_bad_options_are_refused(memory_kernel: Callable[..., Kernel], keys: str, expected: str) -> None:
    """An option that makes no sense is refused with its key and a remedy."""
    with pytest.raises(ConfigError) as refused:
        memory_kernel(f'[process]\n{keys}\ndevice-stack = ["dedup@1.0"]\n', plugins=PLUGINS)
    assert expected in refused.value.text
