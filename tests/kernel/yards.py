"""Yards: kernels in memory whose stages can be held at a slot, raise, and say what they did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernel.devices import Tape, Watcher, kernel_of
from procession import Factory, Kernel, Message, Process
from procession.errors import CacheError
from procession.results import Batch
from procession.roles import Verdict
from procession.schedules import Assignment
from procession.testing.fakes import MemoryCache, MemoryHost

PATIENCE = 60.0  # seconds after which a test gives up waiting
TAPES = '[process]\nname = "tapes"\nexecution-device = "tape@1.0"\n[host.snapshots]\nreplay-budget = "1h"\nevery = {}\n'
BOUNDS = "[host.workers]\n"


class Gate(Tape):
    """Keep a sum; a message may hold its slot until it is let go, or raise."""

    entered: threading.Semaphore
    leave: threading.Event
    built: list[Gate]
    steps: list[tuple[str, int]]
    faults: list[int]

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.name = name
        self.closed = 0

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Add, after what the message asks for."""
        self.steps.append((assignment.process, assignment.slot))
        if assignment.message.get("hold"):
            self.entered.release()
            self.leave.wait(PATIENCE)
        if assignment.message.get("raise") and self.faults:
            self.faults.pop()
            raise RuntimeError("broken")
        return super().compute(state, assignment, pass_number)

    def size(self) -> int:
        """Say that it is large."""
        return 1000

    def close(self) -> None:
        """Count it."""
        self.closed += 1


class Store(MemoryCache):
    """Keep results in memory, and refuse them while it is full."""

    full = False

    def put(self, batch: Batch) -> None:
        """Keep a batch."""
        if self.full:
            raise CacheError("no space left", where="store", kind="disk-full")
        super().put(batch)


class Yard:
    """Hold a kernel with gates, and what happens in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = MemoryHost()
        self.host.cache = self.store = Store()
        self.watcher = Watcher()
        self.entered, self.leave = threading.Semaphore(0), threading.Event()
        self.built: list[Gate] = []
        self.steps: list[tuple[str, int]] = []
        self.faults: list[int] = []
        self.kernels: list[Kernel] = []

    def open(self, bounds: str = "", **options: Any) -> Kernel:
        """Open a kernel, again for a restart."""
        self.close()
        stages = {"tape@1.0": Factory(self.build, fingerprint=options.pop("fingerprint", {}))}
        text = TAPES.format(options.pop("every", 0)) + BOUNDS + bounds
        kernel = kernel_of(self.folder, stages, text, host=self.host, plugins=[self.watcher], **options)
        self.kernels.append(kernel)
        return kernel

    def build(self, options: object, binding: Any) -> Gate:
        """Build a gate."""
        gate = Gate(binding.process)
        gate.entered, gate.leave = self.entered, self.leave
        gate.built, gate.steps, gate.faults = self.built, self.steps, self.faults
        self.built.append(gate)
        return gate

    def spawn(self, count: int, **rows: Any) -> list[Process]:
        """Begin processes, each with one message behind its definition."""
        found = [self.kernels[-1].spawn({"execution-device": "tape@1.0", "name": f"{n}"}) for n in range(count)]
        for process in found:
            process.schedule({"amount": 1, **rows})
        self.built.clear()
        return found

    def close(self) -> None:
        """Close the kernel."""
        while self.kernels:
            self.kernels.pop().close()


def started(work: Callable[[], object]) -> threading.Thread:
    """Return a thread that does something."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def live(yard: Yard) -> list[str]:
    """Return the processes whose stages are open."""
    return [gate.name for gate in yard.built if not gate.closed]


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(600):
        if holds():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not come to hold")
