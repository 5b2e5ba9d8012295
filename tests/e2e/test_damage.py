"""Damage to what can be recomputed is found, told, and computed again; no damage ever gives another answer."""

from __future__ import annotations

import logging
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

from determinism.traces import load, mixed_kernel
from e2e.ledgers import LEDGER, messages
from procession import Kernel, Message, ProcessionError
from procession import registry as registry_room
from procession.ids import hash_id
from procession.messages import encode
from procession.results import Batch, Record
from procession.roles import Cache, Site, Snapshotter
from procession.testing import SteppingClock
from procession.testing.subjects import Subject

COUNT = 60
EVERY = 7  # slots between snapshots
FLIPS = 40
CUTS = 6

Spoil = Callable[[bytes], bytes]


@attrs.frozen
class Kept:
    """Hold a data folder to copy, its process, and what its slots came to."""

    folder: Path
    process: str
    states: list[str]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Return the folder of a ledger that was computed with a snapshot at every seventh slot, and closed."""
    folder = tmp_path_factory.mktemp("kept")
    toml = LEDGER.read_text("utf-8").replace('"ledger.wat"', f'"{LEDGER.with_name("ledger.wat")}"')
    (folder / "ledger.toml").write_text(f"{toml}\n[host.snapshots]\nevery = {EVERY}\n", "utf-8")
    with Kernel.open(folder / "ledger.toml", data=folder / "data") as kernel:
        process = kernel.spawn()
        process.schedule_many(messages(COUNT))
        process.compute(COUNT)
        return Kept(folder, process.id, [whole_of(process.compute(slot)) for slot in range(COUNT + 1)])


@pytest.fixture
def copy(kept: Kept, tmp_path: Path) -> Kept:
    """Return a copy to damage."""
    shutil.copytree(kept.folder, tmp_path / "copy")
    return attrs.evolve(kept, folder=tmp_path / "copy")


def found(place: Kept) -> list[str]:
    """Return what all slots come to, asked for from the newest down, and see that a new one is taken."""
    with Kernel.open(place.folder / "ledger.toml", data=place.folder / "data") as kernel:
        process = kernel.spawn()
        assert COUNT == process.head.slot
        backwards = [whole_of(process.compute(slot)) for slot in range(COUNT, -1, -1)]
        process.schedule({"function": "supply", "parameters": []})
        assert [COUNT + 1, "ok"] == [process.now()["at-slot"], process.now().at("results/type")]
        return backwards[::-1]


def whole_of(state: Message) -> str:
    """Return the state id and the id of all that can be read below it."""
    return f"{state.id} {hash_id(encode(state))}"


@contextmanager
def opened_cache(place: Kept) -> Iterator[Cache]:
    """Open the cache itself, beside any kernel."""
    site = Site(place.folder / "data", False, SteppingClock())
    with closing(Subject("procession_sqlite", "procession_caches", "sqlite@1.0").open(site)) as cache:
        yield cache


def snapshotter(place: Kept) -> Snapshotter:
    """Return the snapshotter itself."""
    site = Site(place.folder / "data", False, SteppingClock())
    made: Snapshotter = Subject("procession_zstd", "procession_snapshotters", "zstd@1.0").open(site)
    return made


def points(place: Kept, cache: Cache) -> list[Record]:
    """Return the records with a snapshot."""
    return [record for slot in range(COUNT + 1) if (record := cache.get(place.process, slot)) and record.snapshot]


def replace_snapshots(place: Kept, spoil: Callable[[Record, bytes], bytes]) -> int:
    """Put something else in the place of the last blob of every snapshot, under its right hash; return how many."""
    with opened_cache(place) as cache:
        records = points(place, cache)
        for record in records:
            *others, last = record.blobs
            content = spoil(record, cache.get_blob(last))
            digest = sha256(content).digest()
            cache.put(Batch((attrs.evolve(record, snapshot=b"".join([*others, digest])),), {digest: content}))
        return len(records)


def flipped(content: bytes, position: int, bit: int) -> bytes:
    """Return bytes with one bit the other way."""
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: flipped(content, len(content) - 9, 3),
        lambda content: flipped(content, 1, 0),
        lambda content: b"\x28\xb5\x2f\xfd" + bytes(100),
        lambda content: content * 2,
    ],
    ids=["empty", "half", "short", "long", "flipped", "flipped head", "another frame", "twice"],
)
def test_spoilt_snapshots_are_passed_over(spoil: Spoil, copy: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """A snapshot that fails its own checks is told and passed over, and the slots are replayed to the same states."""
    assert COUNT // EVERY <= replace_snapshots(copy, lambda record, content: spoil(content))
    with caplog.at_level(logging.WARNING, "procession"):
        assert copy.states == found(copy)
    assert any("snapshot" in text and "passed over" in text for text in caplog.messages)


def test_snapshots_of_another_fingerprint_are_passed_over(copy: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """A snapshot that another device made is not taken up, though its bytes are in order."""

    packer = snapshotter(copy)
    with opened_cache(copy) as cache:
        for record in points(copy, cache):
            parts = packer.unpack([cache.get_blob(digest) for digest in record.blobs], record.fingerprint).parts
            made = packer.pack(parts, "another fingerprint")
            changed = attrs.evolve(record, snapshot=made.digests[-1])
            cache.put(Batch((changed,), {made.digests[-1]: made.content}))
    assert copy.states == found(copy)
    assert any("passed over" in text for text in caplog.messages)


def test_snapshots_of_another_slot_are_passed_over(copy: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """A snapshot in order, but of another slot, is noticed by its live root."""
    with opened_cache(copy) as cache:
        records = points(copy, cache)
        for before, record in pairwise(records):
            cache.put(Batch((attrs.evolve(record, snapshot=before.snapshot),), {}))
    assert any(len(record.blobs) > 1 for record in records)
    assert copy.states == found(copy)
    assert any("another live root" in text for text in caplog.messages)


def test_a_device_of_other_sources_takes_no_snapshot_up(
    copy: Kept, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a device changed, its snapshots are passed over, and what it still computes alike is found alike."""
    digest = registry_room.source_digest
    monkeypatch.setattr(registry_room, "source_digest", lambda module: digest(module)[::-1])
    assert copy.states == found(copy)
    assert any("passed over" in text for text in caplog.messages)


