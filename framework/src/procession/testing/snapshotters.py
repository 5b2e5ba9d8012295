"""SnapshotterContract: what every snapshotter must keep.

Subclass it in a test file and name the plugin, the device, and options under which a snapshot
of more than a few MiB is refused::

    class TestZstd(SnapshotterContract):
        plugin = "procession_zstd"
        device = "zstd@1.0"
        narrow = {"limit": 1 << 20}
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from procession.errors import SnapshotError
from procession.roles import Part, Point, Site, Snapshotter
from procession.testing.fakes import SteppingClock
from procession.testing.subjects import Subject, named_by

HOOK = "procession_snapshotters"
FINGERPRINT = '{"engine":"one","version":"1"}'
FOREIGN = '{"engine":"two","version":"1"}'
SAMPLES = 600  # bytes tried of a long snapshot
NARROW = 4 << 20  # bytes that a snapshotter with the options ``narrow`` may take to refuse
BOMB = 64 << 20  # bytes that a small snapshot expands to

NUMBERED: Mapping[int, bytes] = MappingProxyType({7: bytes(range(256)) * 16, 0: b"first", 1 << 31: b"far", 8: b""})
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "memory": bytes(70_000) + bytes(range(256)) * 40,
        "globals": b"\x01" * 9,
        "empty": b"",
        "a name/with ÄÖ": b"x",
        "pages": NUMBERED,
        "no pages": MappingProxyType({}),
    }
)
CHANGES: Sequence[Mapping[str, Part]] = (
    {**PARTS, "globals": b"\x02" * 9, "pages": {**NUMBERED, 7: b"\0" + NUMBERED[7][1:]}},
    {**PARTS, "memory": b"shorter", "pages": {0: b"first", 9: bytes(5000)}},
    {**PARTS, "pages": b"plain bytes now", "globals": NUMBERED},
    {"another": b"one", "empty": b"not any more"},
    {},
    PARTS,
)


def places(length: int) -> Iterable[int]:
    """Return places in some bytes: all of a few, or the ends and a sample of many."""
    if length <= SAMPLES:
        return range(length)
    edge = SAMPLES // 4
    middle = Random(length).sample(range(edge, length - edge), SAMPLES - 2 * edge)
    return sorted([*range(edge), *middle, *range(length - edge, length)])


class SnapshotterContract:
    """Hold a snapshotter to its role: parts back whole, or an error; bounded whatever the bytes claim.

    ``plugin`` is the module whose hook provides it, ``device`` its name@version, ``options`` what
    its options class is called with. ``narrow`` are options under which no more than a few MiB are unpacked.
    """

    plugin: str = ""
    device: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    narrow: Mapping[str, Any] = MappingProxyType({})

    @pytest.fixture
    def subject(self) -> Subject:
        """Name the snapshotter under test."""
        return named_by(self, HOOK)

    @pytest.fixture
    def build(self, subject: Subject, tmp_path: Path) -> Callable[[Mapping[str, Any]], Snapshotter]:
        """Build a snapshotter with options."""
        site = Site(tmp_path, False, SteppingClock())
        return lambda options: attrs.evolve(subject, options=options).open(site)

    @pytest.fixture
    def snapshotter(self, build: Callable[[Mapping[str, Any]], Snapshotter]) -> Snapshotter:
        """Build the snapshotter under test."""
        return build(self.options)

    @pytest.mark.parametrize("parts", [PARTS, {}, {"": b""}, {"one": b"1" * 999}], ids=["many", "none", "empty", "one"])
    def test_parts_come_back(self, snapshotter: Snapshotter, parts: Mapping[str, Part]) -> None:
        """What was packed is unpacked, names and bytes."""
        assert dict(parts) == dict(
            snapshotter.unpack([snapshotter.pack(parts, FINGERPRINT).content], FINGERPRINT).parts
        )

    def test_same_parts_same_bytes(self, build: Callable[[Mapping[str, Any]], Snapshotter]) -> None:
        """The bytes follow from parts and fingerprint alone, not from an order or an object."""
        turned = dict(reversed(list(PARTS.items())))
        turned["pages"] = dict(reversed(list(NUMBERED.items())))
        packed = [build(self.options).pack(parts, FINGERPRINT).content for parts in (PARTS, turned, PARTS)]
        assert packed[:1] * 3 == packed

    def test_points_come_back_one_on_top_of_the_other(self, snapshotter: Snapshotter) -> None:
        """Each point of a sequence is given back by its blobs, and the next may lean on what was read."""
        blobs: dict[bytes, bytes] = {}
        point: Point | None = None
        for number, parts in enumerate([PARTS, *[parts for _ in range(6) for parts in CHANGES]]):
            point = snapshotter.pack(parts, FINGERPRINT, point)
            blobs[point.digests[-1]] = point.content
            assert sha256(point.content).digest() == point.digests[-1]
            read = snapshotter.unpack([blobs[digest] for digest in point.digests], FINGERPRINT)
            assert (dict(parts), point.digests, point.sizes) == (dict(read.parts), read.digests, read.sizes)
            point = read if number % 2 else point

    def test_blobs_have_their_place(self, snapshotter: Snapshotter) -> None:
        """A point with a blob missing, twice, in another place, of another point or another fingerprint is refused."""
        points = [snapshotter.pack(PARTS, FINGERPRINT)]
        for parts in CHANGES:
            points.append(snapshotter.pack(parts, FINGERPRINT, points[-1]))
        place = next((place for place, point in enumerate(points) if len(point.digests) == 3), 0)
        if not place:  # each is whole: there are no places
            return
        other = snapshotter.pack(CHANGES[0], FINGERPRINT).content
        foreign = snapshotter.pack(CHANGES[1], FOREIGN, points[place - 1]).content
        known = {point.digests[-1]: point.content for point in points}
        first, second, third = [known[digest] for digest in points[place].digests]
        wrong = [[], [second], [first, third], [second, first], [first, first], [first, second, second], [first, other]]
        for sequence in [*wrong, [other, second], [first, second, foreign], [first, third, second]]:
            with pytest.raises(SnapshotError):
                snapshotter.unpack(sequence, FINGERPRINT)

    def test_packing_leaves_the_parts_alone(self, snapshotter: Snapshotter) -> None:
        """The parts that were packed are what they were."""
        parts = dict(PARTS)
        snapshotter.pack(parts, FINGERPRINT, snapshotter.pack(CHANGES[0], FINGERPRINT))
        assert dict(PARTS) == parts

    def test_foreign_fingerprint_is_refused(self, snapshotter: Snapshotter) -> None:
        """A snapshot of another fingerprint is refused, and both are named."""
        with pytest.raises(SnapshotError) as refused:
            snapshotter.unpack([snapshotter.pack(PARTS, FOREIGN).content], FINGERPRINT)
        assert "foreign-snapshot" == refused.value.kind
        assert [True, True] == [name in refused.value.text for name in (FOREIGN, FINGERPRINT)]

    def test_every_truncation_is_found(self, snapshotter: Snapshotter) -> None:
        """A snapshot that lost its end, wherever, is refused."""
        packed = snapshotter.pack(PARTS, FINGERPRINT).content
        for length in places(len(packed)):
            _refused(snapshotter, packed[:length], f"cut to {length} of {len(packed)} bytes")

    def test_every_flipped_byte_is_found(self, snapshotter: Snapshotter) -> None:
        """A snapshot with one other byte, wherever, is refused."""
        packed = snapshotter.pack(PARTS, FINGERPRINT).content
        for place in places(len(packed)):
            flipped = packed[:place] + bytes([packed[place] ^ 0x40]) + packed[place + 1 :]
            _refused(snapshotter, flipped, f"byte {place} of {len(packed)} flipped")

    def test_bytes_that_are_no_snapshot_are_refused(self, snapshotter: Snapshotter) -> None:
        """Nothing, noise, and a snapshot with something behind it are refused."""
        packed = snapshotter.pack(PARTS, FINGERPRINT).content
        for name, content in {"nothing": b"", "noise": Random(3).randbytes(5000), "more": packed + b"\0"}.items():
            _refused(snapshotter, content, name)

    def test_expansion_is_bounded(self, build: Callable[[Mapping[str, Any]], Snapshotter]) -> None:
        """A small snapshot that would expand beyond the limit is refused before the memory is taken."""
        if not self.narrow:
            pytest.fail(f"{type(self).__name__} sets no `narrow`: options under which a large snapshot is refused")
        packed = build(self.options).pack({"memory": bytes(BOMB)}, FINGERPRINT).content
        narrow = build(self.narrow)
        tracemalloc.start()
        try:
            with pytest.raises(SnapshotError) as refused:
                narrow.unpack([packed], FINGERPRINT)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "too-large" == refused.value.kind
        assert peak < NARROW

    def test_what_could_not_be_unpacked_is_not_packed(self, build: Callable[[Mapping[str, Any]], Snapshotter]) -> None:
        """Parts beyond the limit are refused when they are packed, not when they are needed."""
        with pytest.raises(SnapshotError) as refused:
            build(self.narrow).pack({"memory": bytes(BOMB)}, FINGERPRINT)
        assert "too-large" == refused.value.kind


def _refused(snapshotter: Snapshotter, content: bytes, change: str) -> None:
    try:
        snapshotter.unpack([content], FINGERPRINT)
    except SnapshotError:
        return
    pytest.fail(f"a snapshot {change} was taken for a good one")
