"""A soak: many processes over a small pool, asked by several threads for as long as is wanted, in a program of its own.

Rules
-----
* Every answer is held against what the messages add up to; the first wrong one ends the soak.
* The program samples itself: resident memory, open files, threads, and how often a live state was closed.
* What the soak itself keeps of each process is bounded.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from e2e.ledgers import LEDGER
from kernel.devices import Devices, Tape
from procession import Factory, Kernel, Process
from procession.executors import Executor
from procession.testing import python

SHM = Path("/dev/shm")
PROCESSES = 200
LIVE = 8
THREADS = 6
KEPT = 32  # slots of a process that are asked for again
PATIENCE = 120.0
NICE = 10
BULK = Path(__file__).with_name("bulk.wat")
_RUN = "import sys; from reliability.soaks import soak; soak(*sys.argv[1:])"

_SETTINGS = f"""
[process]
name = "soak"
device-stack = [
  {{ device = "wasm-64@1.0", image = "{LEDGER.with_suffix(".wat")}", fuel = 10_000, memory-limit = 65_536 }},
  {{ device = "wasm-64@1.0", image = "{BULK}", fuel = 100_000_000, memory-limit = 2_097_152 }},
  "tape@1.0",
]

[host.workers]
live = {LIVE}

[host.snapshots]
every = 50
"""


@attrs.frozen
class Sample:
    """Hold what a program used at one time: seconds since it began, bytes, files, threads, answers, states closed."""

    at: float
    rss: int
    files: int
    threads: int
    answers: int
    closed: int


@attrs.define
class Account:
    """Hold a process, the sum that it must tell, and what it told at its newest slots."""

    kind: str
    process: Process
    total: int = 0
    told: deque[tuple[int, int]] = attrs.field(factory=lambda: deque(maxlen=KEPT))
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def step(self, dice: random.Random) -> None:
        """Add an amount and ask for the sum; now and then ask for an older one."""
        with self.lock:
            amount = dice.randrange(1, 100)
            self.total += amount
            slot = self.process.schedule(_message(self.kind, amount)).slot
            self._ask(slot, self.total)
            self.told.append((slot, self.total))
            if dice.randrange(4) == 0:
                self._ask(*dice.choice(self.told))

    def _ask(self, slot: int, total: int) -> None:
        state = self.process.compute(slot, timeout=PATIENCE)
        found = state.get("total") if self.kind == "tape" else state.at("results/output")[0]
        assert total == found, f"{self.kind} {self.process.id}, slot {slot}: {found} and not {total}"


@attrs.define
class Soak:
    """Ask processes by several threads."""

    accounts: Sequence[Account]
    answers: int = 0
    wrong: list[BaseException] = attrs.field(factory=list)
    over: threading.Event = attrs.field(factory=threading.Event)

    def ask(self, number: int) -> None:
        """Ask until it is over, or an answer is wrong."""
        dice = random.Random(number)
        try:
            while not self.over.is_set():
                dice.choice(self.accounts).step(dice)
                self.answers += 1
        except BaseException as error:  # noqa: BLE001 - it is told at the end
            self.wrong.append(error)
            self.over.set()


@contextmanager
def soak_folder() -> Iterator[Path]:
    """Lend a folder, in memory where there is a disk of it: what is synced here is of no interest."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as name:
        yield Path(name)


def soaked(folder: Path, seconds: float, processes: int, without: str = "") -> list[Sample]:
    """Soak in a program of its own, perhaps ``without`` something; return what it sampled."""
    return Soaking(folder, seconds, processes, without).samples()


class Soaking:
    """Run a soak in a program of its own, which gives way to whatever else runs."""

    def __init__(self, folder: Path, seconds: float, processes: int, without: str = "") -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = python(_RUN, str(folder), str(seconds), str(processes), without)
        self._told, self._wrong = folder / "samples", folder / "wrong"
        with self._told.open("wb") as out, self._wrong.open("wb") as err:
            self._program = subprocess.Popen(command, stdout=out, stderr=err, env=environment)

    def samples(self) -> list[Sample]:
        """Wait for the end; return what was sampled."""
        assert 0 == self._program.wait(), self._wrong.read_text()[-3000:]
        return [Sample(**json.loads(line)) for line in self._told.read_text().splitlines()]

    def stop(self) -> None:
        """End it where it still runs: nobody waits for it any more."""
        self._program.kill()
        self._program.wait()


def soak(folder: str, seconds: str, processes: str, without: str) -> None:
    """Soak, and print a sample every half second."""
    os.nice(NICE)
    closed = _counting_closes(without)
    file = Path(folder) / "soak.toml"
    file.write_text(_SETTINGS)
    with Kernel.open(file, data=Path(folder) / "data", plugins=[Devices({"tape@1.0": Factory(Tape)})]) as kernel:
        soak = Soak([_account(kernel, number) for number in range(int(processes))])
        threads = [threading.Thread(target=soak.ask, args=(number,)) for number in range(THREADS)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        while not soak.over.wait(0.5) and time.monotonic() - begun < float(seconds):
            _sample(time.monotonic() - begun, soak, closed)
        soak.over.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert not soak.wrong, soak.wrong


def _account(kernel: Kernel, number: int) -> Account:
    """Return a process: every other one on Python, the others on WASM, of which every other one is large."""
    kind = ("tape", "ledger", "tape", "bulk")[number % 4]
    assert kernel.definition is not None
    ledger, bulk, tape = kernel.definition.message.plain()["device-stack"]
    stack = {"tape": tape, "ledger": ledger, "bulk": bulk}[kind]
    return Account(kind, kernel.spawn({"name": kind, "random-seed": number, "device-stack": [stack]}))


def _message(kind: str, amount: int) -> dict[str, Any]:
    if kind == "tape":
        return {"amount": amount}
    return {"function": "mint" if kind == "ledger" else "add", "parameters": [0, amount][kind == "bulk" :]}


def _counting_closes(without: str) -> list[int]:
    """Count how often an executor is closed; ``without`` "close" none is, and each is kept."""
    closed, close, kept = [0], Executor.close, []

    def counted(executor: Executor) -> None:
        closed[0] += 1
        if without == "close":
            kept.append(executor)
        else:
            close(executor)

    Executor.close = counted  # type: ignore[method-assign] # in a program of its own
    return closed


def _sample(at: float, soak: Soak, closed: list[int]) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    sample = Sample(
        at,
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(list(Path("/proc/self/fd").iterdir())),
        threading.active_count(),
        soak.answers,
        closed[0],
    )
    sys.stdout.write(json.dumps(attrs.asdict(sample)) + "\n")
