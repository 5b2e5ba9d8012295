"""Hostile WASM: whatever is handed in as an image, or asked of a guest, the host stays up and says what it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

import procession_wasm
from procession import Kernel
from procession.errors import ComputeError
from procession.results import FAILURE_KINDS
from procession.testing.fakes import MemoryHost
from procession_wasm import compiling
from reliability.programme import Programme
from reliability.wasm_modules import HOSTILE, LIMIT, OK, REFUSED

Figure = Callable[[int, int], int]
ROW = "hostile WASM"
BATCH = Path(__file__).with_name("wasm_batch.py")
BUDGET = 6 * LIMIT + (64 << 20)  # a guest's memory, its mirror, its snapshot in three forms; and the rest
SEED = 15


@attrs.frozen
class Report:
    """Hold what a batch printed, and how it ended."""

    rows: list[Mapping[str, Any]]
    code: int
    errors: str

    @property
    def peaks(self) -> Mapping[str, int]:
        """Return by how many bytes the batch grew, and how large its largest compiler was."""
        return self.rows[-1]


def batch(**asked: Any) -> Report:
    """Run a batch in a program of its own, and wait for it."""
    environment = {**os.environ, "PYTHONPATH": str(BATCH.parents[1])}
    done = subprocess.run(
        [sys.executable, str(BATCH), json.dumps(asked)], capture_output=True, env=environment, timeout=3600, check=False
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return Report(rows, done.returncode, done.stderr.decode("utf-8", "replace")[-4000:])


def test_hostile_modules_come_to_named_ends(programme: Programme) -> None:
    """Each is refused when it is spawned, or ends by name, twice in the same way, and memory stays bounded."""
    fault = programme.fault(ROW, expected=len(HOSTILE))
    assert len(HOSTILE) >= 60
    report = batch(names=[hostile.name for hostile in HOSTILE], cpu=300, compiler=3)
    assert (0, "") == (report.code, report.errors)
    ends = {row["name"]: row["end"] for row in report.rows[:-1]}
    assert {} == {name: end for name, end in ends.items() if end not in _expected(name)}
    assert [] == [row["name"] for row in report.rows[:-1] if not row["equal"]]
    assert report.peaks["grown"] <= BUDGET
    assert report.peaks["compilers"] <= compiling.ADDRESS_SPACE
    fault.held(len(ends))
    slowest = max(report.rows[:-1], key=lambda row: row["seconds"])
    megabytes = {name: size >> 20 for name, size in report.peaks.items()}
    fault.note(
        f"grew by {megabytes['grown']} MiB, a compiler by {megabytes['compilers']} MiB; slowest: {slowest['name']}"
    )


def _expected(name: str) -> tuple[str, ...]:
    (found,) = [hostile.ends for hostile in HOSTILE if hostile.name == name]
    return found


def test_mutants_come_to_named_ends(programme: Programme, figure: Figure) -> None:
    """Whatever a byte more or less makes of a sound module, it is refused or ends by name, twice in the same way."""
    count = figure(2000, 20_000)
    fault = programme.fault(ROW, expected=count)
    report = batch(seed=SEED, count=count, cpu=60 + count // 20)
    assert (0, "") == (report.code, report.errors), f"seed {SEED}, after mutant {report.rows[-1:]}"
    ends = {end for row in report.rows[:-1] for end in row["ends"]}
    assert ends <= {*FAILURE_KINDS, REFUSED, OK}, f"seed {SEED}"
    assert {OK, REFUSED, "trap"} <= ends
    assert [] == [number for row in report.rows[:-1] for number in row["unequal"]], f"seed {SEED}"
    assert report.peaks["grown"] <= BUDGET
    fault.held(sum(sum(row["ends"].values()) for row in report.rows[:-1]))


# -- controls: in a program that the system kills


def test_without_fuel_or_watch_a_loop_has_no_end(programme: Programme) -> None:
    """With all the fuel there is, the watch stops a loop; with neither, only the system does."""
    fault = programme.fault(ROW, expected=1)
    watched = batch(names=["endless loop"], cpu=60, without="fuel", seconds=1)
    assert ["raised wall-clock"] == [row["end"] for row in watched.rows[:-1]], watched.errors
    fault.held()
    unwatched = batch(names=["endless loop"], cpu=4, without="watch")
    assert ([], -signal.SIGXCPU) == (unwatched.rows, unwatched.code), unwatched.errors
    fault.control("with neither fuel nor a watch")


def test_without_the_memory_limit_memory_has_no_bound(programme: Programme) -> None:
    """With a limit of a gigabyte the same module takes the host beyond its budget."""
    fault = programme.fault(ROW, expected=0)
    report = batch(names=["memory grown, filled and lost"], cpu=60, without="limit")
    assert report.peaks["grown"] > BUDGET
    fault.control("without the memory limit")


@pytest.mark.parametrize(("name", "cpu"), [("bomb of handlers", 4), ("bomb of locals", 4)])
def test_without_the_child_a_bomb_is_the_hosts(name: str, cpu: int, programme: Programme) -> None:
    """Compiled in the host's own process a bomb takes the host's time and memory."""
    fault = programme.fault(ROW, expected=0)
    report = batch(names=[name], cpu=cpu, without="compiler")
    assert report.code < 0, "the system killed it"
    fault.control(f"without a child to compile: {name}")


# -- beside others


def test_a_loop_slows_nobody_else(tmp_path: Path, programme: Programme) -> None:
    """While one process loops until its time is over, another one goes on; the loop is told, and is never a result."""
    fault = programme.fault(ROW, expected=1)
    (tmp_path / "guest.wat").write_text(_GUEST)
    file = tmp_path / "guest.toml"
    file.write_text(_DEFINITION)
    with Kernel.open(file, data=tmp_path / "data", plugins=[MemoryHost(), procession_wasm], discover=False) as kernel:
        looping, other = kernel.spawn(), kernel.spawn(kernel.definition.message.put("name", "other").plain())
        slot = looping.schedule({"function": "loop"}).slot
        kinds: list[str] = []
        thread = threading.Thread(target=lambda: kinds.append(_kind_of(lambda: looping.compute(slot))))
        thread.start()
        answered = 0
        while thread.is_alive():
            answered += other.compute(other.schedule({"function": "run"}).slot).at("results/output")[0]
        thread.join()
        assert (["wall-clock"], True) == (kinds, answered > 0)
        assert [0, 1] == [looping.compute(0).at("at-slot"), other.compute(1).at("at-slot")]
    fault.held()


def _kind_of(call: Callable[[], object]) -> str:
    try:
        call()
    except ComputeError as error:
        return error.kind
    return "a result"


_GUEST = '(module (func (export "loop") (loop $l (br $l))) (func (export "run") (result i32) (i32.const 1)))'
_DEFINITION = f"""
[process]
name = "looping"
device-stack = [{{ device = "wasm-64@1.0", image = "guest.wat", fuel = {1 << 62} }}]
[host.workers]
slot-timeout = "1s"
"""
