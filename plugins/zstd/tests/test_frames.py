"""What zstd@1.0 refuses of version 1 that carries a right hash: lies about sizes, bombs, things left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard

from procession.errors import SnapshotError
from procession.messages import encode
from procession.roles import Site
from procession.testing.fakes import SteppingClock
from procession_zstd import ZstdOptions, ZstdSnapshotter
from procession_zstd.headers import HEADER_LIMIT, MAGIC

FINGERPRINT = "engine one"


@pytest.fixture
def snapshotter(tmp_path: Path) -> ZstdSnapshotter:
    """Build a snapshotter of at most 1 MiB."""
    return ZstdSnapshotter(ZstdOptions(limit=1 << 20), Site(tmp_path, False, SteppingClock()))


def row(content: bytes, name: Any = "memory", **changes: Any) -> dict[str, Any]:
    """Return what a header says of a part."""
    return {"name": name, "size": len(content), "sha-256": sha256(content).digest(), **changes}


def forged(frame: bytes, *rows: Any, size: Any = None, version: int = 1, **changes: Any) -> bytes:
    """Return a snapshot with a right hash around whatever is given."""
    total = sum(part["size"] for part in rows) if size is None else size
    header = encode({"fingerprint": FINGERPRINT, "parts": list(rows), "size": total, **changes})
    content = MAGIC + bytes([version]) + len(header).to_bytes(4) + header + frame
    return content + sha256(content).digest()


def frame_of(content: bytes, **options: Any) -> bytes:
    """Return a zstandard frame."""
    return zstandard.ZstdCompressor(level=3, **options).compress(content)


def skippable(content: bytes) -> bytes:
    """Return a frame that readers pass over."""
    return b"\x50\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def test_forged_snapshot_is_read_when_it_is_right(snapshotter: ZstdSnapshotter) -> None:
    """The forger of these tests makes good snapshots, too, so that its bad ones are bad for their reason."""
    assert {"memory": b"abc"} == dict(snapshotter.unpack([forged(frame_of(b"abc"), row(b"abc"))], FINGERPRINT).parts)


@pytest.mark.parametrize(
    "make",
    [
        lambda: forged(frame_of(b"abcd"), row(b"abc")),
        lambda: forged(frame_of(b"ab"), row(b"abc")),
        lambda: forged(frame_of(b"abd"), row(b"abc")),
        lambda: forged(frame_of(b"abc") + b"\0", row(b"abc")),
        lambda: forged(frame_of(b"abc") + frame_of(b""), row(b"abc")),
        lambda: forged(frame_of(b"abc") + skippable(b"x"), row(b"abc")),
        lambda: forged(skippable(b"x") + frame_of(b"abc"), row(b"abc")),
        lambda: forged(frame_of(b"abc")[:-1], row(b"abc")),
        lambda: forged(b"", row(b"abc")),
        lambda: forged(b"no frame at all", row(b"abc")),
        lambda: forged(frame_of(b"abc", write_content_size=False), row(b"abc")),
        lambda: forged(frame_of(b"abc", write_checksum=True), row(b"abc")),
        lambda: forged(frame_of(b"abcabc"), row(b"abc", "b"), row(b"abc", "a")),
        lambda: forged(frame_of(b"abcabc"), row(b"abc"), row(b"abc")),
        lambda: forged(frame_of(b"abc"), row(b"abc"), size=4),
        lambda: forged(frame_of(b"abc"), row(b"abc", size=4), row(b"", "z", size=-1)),
        lambda: forged(frame_of(b"abc"), row(b"abc", size="3"), size=3),
        lambda: forged(frame_of(b"abc"), row(b"abc", size=True), size=1),
        lambda: forged(frame_of(b"abc"), row(b"abc", 7)),
        lambda: forged(frame_of(b"abc"), row(b"abc"), more=1),
        lambda: forged(frame_of(b"abc"), row(b"abc"), parts=None, size=3),
        lambda: forged(frame_of(b"abc"), row(b"abc", more=1)),
        lambda: forged(frame_of(b""), "text", size=0),
    ],
)
def test_header_and_frame_must_agree(snapshotter: ZstdSnapshotter, make: Callable[[], bytes]) -> None:
    """A snapshot whose parts, sizes, order or frame do not fit each other is damaged, whatever its hash."""
    with pytest.raises(SnapshotError) as refused:
        snapshotter.unpack([make()], FINGERPRINT)
    assert "damaged-snapshot" == refused.value.kind


@pytest.mark.parametrize("length", [0xFFFFFFFF, HEADER_LIMIT + 1, 500])
def test_header_length_is_bounded(snapshotter: ZstdSnapshotter, length: int) -> None:
    """A header that claims to be longer than it may, or than there is, is damaged."""
    content = MAGIC + bytes([1]) + length.to_bytes(4) + b"x" * 400
    with pytest.raises(SnapshotError, match="header"):
        snapshotter.unpack([content + sha256(content).digest()], FINGERPRINT)


def test_another_version_is_foreign(snapshotter: ZstdSnapshotter) -> None:
    """A snapshot of a later version is not damaged, but not ours to read."""
    with pytest.raises(SnapshotError, match="version 4") as refused:
        snapshotter.unpack([forged(frame_of(b"abc"), row(b"abc"), version=4)], FINGERPRINT)
    assert "foreign-snapshot" == refused.value.kind


def test_window_is_bounded(snapshotter: ZstdSnapshotter) -> None:
    """A frame that asks its reader to look back further than ours ever do is damaged."""
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=True)
    compressor = zstandard.ZstdCompressor(compression_params=wide).compressobj(size=1 << 20)
    frame = compressor.compress(bytes(1 << 20)) + compressor.flush()
    header_byte = frame[4] & ~0x20  # not a single segment, so that the window is said by itself
    assert frame[4] & 0x20
    forged_frame = frame[:4] + bytes([header_byte, (27 - 10) << 3]) + frame[5:]
    with pytest.raises(SnapshotError) as refused:
        snapshotter.unpack([forged(forged_frame, row(bytes(1 << 20)))], FINGERPRINT)
    assert "damaged-snapshot" == refused.value.kind


BOMB = """
import resource, sys
from pathlib import Path
from procession.errors import SnapshotError
from procession.roles import Site
from procession_zstd import ZstdOptions, ZstdSnapshotter
snapshotter = ZstdSnapshotter(ZstdOptions(limit=1 << int(sys.argv[2])), Site(Path("."), False, None))
content = Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    snapshotter.unpack([content], "engine one")
except SnapshotError as error:
    print(error.kind, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize(
    ("size", "claimed", "limit", "kind"),
    [
        (1 << 30, 1 << 30, 20, "too-large"),
        (1 << 30, 1 << 20, 20, "damaged-snapshot"),
        (1 << 20, 1 << 40, 41, "damaged-snapshot"),
    ],
    ids=["honest bomb", "header says little", "header says much"],
)
def test_bombs_take_no_memory(tmp_path: Path, size: int, claimed: int, limit: int, kind: str) -> None:
    """A frame that expands a thousandfold, or says so, costs the program less than 32 MiB."""
    compressor = zstandard.ZstdCompressor(level=3).compressobj(size=size)
    frame = b"".join([*(compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)), compressor.flush()])
    path = tmp_path / "bomb"
    path.write_bytes(forged(frame, row(b"", size=claimed)))
    environment = {"PYTHONPATH": ":".join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", BOMB, str(path), str(limit)], env=environment, capture_output=True, text=True, check=True
    )
    found, grown = ran.stdout.split()
    assert kind == found
    assert int(grown) < 32


def test_levels_are_read_alike(tmp_path: Path) -> None:
    """What one level wrote another reads, at the size where windows are largest."""
    site = Site(tmp_path, False, SteppingClock())
    content = bytes(range(256)) * (12 << 12)
    for level in (1, 19):
        packed = ZstdSnapshotter(ZstdOptions(level=level), site).pack({"memory": content}, FINGERPRINT)
        read = ZstdSnapshotter(ZstdOptions(), site).unpack([packed.content], FINGERPRINT)
        assert {"memory": content} == dict(read.parts)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"level": 0}, "0 is no level of compression; give 1 to 19"),
        ({"level": 20}, "20 is no level of compression; give 1 to 19"),
        ({"limit": -1}, "-1 bytes are none; give 0 or more"),
    ],
)
def test_bad_options_are_refused(options: dict[str, int], told: str) -> None:
    """An option out of its range is refused when it is given, with its range."""
    with pytest.raises(ValueError, match=f"^{told}$"):
        ZstdOptions(**options)
