"""The machine: one slot, its failures, halts, and the keys that are its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kernel.devices import FOLD, ID, Act, Tape, assignment_of
from procession import UNSET, Message, PluginError
from procession.commitments import trusted
from procession.ids import to_id
from procession.machine import HALT, Policy, initial_state, transition
from procession.results import Result, outbox
from procession.roles import NOT_HANDLED, Fail, Ok, Pass, Skip, Verdict
from procession.schedules import Assignment
from procession.stacks import Bound, Stack, StackOptions

DEFINITION = Message({"device": "process@1.0", "type": "Process", "name": "x", "execution-device": "a@1.0"})
RECORDING = Policy()
BEGUN = {"device": "process@1.0", "initialized": "true"}


def counting(state: Message, assignment: Assignment, n: int) -> Verdict:
    """Count, say so, and fail where a message asks for it."""
    after = state.put("count", state.get("count", 0) + 1).put("results/data", assignment.slot)
    return Fail("refused", "asked to") if assignment.message.get("fail") else Ok(after)


def run(
    fold: FOLD, messages: list[Mapping[str, Any]], policy: Policy = RECORDING, definition: Message = DEFINITION
) -> list[Result]:
    """Return the results of messages from slot 0."""
    stage, state, results = Act(fold), initial_state(definition), []
    for slot, message in enumerate(messages):
        results.append(transition(stage, state, assignment_of(message, slot), policy))
        state = results[-1].state
    return results


def released_by(address: str, **rows: Any) -> Message:
    """Return a release that an address vouches for."""
    message = Message({"action": "release", **rows})
    return trusted(message, given_id=to_id(address.encode().ljust(32, b".")), owner=address)


def test_a_state_begins_with_the_definition() -> None:
    """Before slot 0 the state holds the definition's keys, and the definition itself under process."""
    definition = trusted(DEFINITION, given_id=ID, owner="alice")
    state = initial_state(definition)
    assert {**DEFINITION.plain(), "process": definition.plain()} == state.plain()
    assert definition.id == state["process"].id


@pytest.mark.parametrize("key", ["at-slot", "initialized", "halted", "results"])
def test_a_definition_cannot_set_the_machines_keys(key: str) -> None:
    """A definition that carries a key of the machine begins like one that does not."""
    state = initial_state(DEFINITION.put(key, {"slot": 1}))
    assert key not in state
    (result,) = run(counting, [{}], definition=DEFINITION.put(key, "true"))
    assert (1, 0, None) == (result.state["count"], result.state["at-slot"], result.failure)


def test_slots_fold_one_after_the_other() -> None:
    """Each slot begins with the state of the one before and tells its own number."""
    results = run(counting, [{}, {}, {}])
    assert [0, 1, 2] == [result.slot for result in results] == [result.state["at-slot"] for result in results]
    assert [1, 2, 3] == [result.state["count"] for result in results]
    expected = {**DEFINITION.plain(), **BEGUN, "process": DEFINITION.plain(), "at-slot": 2, "count": 3}
    assert {**expected, "results": {"data": 2}} == results[2].state.plain()


def test_results_are_of_one_slot() -> None:
    """A slot that writes no results has none, and never those of the slot before."""

    def once(state: Message, assignment: Assignment, n: int) -> Verdict:
        assert "results" not in state
        return Ok(state.put("results/data", 1) if assignment.slot == 0 else state)

    results = run(once, [{}, {}])
    assert ["results" in result.state for result in results] == [True, False]


def test_init_runs_once_before_the_first_slot() -> None:
    """The stage is initialised with slot 0 and never again."""
    calls: list[tuple[str, int]] = []

    def init(state: Message, genesis: Assignment) -> Verdict:
        calls.append(("init", genesis.slot))
        return Ok(state.put("seed", 1))

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        calls.append(("compute", assignment.slot))
        return Ok(state.put("seed", state["seed"] + 1))

    stage, state = Act(fold, init), initial_state(DEFINITION)
    for slot in range(3):
        state = transition(stage, state, assignment_of({}, slot), Policy()).state
    assert [("init", 0), ("compute", 0), ("compute", 1), ("compute", 2)] == calls
    assert 4 == state["seed"]


def test_what_is_not_handled_leaves_the_state() -> None:
    """A slot that no stage handles has the state of the one before, and its own number."""
    (result,) = run(lambda state, assignment, n: NOT_HANDLED, [{}])
    assert {**DEFINITION.plain(), **BEGUN, "process": DEFINITION.plain(), "at-slot": 0} == result.state.plain()


