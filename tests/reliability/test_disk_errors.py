"""A disk that is bad or full at any one write or sync: nothing is promised that is not kept, and reading goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue

import attrs
import httpx
import pytest

from e2e.programs import Node, node
from procession.errors import ProcessionError
from procession.messages import Message
from procession.results import Batch
from procession.schedules import Submission, check_chain
from procession_scheduler import FileScheduler
from procession_sqlite import SqliteCache
from reliability import disks
from reliability.disks import PROCESS, Line, Trouble, check, judge, leavings, small_disk
from reliability.programme import Fault, Programme
from reliability.zygotes import Point, Zygote, missing, points, traced, zygote

FAULT = "EIO and ENOSPC at every write and fsync site"
SIZES = (256, 320, 384, 512, 768, 1024, 2048, 4096, 6144, 8192)  # KiB of real disks
CALLS = ("pwrite64", "write", "fsync", "fdatasync", "ftruncate", "mkdir", "rename")  # that may find no room, or fail
AT_ONCE = 2  # programs that run side by side
SEED = 20261126
CHILD = "reliability.disks:work"


@attrs.frozen
class Site:
    """Name a place where a part of the work can meet trouble."""

    part: str
    point: Point


@pytest.fixture
def row(programme: Programme) -> Fault:
    """Return the row of the programme."""
    row = programme.fault(FAULT, expected=0)
    row.found = True
    if missing() or disks.no_mounts():
        pytest.skip(missing() or disks.no_mounts())
    return row


@attrs.frozen
class Workshop:
    """Run the work in children, each in a folder of its own."""

    folder: Path
    zygotes: SimpleQueue[Zygote]

    def sites(self) -> list[Site]:
        """Return every site that a run without trouble comes by."""
        found = []
        for part in disks.PARTS:
            data = self._data()
            program = self.zygotes.get()
            ended = program.run(CHILD, str(data), part, strace=traced())
            self.zygotes.put(program)
            _hold(data, ended.told, Trouble("", sticky=False))
            at = [point for point in points(ended.log, data) if point.call in CALLS]
            found += [Site(part, point) for point in at if point.file not in ("", "blobs") or _is_deep(point)]
        return found

    def met(self, site: Site, trouble: Trouble, spoilt: str = "") -> None:
        """Let trouble be met at a site, and see that it was; AssertionError where something does not hold."""
        data = self._data()
        program = self.zygotes.get()
        try:
            strace = site.point.inject(data, trouble.injected)
            strace[-1] += "+" if trouble.sticky else ""
            ended = program.run(CHILD, str(data), site.part, spoilt, strace=strace)
            assert "(INJECTED)" in ended.log, "the fault did not fire"
            _hold(data, ended.told, trouble)
        except BaseException as error:
            error.add_note(f"{site} {trouble}")
            raise
        finally:
            self.zygotes.put(program)
            shutil.rmtree(data)

    def _data(self) -> Path:
        return Path(_fresh(self.folder))


@pytest.fixture
def workshop(row: Fault, tmp_path: Path) -> Iterator[Workshop]:
    """Return where the work is done, by two programs at once."""
    with (
        zygote(tmp_path / "one") as one,
        zygote(tmp_path / "two") as two,
        tempfile.TemporaryDirectory(dir=disks.SHM if disks.SHM.is_dir() else None) as folder,
    ):
        idle: SimpleQueue[Zygote] = SimpleQueue()
        idle.put(one)
        idle.put(two)
        yield Workshop(Path(folder), idle)


def test_every_site_can_fail(row: Fault, workshop: Workshop, figure: Callable[[int, int], int]) -> None:
    """Wherever a write or sync fails, once or from then on, what was acknowledged is there and the rest is refused."""
    sites = workshop.sites()
    troubles = [Trouble(error, sticky) for error in ("EIO", "ENOSPC") for sticky in (False, True)]
    every = [(site, trouble) for site in sites for trouble in troubles]
    cases = every if figure(0, 1) else _halved(every)
    row.expected += len(cases)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda case: workshop.met(*case), cases):
            row.held()
    row.note(f"{len(sites)} sites, each by both errors: {len(cases)} runs, every fault seen to fire")


def test_a_writer_that_goes_on_after_an_error_is_caught(row: Fault, workshop: Workshop) -> None:
    """The same trouble of a writer that takes no error for the end is seen to be acknowledged over."""
    log = [site for site in workshop.sites() if site.point.file == "schedule.sqlite-wal"]
    syncs = [site for site in log if site.point.call == "fdatasync"]
    caught = 0
    for site in syncs:  # those of a commit; after others nobody is told that anything failed
        try:
            workshop.met(site, Trouble("EIO", sticky=False), "forgiving")
        except AssertionError as error:
            assert "acknowledged after" in str(error)
            caught += 1
    assert caught >= len(disks.GROUPS) - 1
    row.control(f"a writer that goes on after a failed sync: caught at {caught} of {len(syncs)} syncs of the log")


def test_files_that_stay_behind_are_caught(row: Fault, workshop: Workshop) -> None:
    """The same trouble of a cache that does not tidy up is seen to leave half-written files."""
    writes = [site for site in workshop.sites() if site.point.call == "write"]
    assert writes
    for site in writes:
        with pytest.raises(AssertionError, match="left behind"):
            workshop.met(site, Trouble("ENOSPC", sticky=False), "leaving")
    row.control(f"half-written blobs that are left: {len(writes)} of {len(writes)} caught")


def test_a_fault_that_does_not_fire_is_no_case(row: Fault, workshop: Workshop) -> None:
    """A point that no run comes by is not counted as held."""
    with pytest.raises(AssertionError, match="did not fire"):
        workshop.met(Site("ordering", Point("fdatasync", "schedule.sqlite-wal", 999)), Trouble("EIO", sticky=False))


# -- real disks


@pytest.mark.parametrize("kib", SIZES)
def test_a_disk_that_fills_up_goes_on_when_there_is_room(row: Fault, kib: int, tmp_path: Path) -> None:
    """On a disk of any size: work is refused as disk-full, all that was acknowledged is read, and room ends it."""
    row.expected += 1
    with small_disk(tmp_path / "disk", kib) as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(kib << 8))
        with closing(_Load(disk, kib)) as load:
            load.fill()
            filler.unlink()
            load.go_on()
        with closing(disks.open_scheduler(disk)) as scheduler:
            assert load.made == list(scheduler.read(PROCESS, 0, 9999))
    row.held()


def test_a_node_on_a_full_disk_says_so_and_goes_on(row: Fault, tmp_path: Path) -> None:
    """Over HTTP a full disk is a 507 that names its kind, reading is a 200, and room is all that is needed."""
    row.expected += 1
    (tmp_path / "echo.toml").write_text('[process]\nname = "echo"\ndevice-stack = ["echo@1.0"]\n', "utf-8")
    with small_disk(tmp_path / "disk", 4096) as disk:
        (disk / "filler").write_bytes(bytes(2 << 20))
        with node(tmp_path / "echo.toml", "--data", disk / "data", folder=tmp_path) as running:
            here = f"/{running.process}"
            assert 200 == _posted(running).status_code
            kept = running.get(f"{here}/compute&slot=1")
            posted = 1 + _post_until_refused(running)
            _fill_up(disk / "rest")
            asked = [running.client.get(f"{running.url}{here}/now") for _ in range(5)]
            assert {(507, "disk-full")} == {(reply.status_code, reply.json()["error"]["kind"]) for reply in asked}
            assert [posted, kept] == [running.get(f"{here}/slot/current"), running.get(f"{here}/compute&slot=1")]
            running.get(f"{here}/schedule&from=1&to={posted}")
            (disk / "filler").unlink()
            assert 200 == _posted(running).status_code
            assert [posted + 1] * 2 == [running.get(f"{here}/slot/current"), running.get(f"{here}/now/at-slot")]
            os.truncate(running.log, 0)  # it has the traces of the refusals, under their ids
    row.held()
    row.note(f"real disks of {SIZES[0]} KiB to {SIZES[-1] >> 10} MiB, and a node that answered 507 and went on")


def _post_until_refused(running: Node) -> int:
    """Post until the disk is full, and return how many went in."""
    for posted in range(10_000):
        reply = _posted(running)
        if reply.status_code != 200:
            assert (507, "disk-full") == (reply.status_code, reply.json()["error"]["kind"])
            return posted
    raise AssertionError("the disk does not fill up")


def _fill_up(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(512))


class _Load:
    """Fill a disk with a schedule and, where it is large enough to hold both, a cache."""

    def __init__(self, disk: Path, kib: int) -> None:
        self._dice = random.Random(f"{SEED} {kib}")
        self._disk = disk
        self.scheduler: FileScheduler = disks.open_scheduler(disk)
        self.cache: SqliteCache | None = disks.open_cache(disk) if kib >= 1024 else None
        self.made = list(self.scheduler.assign(PROCESS, [self._offer(500)]))
        self._kept: list[bytes] = []

    def fill(self) -> None:
        """Add until nothing more goes in; each refusal says why, and all that went in can be read."""
        refused = 0
        while refused < 3:
            try:
                self._add()
            except ProcessionError as error:
                assert "disk-full" == error.kind, error.text
                assert "room" in error.text
                refused += 1
                self._check()

    def go_on(self) -> None:
        """Add more, now that there is room."""
        for _ in range(3):
            self._add(small=True)
        self._check()

    def close(self) -> None:
        """Let go of the files."""
        self.scheduler.close()
        if self.cache is not None:
            self.cache.close()

    def _add(self, *, small: bool = False) -> None:
        count, size = (1, 500) if small else (self._dice.randrange(1, 4), 9_000)
        self.made += self.scheduler.assign(PROCESS, [self._offer(size) for _ in range(count)])
        if self.cache is not None:
            number = len(self._kept)
            batch = disks.batch(number % len(disks.GROUPS))
            more = self._dice.randbytes(self._dice.randrange(20_000))
            self.cache.put(Batch(batch.records, {**batch.blobs, sha256(more).digest(): more}))
            self._kept.append(more)

    def _check(self) -> None:
        assert self.made == list(self.scheduler.read(PROCESS, 0, 9999))
        assert self.scheduler.head(PROCESS) == check_chain(self.made, None)
        assert [] == leavings(self._disk)
        if self.cache is not None:
            assert self._kept == [self.cache.get_blob(sha256(content).digest()) for content in self._kept]

    def _offer(self, size: int) -> Submission:
        message = Message({"data": self._dice.randbytes(self._dice.randrange(size))})
        return Submission(message, message.id, idempotency_key=message.id)


def _hold(data: Path, told: list[str], trouble: Trouble) -> None:
    lines: list[Line] = [json.loads(line) for line in told]
    judge(lines, trouble)
    assert [] == leavings(data), "left behind"
    check(data, lines)


def _halved(cases: list[tuple[Site, Trouble]]) -> list[tuple[Site, Trouble]]:
    """Return for each site the one error once and the other from then on, in turns."""
    return [case for number, case in enumerate(cases) if (number % 4 in (0, 3)) == (number // 4 % 2 == 0)]


def _posted(running: Node) -> httpx.Response:
    return running.client.post(f"{running.url}/{running.process}/schedule", json={"data": "x" * 9_000})


def _is_deep(point: Point) -> bool:
    return point.call in ("write", "fsync", "mkdir", "rename")


def _fresh(folder: Path) -> str:
    return tempfile.mkdtemp(dir=folder, prefix="data")
