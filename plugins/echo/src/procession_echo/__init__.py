"""echo@1.0, the smallest complete device: it answers each message with the message itself."""

from __future__ import annotations

from collections.abc import Mapping

from procession import Assignment, Factory, Message, Ok, PureStage, hookimpl
from procession.roles import Verdict


class Echo(PureStage):
    """Give each message back.

    Needs: nothing.
    Reads: the message.
    Writes: ``results/data``, the message.
    Verdicts: Ok.
    Snapshot: none; all that it knows is in the state.
    """

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Fold one message into the state."""
        return Ok(state.put("results/data", assignment.message))


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide echo@1.0."""
    return {"echo@1.0": Factory(Echo, summary="give each message back")}
