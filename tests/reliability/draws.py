"""Schedules by chance: shapes of the mixed process, messages, and the clock that a host had when it took them.

Rules
-----
* A seed says everything, so another program draws the same schedule.
* A clock that lies tells what a clock may: hours passed, hours came back, or nothing moved.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs

from determinism.mixed import SHAPES, schedule
from determinism.traces import PLUGINS, mixed_kernel, rooted_line
from procession import Assignment, Factory, Kernel, Message, Ok, Process, PureStage, hookimpl
from procession.ids import to_id
from procession.roles import NOT_HANDLED, FunctionType, ImportFunction, NotHandled, Verdict
from procession.schedules import Tick

HOUR = 3_600_000  # milliseconds
STEPS: Mapping[str, int] = {"forward": HOUR, "backward": -HOUR, "frozen": 0}
CADENCES = (0, 1, 3, 10)
START = "import sys; from reliability.draws import main; main(*sys.argv[1:])"


@attrs.define
class LyingClock:
    """Tell a time that moves by hours at every look, or not at all."""

    step: int
    now: int = 1_700_000_000_000

    def __call__(self) -> Tick:
        """Return the next time, never before the first hours there were."""
        self.now = max(self.now + self.step, HOUR)
        return Tick(self.now, self.now // HOUR)


@contextmanager
def lying_host(step: int) -> Iterator[None]:
    """Let the clocks of this program lie, those that measure included, while slots are computed."""
    clock = LyingClock(step)
    seconds = {"time": lambda: clock().timestamp / 1000, "perf_counter": lambda: clock().timestamp / 1000}
    with patch.multiple(time, **seconds, time_ns=lambda: clock().timestamp * 1_000_000):
        yield


@attrs.frozen
class Drawn:
    """Hold a schedule: the shape of its process, its messages behind slot 0, and how the clock lied."""

    seed: int
    shape: str
    messages: Sequence[Mapping[str, Any]]
    lie: str

    @property
    def given(self) -> list[dict[str, Any]]:
        """Return it with all its times, as one that was made elsewhere."""
        clock, entries = LyingClock(STEPS[self.lie]), []
        for slot, message in enumerate([{}, *self.messages]):
            tick = clock()
            entry = {"slot": slot, "timestamp": tick.timestamp, "block-height": tick.block_height}
            entries.append({**entry, "message": message})
        return entries


def drawn(seed: int) -> Drawn:
    """Draw the schedule of a seed."""
    dice = random.Random(seed)
    shape = list(SHAPES)[seed % len(SHAPES)]
    pool = [entry["message"] for entry in schedule(shape)[1:]]
    messages = [dice.choice(pool) for _ in range(dice.randint(8, 14))]
    unique = [{**message, "reference": str(number)} if dice.random() < 0.7 else message
              for number, message in enumerate(messages)]  # fmt: skip # the others repeat each other
    return Drawn(seed, shape, unique, dice.choice(list(STEPS)))


def first_trace(
    folder: Path, one: Drawn, plugins: Sequence[object] = PLUGINS
) -> tuple[list[str], list[dict[str, Any]]]:
    """Schedule and compute message by message under the clock that lies; return the trace and the schedule."""
    clock = LyingClock(STEPS[one.lie])
    with opened(folder, one, plugins, clock=clock) as kernel:
        assert kernel.definition is not None
        if one.shape == "halting":  # only an import brings a signed release
            process = kernel.load(one.given, definition=kernel.definition.message, trust_ids=True)
            lines = [rooted_line(process, slot) for slot in range(len(one.given))]
            return lines, one.given
        process = kernel.spawn()
        lines = [rooted_line(process, 0)]
        for message in one.messages:
            lines.append(rooted_line(process, process.schedule(message).slot))
        return lines, [_entry(assignment) for assignment in process.log()]


def other_trace(
    folder: Path, one: Drawn, entries: Sequence[Mapping[str, Any]], every: int, plugins: Sequence[object]
) -> list[str]:
    """Compute a schedule that was made elsewhere, with a restart and plugins in an order by chance."""
    dice = random.Random(f"{one.seed} {every}")
    stops = (dice.randrange(1, len(entries)), len(entries))
    lines: list[str] = []
    for stop in stops:
        order = dice.sample(plugins, len(plugins))
        with lying_host(STEPS[dice.choice(list(STEPS))]), opened(folder, one, order, every=every) as kernel:
            process = loaded(kernel, one, entries[:stop])
            lines += [rooted_line(process, slot) for slot in range(len(lines), stop)]
    return lines


@contextmanager
def opened(folder: Path, one: Drawn, plugins: Sequence[object], *, every: int = 0, **options: Any) -> Iterator[Kernel]:
    """Open a kernel for a schedule."""
    folder.mkdir(parents=True, exist_ok=True)
    host = f"[host.snapshots]\nevery = {every}"
    with mixed_kernel(folder, shape=one.shape, host=host, plugins=plugins, **options) as kernel:
        yield kernel


def loaded(kernel: Kernel, one: Drawn, entries: Sequence[Mapping[str, Any]]) -> Process:
    """Take up a schedule."""
    assert kernel.definition is not None
    completed = kernel.definition.message if one.shape == "halting" else None
    return kernel.load(entries, definition=completed, trust_ids=True)


def check_schedule(folder: Path, one: Drawn, plugins: Sequence[object] = PLUGINS) -> list[str]:
    """Hold that a schedule comes to the same everywhere here, and return its trace."""
    expected, entries = first_trace(folder / "first", one, plugins)
    for every in CADENCES:
        assert expected == other_trace(folder / f"every-{every}", one, entries, every, plugins)
    return expected


def _entry(assignment: Assignment) -> dict[str, Any]:
    return {
        "slot": assignment.slot,
        "timestamp": assignment.timestamp,
        "block-height": assignment.block_height,
        "hash-chain": to_id(assignment.chain),
        "message": assignment.message,
    }


class Leak(PureStage):
    """Write what only this host knows.

    Needs: nothing. Reads: nothing. Writes: ``leak``. Verdicts: Ok. Snapshot: none.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Leak."""
        return Ok(state.put("leak", time.time_ns() if self._source == "clock" else random.SystemRandom().random()))

    def answer(self, module: str, name: str, kind: FunctionType) -> ImportFunction | NotHandled:
        """Answer what the guest of the mixed process asks of this place in the stack."""
        return (lambda guest, first, second: first * second) if name == "mul" else NOT_HANDLED


@attrs.frozen
class Leaking:
    """Take the place of test-device@1.0, and leak the ``clock`` or the ``dice`` of this host."""

    source: str

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide it."""
        return {"test-device@1.0": Factory(lambda options, binding: Leak(self.source))}


def main(folder: str, count: str, *plugins: str) -> None:
    """Print the first traces of the first seeds, in a program that was started for it."""
    traces = [first_trace(Path(folder) / str(seed), drawn(seed), plugins)[0] for seed in range(int(count))]
    sys.stdout.write(json.dumps(traces))
