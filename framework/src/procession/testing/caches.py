"""CacheContract: what every cache must keep.

Subclass it in a test file, name the plugin and the device, and say how to damage what it stores,
past the code under test::

    class TestSqlite(CacheContract):
        plugin = "procession_sqlite"
        device = "sqlite@1.0"

        def damage_record(self, folder, process, slot): ...
        def damage_blob(self, folder, digest): ...
        def lose_blob(self, folder, digest): ...
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from procession.errors import CacheError
from procession.ids import hash_id
from procession.results import Batch
from procession.roles import Cache, Site
from procession.testing.crash import kill_at
from procession.testing.fakes import SteppingClock
from procession.testing.records import OTHER, PROCESS, batch, digest, large_blob, record
from procession.testing.subjects import Subject, named_by, opener, subject_of

HOOK = "procession_caches"
RUN = 40  # records of a batch that a child writes

OpenCache = Callable[..., Cache]


def run_of(number: int) -> Batch:
    """Return the batch that a child writes as its ``number``-th: records, blobs, and one large blob."""
    slots = range(number * RUN, (number + 1) * RUN)
    blobs = [f"blob {slot}".encode() * 20 for slot in slots]
    snapshot = large_blob(number)
    records = [record(slot, snapshot=digest(snapshot) if slot == slots[-1] else None) for slot in slots]
    return batch(*records, blobs=[*blobs, snapshot])


def write_runs(named: str, folder: str) -> None:
    """Put batch after batch until killed, and print before and after each; runs in a child."""
    cache: Cache = subject_of(named).open(Site(Path(folder), False, SteppingClock()))
    for number in range(10_000):
        made = run_of(number)
        sys.stdout.write(f"begin {number} \n")
        cache.put(made)
        sys.stdout.write(f"done {number} \n")


class CacheContract:
    """Hold a cache to its role: whole batches, every field back, newest by slot, damage found.

    ``plugin`` is the module whose hook provides it, ``device`` its name@version, ``options`` what
    its options class is called with. The three methods that damage are called while no cache is open.
    """

    plugin: str = ""
    device: str = ""
    options: Mapping[str, Any] = MappingProxyType({})

    @pytest.fixture
    def subject(self) -> Subject:
        """Name the cache under test."""
        return named_by(self, HOOK)

    @pytest.fixture
    def open_cache(self, subject: Subject, tmp_path: Path) -> Iterator[OpenCache]:
        """Open the cache of the test's folder, as often as asked; all are closed after the test."""
        with opener(subject, tmp_path) as open_it:
            yield open_it

    def damage_record(self, folder: Path, process: str, slot: int) -> None:
        """Change some stored byte of a record."""
        pytest.fail(f"{type(self).__name__}: override `damage_record`")

    def damage_blob(self, folder: Path, digest: bytes) -> None:
        """Change some stored byte of a blob."""
        pytest.fail(f"{type(self).__name__}: override `damage_blob`")

    def lose_blob(self, folder: Path, digest: bytes) -> None:
        """Remove the stored bytes of a blob."""
        pytest.fail(f"{type(self).__name__}: override `lose_blob`")

    # -- records

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"complete": False, "state_digest": b"\x01" * 32, "chain": b"\x09" * 32},
            {"live_root": b"", "fingerprint": ""},
            {"snapshot": b"\x02" * 32},
            {"state": b"", "message_id": "short and no id"},
            {"state": b"\x00" * 2_000_000, "fingerprint": "long " * 1000},
        ],
    )
    def test_every_field_comes_back(self, open_cache: OpenCache, changes: Mapping[str, Any]) -> None:
        """A record comes back in every field, from the open cache and from the reopened one."""
        expected = record(7, **changes)
        cache = open_cache()
        cache.put(batch(record(6), expected, record(8)))
        assert expected == cache.get(PROCESS, 7)
        cache.close()
        assert expected == open_cache().get(PROCESS, 7)

    def test_what_is_not_there_is_none(self, open_cache: OpenCache) -> None:
        """A slot or process without a record is None, not an error."""
        cache = open_cache()
        cache.put(batch(record(1)))
        assert [None, None] == [cache.get(PROCESS, 2), cache.get(OTHER, 1)]
        assert cache.latest(OTHER, None, with_snapshot=False) is None

    def test_record_is_replaced(self, open_cache: OpenCache) -> None:
        """A record of a slot that has one takes its place, snapshot and all."""
        cache = open_cache()
        cache.put(batch(record(1, snapshot=b"\x03" * 32), record(2)))
        cache.put(batch(record(1, state=b"another")))
        assert record(1, state=b"another") == cache.get(PROCESS, 1)
        assert cache.latest(PROCESS, None, with_snapshot=True) is None

    def test_processes_do_not_mix(self, open_cache: OpenCache) -> None:
        """The same slot of two processes is two records."""
        cache = open_cache()
        cache.put(batch(record(1), record(1, process=OTHER), record(2)))
        assert [record(1), record(1, process=OTHER)] == [cache.get(PROCESS, 1), cache.get(OTHER, 1)]
        assert record(1, process=OTHER) == cache.latest(OTHER, None, with_snapshot=False)

    # -- the newest

    def test_newest_at_or_below(self, open_cache: OpenCache) -> None:
        """The newest record at or below a slot is found among records with gaps."""
        cache = open_cache()
        cache.put(batch(*[record(slot) for slot in (9, 3, 4)], record(50, process=OTHER)))
        found = [cache.latest(PROCESS, at, with_snapshot=False) for at in (2, 3, 8, 9, 10**12, None)]
        assert [None, 3, 4, 9, 9, 9] == [item and item.slot for item in found]

    def test_newest_with_a_snapshot(self, open_cache: OpenCache) -> None:
        """Records without a snapshot are passed over when one is asked for."""
        cache = open_cache()
        cache.put(batch(*[record(slot, snapshot=b"\x04" * 32 if slot % 3 == 0 else None) for slot in range(1, 11)]))
        found = [cache.latest(PROCESS, at, with_snapshot=True) for at in (2, 3, 8, None)]
        assert [None, 3, 6, 9] == [item and item.slot for item in found]

    def test_pruning_keeps_the_newest(self, open_cache: OpenCache) -> None:
        """Pruning drops the older snapshots and their blobs, and no result, nor another process's snapshot."""
        cache = open_cache()
        blobs = [f"snapshot {slot}".encode() for slot in range(5)] + [large_blob(5)]
        shared = digest(blobs[0])
        records = [record(slot, snapshot=digest(blob)) for slot, blob in enumerate(blobs)]
        cache.put(batch(*records, record(0, process=OTHER, snapshot=shared), blobs=blobs))
        assert 4 == cache.prune(PROCESS, 2)
        kept = [cache.latest(PROCESS, at, with_snapshot=True) for at in (3, 4, 5)]
        assert [None, records[4], records[5]] == kept
        assert attrs.evolve(records[1], snapshot=None) == cache.get(PROCESS, 1)
        assert blobs[0] == cache.get_blob(shared)
        assert [blobs[4], blobs[5]] == [cache.get_blob(digest(blob)) for blob in blobs[4:]]
        with pytest.raises(CacheError, match="missing"):
            cache.get_blob(digest(blobs[1]))
        assert 0 == cache.prune(PROCESS, 2)

    def test_pruning_keeps_what_newer_snapshots_lean_on(self, open_cache: OpenCache) -> None:
        """Of a snapshot of several blobs, those stay that begin another in use, of any process, and no more."""
        cache = open_cache()
        names = {name: digest(name.encode()) for name in ("whole", "second", "third", "aside", "newer")}
        lists = [["whole"], ["whole", "second"], ["whole", "second", "third"], ["whole", "aside"], ["newer"]]
        records = [record(slot, snapshot=b"".join(names[name] for name in names_)) for slot, names_ in enumerate(lists)]
        elsewhere = record(7, process=OTHER, snapshot=names["whole"] + names["second"])
        cache.put(batch(*records[:3], *records[4:], elsewhere, blobs=[name.encode() for name in names]))
        cache.put(batch(records[3]))
        kept = []
        for process, keep in ((PROCESS, 3), (PROCESS, 2), (PROCESS, 1), (OTHER, 0)):
            cache.prune(process, keep)
            kept.append([name for name, held in names.items() if _is_there(cache, held)])
        assert [*names] == kept[0]
        assert ["whole", "second", "aside", "newer"] == kept[1]
        assert ["whole", "second", "newer"] == kept[2]
        assert ["newer"] == kept[3]
        assert [names["whole"], names["second"]] == [*elsewhere.blobs]

    def test_pruned_large_blobs_are_gone(self, open_cache: OpenCache) -> None:
        """A large snapshot that was pruned is missing, and may be put again."""
        cache = open_cache()
        blobs = [large_blob(number) for number in range(2)]
        records = [record(slot, snapshot=digest(blob)) for slot, blob in enumerate(blobs)]
        cache.put(batch(*records, blobs=blobs))
        assert 1 == cache.prune(PROCESS, 1)
        with pytest.raises(CacheError, match="missing"):
            cache.get_blob(digest(blobs[0]))
        cache.put(batch(records[0], blobs=blobs[:1]))
        assert blobs[0] == cache.get_blob(digest(blobs[0]))

    # -- messages

    def test_dropped_records_are_gone(self, open_cache: OpenCache) -> None:
        """Dropping takes the records of some slots and no others, and they may be put again."""
        cache = open_cache()
        cache.put(batch(*[record(slot, process=process) for process in (PROCESS, OTHER) for slot in range(6)]))
        assert [3, 0, 1] == [cache.drop(PROCESS, *slots) for slots in ((2, 4), (2, 4), (5, 9))]
        assert [0, 1] == [slot for slot in range(6) if cache.get(PROCESS, slot)]
        assert record(1) == cache.latest(PROCESS, None, with_snapshot=False)
        assert all(cache.get(OTHER, slot) for slot in range(6))
        cache.put(batch(record(3)))
        assert record(3) == cache.get(PROCESS, 3)

    # -- blobs

    @pytest.mark.parametrize("content", [b"", b"a blob", bytes(100_000), large_blob(1)], ids=["none", "s", "m", "l"])
    def test_blobs_come_back(self, open_cache: OpenCache, content: bytes) -> None:
        """A blob comes back, put by itself or in a batch, from the open cache and from the reopened one."""
        cache = open_cache()
        alone = content + b"alone"
        cache.put(batch(blobs=[content]))
        assert digest(alone) == cache.put_blob(alone)
        cache.close()
        again = open_cache()
        assert [content, alone] == [again.get_blob(digest(blob)) for blob in (content, alone)]

    def test_blobs_may_be_put_twice(self, open_cache: OpenCache) -> None:
        """A blob that is there already may come again, in a batch or by itself."""
        cache = open_cache()
        blobs = [b"small", large_blob(2)]
        for _ in range(2):
            cache.put(batch(blobs=blobs))
            assert [digest(blob) for blob in blobs] == [cache.put_blob(blob) for blob in blobs]
        assert blobs == [cache.get_blob(digest(blob)) for blob in blobs]

    def test_missing_blob_is_named(self, open_cache: OpenCache) -> None:
        """A blob that was never put is an error of its own kind."""
        with pytest.raises(CacheError) as found:
            open_cache().get_blob(digest(b"never put"))
        assert "missing" == found.value.kind

    # -- damage

    def test_damaged_record_is_found(self, open_cache: OpenCache, tmp_path: Path) -> None:
        """A record that is not what was written is an error that names process and slot, until it is put again."""
        _written(open_cache, batch(record(1), record(2), record(3)))
        self.damage_record(tmp_path, PROCESS, 2)
        cache = open_cache()
        with pytest.raises(CacheError) as found:
            cache.get(PROCESS, 2)
        assert ("damaged", PROCESS, 2) == (found.value.kind, found.value.facts["process"], found.value.facts["slot"])
        assert record(3) == cache.get(PROCESS, 3)
        cache.put(batch(record(2)))
        assert record(2) == cache.get(PROCESS, 2)

    def test_newest_passes_over_damage(self, open_cache: OpenCache, tmp_path: Path) -> None:
        """The newest record that is whole is the newest."""
        _written(open_cache, batch(*[record(slot, snapshot=b"\x05" * 32) for slot in range(4)]))
        for slot in (2, 3):
            self.damage_record(tmp_path, PROCESS, slot)
        cache = open_cache()
        assert [record(1, snapshot=b"\x05" * 32)] * 2 == [
            cache.latest(PROCESS, None, with_snapshot=snapshot) for snapshot in (True, False)
        ]

    @pytest.mark.parametrize("content", [b"a small blob" * 9, large_blob(3)], ids=["small", "large"])
    def test_damaged_blob_is_found(self, open_cache: OpenCache, tmp_path: Path, content: bytes) -> None:
        """A blob that is not what its digest says is an error until it is put again."""
        _written(open_cache, batch(record(0), blobs=[content]))
        self.damage_blob(tmp_path, digest(content))
        cache = open_cache()
        with pytest.raises(CacheError) as found:
            cache.get_blob(digest(content))
        assert "damaged" == found.value.kind
        cache.put(batch(blobs=[content]))
        assert content == cache.get_blob(digest(content))

    @pytest.mark.parametrize("content", [b"a small blob" * 9, large_blob(4)], ids=["small", "large"])
    def test_lost_blob_is_found(self, open_cache: OpenCache, tmp_path: Path, content: bytes) -> None:
        """A blob whose bytes are gone is missing until it is put again."""
        _written(open_cache, batch(record(0), blobs=[content]))
        self.lose_blob(tmp_path, digest(content))
        cache = open_cache()
        with pytest.raises(CacheError) as found:
            cache.get_blob(digest(content))
        assert "missing" == found.value.kind
        cache.put(batch(blobs=[content]))
        assert content == cache.get_blob(digest(content))

    # -- whole or not at all

    @pytest.mark.parametrize("word", ["begin 0 ", "begin 2 ", "done 3 "])
    def test_killed_batch_is_whole_or_absent(
        self, subject: Subject, open_cache: OpenCache, tmp_path: Path, word: str
    ) -> None:
        """A batch whose program was killed is there whole or not at all; one that returned is there."""
        ended = kill_at(word, subject.command("procession.testing.caches:write_runs", str(tmp_path)))
        assert ended.reached, ended.output
        cache = open_cache()
        begun, done = ended.output.count("begin"), ended.output.count("done")
        for number in range(begun + 1):
            expected = run_of(number)
            found = [cache.get(item.process, item.slot) for item in expected.records]
            assert found in (list(expected.records), [None] * RUN)
            assert number >= done or found[0] is not None
            for name in expected.blobs if found[0] is not None else ():
                assert expected.blobs[name] == cache.get_blob(name)

    def test_refused_batch_leaves_no_trace(self, open_cache: OpenCache) -> None:
        """A batch that cannot be written whole is not written at all."""
        cache = open_cache()
        nonsense: Any = object()
        broken = record(2, fingerprint=nonsense)
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a cache says of a record that is none
            cache.put(batch(record(1), broken, blobs=[b"a blob"]))
        cache.put(batch(record(3)))
        assert [None, None, record(3)] == [cache.get(PROCESS, slot) for slot in (1, 2, 3)]

    # -- many threads, opening, closing

    def test_threads_write_and_read_at_once(self, open_cache: OpenCache) -> None:
        """Threads that put and get at one time find what they put."""
        cache = open_cache()
        start = threading.Barrier(6)

        def work(number: int) -> bool:
            start.wait()
            process = hash_id(str(number).encode())
            for slot in range(20):
                blob = f"{number} {slot}".encode()
                cache.put(batch(record(slot, process=process), blobs=[blob]))
                if cache.get(process, slot) != record(slot, process=process) or cache.get_blob(digest(blob)) != blob:
                    return False
            return True

        with ThreadPoolExecutor(6) as pool:
            assert [True] * 6 == list(pool.map(work, range(6)))

    def test_read_only_beside_a_writer(self, open_cache: OpenCache) -> None:
        """A cache opened read only sees what a running writer puts, and writes nothing."""
        writer = open_cache()
        writer.put(batch(record(1)))
        reader = open_cache(read_only=True)
        writer.put(batch(record(2), blobs=[b"a blob"]))
        assert [record(1), record(2)] == [reader.get(PROCESS, slot) for slot in (1, 2)]
        assert b"a blob" == reader.get_blob(digest(b"a blob"))
        with pytest.raises(CacheError):
            reader.put(batch(record(3)))
        with pytest.raises(CacheError):
            reader.put_blob(b"a blob")
        with pytest.raises(CacheError):
            reader.prune(PROCESS, 0)

    def test_closed_cache_leaves_nothing_behind(self, open_cache: OpenCache) -> None:
        """Closing ends every thread, twice does no harm, and a closed cache refuses."""
        before = set(threading.enumerate())
        cache = open_cache()
        cache.put(batch(record(1)))
        cache.close()
        cache.close()
        assert before == set(threading.enumerate())
        with pytest.raises(CacheError):
            cache.put(batch(record(2)))


def _written(open_cache: OpenCache, content: Batch) -> None:
    cache = open_cache()
    cache.put(content)
    cache.close()


def _is_there(cache: Cache, name: bytes) -> bool:
    try:
        return digest(cache.get_blob(name)) == name
    except CacheError:
        return False
