"""Old snapshots are dropped where an operator asks for it, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from e2e.doctored import COUNT, EVERY, Place, cache_of, doctor
from e2e.ledgers import messages
from procession import Kernel
from procession.cli import cli
from procession.cli.exits import HOST, LOCKED, NOT_FOUND, OK, USAGE
from procession.errors import CacheError
from procession_sqlite import SqliteCache

MORE = 10


def prune(folder: Path, *options: str) -> Result:
    """Call the command on a folder."""
    return CliRunner().invoke(cli, ["prune", str(folder), *options])


def dropped(folder: Path, *options: str) -> Any:
    """Return how many snapshots went, by process."""
    found = prune(folder, *options, "--json")
    assert OK == found.exit_code, found.output
    return json.loads(found.stdout)["dropped"]


def snapshots(place: Place, process: str) -> list[int]:
    """Return the slots that have a snapshot."""
    with cache_of(place) as cache:
        return [slot for slot in range(COUNT + 1) if (record := cache.get(process, slot)) and record.snapshot]


@pytest.mark.parametrize("keep", [1, 2])
def test_the_newest_stay(place: Place, keep: int) -> None:
    """Of each process the newest snapshots stay, what went is told and written down, and all is whole."""
    before = {process: snapshots(place, process) for process in (place.ledger, place.echo)}
    assert COUNT // EVERY <= len(before[place.ledger])
    counts = {process: max(0, len(slots) - keep) for process, slots in before.items()}
    assert counts == dropped(place.data, "--keep", str(keep))
    assert before[place.ledger][-keep:] == snapshots(place, place.ledger)
    audited = {row["process"]: row["dropped"] for row in place.audit() if row["what"] == "pruned"}
    assert counts == audited
    assert OK == doctor(place).code
    assert place.states == place.found()


def test_a_process_goes_on_from_what_stayed(place: Place) -> None:
    """What comes after is computed from the snapshot that stayed, and its own snapshots can be read."""
    dropped(place.data, "--keep", "1")
    with Kernel.open(place.folder / "ledger.toml", data=place.data) as kernel:
        kernel.schedule_many(place.ledger, messages(MORE))
        kernel.compute(place.ledger, COUNT + MORE)
    assert OK == doctor(place).code
    assert 0 < dropped(place.data, "--keep", "1")[place.ledger]
    assert OK == doctor(place).code


def test_one_process_alone(place: Place) -> None:
    """With a process no other one is touched."""
    assert [place.ledger] == list(dropped(place.data, "--process", place.ledger[:12]))


def test_a_folder_that_is_used_is_left_alone(place: Place) -> None:
    """Beside a program that writes nothing is dropped."""
    with Kernel.open(data=place.data):
        found = prune(place.data)
    assert LOCKED == found.exit_code
    assert "another program" in found.stderr


def test_a_schedule_that_cannot_be_read_is_told(place: Place) -> None:
    """Where nothing says which processes there are, nothing is dropped, and that is no success."""
    schedule = place.data / "schedule.sqlite"
    schedule.write_bytes(b"no such format at all" + schedule.read_bytes()[21:])
    found = prune(place.data)
    assert found.exit_code not in (OK, USAGE)
    assert "schedule.sqlite" in found.stderr


def test_what_was_done_before_a_failure_is_written_down(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second process cannot be pruned, what was done of the first one stands in the audit."""
    drop, asked = SqliteCache.prune, list[str]()

    def failing(self: SqliteCache, process: str, keep: int) -> int:
        asked.append(process)
        if len(asked) > 1:
            raise CacheError("the disk is full", kind="disk-full")
        return drop(self, process, keep)

    monkeypatch.setattr(SqliteCache, "prune", failing)
    assert HOST == prune(place.data).exit_code
    assert asked[:1] == [row["process"] for row in place.audit() if row["what"] == "pruned"]


@pytest.mark.parametrize(("options", "code"), [(["--keep", "0"], USAGE), (["--process", "nobody"], NOT_FOUND)])
def test_what_makes_no_sense_is_refused(place: Place, options: list[str], code: int) -> None:
    """No snapshot can be kept of none, and of nobody."""
    assert code == prune(place.data, *options).exit_code


def test_an_empty_folder_stays_without_files_of_devices(tmp_path: Path) -> None:
    """Where nothing is, nothing is dropped and no database is made."""
    assert {} == dropped(tmp_path)
    assert [] == sorted(tmp_path.glob("*.sqlite"))
