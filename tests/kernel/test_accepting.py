"""States that other versions of a device made: computed again, refused, or taken as they are on demand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from kernel.devices import COUNTING, TAPING, Act, Tape, Watcher, kernel_of
from procession import ComputeError, Factory, Kernel, Message, Process, ScheduleError
from procession.executors import ACCEPTED
from procession.folders import AUDIT
from procession.roles import Ok, Verdict
from procession.schedules import Assignment
from procession.testing.fakes import MemoryHost, MemoryScheduler, SteppingClock

NEVER = '[host.snapshots]\nreplay-budget = "1h"\n'
EVERY = "[host.snapshots]\nevery = 4\nreplay-budget = '1h'\n"
OPTION = "--accept-fingerprint"


def counting(step: int) -> Factory:
    """Return a version of a device that counts by steps, all in the state."""

    def fold(state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        return Ok(state.put("total", state.get("total", 0) + step))

    return Factory(lambda options, binding: Act(fold), fingerprint={"engine": f"step {step}"})


def taping(step: int) -> Factory:
    """Return a version of a device that keeps a number outside of the state, and adds to it by steps."""

    class Version(Tape):
        def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
            self.before = (assignment.slot, self.total)
            self.total += step
            return Ok(state.put("total", self.total))

    return Factory(Version, fingerprint={"engine": f"step {step}"})


class Gone(MemoryScheduler):
    """Lose one slot."""

    gone = -1

    def read(self, process: str, first: int, last: int) -> Sequence[Assignment]:
        """Return assignments, or say which is missing."""
        if first <= self.gone <= last:
            place, facts = f"schedule of {process}, slot {self.gone}", {"process": process, "slot": self.gone}
            raise ScheduleError("the row is missing", where=place, kind="damaged-schedule", facts=facts)
        return super().read(process, first, last)


class Bench:
    """Open kernels over one host in memory, each with a version of the device."""

    def __init__(self, folder: Path, *, live: bool, text: str = "") -> None:
        self.folder = folder
        self.live = live
        self.host = MemoryHost()
        self.host._scheduler = self.scheduler = Gone(SteppingClock())
        self.watcher = Watcher()
        self.text = (TAPING if live else COUNTING) + (text or NEVER)

    def open(self, step: int, **options: Any) -> Kernel:
        """Open a kernel with the device that adds by so much."""
        stages = {"tape@1.0" if self.live else "count@1.0": (taping if self.live else counting)(step)}
        return kernel_of(self.folder, stages, self.text, host=self.host, plugins=[self.watcher], **options)

    def audit(self) -> list[dict[str, Any]]:
        """Return what was written down."""
        file = self.folder / "data" / AUDIT
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def grown(kernel: Kernel, slots: int) -> Process:
    """Return the process with so many more slots."""
    process = kernel.spawn()
    process.schedule_many([{"n": process.head.slot + n} for n in range(1, slots + 1)])
    return process


@pytest.fixture(params=[False, True], ids=["in the state", "live"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Return a bench on which slots 0 to 5 were computed by the version that adds 1."""
    made = Bench(tmp_path, live=request.param)
    with made.open(1) as kernel:
        assert 6 == grown(kernel, 5).now()["total"]
    return made


def test_another_version_that_agrees_computes_anew(bench: Bench) -> None:
    """Without the option, a version that gives the same states computes them again, and goes on."""
    stages = {"tape@1.0" if bench.live else "count@1.0": (taping if bench.live else counting)(1)}
    (factory,) = stages.values()
    named = {name: Factory(factory.build, fingerprint={"engine": "another"}) for name in stages}
    with kernel_of(bench.folder, named, bench.text, host=bench.host, plugins=[bench.watcher]) as kernel:
        assert 7 == grown(kernel, 1).now()["total"]
    assert "foreign-snapshot" in bench.watcher.kinds
    assert [] == bench.audit()


def test_a_version_that_differs_is_refused_with_the_way_on(bench: Bench) -> None:
    """A version that gives other states is refused: stored results stand, and the remedy names slot and option."""
    with bench.open(10) as kernel:
        process = grown(kernel, 1)
        with pytest.raises(ComputeError, match=f"slot 5 as it is with {OPTION}") as refused:
            process.now()
        assert ["divergence", 0] == [refused.value.kind, refused.value.facts["slot"]]
        assert [1, 2, 3, 4, 5, 6] == [process.compute(slot)["total"] for slot in range(6)]
    assert [] == bench.audit()


