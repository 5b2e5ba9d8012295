"""What sqlite@1.0 does beyond the contract: corrupt and foreign files, blobs beside it, indexes, pruning."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import apsw
import attrs
import pytest

from procession.errors import CacheError
from procession.results import Batch, Record
from procession.roles import Site
from procession.testing.fakes import SteppingClock
from procession.testing.records import OTHER, PROCESS, batch, digest, large_blob, record
from procession_sqlite import CacheOptions, SqliteCache
from procession_sqlite.newest import DOWN, POINTS_DOWN
from procession_sqlite.records import SLOTS, record_of, seal_of
from procession_sqlite.writes import _OLD_POINTS

Open = Callable[..., SqliteCache]


@pytest.fixture
def open_cache(tmp_path: Path) -> Iterator[Open]:
    """Open the cache of the test's folder; all are closed after the test."""
    opened: list[SqliteCache] = []

    def open_it(*, read_only: bool = False, sync: str = "normal", large_blob: int = 1 << 20) -> SqliteCache:
        site = Site(tmp_path, read_only, SteppingClock())
        opened.append(SqliteCache(CacheOptions(sync=sync, large_blob=large_blob), site))
        return opened[-1]

    yield open_it
    for cache in opened:
        cache.close()


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Reach the file behind the cache's back."""
    db = apsw.Connection(str(tmp_path / "cache.sqlite"))
    yield db
    db.close()


def files(folder: Path) -> list[str]:
    """Return the names of all files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- files that are no cache, or none any more


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4080])
def test_corrupt_file_is_moved_aside(
    open_cache: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """A file that is no database any more is kept under another name, with a warning, and an empty one begun."""
    for number in (1, 2):
        (tmp_path / "cache.sqlite").write_bytes(content)
        with caplog.at_level(logging.WARNING, "procession.sqlite"):
            cache = open_cache()
        cache.put(batch(record(1)))
        assert record(1) == cache.get(PROCESS, 1)
        assert content == (tmp_path / f"cache.sqlite.damaged-{number}").read_bytes()
        assert number == caplog.text.count("supplied again")
        cache.close()


def test_corrupt_file_is_not_moved_by_a_reader(open_cache: Open, tmp_path: Path) -> None:
    """A corrupt file that is opened read only is an error and stays."""
    (tmp_path / "cache.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(CacheError) as refused:
        open_cache(read_only=True)
    assert "damaged" == refused.value.kind
    assert (tmp_path / "cache.sqlite").exists()


def corrupted(path: Path) -> None:
    """Overwrite all of a database but its first pages."""
    path.write_bytes(path.read_bytes()[: 4096 * 16] + b"\xff" * (path.stat().st_size - 4096 * 16))


def test_corruption_met_in_use_is_cured(open_cache: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that turns out corrupt while it is used is moved aside once, and the cache goes on, empty."""
    first = open_cache()
    first.put(batch(*[record(slot) for slot in range(300)]))
    first.close()
    corrupted(tmp_path / "cache.sqlite")
    second = open_cache()
    with caplog.at_level(logging.WARNING, "procession.sqlite"):
        found = [second.get(PROCESS, slot) for slot in range(300)]
        found += [second.latest(PROCESS, None, with_snapshot=False)]
    assert [None] * 10 == found[-10:]
    assert 1 == caplog.text.count("moved aside")
    second.put(batch(record(1)))
    second.close()
    assert (tmp_path / "cache.sqlite.damaged-1").exists()
    assert record(1) == open_cache().get(PROCESS, 1)


def test_corruption_met_by_a_put_is_cured(open_cache: Open, tmp_path: Path) -> None:
    """A batch that meets corruption is kept all the same."""
    first = open_cache()
    first.put(batch(*[record(slot) for slot in range(300)]))
    first.close()
    corrupted(tmp_path / "cache.sqlite")
    second = open_cache()
    second.put(batch(*[record(slot) for slot in range(400)]))
    assert record(399) == second.get(PROCESS, 399)
    assert (tmp_path / "cache.sqlite.damaged-1").exists()


