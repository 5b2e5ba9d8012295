"""``procession`` over fakes instead of what is installed, so that a node needs no other plugin.

``python launcher.py serve [FILE] --data DIR ...`` takes what ``procession`` takes.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import procession_http
from procession import Assignment, Factory, Fail, Message, Ok, PureStage, hookimpl
from procession.cli.root import cli
from procession.cli.session import Session
from procession.commitments import message_id
from procession.jsons import from_json, to_json
from procession.requests import Keys, Request
from procession.roles import Site, Verdict
from procession.schedules import Given, Submission
from procession.testing.fakes import MemoryHost, MemoryScheduler

PATIENCE = 600.0  # seconds after which a stage stops waiting for a file, so that nothing hangs for ever


class JournalScheduler(MemoryScheduler):
    """Order messages in memory, and keep them in a file that is synced before an answer."""

    def __init__(self, options: object, site: Site) -> None:
        super().__init__(site.clock)
        self._path = site.data / "journal"
        for line in self._path.read_text("utf-8").splitlines() if self._path.exists() else ():
            self._take_up(from_json(line, limit=1 << 30))
        self._file = self._path.open("a", encoding="utf-8")
        self._turn = threading.Lock()

    def assign(self, process: str, submissions: Sequence[Submission]) -> Sequence[Assignment]:
        """Return an assignment for each submission, in the file when this returns."""
        with self._turn:
            head = self.head(process)
            assignments = super().assign(process, submissions)
            self._write([made for made in assignments if head is None or made.slot > head.slot])
        return assignments

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, assignments: Sequence[Assignment]) -> None:
        self._file.writelines(f"{to_json(assignment.as_message())}\n" for assignment in assignments)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _take_up(self, row: Message) -> None:
        given = Given(row["slot"], row["timestamp"], row["block-height"])
        message = row["body"]
        known_by = (row["process"],) if row["slot"] == 0 else ()
        super().assign(row["process"], [Submission(message, message_id(message), known_by, given=given)])


class Tally(PureStage):
    """Count messages; a message may also ask for what a stage should not do.

    Needs: nothing. Reads: ``message``. Verdicts: Ok, Fail. Snapshot: none.
    """

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Count a message."""
        asked = assignment.message
        if "wait-for" in asked:
            _wait(Path(asked["wait-for"]))
        if Path(asked.get("raise-while", "/none")).exists():
            raise ConnectionError("the price feed does not answer")
        if "raise" in asked:
            raise RuntimeError(asked["raise"])
        if "disk-full" in asked:
            raise OSError(errno.ENOSPC, "No space left on device")
        if "refuse" in asked:
            return Fail("refused", asked["refuse"])
        count = state.get("count", 0) + 1
        return Ok(state.put("count", count).put("results/data", asked.get("data")))


class Fakes(MemoryHost):
    """Provide a host in memory, but for the schedule, and one stage."""

    @hookimpl
    def procession_schedulers(self) -> Mapping[str, Factory]:
        """Provide the scheduler."""
        return {"scheduler@1.0": Factory(JournalScheduler)}

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide the stage."""
        return {"tally@1.0": Factory(lambda options, binding: Tally())}

    @hookimpl
    def procession_keys(self) -> Mapping[str, Keys]:
        """Provide a request device whose key holds its thread until a file is there."""
        return {"gate@1.0": {"wait": _waited}}


def _waited(request: Request) -> str:
    _wait(Path(request.params["file"]))
    return "open"


def _wait(gate: Path) -> None:
    """Say that this slot is being computed, and wait until the gate is there."""
    gate.with_suffix(".entered").touch()
    deadline = time.monotonic() + PATIENCE
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


if __name__ == "__main__":
    cli(obj=Session(plugins=(Fakes(), procession_http), discover=False), prog_name="procession")
