"""AOS stopped in the middle: a new program begins at a snapshot that leans on others, and comes to the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import pytest

from aos.halves import HALF, IMAGES, LAST, ROOTS, loaded, opened, told_of
from aos.needing import needed
from procession import Kernel, executors, worker
from procession.results import Batch, Record
from procession.roles import Site
from procession.testing import SteppingClock, kill_at, python
from procession_sqlite import CacheOptions, SqliteCache
from procession_zstd import ZstdOptions, ZstdSnapshotter
from procession_zstd.headers import HASH_BYTES

NEVER = "a line that no program prints"

_RUN = "import sys; from aos.halves import run; run(*sys.argv[1:])"


SMALLEST = ["aos-2-pure-xs"]


@pytest.fixture(scope="module", params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    """Name an image, fetched, or skip with the reason."""
    needed(IMAGES[request.param])
    return str(request.param)


@pytest.fixture(scope="module")
def unstopped(image: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what the whole session tells, computed by one program."""
    return said(tmp_path_factory.mktemp("unstopped"), image, 0, LAST)


def said(folder: Path, image: str, first: int, last: int, ending: str = "closed") -> list[str]:
    """Return what a program tells of some slots."""
    ended = kill_at(NEVER, python(_RUN, str(folder), image, str(first), str(last), ending), patience=300)
    assert (-9 if ending == "killed" else 0) == ended.code, ended.output
    return ended.output.splitlines()


def newest(folder: Path) -> Record:
    """Return the newest record with a snapshot of the one process of a folder."""
    with Kernel.open(data=folder / "data", read_only=True) as kernel:
        (process,) = kernel.processes()
    with cache_of(folder) as cache:
        found = cache.latest(process, None, with_snapshot=True)
    assert found is not None
    return found


@contextmanager
def cache_of(folder: Path) -> Iterator[SqliteCache]:
    """Open the cache of a folder, beside no kernel."""
    with closing(SqliteCache(CacheOptions(), Site(folder / "data", False, SteppingClock()))) as cache:
        yield cache


def test_the_session_is_worth_stopping(unstopped: list[str]) -> None:
    """A coroutine yields before and after the stop, messages are sent, errors told, and no slot is refused."""
    assert ["'1'", "'12'", "'13'", "'24'"] == [unstopped[slot].split()[-1] for slot in (3, 113, 123, 233)]
    assert {"-"} == {told.split()[3] for told in unstopped}


@pytest.mark.parametrize(("ending", "point"), [("closed", HALF), ("killed", HALF - 2)])
def test_a_restart_from_changes_comes_to_the_same(
    ending: str, point: int, image: str, unstopped: list[str], tmp_path: Path
) -> None:
    """States, results and live roots after 120 messages, a stop and 120 more are those of a session without a stop."""
    first = said(tmp_path, image, 0, HALF, ending)
    record = newest(tmp_path)
    assert (point, True) == (record.slot, len(record.blobs) > 1)
    second = said(tmp_path, image, HALF + 1, LAST)
    assert unstopped == [*first, *second]
    assert [slot for slot in range(HALF + 1, LAST + 1) if slot % ROOTS == 0] == [
        int(told.split()[0]) for told in second if told.split()[2] != "-"
    ]


# -- damage, blob by blob


