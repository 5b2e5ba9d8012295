"""Snapshots of AOS: what one costs a slot, in bytes and time, and what a start from one takes.

Bare is what nobody can do without: the frames of the same point decompressed, its pages copied into a memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from mmap import mmap
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import zstandard

from bench.guests import IMAGES, Image, aos_file
from bench.measuring import Claim, Group, Measure, Subject, itself
from procession import Kernel, Process
from procession.executors import restored
from procession.results import Record
from procession.roles import Live, Point
from procession.worker import Worker
from procession_wasm.stage import WasmStage
from procession_zstd import reading
from procession_zstd.frames import expand
from procession_zstd.snapshotter import ZstdSnapshotter

CODES = (
    "Counter = (Counter or 0) + 1 return Counter",
    "return 1 + 1",
    "Names = Names or {} Names[#Names + 1] = 'name ' .. #Names return #Names",
    "Send({ Target = 'somebody', Action = 'Ping', Data = tostring(Counter) })",
)
BEFORE = 40  # messages before anything is measured
EACH = 8  # messages of a slice
RARELY = 1_000_000  # slots from one snapshot to the next


@attrs.frozen
class Taken:
    """Hold what a snapshot took that leans on another: bytes, and seconds to take and to pack it."""

    size: int
    seconds: float


@contextmanager
def restoring(folder: Path, image: Image) -> Iterator[Measure]:
    """Read a stored point, check it and make a guest of it, its image compiled: milliseconds."""
    with _stored(folder, image) as process:
        yield lambda seconds: _restored(process)[0]


@contextmanager
def decompressing(folder: Path, image: Image) -> Iterator[Measure]:
    """Decompress the frames of such a point as they are, and copy its pages into a memory: milliseconds."""
    with _stored(folder, image) as process:
        bare = _bare(process, _restored(process)[1])
    yield lambda seconds: bare()


@contextmanager
def leaning(folder: Path, image: Image, figure: Callable[[Taken], float]) -> Iterator[Measure]:
    """Take a snapshot a slot; tell a figure of those that lean on another, the median of a slice."""
    with _opened(folder, image, every=1) as process:
        _evaluate(process, image, BEFORE)
        yield lambda seconds: median(map(figure, _taken(process, image)))


def _taken(process: Process, image: Image) -> list[Taken]:
    taken: list[tuple[float, Live]] = []
    packed: list[tuple[float, Point]] = []
    with _timed(WasmStage, "snapshot", taken), _timed(ZstdSnapshotter, "pack", packed):
        _evaluate(process, image, EACH)
    rows = zip(taken, packed, strict=True)
    return [Taken(len(point.content), take + pack) for (take, _), (pack, point) in rows if len(point.digests) > 1]


@contextmanager
def _stored(folder: Path, image: Image) -> Iterator[Process]:
    """Compute some slots, each with a snapshot; what was stored last leans on another."""
    with _opened(folder, image, every=1) as process:
        _evaluate(process, image, BEFORE)
    with _opened(folder, image, every=RARELY) as process:
        yield process


def _evaluate(process: Process, image: Image, count: int) -> None:
    for number in range(count):
        process.compute(process.schedule(image.evaluating(CODES[number % len(CODES)])).slot)


@contextmanager
def _opened(folder: Path, image: Image, *, every: int) -> Iterator[Process]:
    """Open a kernel of its own for the process, which begins the first time."""
    file = aos_file(folder, image)
    file.write_text(file.read_text("utf-8") + f"\n[host.snapshots]\nevery = {every}\nreplay-budget = '1h'\n", "utf-8")
    with Kernel.open(file, data=folder / "data") as kernel:
        yield kernel.spawn()


@contextmanager
def _timed(owner: type, name: str, into: list[Any]) -> Iterator[None]:
    """Note the processor time and the answer of each call of a method."""
    method = getattr(owner, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        begun = time.thread_time()
        answer = method(*arguments, **named)
        into.append((time.thread_time() - begun, answer))
        return answer

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, method)


def _restored(process: Process) -> tuple[float, Record]:
    """Return the milliseconds that it takes to restore the newest point, and its record."""
    compiled, services = process.kernel._found(process.id)
    record = services.cache.latest(process.id, None, with_snapshot=True)
    assert record is not None
    begun = time.perf_counter()
    executor = restored(compiled, services, record.slot, Worker(compiled, services, print).state_of)
    taken = time.perf_counter() - begun
    assert executor.at == record.slot
    executor.close()
    return taken * 1e3, record


def _bare(process: Process, record: Record) -> Callable[[], float]:
    """Return what decompresses the frames of a point and copies its pages into a fresh memory, in milliseconds."""
    frames, parts = _unpacked(process, record)
    pages = {number: page for part in parts.values() if isinstance(part, dict) for number, page in part.items()}

    def bare() -> float:
        begun = time.perf_counter()
        for frame, old in frames:
            known = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if old else None
            zstandard.ZstdDecompressor(dict_data=known).decompress(frame)
        with mmap(-1, 4096 * (max(pages) + 1)) as memory:
            for number, page in pages.items():
                memory[4096 * number : 4096 * number + 4096] = page
        return (time.perf_counter() - begun) * 1e3

    return bare


def _unpacked(process: Process, record: Record) -> tuple[list[tuple[bytes, bytes]], Any]:
    """Return the frames of a point, each with what it leans on, and its parts."""
    _, services = process.kernel._found(process.id)
    frames: list[tuple[bytes, bytes]] = []

    def noting(frame: memoryview, sizes: Sequence[int], *, old: bytes = b"") -> list[bytes]:
        frames.append((bytes(frame), old))
        return expand(frame, sizes, old=old)

    vars(reading)["expand"] = noting
    try:
        blobs = [services.cache.get_blob(digest) for digest in record.blobs]
        return frames, services.snapshotter.unpack(blobs, record.fingerprint).parts
    finally:
        vars(reading)["expand"] = expand


def snapshots(image: Image) -> Group:
    """Return what is measured of the snapshots of an AOS image."""
    name = image.name
    restore = Subject(f"{name}: a point restored", "ms", partial(restoring, image=image), image.absent)
    bare = Subject(f"{name}: the same decompressed and copied", "ms", partial(decompressing, image=image), image.absent)
    kilobytes = partial(leaning, image=image, figure=lambda taken: taken.size / 1e3)
    milliseconds = partial(leaning, image=image, figure=lambda taken: taken.seconds * 1e3)
    size = Subject(f"{name}: a snapshot that leans on another, bytes", "KB", kilobytes, image.absent)
    spent = Subject(f"{name}: a snapshot that leans on another, processor time", "ms", milliseconds, image.absent)
    claims = (
        Claim(f"{name}: restore, beside decompress and copy", (restore.name, bare.name), most=1.5),
        Claim(f"{name}: bytes of a snapshot a slot", (size.name,), "KB", itself, most=30),
        Claim(f"{name}: time of a snapshot a slot", (spent.name,), "ms", itself, most=3),
    )
    return Group(f"{name}, snapshots", (restore, bare, size, spent), claims)


SNAPSHOTS = tuple(map(snapshots, IMAGES))
