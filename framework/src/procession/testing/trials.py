"""Trials: a definition and some messages, computed slot by slot without a kernel.

A trial is what a stage contract is run on. Its schedule has times of its own, so every run of it,
in this program or in another, is of the same input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType, TracebackType
from typing import Any

import attrs

from procession import process as builtin
from procession.commitments import message_id
from procession.definitions import definition_of
from procession.errors import RequestError
from procession.ids import hash_id
from procession.machine import initial_state, transition
from procession.messages import Message
from procession.process import Compiled, compile_process
from procession.registry import Registry
from procession.roles import Fail, Live, Stage, Verdict
from procession.schedules import Assignment, Head, Submission, next_assignment
from procession.stacks import Stack
from procession.stored import Source, message_of, unsaved_nodes
from procession.testing.fakes import MemoryHost, SteppingClock


@attrs.frozen
class Trial:
    """Name what is put to the test.

    ``plugins`` are modules, so that another program can import them too; ``definition`` names their
    devices; ``messages`` are scheduled in slots 1, 2, ...; ``blobs`` are the bytes that the definition
    names by id. Let some of the messages fail, and let no two stages depend on a third that is not there.
    """

    plugins: tuple[ModuleType, ...]
    definition: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    blobs: tuple[bytes, ...] = ()

    def compiled(self) -> Compiled:
        """Bind the definition to the plugins of the trial, and to no others that are installed."""
        registry = Registry((builtin, MemoryHost(), *self.plugins), discover=False)
        return compile_process(definition_of(_message(self.definition), registry), registry, self.blob)

    def schedule(self, messages: Iterable[Mapping[str, Any]] | None = None) -> list[Assignment]:
        """Return slot 0, the definition, and a slot for each message, by default those of the trial."""
        clock, head, made = SteppingClock(), None, list[Assignment]()
        genesis = _message(self.definition)
        for message in (genesis, *map(_message, self.messages if messages is None else messages)):
            offered = Submission(message, message_id(message))
            assignment = next_assignment(message_id(genesis), head, offered, clock())
            made.append(assignment)
            head = Head(assignment.slot, assignment.chain)
        return made

    def blob(self, wanted: str) -> bytes:
        """Return the bytes of an id; RequestError (kind ``missing-blob``) where the trial has none."""
        for content in self.blobs:
            if hash_id(content) == wanted:
                return content
        raise RequestError("is not among the blobs of the trial", where=f"bytes {wanted}", kind="missing-blob")


@attrs.frozen
class Row:
    """Hold what a slot gave: the state, the kind of failure ("" for none), the live root (b"" for none)."""

    slot: int
    state: Message
    failure: str
    live_root: bytes

    def __str__(self) -> str:
        return f"slot {self.slot}: {self.state.id} {self.failure or 'ok'} {self.live_root.hex()}".rstrip()


class Run:
    """Take a stage forward from a state, by default a new one from the beginning."""

    def __init__(self, process: Compiled, stage: Stage | None = None, state: Message | None = None) -> None:
        self.process = process
        self.stage = process.build() if stage is None else stage
        self.state = initial_state(process.definition.message) if state is None else state

    @classmethod
    def restored(cls, process: Compiled, live: Live | None, state: Message) -> Run:
        """Return a run that begins where a snapshot was taken; an error closes its stage."""
        run = cls(process, state=state)
        try:
            run.stage.restore(dict(live.parts) if live else {}, state)
        except BaseException:
            run.close()
            raise
        return run

    def step(self, assignment: Assignment, *, look: bool = True) -> Row:
        """Compute the next slot; ``look`` takes a snapshot after it, for the live root."""
        result = transition(self.stage, self.state, assignment, self.process.definition.policy)
        self.state = result.state
        kind = result.failure.kind if result.failure else ""
        return Row(assignment.slot, self.state, kind, self.live_root() if look else b"")

    def steps(self, schedule: Iterable[Assignment], *, look: bool = True) -> list[Row]:
        """Compute slots."""
        return [self.step(assignment, look=look) for assignment in schedule]

    def fail(self, assignment: Assignment) -> None:
        """Compute a slot that fails after the stage has done its work, and stay before it."""
        transition(_Failing(self.stage), self.state, assignment, self.process.definition.policy)

    def live_root(self) -> bytes:
        """Return the live root as it is now; b"" where nothing lives outside of the state."""
        live = self.stage.snapshot() if self.stage.live else None
        return live.root if live else b""

    def close(self) -> None:
        """Close the stage."""
        self.stage.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def rows_of(trial: Trial, messages: Iterable[Mapping[str, Any]] | None = None, *, look: bool = True) -> list[Row]:
    """Run a trial from the beginning with a stage of its own."""
    with Run(trial.compiled()) as run:
        return run.steps(trial.schedule(messages), look=look)


def told(rows: Iterable[Row]) -> list[str]:
    """Return rows as one line each, for comparing and for reading."""
    return [str(row) for row in rows]


def reread(state: Message) -> Message:
    """Return a state as a restart finds it: from its bytes, part by part."""
    blobs = {node.digest: node.encoded for node in unsaved_nodes(state, ())}
    return message_of(state.encoded, Source(blobs.__getitem__, blobs))


def stages_in(stage: Stage) -> Iterator[Stage]:
    """Yield the stages that a stage is made of, stacks taken apart."""
    if not isinstance(stage, Stack):
        yield stage
        return
    for bound in stage.stages:
        yield from stages_in(bound.stage)


class _Failing:
    """Do all that another stage does, and fail at the end of every slot."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.live = stage.live
        self.init = stage.init
        self.snapshot = stage.snapshot
        self.restore = stage.restore
        self.rollback = stage.rollback
        self.size = stage.size
        self.close = stage.close

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Compute, then fail."""
        self._stage.compute(state, assignment, pass_number)
        return Fail("refused", "the trial fails this slot")


def _message(message: Mapping[str, Any]) -> Message:
    return message if isinstance(message, Message) else Message(message)