@pytest.fixture(scope="module")
def stopped(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the first half, its newest snapshot leaning on others."""
    folder = tmp_path_factory.mktemp("stopped")
    said(folder, image, 0, HALF)
    return folder


def flip(content: bytes) -> bytes:
    """Return bytes with one bit of the last frame the other way."""
    place = len(content) - HASH_BYTES - 9
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def resealed(content: bytes) -> bytes:
    """Return bytes so changed, under a right hash."""
    changed = flip(content)[:-HASH_BYTES]
    return changed + sha256(changed).digest()


def with_blob(cache: SqliteCache, record: Record, place: int, content: bytes) -> Batch:
    """Return what puts other bytes in the place of one blob, under their own name."""
    digest = sha256(content).digest()
    blobs = [*record.blobs[:place], digest, *record.blobs[place + 1 :]]
    return Batch((attrs.evolve(record, snapshot=b"".join(blobs)),), {digest: content})


def listed(record: Record, blobs: Sequence[bytes]) -> Batch:
    """Return what gives a record another list of blobs."""
    return Batch((attrs.evolve(record, snapshot=b"".join(blobs)),), {})


def foreign(cache: SqliteCache, record: Record, place: int) -> bytes:
    """Return a blob of the same parts under another fingerprint."""
    packer = ZstdSnapshotter(ZstdOptions(), Site(Path(), False, SteppingClock()))
    held = [cache.get_blob(digest) for digest in record.blobs]
    before = packer.unpack(held[:place], record.fingerprint) if place else None
    return packer.pack(packer.unpack(held[: place + 1], record.fingerprint).parts, "another", before).content


Damage = Callable[[SqliteCache, Record, int], Batch]
DAMAGES: Mapping[str, Damage] = {
    "flipped": lambda cache, record, place: Batch((), {record.blobs[place]: flip(cache.get_blob(record.blobs[place]))}),
    "resealed": lambda cache, record, place: with_blob(
        cache, record, place, resealed(cache.get_blob(record.blobs[place]))
    ),
    "empty": lambda cache, record, place: with_blob(cache, record, place, b""),
    "missing": lambda cache, record, place: listed(
        record, [*record.blobs[:place], bytes(32), *record.blobs[place + 1 :]]
    ),
    "left out": lambda cache, record, place: listed(record, [*record.blobs[:place], *record.blobs[place + 1 :]]),
    "swapped": lambda cache, record, place: listed(record, [*record.blobs[place:], *record.blobs[:place]]),
    "twice": lambda cache, record, place: listed(record, [*record.blobs[: place + 1], *record.blobs[place:]]),
    "foreign": lambda cache, record, place: with_blob(cache, record, place, foreign(cache, record, place)),
}


def damaged(stopped: Path, folder: Path, damage: Damage, place: int) -> Path:
    """Return a copy with one blob of its newest point damaged."""
    shutil.copytree(stopped, folder / "copy")
    record = newest(folder / "copy")
    with cache_of(folder / "copy") as cache:
        cache.put(damage(cache, record, range(len(record.blobs))[place]))
    return folder / "copy"


def gone_on(folder: Path, image: str) -> tuple[list[str], int]:
    """Return what the next three slots tell, and where the newest point was that could be restored."""
    with opened(folder, image) as kernel:
        process = loaded(kernel, image, HALF + 3)
        with watching(kernel) as began:
            return [told_of(process, slot) for slot in range(HALF + 1, HALF + 4)], began[0]


@contextmanager
def watching(kernel: Kernel) -> Iterator[list[int]]:
    """Note at which slots executors begin."""
    began: list[int] = []
    whole = executors.restored

    def noting(*arguments: Any) -> executors.Executor:
        executor = whole(*arguments)
        began.append(executor.at)
        return executor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "restored", noting)
        yield began


@pytest.mark.parametrize("image", SMALLEST, indirect=True)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("place", [0, 1, -1], ids=["the whole", "the first change", "the last change"])
def test_no_damaged_blob_gives_another_answer(
    place: int,
    damage: str,
    image: str,
    stopped: Path,
    unstopped: list[str],
    tmp_path: Path,
) -> None:
    """Whichever blob of a point is damaged, gone, in another place or of another, an older point gives the same."""
    if damage == "swapped" and place == 0:
        place = -2
    folder = damaged(stopped, tmp_path, DAMAGES[damage], place)
    told, began = gone_on(folder, image)
    assert unstopped[HALF + 1 : HALF + 4] == told
    assert began < HALF
