"""Whatever a power cut leaves of what SQLite wrote, what was acknowledged of schedule and cache is found in it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import apsw
import pytest

from procession_scheduler import disk, files
from reliability import cuts
from reliability.cuts import Run
from reliability.programme import Fault, Programme

FAULT = "torn and reordered writes on schedule and cache files"
SEED = 20261127
AT_ONCE = 2  # programs that judge side by side
CHUNK = 250  # states that one of them takes at once
CONTROL = 240  # states that are judged of a run without its protection


@pytest.fixture
def row(programme: Programme) -> Fault:
    """Return the row of the programme."""
    return programme.fault(FAULT, expected=0)


@pytest.fixture(scope="module")
def judges() -> Iterator[ProcessPoolExecutor]:
    """Return the programs that judge."""
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(
    ("make", "change", "night"),
    [
        (cuts.schedule_run, 3_000, 120_000),
        (partial(cuts.cache_run, "full"), 1_000, 40_000),
        (partial(cuts.cache_run, "normal"), 1_000, 40_000),
    ],
    ids=["schedule", "cache, every commit synced", "cache"],
)
def test_no_cut_takes_back_what_was_acknowledged(
    make: Callable[[], Run],
    change: int,
    night: int,
    row: Fault,
    judges: ProcessPoolExecutor,
    figure: Callable[[int, int], int],
) -> None:
    """Unsynced writes may be lost, torn or swapped; what was acknowledged is there, and the rest goes on."""
    run, count = make(), figure(change, night)
    row.expected += count
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    calls = [judges.submit(cuts.judged, run, seed=SEED, numbers=numbers) for numbers in chunks]
    for numbers, call in zip(chunks, calls, strict=True):
        assert [] == call.result()
        row.held(len(numbers))
    row.note(f"{run.what}: {count} states of {len(run.ops)} operations")


@pytest.mark.parametrize("make", [cuts.schedule_run, partial(cuts.cache_run, "full")], ids=["schedule", "cache"])
def test_syncs_that_never_were_are_caught(make: Callable[[], Run], row: Fault) -> None:
    """The same run on a disk that never syncs is seen to lose what was acknowledged."""
    run = make()
    wrong = cuts.judged(run, seed=SEED, numbers=range(CONTROL), syncs=False)
    assert _lost(wrong)
    row.control(f"{run.what}, as if nothing had been synced: {len(wrong)} of {CONTROL} states are caught")


def test_a_schedule_that_syncs_no_commit_is_caught(row: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that leaves its commits to the system's leisure is seen to lose what was acknowledged."""

    def lazily(path: Path) -> apsw.Connection:
        db = files.open_writing(path)
        db.pragma("synchronous", 1)
        return db

    monkeypatch.setattr(disk, "open_writing", lazily)
    wrong = cuts.judged(cuts.schedule_run(), seed=SEED, numbers=range(CONTROL))
    assert _lost(wrong)
    row.control(f"commits that are not synced: {len(wrong)} of {CONTROL} states are caught")


def test_a_schedule_that_syncs_no_folder_is_caught(row: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that leaves it open whether SQLite's first journal is gone is seen to lose what was acknowledged."""
    monkeypatch.setattr(files, "sync_folder", lambda folder: None)
    wrong = cuts.judged(cuts.schedule_run(), seed=SEED, numbers=range(CONTROL))
    assert _lost(wrong)
    row.control(f"names that are not synced: {len(wrong)} of {CONTROL} states are caught")


def _lost(wrong: Sequence[str]) -> list[str]:
    return [text for text in wrong if "acknowledged and is lost" in text]
