"""Damage to what a folder keeps: its kinds, where they are done, and what must hold after each.

Rules
-----
* A folder is damaged while nobody has it open, on a copy, by dice of its own.
* Damage that is certain to be read must be told; any other may be told, and must change no answer.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from types import MappingProxyType

import apsw
import attrs

from determinism.traces import PLUGINS
from e2e.ledgers import LEDGER, messages
from procession import Kernel, Message
from procession.ids import hash_id
from procession.messages import encode
from procession.results import Batch, Record
from procession.roles import Site
from procession_scheduler.rows import SLOTS
from procession_sqlite import CacheOptions, SqliteCache
from procession_zstd import ZstdOptions, ZstdSnapshotter
from reliability.disks import clock

Damage = Callable[["Kept", Random], None]

COUNT = 8  # messages of each process
EVERY = 3  # slots between snapshots
ASKED = Message({"function": "supply", "parameters": []})

_DEFINITION = """
[process]
name = "ledger"
device-stack = [{{ device = "wasm-64@1.0", image = "{image}", fuel = 10_000, memory-limit = 65_536 }}]

[host.cache]
large-blob = {large}

[host.snapshots]
every = {every}
"""


@attrs.frozen
class Kept:
    """Hold a folder, its two processes, and what their slots came to, one more included that is not scheduled yet."""

    folder: Path
    processes: tuple[str, str]
    states: Mapping[str, list[str]]

    @property
    def data(self) -> Path:
        """Return the data folder."""
        return self.folder / "data"

    def opened(self) -> Kernel:
        """Open the kernel of the folder."""
        modules = [importlib.import_module(name) for name in PLUGINS]
        return Kernel.open(self.folder / "ledger.toml", data=self.data, plugins=modules, discover=False, clock=clock)

    @contextmanager
    def copy(self, folder: Path) -> Iterator[Kept]:
        """Lend a copy to damage."""
        shutil.copytree(self.folder, folder)
        try:
            yield attrs.evolve(self, folder=folder)
        finally:
            shutil.rmtree(folder)


def kept(folder: Path, *, large: int) -> Kept:
    """Make a folder of two ledgers; blobs larger than ``large`` are files."""
    folder.mkdir()
    text = _DEFINITION.format(image=LEDGER.with_suffix(".wat"), large=large, every=EVERY)
    (folder / "ledger.toml").write_text(text, "utf-8")
    made = Kept(folder, ("", ""), {})
    with made.opened() as kernel:
        assert kernel.definition is not None
        for seed in (0, 1):
            process = kernel.spawn(kernel.definition.message.put("random-seed", seed))
            process.schedule_many([{**message, "of": seed} for message in messages(COUNT)])
            process.compute(COUNT)
        first, second = kernel.processes()
    states = {process: [] for process in (first, second)}
    with attrs.evolve(made).copy(folder.with_name(f"{folder.name} whole")) as whole, whole.opened() as kernel:
        for process in states:
            states[process] = answers(kernel, process)
    return Kept(folder, (first, second), states)


def answers(kernel: Kernel, process: str) -> list[str]:
    """Return what all slots come to, asked for from the newest down, and a new one."""
    backwards = [whole_of(kernel.compute(process, slot)) for slot in range(COUNT, -1, -1)]
    slot = kernel.schedule(process, ASKED, idempotency_key="asked").slot
    return [*backwards[::-1], whole_of(kernel.compute(process, slot))]


def whole_of(state: Message) -> str:
    """Return the state id and the id of all that can be read below it."""
    return f"{state.id} {hash_id(encode(state))}"


@contextmanager
def warnings() -> Iterator[list[str]]:
    """Collect what is told to the log meanwhile."""
    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    log = logging.getLogger("procession")
    log.addHandler(handler)
    try:
        yield told
    finally:
        log.removeHandler(handler)


def hold(place: Kept, *, told: bool) -> None:
    """See that a damaged folder gives the answers of the whole one, says that it is damaged, and is whole after."""
    with warnings() as first, place.opened() as kernel:
        for process, states in place.states.items():
            assert states == answers(kernel, process), "another answer"
    assert first or not told, "the damage was not told"
    with warnings() as second, place.opened() as kernel:
        for process, states in place.states.items():
            assert states == answers(kernel, process), "another answer, later"
    assert [] == second or not told, "the damage is still there"


# -- kinds of damage to some bytes


def flipped(content: bytes, dice: Random) -> bytes:
    """Return bytes with one bit the other way."""
    changed = bytearray(content or b"\0")
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def zeroed(content: bytes, dice: Random) -> bytes:
    """Return bytes with a page of zeros in them; small ones are all zeros."""
    at = dice.randrange(max(1, len(content) - 4095))
    changed = content[:at] + bytes(len(content[at : at + 4096])) + content[at + 4096 :]
    return changed if changed != content else flipped(content, dice)


KINDS: Mapping[str, Callable[[bytes, Random], bytes]] = MappingProxyType(
    {
        "flipped": flipped,
        "cut": lambda content, dice: content[: dice.randrange(len(content))] if content else b"\0",
        "zeroed": zeroed,
        "empty": lambda content, dice: b"" if content else b"\0",
        "huge": lambda content, dice: content + bytes(1 << 20),
        "doubled": lambda content, dice: content * 2 or b"\0",
    }
)


# -- where


def newest_point(cache: SqliteCache, process: str) -> Record:
    """Return the newest record with a snapshot."""
    found = cache.latest(process, None, with_snapshot=True)
    assert found is not None
    return found


@contextmanager
def opened_cache(place: Kept) -> Iterator[SqliteCache]:
    """Open the cache itself, beside any kernel."""
    with closing(SqliteCache(CacheOptions(), Site(place.data, False, clock))) as cache:
        yield cache


@contextmanager
def database(place: Kept, name: str = "cache.sqlite") -> Iterator[apsw.Connection]:
    """Reach into a database behind its owner's back, and leave no log of it."""
    with closing(apsw.Connection(str(place.data / name))) as db:
        yield db
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def in_snapshot(kind: str) -> Callable[[Kept, Random], None]:
    """Spoil what a snapshot holds, under a right hash, so that only its own checks can tell."""

    def damage(place: Kept, dice: Random) -> None:
        with opened_cache(place) as cache:
            record = newest_point(cache, place.processes[0])
            _replace(cache, record, KINDS[kind](_snapshot(cache, record), dice))

    return damage


