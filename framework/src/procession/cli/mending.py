"""Mending: what a repair does about findings, each act written down before it and with its outcome after.

Rules
-----
* Nothing is done that loses anything: what goes fails its own check, or is of no slot that the schedule has.
* A schedule is never touched.
* The line in the audit file is on disk before the act.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import attrs

from procession.cli.findings import Finding, Mend
from procession.cli.progress import Progress
from procession.cli.session import Session
from procession.cli.stores import Place, opened
from procession.errors import CacheError, Fact, ProcessionError
from procession.folders import DataFolder
from procession.ids import to_id
from procession.kernel import Kernel
from procession.messages import encode
from procession.results import Batch
from procession.roles import Cache

BEGUN = "begun"
DONE = "done"
COMPUTE = "compute-record"
PATIENCE = 86_400.0  # seconds for one slot and those before it that must be computed first
STORED: Mapping[Mend | None, str] = MappingProxyType(
    {Mend.COMPUTE: "drop-record", Mend.DROP: "drop-record", Mend.SNAPSHOT: "drop-snapshot"}
)


@attrs.define
class Log:
    """Keep the audit file of a folder, and what was done for the answer."""

    folder: DataFolder
    done: list[dict[str, Fact]] = attrs.field(factory=list)

    @contextmanager
    def act(self, what: str, finding: Finding) -> Iterator[None]:
        """Write down what is about to be done, and after it how it ended; an error of ours is an outcome."""
        facts: dict[str, Fact] = {
            "process": finding.process,
            "slot": finding.first,
            "last": finding.last,
            "file": finding.file,
            "reason": finding.what,
        }
        self.folder.audit(what, **facts, outcome=BEGUN)
        outcome = DONE
        try:
            yield
        except (ProcessionError, OSError) as error:
            outcome = f"failed: {error}"
        self.folder.audit(what, **facts, outcome=outcome)
        self.done.append({"what": what, **facts, "outcome": outcome})


def mend(session: Session, place: Place, log: Log, findings: Sequence[Finding]) -> None:
    """Take away what is damaged in a folder that this program holds."""
    for finding in findings:
        if finding.mend and finding.mend in FILES:
            with log.act(finding.mend.value, finding):
                FILES[finding.mend](place.path / finding.file)
    for finding in findings:
        if finding.mend is Mend.ANEW:
            with log.act(finding.mend.value, finding):
                _begin_anew(session, place)
            return  # what is stored is to be looked at from the beginning
    stored = [finding for finding in findings if finding.mend in STORED]
    if stored:
        with opened(session, place, found=[], read_only=False) as stores:
            _mend_stored(stores.cache, log, stored)


def compute_again(session: Session, place: Place, log: Log, findings: Sequence[Finding]) -> None:
    """Compute the slots whose records were dropped, or lack parts, each process from the points that are left."""
    wanted = [finding for finding in findings if finding.mend in (Mend.COMPUTE, Mend.PARTS)]
    if not wanted:
        return
    data = place.path if place.file is None else None
    with session.kernel(place.file, data=data) as kernel, Progress("mending", len(wanted)) as progress:
        for number, finding in enumerate(wanted, 1):
            with log.act(COMPUTE, finding):
                _compute(kernel, finding.process, _slots(finding))
            progress.to(number)


def _slots(finding: Finding) -> range:
    return range(finding.first or 0, (finding.last or 0) + 1)


def _compute(kernel: Kernel, process: str, slots: range) -> None:
    """Read slots whole; whatever of them is missing or damaged is computed, and compared where anything is stored."""
    for slot in slots:
        encode(kernel.compute(process, slot, key="results", timeout=PATIENCE, patient=True))


def _begin_anew(session: Session, place: Place) -> None:
    """Open the cache to write: it moves aside what is damaged as a whole."""
    found: list[Finding] = []
    with opened(session, place, found=found, read_only=False) as stores:
        if stores.cache is None:
            raise CacheError("; ".join(finding.what for finding in found) or "it does not open")


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)


def _move_aside(file: Path) -> None:
    file.replace(file.with_name(f"{file.name}.damaged"))


def _mend_stored(cache: Cache | None, log: Log, findings: Sequence[Finding]) -> None:
    for finding in findings if cache else ():
        assert cache is not None
        slots = _slots(finding)
        with log.act(STORED[finding.mend], finding):
            if finding.mend is Mend.SNAPSHOT:
                _drop_snapshots(cache, finding.process, slots)
                continue
            if finding.mend is Mend.DROP:
                _tell_dropped(cache, finding, log.folder)
            cache.drop(finding.process, slots.start, slots.stop - 1)


def _drop_snapshots(cache: Cache, process: str, slots: range) -> None:
    for slot in slots:
        record = cache.get(process, slot)
        if record is not None:
            cache.put(Batch((attrs.evolve(record, snapshot=None),), {}))


def _tell_dropped(cache: Cache, finding: Finding, folder: DataFolder) -> None:
    """Write down of which messages the results are that go: they may be all that is left of these messages."""
    slot = finding.last
    while slot is not None and finding.first is not None and slot >= finding.first:
        record = cache.latest(finding.process, slot, with_snapshot=False)
        if record is None or record.slot < finding.first:
            return
        names = {"message": record.message_id, "state": to_id(record.state_digest)}
        folder.audit("dropped-result", process=finding.process, slot=record.slot, file=finding.file, **names)
        slot = record.slot - 1


FILES: Mapping[Mend, Callable[[Path], None]] = MappingProxyType({Mend.ASIDE: _move_aside, Mend.REMOVE: _remove})
