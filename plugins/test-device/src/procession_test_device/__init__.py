"""test-device@1.0: a device that shows what was computed, what was restored, and what was imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from procession import NOT_HANDLED, Assignment, Factory, Message, Ok, PureStage, SnapshotError, hookimpl
from procession.messages import Value
from procession.requests import Keys
from procession.roles import FunctionType, Guest, ImportFunction, NotHandled, Verdict
from procession_test_device.requests import KEYS

_INTEGERS = {"i32": 32, "i64": 64}  # bits


class Seen(PureStage):
    """List the slots that were computed, the newest first.

    Needs: nothing.
    Reads: ``already-seen``.
    Writes: ``already-seen``, one slot longer in every pass; ``random-key``, which is not random;
    ``results/assignment-slot``.
    Verdicts: Ok.
    Snapshot: none. What it was restored with is kept as ``started_state``, which reaches no answer.
    """

    started_state: tuple[Value, ...] | None = None

    def init(self, state: Message, genesis: Assignment) -> Verdict:
        """Begin with an empty list."""
        return Ok(state.put("already-seen", ()))

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Put the slot at the front."""
        rows = {"random-key": "random-value", "already-seen": (assignment.slot, *_seen(state))}
        return Ok(state.set(rows).put("results/assignment-slot", assignment.slot))

    def restore(self, parts: Mapping[str, bytes], state: Message) -> None:
        """Remember the list that there was; SnapshotError where there is none."""
        if "already-seen" not in state:
            raise SnapshotError("No viable state to restore.", where="test-device@1.0", kind="foreign-snapshot")
        self.started_state = _seen(state)

    def answer(self, module: str, name: str, kind: FunctionType) -> ImportFunction | NotHandled:
        """Answer ``mul``, of any module, where it takes two numbers and gives one of the same type."""
        if name != "mul" or len(kind.results) != 1 or kind.params != kind.results * 2:
            return NOT_HANDLED
        return _multiplication(kind.results[0])


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide the stage test-device@1.0."""
    return {"test-device@1.0": Factory(Seen, summary="list the slots that were computed")}


@hookimpl
def procession_keys() -> Mapping[str, Keys]:
    """Provide the request keys of test-device@1.0."""
    return {"test-device@1.0": KEYS}


def _seen(state: Message) -> tuple[Value, ...]:
    """Return the list; what others wrote in its place counts as none."""
    seen = state.get("already-seen")
    return seen if isinstance(seen, tuple) else ()


def _multiplication(kind: str) -> Callable[[Guest, int | float, int | float], int | float]:
    """Return the multiplication of a WASM type; integers wrap around as the guest's own do."""
    bits = _INTEGERS.get(kind, 0)

    def mul(guest: Guest, one: int | float, other: int | float) -> int | float:
        return _wrapped(int(one) * int(other), bits) if bits else one * other

    return mul


def _wrapped(number: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (number + half) % (1 << bits) - half
