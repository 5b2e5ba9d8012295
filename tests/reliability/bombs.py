"""Snapshots that lie, each under a right hash: frames that expand a thousandfold, and headers that promise anything.

Frames are written here block by block, as RFC 8878 has them, for no compressor would write most of these.
"""

from __future__ import annotations

import json
import resource
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import attrs
import zstandard

from procession.errors import SnapshotError
from procession.messages import encode
from procession.roles import Site
from procession_zstd import ZstdOptions, ZstdSnapshotter, older, reading
from procession_zstd.cells import size_of
from procession_zstd.headers import MAGIC, SECOND_VERSION, VERSION
from reliability.disks import clock
from reliability.zygotes import tell

FINGERPRINT = "engine one"
CAP = 16 << 20  # bytes that a snapshot may hold unpacked
ROOM = 32 << 10  # KiB of memory beside those
BLOCK = 128 << 10  # bytes that a block gives at most
HUGE = 512 << 20  # bytes that the bombs expand to
TIB = 1 << 40

WINDOW = (20 - 10) << 3  # as a frame says one of 1 MiB
FRAME = b"\x28\xb5\x2f\xfd"
RAW, RUN, PACKED, RESERVED = range(4)  # kinds of block


def run_blocks(size: int, *, last: bool = True) -> bytes:
    """Return blocks of four bytes that expand to so many zeros."""
    sizes = [BLOCK] * (size // BLOCK) + [size % BLOCK] * bool(size % BLOCK) or [0]
    whole = b"".join(_block(RUN, length, b"\0") for length in sizes[:-1])
    return whole + _block(RUN, sizes[-1], b"\0", last=last)


def frame(
    blocks: bytes, *, says: int | None, window: int | None = WINDOW, dictionary: int = 0, checksum: bool = False
) -> bytes:
    """Return a frame that says what its content, window and dictionary are, whatever they are."""
    single = window is None
    flag = 0 if says is None else 3
    descriptor = flag << 6 | single << 5 | checksum << 2 | (3 if dictionary else 0)
    head = bytes([descriptor]) + (b"" if window is None else bytes([window]))
    head += dictionary.to_bytes(4, "little") if dictionary else b""
    head += says.to_bytes(8, "little") if says is not None else b"\0" * single
    return FRAME + head + blocks + b"\0" * 4 * checksum


def skippable(content: bytes) -> bytes:
    """Return a frame that readers pass over."""
    return b"\x50\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def packed(content: bytes, **options: Any) -> bytes:
    """Return a frame as a compressor writes it."""
    return zstandard.ZstdCompressor(level=3, **options).compress(content)


def snapshot(content: bytes, parts: Iterable[tuple[str, int]], *, size: int | None = None, **changes: Any) -> bytes:
    """Return a snapshot with a right hash around whatever is given; the parts are said to be zeros."""
    rows = [{"name": name, "size": length, "sha-256": _digest(length)} for name, length in parts]
    total = sum(row["size"] for row in rows) if size is None else size
    header = encode({"fingerprint": FINGERPRINT, "parts": rows, "size": total, **changes})
    made = MAGIC + bytes([1]) + len(header).to_bytes(4) + header + content
    return made + sha256(made).digest()


def change(content: bytes, said: int, *, size: int, marks: bytes | None = None, version: int = VERSION) -> bytes:
    """Return a blob with one cell, said to be so large, and a frame of marks, under a right hash."""
    frames = [packed(struct.pack("<II", 0, min(said, (1 << 32) - 1))), content]
    row: Any = {"name": "memory", "plain": False, "changed": 1, "gone": 0}
    if version == VERSION:
        row, frames = list(row.values()), [frames[0], packed(b"") if marks is None else marks, content]
    lengths = [len(frame) for frame in frames]
    header = encode(
        {"fingerprint": FINGERPRINT, "number": 0, "on": b"", "parts": [row], "size": size, "frames": lengths}
    )
    made = MAGIC + bytes([version]) + len(header).to_bytes(4) + header + b"".join(frames)
    return made + sha256(made).digest()


@attrs.frozen
class Bomb:
    """Name a snapshot, and the kinds of error that refuse it; none where it is honest and of no more than the cap."""

    name: str
    make: Callable[[], bytes]
    kinds: Sequence[str] = ("damaged-snapshot",)


def bombs() -> Iterator[Bomb]:
    """Yield every snapshot that is put to the test."""
    large, damaged = ("too-large",), ("damaged-snapshot",)
    for said in (0, 1, CAP, CAP + 1, HUGE, TIB, (1 << 63) - 1):
        kinds = large if said > CAP else damaged
        yield _bomb(f"says {said}, is huge and says so", run_blocks(HUGE), said, HUGE, kinds)
        yield _bomb(f"says {said}, frame says as much, is huge", run_blocks(HUGE), said, said, kinds)
        yield _bomb(f"says {said}, frame says as much, is small", run_blocks(9), said, said, kinds)
        yield _bomb(f"says {said}, frame says nothing, is huge", run_blocks(HUGE), said, None, kinds)
        blocks = {"is huge": (run_blocks(HUGE), HUGE), "is small": (run_blocks(9), said)}
        for name, (made, says) in blocks.items():
            content = frame(made, says=says)
            yield Bomb(f"a cell of {said}, {name}", lambda c=content, s=said: change(c, s, size=s), kinds)
            yield Bomb(f"a cell of {said}, {name}, in 9", lambda c=content, s=said: change(c, s, size=9), damaged)
            older = partial(change, content, said, version=SECOND_VERSION)
            yield Bomb(f"a cell of {said}, {name}, before", partial(older, size=said), kinds)
            yield Bomb(f"a cell of {said}, {name}, in 9, before", partial(older, size=9), damaged)
            yield Bomb(
                f"marks of {said}, {name}", partial(change, frame(run_blocks(9), says=9), 9, size=9, marks=content)
            )
    yield Bomb("a cell, honest, of the cap", lambda: change(frame(run_blocks(CAP), says=CAP), CAP, size=CAP), ())
    yield _bomb("honest, of the cap", run_blocks(CAP), CAP, CAP, ())
    yield _bomb("honest, one byte more", run_blocks(CAP + 1), CAP + 1, CAP + 1, large)
    yield _bomb("a window of all of it", run_blocks(CAP), CAP, CAP, damaged, window=None)
    for log in (24, 27, 31, 41):
        yield _bomb(f"a window of 2^{log}", run_blocks(CAP), CAP, CAP, damaged, window=(log - 10) << 3)
    yield _bomb("a dictionary", run_blocks(CAP), CAP, CAP, damaged, dictionary=7)
    yield _bomb("a checksum", run_blocks(CAP), CAP, CAP, damaged, checksum=True)
    yield _bomb("empty blocks without end", _block(RAW, 0, b"") * 900_000 + run_blocks(9), 9, 9, ())
    yield _bomb("a reserved kind of block", _block(RESERVED, 9, bytes(9), last=True), 9, 9, damaged)
    yield _bomb("a last block that is none", run_blocks(CAP, last=False), CAP, CAP, damaged)
    nested = packed(packed(bytes(CAP)) * 200)
    yield Bomb("a frame in a frame", lambda: snapshot(nested, [("memory", len(nested))]))
    first = frame(run_blocks(CAP), says=CAP)
    for name, more in {"one more frame": first, "skippable": skippable(bytes(99)), "junk": b"x" * 99}.items():
        yield Bomb(f"{name} behind", lambda more=more: snapshot(first + more, [("memory", CAP)]))
        yield Bomb(f"{name} in front", lambda more=more: snapshot(more + first, [("memory", CAP)]))
    small = frame(run_blocks(9), says=9)
    yield Bomb("20,000 parts of nothing", lambda: snapshot(small, _named(20_000, 0), size=9), (*large, *damaged))
    yield Bomb("parts that add up to too much", lambda: snapshot(small, _named(2_000, CAP)), large)
    yield Bomb("a name of a megabyte", lambda: snapshot(small, [("x" * (1 << 20), 9)]), damaged)
    yield Bomb("a part below nothing", lambda: snapshot(small, [("a", TIB), ("b", 9 - TIB)]), damaged)
    yield Bomb("cut in a block", lambda: snapshot(first[:-2], [("memory", CAP)]))


def mutants(dice: Random, count: int) -> Iterator[Bomb]:
    """Yield snapshots with some bytes changed, under a right hash again."""
    kinds = ("damaged-snapshot", "too-large", "foreign-snapshot")
    held = [bomb.make()[:-32] for bomb in bombs()]
    for number in range(count):
        changed = bytearray(dice.choice(held))
        for _ in range(dice.randrange(1, 4)):
            changed[dice.randrange(min(len(changed), 400))] = dice.randrange(256)
        made = bytes(changed)
        yield Bomb(f"mutant {number}", lambda made=made: made + sha256(made).digest(), kinds)


def unpack(path: str, spoilt: str = "") -> None:
    """Unpack a file in a child; tell what came of it and how much memory it took, in KiB."""
    if spoilt:
        older.expand = reading.expand = _trusting
    made = ZstdSnapshotter(ZstdOptions(limit=CAP), Site(Path(), False, clock))
    content = Path(path).read_bytes()
    before, kind, size = _peak(), "", 0
    try:
        size = size_of(made.unpack([content], FINGERPRINT).parts)
    except SnapshotError as error:
        kind = error.kind
    except Exception as error:  # noqa: BLE001 - the child says what became of it
        kind = type(error).__name__
    tell(json.dumps({"kind": kind, "size": size, "grown": _peak() - before}))


def _trusting(content: memoryview, sizes: Iterable[int], *, old: bytes = b"") -> Iterator[bytes]:
    """Take the protection away: believe that a decompressor keeps to its limit."""
    yield zstandard.ZstdDecompressor().decompress(content, max_output_size=CAP)


def _bomb(name: str, blocks: bytes, said: int, says: int | None, kinds: Sequence[str], **shape: Any) -> Bomb:
    made = frame(blocks, says=says, **shape)
    return Bomb(name, lambda: snapshot(made, [("memory", said)]), kinds)


def _block(kind: int, length: int, content: bytes, *, last: bool = False) -> bytes:
    return (length << 3 | kind << 1 | last).to_bytes(3, "little") + content


def _named(count: int, size: int) -> list[tuple[str, int]]:
    return [(f"{number:08}", size) for number in range(count)]


_DIGESTS: Mapping[int, bytes] = MappingProxyType({size: sha256(bytes(size)).digest() for size in (0, 9, CAP)})


def _digest(size: int) -> bytes:
    return _DIGESTS.get(size, bytes(32))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