def test_corruption_met_by_many_is_cured_once(open_cache: Open, tmp_path: Path) -> None:
    """Threads that read and write while the file turns out corrupt all go on, on one new file."""
    first = open_cache()
    first.put(batch(*[record(slot) for slot in range(300)]))
    first.close()
    corrupted(tmp_path / "cache.sqlite")
    second = open_cache()
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(second.get, PROCESS, slot) for slot in range(200)]
        calls += [pool.submit(second.put, batch(record(slot))) for slot in range(400, 420)]
        for call in calls:
            call.result(30)
    second.put(batch(record(7)))
    assert record(7) == second.get(PROCESS, 7)
    assert 1 == len(list(tmp_path.glob("cache.sqlite.damaged-?")))


def test_corruption_met_by_a_reader_is_an_error(open_cache: Open, tmp_path: Path) -> None:
    """Who may only read says that the file is damaged, and the next who opens it for writing begins anew."""
    first = open_cache()
    first.put(batch(*[record(slot) for slot in range(300)]))
    first.close()
    corrupted(tmp_path / "cache.sqlite")
    reader = open_cache(read_only=True)
    with pytest.raises(CacheError, match="moves it aside"):
        _ = [reader.get(PROCESS, slot) for slot in range(300)]
    reader.close()
    assert open_cache().get(PROCESS, 0) is None
    assert (tmp_path / "cache.sqlite.damaged-1").exists()


def flip_key(path: Path, table: str) -> None:
    """Turn the key of the first row of a small table from 1 to 33, and leave its index as it is."""
    db = apsw.Connection(str(path))
    root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
    size = db.pragma("page_size")
    db.close()
    content = bytearray(path.read_bytes())
    page = (root - 1) * size
    cell = page + int.from_bytes(content[page + 8 : page + 10])
    key = cell + (1 if content[cell] < 0x80 else 2)  # after the length of the row
    assert 1 == content[key]
    content[key] = 33
    path.write_bytes(content)