@pytest.mark.parametrize("key", ["process", "device", "at-slot", "initialized", "halted"])
@pytest.mark.parametrize("value", [UNSET, "mine", {"slot": 9}])
def test_a_stage_cannot_write_the_machines_keys(key: str, value: object) -> None:
    """What a stage writes to or removes from the machine's keys is undone at the end of the slot."""
    expected = run(lambda state, assignment, n: Ok(state), [{}, {}])
    written = run(lambda state, assignment, n: Ok(state.put(key, value)), [{}, {}])
    assert [result.state.id for result in expected] == [result.state.id for result in written]


def test_private_rows_end_with_the_slot() -> None:
    """A private row reaches the stages behind it and neither the next slot nor the state."""

    def private(state: Message, assignment: Assignment, n: int) -> Verdict:
        assert {} == state.private
        assert "deep" not in state or {} == state.at("deep/er").private
        return Ok(state.with_private("priv.tool", object()).put("deep/er", Message({"priv": 1, "a": 1})))

    results = run(private, [{}, {}, {}])
    assert {} == results[2].state.private == results[2].state.at("deep/er").private
    assert {"a": 1} == results[2].state.at("deep/er").plain()


# -- failures


def test_a_failure_is_recorded_and_the_process_goes_on() -> None:
    """A slot that fails has the state of the one before and says why; the next slot goes on from there."""
    results = run(counting, [{}, {"fail": True}, {}])
    assert [1, 1, 2] == [result.state["count"] for result in results]
    assert [0, 1, 2] == [result.state["at-slot"] for result in results]
    error = {"kind": "refused", "message": "asked to", "stage": "", "device": "", "pass": 0}
    assert {"error": error} == results[1].state["results"].plain()
    assert ("refused", "asked to") == (results[1].failure.kind, results[1].failure.message)
    assert results[0].state.without("results", "at-slot") == results[1].state.without("results", "at-slot")
    assert {"data": 2} == results[2].state["results"].plain()


def test_a_failure_rolls_the_live_parts_back() -> None:
    """What a failed slot did outside of the state is undone, in the stages before the one that failed too."""
    tape = Tape()
    stack = Stack([Bound("1", "tape@1.0", tape), Bound("2", "c@1.0", Act(counting))], StackOptions())
    state = initial_state(DEFINITION)
    for slot, message in enumerate([{"amount": 1}, {"amount": 10, "fail": True}, {"amount": 100}]):
        state = transition(stack, state, assignment_of(message, slot), Policy()).state
    assert (101, 101) == (state["total"], tape.total)


def test_a_first_slot_that_fails_is_begun_again() -> None:
    """Where slot 0 fails, nothing of it stands, and the next slot initialises."""
    calls: list[int] = []

    def init(state: Message, genesis: Assignment) -> Verdict:
        calls.append(genesis.slot)
        return Fail("refused", "not yet") if genesis.slot == 0 else Ok(state.put("seed", 1))

    stage = Act(counting, init)
    first = transition(stage, initial_state(DEFINITION), assignment_of({}, 0), Policy())
    assert "initialized" not in first.state
    assert "count" not in first.state
    second = transition(stage, first.state, assignment_of({}, 1), Policy())
    assert [0, 1] == calls
    assert (1, 1, "true") == (second.state["seed"], second.state["count"], second.state["initialized"])


@pytest.mark.parametrize("verdict", [None, Pass(Message()), "Ok", NOT_HANDLED.__class__], ids=repr)
def test_a_lone_stage_that_gives_no_verdict_is_the_devices_fault(verdict: Any) -> None:
    """What ends no slot is never stored."""
    with pytest.raises(PluginError, match="ends no slot"):
        run(lambda state, assignment, n: verdict, [{}])


def test_a_skip_ends_a_slot_well() -> None:
    """A Skip is a result like an Ok."""
    (result,) = run(lambda state, assignment, n: Skip(state.put("x", 1)), [{}])
    assert (1, None) == (result.state["x"], result.failure)


# -- halts

HALTING = Policy(HALT, ("alice",))


