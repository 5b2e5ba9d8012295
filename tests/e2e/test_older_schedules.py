"""A schedule that was put back from an older copy, beside a cache that knows more: its answers are its own."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from e2e.ledgers import LEDGER
from procession import Kernel

ECHO = {"type": "Process", "name": "older", "device-stack": ["echo@1.0"]}


def put_back(folder: Path) -> None:
    """Put the copy of the schedule back, as an operator would."""
    for file in folder.glob("schedule.sqlite*"):
        file.unlink()
    shutil.copy(folder / "older.sqlite", folder / "schedule.sqlite")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose cache knows slots 2 and 3, and whose schedule ends at slot 1."""
    with Kernel.open(data=tmp_path) as kernel:
        process = kernel.spawn(ECHO)
        process.schedule({"data": "kept"})
        process.now()
    shutil.copy(tmp_path / "schedule.sqlite", tmp_path / "older.sqlite")
    with Kernel.open(data=tmp_path) as kernel:
        process = kernel.spawn(ECHO)
        process.schedule_many([{"data": "lost"}, {"data": "lost too"}])
        process.now()
    put_back(tmp_path)
    return tmp_path


def test_another_message_in_the_slot_has_its_own_result(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A slot that holds another message now is computed, by slot and by message id, and the log says why."""
    caplog.set_level(logging.WARNING, "procession")
    with Kernel.open(data=folder) as kernel:
        process = kernel.spawn(ECHO)
        assignment = process.schedule({"data": "new"})
        assert 2 == assignment.slot
        assert {"data": "new"} == process.now().at("results/data")
        assert process.now() == process.compute(assignment.message_id)
        assert [True, True, True] == [slot.agrees for slot in process.replay()]
    assert "another schedule" in caplog.text


def test_the_newest_state_is_of_the_schedule_that_is_here(folder: Path) -> None:
    """Without a slot, the newest stored state is one that the schedule still has."""
    with Kernel.open(data=folder) as kernel:
        process = kernel.spawn(ECHO).id
        assert 1 == kernel.compute(process, None)["at-slot"]
        assert {"data": "kept"} == kernel.resolve(f"/{process}/compute/results/data")


def test_a_memory_of_another_schedule_is_not_restored(tmp_path: Path) -> None:
    """A snapshot that another schedule led to is passed over: the guest's memory is of the messages that are here."""
    mint = {"function": "mint", "parameters": [0, 100]}
    supply = {"function": "supply", "parameters": []}
    with Kernel.open(LEDGER, data=tmp_path) as kernel:
        kernel.spawn().now()
    shutil.copy(tmp_path / "schedule.sqlite", tmp_path / "older.sqlite")
    with Kernel.open(LEDGER, data=tmp_path) as kernel:
        process = kernel.spawn()
        process.schedule_many([mint, mint])
        process.now()
    put_back(tmp_path)
    with Kernel.open(LEDGER, data=tmp_path) as kernel:
        process = kernel.spawn()
        process.schedule_many([supply, mint, supply])
        assert (0,) == process.compute(1).at("results/output")
        assert (100,) == process.now().at("results/output")
