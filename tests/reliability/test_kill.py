"""Killed at any system call that leaves something on a disk, a scenario keeps what it told, and goes on to its end."""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, zip_longest
from pathlib import Path
from queue import SimpleQueue

import attrs
import pytest

from procession import Kernel
from procession_push.deliveries import FILE
from reliability.programme import Fault, Programme
from reliability.relays import Forgetful
from reliability.scenarios import SCENARIOS, check, comparable, uninterrupted
from reliability.zygotes import Ended, Point, Zygote, missing, points, traced, zygote

FAULT = "kill -9 at each durable system call"
SEED = 20261125
AT_ONCE = 2  # programs that run side by side
TWICE = 3  # every third of those killed is killed once more, while it recovers
CONTROLS = 3  # kills of a program that lacks a protection, and on until one shows it
CHILD = "reliability.scenarios:child"


@pytest.fixture
def row(programme: Programme) -> Fault:
    """Return the row of the programme."""
    row = programme.fault(FAULT, expected=0)
    if missing():
        pytest.skip(missing())
    return row


@pytest.fixture
def zygotes(row: Fault, tmp_path: Path) -> Iterator[SimpleQueue[Zygote]]:
    """Return the programs that fork those to be killed."""
    with zygote(tmp_path / "one") as one, zygote(tmp_path / "two") as two:
        idle: SimpleQueue[Zygote] = SimpleQueue()
        idle.put(one)
        idle.put(two)
        yield idle


@attrs.frozen
class Subject:
    """Hold a scenario that is ready to be killed: its folder to copy, what it tells, and where it can be killed."""

    name: str
    folder: Path
    zygotes: SimpleQueue[Zygote]
    whole: Sequence[str]
    points: Sequence[Point]
    later: Sequence[Point]  # in a recovery

    def killed(self, point: Point) -> int:
        """Return how often a copy was killed: at the point, and perhaps in the recovery; what is left is right."""
        dice = random.Random(f"{SEED} {point}")
        second = dice.choice(self.later) if dice.randrange(TWICE) == 0 else None
        with _lent(self.zygotes) as program, _reproducible(f"{self.name}: {point}, then {second}; seed {SEED}"):
            work = shutil.copytree(self.folder / "template", self.folder / str(point))
            runs = [_run(program, self.name, work, "steps", point)]
            if second and runs[0].killed:
                runs.append(_run(program, self.name, work, "again", second))
            check(self.name, work, [line for run in runs for line in run.told], self.whole)
            shutil.rmtree(work)
        return sum(run.killed for run in runs)

    def run_to_the_end(self, part: str) -> None:
        """Do a part that nothing stops, and hold what is left against what it told."""
        ended, work = self._worked(part, None)
        assert not ended.killed
        check(self.name, work, ended.told, self.whole)

    def caught(self, part: str, file: str, *, match: str = "", kind: type[Kernel] = Kernel, without: str = "") -> str:
        """Kill a part that lacks a protection at writes of a file; say at how many of the kills the check saw it."""
        writes = [point for point in self.points if (point.call, point.file) == ("pwrite64", file)]
        seen: list[bool] = []
        for point in random.Random(SEED).sample(writes, len(writes)):
            ended, work = self._worked(part, point)
            for path in (work / "data").glob(f"{without}*") if without else ():
                path.unlink()
            if ended.killed:
                seen.append(self._fails(work, ended, match=match, kind=kind))
            if len(seen) >= CONTROLS and any(seen):
                break
        assert any(seen), f"none of {len(seen)} kills showed it"
        return f"{sum(seen)} of {len(seen)} kills"

    def _fails(self, work: Path, ended: Ended, *, match: str, kind: type[Kernel]) -> bool:
        try:
            check(self.name, work, ended.told, self.whole, kind=kind)
        except AssertionError as error:
            assert match in str(error)
            return True
        return False

    def _worked(self, part: str, point: Point | None) -> tuple[Ended, Path]:
        work = shutil.copytree(self.folder / "template", self.folder / f"{part} {point}")
        with _lent(self.zygotes) as program:
            return _run(program, self.name, work, part, point), work


