"""Kernels in memory whose processes send what they are told to, and a host that fails when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

import procession_push
from procession import Assignment, Factory, Kernel, Message, Ok, Process, PureStage, hookimpl
from procession.errors import ProcessionError
from procession.roles import Site, Verdict
from procession.schedules import Submission, Tick
from procession.testing import MemoryHost, SteppingClock
from procession.testing.fakes import MemoryScheduler
from procession_push import Pushes
from procession_push.deliveries import Delivery

PATIENCE = 60.0  # seconds within which anything that happens at all has happened
NAME = "push@1.0"


class Player(PureStage):
    """Send what a message says under ``send``; send a ball with a ``count`` back to whom it came from, one less.

    What a message says under ``claim`` are the results as they are.
    """

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Fold one message."""
        message = assignment.message
        if "claim" in message:
            return Ok(state.put("results", message["claim"]))
        state = state.put("results/data", message.get("data", "nothing"))
        if message.get("count"):
            ball = {"target": message.get("from-process"), "count": message["count"] - 1}
            return Ok(state.put("results/outbox/1", ball))
        return Ok(state.put("results/outbox", message["send"]) if "send" in message else state)


class Failing(MemoryScheduler):
    """Refuse to assign while there is trouble left."""

    trouble: list[Exception]
    gate: threading.Event

    def assign(self, process: str, submissions: Sequence[Submission]) -> Sequence[Assignment]:
        """Assign, or raise what is next; messages from processes alone meet it."""
        if any("from-process" in submission.message for submission in submissions):
            assert self.gate.wait(PATIENCE)
            if self.trouble:
                raise self.trouble.pop(0)
        return super().assign(process, submissions)


class Host(MemoryHost):
    """Serve from memory, with trouble for deliveries to meet and a gate that they pass."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.scheduler: Failing | None = None

    @hookimpl
    def procession_schedulers(self) -> Mapping[str, Factory]:
        """Provide the scheduler."""
        return {"scheduler@1.0": Factory(self._failing)}

    def _failing(self, options: object, site: Site) -> Failing:
        if self.scheduler is None:
            self.scheduler = Failing(site.clock)
            self.scheduler.trouble = self.trouble
            self.scheduler.gate = self.gate
        return self.scheduler


@attrs.define
class HeldClock:
    """Tell a time that stands still until somebody moves it."""

    timestamp: int = 1_700_000_000_000

    def __call__(self) -> Tick:
        """Return the time."""
        return Tick(self.timestamp)

    def follow(self, on: Ground, process: Process, slot: int, *, jump: int = 0) -> list[int]:
        """Move to when the failed entry of a slot is due, whenever it fails, or by ``jump``; note the waits."""
        waits: list[int] = []

        def moved(error: ProcessionError) -> None:
            (row,) = on.rows(process, slot)
            waits.append(row.due - self.timestamp)
            self.timestamp = self.timestamp + jump if jump else row.due

        on.plugin.on_failure = moved
        return waits


class Plugin:
    """Provide the stage, and note what is told to those who watch."""

    def __init__(self) -> None:
        self.pushed: list[tuple[str, int, int, int]] = []
        self.failed: list[ProcessionError] = []
        self.on_failure: Callable[[ProcessionError], None] = lambda error: None
        self.on_delivery: Callable[[], None] = lambda: None

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide player@1.0."""
        return {"player@1.0": Factory(lambda options, binding: Player())}

    @hookimpl
    def procession_pushed(self, process: str, slot: int, index: int, assignment: Assignment) -> None:
        """Note where an entry went."""
        self.pushed.append((process, slot, index, assignment.slot))
        self.on_delivery()

    @hookimpl
    def procession_failed(self, process: str, slot: int | None, error: ProcessionError) -> None:
        """Note the error."""
        self.failed.append(error)
        self.on_failure(error)


@attrs.define
class Ground:
    """Hold a kernel and what it stands on."""

    kernel: Kernel
    data: Path
    host: Host
    plugin: Plugin

    @property
    def pushes(self) -> Pushes:
        """Return what delivers."""
        found: Pushes = self.kernel.companions.get(NAME)
        return found

    def process(self, name: str, **keys: Any) -> Process:
        """Begin a process of a name, or find it."""
        return self.kernel.spawn({"type": "Process", "name": name, "device-stack": ["player@1.0"], **keys})

    def push(self, process: Process, message: Mapping[str, Any], path: str = "push") -> Message:
        """Schedule a message and push its slot; return the report."""
        found: Message = self.kernel.resolve(f"/{process.id}/{path}", method="POST", body=Message(message))
        return found

    def rows(self, process: Process, slot: int) -> list[Delivery]:
        """Return the entries of a slot as they are on the list."""
        return [row for row in self.pushes.below(process.id, slot).get((process.id, slot), ()) if row.index > 0]

    def told(self, process: Process) -> list[Any]:
        """Return the data of all messages in a schedule but the first."""
        return [assignment.message.get("data") for assignment in process.log(1)]


@pytest.fixture
def held_clock() -> HeldClock:
    """Return a clock that stands still."""
    return HeldClock()


@pytest.fixture
def host() -> Host:
    """Return a host that several kernels may stand on, one after the other."""
    return Host()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Callable[..., Ground]]:
    """Open kernels in memory over one data folder: ``ground('depth = 3', host=...)``; a second one is a restart."""
    with ExitStack() as stack:

        def opened(push: str = "", *, host: Host | None = None, clock: Any = None, **options: Any) -> Ground:
            file = tmp_path / "home.toml"
            file.write_text(f'[process]\nname = "home"\ndevice-stack = ["player@1.0"]\n[host.push]\n{push}\n')
            given, plugin = host or Host(), Plugin()
            kernel = Kernel.open(
                file,
                data=tmp_path / "data",
                plugins=[given, plugin, procession_push],
                discover=False,
                clock=clock or SteppingClock(),
                **options,
            )
            return Ground(stack.enter_context(kernel), tmp_path / "data", given, plugin)

        yield opened
