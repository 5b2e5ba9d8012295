"""What zstd@1.0 refuses of blobs that carry a right hash: lists, counts and frames that do not fit each other."""

from __future__ import annotations

import struct
import tracemalloc
from base64 import b85decode
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
from procession_zstd.headers import MAGIC, SECOND_VERSION, VERSION
from procession_zstd.trees import MOST_BLOBS, SPAN, Counted

FINGERPRINT = "engine one"
LIMIT = 1 << 20
PAGE = 4096
VERSIONS = (SECOND_VERSION, VERSION)
SECOND = (  # a whole blob and one on top of it, as version 2 wrote them
    (
        "P*PJ)0ssI2ho)k0Za`#nX?kTDAP!}4VRCeHf}~_;Z*FA(WNu+?WoKt>Z(?C=b7gRBVQFslXJcq#Zf9j=0i<MSZ*FA(WNu+?WoB(<"
        "ZEtdUWpHd^X>RmqV`yP+XJupqW@d6>ZDn(U7$X@0B4%!NZDM6|0BdGxZf9k3aB^vGbZTX8XK8L_Aa8DED77#BARyHM0Du4h000R9"
        "2LJ#70uTiN00093yAdrx51<GrwJ-f(4j;t`0E7?$0RRC40|W&I2M7rY3k(eo4-gR&6BHE|7Z@2D8yp=TA0QzjBP1mzCnzZ@D=aN8"
        "FEBAOGc+|eH#j*uJ3Ku;KR`i3LqtVJM@UIZOH55pPf$@(Q&d$}S6EqETU=dUUtnQkV`OD!XJ~0^Yiw<9Z*XyPb98lfcX)YvdwhL<"
        "e}I94gM@{Khlq)ai;RtqkC2g)la!T~mzbHFo1C4VpP-?lqok##r>Lo_tE{cAuduPQv$VCgx45~wyS%-=zrex5!^FkL$H>Xb%goKr"
        "&(P7*)6~`0*Vx(G+uYsW-{9fm<K*S$=jiF`>+J3B@9^>R^Yr!h_xSnx`~3a>{{nMuVQg#z0Q|>&0ifRl%TE_z0TdQc2g1KN*ZAT_"
        "-HYw~pD_=40jV5l8{s|H{Casqcm"
    ),
    (
        "P*PJ)0ssI2rlw+VZdf2O($uhkfb2;!{?AFXx1X?z&<J{C1c1501+@ytAbw0_b7^{I86XU0aA9(EbAqH~XK!w00Ay}qZDnU?Y;R&="
        "Y;$FBY+-3`^=D&fVQyz-WC5gPXK!w00c37rZDnR{Wo>VAd1Y{HVQFskXJcq#Zf9j=0cK`$VQpn|f*2hYW^Q$DVr6mxYi4O~XJvA5"
        "a%paKYGrO`X>Mg8Z*FBMwJ-f36rlhB000002><{90001h0{{R32><{9D77#BAPivu00RR90|NsC0|RDZav{6SF}prTq40lrE1X)l"
        "Hn#Pb7G<3Ns0>RpoLLXAGX"
    ),
)


@pytest.fixture
def snapshotter(tmp_path: Path) -> ZstdSnapshotter:
    """Build a snapshotter of at most 1 MiB."""
    return ZstdSnapshotter(ZstdOptions(limit=LIMIT), Site(tmp_path, False, SteppingClock()))


def row(changed: int, gone: int = 0, **changes: Any) -> dict[str, Any]:
    """Return what a header says of a numbered part."""
    return {"name": "memory", "plain": False, "changed": changed, "gone": gone, **changes}


def forged(
    numbers: Sequence[int], cells: bytes, *rows: Any, version: int = VERSION, marks: Any = b"", **changes: Any
) -> bytes:
    """Return a blob with a right hash around a list of numbers, marks of blocks, and one frame of cells or blocks."""
    frames = [frame_of(struct.pack(f"<{len(numbers)}I", *numbers))]
    if version == VERSION:
        frames += [frame_of(marks)]
        rows = tuple([list(one.values()) if isinstance(one, dict) else one for one in rows])
    frames += [frame_of(cells)] if cells else []
    said = {"fingerprint": FINGERPRINT, "number": 0, "on": b"", "parts": list(rows), "size": len(cells)}
    header = encode({**said, "frames": [len(frame) for frame in frames], **changes})
    content = MAGIC + bytes([version]) + len(header).to_bytes(4) + header + b"".join(frames)
    return content + sha256(content).digest()


