"""Machine: one transition, from a state and an assignment to a state and a result.

Rules
-----
* ``results`` begins empty at every slot; private rows end with the slot.
* A failure leaves the state of the slot before, live parts included, and stands under ``results/error``.
* A halt is state: later slots record ``halted`` until an address of ``halt-release`` releases it.
* ``process``, ``device``, ``at-slot``, ``initialized`` and ``halted`` are the machine's own keys: neither a
  definition nor a stage sets them.
"""

from __future__ import annotations

from typing import Any, NoReturn

import attrs

from procession.commitments import committers, without_commitments
from procession.errors import PluginError
from procession.messages import EMPTY, Message
from procession.results import Failure, Result
from procession.roles import Fail, NotHandled, Ok, Pass, Skip, Stage, Verdict
from procession.schedules import Assignment
from procession.tries import REMOVED

DEVICE = "process@1.0"
RECORD = "record"
HALT = "halt"
ENDS = (Ok, Skip)  # verdicts that end a slot with a state


@attrs.frozen
class Policy:
    """Hold what a definition says about failures: ``record`` or ``halt``, and who may release."""

    on_failure: str = RECORD
    halt_release: tuple[str, ...] = ()


def initial_state(definition: Message) -> Message:
    """Return the state before slot 0: the definition's keys, and the definition under ``process``."""
    begun = without_commitments(definition).without("at-slot", "initialized", "halted", "results")
    return begun.set({"device": DEVICE, "process": definition}, explicit=True)


def transition(stage: Stage, state: Message, assignment: Assignment, policy: Policy) -> Result:
    """Compute one slot.

    Raises ComputeError or PluginError where this host failed; then the live parts are not to be used again.
    """
    halted = state.get("halted")
    if halted is not None:
        return _while_halted(state, assignment, policy)
    begun = state.with_rows({"results": REMOVED}) if "results" in state else state
    verdict = _run(stage, begun, assignment)
    if isinstance(verdict, Fail):
        stage.rollback(assignment.slot)
        return _failed(state, assignment, verdict, policy)
    return _finished(state, _state_of(verdict, stage, assignment), assignment)


def _run(stage: Stage, state: Message, assignment: Assignment) -> Verdict:
    if "initialized" not in state:
        verdict = stage.init(state, assignment)
        if isinstance(verdict, Fail):
            return verdict
        state = state if isinstance(verdict, NotHandled) else _state_of(verdict, stage, assignment)
    verdict = stage.compute(state, assignment, 1)
    return Ok(state) if isinstance(verdict, NotHandled) else verdict


def _state_of(verdict: Verdict, stage: Stage, assignment: Assignment) -> Message:
    return verdict.state if isinstance(verdict, ENDS) else _refuse(verdict, stage, assignment)


def _refuse(strange: object, stage: Stage, assignment: Assignment) -> NoReturn:
    hint = "a stage that asks for passes belongs in a stack" if isinstance(strange, Pass) else ""
    facts: dict[str, Any] = {"process": assignment.process, "slot": assignment.slot, "phase": "compute"}
    raise PluginError(f"{type(strange).__name__} ends no slot", where=type(stage).__name__, remedy=hint, facts=facts)


def _finished(before: Message, after: Message, assignment: Assignment) -> Result:
    own: dict[str, Any] = {
        "process": before["process"],
        "device": DEVICE,
        "initialized": "true",
        "at-slot": assignment.slot,
        "halted": REMOVED,
    }
    return Result(assignment.slot, after.with_rows(own, {}).public())


def _failed(state: Message, assignment: Assignment, verdict: Fail, policy: Policy) -> Result:
    failure = Failure(verdict.kind, verdict.message, verdict.stage, verdict.device, verdict.pass_number)
    changes: dict[str, Any] = {"at-slot": assignment.slot, "results": {"error": failure.as_message()}}
    if policy.on_failure == HALT:
        changes["halted"] = {"slot": assignment.slot, "error": failure.as_message()}
    return Result(assignment.slot, state.set(changes, explicit=True), failure)


def _while_halted(state: Message, assignment: Assignment, policy: Policy) -> Result:
    slot = assignment.slot
    if _releases(assignment.message, policy):
        released = state.without("halted").set({"at-slot": slot, "results": EMPTY}, explicit=True)
        return Result(slot, released)
    by = state.at("halted/slot")
    failure = Failure("halted", f"slot {by} failed and halted the process")
    error = {"kind": "halted", "by": by, "message": failure.message}
    return Result(slot, state.set({"at-slot": slot, "results": {"error": error}}, explicit=True), failure)


def _releases(message: Message, policy: Policy) -> bool:
    return message.get("action") == "release" and any(who in policy.halt_release for who in committers(message))
