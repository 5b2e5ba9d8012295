"""Two runs whose power is cut, one of a schedule and one of a cache, and what must hold after each.

A run is recorded once. Of its states each is put on a disk of memory, opened by the real device, and judged.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import attrs
import pytest

from procession.errors import CacheError
from procession.ids import hash_id
from procession.messages import Message
from procession.roles import Site
from procession.schedules import Assignment, Submission, check_chain
from procession_scheduler import FileScheduler, disk, index, manifests, writer
from procession_sqlite import CacheOptions, SqliteCache, files
from reliability import disks
from reliability.disks import PROCESS, SHM, clock
from reliability.torn import Op, State, recording, states

OTHER = hash_id(b"another process")
GROUPS = (1, 3, 1, 1, 2, 1, 4, 1, 1, 2)  # messages of each call, in turns to one process and the other
SETTLED = (3, 7)  # calls after which the log is emptied into the file


@attrs.frozen
class Run:
    """Hold what a run wrote."""

    what: str
    ops: Sequence[Op]


def schedule_run() -> Run:
    """Record a scheduler that is called, left alone, has its log cut, and is closed."""
    with _folder() as folder, recording() as recorder, _hurried():
        with closing(disks.open_scheduler(folder)) as scheduler:
            for number in range(len(GROUPS)):
                scheduler.assign(_process(number), offers(number))
                recorder.acknowledged(number)
                if number in SETTLED:
                    _settle(scheduler)
        return Run("schedule", tuple(recorder.ops))


def cache_run(sync: str) -> Run:
    """Record a cache that takes batches, some over others, prunes, and is closed."""
    with _folder() as folder, recording() as recorder, _hurried():
        with closing(_cache(folder, sync)) as cache:
            for number in range(len(disks.GROUPS) * 2):
                cache.put(disks.batch(number % len(disks.GROUPS)))
                recorder.acknowledged(number)
            cache.prune(PROCESS, 1)
        return Run(f"cache, {sync}", tuple(recorder.ops))


def judged(run: Run, *, seed: int, numbers: range, syncs: bool = True) -> list[str]:
    """Judge states, and return what was wrong with those that were."""
    wrong = []
    with _folder() as folder:
        for state in states(run.ops, seed=seed, numbers=numbers, syncs=syncs):
            data = folder / "data"
            data.mkdir()
            for name, content in state.files.items():
                (data / name).write_bytes(content)
            try:
                _judge(run, data, state)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told with its state
                wrong.append(f"{run.what}, {state.told}: {type(error).__name__}: {error}")
            shutil.rmtree(data)
    return wrong


def offers(number: int) -> list[Submission]:
    """Return what a call offers, each with a key, one with a signature too."""
    made = []
    for at in range(GROUPS[number]):
        message = Message({"number": number, "at": at, "data": b"x" * 150 * number})
        names = (hash_id(message.encoded),) if number % 3 == 0 else ()
        made.append(Submission(message, message.id, recognised_by=names, idempotency_key=f"{number} {at}"))
    return made


def _judge(run: Run, data: Path, state: State) -> None:
    if run.what == "schedule":
        _judge_schedule(data, state)
    else:
        _judge_cache(data, state, durable=run.what.endswith("full"))


def _judge_schedule(data: Path, state: State) -> None:
    """See that all that was acknowledged is there, each call wholly or not at all, and that it goes on (L0, L1, L6)."""
    with closing(disks.open_scheduler(data)) as scheduler:
        before = _logs(scheduler)
        there = {item.message_id for log in before.values() for item in log}
        for number in range(len(GROUPS)):
            ids = {offer.message_id for offer in offers(number)}
            assert len(ids & there) in (0, len(ids)), f"call {number} is there in part"
            assert number not in state.acknowledged or ids <= there, f"call {number} was acknowledged and is lost"
        for number in {max(state.acknowledged, default=0), *range(len(state.acknowledged), len(GROUPS))}:
            made = scheduler.assign(_process(number), offers(number))
            assert [offer.message_id for offer in offers(number)] == [item.message_id for item in made]
        after = _logs(scheduler)
    assert all(after[process][: len(log)] == log for process, log in before.items())
    assert sum(GROUPS) == sum(map(len, after.values())), "a message has two slots"


def _judge_cache(data: Path, state: State, *, durable: bool) -> None:
    """See that whatever is read is what was put, and what was acknowledged is, where that was promised; it goes on."""
    with closing(_cache(data, "full" if durable else "normal")) as cache:
        for number in range(len(disks.GROUPS)):
            batch = disks.batch(number)
            for record in batch.records:
                found = cache.get(PROCESS, record.slot)
                assert found in (None, record, attrs.evolve(record, snapshot=None)), "another record"
                assert found or not (durable and number in state.acknowledged), "a record was acknowledged and is lost"
            for digest, blob in batch.blobs.items():
                assert blob == _blob(cache, digest, blob), "another blob"
            cache.put(batch)
            assert list(batch.records) == [cache.get(PROCESS, record.slot) for record in batch.records]
            assert batch.blobs == {digest: cache.get_blob(digest) for digest in batch.blobs}


def _blob(cache: SqliteCache, digest: bytes, otherwise: bytes) -> bytes:
    try:
        return cache.get_blob(digest)
    except CacheError as error:
        assert error.kind in ("missing", "damaged")
        return otherwise


def _logs(scheduler: FileScheduler) -> dict[str, list[Assignment]]:
    found = {process: list(scheduler.read(process, 0, 99)) for process in (PROCESS, OTHER)}
    for process, log in found.items():
        assert scheduler.head(process) == check_chain(log, None)
    return found


def _process(number: int) -> str:
    return (PROCESS, OTHER)[number % 2]


def _cache(data: Path, sync: str) -> SqliteCache:
    return SqliteCache(CacheOptions(sync=sync), Site(data, False, clock))


def _settle(scheduler: FileScheduler) -> None:
    running = scheduler._writer
    assert running is not None
    while not running._disk.settled:
        time.sleep(0.001)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as name:
        yield Path(name)


@contextmanager
def _hurried() -> Iterator[None]:
    """Let logs be emptied, and the index of names catch up and be merged, after little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "IDLE", 0.03)
        patch.setattr(disk, "WAL_BYTES", 200_000)
        patch.setattr(files, "CHECKPOINT_PAGES", 15)
        patch.setattr(index, "BEHIND", 2)
        patch.setattr(manifests, "FAN", 2)
        yield
