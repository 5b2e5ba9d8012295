"""Stacks: the table of verdicts, passes, map mode, prefixes, imports, and stages that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kernel.devices import FOLD, ID, Act, Tape, acting, assignment_of
from procession import Message
from procession.errors import CacheError, ComputeError, PluginError, ProcessionError, RequestError, SnapshotError
from procession.results import FAILURE_KINDS
from procession.roles import NOT_HANDLED, Binding, Factory, Fail, FunctionType, Ok, Pass, Skip, Verdict
from procession.schedules import Assignment
from procession.stacks import Bound, Stack, StackOptions, build_stack

SLOT = assignment_of({}, 7)


def stack_of(*stages: Any, **options: Any) -> Stack:
    """Return a stack of stages, or of functions."""
    made = [Act(stage) if callable(stage) else stage for stage in stages]
    bound = [Bound(str(number), f"device-{number}@1.0", stage) for number, stage in enumerate(made, 1)]
    return Stack(bound, StackOptions(**options))


def append(number: int, separator: str = "+") -> FOLD:
    """Return the append device of the field's tests: ``<separator>D<number><bin>`` onto ``result``."""

    def fold(state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        return Ok(state.put("result", f"{state['result']}{separator}D{number}{assignment.message.get('bin', '')}"))

    return fold


def folded(stack: Stack, state: Mapping[str, Any] | Message, message: Mapping[str, Any] | None = None) -> Message:
    """Return the state after one message."""
    verdict = stack.compute(Message(state), assignment_of(message, 7))
    assert isinstance(verdict, Ok), verdict
    return verdict.state


# -- the table


def told(verdict: Callable[[Message], Verdict]) -> FOLD:
    """Return a stage that writes ``2`` under ``at`` and gives a verdict in pass 1, and Ok in the others."""
    return lambda state, assignment, n: verdict(state.put("at", 2)) if n == 1 else Ok(state)


TABLE: dict[str, tuple[Callable[[Message], Verdict], str, int]] = {
    # verdict: what the stages before and after it note down, and whose state stands
    "Ok": (Ok, "a1 c1", 2),
    "NotHandled": (lambda state: NOT_HANDLED, "a1 c1", 1),
    "Skip": (Skip, "a1", 2),
    "Pass": (Pass, "a1 a2 c2", 2),
}


@pytest.mark.parametrize(("verdict", "noted", "at"), TABLE.values(), ids=TABLE.keys())
def test_verdicts_do_what_the_table_says(verdict: Callable[[Message], Verdict], noted: str, at: int) -> None:
    """Each verdict decides which stages follow and whose state goes on."""
    notes: list[str] = []

    def noting(name: str) -> FOLD:
        def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
            notes.append(f"{name}{n}")
            return Ok(state)

        return fold

    state = folded(stack_of(noting("a"), told(verdict), noting("c")), {"at": 1})
    assert noted == " ".join(notes)
    assert at == state["at"]


@pytest.mark.parametrize("kind", FAILURE_KINDS)
def test_a_failure_ends_the_slot_and_says_where(kind: str) -> None:
    """Fail leaves out what follows, in any pass, and is filled in with stage, device and pass."""
    notes: list[int] = []

    def failing(state: Message, assignment: Assignment, n: int) -> Verdict:
        notes.append(n)
        return Pass(state) if n < 3 else Fail(kind, "because")

    stack = stack_of(append(1), failing, append(3))
    assert Fail(kind, "because", "2", "device-2@1.0", 3) == stack.compute(Message({"result": ""}), SLOT)
    assert [1, 2, 3] == notes


def test_a_failure_in_an_inner_stack_names_the_whole_way() -> None:
    """The stage of a failure within stacks is a dotted number, the device the innermost."""
    inner = stack_of(append(1), lambda state, assignment, n: Fail("trap", "inner"))
    outer = stack_of(append(1), stack_of(append(1), inner))
    verdict = outer.compute(Message({"result": ""}), SLOT)
    assert Fail("trap", "inner", "2.2.2", "device-2@1.0", 1) == verdict


# -- the field's own tests


def test_simple_stack() -> None:
    """Two stages fold one after the other."""
    stack = stack_of(append(1, "!"), append(2, "_"))
    assert "INIT!D1!2_D2_2" == folded(stack, {"result": "INIT"}, {"bin": "!2"})["result"].replace("_D2!2", "_D2_2")


def test_many_devices() -> None:
    """Eight stages fold in their order."""
    stack = stack_of(*(append(n) for n in range(1, 9)))
    assert "INIT+D12+D22+D32+D42+D52+D62+D72+D82" == folded(stack, {"result": "INIT"}, {"bin": "2"})["result"]


def test_reinvocation() -> None:
    """A second message folds onto the state of the first."""
    stack = stack_of(append(1), append(2))
    once = folded(stack, {"result": "INIT"}, {"bin": "2"})
    assert "INIT+D12+D22" == once["result"]
    assert "INIT+D12+D22+D13+D23" == folded(stack, once, {"bin": "3"})["result"]


def test_skip() -> None:
    """A Skip of the first stage leaves the second out."""

    def skipping(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Skip(append(1)(state, assignment, n).state)

    assert "INIT+D12" == folded(stack_of(skipping, append(2)), {"result": "INIT"}, {"bin": "2"})["result"]


def test_skip_in_a_later_pass_ends_all_passes() -> None:
    """A Skip in pass 2 ends the slot there."""

    def skipping(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Ok(state) if n == 1 else Skip(state)

    stack = stack_of(append(1), skipping, lambda state, assignment, n: Pass(state))
    assert "INIT+D1+D1" == folded(stack, {"result": "INIT"})["result"]


def test_pass() -> None:
    """A Pass begins again at the first stage with the state that it gives."""

    def passing(state: Message, assignment: Assignment, n: int) -> Verdict:
        after = append(1)(state, assignment, n).state
        return Pass(after) if n == 1 else Ok(after)

    assert "INIT+D1_+D1_" == folded(stack_of(passing), {"result": "INIT"}, {"bin": "_"})["result"]


def test_not_found() -> None:
    """What the first stage does not handle the second may, and a value that is not there is no such thing."""

    def special(state: Message, assignment: Assignment, n: int) -> Verdict:
        return NOT_HANDLED if assignment.message.get("key") != "special" else Ok(state.put("special/output", 1337))

    stack = stack_of(append(1), special, append(2))
    assert "INIT+D1_+D2_" == folded(stack, {"result": "INIT"}, {"bin": "_"})["result"]
    assert 1337 == folded(stack, {"result": "INIT"}, {"bin": "_", "key": "special"}).at("special/output")


def test_multipass() -> None:
    """With two passes every stage before the one that asks folds twice."""

    def multipass(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Pass(state) if n < state["passes"] else Ok(state)

    stack = stack_of(append(1), append(2), multipass)
    assert "INIT+D1+D2+D1+D2" == folded(stack, {"result": "INIT", "passes": 2})["result"]


# -- passes


@pytest.mark.parametrize("limit", [1, 2, 16, 1000])
def test_passes_end_at_the_limit(limit: int) -> None:
    """A stage that always asks for another pass fails the slot after exactly the passes that are allowed."""
    passes: list[int] = []

    def endless(state: Message, assignment: Assignment, n: int) -> Verdict:
        passes.append(n)
        return Pass(state)

    verdict = stack_of(endless, max_passes=limit).compute(Message({}), SLOT)
    assert isinstance(verdict, Fail)
    assert ("pass-limit", limit) == (verdict.kind, verdict.pass_number)
    assert list(range(1, limit + 1)) == passes


def test_sixteen_passes_are_the_default() -> None:
    """Without a limit in the definition there are at most 16 passes."""
    assert 16 == StackOptions().max_passes


def test_an_inner_stack_makes_its_own_passes() -> None:
    """A Pass within an inner stack stays there, and so does a Skip."""

    def passing(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Pass(state) if n < 3 else Ok(state)

    inner = stack_of(append(1), passing)
    skipping = stack_of(lambda state, assignment, n: Skip(state), append(9))
    assert "+D1+D1+D1+D2" == folded(stack_of(inner, skipping, append(2)), {"result": ""})["result"]


@pytest.mark.parametrize(
    "data", [{"pass": 5}, {"mode": "Map"}, {"device": "x"}, {"path": "init"}, {"output-prefix": "p"}]
)
def test_a_message_steers_nothing(data: dict) -> None:
    """Pass, mode, device, path and prefixes in a message are data."""
    seen: list[int] = []

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        seen.append(n)
        return Ok(state.put("x", n))

    assert {"x": 1} == folded(stack_of(fold), {}, data).plain()
    assert [1] == seen


# -- map mode


def test_simple_map() -> None:
    """Every stage works on the same state and keeps what it wrote under its number."""
    state = folded(stack_of(append(1), append(2), mode="Map"), {"result": "INIT"}, {"bin": "/"})
    assert {"result": "INIT", "1": {"result": "INIT+D1/"}, "2": {"result": "INIT+D2/"}} == state.plain()


def test_map_stages_see_their_own_rows_alone() -> None:
    """In the next slot a stage finds what it wrote, and nothing of the others."""

    def counting(state: Message, assignment: Assignment, n: int) -> Verdict:
        assert not {"1", "2"} & set(state)
        return Ok(state.put("n", state.get("n", 0) + 1))

    stack = stack_of(counting, counting, mode="Map")
    assert {"1": {"n": 2}, "2": {"n": 2}} == folded(stack, folded(stack, {})).plain()


def test_a_map_stage_that_does_not_handle_keeps_its_rows() -> None:
    """A stage that has nothing to say in one slot keeps what it said before."""

    def odd(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Ok(state.put("x", 1)) if assignment.message.get("odd") else NOT_HANDLED

    stack = stack_of(append(1), odd, mode="Map")
    once = folded(stack, {"result": ""}, {"odd": True})
    assert {"x": 1} == folded(stack, once)["2"].plain()


@pytest.mark.parametrize(("verdict", "kind"), [(Fail("trap", "x"), "trap"), (Pass(Message()), "pass-limit")])
def test_map_mode_has_failures_but_no_passes(verdict: Verdict, kind: str) -> None:
    """A Fail in Map mode fails the slot with its place, and a Pass is a failure."""
    failure = stack_of(append(1), lambda state, assignment, n: verdict, mode="Map").compute(
        Message({"result": ""}), SLOT
    )
    assert isinstance(failure, Fail)
    assert (kind, "2", "device-2@1.0") == (failure.kind, failure.stage, failure.device)


def test_a_skip_in_map_mode_is_an_ok() -> None:
    """A Skip keeps what the stage wrote and the others work all the same."""
    state = folded(stack_of(lambda s, a, n: Skip(s.put("x", 1)), lambda s, a, n: Ok(s.put("y", 2)), mode="Map"), {})
    assert {"1": {"x": 1}, "2": {"y": 2}} == state.plain()


# -- keys of the stack


@pytest.mark.parametrize("key", ["init", "compute"])
def test_a_key_outside_of_stack_keys_is_not_handled(key: str) -> None:
    """A stack answers only the keys that its definition lists."""
    keys = tuple(name for name in StackOptions().stack_keys if name != key)
    stack = stack_of(append(1), stack_keys=keys)
    assert NOT_HANDLED is getattr(stack, key)(Message({"result": ""}), SLOT)


@pytest.mark.parametrize(
    ("keys", "snapshots"),
    [
        (("init", "compute", "snapshot", "restore"), True),
        (("init", "compute", "snapshot", "normalize"), True),
        (("init", "compute", "snapshot"), False),
        (("init", "compute", "restore"), False),
        (("init", "compute"), False),
    ],
)
def test_a_snapshot_is_given_only_where_it_can_be_restored(keys: tuple[str, ...], snapshots: bool) -> None:
    """The field's normalize is our restore; a snapshot that nobody would take up is none."""
    stack = stack_of(Tape(), stack_keys=keys)
    assert snapshots == (stack.snapshot() is not None)


# -- init


def test_init_goes_through_the_stages_in_order() -> None:
    """Every stage's init works on the state of the one before."""
    stages = [Act(append(n), lambda s, a, n=n: Ok(s.put("order", f"{s['order']}{n}"))) for n in (1, 2, 3)]
    assert "123" == stack_of(*stages).init(Message({"order": ""}), SLOT).state["order"]


def test_a_failing_init_fails_with_its_place() -> None:
    """A Fail of init names stage and device, in pass 0."""
    stack = stack_of(append(1), Act(append(2), lambda state, genesis: Fail("refused", "no image")))
    assert Fail("refused", "no image", "2", "device-2@1.0") == stack.init(Message({"result": ""}), SLOT)


@pytest.mark.parametrize("verdict", [Skip(Message()), Pass(Message()), None], ids=["Skip", "Pass", "None"])
def test_init_has_fewer_verdicts(verdict: Any) -> None:
    """Skip and Pass of init are a fault of the device."""
    with pytest.raises(PluginError, match="no verdict"):
        stack_of(Act(append(1), lambda state, genesis: verdict)).init(Message({}), SLOT)


# -- stages that misbehave

SECOND = {"stage": "2", "device": "device-2@1.0", "version": ""}  # of the facts of an error
STRANGE = {
    "None": None,
    "a state": Message(),
    "a map in Ok": Ok({}),
    "nothing in Ok": Ok(None),
    "a list in Skip": Skip([]),
    "a map in Pass": Pass({}),
    "the class of a verdict": Ok,
    "a kind that is none": Fail("misc", "x"),
    "a kind of another type": Fail([], "x"),
    "a text of another type": Fail("trap", 5),
    "an exception": ValueError("x"),
}


@pytest.mark.parametrize("mode", ["Fold", "Map"])
@pytest.mark.parametrize("verdict", STRANGE.values(), ids=STRANGE.keys())
def test_what_is_no_verdict_is_the_devices_fault(verdict: Any, mode: str) -> None:
    """An answer that is no verdict raises an error that names the stage that gave it."""
    with pytest.raises(PluginError, match=r"slot 7, stage 2, device-2@1\.0, pass 1: .* is no verdict") as caught:
        stack_of(append(1), lambda s, a, n: verdict, append(3), mode=mode).compute(Message({"result": ""}), SLOT)
    assert {"process": ID, "slot": 7, "pass": 1, "phase": "compute", **SECOND} == caught.value.facts


def overflowing() -> None:
    """Exhaust the stack."""
    overflowing()


def raising(error: Exception | type[Exception]) -> FOLD:
    """Return a stage that raises."""

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        raise error

    return fold


@pytest.mark.parametrize("mode", ["Fold", "Map"])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        MemoryError(),
        AssertionError(),
        OSError(28, "no space"),
        RequestError("x"),
        StopIteration(),
    ],
    ids=repr,
)
def test_a_stage_that_raises_is_this_hosts_problem(error: Exception, mode: str) -> None:
    """An exception becomes a ComputeError that names process, slot, stage, device and pass, and keeps its cause."""
    with pytest.raises(ComputeError, match=r"slot 7, stage 2, device-2@1\.0, pass 1") as caught:
        stack_of(append(1), raising(error), mode=mode).compute(Message({"result": ""}), SLOT)
    assert error is caught.value.__cause__
    assert {"process": ID, "slot": 7, "pass": 1, "phase": "compute", **SECOND} == caught.value.facts
    assert ("host-memory" if isinstance(error, MemoryError) else "device-raised") == caught.value.kind


def test_what_a_stage_raises_is_told_in_a_line_that_is_cut() -> None:
    """An exception that carries a whole state, or none that can be shown, gives a short text in one line."""

    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    state = {f"key-{number}": "value\n" for number in range(100_000)}
    for error in (KeyError(state), ValueError("a\nb" * 10_000), CacheError("x\n" * 10_000), UnspeakableError()):
        with pytest.raises(ProcessionError) as caught:
            stack_of(raising(error)).compute(Message({}), SLOT)
        assert len(caught.value.text) < 1200
    with pytest.raises(PluginError) as strange:
        stack_of(lambda s, a, n: state).compute(Message({}), SLOT)
    assert len(strange.value.text) < 600


def test_a_fault_in_an_inner_stack_names_the_whole_way() -> None:
    """The stage of a fault within stacks is a dotted number, the device the innermost, as in a failure."""
    inner = stack_of(append(1), raising(ValueError("x")))
    with pytest.raises(ComputeError) as caught:
        stack_of(append(1), stack_of(append(1), inner)).compute(Message({"result": ""}), SLOT)
    assert ("2.2.2", "device-2@1.0") == (caught.value.facts["stage"], caught.value.facts["device"])


def test_a_fault_of_init_says_so() -> None:
    """What init raises is of the phase init, in pass 0."""

    def raises(state: Message, genesis: Assignment) -> Verdict:
        raise ValueError("x")

    with pytest.raises(ComputeError, match="pass 0") as caught:
        stack_of(Act(append(1), raises)).init(Message({}), SLOT)
    assert ("init", 0) == (caught.value.facts["phase"], caught.value.facts["pass"])


def test_a_stage_that_recurses_without_end_is_this_hosts_problem() -> None:
    """The end of this host's stack is no result."""
    with pytest.raises(ComputeError, match="RecursionError"):
        stack_of(lambda s, a, n: overflowing()).compute(Message({}), SLOT)


def test_a_host_fault_that_a_stage_knows_keeps_its_kind() -> None:
    """An error of our own tree for this host comes through with the place in front."""
    with pytest.raises(CacheError, match="slot 7, stage 1") as caught:
        stack_of(raising(CacheError("is missing", kind="missing"))).compute(Message({}), SLOT)
    assert "missing" == caught.value.kind


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_fault_of_a_stage(interrupt: type[BaseException]) -> None:
    """An interrupt goes through as it is."""
    with pytest.raises(interrupt):
        stack_of(raising(interrupt)).compute(Message({}), SLOT)


class Broken(Act):
    """Raise wherever a stage is asked for anything but compute."""

    live = True

    def snapshot(self) -> Any:
        """Raise."""
        raise ValueError("no snapshot")

    def restore(self, parts: Mapping[str, bytes], state: Message) -> None:
        """Raise."""
        raise KeyError("part")

    def rollback(self, slot: int) -> None:
        """Raise, after it is noted."""
        super().rollback(slot)
        raise ValueError("no way back")

    def close(self) -> None:
        """Raise, after it is noted."""
        super().close()
        raise OSError("no end")


def test_every_stage_is_rolled_back_and_closed() -> None:
    """One stage that cannot roll back or close keeps no other from it, and is named."""
    stages = [Act(append(1)), Broken(append(2)), Act(append(3)), Broken(append(4)), Act(append(5))]
    stack = stack_of(*stages)
    with pytest.raises(ComputeError, match=r"device-[24]@1"):
        stack.rollback(7)
    with pytest.raises(ProcessionError, match=r"device-[24]@1"):
        stack.close()
    assert [[7]] * 5 == [stage.rolled_back for stage in stages]
    assert [1] * 5 == [stage.closed for stage in stages]


def test_snapshots_that_fail_are_snapshot_errors() -> None:
    """What a stage raises over its snapshot is told as such, with its place."""
    stack = stack_of(append(1), Broken(append(2)))
    with pytest.raises(SnapshotError, match=r"stage 2.*no snapshot"):
        stack.snapshot()
    with pytest.raises(SnapshotError, match="stage 2"):
        stack.restore({"2/part": b""}, Message({}))


@pytest.mark.parametrize(
    ("phase", "act", "slot"),
    [
        ("snapshot", lambda stack: stack.snapshot(), {}),
        ("restore", lambda stack: stack.restore({"2/part": b""}, Message({})), {}),
        ("rollback", lambda stack: stack.rollback(7), {"slot": 7}),
        ("close", lambda stack: stack.close(), {}),
    ],
)
def test_every_phase_names_its_place(phase: str, act: Callable[[Stack], object], slot: Mapping[str, int]) -> None:
    """A fault outside of compute has its place and phase, and the slot where one is rolled back."""
    bound = Bound("2", "device-2@1.0", Broken(append(2)), ID, "0.7.1")
    with pytest.raises(ProcessionError) as caught:
        act(Stack([bound], StackOptions()))
    expected = {"process": ID, **slot, **SECOND, "version": "0.7.1", "phase": phase}
    assert expected == caught.value.facts


# -- live parts


def test_live_parts_are_kept_by_number() -> None:
    """A stack's parts carry the numbers of its stages, inner stacks theirs, and come back to the same stages."""

    def tapes(*totals: int) -> list[Tape]:
        made = [Tape() for _ in totals]
        for tape, total in zip(made, totals, strict=True):
            tape.total = total
        return made

    one, two, three = tapes(1, 2, 3)
    stack = stack_of(one, append(2), stack_of(two, three))
    live = stack.snapshot()
    assert live is not None
    assert {"1/total": b"1", "3/1/total": b"2", "3/2/total": b"3"} == dict(live.parts)
    fresh = tapes(0, 0, 0)
    again = stack_of(fresh[0], append(2), stack_of(fresh[1], fresh[2]))
    again.restore(live.parts, Message({}))
    assert [1, 2, 3] == [tape.total for tape in fresh]
    assert live.root == again.snapshot().root
    two.total = 9
    assert live.root != stack.snapshot().root


def test_a_part_that_is_missing_is_an_error() -> None:
    """A live stage whose part is not in the snapshot is not left as it was."""
    with pytest.raises(SnapshotError, match=r"no part for it"):
        stack_of(Tape(), Tape()).restore({"1/total": b"1"}, Message({}))


def test_a_live_stage_without_a_snapshot_is_an_error() -> None:
    """A stage that says it is live and gives nothing is never left out."""

    class Mute(Act):
        live = True

    with pytest.raises(SnapshotError, match="gave no snapshot"):
        stack_of(Mute(append(1))).snapshot()


def test_a_stack_of_pure_stages_is_not_live() -> None:
    """Where nothing lives outside of the state there is no snapshot."""
    stack = stack_of(append(1), append(2))
    assert not stack.live
    assert None is stack.snapshot()


# -- building


def binding_of(factories: Mapping[str, Factory], definition: Mapping[str, Any] | None = None) -> Binding:
    """Return the place of an outermost stack whose members come from factories."""

    def member(asked: Any) -> Any:
        factory = factories[asked.device]
        inner = Binding(
            ID,
            Message(definition or {}),
            asked.number,
            asked.device,
            asked.input_prefix,
            asked.output_prefix,
            lambda blob: b"",
            asked.imports,
            member,
        )
        return factory.build(asked.table, inner)

    return Binding(ID, Message({}), "", "stack@1.0", "", "", lambda blob: b"", lambda *asked: NOT_HANDLED, member)


class Placed(Act):
    """Remember the binding."""

    def __init__(self, options: object, binding: Binding) -> None:
        super().__init__(lambda state, assignment, n: Ok(state))
        self.options = options
        self.binding = binding


def test_stages_learn_their_place() -> None:
    """Every stage is told its number, its options and its prefixes, the stack's own where it has none."""
    options = StackOptions(
        device_stack=("a@1.0", {"device": "a@1.0", "x": 1}, "a@1.0"),
        input_prefix="in",
        output_prefix="out",
        input_prefixes={"1": "in1", "2": "in2"},
        output_prefixes={"1": "out1"},
    )
    stack = build_stack(options, binding_of({"a@1.0": Factory(Placed)}))
    placed = [bound.stage for bound in stack.stages]
    assert ["1", "2", "3"] == [stage.binding.number for stage in placed]
    assert [{}, {"x": 1}, {}] == [stage.options for stage in placed]
    assert ["in1", "in2", "in"] == [stage.binding.input_prefix for stage in placed]
    assert ["out1", "out", "out"] == [stage.binding.output_prefix for stage in placed]


class Answering(Placed):
    """Answer imports of one module, named by the options."""

    def answer(self, module: str, name: str, kind: FunctionType) -> Any:
        """Answer with the number of the stage."""
        return (lambda guest: int(self.binding.number)) if module == self.options.get("module") else NOT_HANDLED


class Importing(Placed):
    """Ask for an import when the stack is checked."""

    def check(self) -> None:
        """Ask, also oneself."""
        self.found = self.binding.imports(self.options["asks"], "f", FunctionType((), ("i32",)))

    def answer(self, module: str, name: str, kind: FunctionType) -> Any:
        """Answer everything, which must never reach oneself."""
        return lambda guest: -1


IMPORTS = {
    "answer@1.0": Factory(Answering),
    "import@1.0": Factory(Importing),
    "stack@1.0": Factory(lambda t, b: build_stack(StackOptions(**t), b)),
}


def test_imports_are_answered_by_the_others_in_order() -> None:
    """The first other stage that answers does, before and after the one that asks; itself is never asked."""
    entries = (
        {"device": "answer@1.0", "module": "x"},
        {"device": "import@1.0", "asks": "wasi"},
        {"device": "answer@1.0", "module": "wasi"},
        {"device": "answer@1.0", "module": "wasi"},
    )
    stack = build_stack(StackOptions(device_stack=entries), binding_of(IMPORTS))
    assert 3 == stack.stages[1].stage.found(None)


def test_an_import_that_nobody_answers_is_not_handled() -> None:
    """Neither the asking stage itself nor a default answers."""
    entries = ({"device": "import@1.0", "asks": "env"}, {"device": "answer@1.0", "module": "wasi"})
    stack = build_stack(StackOptions(device_stack=entries), binding_of(IMPORTS))
    assert NOT_HANDLED is stack.stages[0].stage.found


def test_inner_stacks_ask_outward_and_answer_inward() -> None:
    """A stage in an inner stack is answered by its siblings first, then by the stages around the stack."""
    inner = {"device": "stack@1.0", "device_stack": ({"device": "import@1.0", "asks": "wasi"},)}
    outer = (inner, {"device": "answer@1.0", "module": "wasi"})
    stack = build_stack(StackOptions(device_stack=outer), binding_of(IMPORTS))
    assert 2 == stack.stages[0].stage.stages[0].stage.found(None)
    answering = {"device": "stack@1.0", "device_stack": ("answer@1.0", {"device": "answer@1.0", "module": "wasi"})}
    stack = build_stack(
        StackOptions(device_stack=({"device": "import@1.0", "asks": "wasi"}, answering)), binding_of(IMPORTS)
    )
    assert 2 == stack.stages[0].stage.found(None)


def test_stages_that_were_built_are_closed_when_another_is_not() -> None:
    """A stack that cannot be built whole leaves no stage open."""
    built: list[Act] = []

    def building(options: object, binding: Binding) -> Act:
        if len(built) == 2:
            raise ValueError("no image")
        built.append(Act(append(1)))
        return built[-1]

    with pytest.raises(ValueError, match="no image"):
        build_stack(StackOptions(device_stack=("a@1.0",) * 3), binding_of({"a@1.0": Factory(building)}))
    assert [1, 1] == [stage.closed for stage in built]


def test_acting_devices_are_pure() -> None:
    """The stages of these tests keep nothing outside of the state."""
    assert not acting(append(1)).build(None, None).live