def test_the_option_goes_on_from_the_stored_state(bench: Bench) -> None:
    """With the option the process goes on from the stored state; that is reported and written down."""
    with bench.open(10, accept_fingerprint=True) as kernel:
        process = grown(kernel, 2)
        assert 26 == process.now()["total"]
        assert [1, 2, 3, 4, 5, 6, 16, 26] == [process.compute(slot)["total"] for slot in range(8)]
    assert ACCEPTED in bench.watcher.kinds
    assert [(ACCEPTED, process.id, 5)] == [(row["what"], row["process"], row["slot"]) for row in bench.audit()]
    assert all(row["time"].endswith("+00:00") and row["reason"] for row in bench.audit())


def test_nothing_is_accepted_that_cannot_be_written_down(bench: Bench) -> None:
    """Where the audit file cannot be written, the state is not taken: the process is refused as ever."""
    (bench.folder / "data" / AUDIT).mkdir()
    with bench.open(10, accept_fingerprint=True) as kernel, pytest.raises(ComputeError) as refused:
        grown(kernel, 1).now()
    assert "divergence" == refused.value.kind


def test_the_option_is_needed_once(bench: Bench) -> None:
    """What went on from an accepted state needs the option no more."""
    with bench.open(10, accept_fingerprint=True) as kernel:
        grown(kernel, 1).now()
    with bench.open(10) as kernel:
        assert 26 == grown(kernel, 1).now()["total"]
    assert 1 == len(bench.audit())


def test_the_option_writes_nothing_down_where_nothing_is_foreign(bench: Bench) -> None:
    """With the option and the same devices, nothing is accepted."""
    with bench.open(1, accept_fingerprint=True) as kernel:
        assert 7 == grown(kernel, 1).now()["total"]
    assert [] == bench.audit()


def test_a_reader_accepts_and_writes_nothing(bench: Bench) -> None:
    """A kernel that only reads goes on from the stored state too, and leaves no trace."""
    with bench.open(1) as kernel:
        process = grown(kernel, 1).id
    with bench.open(10, accept_fingerprint=True, read_only=True) as kernel:
        assert 16 == kernel.compute(process, 6)["total"]
    assert [] == bench.audit()
    assert ACCEPTED in bench.watcher.kinds


def test_a_gap_below_the_stored_state_is_refused_with_the_way_on(bench: Bench) -> None:
    """Where a slot below is gone the same devices go on, others are refused, and with the option they go on."""
    bench.scheduler.gone = 3
    with bench.open(1) as kernel:
        assert 7 == grown(kernel, 1).now()["total"]
    with bench.open(10) as kernel:
        process = grown(kernel, 1)
        with pytest.raises(ScheduleError, match=f"slot 3: .*slot 6 as it is with {OPTION}") as refused:
            kernel.compute(process.id, 7)
        assert "damaged-schedule" == refused.value.kind
    with bench.open(10, accept_fingerprint=True) as kernel:
        assert 17 == kernel.compute(process.id, 7)["total"]
    assert [6] == [row["slot"] for row in bench.audit()]


def test_a_gap_above_the_stored_state_names_no_way_on(bench: Bench) -> None:
    """The option is not named where it cannot help: a slot that is missing above the stored state."""
    with bench.open(10) as kernel:
        process = grown(kernel, 3)
        bench.scheduler.gone = 7
        with pytest.raises(ScheduleError) as refused:
            kernel.compute(process.id, 8)
        assert OPTION not in refused.value.text


def test_results_above_an_accepted_snapshot_stand(tmp_path: Path) -> None:
    """Results that were returned stand where going on from a snapshot below gives others; each is written down."""
    bench = Bench(tmp_path, live=True, text=EVERY)
    with bench.open(1) as kernel:
        process = grown(kernel, 5)
        process.now()
    last = bench.host.cache.records[process.id, 5]
    bench.host.cache.records[process.id, 5] = attrs.evolve(last, snapshot=None, live_root=b"")  # killed, not closed
    with bench.open(10, accept_fingerprint=True) as kernel:
        process = grown(kernel, 1)
        assert 4 + 30 == process.now()["total"]
        assert [4, 5, 6] == [process.compute(slot)["total"] for slot in (3, 4, 5)]
    assert [3, 4, 5] == [row["slot"] for row in bench.audit()]
