"""Shortages of memory: an allocation that fails in the middle of a slot, and what must hold after.

Rules
-----
* A shortage is one MemoryError: raised where a function is called for the n-th time, by Python's own allocator
  at its n-th allocation, or by the system once the addresses of a program are used up.
* Whatever it hits, no stored result is another than without it, and asking again gives the right ones.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from procession import Kernel, Process
from procession.machine import RECORD
from reliability.poisons import Acts, entries, good, poisoned_kernel

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:  # a Python without its own tests
    remove_mem_hooks = set_nomemory = None

SHAPE = "numbers"
EVERY = 3  # slots between snapshots
FIRST = 1  # slot that is computed before there is a shortage
SCHEDULE = entries(
    [
        *(good(1, SHAPE), good(2, SHAPE)),
        {"function": "add", "parameters": [3], "amount": 3, "act": "hoard"},
        *(good(4, SHAPE), {**good(5, SHAPE), "act": "refuse"}, good(6, SHAPE), {"function": "outside"}, good(7, SHAPE)),
    ]
)
MIB = 1 << 20
SECONDS = 60.0  # within which whoever waits is told something


@attrs.frozen
class Target:
    """Name a function that may run out of memory; whether that is an error of the slot, and costs the live state."""

    place: str  # module:class.method
    raises: bool = True
    rebuilds: bool = True

    @property
    def owner(self) -> Any:
        """Return what holds the function."""
        module, _, path = self.place.partition(":")
        found: Any = import_module(module)
        for name in path.split(".")[:-1]:
            found = getattr(found, name)
        return found

    @property
    def name(self) -> str:
        """Return the name under which it is held."""
        return self.place.replace(":", ".").rpartition(".")[2]


TARGETS: Sequence[Target] = (
    Target("kernel.devices:Tape.compute"),
    Target("kernel.devices:Tape.rollback"),
    Target("kernel.devices:Tape.snapshot", raises=False),
    Target("reliability.poisons:Acting.compute"),
    Target("procession_wasm.stage:WasmStage.compute"),
    Target("procession_wasm.stage:WasmStage.rollback"),
    Target("procession_wasm.mirror:Mirror.take"),
    Target("procession_wasm.instance:Instance.call"),
    Target("procession.executors:transition"),
    Target("procession.machine:_finished"),
    Target("procession.machine:_failed"),
    Target("procession.stacks:Stack.compute"),
    Target("procession.messages:Message.put"),
    Target("procession.messages:Message.set"),
    Target("procession.messages:Message.with_rows"),
    Target("procession.messages:Message.public"),
    Target("procession.messages:dumps"),
    Target("procession.batches:Pending.put"),
    Target("procession.batches:unsaved_nodes"),
    Target("procession_sqlite.cache:SqliteCache.put"),
    Target("procession_sqlite.cache:SqliteCache.get", rebuilds=False),
    Target("procession_zstd.snapshotter:ZstdSnapshotter.pack", raises=False),
    Target("procession_scheduler.scheduler:FileScheduler.read", rebuilds=False),
)


@attrs.frozen
class Outcome:
    """Hold what a shortage did: the kind of the error or "", the newest slot stored before another was asked."""

    kind: str
    newest: int
    rebuilt: bool


@contextmanager
def failing(target: Target, number: int) -> Iterator[list[int]]:
    """Let a function raise MemoryError when it is called for the n-th time, once; the list grows with each call."""
    owner, calls = target.owner, []
    real = getattr(owner, target.name)

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(len(calls) + 1)
        if calls[-1] == number:
            raise MemoryError
        return real(*given, **named)

    setattr(owner, target.name, counted)
    try:
        yield calls
    finally:
        setattr(owner, target.name, real)


class FailingAllocation:
    """Let Python's n-th allocation from here on fail, and the one after it too; itself it allocates nothing."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._end = number + 2

    def __enter__(self) -> None:
        set_nomemory(self._number, self._end)

    def __exit__(self, *raised: object) -> None:
        remove_mem_hooks()


@contextmanager
def limited(spare: int) -> Iterator[None]:
    """Leave this program so many bytes of addresses beside those that it has."""
    gc.collect()  # a guest's memory that is given back later would be much more to spare
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def shop(folder: Path, *, computed: bool = True) -> Iterator[tuple[Process, Acts]]:
    """Open a process that has been computed up to the first slot, or not at all."""
    acts = Acts(broken=False)
    with poisoned_kernel(folder, SHAPE, RECORD, acts, every=EVERY) as kernel:
        assert kernel.definition is not None
        process = kernel.load(SCHEDULE, definition=kernel.definition.message, trust_ids=True)
        if computed:
            process.compute(FIRST)
        yield process, acts


def sound(folder: Path) -> list[str]:
    """Return the state ids, and the live root at the end, of a run with memory enough."""
    with shop(folder) as (process, _):
        return trace(process)


def trace(process: Process) -> list[str]:
    """Return the state ids of all slots, and the live root at the end."""
    process.now(timeout=SECONDS)
    root = process.kernel.snapshot(process.id)["live-root"]
    return [*(process.compute(slot).id for slot in range(len(SCHEDULE))), root]


def suffered(folder: Path, shortage: Callable[[], Any], expected: Sequence[str]) -> Outcome:
    """Compute under a shortage, and hold what is stored, and what asking again gives, against what is right."""
    with shop(folder) as (process, acts):
        built, error = acts.built, None
        with suppress(MemoryError), shortage():
            try:
                process.now(timeout=SECONDS)
                process.compute(0, timeout=SECONDS)  # which is behind the live state, and read from the disk
            except BaseException as raised:  # noqa: BLE001 - what the shortage raised, whatever it is
                error = raised
        kind = (
            "host-memory" if error and _without_memory(error) else getattr(error, "kind", repr(error) if error else "")
        )
        newest = _check_stored(process.kernel, process.id, expected)
        assert list(expected) == trace(process)
        outcome = Outcome(kind, newest, acts.built > built)
        assert all(row.agrees for row in process.replay())
        return outcome


def _check_stored(kernel: Kernel, process: str, expected: Sequence[str]) -> int:
    cache = kernel._host.cache  # what is there, not what is computed when somebody asks
    newest = cache.latest(process, None, with_snapshot=False)
    assert newest is not None
    for slot in range(newest.slot + 1):
        record = cache.get(process, slot)
        if record is not None:
            assert expected[slot] == kernel.compute(process, slot).id
            assert record.state_digest == kernel.compute(process, slot).digest
    return newest.slot


def _without_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ended; a codec in Rust panics then, and Python may lose its own error."""
    lost = isinstance(error, MemoryError | SystemError) or type(error).__name__ == "PanicException"
    return (
        lost
        or getattr(error, "kind", "") == "host-memory"
        or (error.__cause__ is not None and _without_memory(error.__cause__))
    )


def main(folder: str, how: str, *numbers: str) -> None:
    """Suffer shortages one after the other in this program, and print what became of each.

    ``recovery`` suffers none: it goes on where another program was killed by one.
    """
    shortages: dict[str, Callable[[int], Any]] = {
        "allocation": FailingAllocation,
        "addresses": limited,
        "recovery": nullcontext,
    }
    expected = sound(Path(folder) / "sound")
    for number in map(int, numbers):
        outcome = suffered(Path(folder) / str(number), lambda number=number: shortages[how](number), expected)
        sys.stdout.write(json.dumps([number, *attrs.astuple(outcome)]) + "\n")
        sys.stdout.flush()
