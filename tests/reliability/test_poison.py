"""Poison slots: a message that fails costs its own slot, says so at once, and holds nobody up."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from aos.module import MissingModuleError, aos_module
from aos.process import definition_file, evaluation, session
from procession import Kernel, Message, Process, ProcessionError
from procession.errors import ComputeError
from procession.machine import HALT, RECORD
from procession.results import FAILURE_KINDS
from procession.stacks import Stack
from procession_wasm.stage import WasmStage
from reliability.poisons import BLOB, OWNER, POISONS, Acts, Poison, entries, good, poisoned_kernel, release
from reliability.programme import Programme
from reliability.telling import about

Figure = Callable[[int, int], int]
ROW = "poison slot"
POLICIES = (RECORD, HALT)
OWN = ("at-slot", "results", "halted")  # what a slot that fails may change
FAILING = [poison for poison in POISONS if not poison.by_host]
BREAKING = [poison for poison in POISONS if poison.by_host]


def schedule_of(poison: Poison, before: int = 2) -> list[dict[str, Any]]:
    """Return a schedule: good slots, the poison, two good ones, releases of a stranger and of the owner, a good one."""
    first = [good(amount, poison.shape) for amount in range(1, before + 1)]
    after = [good(20, poison.shape), good(30, poison.shape)]
    releases = [release("Somebody-else-00000000000000000000000000000", 1), release(OWNER, 2)]
    return entries([*first, poison.message, *after, *releases, good(40, poison.shape)])


def load(kernel: Kernel, schedule: Sequence[Mapping[str, Any]]) -> Process:
    """Take up a schedule of the kernel's process."""
    assert kernel.definition is not None
    return kernel.load(schedule, definition=kernel.definition.message, trust_ids=True)


def rooted(process: Process, slot: int) -> tuple[Message, str]:
    """Compute the next slot, and return its state and live root."""
    state = process.compute(slot)
    return state, process.kernel.snapshot(process.id)["live-root"]


def rest(state: Message) -> str:
    """Return the id of what a slot that fails must leave as it was."""
    return state.without(*OWN).id


def check_reads_while_computing(process: Process, acts: Acts, slot: int, before: Message) -> None:
    """Read what is stored, and the schedule, while a slot is held in the middle of its computation."""
    acts.held, acts.arrived, acts.open = slot, threading.Event(), threading.Event()
    asking = threading.Thread(target=lambda: _quietly(process, slot))
    asking.start()
    try:
        assert acts.arrived.wait(60)
        found = process.kernel.resolve(f"/{process.id}/compute={slot - 1}")
        newest = process.kernel.resolve(f"/{process.id}/compute/at-slot")
        assert (before.id, slot - 1, slot + 1) == (found.id, newest, len(process.kernel.read(process.id, 0, slot)))
    finally:
        acts.open.set()
        asking.join(60)
    assert not asking.is_alive()
    acts.held = -1


def _quietly(process: Process, slot: int) -> None:
    try:
        process.compute(slot)
    except ProcessionError:
        return


def check_recorded(folder: Path, poison: Poison, policy: str, *, before: int = 2, every: int = 0) -> None:
    """Hold a failure that is data: seen at once, rolled back whole, the slots behind it as the policy says."""
    slot = before + 1
    acts, schedule = Acts(broken=False), schedule_of(poison, before)
    with poisoned_kernel(folder / "one", poison.shape, policy, acts, every=every) as kernel:
        process = load(kernel, schedule[: slot + 1])
        for number in range(slot):
            last, root = rooted(process, number)
        check_reads_while_computing(process, acts, slot, last)
        assert poison.kind == kernel.resolve(f"/{process.id}/compute={slot}/results/error/kind")
        told: list[str] = []
        load(kernel, schedule)
        for number in range(slot, len(schedule)):
            state, now = rooted(process, number)
            told.append(str(state.at("results/error/kind", "-")))
            still = number == slot or (policy == HALT and number <= slot + 4)  # up to the owner's release
            assert still == ((rest(last), root) == (rest(state), now))
            last, root = state, now
        halted = ["halted"] * 3 if policy == HALT else ["-"] * 3
        assert [poison.kind, *halted, "-", "-"] == told
        assert ("halted" in process.compute(slot + 3)) == (policy == HALT)
        assert all(row.agrees for row in process.replay())
        states = [process.compute(number).id for number in range(len(schedule))]
    check_elsewhere(folder / "two", poison, policy, (states, root))