@pytest.mark.parametrize("table", ["processes", "fingerprints", "snapshots"])
def test_damaged_key_is_cured_by_opening(
    open_cache: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    """One flipped bit in the key of a value that recurs costs the file, told once, and no record put later."""
    first = open_cache()
    first.put(batch(record(1, snapshot=digest(b"s")), blobs=[b"s"]))
    first.close()
    flip_key(tmp_path / "cache.sqlite", table)
    second = open_cache()
    assert second.get(PROCESS, 1) is None
    second.put(batch(record(2, snapshot=digest(b"s"))))
    second.close()
    assert record(2, snapshot=digest(b"s")) == open_cache().get(PROCESS, 2)
    assert ["moved aside" in text for text in caplog.messages] == [True]


@pytest.mark.parametrize("table", ["fingerprints", "snapshots"])
def test_key_that_leads_nowhere_is_damage(open_cache: Open, raw: apsw.Connection, table: str) -> None:
    """A record whose fingerprint or snapshot is not there is damaged, an empty fingerprint too."""
    cache = open_cache()
    cache.put(batch(record(1, fingerprint="", snapshot=digest(b"s"))))
    raw.execute(f"DELETE FROM {table}")
    with pytest.raises(CacheError) as found:
        cache.get(PROCESS, 1)
    assert "damaged" == found.value.kind


def test_blobs_in_files_outlive_a_corrupt_cache(open_cache: Open, tmp_path: Path) -> None:
    """An image stays readable when the cache file was lost."""
    first = open_cache()
    image = first.put_blob(b"an image")
    first.close()
    (tmp_path / "cache.sqlite").write_bytes(b"no database at all" * 100)
    assert b"an image" == open_cache().get_blob(image)


@pytest.mark.parametrize("prepare", ["PRAGMA application_id = 99; CREATE TABLE theirs (x)", "CREATE TABLE theirs (x)"])
def test_foreign_database_is_refused_untouched(open_cache: Open, tmp_path: Path, prepare: str) -> None:
    """A database of another program is refused and stays as it is."""
    path = tmp_path / "cache.sqlite"
    db = apsw.Connection(str(path))
    db.execute(prepare)
    db.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(CacheError) as refused:
            open_cache(read_only=read_only)
        assert "foreign" == refused.value.kind
    assert before == path.read_bytes()


def test_newer_schema_is_refused(open_cache: Open, raw: apsw.Connection) -> None:
    """A file of a newer version is refused with what to do."""
    open_cache().close()
    raw.pragma("user_version", 4)
    with pytest.raises(CacheError, match="install") as refused:
        open_cache()
    assert "newer-schema" == refused.value.kind


@pytest.mark.parametrize("version", [1, 2])
def test_file_of_an_earlier_version_is_taken_over(open_cache: Open, raw: apsw.Connection, version: int) -> None:
    """A file with more indexes is read as it is, and loses what is not needed when it is written to."""
    first = open_cache()
    pure = [record(slot, snapshot=digest(b"pure"), live_root=b"") for slot in (1, 2)]
    first.put(batch(*pure, record(3), blobs=[b"pure"]))
    first.close()
    raw.execute("DROP INDEX points; CREATE INDEX points ON records (place) WHERE snapshot IS NOT NULL")
    raw.execute("CREATE INDEX uses ON records (snapshot) WHERE snapshot IS NOT NULL")
    for tier in range(3) if version == 1 else ():
        raw.execute(f"CREATE TABLE names{tier} (name BLOB PRIMARY KEY, place INTEGER)")
    raw.pragma("user_version", version)
    assert record(3) == open_cache(read_only=True).get(PROCESS, 3)
    second = open_cache()
    second.put(batch(record(4)))
    assert [*pure, record(3), record(4)] == [second.get(PROCESS, slot) for slot in (1, 2, 3, 4)]
    assert pure[1] == second.latest(PROCESS, None, with_snapshot=True)
    left = raw.execute("SELECT name FROM sqlite_schema WHERE name GLOB 'names*' OR name = 'uses'").fetchall()
    assert (3, []) == (raw.pragma("user_version"), left)


def test_points_of_both_kinds_are_found(open_cache: Open) -> None:
    """The newest point is the newest of those with a live part and those without, however they are mixed."""
    cache = open_cache()
    dice = Random(3)
    model: list[int] = []
    for slot in range(200):
        kind = dice.choice(["no", "no", "no", "live", "pure"])
        cache.put(
            batch(
                record(slot, snapshot=None if kind == "no" else digest(b"x"), live_root=b"" if kind == "pure" else b"r")
            )
        )
        model.append(slot if kind != "no" else model[-1] if model else -1)
    found = [cache.latest(PROCESS, slot, with_snapshot=True) for slot in range(200)]
    assert model == [-1 if item is None else item.slot for item in found]


def test_locked_file_is_refused_at_once(open_cache: Open, raw: apsw.Connection) -> None:
    """A file that another program writes to is refused; one met later costs that batch and no more."""
    cache = open_cache()
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(CacheError) as at_open:
        open_cache()
    with pytest.raises(CacheError) as in_use:
        cache.put(batch(record(1)))
    raw.execute("ROLLBACK")
    cache.put(batch(record(1)))
    assert ["locked", "locked"] == [at_open.value.kind, in_use.value.kind]
    assert record(1) == cache.get(PROCESS, 1)


def test_nothing_to_read_is_an_error(open_cache: Open, tmp_path: Path) -> None:
    """A folder without a cache cannot be opened read only, and is not written to."""
    with pytest.raises(CacheError) as refused:
        open_cache(read_only=True)
    assert "missing" == refused.value.kind
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "remedy"), [({"sync": "off"}, "give 'normal' or 'full'"), ({"large_blob": 0}, "positive number")]
)
def test_bad_options_are_refused(options: dict[str, Any], remedy: str) -> None:
    """An option that means nothing is refused when it is given, with what to give."""
    with pytest.raises(ValueError, match=remedy):
        CacheOptions(**options)


