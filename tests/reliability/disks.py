"""Work on a disk that fails: a child that orders messages and keeps results, and what must hold of what it told.

Rules
-----
* The child tells every acknowledgement and every refusal as a line of JSON, and reads back after each refusal.
* It works on the devices themselves, so that every write of theirs can be made to fail, one by one.
* What it does has keys, so that it may be done again, and the clock stands still, so that it comes out the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs

from procession import ProcessionError
from procession.ids import hash_id
from procession.messages import Message
from procession.results import Batch, Record
from procession.roles import Site
from procession.schedules import Submission, Tick, check_chain
from procession.testing.records import record
from procession_scheduler import FileScheduler, SchedulerOptions, disk, writer
from procession_sqlite import CacheOptions, SqliteCache, files, folders
from reliability.zygotes import tell

PROCESS = hash_id(b"a process")
FILES = ("schedule.sqlite", "cache.sqlite")
GROUPS = (1, 2, 1)  # messages of each call
LARGE = 2_000  # bytes from which a blob is a file
SHM = Path("/dev/shm")  # a disk of memory, for what is written ten thousand times and thrown away
FULL, BAD = "disk-full", "io"

Line = dict[str, Any]


def work(data: str, part: str, spoilt: str = "") -> None:
    """Do a part of the work on a disk that may fail, each trouble met told and tried once more."""
    _hasten()
    if spoilt:
        SPOILT[spoilt]()
    try:
        PARTS[part](Path(data))
        _say("ended")
    except Exception:  # noqa: BLE001 - the child says what became of it
        _say("raised", text=traceback.format_exc())


def _ordering(data: Path) -> None:
    for scheduler in _opened(open_scheduler, data):
        with closing(scheduler):
            _schedule(scheduler)


def _keeping(data: Path) -> None:
    for cache in _opened(open_cache, data):
        with closing(cache):
            _keep(cache)


def _opened(device: Callable[[Path], Any], data: Path) -> Iterator[Any]:
    """Yield a device, opened at the second try if need be; none where it does not open."""
    for _ in range(2):
        try:
            yield device(data)
        except ProcessionError as error:
            _say("refused", what="open", kind=error.kind, text=error.text)
        else:
            return


def _schedule(scheduler: FileScheduler) -> None:
    for number in range(len(GROUPS)):
        for _ in range(2):
            if _told("schedule", number, lambda number=number: scheduler.assign(PROCESS, offers(number))):
                break
            _told("read", number, lambda: scheduler.read(PROCESS, 0, 99))


def _keep(cache: SqliteCache) -> None:
    for number in range(len(GROUPS)):
        for _ in range(2):
            if _told("keep", number, lambda number=number: cache.put(batch(number))):
                break
            _told("look", number, lambda: [cache.get(PROCESS, slot) for slot in range(99)])
    _told("blob", 0, lambda: cache.put_blob(image())) or _told("blob", 0, lambda: cache.put_blob(image()))
    _told("prune", 0, lambda: cache.prune(PROCESS, 1))


def _told(what: str, number: int, step: Callable[[], Any]) -> bool:
    """Tell what came of a step: its slots and chains, or the slots that it found, or the refusal."""
    try:
        found = step()
    except ProcessionError as error:
        _say("refused", what=what, number=number, kind=error.kind, text=error.text)
        return False
    rows = found if isinstance(found, list | tuple) else ()
    _say(what, number=number, slots=[row.slot for row in rows if row], chains=[row.chain.hex() for row in rows if row])
    return True


def _say(did: str, /, **facts: Any) -> None:
    tell(json.dumps({"did": did, **facts}))


def _hasten() -> None:
    """Empty every log after little, and by count alone: what is done when nobody waits depends on the weather."""
    writer.IDLE, disk.WAL_BYTES = 3_600, 6 * 4_096
    files.CHECKPOINT_PAGES = 12


def _forgive() -> None:
    """Take the protection away: go on after any failed write."""
    writer._is_known = lambda error: True


def _leave() -> None:
    """Take the protection away: leave half-written files where they are."""

    @contextmanager
    def nothing(path: Path) -> Iterator[None]:
        yield

    folders._no_leavings = nothing


PARTS: dict[str, Callable[[Path], None]] = {"ordering": _ordering, "keeping": _keeping}
SPOILT: dict[str, Callable[[], None]] = {"forgiving": _forgive, "leaving": _leave}


# -- what is done


def clock() -> Tick:
    """Return the one time there is."""
    return Tick(1_700_000_000_000)


def open_scheduler(data: Path) -> FileScheduler:
    """Open the schedule of a folder."""
    return FileScheduler(SchedulerOptions(), Site(data, False, clock))


def open_cache(data: Path) -> SqliteCache:
    """Open the cache of a folder."""
    return SqliteCache(CacheOptions(large_blob=LARGE), Site(data, False, clock))


def offers(number: int) -> list[Submission]:
    """Return what a call offers, each with a key."""
    first = sum(GROUPS[:number])
    made = [
        Message({"number": first + at, "data": _bytes(f"message {first + at}", 200)}) for at in range(GROUPS[number])
    ]
    return [Submission(message, message.id, idempotency_key=message.id) for message in made]


def batch(number: int) -> Batch:
    """Return the records of a call's slots, with a blob in the cache file and one beside it."""
    blobs = [_bytes(f"small {number}", 300), _bytes(f"large {number}", LARGE + 900)]
    slots = range(sum(GROUPS[:number]), sum(GROUPS[: number + 1]))
    snapshot = sha256(blobs[1]).digest()
    return Batch(tuple(_record(slot, snapshot) for slot in slots), {sha256(blob).digest(): blob for blob in blobs})


