"""What zstd@1.0 refuses of blobs that carry a right hash: lists, counts and frames that do not fit each other."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from procession.errors import SnapshotError
from procession.messages import encode
from procession.roles import Part, Point, Site
from procession.testing.fakes import SteppingClock
from procession_zstd import ZstdOptions, ZstdSnapshotter, reading
from procession_zstd import snapshotter as snapshotters
from procession_zstd.headers import MAGIC, VERSION
from procession_zstd.trees import MOST_BLOBS, SPAN

FINGERPRINT = "engine one"
LIMIT = 1 << 20
PAGE = 4096


@pytest.fixture
def snapshotter(tmp_path: Path) -> ZstdSnapshotter:
    """Build a snapshotter of at most 1 MiB."""
    return ZstdSnapshotter(ZstdOptions(limit=LIMIT), Site(tmp_path, False, SteppingClock()))


def row(changed: int, gone: int = 0, **changes: Any) -> dict[str, Any]:
    """Return what a header says of a numbered part."""
    return {"name": "memory", "plain": False, "changed": changed, "gone": gone, **changes}


def forged(numbers: Sequence[int], cells: bytes, *rows: Any, on: bytes = b"", **changes: Any) -> bytes:
    """Return a blob with a right hash around a list of numbers and one frame of cells."""
    frames = [frame_of(struct.pack(f"<{len(numbers)}I", *numbers)), *([frame_of(cells)] if cells else [])]
    said = {"fingerprint": FINGERPRINT, "number": 0, "on": on, "parts": list(rows), "size": len(cells)}
    header = encode({**said, "frames": [len(frame) for frame in frames], **changes})
    content = MAGIC + bytes([VERSION]) + len(header).to_bytes(4) + header + b"".join(frames)
    return content + sha256(content).digest()


def frame_of(content: bytes) -> bytes:
    """Return a zstandard frame."""
    return zstandard.ZstdCompressor(level=3).compress(content)


def test_forged_blobs_are_read_when_they_are_right(snapshotter: ZstdSnapshotter) -> None:
    """The forger of these tests makes good blobs, too, so that its bad ones are bad for their reason."""
    whole = forged([3, 4, 2, 1], b"abc", row(2))
    change = forged([7], b"", row(0, 1), on=sha256(whole).digest(), size=2)
    assert {"memory": {3: b"ab", 7: b"c"}} == dict(snapshotter.unpack([whole], FINGERPRINT).parts)
    assert {"memory": {3: b"ab"}} == dict(snapshotter.unpack([whole, change], FINGERPRINT).parts)


@pytest.mark.parametrize(
    "make",
    [
        lambda: forged([3, 0, 2, 1], b"abc", row(2)),
        lambda: forged([3, 0xFFFFFFFF, 2, 1], b"abc", row(2)),
        lambda: forged([3, 4, 2, 2], b"abc", row(2)),
        lambda: forged([3, 4, 2, 0], b"abc", row(2)),
        lambda: forged([3, 4, 2], b"abc", row(2)),
        lambda: forged([3, 4, 2, 1, 1], b"abc", row(2)),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), size=2),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), size=4),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), size=-1),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), on=bytes(32)),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), number="1"),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), frames=[1]),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), frames=[]),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), frames=[-1, 1]),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), more=1),
        lambda: forged([3, 4, 2, 1], b"abc", row(2, more=1)),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), "text"),
        lambda: forged([3, 4, 2, 1], b"abc", row(2, plain=1)),
        lambda: forged([3, 4, 2, 1], b"abc", row(2, plain=True)),
        lambda: forged([3, 4, 2, 1], b"abc", row(2), row(0)),
        lambda: forged([3, 4, 2, 1], b"", row(2), size=3),
        lambda: forged([3, 3], b"abc", row(1, -1), row(0, 1, name="z")),
        lambda: forged([3, 3, 5], b"abc", row(1, 1)),
        lambda: forged([], b"abc"),
    ],
)
def test_lists_and_frames_must_agree(snapshotter: ZstdSnapshotter, make: Callable[[], bytes]) -> None:
    """A blob whose numbers, sizes, counts or frames do not fit each other is damaged, whatever its hash."""
    with pytest.raises(SnapshotError) as refused:
        snapshotter.unpack([make()], FINGERPRINT)
    assert "damaged-snapshot" == refused.value.kind


@pytest.mark.parametrize(
    "make",
    [
        lambda: forged([3, 4, 2, 1], b"abc", row(2), size=LIMIT + 1),
        lambda: forged([], b"", row(1 << 40), size=LIMIT),
        lambda: forged([], b"", row(0, 1 << 40), size=LIMIT),
    ],
    ids=["cells", "numbers", "gone"],
)
def test_what_a_blob_promises_is_bounded(snapshotter: ZstdSnapshotter, make: Callable[[], bytes]) -> None:
    """More bytes than the limit, or numbers for more cells than that could be, are refused before memory is taken."""
    content = make()
    tracemalloc.start()
    try:
        with pytest.raises(SnapshotError) as refused:
            snapshotter.unpack([content], FINGERPRINT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "too-large" == refused.value.kind
    assert peak < LIMIT


def points(snapshotter: ZstdSnapshotter, count: int) -> list[Point]:
    """Return points of which each changes a few bytes of a few pages."""
    dice = Random(5)
    held: dict[int, bytes] = {number: dice.randbytes(PAGE) for number in range(0, 60, 3)}
    made: list[Point] = []
    for _ in range(count):
        held = dict(held)
        for number in dice.sample(sorted(held), 2):
            place = dice.randrange(PAGE)
            held[number] = held[number][:place] + b"!" + held[number][place + 1 :]
        parts: dict[str, Part] = {"memory": held, "globals": dice.randbytes(9)}
        made.append(snapshotter.pack(parts, FINGERPRINT, made[-1] if made else None))
    return made


def test_a_change_costs_what_changed(snapshotter: ZstdSnapshotter) -> None:
    """A few bytes of pages that do not compress make a blob of less than a tenth of a page."""
    made = points(snapshotter, 4)
    assert made[0].sizes[0] > 20 * PAGE
    assert all(size < PAGE // 4 for size in made[-1].sizes[1:])


def test_a_whole_one_comes_again(snapshotter: ZstdSnapshotter) -> None:
    """A point has a blob for each unit of its pair's number in base 4, until a whole one comes, or outgrows it."""
    lengths = [len(point.digests) for point in points(snapshotter, SPAN + 2)]
    units = [1 + pair % 4 + pair // 4 % 4 + pair // 16 for pair in range(SPAN // 2)]
    assert [*(count + other for count in units for other in (0, 1)), 1, 2] == lengths
    assert MOST_BLOBS > max(lengths)
    dice, before, lengths = Random(6), None, []
    for _ in range(9):  # of noise, where a change is no smaller than the whole
        parts = {"memory": {number: dice.randbytes(PAGE) for number in range(20)}}
        before = snapshotter.pack(parts, FINGERPRINT, before)
        lengths.append(len(before.digests))
    assert [1, 2, 2] * 3 == lengths


def test_what_comes_and_goes_in_turns_is_written_once(snapshotter: ZstdSnapshotter) -> None:
    """A page that is one thing at every other point, and another between, is in the blobs of the first two alone."""
    dice, before, sizes = Random(9), None, list[int]()
    held = {number: dice.randbytes(PAGE) for number in range(20)}
    turns = [{3: dice.randbytes(PAGE)} for _ in range(2)]
    for number in range(8):
        before = snapshotter.pack({"memory": held | turns[number % 2]}, FINGERPRINT, before)
        sizes.append(len(before.content))
    assert all(size < PAGE < min(sizes[:2]) for size in sizes[2:])


def test_after_a_restart_points_go_on(snapshotter: ZstdSnapshotter) -> None:
    """What follows a point that was read leans on it, of whatever number it is, and blobs stay within their bound."""
    known = dict[bytes, bytes]()
    held: dict[int, bytes] = {number: Random(number).randbytes(PAGE) for number in range(20)}
    before: Point | None = None
    for number in range(3 * SPAN):
        held[number % 20] = number.to_bytes(2) + held[number % 20][2:]
        before = snapshotter.pack({"memory": dict(held)}, FINGERPRINT, before)
        known[before.digests[-1]] = before.content
        if number % 3 == 2:
            before = snapshotter.unpack([known[digest] for digest in before.digests], FINGERPRINT)
        assert held == before.parts["memory"]
    assert sum(len(content) > 20 * PAGE for content in known.values()) < 3 * SPAN // 7


class Anything(bytes):
    """Equal whatever it is compared with, as a name that nobody checks."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__


def test_names_that_nobody_compares_are_caught(snapshotter: ZstdSnapshotter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point with a change left out is refused; where no blob looks at what is before it, it passes as another."""
    held = points(snapshotter, 4)
    blobs = [held[0].content, held[3].content]
    with pytest.raises(SnapshotError, match="leans on another"):
        snapshotter.unpack(blobs, FINGERPRINT)
    monkeypatch.setattr(snapshotters, "_last", lambda digests: Anything())
    assert held[3].parts != snapshotter.unpack(blobs, FINGERPRINT).parts


def test_more_blobs_than_there_may_be_are_refused(snapshotter: ZstdSnapshotter) -> None:
    """What a restart has to read is bounded."""
    blob = forged([3, 3], b"abc", row(1))
    with pytest.raises(SnapshotError, match="11 blobs"):
        snapshotter.unpack([blob] * (MOST_BLOBS + 1), FINGERPRINT)


def test_cells_are_no_more_than_bytes_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small blob of very many cells with nothing in them is refused before it takes memory; so is packing them."""
    snapshotter = ZstdSnapshotter(ZstdOptions(), Site(tmp_path, False, SteppingClock()))
    count = (1 << 17) + 1
    blob = forged([0] + [1] * (count - 1) + [0] * count, b"", row(count))
    assert _peak_of(lambda: refused(snapshotter, blob, "too many for parts")) < 1 << 21
    with pytest.raises(SnapshotError, match="too many for parts"):
        snapshotter.pack({"1/memory": dict.fromkeys(range(count), b"")}, FINGERPRINT)
    many = {"1/memory": dict.fromkeys(range(count), bytes(128))}
    assert many == snapshotter.unpack([snapshotter.pack(many, FINGERPRINT).content], FINGERPRINT).parts
    monkeypatch.setattr(reading, "LEAST_LIST", 1 << 24)
    assert _peak_of(lambda: refused(snapshotter, blob, "as many frames")) > 1 << 23


def refused(snapshotter: ZstdSnapshotter, blob: bytes, why: str) -> None:
    """See that a blob is refused."""
    with pytest.raises(SnapshotError, match=why):
        snapshotter.unpack([blob], FINGERPRINT)


def _peak_of(work: Callable[[], object]) -> int:
    """Return the most bytes that something takes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_every_flipped_byte_of_a_change_is_found(snapshotter: ZstdSnapshotter) -> None:
    """A point with one other byte in any of its blobs is refused."""
    held = points(snapshotter, 4)
    blobs = [held[number].content for number in (0, 1, 3)]
    assert held[3].parts == snapshotter.unpack(blobs, FINGERPRINT).parts
    dice = Random(7)
    for _ in range(300):
        which = dice.randrange(3)
        place = dice.randrange(len(blobs[which]))
        changed = bytearray(blobs[which])
        changed[place] ^= 1 << dice.randrange(8)
        with pytest.raises(SnapshotError):
            snapshotter.unpack([*blobs[:which], bytes(changed), *blobs[which + 1 :]], FINGERPRINT)


def test_large_parts_come_back(tmp_path: Path) -> None:
    """Parts of more bytes than are compressed together, plain or of large cells, come back whole and changed."""
    packer = ZstdSnapshotter(ZstdOptions(), Site(tmp_path, False, SteppingClock()))
    dice = Random(8)
    plain, cell = dice.randbytes(1 << 20) * 20, dice.randbytes(9 << 20)
    first = packer.pack({"plain": plain, "cells": {5: cell, 6: b"small"}}, FINGERPRINT)
    parts = {"plain": plain[:-7] + b"changed", "cells": {5: b"x" + cell, 6: b"small"}}
    second = packer.pack(parts, FINGERPRINT, first)
    assert len(second.content) < len(first.content)
    assert parts == dict(packer.unpack([first.content, second.content], FINGERPRINT).parts)