def test_any_flipped_byte_is_found_or_harmless(tmp_path: Path) -> None:
    """Whatever byte of the file changes, a record or blob is what was written, missing, or an error of ours."""
    site = Site(tmp_path, False, SteppingClock())
    cache = SqliteCache(CacheOptions(), site)
    records = [record(slot, snapshot=digest(b"s") if slot % 5 == 0 else None) for slot in range(30)]
    blobs = [f"blob {number}".encode() * 30 for number in range(20)]
    cache.put(batch(*records, blobs=blobs))
    cache.close()
    path = tmp_path / "cache.sqlite"
    good = path.read_bytes()
    random = Random(5)
    seen = set()
    for _ in range(150):
        place = random.randrange(len(good))
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << random.randrange(8))]) + good[place + 1 :])
        try:
            damaged = SqliteCache(CacheOptions(), attrs.evolve(site, read_only=True))
        except CacheError as error:
            seen.add(error.kind)
            continue
        seen |= {_read(partial(damaged.get, PROCESS, item.slot), item) for item in records}
        seen |= {_read(partial(damaged.get_blob, digest(blob)), blob) for blob in blobs}
        for item in records:
            newest = partial(damaged.latest, PROCESS, item.slot, with_snapshot=False)
            seen.add(_read(newest, *records[: item.slot + 1]))
        damaged.close()
    assert {"whole", "damaged"} <= seen


def _read(read: Callable[[], object], *expected: object) -> str:
    try:
        found = read()
    except CacheError as error:
        return error.kind
    assert found in (*expected, None)
    return "whole"


# -- blobs


def test_large_blobs_are_files(open_cache: Open, tmp_path: Path) -> None:
    """A blob above the bound is a file named by its digest, one at the bound is in the cache file."""
    cache = open_cache(large_blob=10)
    cache.put(batch(blobs=[b"x" * 10, b"y" * 11]))
    name = digest(b"y" * 11).hex()
    assert [f"{name[:2]}/{name}"] == files(tmp_path / "blobs")
    assert [b"x" * 10, b"y" * 11] == [cache.get_blob(digest(blob)) for blob in (b"x" * 10, b"y" * 11)]


@pytest.mark.parametrize("number", [1, 2, 3], ids=["file", "its folder", "the folder of folders"])
@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, "disk-full"), (errno.EDQUOT, "disk-full"), (errno.EIO, "io")]
)
def test_blob_that_cannot_be_synced_leaves_nothing(
    open_cache: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: str, number: int
) -> None:
    """A blob that meets a full or bad disk is refused, leaves no file behind, and is kept once there is room."""
    cache = open_cache()
    before = files(tmp_path)
    calls = count(1)

    def fsync(handle: int) -> None:
        if next(calls) == number:
            raise OSError(code, "trouble")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        with pytest.raises(CacheError) as refused:
            cache.put_blob(b"an image")
    assert (kind, before) == (refused.value.kind, files(tmp_path))
    assert b"an image" == cache.get_blob(cache.put_blob(b"an image"))