def image() -> bytes:
    """Return a blob that is kept by itself."""
    return _bytes("image", LARGE)


def _record(slot: int, snapshot: bytes) -> Record:
    state = _bytes(f"state {slot}", 300)
    own: dict[str, Any] = {"state": state, "state_digest": sha256(state).digest(), "fingerprint": "one"}
    return record(slot, process=PROCESS, snapshot=snapshot, **own)


def _bytes(name: str, size: int) -> bytes:
    return (sha256(name.encode()).digest() * (size // 32 + 1))[:size]


# -- what must hold


@attrs.frozen
class Trouble:
    """Name what fails: the error, and whether it fails once or from then on."""

    error: str
    sticky: bool

    @property
    def injected(self) -> str:
        """Return what strace is told."""
        return f"error={self.error}"

    @property
    def kinds(self) -> set[str]:
        """Return the kinds of refusal that tell it."""
        return {FULL} if self.error == "ENOSPC" else {BAD, "stopped"}


def judge(lines: Sequence[Line], trouble: Trouble) -> None:
    """Hold what a child told against its trouble: refused by name, readable all along, nothing promised after it."""
    assert "ended" == lines[-1]["did"]
    refused = [line for line in lines if line["did"] == "refused"]
    assert {line["kind"] for line in refused} <= trouble.kinds
    for line in refused:
        assert any(name in line["text"] for name in FILES), line
        assert ("room" if trouble.error == "ENOSPC" else "see to the disk") in line["text"], line
        assert line["what"] not in ("read", "look"), line
    told = [line for line in lines if line.get("what", line["did"]) == "schedule"]
    stops = [at for at, line in enumerate(told) if line["did"] == "refused"]
    if stops and trouble.error != "ENOSPC":
        assert len(told) - stops[0] == len(stops), "acknowledged after a failed write"
    if stops and not trouble.sticky and trouble.error == "ENOSPC":
        assert list(range(len(GROUPS))) == [line["number"] for line in told if line["did"] == "schedule"]
    _judge_reads(lines)


def _judge_reads(lines: Sequence[Line]) -> None:
    """See that every reading shows what was acknowledged before it."""
    slots: list[int] = []
    for line in lines:
        if line["did"] == "schedule":
            slots += line["slots"]
        if line["did"] == "read":
            assert set(slots) <= set(line["slots"])


def check(data: Path, lines: Sequence[Line]) -> None:
    """Hold what is in a folder, opened again, against what was told, and do all of it again (L0, L1, L2, L6)."""
    with closing(open_scheduler(data)) as scheduler:
        log = list(scheduler.read(PROCESS, 0, 99))
        check_chain(log, None)
        held_ids = {item.message_id for item in log}
        for number, size in enumerate(GROUPS):
            assert len(held_ids & {offer.message_id for offer in offers(number)}) in (0, size), "there in part"
        held = {(item.slot, item.chain.hex()) for item in log}
        for line in lines:
            if line["did"] in ("schedule", "read"):
                assert set(zip(line["slots"], line["chains"], strict=True)) <= held, line
        again = [item for number in range(len(GROUPS)) for item in scheduler.assign(PROCESS, offers(number))]
        stored = list(scheduler.read(PROCESS, 0, 99))
        assert sorted(again, key=lambda item: item.slot) == stored
        assert log == stored[: len(log)]
        check_chain(stored, None)
    with closing(open_cache(data)) as cache:
        _check_cache(cache, {line["number"] for line in lines if line["did"] == "keep"})


def _check_cache(cache: SqliteCache, kept: set[int]) -> None:
    for number in range(len(GROUPS)):
        expected = batch(number)
        found = [cache.get(PROCESS, item.slot) for item in expected.records]
        plain = [attrs.evolve(item, snapshot=None) for item in found if item]
        assert [attrs.evolve(item, snapshot=None) for item in expected.records if number in kept or plain] == plain
        cache.put(expected)
        assert list(expected.records) == [cache.get(PROCESS, item.slot) for item in expected.records]
        assert expected.blobs == {digest: cache.get_blob(digest) for digest in expected.blobs}


def leavings(data: Path) -> list[str]:
    """Return the half-written files below a folder."""
    return [file.name for file in (data / "blobs" / "new").glob("*")]


# -- a disk that is small


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """Lend an empty disk of so many KiB."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def no_mounts() -> str:
    """Say why no disk can be lent here; "" where one can."""
    return "" if os.geteuid() == 0 else "only root may mount a small disk"
