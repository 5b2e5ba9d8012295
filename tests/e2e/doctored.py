"""A data folder to damage: what is in it, how to damage it, and the doctor called on it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs
from click.testing import CliRunner

from e2e.ledgers import LEDGER, messages
from procession import Kernel
from procession.cli import cli
from procession.cli.session import Session
from procession.folders import AUDIT
from procession.results import Batch, Record
from procession.roles import Cache, Site
from procession.testing import SteppingClock
from procession.testing.subjects import Subject

COUNT = 40
EVERY = 7  # slots between snapshots
ECHO = {"type": "Process", "name": "echo", "device-stack": ["echo@1.0"]}
SLOTS = 1 << 32  # of a process in both files


@attrs.frozen
class Place:
    """Hold a data folder, its two processes, and what their slots came to."""

    folder: Path
    ledger: str
    echo: str
    states: Mapping[str, list[str]]

    @property
    def data(self) -> Path:
        """Return the data folder itself."""
        return self.folder / "data"

    def copied(self, folder: Path) -> Place:
        """Return a copy to damage."""
        shutil.copytree(self.folder, folder)
        return attrs.evolve(self, folder=folder)

    def audit(self) -> list[dict[str, Any]]:
        """Return what was written down."""
        file = self.data / AUDIT
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []

    def found(self) -> dict[str, list[str]]:
        """Return what all slots come to now."""
        with Kernel.open(data=self.data) as kernel:
            return states(kernel, self.ledger, self.echo)


@attrs.frozen
class Told:
    """Hold what the doctor said."""

    code: int
    text: str
    error: str

    @property
    def document(self) -> Any:
        """Return what it printed for machines."""
        return json.loads(self.text)

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Return what it found, of an answer for machines."""
        found: list[dict[str, Any]] = self.document["findings"]
        return found


def doctor(place: Place, *options: str, session: Session | None = None, folder: Path | None = None) -> Told:
    """Call the doctor on a place, or another ``folder``; for machines, unless ``--text`` is given."""
    return doctor_of(folder or place.data, *options, session=session)


def doctor_of(folder: Path, *options: str, session: Session | None = None) -> Told:
    """Call the doctor on a folder."""
    shown = [option for option in options if option != "--text"]
    found = CliRunner().invoke(
        cli,
        ["doctor", str(folder), *shown, *([] if "--text" in options else ["--json"])],
        obj=session or Session(),
    )
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Told(found.exit_code, found.stdout, found.stderr)


def made(folder: Path) -> Place:
    """Make a folder of two processes, a ledger with a live memory and an echo with states in parts."""
    toml = LEDGER.read_text("utf-8").replace('"ledger.wat"', f'"{LEDGER.with_name("ledger.wat")}"')
    (folder / "ledger.toml").write_text(f"{toml}\n[host.snapshots]\nevery = {EVERY}\n", "utf-8")
    with Kernel.open(folder / "ledger.toml", data=folder / "data") as kernel:
        ledger, echo = kernel.spawn(), kernel.spawn(ECHO)
        ledger.schedule_many(messages(COUNT))
        echo.schedule_many([{"data": {"text": f"{n} " * 400}} for n in range(COUNT)])
        return Place(folder, ledger.id, echo.id, states(kernel, ledger.id, echo.id))


def states(kernel: Kernel, *processes: str) -> dict[str, list[str]]:
    """Return the state ids of all slots."""
    return {name: [kernel.compute(name, slot).id for slot in range(COUNT + 1)] for name in processes}


@contextmanager
def database(place: Place, name: str) -> Iterator[sqlite3.Connection]:
    """Open a file of the folder behind the program's back."""
    with closing(sqlite3.connect(place.data / name)) as db, db:
        yield db


@contextmanager
def cache_of(place: Place) -> Iterator[Cache]:
    """Open the cache itself."""
    site = Site(place.data, False, SteppingClock())
    with closing(Subject("procession_sqlite", "procession_caches", "sqlite@1.0").open(site)) as cache:
        yield cache


def change(place: Place, process: str, slot: int, **changes: Any) -> None:
    """Put a record with other fields and a right seal in the place of one."""
    with cache_of(place) as cache:
        record = cache.get(process, slot)
        assert record is not None
        cache.put(Batch((attrs.evolve(record, **changes),), {}))


def record_of(place: Place, process: str, slot: int) -> Record:
    """Return a stored record."""
    with cache_of(place) as cache:
        record = cache.get(process, slot)
    assert record is not None
    return record


def statement(
    name: str, text: str, process: Callable[[Place], str] = lambda place: place.ledger
) -> Callable[[Place], None]:
    """Return what changes a row of a process; ``{base}`` in the text is where its rows begin."""
    key = {"schedule.sqlite": "SELECT key FROM processes WHERE id = ?"}
    lookup = key.get(name, "SELECT key FROM processes WHERE value = ?")

    def apply(place: Place) -> None:
        with database(place, name) as db:
            base = db.execute(lookup, (process(place),)).fetchone()[0] * SLOTS
            assert db.execute(text.format(base=base)).rowcount > 0

    return apply