def frame_of(content: bytes) -> bytes:
    """Return a zstandard frame."""
    return zstandard.ZstdCompressor(level=3).compress(content)


@pytest.mark.parametrize("version", VERSIONS)
def test_forged_blobs_are_read_when_they_are_right(snapshotter: ZstdSnapshotter, version: int) -> None:
    """The forger of these tests makes good blobs, too, so that its bad ones are bad for their reason."""
    whole = forged([3, 4, 2, 1], b"abc", row(2), version=version)
    change = forged([7], b"", row(0, 1), on=sha256(whole).digest(), size=2, version=version)
    assert {"memory": {3: b"ab", 7: b"c"}} == dict(snapshotter.unpack([whole], FINGERPRINT).parts)
    assert {"memory": {3: b"ab"}} == dict(snapshotter.unpack([whole, change], FINGERPRINT).parts)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "make",
    [
        lambda **made: forged([3, 0, 2, 1], b"abc", row(2), **made),
        lambda **made: forged([3, 0xFFFFFFFF, 2, 1], b"abc", row(2), **made),
        lambda **made: forged([3, 4, 2, 2], b"abc", row(2), **made),
        lambda **made: forged([3, 4, 2, 0], b"abc", row(2), **made),
        lambda **made: forged([3, 4, 2], b"abc", row(2), **made),
        lambda **made: forged([3, 4, 2, 1, 1], b"abc", row(2), **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), size=2, **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), size=4, **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), size=-1, **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), on=bytes(32), **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), number="1", **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), frames=[1], **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), frames=[], **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), frames=[-1, 1], **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), more=1, **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2, more=1), **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), "text", **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2, plain=1), **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2, plain=True), **made),
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), row(0), **made),
        lambda **made: forged([3, 4, 2, 1], b"", row(2), size=3, **made),
        lambda **made: forged([3, 3], b"abc", row(1, -1), row(0, 1, name="z"), **made),
        lambda **made: forged([3, 3, 5], b"abc", row(1, 1), **made),
        lambda **made: forged([], b"abc", **made),
    ],
)
def test_lists_and_frames_must_agree(snapshotter: ZstdSnapshotter, make: Callable[..., bytes], version: int) -> None:
    """A blob whose numbers, sizes, counts or frames do not fit each other is damaged, whatever its hash."""
    with pytest.raises(SnapshotError) as refused:
        snapshotter.unpack([make(version=version)], FINGERPRINT)
    assert "damaged-snapshot" == refused.value.kind


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "make",
    [
        lambda **made: forged([3, 4, 2, 1], b"abc", row(2), size=LIMIT + 1, **made),
        lambda **made: forged([], b"", row(1 << 40), size=LIMIT, **made),
        lambda **made: forged([], b"", row(0, 1 << 40), size=LIMIT, **made),
    ],
    ids=["cells", "numbers", "gone"],
)
def test_what_a_blob_promises_is_bounded(
    snapshotter: ZstdSnapshotter, make: Callable[..., bytes], version: int
) -> None:
    """More bytes than the limit, or numbers for more cells than that could be, are refused before memory is taken."""
    content = make(version=version)
    tracemalloc.start()
    try:
        with pytest.raises(SnapshotError) as refused:
            snapshotter.unpack([content], FINGERPRINT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "too-large" == refused.value.kind
    assert peak < LIMIT


def cut(numbers: Sequence[int], blocks: bytes, marks: Any, **changes: Any) -> list[bytes]:
    """Return a whole blob of a cell of three blocks and a small one, and one that cuts what it changes."""
    whole = forged([0, 1, 1536, 3], b"a" * 1539, row(2))
    rows, on = [row(len(numbers) // 2)], sha256(whole).digest()
    return [whole, forged(numbers, blocks, *rows, marks=marks, on=on, size=1539, **changes)]


def test_blocks_are_put_in_their_places(snapshotter: ZstdSnapshotter) -> None:
    """Of a cell that is cut the blocks that are marked are others, and the rest is what it was."""
    blobs = cut([0, 1536], b"b" * 512 + b"c" * 512, b"\1\0\1")
    expected = {0: b"b" * 512 + b"a" * 512 + b"c" * 512, 1: b"aaa"}
    assert {"memory": expected} == dict(snapshotter.unpack(blobs, FINGERPRINT).parts)


@pytest.mark.parametrize(
    "make",
    [
        lambda: cut([0, 1536], b"b" * 512, b"\1\0\1"),
        lambda: cut([0, 1536], b"b" * 1024, b"\1\0\0"),
        lambda: cut([0, 1536], b"b" * 1025, b"\1\0\1"),
        lambda: cut([0, 1536], b"b" * 1024, b"\1\0"),
        lambda: cut([0, 1536], b"b" * 1024, b"\1\0\1\0"),
        lambda: cut([0, 1536], b"b" * 1024, b"\1\0\2"),
        lambda: cut([0, 1536], b"b" * 1024, b"\1\0\xff"),
        lambda: cut([0, 1536], b"", b"\1\0\1"),
        lambda: cut([0, 1536], b"b" * 512, b"\0\0\0"),
        lambda: cut([0, 1535], b"b" * 1535, b"\1\1\1"),
        lambda: cut([0, 1536], b"b" * 1536, b""),
        lambda: cut([0, 1, 1536, 3], b"b" * 1536, b"\1\1\1"),
    ],
)
def test_marks_and_blocks_must_agree(snapshotter: ZstdSnapshotter, make: Callable[[], list[bytes]]) -> None:
    """A blob with another count of marks or blocks than its cells have, or with marks of its own, is damaged."""
    with pytest.raises(SnapshotError) as refused:
        snapshotter.unpack(make(), FINGERPRINT)
    assert "damaged-snapshot" == refused.value.kind


@pytest.mark.parametrize("size", [512, 513, 1536, PAGE, 30 * PAGE])
def test_every_way_to_change_a_cell_comes_back(snapshotter: ZstdSnapshotter, size: int) -> None:
    """Cells that change a byte, a block, all or their size are read as they were written, and the rest stays."""
    dice = Random(size)
    held = {number: dice.randbytes(size) for number in range(6)}
    first = snapshotter.pack({"memory": dict(held)}, FINGERPRINT)
    held[0] = b"!" + held[0][1:]
    held[1] = held[1][:-1] + b"!"
    held[2] = dice.randbytes(size)
    held[3] = held[3] + b"!"
    held[4] = held[4][:511]
    second = snapshotter.pack({"memory": dict(held), "plain": held[0]}, FINGERPRINT, first)
    read = snapshotter.unpack([first.content, second.content], FINGERPRINT)
    assert {"memory": held, "plain": held[0]} == dict(read.parts)


def test_version_2_is_read(snapshotter: ZstdSnapshotter) -> None:
    """Blobs of the version before give their parts, and what comes after leans on them."""
    blobs = [b85decode(blob) for blob in SECOND]
    page = bytes(range(256)) * 16
    parts: dict[str, Part] = {"globals": b"\3" * 9, "memory": {0: b"\0" + page[1:], 7: b"\2" * PAGE, 1 << 31: b"far"}}
    read = snapshotter.unpack(blobs, FINGERPRINT)
    assert parts == dict(read.parts)
    last: dict[str, Part] = {**parts, "memory": {0: page, 7: b"\2" * PAGE}}
    made = snapshotter.pack(last, FINGERPRINT, snapshotter.pack(parts, FINGERPRINT, read))
    assert (*read.digests, sha256(made.content).digest()) == made.digests
    assert last == dict(snapshotter.unpack([*blobs, made.content], FINGERPRINT).parts)


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


def test_few_points_are_held(snapshotter: ZstdSnapshotter) -> None:
    """Of those before it a point holds what later ones may lean on, and these hold none."""
    for point in points(snapshotter, 2 * SPAN):
        assert isinstance(point, Counted)
        assert len(point.anchors) <= 8
        assert not any(earlier.anchors for earlier in point.anchors)


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
    first = packer.pack({"plain": plain, "cells": {5: cell, 6: b"small", 7: cell}}, FINGERPRINT)
    parts = {"plain": plain[:-7] + b"changed", "cells": {5: b"x" + cell, 6: b"small", 7: b"xx" + cell[2:]}}
    second = packer.pack(parts, FINGERPRINT, first)
    assert len(second.content) < len(first.content)
    assert parts == dict(packer.unpack([first.content, second.content], FINGERPRINT).parts)
