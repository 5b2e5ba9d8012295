"""Snapshots of AOS: what one costs a slot, in bytes and time, and what a start from one takes.

Each function takes a folder and a scale and returns one figure; ``bench`` makes rows of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import Any

import zstandard

from bench.guests import IMAGES, Image, aos_file
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


def cold_start(folder: Path, scale: float, *, image: Image = IMAGES[0]) -> float:
    """A stored AOS process, its image compiled, in a new kernel of a warm program: milliseconds to its next slot."""
    _stored(folder, image)
    return min(_started(folder, image) for _ in range(max(int(5 * scale), 2)))


def restore(folder: Path, scale: float, *, image: Image = IMAGES[0]) -> float:
    """A stored point read, checked and made a guest, its image compiled: milliseconds."""
    _stored(folder, image)
    with _opened(folder, image, every=1_000_000) as process:
        return min(_restored(process)[0] for _ in range(max(int(20 * scale), 3)))


def bare_restore(folder: Path, scale: float, *, image: Image = IMAGES[0]) -> float:
    """The frames of the same point decompressed as they are, and its pages copied into a memory: milliseconds."""
    _stored(folder, image)
    with _opened(folder, image, every=1_000_000) as process:
        bare = _bare(process, _restored(process)[1])
    return min(bare() for _ in range(max(int(20 * scale), 3)))


def delta_bytes(folder: Path, scale: float, *, image: Image = IMAGES[0]) -> float:
    """A snapshot a slot: bytes of one that leans on another, median."""
    return _median([size for size, _, _ in _taken(folder, scale, image)])


def delta_time(folder: Path, scale: float, *, image: Image = IMAGES[0]) -> float:
    """A snapshot a slot that leans on another: milliseconds of one, taken and packed, median."""
    return _median([taken + packed for _, taken, packed in _taken(folder, scale, image)]) * 1e3


def delta_time_taken(folder: Path, scale: float, *, image: Image = IMAGES[0]) -> float:
    """The part of the same that reads and hashes the guest's memory: milliseconds, median."""
    return _median([taken for _, taken, _ in _taken(folder, scale, image)]) * 1e3


def bytes_a_slot(folder: Path, scale: float, *, image: Image = IMAGES[0]) -> float:
    """A snapshot a slot: bytes of all blobs, whole ones too, a slot."""
    count = max(int(60 * scale), 20)
    packed: list[tuple[float, Point]] = []
    with _opened(folder, image, every=1) as process:
        _evaluate(process, image, BEFORE)
        with _timed(ZstdSnapshotter, "pack", packed):
            _evaluate(process, image, count)
    return sum(len(point.content) for _, point in packed) / len(packed)


def _taken(folder: Path, scale: float, image: Image) -> list[tuple[int, float, float]]:
    """Return bytes, seconds to take and seconds to pack of snapshots that lean on others, one a slot."""
    taken: list[tuple[float, Live]] = []
    packed: list[tuple[float, Point]] = []
    with _opened(folder, image, every=1) as process:
        _evaluate(process, image, BEFORE)
        with _timed(WasmStage, "snapshot", taken), _timed(ZstdSnapshotter, "pack", packed):
            _evaluate(process, image, max(int(40 * scale), 10))
    rows = zip(taken, packed, strict=True)
    return [(len(point.content), take, pack) for (take, _), (pack, point) in rows if len(point.digests) > 1]


def _stored(folder: Path, image: Image) -> None:
    """Compute some slots, each with a snapshot, and close; what was stored last leans on another."""
    with _opened(folder, image, every=1) as process:
        _evaluate(process, image, BEFORE)


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
    """Note the seconds and the answer of each call of a method."""
    method = getattr(owner, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        answer = method(*arguments, **named)
        into.append((time.perf_counter() - begun, answer))
        return answer

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, method)


def _started(folder: Path, image: Image) -> float:
    """Return the milliseconds from a stored process, with one message not computed yet, to its state after that."""
    with _opened(folder, image, every=1_000_000) as process:  # compiles the image, for the cache of compiled ones
        process.now()
        slot = process.schedule(image.evaluating(CODES[0])).slot
    begun = time.perf_counter()
    with Kernel.open(folder / "aos.toml", data=folder / "data") as kernel:
        kernel.compute(process.id, slot)
        return (time.perf_counter() - begun) * 1e3


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
    _, services = process.kernel._found(process.id)
    frames: list[tuple[bytes, bytes]] = []

    def noting(frame: memoryview, sizes: Sequence[int], *, old: bytes = b"") -> Iterator[bytes]:
        frames.append((bytes(frame), old))
        return expand(frame, sizes, old=old)

    vars(reading)["expand"] = noting
    try:
        blobs = [services.cache.get_blob(digest) for digest in record.blobs]
        parts = services.snapshotter.unpack(blobs, record.fingerprint).parts
    finally:
        vars(reading)["expand"] = expand
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


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
