"""The kernel alone: what a transition costs, nothing stored, in processor time, which other work does not reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

from bench.measuring import Claim, Group, Measure, Subject, cost, itself
from bench.stages import ACCOUNTS, BenchPlugin, Counting, Passing, definition
from procession import Kernel, PureStage
from procession.definitions import definition_of
from procession.executors import Executor, fresh
from procession.machine import initial_state, transition
from procession.messages import Message
from procession.process import compile_process
from procession.schedules import Assignment, Submission, Tick, next_assignment

STEPS = 2_000  # assignments that are gone round
EACH = 100  # of them between two looks at the clock

Stepping = Callable[[Executor, Sequence[Assignment]], None]


@contextmanager
def stepping(folder: Path, stages: Sequence[str], step: Stepping) -> Iterator[Measure]:
    """Take a process of some stages forward: microseconds a slot."""
    with Kernel.open(data=folder, plugins=[BenchPlugin()]) as kernel:
        known = definition_of(Message(definition(*stages)), kernel.registry)
        executor = fresh(compile_process(known, kernel.registry, lambda _: b""))
        around = cycle(_assignments())
        executor.step(next(around))
        yield _microseconds(lambda: step(executor, [next(around) for _ in range(EACH)]))


@contextmanager
def staging(folder: Path, kind: type[PureStage] = Counting) -> Iterator[Measure]:
    """Ask a stage by itself: microseconds a slot."""
    stage, assignments = kind(), _assignments()[:EACH]
    begun = initial_state(Message(definition("counting")))  # made here: it is no work of the stage

    def step() -> None:
        state = begun
        for assignment in assignments:
            state = stage.compute(state, assignment, 1).state

    yield _microseconds(step)


def transited(executor: Executor, assignments: Sequence[Assignment]) -> None:
    """Compute slots."""
    policy = executor.process.definition.policy
    for assignment in assignments:
        executor.state = transition(executor.stage, executor.state, assignment, policy).state


def identified(executor: Executor, assignments: Sequence[Assignment]) -> None:
    """Compute slots, and the id of the state after each."""
    for assignment in assignments:
        executor.step(assignment)


def _microseconds(step: Callable[[], None]) -> Measure:
    return cost(step, EACH, clock=time.thread_time)


def _assignments() -> Sequence[Assignment]:
    """Return assignments whose messages are decoded and have their ids."""
    rows = [{"data": f"message {number}", "account": number * 7 % ACCOUNTS} for number in range(STEPS)]
    offered = [Submission(message, message.id) for message in map(Message, rows)]
    return [next_assignment("p" * 43, None, submission, Tick(number)) for number, submission in enumerate(offered)]


def _swapping(one: float, more: float, itself: float) -> float:
    """Return what one device more costs beside its own work."""
    return (more - one) / 4 - itself


def _subject(name: str, *stages: str, step: Stepping = transited) -> Subject:
    return Subject(name, "us", partial(stepping, stages=stages, step=step))


STAGE = Subject("the counting stage by itself", "us", staging)
PASSING = Subject("the stage that passes the state on, by itself", "us", partial(staging, kind=Passing))
ONE = _subject("a transition of a stack of 1, counting", "counting")
FIVE = _subject("a transition of a stack of 5, each counting", *["counting"] * 5)
PASS = _subject("a transition of a stack of 1 that passes the state on", "passing")
PASSES = _subject("a transition of a stack of 5 that pass the state on", *["passing"] * 5)
KNOWN = _subject("a transition of a stack of 1, counting, and the state's id", "counting", step=identified)
LARGE = _subject("a change of one in 100,000 keys, and the state's id", "accounts", step=identified)

ALONE = Group(
    "the kernel alone: processor time of a transition, nothing stored",
    (STAGE, PASSING, ONE, FIVE, PASS, PASSES, KNOWN, LARGE),
    (
        Claim("kernel overhead a slot", (ONE.name,), "us", itself, most=10),
        Claim("swapping a device", (PASS.name, PASSES.name, PASSING.name), "us", _swapping, most=0.3),
        Claim("a stack of 5, beside a stack of 1", (PASSES.name, PASS.name), most=2),
        Claim("a stack of 5 that work, beside a stack of 1", (FIVE.name, ONE.name)),
        Claim("the id of a large state, beside that of a small one", (LARGE.name, KNOWN.name)),
    ),
)