def test_a_halt_stands_until_it_is_released() -> None:
    """A failure halts; later slots record who halted; a release by the right address clears it at its slot."""
    messages = [{}, {"fail": True}, {}, {"fail": True}, released_by("alice"), {}]
    results = run(counting, messages, HALTING)
    assert [1, 1, 1, 1, 1, 2] == [result.state["count"] for result in results]
    assert [None, "refused", "halted", "halted", None, None] == [
        result.failure and result.failure.kind for result in results
    ]
    error = results[1].state["results"]["error"].plain()
    assert {"slot": 1, "error": error} == results[2].state["halted"].plain()
    for result in results[2:4]:
        assert ("halted", 1) == (result.state.at("results/error/kind"), result.state.at("results/error/by"))
    assert [2, 3, 4, 5] == [result.state["at-slot"] for result in results[2:]]
    assert "halted" not in results[4].state
    assert {} == results[4].state["results"].plain()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (HALTING, Message({"action": "release"})),
        (HALTING, released_by("mallory")),
        (HALTING, released_by("alice").put("action", "Release")),
        (HALTING, trusted(Message({"action": "release", "from": "alice"}), given_id=ID, owner="")),
        (Policy(HALT), released_by("alice")),
    ],
    ids=["unsigned", "another address", "another action", "no owner", "nobody may"],
)
def test_only_the_right_release_releases(policy: Policy, message: Message) -> None:
    """Without a release by an address of the definition a halt stays."""
    results = run(counting, [{"fail": True}, message, {}], policy)
    assert ["refused", "halted", "halted"] == [result.failure.kind for result in results if result.failure]


def test_a_halt_in_the_first_slot_can_be_released() -> None:
    """A process that failed in slot 0 begins anew behind its release."""
    results = run(counting, [{"fail": True}, released_by("alice"), {}], HALTING)
    assert (1, None) == (results[2].state["count"], results[2].failure)


def test_a_release_of_nothing_is_a_message() -> None:
    """Without a halt a release goes through the stages like any message."""
    assert 1 == run(counting, [released_by("alice")], HALTING)[0].state["count"]


def test_slots_between_halt_and_release_do_nothing() -> None:
    """While a process is halted no stage is called."""
    calls: list[int] = []

    def noting(state: Message, assignment: Assignment, n: int) -> Verdict:
        calls.append(assignment.slot)
        return counting(state, assignment, n)

    run(noting, [{"fail": True}, {}, {}, released_by("alice"), {}], HALTING)
    assert [0, 4] == calls


# -- determinism


def test_a_transition_follows_from_its_arguments() -> None:
    """The same state and assignment give the same bytes, whatever happened before."""
    once, again = run(counting, [{"n": 1}, {"fail": True}, {}]), run(counting, [{"n": 1}, {"fail": True}, {}])
    assert [result.state.encoded for result in once] == [result.state.encoded for result in again]


def test_an_untouched_state_shares_everything() -> None:
    """A slot that changes nothing keeps the parts of the state as the same objects."""
    stage = Act(lambda state, assignment, n: Ok(state.put("n", assignment.slot)))
    state = initial_state(DEFINITION.put("table", {f"k{n}": {"v": n} for n in range(100)}))
    after = transition(stage, state, assignment_of({}, 0), Policy()).state
    assert state["table"] is after["table"]
    assert state["process"] is after["process"]


# -- outboxes

OUTBOXES: dict[str, tuple[Any, dict[int, Any]]] = {
    "a map from 1": ({"1": {"a": 1}, "2": {"a": 2}}, {1: {"a": 1}, 2: {"a": 2}}),
    "a list": ([{"a": 1}, {"a": 2}], {1: {"a": 1}, 2: {"a": 2}}),
    "in the order of numbers": ({"10": {"a": 10}, "9": {"a": 9}}, {9: {"a": 9}, 10: {"a": 10}}),
    "what is no number": ({"x": {"a": 1}, "1": {"a": 2}, "-1": {}, "\u0662": {}, "": {}}, {1: {"a": 2}}),
    "two ways to write a number": ({"01": {"a": 1}, "1": {"a": 2}, "0": {}}, {1: {"a": 2}}),
    "a number without end": ({"9" * 5000: {"a": 1}}, {}),
    "what is no message": ({"1": "x", "2": {"a": 1}, "3": 7}, {1: "x", 2: {"a": 1}, 3: 7}),
    "a text": ("x", {}),
    "nothing": (None, {}),
}


@pytest.mark.parametrize(("entries", "expected"), OUTBOXES.values(), ids=OUTBOXES.keys())
def test_outboxes_are_read_by_index(entries: Any, expected: dict[int, Any]) -> None:
    """An outbox gives its entries by their numbers from 1, whatever a guest wrote there."""
    found = outbox(Message({"results": {"outbox": entries}}))
    assert expected == {index: entry.plain() if isinstance(entry, Message) else entry for index, entry in found.items()}
    assert sorted(found) == list(found)
