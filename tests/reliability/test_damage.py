"""Damage to snapshots and results costs time and no answer; damage to a schedule costs the process that it hit."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import ANY

import pytest

from procession import ProcessionError, executors
from procession_scheduler import rows, runs
from procession_sqlite import records
from reliability import damages, schedules
from reliability.damages import GROUPS, KINDS, Kept
from reliability.disks import SHM
from reliability.programme import Fault, Programme
from reliability.schedules import Written

FAULT = "corrupt snapshot or cache record"
SEED = 20261128

AT_ONCE = 2  # programs that damage side by side
CHUNK = 20  # folders that one of them takes at once


@pytest.fixture
def row(programme: Programme) -> Fault:
    """Return the row of the programme."""
    return programme.fault(FAULT, expected=0)


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """Return a folder, in memory where there is a disk of it: what is synced here is of no interest."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def folders(disk: Path) -> Mapping[str, Kept]:
    """Return a folder whose snapshots are in the database, and one where they are files."""
    return {"rows": damages.kept(disk / "rows", large=1 << 20), "files": damages.kept(disk / "files", large=100)}


@pytest.mark.parametrize(
    ("group", "where", "change"),
    [("certain", "rows", 380), ("files", "files", 60), ("anywhere", "rows", 60)],
    ids=["records and snapshots", "files of blobs", "anywhere in the database"],
)
def test_damage_gives_no_other_answer(
    group: str,
    where: str,
    change: int,
    row: Fault,
    folders: Mapping[str, Kept],
    disk: Path,
    figure: Callable[[int, int], int],
) -> None:
    """Each damage is told where it is read, passed over, made good, and every state is what it was."""
    count = figure(change, change * 40)
    row.expected += count
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as pool:
        calls = [pool.submit(damages.damaged, folders[where], group, numbers, disk, SEED) for numbers in chunks]
        for call in calls:
            row.held(call.result())
    row.note(f"{count} of {len(GROUPS[group])} kinds, {'no other answer' if group == 'anywhere' else 'each told'}")


def test_records_whose_seals_are_not_checked_are_caught(
    row: Fault, folders: Mapping[str, Kept], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same damage of records is seen where no seal is looked at."""
    monkeypatch.setattr(records, "seal_of", lambda record: ANY)
    kinds = [f"{column}, flipped" for column in ("state", "state_digest", "seal")]  # the others have other checks
    for name in kinds:
        with pytest.raises((AssertionError, ValueError, ProcessionError)):
            damages.damaged(folders["rows"], "certain", [list(GROUPS["certain"]).index(name)], disk, SEED)
    row.control(f"records whose seals are not checked: {len(kinds)} of {len(kinds)} caught")


def test_snapshots_whose_live_roots_are_not_compared_are_caught(
    row: Fault, folders: Mapping[str, Kept], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of another slot is seen to give another answer where nothing compares what it restored."""
    monkeypatch.setattr(executors, "_check_root", lambda live, record: None)
    number = list(GROUPS["certain"]).index("snapshot of another slot")
    with pytest.raises(AssertionError, match="another answer"):
        damages.damaged(folders["rows"], "certain", [number], disk, SEED)
    row.control("snapshots whose live root is not compared: caught")


# -- the schedule, which is no cache


@pytest.fixture
def schedule_row(programme: Programme) -> Fault:
    """Return the row of the schedule."""
    return programme.fault("torn or flipped schedule record", expected=0)


@pytest.fixture(scope="module")
def written(disk: Path) -> Written:
    """Return a schedule to damage."""
    return schedules.written(disk / "schedule")


def test_a_damaged_record_stops_its_process_alone(
    schedule_row: Fault, written: Written, disk: Path, figure: Callable[[int, int], int]
) -> None:
    """A record that is not what was written is named with process and slot, and everything else goes on."""
    count = figure(100, 4_000)
    schedule_row.expected += count
    for number in range(count):
        with written.copy(disk / "copy") as copy:
            copy.check_record(Random(f"{SEED} {number}"), schedules.RECORDS[number % len(schedules.RECORDS)])
        schedule_row.held()
    schedule_row.note(f"{count} records, each named, the other process untouched")


def test_a_damaged_file_is_never_taken_for_another(
    schedule_row: Fault, written: Written, disk: Path, figure: Callable[[int, int], int]
) -> None:
    """Wherever the file is damaged, what is read is what was written, no message gets two slots, or it is refused."""
    count = figure(200, 8_000)
    schedule_row.expected += count
    went_on = 0
    for number in range(count):
        dice = Random(f"{SEED} {number}")
        with written.copy(disk / "copy") as copy:
            content = KINDS[list(KINDS)[number % 3]](copy.file.read_bytes(), dice)
            copy.file.write_bytes(content)
            went_on += copy.check_file()
        schedule_row.held()
    schedule_row.note(f"{count} files flipped, cut and zeroed: in {went_on} at least one process was untouched")


@pytest.mark.parametrize(
    ("room", "name", "away", "damage"),
    [
        (rows, "_seal", lambda process, fields, content: ANY, "timestamp = timestamp + 1"),
        (rows, "_seal", lambda process, fields, content: ANY, "path = 'other'"),
    ],
    ids=["timestamp", "path"],
)
def test_records_without_seals_are_caught(
    room: Any,
    name: str,
    away: Callable[..., object],
    damage: str,
    schedule_row: Fault,
    written: Written,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same damage is seen to pass where no seal is looked at."""
    monkeypatch.setattr(room, name, away)
    with pytest.raises(AssertionError), written.copy(disk / "copy") as copy:
        copy.check_record(Random(SEED), damage)
    schedule_row.control(f"records whose seals are not checked: {damage} is caught")


def test_an_index_that_nobody_checks_is_caught(
    schedule_row: Fault, written: Written, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that has gone is seen to give a message two slots where no chunk is checked."""
    with written.copy(disk / "copy") as copy:
        copy.lose_names()
        copy.check_file()
    monkeypatch.setattr(runs, "checked", lambda chunk, name: chunk)
    with written.copy(disk / "copy") as copy:
        copy.lose_names()
        with pytest.raises(AssertionError, match="two slots"):
            copy.check_file()
    schedule_row.control("an index that is not checked: two slots are caught")