def of_another_slot(place: Kept, dice: Random) -> None:
    """Put an older snapshot, in order by itself, in the place of the newest."""
    with opened_cache(place) as cache:
        record = newest_point(cache, place.processes[0])
        older = cache.latest(record.process, record.slot - 1 - dice.randrange(EVERY), with_snapshot=True)
        assert older is not None
        cache.put(Batch((attrs.evolve(record, snapshot=older.snapshot),), {}))


def of_another_process(place: Kept, dice: Random) -> None:
    """Put the snapshot of another process and slot in the place of the newest."""
    with opened_cache(place) as cache:
        one, other = [newest_point(cache, process) for process in place.processes]
        older = cache.latest(other.process, other.slot - 1 - dice.randrange(EVERY), with_snapshot=True)
        assert older is not None
        cache.put(Batch((attrs.evolve(one, snapshot=older.snapshot),), {}))


def of_another_engine(place: Kept, dice: Random) -> None:
    """Put a snapshot with the tag of another engine in the place of the newest."""
    snapshotter = ZstdSnapshotter(ZstdOptions(), Site(place.data, False, clock))
    with opened_cache(place) as cache:
        record = newest_point(cache, place.processes[0])
        point = snapshotter.unpack([cache.get_blob(digest) for digest in record.blobs], record.fingerprint)
        _replace(cache, record, snapshotter.pack(point.parts, f"engine {dice.random()}").content)


def of_another_schedule(place: Kept, dice: Random) -> None:
    """Put a record, in order by itself, of a schedule that is not here any more."""
    with opened_cache(place) as cache:
        slots = dice.sample(range(1, COUNT + 1), 2)
        one, other = [cache.get(place.processes[0], slot) for slot in slots]
        assert one is not None
        assert other is not None
        stale = attrs.evolve(one, state=other.state, state_digest=other.state_digest, chain=dice.randbytes(32))
        cache.put(Batch((stale,), {}))


COLUMNS = ("message_id", "chain", "state", "state_digest", "live_root", "seal")


