"""Proving: a second run of a schedule, killed while it computes and started again, compared with the first."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Timer
from typing import Any

import attrs
import click

from procession.cli import screen
from procession.cli.advancing import REPORT
from procession.cli.lines import entry_of
from procession.cli.progress import Progress
from procession.cli.session import Session
from procession.cli.summaries import Summary
from procession.errors import ComputeError, RequestError
from procession.kernel import Process

KILLS = 3  # times a run is killed, spread over its slots
REPORTS = 64  # of how far a run is
PATIENCE = 3600.0  # seconds before a run counts as stuck
LONGEST_WAIT = 0.5  # seconds into a step before a run is killed
STATES = "states"  # those of every slot
LABEL = 18  # columns


@attrs.frozen
class Proof:
    """Hold what a killed and restarted run came to, beside an uninterrupted one of the same assignments.

    ``killed_at`` are the slots that were stored when it was killed, ``same_slots`` those whose state ids agree.
    """

    head: int
    killed_at: tuple[int, ...]
    same_slots: int
    same: Mapping[str, bool]
    folder: str = ""

    @property
    def holds(self) -> bool:
        """Tell whether it was killed at least once and everything is the same."""
        return bool(self.killed_at) and all(self.same.values())

    def as_document(self) -> dict[str, object]:
        """Return the proof as it is printed for machines."""
        return {
            "holds": self.holds,
            "killed-at": list(self.killed_at),
            "slots": self.head + 1,
            "same-slots": self.same_slots,
            "same": {name.replace(" ", "-"): agrees for name, agrees in self.same.items()},
        }

    def show(self) -> None:
        """Print the proof for people."""
        if self.killed_at:
            screen.row("restart", f"killed at slot {_listed(self.killed_at)} of {self.head}, started again each time")
        else:
            screen.row("restart", f"never killed: {self.head + 1} slots were over too soon", colour="red")
        for name, agrees in self.same.items():
            answer = click.style("yes" if agrees else "no", fg="green" if agrees else "red")
            more = f"  {self.same_slots} of {self.head + 1} slots" if name == STATES else ""
            screen.say(f"  {f'same {name}'.ljust(LABEL)}{answer}{more}")
        if self.folder:
            screen.row("kept in", self.folder)


def prove(session: Session, file: Path, process: Process, summary: Summary) -> Proof:
    """Run the schedule of a process once more in a folder of its own, killed several times on the way.

    The assignments are taken over as they are, so that both runs see the same times. The folder is kept
    where the two runs differ.
    """
    folder = Path(tempfile.mkdtemp(prefix="procession-restart-"))
    proof = None
    try:
        with Progress("restarting", 4) as progress:
            _copy_schedule(session, file, process, folder)
            progress.to(1)
            killed = _killed_runs(session, file, folder, summary.head)
            progress.to(2)
            ended = _Run(session, file, folder, step=summary.head + 1).to_end()
            progress.to(3)
            same_slots = _same_slots(session, file, process, folder)
            progress.to(4)
        proof = _proof(summary, killed, ended, same_slots)
    finally:
        if proof is None or proof.holds:
            shutil.rmtree(folder, ignore_errors=True)
    return proof if proof.holds else attrs.evolve(proof, folder=str(folder))


def _copy_schedule(session: Session, file: Path, process: Process, folder: Path) -> None:
    with session.kernel(file, data=folder, apart=True) as kernel:
        entries = (entry_of(assignment.as_message()).plain() for assignment in process.log())
        copied = kernel.load(entries, trust_ids=True)
    if copied.id != process.id:
        raise RequestError(f"its schedule gives process {copied.id}", where=f"process {process.id}", kind="conflict")


def _killed_runs(session: Session, file: Path, folder: Path, head: int) -> tuple[int, ...]:
    """Run and kill, each time further on; return where each run stood."""
    killed = []
    for number in range(1, KILLS + 1):
        run = _Run(session, file, folder, step=max((head + 1) // REPORTS, 1))
        if not run.killed_at_or_after(head * number // (KILLS + 1)):
            break
        stored = _stored(session, file, folder)
        if stored == head:
            break
        killed.append(stored)
    return tuple(killed)


class _Run:
    """Run the program once more over a folder."""

    def __init__(self, session: Session, file: Path, folder: Path, *, step: int) -> None:
        options = ["--data", str(folder), "--tail", "0", "--json", "--drill", str(step)]
        self._command = [*session.program, "run", str(file), *options]

    def killed_at_or_after(self, slot: int) -> bool:
        """Run until a slot is stored and kill it there; False where it was over before."""
        with tempfile.TemporaryFile() as output:
            return self._watched(output, until=slot)[0] < 0

    def to_end(self) -> Mapping[str, Any]:
        """Run to the end and return what it printed."""
        with tempfile.TemporaryFile() as output:
            code, told = self._watched(output, until=None)
            output.seek(0)
            if code != 0:
                raise ComputeError(f"the restarted run failed: {told}", where="--prove-restart", kind="restart")
            answer: Mapping[str, Any] = json.loads(output.read())
            return answer

    def _watched(self, output: Any, *, until: int | None) -> tuple[int, str]:
        """Return the exit code, negative for a signal, and the last line on stderr that was no report."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            self._command, stdin=pipe, stdout=output, stderr=pipe, text=True, errors="replace", bufsize=1
        ) as child:
            stuck = Timer(PATIENCE, child.kill)
            stuck.start()
            try:
                told = _followed(child, until)
                child.wait()
            finally:
                stuck.cancel()
                child.kill()
        return child.returncode, told


def _followed(child: subprocess.Popen[str], until: int | None) -> str:
    """Let a run go on, step by step, and kill it in the middle of the one after a slot; return what else it said."""
    assert child.stdin is not None
    told, begun = "", time.monotonic()
    for line in child.stderr or ():
        if not line.startswith(REPORT):
            told = line.strip()
            continue
        took, begun = time.monotonic() - begun, time.monotonic()
        child.stdin.write("\n")
        if until is not None and int(line.removeprefix(REPORT)) >= until:
            time.sleep(min(took / 2, LONGEST_WAIT))
            child.kill()
            break
    return told


def _stored(session: Session, file: Path, folder: Path) -> int:
    with session.kernel(file, data=folder, read_only=True, apart=True) as kernel:
        assert kernel.definition is not None
        return int(kernel.compute(kernel.definition.id, None, key="at-slot")["at-slot"])


def _same_slots(session: Session, file: Path, process: Process, folder: Path) -> int:
    with session.kernel(file, data=folder, read_only=True, apart=True) as kernel:
        slots = range(process.head.slot + 1)
        return sum(process.compute(slot).id == kernel.compute(process.id, slot, patient=True).id for slot in slots)


def _proof(summary: Summary, killed: tuple[int, ...], ended: Mapping[str, Any], same_slots: int) -> Proof:
    same = {"state id": ended["state"] == summary.state, "chain": ended["chain"] == summary.chain}
    if summary.live_root:
        same["live root"] = ended["live-root"] == summary.live_root
    same[STATES] = same_slots == summary.head + 1
    return Proof(summary.head, killed, same_slots, same)


def _listed(slots: tuple[int, ...]) -> str:
    """Return numbers as a sentence has them.

    >>> _listed((7,)), _listed((7, 8, 9))
    ('7', '7, 8 and 9')
    """
    *front, last = map(str, slots)
    return f"{', '.join(front)} and {last}" if front else last
