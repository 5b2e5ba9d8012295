"""Dry runs: an answer without a slot, and a live state that never hears of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.devices import TAPE, TAPING, Devices, Tape, assignment_of, kernel_of
from kernel.yards import Yard, started
from procession import ComputeError, Factory, Kernel, Message, Process, RequestError
from procession.dry_runs import dry_run
from procession.ids import hash_id
from procession.roles import Binding, Fail, Live, Verdict
from procession.schedules import Assignment
from procession.testing.fakes import MemoryHost


class Tapes:
    """Make tapes, and note how many are open; one whose message says so fails, or raises."""

    def __init__(self) -> None:
        self.made: list[Tape] = []
        self.open = 0

    def __call__(self, options: object, binding: object) -> Tape:
        """Make one."""
        tapes = self
        tapes.open += 1

        class Counted(Tape):
            def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
                if "raise" in assignment.message:
                    raise ConnectionError(assignment.message["raise"])
                return super().compute(state, assignment, pass_number)

            def close(self) -> None:
                tapes.open -= 1

        tapes.made.append(Counted())
        return tapes.made[-1]


@pytest.fixture
def tapes() -> Tapes:
    """Return what makes the stages."""
    return Tapes()


@pytest.fixture
def process(tmp_path: Path, tapes: Tapes) -> Iterator[Process]:
    """Return a process whose stage keeps a number outside of the state; it stands at 7."""
    (tmp_path / "tape.toml").write_text(TAPING, "utf-8")
    plugins = [MemoryHost(), Devices({"tape@1.0": Factory(tapes)})]
    with Kernel.open(tmp_path / "tape.toml", data=tmp_path / "data", plugins=plugins, discover=False) as kernel:
        process = kernel.spawn()
        process.schedule({"amount": 7})
        yield process


def test_a_dry_run_gives_what_a_message_would_give(process: Process) -> None:
    """The state is the one after the message at the head, and the schedule has no slot for it."""
    state = process.kernel.dry_run(process.id, {"amount": 5})
    assert (12, 2) == (state["total"], state["at-slot"])
    assert 1 == process.head.slot


def test_the_live_state_does_not_hear_of_it(process: Process, tapes: Tapes) -> None:
    """The live stage is another one, goes on as if nothing had been, and the borrowed one is closed."""
    process.now()
    (live,) = tapes.made[-1:]
    process.kernel.dry_run(process.id, {"amount": 5})
    assert 7 == live.total
    assert live is not tapes.made[-1]
    process.schedule({"amount": 1})
    assert 8 == process.now()["total"]
    assert 8 == live.total
    assert 1 == tapes.open


def test_it_replays_where_nothing_is_live(tmp_path: Path) -> None:
    """After a restart, with the results on the disk and nothing live, the answer is the same."""
    host = MemoryHost()
    with kernel_of(tmp_path, TAPE, TAPING, host=host) as kernel:
        process = kernel.spawn()
        process.schedule({"amount": 7})
        process.now()
    with kernel_of(tmp_path, TAPE, TAPING, host=host) as kernel:
        assert 12 == kernel.dry_run(process.id, {"amount": 5})["total"]
        assert 7 == kernel.process(process.id).now()["total"]


def test_what_it_raises_is_no_fault_of_the_process(process: Process, tapes: Tapes) -> None:
    """A dry run that this host fails at is told to its caller; no slot is held against the process for it."""
    with pytest.raises(ComputeError, match="the feed is away"):
        process.kernel.dry_run(process.id, {"raise": "the feed is away"})
    assert "ok" == process.kernel.health()["status"]
    assert 7 == process.now()["total"]
    assert 1 == tapes.open


def test_what_comes_too_late_is_closed(tmp_path: Path) -> None:
    """A stage that is lent after its caller's deadline passed is closed, and computes nothing."""
    yard = Yard(tmp_path)
    kernel = yard.open()
    (process,) = yard.spawn(1)
    process.schedule({"amount": 1, "hold": True})
    held = started(process.now)
    yard.entered.acquire()
    line = kernel._line(process.id)
    with pytest.raises(ComputeError, match="deadline"):
        dry_run(kernel._workers, line, assignment_of({"amount": 5}, slot=3), time.monotonic())
    yard.leave.set()
    held.join()
    kernel.snapshot(process.id)  # behind what was asked for before
    assert [0, 1] == [gate.closed for gate in yard.built]
    yard.close()


def test_a_stack_without_snapshots_is_replayed(tmp_path: Path) -> None:
    """Where the stages may not be asked for their live parts, the answer is the same, by a replay."""
    text = TAPING.replace("[process]\n", '[process]\nstack-keys = ["init", "compute"]\n')
    with kernel_of(tmp_path, TAPE, text) as kernel:
        process = kernel.spawn()
        process.schedule({"amount": 7})
        assert (7, 12) == (process.now()["total"], kernel.dry_run(process.id, {"amount": 5})["total"])


def test_what_never_began_is_asked_for_no_parts(tmp_path: Path) -> None:
    """A process whose init failed has a dry run as it has a slot: the stage is asked to begin once more."""

    class Refusing(Tape):
        def init(self, state: Message, genesis: Assignment) -> Verdict:
            return Fail("refused", "not today")

        def snapshot(self) -> Live | None:
            raise AssertionError("it never began")

    with kernel_of(tmp_path, {"tape@1.0": Factory(lambda options, binding: Refusing())}, TAPING) as kernel:
        process = kernel.spawn()
        assert "not today" == kernel.dry_run(process.id, {"amount": 5}).at("results/error/message")


def test_a_message_too_large_is_refused(process: Process) -> None:
    """What no scheduler would be offered is not run either."""
    with pytest.raises(RequestError, match="bytes"):
        process.kernel.dry_run(process.id, {"data": b"\0" * (16 << 20)})
    with pytest.raises(RequestError, match="no process"):
        process.kernel.dry_run("A" * 43, {})


def test_bytes_are_kept_under_an_id_given_elsewhere(tmp_path: Path) -> None:
    """What is kept has its own id, and an alias of it is the same bytes to a stage that a definition names it for."""
    found: list[bytes] = []

    def build(options: object, binding: Binding) -> Tape:
        found.append(binding.blob("A" * 43))
        return Tape()

    with kernel_of(tmp_path, {"tape@1.0": Factory(build)}, TAPING) as kernel:
        with pytest.raises(RequestError):
            kernel.spawn()
        kernel.aliases["A" * 43] = kernel.keep(b"module")
        assert hash_id(b"module") == kernel.aliases["A" * 43]
        kernel.spawn()
    assert b"module" in found