def check_elsewhere(folder: Path, poison: Poison, policy: str, expected: tuple[list[str], str]) -> None:
    """Hold that a second kernel, with other snapshots and plugins in another order, comes to the same."""
    states, root = expected
    schedule = schedule_of(poison, len(states) - 7)
    with poisoned_kernel(folder, poison.shape, policy, Acts(broken=False), every=3, disk=False) as kernel:
        if poison.message.get("act") == "blob":
            kernel._host.cache.put_blob(BLOB)  # as a definition file would bring it
        process = load(kernel, schedule)
        assert (states[-1], root) == (process.now().id, kernel.snapshot(process.id)["live-root"])
        assert states == [process.compute(number).id for number in range(len(states))]


def check_raised(folder: Path, poison: Poison, policy: str, *, before: int = 2, every: int = 0) -> None:
    """Hold a fault of this host: told at once with its place, stored nowhere, and gone when it is repaired."""
    slot = before + 1
    acts, schedule = Acts(), schedule_of(poison, before)
    with poisoned_kernel(folder / "one", poison.shape, policy, acts, every=every) as kernel:
        process = load(kernel, schedule)
        last, _ = rooted(process, slot - 1)
        check_reads_while_computing(process, acts, slot, last)
        for asked in (slot, len(schedule) - 1):
            with pytest.raises(ProcessionError) as caught:
                kernel.resolve(f"/{process.id}/compute={asked}")
            assert (process.id, slot) == (caught.value.facts["process"], caught.value.facts["slot"])
            causes = {caught.value.kind, caught.value.facts.get("cause")}  # of a quarantined slot too
            assert (True, True) == (poison.kind in causes, len(caught.value.text) < 2000)
        assert (slot - 1, last.id) == (kernel.compute(process.id, None)["at-slot"], process.compute(slot - 1).id)
        acts.broken = False
        kernel.retry(process.id)
        kernel._host.cache.put_blob(BLOB)
        _, root = rooted(process, len(schedule) - 1)
        states = [process.compute(number).id for number in range(len(schedule))]
        assert all(row.agrees for row in process.replay())
    check_elsewhere(folder / "two", poison, policy, (states, root))


def test_a_poison_slot_holds_nobody_up(tmp_path: Path, programme: Programme, figure: Figure) -> None:
    """Each poison is seen within one request, under both policies; reads go on, and another kernel replays the same."""
    rounds = figure(1, 20)
    fault = programme.fault(ROW, expected=2 * len(POISONS) * rounds)
    dice = random.Random(9)
    for number in range(rounds):
        before, every = (2, 0) if number == 0 else (dice.randint(1, 9), dice.choice([0, 1, 3, 10]))
        for poison in POISONS:
            for policy in POLICIES:
                folder = tmp_path / f"{number}-{poison.name}-{policy}"
                folder.mkdir()
                check = check_raised if poison.by_host else check_recorded
                with about(f"{poison.name}, {policy}, {before} slots before, a snapshot every {every}"):
                    check(folder, poison, policy, before=before, every=every)
                fault.held()
    fault.note(f"{len(FAILING)} failures that are data, {len(BREAKING)} faults of the host, each under record and halt")


def named(name: str) -> Poison:
    """Return a poison."""
    return next(poison for poison in POISONS if poison.name == name)


