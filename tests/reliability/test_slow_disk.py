"""A disk that takes its time to sync holds up those whose messages it syncs, and nobody else."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw
import attrs
import pytest

from procession import Kernel, Process
from procession.schedules import Assignment
from procession_scheduler import FileScheduler
from procession_scheduler.disk import Disk
from procession_scheduler.plans import Commit
from reliability.disks import SHM
from reliability.programme import Fault, Programme

ROUNDS = 3  # of each kind, in turns; the least disturbed are compared, for a slow disk would slow every one
TRIES = 3  # the other programs of a machine disturb some, but not all
STEPS = 100  # that the other process takes in a round
POSTERS = 4
SLOWER = 2.0  # times that another process may take
WAITS = 3.0  # syncs that a post may wait for: the one that it came too late for, its own, and a share of noise
PATIENCE = 60.0  # seconds within which health has noticed
DEFINITION = {"type": "Process", "execution-device": "stack@1.0", "device-stack": ["echo@1.0"]}


class _SlowFile(apsw.VFSFile):
    def __init__(self, disk: SlowDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._slow = bool(text) and Path(str(text)).name.startswith("schedule")
        self._disk = disk
        super().__init__(disk.base, name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        if self._slow:
            self._disk.wait()
        super().xSync(flags)


class SlowDisk(apsw.VFS):
    """Be the disk below SQLite, whose syncs of the schedule take as long as they are told to."""

    def __init__(self) -> None:
        self.base = apsw.vfs_names()[0]
        self.syncs = 0
        self._seconds = 0.0
        self.waited_for = threading.Event()  # a slow sync is under way, or was
        self._quick = threading.Event()
        super().__init__("slow", self.base, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """Open a file on this disk."""
        return _SlowFile(self, name, flags)

    def wait(self) -> None:
        """Take the time of a sync."""
        self.syncs += 1
        if self._seconds:
            self.waited_for.set()
            self._quick.wait(self._seconds)

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Be slow for a while; who waits at the end waits no longer."""
        self._quick.clear()
        self.waited_for.clear()
        self._seconds = seconds
        try:
            yield
        finally:
            self._seconds = 0.0
            self._quick.set()


@attrs.frozen
class Node:
    """Hold a kernel on a disk that can be slow, the process that is posted to, and the other one."""

    disk: SlowDisk
    posted: Process
    other: Process


@pytest.fixture
def row(programme: Programme) -> Fault:
    """Return the row of the programme."""
    return programme.fault("slow disk (fsync 50 ms to 5 s)", expected=0)


@pytest.fixture
def running() -> Iterator[Node]:
    """Run a kernel on a disk of memory, so that it is slow when it is told to and at no other time."""
    disk = SlowDisk()
    try:
        with (
            tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder,
            Kernel.open(data=folder) as kernel,
        ):
            posted, other = [kernel.spawn({**DEFINITION, "name": name}) for name in ("posted", "other")]
            other.schedule_many([{"number": number} for number in range(STEPS * ROUNDS * 2 * TRIES)])
            yield Node(disk, posted, other)
    finally:
        disk.unregister()


@pytest.mark.parametrize("seconds", [0.05, 0.5, 5.0])
def test_a_slow_sync_holds_up_nobody_else(seconds: float, row: Fault, running: Node) -> None:
    """While posts wait for a slow disk, another process computes and reads as fast as beside a fast disk."""
    row.expected += 1
    steps = iter(range(1, running.other.head.slot + 1))
    for _ in range(TRIES):
        quick, slow, posts = _rounds(running, seconds, steps)
        if slow <= SLOWER * quick:
            break
    with _posting(running, []):
        _await_health(running, "ok")
        with running.disk.slow(seconds):
            _await_health(running, "degraded")
        _await_health(running, "ok")
    assert slow <= SLOWER * quick, f"p99 of {slow:.4f} s beside {quick:.4f} s"
    row.held()
    row.note(f"syncs of {seconds} s: another process's p99 is {slow / quick:.1f} x, health says degraded")
    if seconds < 1:
        assert max(posts) <= WAITS * seconds, "a post waits for more syncs than the one before and its own"


def test_reads_that_wait_for_the_writer_are_caught(row: Fault, running: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that lets nobody read while it writes is seen to hold up everybody."""
    lock = threading.Lock()
    write, read = Disk.write, FileScheduler.read

    def locked_write(disk: Disk, commit: Commit) -> None:
        with lock:
            write(disk, commit)

    def locked_read(scheduler: FileScheduler, process: str, first: int, last: int) -> Sequence[Assignment]:
        with lock:
            return read(scheduler, process, first, last)

    monkeypatch.setattr(Disk, "write", locked_write)
    monkeypatch.setattr(FileScheduler, "read", locked_read)
    quick, slow, _ = _rounds(running, 0.02, iter(range(1, running.other.head.slot + 1)))
    assert slow > SLOWER * quick
    row.control(f"reads that wait for the writer: another process's p99 is {slow / quick:.0f} x")


def _rounds(running: Node, seconds: float, steps: Iterator[int]) -> tuple[float, float, list[float]]:
    """Return the p99 of the other process beside a fast and a slow disk, and how long posts took on the slow one."""
    found: dict[float, list[float]] = {0.0: [], seconds: []}
    posts: list[float] = []
    for number in range(ROUNDS * 2):
        delay = seconds * (number % 2)
        before = running.disk.syncs
        with _posting(running, posts if delay else []), running.disk.slow(delay):
            assert not delay or running.disk.waited_for.wait(PATIENCE)
            found[delay].append(_p99([_timed(lambda: _step(running.other, next(steps))) for _ in range(STEPS)]))
            if delay and delay < 1:
                time.sleep(delay * 2)  # so that some posts are through
        assert running.disk.syncs > before, "the disk was not slow"
    return min(found[0.0]), min(found[seconds]), posts


@contextmanager
def _posting(running: Node, took: list[float]) -> Iterator[None]:
    over = threading.Event()

    def post() -> None:
        while not over.is_set():
            took.append(_timed(lambda: running.posted.schedule({"a": 1})))
            time.sleep(0.01)  # the other process is to be slowed by the disk, not by those who load it

    threads = [threading.Thread(target=post) for _ in range(POSTERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _await_health(running: Node, status: str) -> None:
    """Wait until health says so, for the schedule's sake alone."""
    end = time.monotonic() + PATIENCE
    while (health := running.posted.kernel.health())["status"] != status:
        assert time.monotonic() < end, health.plain()
        time.sleep(0.02)
    assert (["writing schedule is slow"] if status == "degraded" else []) == list(health["reasons"])


def _step(process: Process, slot: int) -> None:
    process.compute(slot)
    list(process.log(max(0, slot - 5), slot))


def _timed(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100 - 1]
