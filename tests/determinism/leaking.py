"""A device that breaks the rules: it writes what only its own program knows, to show that this is noticed."""

from __future__ import annotations

from collections.abc import Mapping

from procession import Assignment, Factory, Message, Ok, PureStage, hookimpl
from procession.roles import NOT_HANDLED, FunctionType, ImportFunction, NotHandled, Verdict


class Leaking(PureStage):
    """Write the hash of a word, which every program seeds anew.

    Needs: nothing.
    Reads: nothing.
    Writes: ``leak``.
    Verdicts: Ok.
    Snapshot: none.
    """

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Leak."""
        return Ok(state.put("leak", hash("a word")))

    def answer(self, module: str, name: str, kind: FunctionType) -> ImportFunction | NotHandled:
        """Answer what the guest of the mixed process asks of this place in the stack."""
        return (lambda guest, one, other: one * other) if name == "mul" else NOT_HANDLED


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Take the place of test-device@1.0."""
    return {"test-device@1.0": Factory(Leaking, summary="break the rules")}