def subject(name: str, folder: Path, zygotes: SimpleQueue[Zygote]) -> Subject:
    """Do what comes before the kills, and see in runs that end well which calls there are."""
    for part in ("template", "whole"):
        (folder / part).mkdir(parents=True)
    whole = uninterrupted(name, folder / "whole")
    trial = folder / "trial"
    with _lent(zygotes) as program:
        program.run(CHILD, name, str(folder / "template"), "before")
        shutil.copytree(folder / "template", trial)
        steps = program.run(CHILD, name, str(trial), "steps", strace=traced())
        assert (0, comparable(whole[-len(steps.told) :])) == (steps.code, comparable(steps.told))
        again = program.run(CHILD, name, str(trial), "again", strace=traced())
    found = [points(ended.log, trial / "data") for ended in (steps, again)]
    return Subject(name, folder, zygotes, whole, *found)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_takes_nothing_back(
    name: str, row: Fault, zygotes: SimpleQueue[Zygote], tmp_path: Path, figure: Callable[[int, int], int]
) -> None:
    """What was told before a kill is true after it, what was not is wholly there or absent, and the rest goes on."""
    one = subject(name, tmp_path / "subject", zygotes)
    wanted = figure(34, len(one.points) * 9 // 10)
    row.expected += wanted
    offered = iter(_in_turns(one.points))
    kills: list[int] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while (lacking := wanted - sum(map(bool, kills))) and (next_points := _taken(offered, lacking)):
            kills += pool.map(one.killed, next_points)
    fired = sum(map(bool, kills))
    row.held(fired)
    assert wanted == fired, "the faults did not fire"
    row.note(f"{name}: {fired} of {len(one.points)} points, {kills.count(2)} killed again in the recovery")


def test_a_scheduler_that_answers_before_it_writes_is_caught(
    row: Fault, zygotes: SimpleQueue[Zygote], tmp_path: Path
) -> None:
    """The same kills of a program that tells of a slot and writes it after are seen to lose slots."""
    one = subject("schedule", tmp_path / "subject", zygotes)
    one.run_to_the_end("hasty scheduler")  # it is right but for the order of the two
    seen = one.caught("hasty scheduler", "schedule.sqlite-wal")
    row.control(f"slots answered before they are written: {seen} lose one")


def test_a_worker_that_tells_before_it_commits_is_caught(
    row: Fault, zygotes: SimpleQueue[Zygote], tmp_path: Path
) -> None:
    """The same kills of a program that tells results and commits them after are seen to lose results."""
    one = subject("compute", tmp_path / "subject", zygotes)
    one.run_to_the_end("hasty worker")
    seen = one.caught("hasty worker", "cache.sqlite-wal")
    row.control(f"results told before they are committed: {seen} lose one")


def test_a_push_without_its_key_or_its_list_is_caught(row: Fault, zygotes: SimpleQueue[Zygote], tmp_path: Path) -> None:
    """The same kills are seen to deliver twice without the key of an entry, and to lose entries without the list."""
    one = subject("outbox", tmp_path / "subject", zygotes)
    seen = one.caught("forgetful", "outbox.sqlite-wal", match="an entry came twice", kind=Forgetful)
    row.control(f"deliveries without the key of their entry: {seen} deliver twice")
    seen = one.caught("steps", "outbox.sqlite-wal", match="an entry was lost", without=FILE)
    row.control(f"accepted pushes without the list of deliveries: {seen} lose an entry")


def _run(program: Zygote, name: str, work: Path, part: str, point: Point | None) -> Ended:
    return program.run(CHILD, name, str(work), part, strace=point.kill(work / "data") if point else ())


def _in_turns(found: Sequence[Point]) -> list[Point]:
    """Return points in an order of the seed's, a file and call after the other, so that none is left out."""
    groups: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in random.Random(SEED).sample(found, len(found)):
        groups[point.call, point.file].append(point)
    return [point for point in chain(*zip_longest(*groups.values())) if point]


def _taken(offered: Iterator[Point], count: int) -> list[Point]:
    return [point for point, _ in zip(offered, range(count), strict=False)]


@contextmanager
def _lent(zygotes: SimpleQueue[Zygote]) -> Iterator[Zygote]:
    program = zygotes.get()
    try:
        yield program
    finally:
        zygotes.put(program)


@contextmanager
def _reproducible(what: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise
