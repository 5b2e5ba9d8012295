"""What is checked when a process is opened first: trouble refuses that process, by name, and no other."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from procession import Kernel, Process, ScheduleError
from procession.hosts import Host

SLOTS = 1 << 32  # of a process in the schedule file
HEAD = 6
BROKEN = {"type": "Process", "name": "broken", "device-stack": ["echo@1.0"]}
WHOLE = {"type": "Process", "name": "whole", "device-stack": ["echo@1.0"]}

Ask = Callable[[Process], object]
ASKS: dict[str, Ask] = {
    "schedule": lambda process: process.schedule({"data": "new"}),
    "schedule many": lambda process: process.schedule_many([{"data": "new"}]),
    "compute": lambda process: process.compute(HEAD),
    "spawn": lambda process: process.kernel.spawn(BROKEN),
}
DAMAGE: dict[str, tuple[str, int]] = {
    "the last slot is gone": ("DELETE FROM slots WHERE place = {key} * {slots} + 6", 6),
    "the slot before the last is gone": ("DELETE FROM slots WHERE place = {key} * {slots} + 5", 5),
    "the last slot is another": ("UPDATE slots SET timestamp = 1 WHERE place = {key} * {slots} + 6", 6),
    "the chain at the end is another": ("UPDATE processes SET chain = zeroblob(32) WHERE key = {key}", 6),
    "slot 0 is another": ("UPDATE slots SET message_id = 'x' WHERE place = {key} * {slots}", 0),
    "slot 0 is gone": ("DELETE FROM slots WHERE place = {key} * {slots}", 0),
}


def damage(folder: Path, statement: str) -> None:
    """Change the schedule file behind the program's back."""
    with closing(sqlite3.connect(folder / "schedule.sqlite")) as db, db:
        key = db.execute("SELECT min(key) FROM processes").fetchone()[0]
        assert 1 == db.execute(statement.format(key=key, slots=SLOTS)).rowcount


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two processes, computed to their heads."""
    with Kernel.open(data=tmp_path / "data") as kernel:
        for definition in (BROKEN, WHOLE):
            process = kernel.spawn(definition)
            process.schedule_many([{"n": n} for n in range(HEAD)])
            process.now()
    return tmp_path / "data"


def named(folder: Path) -> tuple[str, str]:
    """Return the ids of the two processes."""
    with Kernel.open(data=folder, read_only=True) as kernel:
        broken, whole = kernel.processes()
        return broken, whole


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("case", DAMAGE)
def test_a_broken_end_refuses_its_process_alone(case: str, ask: str, folder: Path) -> None:
    """A schedule whose first or last slots are not what they were takes and computes nothing; its neighbour does."""
    broken, whole = named(folder)
    statement, slot = DAMAGE[case]
    damage(folder, statement)
    with Kernel.open(data=folder) as kernel:
        with pytest.raises(ScheduleError) as refused:
            ASKS[ask](Process(kernel, broken))
        text = refused.value.text
        assert [] == [
            word for word in (str(folder), broken, f"slot {slot}", f"procession doctor {folder}") if word not in text
        ]
        assert (broken, slot) == (refused.value.facts["process"], refused.value.facts["slot"])
        assert HEAD + 1 == kernel.schedule(whole, {"data": "new"}).slot
        assert HEAD + 1 == kernel.compute(whole, HEAD + 1)["at-slot"]


@pytest.mark.parametrize("case", [case for case, (_, slot) in DAMAGE.items() if slot])
def test_what_stands_before_a_break_can_be_read(case: str, folder: Path) -> None:
    """The slots before a break can be exported, by a program that only reads too."""
    broken, _ = named(folder)
    statement, slot = DAMAGE[case]
    damage(folder, statement)
    for read_only in (False, True):
        with Kernel.open(data=folder, read_only=read_only) as kernel:
            assert list(range(slot)) == [assignment.slot for assignment in kernel.log(broken, 0, slot - 1)]


def test_without_the_check_a_broken_slot_is_found_too_late(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without the check, a process whose last slots are broken is spawned, and answers, as if nothing were."""
    broken, _ = named(folder)
    damage(folder, DAMAGE["the last slot is another"][0])
    monkeypatch.setattr(Host, "check", lambda self, process, scheduler: None)
    with Kernel.open(data=folder, read_only=True) as kernel:
        assert 3 == kernel.compute(broken, 3)["at-slot"]


def test_a_process_is_checked_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check costs a few look-ups when a process is opened, whatever its length, and nothing after."""
    _, whole = named(folder)
    with Kernel.open(data=folder) as kernel:
        process = Process(kernel, whole)
        process.schedule({"data": "new"})
        scheduler = kernel._host.scheduler_of(whole)
        asked: list[tuple[int, int]] = []
        read = scheduler.read

        def reading(process: str, first: int, last: int) -> object:
            asked.append((first, last))
            return read(process, first, last)

        monkeypatch.setattr(scheduler, "read", reading)
        process.schedule({"data": "new"})
        assert [] == asked
        kernel._host._checked.clear()
        process.schedule({"data": "new"})
        assert [(0, 0), (HEAD + 1, HEAD + 2)] == asked


def test_a_cache_beyond_the_schedule_is_told_when_it_is_opened(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An older copy of the schedule is told at the first opening, with both slots; the process goes on from it."""
    shutil.copytree(folder, tmp_path / "older")
    _, whole = named(folder)
    with Kernel.open(data=folder) as kernel:
        kernel.schedule_many(whole, [{"n": n} for n in range(3)])
        kernel.compute(whole, HEAD + 3)
    for file in folder.glob("schedule.sqlite*"):
        file.unlink()
    shutil.copy(tmp_path / "older" / "schedule.sqlite", folder)
    caplog.set_level(logging.WARNING, "procession")
    with Kernel.open(data=folder) as kernel:
        kernel.schedule(whole, {"data": "new"})
    (told,) = [text for text in caplog.messages if "older copy" in text]
    assert [] == [word for word in (whole, f"slot {HEAD + 3}", f"slot {HEAD}", "procession doctor") if word not in told]