def test_no_flipped_bit_in_the_cache_gives_another_answer(kept: Kept, tmp_path: Path) -> None:
    """With one bit of the database the other way every state is the same; only another format version is refused."""
    dice, refused = random.Random(8), []
    content = (kept.folder / "data" / "cache.sqlite").read_bytes()
    for number in range(FLIPS):
        place = attrs.evolve(kept, folder=tmp_path / str(number))
        shutil.copytree(kept.folder, place.folder)
        position = dice.randrange(len(content)) if number % 4 else dice.randrange(200)
        (place.folder / "data" / "cache.sqlite").write_bytes(flipped(content, position, dice.randrange(8)))
        try:
            assert kept.states == found(place), f"bit of byte {position}"
        except ProcessionError as error:
            refused.append(error.text)
        shutil.rmtree(place.folder)
    assert [] == [text for text in refused if "cache.sqlite: written as version" not in text]


def test_no_flipped_bit_in_a_part_of_a_state_gives_another_answer(tmp_path: Path) -> None:
    """Parts of states that slots share are checked when they are read, and computed again where they are damaged."""
    file = tmp_path / "data" / "cache.sqlite"
    with mixed_kernel(tmp_path) as kernel:
        process = load(kernel)
        expected = [whole_of(process.compute(slot)) for slot in range(process.head.slot + 1)]
    content = file.read_bytes()
    places = [found.start() for found in re.finditer(b"Account-[0-9]+|Gr\xc3\xbc|share|xxxxx", content, re.IGNORECASE)]
    assert len(places) > 100
    for position in random.Random(4).sample(places, FLIPS // 2):
        file.write_bytes(flipped(content, position, 1))
        with mixed_kernel(tmp_path) as kernel:
            process = load(kernel)
            assert expected == [whole_of(process.compute(slot)) for slot in range(process.head.slot + 1)], position


def test_no_cut_of_the_cache_gives_another_answer(kept: Kept, tmp_path: Path) -> None:
    """A database that is cut off anywhere is computed again from the schedule."""
    content = (kept.folder / "data" / "cache.sqlite").read_bytes()
    for number in range(CUTS):
        place = attrs.evolve(kept, folder=tmp_path / str(number))
        shutil.copytree(kept.folder, place.folder)
        (place.folder / "data" / "cache.sqlite").write_bytes(content[: len(content) * number // CUTS + 7 * number])
        assert kept.states == found(place)


@pytest.mark.parametrize(
    "spoil", [lambda c: flipped(c, len(c) // 2, 5), lambda c: c[:-1], lambda c: b""], ids=["flipped", "cut", "empty"]
)
def test_damaged_files_of_blobs_are_replaced(spoil: Spoil, copy: Kept) -> None:
    """An image or snapshot whose file is damaged is found to be, and comes anew from the definition file."""
    files = [file for file in (copy.folder / "data" / "blobs").rglob("*") if file.is_file()]
    assert files
    for file in files:
        file.write_bytes(spoil(file.read_bytes()))
    assert copy.states == found(copy)


@pytest.mark.parametrize("offset", [0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9])
def test_a_damaged_schedule_is_never_taken_for_another(offset: float, copy: Kept) -> None:
    """A schedule is no cache: where its bytes are not what they were, it is refused, or the states are the same."""
    file = copy.folder / "data" / "schedule.sqlite"
    content = file.read_bytes()
    position = int(len(content) * offset)
    file.write_bytes(
        content[:position] + bytes(byte ^ 0x10 for byte in content[position : position + 64]) + content[position + 64 :]
    )
    for cached in (copy.folder / "data").glob("cache.sqlite*"):
        cached.unlink()
    try:
        assert copy.states == found(copy)
    except ProcessionError as error:
        assert "schedule" in error.text