def test_blob_that_is_there_gets_its_name_synced(open_cache: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob that another program wrote, and may not have lived to sync by its name, is synced when it is put."""
    cache = open_cache()
    cache.put_blob(b"an image")
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    cache.put_blob(b"an image")
    assert 2 == len(synced)


def test_blob_that_cannot_be_read_is_an_error_of_ours(open_cache: Open, tmp_path: Path) -> None:
    """A file that the system does not read is told as such, and not as a bug."""
    cache = open_cache()
    name = cache.put_blob(b"an image").hex()
    (tmp_path / "blobs" / name[:2] / name).unlink()
    (tmp_path / "blobs" / name[:2] / name).mkdir()
    with pytest.raises(CacheError) as refused:
        cache.get_blob(bytes.fromhex(name))
    assert "io" == refused.value.kind


def test_blob_is_synced_before_it_has_its_name(
    open_cache: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of a blob are synced while they stand under another name, and its folder after it has its own."""
    cache = open_cache()
    name = digest(b"an image").hex()
    folder = tmp_path / "blobs" / name[:2]
    synced: list[tuple[bool, bool]] = []  # of a file or a folder, and whether the blob had its name

    def fsync(handle: int) -> None:
        synced.append((stat.S_ISREG(os.fstat(handle).st_mode), (folder / name).exists()))

    monkeypatch.setattr("os.fsync", fsync)
    cache.put_blob(b"an image")
    assert [(True, False), (False, True), (False, True)] == synced


def test_damaged_file_is_kept(open_cache: Open, tmp_path: Path) -> None:
    """A damaged blob is put aside when it is read, and the next put writes it anew."""
    cache = open_cache()
    name = cache.put_blob(b"an image").hex()
    path = tmp_path / "blobs" / name[:2] / name
    path.write_bytes(b"an imagf")
    with pytest.raises(CacheError):
        cache.get_blob(digest(b"an image"))
    with pytest.raises(CacheError, match="missing"):
        cache.get_blob(digest(b"an image"))
    cache.put_blob(b"an image")
    assert b"an image" == cache.get_blob(digest(b"an image"))
    assert b"an imagf" == path.with_name(f"{name}.damaged").read_bytes()


def test_damage_unseen_is_cured_by_putting(open_cache: Open, tmp_path: Path) -> None:
    """A damaged file that nobody read yet is written anew when its blob comes again."""
    cache = open_cache()
    name = cache.put_blob(b"an image").hex()
    (tmp_path / "blobs" / name[:2] / name).write_bytes(b"an imagf")
    cache.put_blob(b"an image")
    assert b"an image" == cache.get_blob(digest(b"an image"))


def test_file_heals_a_damaged_row(open_cache: Open, raw: apsw.Connection) -> None:
    """A small blob that is damaged in the cache file is served from its own file once it was put there."""
    cache = open_cache()
    cache.put(batch(blobs=[b"a blob"]))
    raw.execute("UPDATE blobs SET content = x'00'")
    cache.put_blob(b"a blob")
    assert b"a blob" == cache.get_blob(digest(b"a blob"))


@pytest.mark.parametrize("told", [True, False])
def test_blob_that_comes_with_every_record_is_not_written_again(open_cache: Open, *, told: bool) -> None:
    """A blob that stands is not looked for any more; one that was found damaged, and only that, is put anew."""
    cache = open_cache()
    for slot in range(4):
        cache.put(batch(record(slot, snapshot=digest(b"empty")), blobs=[b"empty"]))
    _unnoticed(cache, "UPDATE blobs SET content = x'00'")
    if told:
        with pytest.raises(CacheError, match="damaged"):
            cache.get_blob(digest(b"empty"))
    cache.put(batch(record(4, snapshot=digest(b"empty")), blobs=[b"empty"]))
    with nullcontext() if told else pytest.raises(CacheError, match="damaged"):
        assert b"empty" == cache.get_blob(digest(b"empty"))


@pytest.mark.parametrize("forget", ["prune", "another program", "a batch that fails"])
def test_blob_is_written_again_where_it_may_have_gone(open_cache: Open, raw: apsw.Connection, forget: str) -> None:
    """What was pruned, or may have been removed by another program, is put again with the next record."""
    cache = open_cache()
    for slot in range(4):
        cache.put(batch(record(slot, snapshot=digest(b"empty")), blobs=[b"empty"]))
    if forget == "prune":
        assert 4 == cache.prune(PROCESS, 0)
    elif forget == "another program":
        raw.execute("DELETE FROM blobs")
    else:
        _unnoticed(cache, "DELETE FROM blobs")
        with pytest.raises(AttributeError):
            cache.put(Batch((None,), {digest(b"empty"): b"empty"}))
    cache.put(batch(record(4, snapshot=digest(b"empty")), blobs=[b"empty"]))
    assert b"empty" == cache.get_blob(digest(b"empty"))


def _unnoticed(cache: SqliteCache, statement: str) -> None:
    """Change the file as damage does, without the version that tells of it."""
    writes = cache._writes
    writes._db.execute(statement)
    writes._version = writes._db.data_version()


def test_half_written_files_are_swept(open_cache: Open, tmp_path: Path) -> None:
    """What a killed program left half written is gone after the next opening for writing."""
    open_cache().close()
    (tmp_path / "blobs" / "new" / "left").write_bytes(b"half")
    open_cache(read_only=True)
    assert ["new/left"] == files(tmp_path / "blobs")
    open_cache()
    assert [] == files(tmp_path / "blobs")


def test_disk_trouble_is_a_cache_error(open_cache: Open, tmp_path: Path) -> None:
    """A blob that cannot be written is an error that names the file, and nothing of its batch is there."""
    cache = open_cache()
    (tmp_path / "blobs" / digest(large_blob(1)).hex()[:2]).write_text("in the way")
    with pytest.raises(CacheError) as refused:
        cache.put(batch(record(1), blobs=[large_blob(1)]))
    assert "io" == refused.value.kind
    assert cache.get(PROCESS, 1) is None


# -- records, indexes, pruning


@pytest.mark.parametrize(
    ("statement", "bindings", "index"),
    [
        (DOWN, (0, SLOTS), "INTEGER PRIMARY KEY"),
        (POINTS_DOWN, (0, SLOTS), "INDEX points"),
        (_OLD_POINTS, (0, SLOTS, 1), "INTEGER PRIMARY KEY"),
    ],
)
def test_newest_is_found_by_index(
    open_cache: Open, raw: apsw.Connection, statement: str, bindings: tuple[int | bytes, ...], index: str
) -> None:
    """What looks for the newest walks an index and sorts nothing."""
    open_cache()
    plan = " ".join(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", bindings))
    assert index in plan
    assert "SCAN" not in plan.replace("SCAN records USING INDEX points", "")
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Record)])
def test_seal_covers_every_field(field: str) -> None:
    """A record that differs in one field has another seal."""
    changed: dict[type, Any] = {int: 99, bool: False, str: "changed", bytes: b"changed", type(None): b"changed"}
    made = record(1)
    assert seal_of(made) != seal_of(attrs.evolve(made, **{field: changed[type(getattr(made, field))]}))


