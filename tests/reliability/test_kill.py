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

from reliability.programme import Fault, Programme
from reliability.scenarios import SCENARIOS, check, uninterrupted
from reliability.zygotes import Ended, Point, Zygote, missing, points, traced, zygote

FAULT = "kill -9 at each durable system call"
SEED = 20261125
AT_ONCE = 2  # programs that run side by side
TWICE = 3  # every third of those killed is killed once more, while it recovers
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
        assert (0, whole[-len(steps.told) :]) == (steps.code, steps.told)
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
    writes = [point for point in one.points if point.file == "schedule.sqlite-wal" and point.call == "pwrite64"]
    lost = 0
    with _lent(zygotes) as program:
        for point in (None, *writes[len(writes) // 4 :: len(writes) // 4]):
            work = shutil.copytree(one.folder / "template", one.folder / str(point))
            ended = _run(program, one.name, work, "hasty", point)
            assert (point is not None) is ended.killed
            if point is None:  # it is right but for the order of the two
                check(one.name, work, ended.told, one.whole)
                continue
            with pytest.raises(AssertionError):
                check(one.name, work, ended.told, one.whole)
            lost += 1
    row.control(f"slots answered before they are written: {lost} of {lost} kills lose one")


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