def in_column(column: str, kind: str) -> Callable[[Kept, Random], None]:
    """Spoil one column of a stored record."""

    def damage(place: Kept, dice: Random) -> None:
        with database(place) as db:
            at = SLOTS + dice.randrange(1, COUNT)  # of the first process, and none that a restart begins at
            held = db.execute(f"SELECT CAST({column} AS BLOB) FROM records WHERE place = ?", (at,)).get
            db.execute(f"UPDATE records SET {column} = ? WHERE place = ?", (KINDS[kind](held or b"", dice), at))

    return damage


def swapped_rows(place: Kept, dice: Random) -> None:
    """Swap two stored records, of one process or of two."""
    with database(place) as db:
        one, other = dice.sample([key * SLOTS + slot for key in (1, 2) for slot in range(COUNT)], 2)
        for old, new in ((one, -1), (other, one), (-1, other)):
            db.execute("UPDATE records SET place = ? WHERE place = ?", (new, old))


def in_blob(kind: str) -> Callable[[Kept, Random], None]:
    """Spoil the bytes of the newest snapshot where they are kept in the database."""

    def damage(place: Kept, dice: Random) -> None:
        with opened_cache(place) as cache:
            content = _snapshot(cache, newest_point(cache, place.processes[0]))
        with database(place) as db:
            db.execute("UPDATE blobs SET content = ? WHERE content = ?", (KINDS[kind](content, dice), content))
            assert db.changes()

    return damage


def in_file(kind: str) -> Callable[[Kept, Random], None]:
    """Spoil the file of the newest snapshot, and of a blob of any other kind."""

    def damage(place: Kept, dice: Random) -> None:
        with opened_cache(place) as cache:
            point = newest_point(cache, place.processes[0]).blobs[-1]
        files = sorted(file for file in (place.data / "blobs").rglob("*") if file.is_file())
        for file in [dice.choice(files), *(file for file in files if file.name == point.hex())]:
            file.write_bytes(KINDS[kind](file.read_bytes(), dice))

    return damage


def anywhere(kind: str) -> Callable[[Kept, Random], None]:
    """Spoil the database file itself."""

    def damage(place: Kept, dice: Random) -> None:
        file = place.data / "cache.sqlite"
        file.write_bytes(KINDS[kind](file.read_bytes(), dice))

    return damage


def _snapshot(cache: SqliteCache, record: Record) -> bytes:
    """Return the last of a snapshot's blobs."""
    return cache.get_blob(record.blobs[-1])


def _replace(cache: SqliteCache, record: Record, content: bytes) -> None:
    """Put something else in the place of the last."""
    digest = sha256(content).digest()
    snapshot = b"".join([*record.blobs[:-1], digest])
    cache.put(Batch((attrs.evolve(record, snapshot=snapshot),), {digest: content}))


# -- all of it

_CERTAIN: dict[str, Damage] = {  # that are read when every slot is, and a new one computed
    **{f"snapshot, {kind}": in_snapshot(kind) for kind in KINDS},
    "snapshot of another slot": of_another_slot,
    "snapshot of another process": of_another_process,
    "snapshot of another engine": of_another_engine,
    "record of another schedule": of_another_schedule,
    "records swapped": swapped_rows,
    **{f"{column}, {kind}": in_column(column, kind) for column in COLUMNS for kind in KINDS},
    **{f"blob, {kind}": in_blob(kind) for kind in KINDS},
}
_FILES: dict[str, Damage] = {f"file, {kind}": in_file(kind) for kind in KINDS}
_ANYWHERE: dict[str, Damage] = {f"anywhere, {kind}": anywhere(kind) for kind in KINDS}

GROUPS: Mapping[str, Mapping[str, Damage]] = MappingProxyType(
    {"certain": _CERTAIN, "files": _FILES, "anywhere": _ANYWHERE}
)


def damaged(place: Kept, group: str, numbers: Sequence[int], disk: Path, seed: int) -> int:
    """Damage copies, the kinds of a group in turns, and hold each; return how many held."""
    for number in numbers:
        name, damage = list(GROUPS[group].items())[number % len(GROUPS[group])]
        with place.copy(disk / f"copy {number}") as copy:
            try:
                damage(copy, Random(f"{seed} {number}"))
                hold(copy, told=group != "anywhere")
            except BaseException as error:
                error.add_note(f"{name}, seed {seed}, number {number}")
                raise
    return len(numbers)