def test_seal_is_not_fooled_by_moved_bytes() -> None:
    """Bytes that move from one field to the next change the seal, and so does an empty snapshot."""
    one, two = record(1, state=b"ab", state_digest=b"c"), record(1, state=b"a", state_digest=b"bc")
    assert 4 == len({seal_of(one), seal_of(two), seal_of(record(1)), seal_of(record(1, snapshot=b""))})


def test_damage_is_told_once(open_cache: Open, raw: apsw.Connection, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged records passed over are one line with their count, told once in whichever order they are met."""
    cache = open_cache()
    cache.put(batch(*[record(slot, snapshot=b"\x01" * 32 if slot % 5 == 0 else None) for slot in range(100)]))
    raw.execute(f"UPDATE records SET state = x'00' WHERE place % {SLOTS} BETWEEN 10 AND 94")
    below = [cache.latest(PROCESS, at, with_snapshot=points) for points in (True, False) for at in range(94, 9, -1)]
    assert [5, 9] == sorted({item.slot for item in below if item is not None})
    assert [17, 68] == [int(text.split("seals: ")[1].split(";")[0]) for text in caplog.messages]


def test_damage_is_not_read_again(open_cache: Open, raw: apsw.Connection) -> None:
    """A record found damaged is jumped over until it is put anew."""
    cache = open_cache()
    cache.put(batch(*[record(slot) for slot in range(10)]))
    raw.execute("CREATE TABLE good AS SELECT * FROM records")
    raw.execute(f"UPDATE records SET state = x'00' WHERE place % {SLOTS} > 3")
    assert record(3) == cache.latest(PROCESS, None, with_snapshot=False)
    raw.execute("INSERT OR REPLACE INTO records SELECT * FROM good")
    assert record(3) == cache.latest(PROCESS, None, with_snapshot=False)
    cache.put(batch(record(6), record(12)))
    found = [cache.latest(PROCESS, at, with_snapshot=False) for at in (5, 6, 9, 11, None)]
    assert [3, 6, 6, 6, 12] == [item and item.slot for item in found]


def test_pruning_keeps_damage_visible(open_cache: Open, raw: apsw.Connection) -> None:
    """A damaged record whose snapshot is pruned stays damaged."""
    cache = open_cache()
    cache.put(batch(*[record(slot, snapshot=b"\x01" * 32) for slot in range(3)]))
    raw.execute(f"UPDATE records SET live_root = x'00' WHERE place % {SLOTS} = 0")
    assert 2 == cache.prune(PROCESS, 1)
    with pytest.raises(CacheError):
        cache.get(PROCESS, 0)
    assert record(1) == cache.get(PROCESS, 1)


def test_failed_batch_forgets_its_keys(open_cache: Open) -> None:
    """Keys that a batch took before it failed are not used by the next."""
    cache = open_cache()
    broken = record(2, process=OTHER, fingerprint="\ud800")
    with pytest.raises(UnicodeEncodeError):
        cache.put(batch(record(1, fingerprint="new", snapshot=b"\x07" * 32), broken))
    made = record(1, process=OTHER, fingerprint="newer", snapshot=b"\x08" * 32)
    again = record(1, fingerprint="new", snapshot=b"\x07" * 32)
    cache.put(batch(made, again))
    cache.close()
    reopened = open_cache()
    assert [made, again] == [reopened.get(OTHER, 1), reopened.get(PROCESS, 1)]


def test_two_writers_share_a_file(open_cache: Open) -> None:
    """Two caches on one file see each other's batches and do not mistake each other's keys."""
    one, two = open_cache(), open_cache()
    for number in range(6):
        snapshot = digest(str(number).encode())
        (one, two)[number % 2].put(
            Batch((record(number, fingerprint=f"f{number}", snapshot=snapshot),), {snapshot: str(number).encode()})
        )
        if number == 3:
            one.prune(PROCESS, 0)
    found = [two.get(PROCESS, number) for number in range(6)]
    kept = [digest(str(number).encode()) for number in (4, 5)]
    assert [None] * 4 + kept == [item.snapshot for item in found if item is not None]
    assert b"5" == one.get_blob(kept[1])


def test_full_sync_is_set(open_cache: Open) -> None:
    """The option decides how commits are synced."""
    found = []
    for sync in ("normal", "full"):
        writes = open_cache(sync=sync)._writes
        assert writes is not None
        found.append(writes._db.pragma("synchronous"))
    assert [1, 2] == found


def test_undecodable_text_is_damage(open_cache: Open, raw: apsw.Connection) -> None:
    """Text that is none any more is a damaged record."""
    cache = open_cache()
    cache.put(batch(record(1)))
    raw.execute("UPDATE records SET message_id = CAST(x'ff' AS TEXT)")
    with pytest.raises(CacheError):
        cache.get(PROCESS, 1)
    with pytest.raises(CacheError):
        record_of(PROCESS, (1, b"\xff", b"", b"", b"", 1, b"", b"", None, b""))
