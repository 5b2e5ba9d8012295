"""Small stages to build trials with: a plugin of the testing kit, never installed, always given by hand.

A device under test often needs company: something that writes what it reads, or a neighbour that shows
in which order and how often the stages ran.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from procession.hookspecs import hookimpl
from procession.messages import Message
from procession.roles import Binding, Factory, Fail, Ok, Pass, PureStage, Verdict
from procession.schedules import Assignment


@attrs.frozen
class AppendOptions:
    """Hold the word that a stage leaves behind."""

    word: str = ""


class Append(PureStage):
    """Leave a word and the pass in a list, so that a test sees which stages ran, in which order.

    Needs: nothing.
    Reads: ``trace``.
    Writes: ``trace``, one word longer, such as ``a1``.
    Verdicts: Ok.
    Snapshot: none.
    """

    def __init__(self, options: AppendOptions, binding: Binding) -> None:
        super().__init__()
        self._word = options.word or binding.number

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Leave one word."""
        return Ok(state.put("trace", (*state.get("trace", ()), f"{self._word}{pass_number}")))


class Write(PureStage):
    """Write what the message says, such as an outbox.

    Needs: nothing.
    Reads: ``write``, a map, and ``refuse`` of the message.
    Writes: the rows of ``write``, maps into maps.
    Verdicts: Ok; Fail (``refused``) where the message holds ``refuse``.
    Snapshot: none.
    """

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Write in every pass."""
        if "refuse" in assignment.message:
            return Fail("refused", "the message says so")
        rows = assignment.message.get("write")
        return Ok(state.set(rows) if isinstance(rows, Message) else state)


class Again(PureStage):
    """Ask for one more pass, so that a test sees what the second pass does.

    Needs: a place at the end of a stack.
    Reads: the number of the pass.
    Writes: nothing.
    Verdicts: Pass in the first pass, Ok in the second.
    Snapshot: none.
    """

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Begin once more."""
        return Pass(state) if pass_number == 1 else Ok(state)


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide again@1.0, append@1.0 and write@1.0."""
    return {
        "again@1.0": Factory(Again, summary="ask for a second pass"),
        "append@1.0": Factory(Append, AppendOptions, "leave a word behind"),
        "write@1.0": Factory(Write, summary="write what the message says"),
    }
