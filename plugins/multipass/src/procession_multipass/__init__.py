"""multipass@1.0: the whole stack once more, until the message has gone through it ``passes`` times."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from procession import Assignment, ConfigError, Factory, Message, Ok, Pass, PureStage, hookimpl
from procession.roles import Binding, Verdict
from procession.stacks import FOLD, MAP, MAX_PASSES


def _is_count(options: MultipassOptions, attribute: object, value: int) -> None:
    if value < 1:
        raise ValueError(f"{value} passes are none; give 1 or more")
    problem = _problem(value, options.max_passes, options.mode)
    if problem:
        raise ValueError(problem, attribute)


@attrs.frozen
class MultipassOptions:
    """Hold how many passes there are, the first included, and what the definition says of its stack."""

    passes: int = attrs.field(default=1, validator=_is_count)
    max_passes: int = MAX_PASSES
    mode: str = FOLD


class Multipass(PureStage):
    """Ask for the next pass until there were enough.

    Needs: a stack that folds, at its end if all stages are to run in each pass.
    Reads: the number of the pass.
    Writes: nothing.
    Verdicts: Pass before the last pass, Ok in it.
    Snapshot: none.
    """

    def __init__(self, options: MultipassOptions, binding: Binding) -> None:
        super().__init__()
        definition = binding.definition
        problem = _problem(options.passes, definition.get("max-passes", MAX_PASSES), definition.get("mode", FOLD))
        if options.passes > 1 and not binding.number:
            problem = f"{options.passes} passes of a device alone; put multipass@1.0 into a device-stack"
        if problem:
            raise ConfigError([f"process.passes: {problem}"], where="definition")
        self._passes = options.passes

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Let the stack begin again, or end."""
        return Pass(state) if pass_number < self._passes else Ok(state)


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide multipass@1.0."""
    return {"multipass@1.0": Factory(Multipass, MultipassOptions, "run the stack again, for as many passes as given")}


def _problem(passes: int, limit: int, mode: str) -> str:
    """Return why a definition can never have so many passes; every slot of it would fail."""
    if passes == 1:
        return ""
    if mode == MAP:
        return f"{passes} passes, given the mode Map, which has one; use the mode Fold"
    if passes > limit:
        return f"{passes} passes, given max-passes of {limit}; give at most {limit}, or raise max-passes"
    return ""
