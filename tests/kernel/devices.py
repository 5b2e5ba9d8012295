"""Devices for the kernel's tests: stages made of functions, a stage that is live, and kernels in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs

from procession import Assignment, Factory, Kernel, Message, Ok, PureStage, hookimpl
from procession.errors import ProcessionError, SnapshotError
from procession.results import Result
from procession.roles import Live, Verdict
from procession.schedules import LOCAL
from procession.testing.fakes import MemoryHost, SteppingClock

ID = "ISShJH1ij-hPPt9St5UFFr_8Ys3Kj5cyg7zrMGt7H9s"
FOLD = Callable[[Message, Assignment, int], Verdict]


class Act(PureStage):
    """Do what a function says."""

    def __init__(self, fold: FOLD, init: Callable[[Message, Assignment], Verdict] | None = None) -> None:
        super().__init__()
        self._fold = fold
        self._init = init
        self.rolled_back: list[int] = []
        self.closed = 0

    def init(self, state: Message, genesis: Assignment) -> Verdict:
        """Do what the second function says."""
        return self._init(state, genesis) if self._init else super().init(state, genesis)

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Do what the function says."""
        return self._fold(state, assignment, pass_number)

    def rollback(self, slot: int) -> None:
        """Note it."""
        self.rolled_back.append(slot)

    def close(self) -> None:
        """Note it."""
        self.closed += 1


class Tape:
    """Keep a number outside of the state; it adds what messages say, and tells the sum under ``total``."""

    live = True

    def __init__(self, options: object = None, binding: object = None) -> None:
        self.total = 0
        self.before = (-1, 0)

    def init(self, state: Message, genesis: Assignment) -> Verdict:
        """Begin at the definition's ``start``."""
        self.total = state.get("start", 0)
        return Ok(state)

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Add ``amount``."""
        if self.before[0] != assignment.slot:  # not again in a later pass
            self.before = (assignment.slot, self.total)
        self.total += assignment.message.get("amount", 0)
        return Ok(state.put("total", self.total))

    def snapshot(self) -> Live | None:
        """Return the number."""
        part = str(self.total).encode()
        return Live({"total": part}, sha256(part).digest())

    def restore(self, parts: Mapping[str, bytes], state: Message) -> None:
        """Take the number up."""
        if "total" not in parts:
            raise SnapshotError("has no total")
        self.total = int(parts["total"])

    def rollback(self, slot: int) -> None:
        """Take the slot's number back."""
        if self.before[0] == slot:
            self.total = self.before[1]

    def size(self) -> int:
        """Hold a number."""
        return 8

    def close(self) -> None:
        """Have nothing to close."""


class Devices:
    """Provide stages by name, as a plugin."""

    def __init__(self, stages: Mapping[str, Factory | FOLD]) -> None:
        self.stages = {name: made if isinstance(made, Factory) else acting(made) for name, made in stages.items()}

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide the stages."""
        return self.stages


class Schemes:
    """Provide a scheme that believes what says so."""

    @hookimpl
    def procession_commitment_schemes(self) -> Mapping[str, Any]:
        """Provide it."""
        return {"fake@1.0": self}

    def verify(self, message: Message, commitment_id: str) -> bool:
        """Tell what the commitment says of itself."""
        return bool(message.at(f"commitments/{commitment_id}/sound", False))


class Watcher:
    """Note what a kernel tells those who watch."""

    def __init__(self) -> None:
        self.assigned: list[int] = []
        self.computed: list[Result] = []
        self.snapshotted: list[int] = []
        self.failed: list[ProcessionError] = []

    @hookimpl
    def procession_assigned(self, assignment: Assignment) -> None:
        """Note the slot."""
        self.assigned.append(assignment.slot)

    @hookimpl
    def procession_computed(self, process: str, result: Result) -> None:
        """Note the result."""
        self.computed.append(result)

    @hookimpl
    def procession_snapshotted(self, process: str, slot: int, size: int) -> None:
        """Note the slot."""
        self.snapshotted.append(slot)

    @hookimpl
    def procession_failed(self, process: str, slot: int | None, error: ProcessionError) -> None:
        """Note the error."""
        self.failed.append(error)

    @property
    def slots(self) -> list[int]:
        """Return the slots whose results were told."""
        return [result.slot for result in self.computed]

    @property
    def kinds(self) -> list[str]:
        """Return the kinds of the errors that were told."""
        return [error.kind for error in self.failed]


def committed(data: str, **commitments: bool) -> Message:
    """Return a message with commitments that are sound or not."""
    entry = {"commitment-device": "fake@1.0", "committer": "alice"}
    return Message(
        {"data": data, "commitments": {key: {**entry, "sound": sound} for key, sound in commitments.items()}}
    )


def acting(fold: FOLD) -> Factory:
    """Return the factory of a stage that does what a function says."""
    return Factory(lambda options, binding: Act(fold))


def count(state: Message, assignment: Assignment, pass_number: int) -> Verdict:
    """Count messages under ``count``, and say which under ``results/data``."""
    return Ok(state.put("count", state.get("count", 0) + 1).put("results/data", f"slot {assignment.slot}"))


COUNTER: Mapping[str, Factory | FOLD] = {"count@1.0": count}
COUNTING = '[process]\nname = "count"\ndevice-stack = ["count@1.0"]\n'
TAPE: Mapping[str, Factory | FOLD] = {"tape@1.0": Factory(Tape)}
TAPING = '[process]\nname = "tape"\ndevice-stack = ["tape@1.0"]\n'


def kernel_of(
    folder: Path,
    stages: Mapping[str, Factory | FOLD] = COUNTER,
    text: str = COUNTING,
    *,
    host: MemoryHost | None = None,
    plugins: Sequence[object] = (),
    **options: Any,
) -> Kernel:
    """Open a kernel in memory over a definition's text; a second one over the same ``host`` is a restart."""
    file = folder / "process.toml"
    file.write_text(text)
    given = [host or MemoryHost(), Devices(stages), *plugins]
    return Kernel.open(
        file, data=folder / "data", plugins=given, discover=False, **{"clock": SteppingClock()} | options
    )


def assignment_of(message: Mapping[str, Any] | None = None, slot: int = 0, **fields: Any) -> Assignment:
    """Return an assignment as a scheduler would make it."""
    body = Message(message or {})
    made = Assignment(ID, slot, 1_700_000_000_000 + slot, 1000, "compute", body.id, bytes(32), body, LOCAL)
    return attrs.evolve(made, **fields)
