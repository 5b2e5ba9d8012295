"""Memory that ends: a MemoryError anywhere in a slot is this host's problem, and never a result."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from procession import ComputeError, ProcessionError
from procession.roles import Fail
from procession.stacks import Stack
from procession.testing import python
from reliability.programme import Programme
from reliability.shortages import MIB, TARGETS, Outcome, Target, failing, set_nomemory, shop, sound, suffered, trace
from reliability.telling import about

Figure = Callable[[int, int], int]
ROW = "MemoryError at the nth allocation"
PATIENCE = 300.0  # seconds within which a program that suffers shortages ends
SEED = 27
_SUFFER = "import sys; from reliability.shortages import main; main(*sys.argv[1:])"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what a run with memory enough comes to."""
    return sound(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.place)
def test_a_function_that_finds_no_memory(
    target: Target, expected: list[str], tmp_path: Path, programme: Programme, figure: Figure
) -> None:
    """MemoryError at a call of a function of a stage, a device or the kernel stores nothing wrong."""
    rounds = figure(1, 20)
    fault = programme.fault(ROW, expected=rounds)
    dice = random.Random(target.place)
    for number in range(rounds):
        nth = dice.randint(2, 12) if number else 1
        with about(f"call {nth} of {target.place}"):
            outcome = suffered(tmp_path / str(number), lambda nth=nth: failing(target, nth), expected)
            assert outcome.kind in ("host-memory", "")
            assert number or (outcome.kind == "host-memory") == target.raises
            assert outcome.rebuilt or not (outcome.kind and target.rebuilds)
        fault.held()


def suffering(folder: Path, how: str, numbers: Sequence[int]) -> Iterator[tuple[int, Outcome]]:
    """Yield what became of shortages in programs of their own; where one was killed by it, another goes on."""
    left = list(numbers)
    while left:
        done = _program(folder, how, left)
        for number, *told in map(json.loads, done.stdout.splitlines()):
            left.remove(number)
            yield number, Outcome(*told)
        assert done.returncode <= 0, done.stderr[-5000:]  # a signal: a library that aborts without memory
        if done.returncode < 0:
            number = left.pop(0)
            after = _program(folder, "recovery", [number])
            assert 0 == after.returncode, after.stderr[-5000:]
            yield number, Outcome("killed", 0, rebuilt=True)


def _program(folder: Path, how: str, numbers: Sequence[int]) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [*python(_SUFFER, str(folder), how), *map(str, numbers)],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONFAULTHANDLER": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(("how", "change", "nightly"), [("allocation", 20, 1000), ("addresses", 8, 200)])
def test_a_program_that_finds_no_memory(
    how: str, change: int, nightly: int, tmp_path: Path, programme: Programme, figure: Figure
) -> None:
    """An allocation of Python that fails, or addresses that are used up, stores nothing wrong."""
    there_is = how != "allocation" or set_nomemory is not None
    points = figure(change, nightly) if there_is else 0
    fault = programme.fault(ROW, expected=points)
    if not there_is:
        fault.found = True
        fault.note("this Python is built without _testcapi, so none of its allocations was made to fail")
    dice = random.Random(SEED)
    drawn = {
        int(10 ** dice.uniform(0, 4.7)) if how == "allocation" else dice.randrange(128 * MIB) for _ in range(points)
    }
    while len(drawn) < points:
        drawn.add(dice.randrange(1, 50_000))
    kinds = []
    for number, outcome in suffering(tmp_path, how, sorted(drawn)):
        with about(f"{how} {number}: {outcome}"):
            assert outcome.kind in ("host-memory", "killed", "")
        kinds.append(outcome.kind)
        fault.held()
    told = {"host-memory": "errors", "killed": "aborts", "": "passed over"}
    fault.note(f"{how}: " + ", ".join(f"{kinds.count(kind)} {word}" for kind, word in told.items()))


def test_a_shortage_that_is_recorded_is_seen(
    expected: list[str], tmp_path: Path, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a shortage recorded as the failure of its slot, what is stored is another result."""
    fault = programme.fault(ROW, expected=0)
    real = Stack._ask

    def recorded(stack: Stack, *given: Any) -> Any:
        try:
            return real(stack, *given)
        except ProcessionError as error:
            return Fail("memory-limit", error.what)

    monkeypatch.setattr(Stack, "_ask", recorded)
    with pytest.raises(AssertionError):
        suffered(tmp_path, lambda: failing(TARGETS[0], 1), expected)
    fault.control("with the shortage recorded as a failure")


def test_a_thread_that_does_not_begin_is_told(
    expected: list[str], tmp_path: Path, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system gives no thread, whoever waits is told at once, and the next call finds one again."""
    fault = programme.fault(ROW, expected=1)

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with shop(tmp_path, computed=False) as (process, _):
        with monkeypatch.context() as without:
            without.setattr(threading.Thread, "start", refused)
            with pytest.raises(ComputeError, match="this host begins no thread"):
                process.now(timeout=30)
        assert expected == trace(process)
    fault.held()
