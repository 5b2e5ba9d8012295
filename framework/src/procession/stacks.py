"""Stack: named stages folded over one message, in passes.

========== ====================== =====================================
verdict    the state              what follows
========== ====================== =====================================
Ok         becomes the stage's    the next stage; after the last, done
NotHandled stays                  the next stage; after the last, done
Skip       becomes the stage's    done: no further stage, no further pass
Pass       becomes the stage's    the first stage, in the next pass
Fail       is given up            the slot fails and rolls back whole
========== ====================== =====================================

Rules
-----
* Passes are counted from 1; one more than ``max-passes`` is a failure of kind ``pass-limit``.
* In Map mode each stage works on the same state and keeps what it wrote under its own number;
  there are no passes, and a Skip is an Ok.
* What a message says never picks a stage, a mode or a prefix.
* A stage that raises, or answers with no verdict, is this host's problem: the error names its place,
  nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from typing import Any

import attrs

from procession.errors import ComputeError, PluginError, ProcessionError, SnapshotError, said
from procession.messages import Message, same
from procession.results import FAILURE_KINDS
from procession.roles import (
    NOT_HANDLED,
    Answerer,
    Binding,
    Fail,
    FunctionType,
    ImportFunction,
    Live,
    Member,
    NotHandled,
    Ok,
    Pass,
    Skip,
    Stage,
    Verdict,
)
from procession.schedules import Assignment

FOLD = "Fold"
MAP = "Map"
STACK_KEYS = ("init", "compute", "snapshot", "restore")
MAX_PASSES = 16

_VERDICTS = "return Ok, Skip or Pass with a Message, Fail with a known kind, or NOT_HANDLED; from init Ok or Fail"

Step = Callable[["Bound", Message], Verdict]


def _is_mode(options: object, attribute: object, value: str) -> None:
    if value not in (FOLD, MAP):
        raise ValueError(f"{value!r} is no mode; give 'Fold' or 'Map'")


def _is_limit(options: object, attribute: object, value: int) -> None:
    if not 1 <= value <= 1000:
        raise ValueError(f"{value} passes are out of range; give 1 to 1000")


@attrs.frozen
class StackOptions:
    """Hold the keys of a definition that shape its stack."""

    device_stack: tuple[Any, ...] = ()
    mode: str = attrs.field(default=FOLD, validator=_is_mode)
    max_passes: int = attrs.field(default=MAX_PASSES, validator=_is_limit)
    stack_keys: tuple[str, ...] = STACK_KEYS
    input_prefix: str = ""
    output_prefix: str = ""
    input_prefixes: Mapping[str, str] = attrs.field(factory=dict)
    output_prefixes: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Bound:
    """Hold a stage in its place; ``version`` is that of the distribution that brings the device."""

    number: str
    device: str
    stage: Stage
    process: str = ""
    version: str = ""


class Stack:
    """Be one stage made of others: fold them, or map over them.

    Needs: ``device-stack``, a list of device names or tables with their options.
    Reads: what its stages read. Writes: what its stages write; in Map mode under 1, 2, 3.
    Verdicts: Ok, Fail. Snapshot: the live parts of its stages, by their number.
    """

    def __init__(self, stages: Sequence[Bound], options: StackOptions) -> None:
        self.stages = tuple(stages)
        self.options = options
        self.live = any(bound.stage.live for bound in stages)
        keys = {"restore" if key == "normalize" else key for key in options.stack_keys}
        self._handles = frozenset(keys)

    def check(self) -> None:
        """Let every stage look for what it imports, now that all are there."""
        for bound in self.stages:
            check = getattr(bound.stage, "check", None)
            if check:
                check()

    def init(self, state: Message, genesis: Assignment) -> Verdict:
        """Initialise the stages in order, each on the state of the one before."""
        if "init" not in self._handles:
            return NOT_HANDLED
        return self._through(state, genesis, 0)

    def compute(self, state: Message, assignment: Assignment, pass_number: int = 1) -> Verdict:
        """Fold or map one assignment; inside another stack, all of its own passes at once."""
        if "compute" not in self._handles:
            return NOT_HANDLED
        if self.options.mode == MAP:
            return self._map(state, assignment)
        return self._fold(state, assignment)

    def snapshot(self) -> Live | None:
        """Return the live parts of all stages; one that cannot give them is an error, never left out."""
        if not self.live or not {"snapshot", "restore"} <= self._handles:
            return None  # one without the other would bring back nothing, or something else
        lives = {bound.number: _live_parts(bound) for bound in self.stages if bound.stage.live}
        parts = {f"{number}/{name}": part for number, live in lives.items() for name, part in live.parts.items()}
        return Live(parts, _combined_root(lives))

    def restore(self, parts: Mapping[str, Any], state: Message) -> None:
        """Give each live stage its parts."""
        for bound in self.stages if "restore" in self._handles else ():
            prefix = f"{bound.number}/"
            own = {name[len(prefix) :]: part for name, part in parts.items() if name.startswith(prefix)}
            with _boundary(bound, "restore", SnapshotError):
                if bound.stage.live and not own:
                    raise SnapshotError("the snapshot has no part for it")
                bound.stage.restore(own, state)

    def rollback(self, slot: int) -> None:
        """Roll every stage back to before the slot, also after one that could not."""
        with ExitStack() as each:
            for bound in reversed(self.stages):
                each.callback(_rolled_back, bound, slot)

    def size(self) -> int:
        """Return the bytes that the live parts of all stages hold."""
        return sum(bound.stage.size() for bound in self.stages) if self.live else 0

    def close(self) -> None:
        """Close every stage, also after one that could not."""
        with ExitStack() as each:
            for bound in reversed(self.stages):
                each.callback(_closed, bound)

    def answer(self, module: str, name: str, kind: FunctionType) -> ImportFunction | NotHandled:
        """Answer another stage's import by the first stage that does."""
        return self.answer_for("", module, name, kind)

    def answer_for(self, asking: str, module: str, name: str, kind: FunctionType) -> ImportFunction | NotHandled:
        """Answer an import of the stage of a number, by the others in order."""
        for bound in self.stages:
            answer: Answerer | None = getattr(bound.stage, "answer", None)
            found = answer(module, name, kind) if answer and bound.number != asking else NOT_HANDLED
            if not isinstance(found, NotHandled):
                return found
        return NOT_HANDLED

    # -- fold

    def _fold(self, state: Message, assignment: Assignment) -> Verdict:
        for pass_number in range(1, self.options.max_passes + 1):
            verdict = self._through(state, assignment, pass_number)
            if not isinstance(verdict, Pass):
                return Ok(verdict.state) if isinstance(verdict, Skip) else verdict
            state = verdict.state
        limit = self.options.max_passes
        return Fail(
            "pass-limit", f"a stage asked for pass {limit + 1}; the definition allows {limit}", pass_number=limit
        )

    def _through(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        for bound in self.stages:
            verdict = self._ask(bound, state, assignment, pass_number)
            if isinstance(verdict, Ok):
                state = verdict.state
            elif isinstance(verdict, Fail):
                return _located(verdict, bound, pass_number)
            elif isinstance(verdict, Skip | Pass):
                return verdict
        return Ok(state)

    # -- map

    def _map(self, state: Message, assignment: Assignment) -> Verdict:
        shared = state.without(*(bound.number for bound in self.stages))
        written = state
        for bound in self.stages:
            own = state.get(bound.number)
            view = shared.set(own) if isinstance(own, Message) else shared
            match self._ask(bound, view, assignment, 1):
                case Ok(after) | Skip(after):
                    written = written.set({bound.number: _difference(shared, after)}, explicit=True)
                case Fail() as failure:
                    return _located(failure, bound, 1)
                case Pass():
                    return _located(Fail("pass-limit", "there are no passes in Map mode"), bound, 1)
        return Ok(written)

    def _ask(self, bound: Bound, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        try:
            if pass_number:
                verdict = bound.stage.compute(state, assignment, pass_number)
            else:
                verdict = bound.stage.init(state, assignment)
        except Exception as error:
            raise _host_failure(error, bound, ComputeError, _asked(assignment, pass_number)) from error
        if verdict is NOT_HANDLED or (isinstance(verdict, Ok) and isinstance(verdict.state, Message)):
            return verdict
        if not _is_verdict(verdict, begun=pass_number > 0):
            strange = PluginError(f"{said(verdict)} is no verdict", remedy=_VERDICTS)
            raise _host_failure(strange, bound, PluginError, _asked(assignment, pass_number))
        return verdict


def build_stack(options: StackOptions, binding: Binding) -> Stack:
    """Build a stack and its stages; the outermost lets them all check each other's imports."""
    stages: list[Bound] = []
    holder: list[Stack] = []
    with ExitStack() as built:
        for index, entry in enumerate(options.device_stack, 1):
            member = _member(entry, str(index), options, _sibling_imports(holder, str(index), binding))
            version = binding.versions.get(member.device, "")
            stages.append(Bound(member.number, member.device, binding.member(member), binding.process, version))
            built.callback(stages[-1].stage.close)
        holder.append(Stack(stages, options))
        if not binding.number:
            holder[0].check()
        built.pop_all()  # nothing failed: the stack closes them
    return holder[0]


def stack_of_one(bound: Bound) -> Stack:
    """Return the stack of an execution device that is none itself."""
    stack = Stack([bound], StackOptions())
    stack.check()
    return stack


def entry_of(entry: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the device and the option table of a device-stack entry."""
    if isinstance(entry, str):
        return entry, {}
    table = {key: value for key, value in entry.items() if key != "device"}
    return str(entry["device"]), table


def _member(entry: Any, number: str, options: StackOptions, imports: Answerer) -> Member:
    device, table = entry_of(entry)
    return Member(
        device=device,
        table=table,
        number=number,
        input_prefix=options.input_prefixes.get(number, options.input_prefix),
        output_prefix=options.output_prefixes.get(number, options.output_prefix),
        imports=imports,
    )


def _sibling_imports(holder: list[Stack], number: str, binding: Binding) -> Answerer:
    def imports(module: str, name: str, kind: FunctionType) -> ImportFunction | NotHandled:
        found = holder[0].answer_for(number, module, name, kind)
        return binding.imports(module, name, kind) if isinstance(found, NotHandled) else found

    return imports


def _live_parts(bound: Bound) -> Live:
    with _boundary(bound, "snapshot", SnapshotError):
        live = bound.stage.snapshot()
        if live is None:
            raise SnapshotError("a live stage gave no snapshot")
    return live


def _rolled_back(bound: Bound, slot: int) -> None:
    with _boundary(bound, "rollback", ComputeError, slot=slot):
        bound.stage.rollback(slot)


def _closed(bound: Bound) -> None:
    with _boundary(bound, "close", ComputeError):
        bound.stage.close()


def _combined_root(lives: Mapping[str, Live]) -> bytes:
    total = sha256()
    for number, live in lives.items():
        total.update(number.encode() + b"\0" + live.root)
    return total.digest()


def _difference(before: Message, after: Message) -> Message:
    return Message({key: value for key, value in after.items() if not same(before.get(key, NOT_HANDLED), value)})


def _located(failure: Fail, bound: Bound, pass_number: int) -> Fail:
    stage = f"{bound.number}.{failure.stage}" if failure.stage else bound.number
    device, number = failure.device or bound.device, failure.pass_number or pass_number
    return attrs.evolve(failure, stage=stage, device=device, pass_number=number)


def _is_verdict(verdict: object, *, begun: bool) -> bool:
    match verdict:
        case Skip(state=Message()) | Pass(state=Message()):
            return begun
        case Fail(kind=str(kind), message=str()):
            return kind in FAILURE_KINDS
    return isinstance(verdict, NotHandled)


@contextmanager
def _boundary(bound: Bound, phase: str, kind: type[ProcessionError], **facts: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _host_failure(error, bound, kind, {"process": bound.process, **facts, "phase": phase}) from error


def _asked(assignment: Assignment, pass_number: int) -> dict[str, Any]:
    phase = "compute" if pass_number else "init"
    return {"process": assignment.process, "slot": assignment.slot, "pass": pass_number, "phase": phase}


def _host_failure(
    error: Exception, bound: Bound, kind: type[ProcessionError], known: Mapping[str, Any]
) -> ProcessionError:
    facts: dict[str, Any] = {**known, "stage": bound.number, "device": bound.device, "version": bound.version}
    shown = {"slot": "slot {}", "stage": "stage {}", "device": "{}", "pass": "pass {}"}
    place = ", ".join(text.format(facts[key]) for key, text in shown.items() if key in facts)
    located = kind.of(error, place, facts)
    if isinstance(bound.stage, Stack) and isinstance(error, ProcessionError):
        located.facts["stage"] = f"{bound.number}.{located.facts['stage']}"
    return located