@pytest.mark.parametrize("name", ["unreachable", "refused by the last stage"])
def test_without_the_rollback_the_poison_stays(
    name: str, tmp_path: Path, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing rolled back the memory of the guest, or of the stage, is another than before the slot."""
    fault = programme.fault(ROW, expected=0)
    monkeypatch.setattr(Stack, "rollback", lambda stack, slot: None)
    monkeypatch.setattr(WasmStage, "rollback", lambda stage, slot: None)
    with pytest.raises(AssertionError):
        check_recorded(tmp_path, named(name), RECORD)
    fault.control(f"without rollback ({name})")


def test_a_failure_that_is_raised_sticks(tmp_path: Path, programme: Programme, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a failure raised where it is recorded, no later slot is ever computed."""
    fault = programme.fault(ROW, expected=0)

    def raised(*given: Any) -> Any:
        raise ComputeError("the message failed")

    monkeypatch.setattr("procession.machine._failed", raised)
    schedule = schedule_of(named("unreachable"))
    with poisoned_kernel(tmp_path, "numbers", RECORD, Acts()) as kernel:
        process = load(kernel, schedule)
        for slot in range(3, len(schedule)):
            with pytest.raises(ProcessionError):
                process.compute(slot)
    fault.control("with the failure raised instead of recorded")


# -- hostile values

NUMBERS = (0, -1, 2**31, 2**63, 2**64, -(2**63), 2**255, -(2**255), 1e308, -0.0, 5e-324, float("nan"), float("inf"))
TEXTS = ("", "a", "\x00", "add", "handle", "malloc", "priv", "#b", "../..", "x" * 5000, "\U0001f30d", "__proto__")
KEYS = (
    "function",
    "parameters",
    "amount",
    "act",
    "data",
    "target",
    "tags",
    "pass",
    "path",
    "mode",
    "device",
    "results",
)
HOSTILE = "messages of hostile values"


def hostile(dice: random.Random, depth: int = 0) -> Any:
    """Return any value."""
    match dice.randrange(9 if depth < 6 else 6):
        case 0 | 1:
            return dice.choice(NUMBERS)
        case 2 | 3:
            return dice.choice(TEXTS)
        case 4:
            return dice.choice([None, True, False])
        case 5:
            return dice.randbytes(dice.choice([0, 1, 300]))
        case 6:
            return [hostile(dice, depth + 1) for _ in range(dice.randrange(4))]
    return {dice.choice([*KEYS, *TEXTS[1:4]]): hostile(dice, depth + 1) for _ in range(dice.randrange(4))}


def hostile_message(dice: random.Random) -> dict[str, Any]:
    """Return a message whose known keys hold any values, but ``amount``, which the tape adds unseen."""
    keys = dice.sample(KEYS, dice.randint(1, 5))
    message = {key: hostile(dice) for key in keys}
    if dice.random() < 0.5:
        message |= {"function": dice.choice(["add", "divide", "sink", "handle", "malloc", "free"])}
    return message | {"amount": 1, "n": dice.randrange(10**9)}


@pytest.mark.parametrize("shape", ["numbers", "texts"])
def test_no_value_of_a_message_is_the_hosts_problem(
    shape: str, tmp_path: Path, programme: Programme, figure: Figure
) -> None:
    """Whatever a message says under the keys that devices read, its slot is computed or fails; it never raises."""
    count, seed = figure(300, 10_000), 77
    fault = programme.fault(HOSTILE, expected=count)
    dice = random.Random(seed)
    with poisoned_kernel(tmp_path, shape, RECORD, Acts(broken=False)) as kernel:
        process = kernel.spawn()
        for number in range(count):
            message = hostile_message(dice)
            with about(f"seed {seed}, message {number}: {message!r:.2000}"):
                state = process.compute(process.schedule(message).slot)
                assert state.at("results/error/kind", "-") in (*FAILURE_KINDS, "-")
            fault.held()
        assert all(row.agrees for row in process.replay())


def test_a_device_that_trusts_its_message_is_seen(tmp_path: Path, programme: Programme) -> None:
    """A stage that adds whatever the message says, be it a text, raises: the search finds such a one."""
    fault = programme.fault(HOSTILE, expected=0)
    dice = random.Random(1)
    with poisoned_kernel(tmp_path, "numbers", RECORD, Acts(broken=False)) as kernel:
        process = kernel.spawn()
        process.schedule_many([{"amount": hostile(dice)} for _ in range(100)])
        with pytest.raises(ComputeError, match=r"tape@1\.0"):
            process.now()
    fault.control("with a stage that trusts its message")


# -- the real module

LUA_ROW = "poison slot of AOS"
LUA = ('error("boom")', "syntax error here (", "while true do end", 'string.rep("x", 2^30)', "local t = t.x.y")
LUA_KINDS = {
    RECORD: "- - - - - - out-of-fuel - - memory-limit - - -",
    HALT: "- - - - - - out-of-fuel - - memory-limit halted halted halted",
}
LUA_KEPT = {RECORD: ["42", "43", "44", "45", "46"], HALT: ["42", "43", "44", None, None]}  # behind each poison
MORE = 'on-failure = "{}"\nhalt-release = ["{}"]\nfuel = 400_000_000'


@pytest.mark.parametrize("policy", POLICIES)
def test_poisoned_lua_holds_nobody_up(policy: str, module: Path, tmp_path: Path, programme: Programme) -> None:
    """A Lua error is an answer of AOS, a Lua loop without end a failure; AOS remembers what it knew."""
    fault = programme.fault(LUA_ROW, expected=len(LUA))
    one, other = [lua_trace(tmp_path / name, module, policy, by_one=name == "one") for name in ("one", "two")]
    assert one == other
    fault.held(len(LUA))


def test_without_the_rollback_lua_is_spoilt(
    module: Path, tmp_path: Path, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing rolled back an AOS that was stopped in a loop has another memory than it had."""
    fault = programme.fault(LUA_ROW, expected=0)
    expected = lua_trace(tmp_path / "sound", module, HALT, by_one=False)
    monkeypatch.setattr(Stack, "rollback", lambda stack, slot: None)
    monkeypatch.setattr(WasmStage, "rollback", lambda stage, slot: None)
    found = lua_trace(tmp_path / "spoilt", module, HALT, by_one=False)
    assert (True, False) == (expected[1:] == found[1:], expected[0] == found[0])
    fault.control("without rollback")


@pytest.fixture(scope="module")
def module() -> Path:
    """Return the path of the AOS module."""
    try:
        return aos_module()
    except MissingModuleError as reason:
        pytest.skip(str(reason))


def lua_trace(folder: Path, module: Path, policy: str, *, by_one: bool) -> list[str]:
    """Return live root and state ids of AOS with poisons among good evaluations, computed one by one or all at once."""
    folder.mkdir(exist_ok=True)
    codes = ["Kept = 41", *(code for poison in LUA for code in (poison, "Kept = Kept + 1 return Kept"))]
    messages = [evaluation(number, code) for number, code in enumerate(codes, 1)]
    file = definition_file(folder, module, more=MORE.format(policy, OWNER))
    with Kernel.open(file, data=folder / "data") as kernel:
        return _lua_states(kernel, messages, policy, by_one=by_one)


def _lua_states(kernel: Kernel, messages: list[dict[str, Any]], policy: str, *, by_one: bool) -> list[str]:
    behind = release(OWNER) if policy == HALT else evaluation(99, "return Kept")  # a halt is at the third poison
    schedule = entries([*messages[:6], behind, *messages[6:]])
    schedule[0]["message"] = session()[0]["message"]
    process = load(kernel, schedule)
    states = [process.compute(slot) for slot in range(len(schedule))] if by_one else []
    process.now()
    root = kernel.snapshot(process.id)["live-root"]
    seen = [process.compute(slot) for slot in range(len(schedule))]
    assert LUA_KINDS[policy] == " ".join(str(state.at("results/error/kind", "-")) for state in seen)
    assert LUA_KEPT[policy] == [seen[slot].at("results/data") for slot in (3, 5, 8, 10, 12)]
    return [root, *(state.id for state in states or seen)]
