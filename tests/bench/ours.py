"""Ours: the trivial stack through the kernel with its default devices, durable as a user has them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

from bench.alone import ALONE
from bench.measuring import Claim, Group, Measure, Subject, folder_bytes, rate
from bench.peers import DBOS, DISK, ES_BYTES, by
from bench.stages import ACCOUNTS, BenchPlugin, definition
from procession import Kernel, Process

CALLERS = 64


@contextmanager
def begun(folder: Path, *stages: str) -> Iterator[Process]:
    """Begin a process of some stages in a folder."""
    with Kernel.open(data=folder, plugins=[BenchPlugin()]) as kernel:
        process = kernel.spawn(definition(*(stages or ("counting",))))
        process.now()
        yield process


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[Measure]:
    """Schedule durably, compute, result committed; one caller: messages a second."""
    numbers = count()
    with begun(folder) as process:
        yield rate(lambda: process.compute(process.schedule({"data": f"message {next(numbers)}"}).slot))


@contextmanager
def batched(folder: Path, each: int) -> Iterator[Measure]:
    """Do the same with many messages at once: messages a second."""
    numbers = count()
    with begun(folder) as process:

        def step() -> None:
            process.schedule_many([{"data": f"message {next(numbers)}"} for _ in range(each)])
            process.now()

        yield rate(step, each)


@contextmanager
def many_callers(folder: Path) -> Iterator[Measure]:
    """Let 64 threads schedule and compute one message after the other: messages a second of them all."""
    with begun(folder) as process, ThreadPoolExecutor(CALLERS) as pool:

        def calling(end: float, caller: int) -> int:
            done = 0
            while time.perf_counter() < end:
                process.compute(process.schedule({"data": f"message {done} of {caller}"}).slot)
                done += 1
            return done

        def measure(seconds: float) -> float:
            start = time.perf_counter()
            done = sum(pool.map(partial(calling, start + seconds), range(CALLERS)))
            return done / (time.perf_counter() - start)

        yield measure


@contextmanager
def slot_bytes(folder: Path) -> Iterator[Measure]:
    """Measure everything on disk, schedule and cache, a slot, once closed."""

    def measure(seconds: float) -> float:
        place = Path(mkdtemp(dir=folder))
        with batched(place, 100) as hundred:
            for _ in range(20):
                hundred(0)
        return folder_bytes(place) / 2_000

    yield measure


@contextmanager
def large_state(folder: Path) -> Iterator[Measure]:
    """Change one of 100,000 keys a message, a hundred messages at once: messages a second."""
    numbers = count()
    with begun(folder, "accounts") as process:

        def step() -> None:
            process.schedule_many([{"account": next(numbers) * 7 % ACCOUNTS} for _ in range(100)])
            process.now()

        yield rate(step, 100)


ONE = Subject("ours: one message at a time", "/s", one_at_a_time)
HUNDRED = Subject("ours: 100 messages at once", "/s", partial(batched, each=100))
CALLING = Subject(f"ours: {CALLERS} callers, one message each", "/s", many_callers)
BYTES = Subject("ours: bytes a slot, schedule and cache", "bytes", slot_bytes)
LARGE = Subject("ours: one change in a state of 100,000 keys", "/s", large_state)
SINGLE, BATCH = by(1), by(100)

TRIVIAL = (
    Group(
        "one caller at a time: scheduled (fsynced), computed, result committed",
        (DISK, SINGLE, ONE),
        (
            Claim("one at a time, beside the disk", (ONE.name, DISK.name), least=0.5),
            Claim("one at a time, beside eventsourcing", (ONE.name, SINGLE.name), least=1.0),
        ),
    ),
    Group(
        "many messages: in batches, and of 64 callers",
        (BATCH, HUNDRED, CALLING, ONE),
        (
            Claim("batches of 100, beside eventsourcing by 100", (HUNDRED.name, BATCH.name), least=1.3),
            Claim("64 callers, beside eventsourcing by 100", (CALLING.name, BATCH.name), least=1.3),
            Claim("64 callers, beside a lone one", (CALLING.name, ONE.name)),
        ),
    ),
    ALONE,
    Group(
        "bytes on the disk",
        (ES_BYTES, BYTES),
        (Claim("bytes a slot, beside eventsourcing", (BYTES.name, ES_BYTES.name)),),
        slices=0.2,
    ),
    Group(
        "a large state: 100,000 keys, 100 messages at once",
        (HUNDRED, LARGE),
        (Claim("a large state, beside a small one", (LARGE.name, HUNDRED.name)),),
    ),
    Group(
        "another peer: dbos",
        (DBOS, ONE),
        (Claim("one at a time, beside dbos", (ONE.name, DBOS.name)),),
        slices=0.5,
    ),
)
