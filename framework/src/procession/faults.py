"""Faults: the slots that this host failed to compute, and those that it no longer tries by itself.

A fault is never a result. So many in a row at one slot quarantine it: who asks for that slot or a later one is
told the cause at once. Only a quarantine is kept in the data folder, under the fingerprint that met it: other
devices, or other versions of them, try again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import attrs

from procession.errors import ComputeError, ProcessionError
from procession.messages import Message

FILE = "quarantine.json"
QUARANTINED = "quarantined"


@attrs.frozen
class Fault:
    """Hold why a slot of a process failed on this host, and how many times in a row."""

    process: str
    slot: int
    fingerprint: str
    count: int
    kind: str
    message: str
    stage: str = ""
    device: str = ""
    quarantined: bool = False

    def as_message(self) -> Message:
        """Return the fault as it is shown."""
        return Message(
            {key: value for key, value in attrs.asdict(self).items() if key not in ("process", "fingerprint")}
        )


class Faults:
    """Count faults; ``limit`` in a row at one slot quarantine it. ``folder`` is None where nothing may be written."""

    def __init__(self, folder: Path, limit: int, *, read_only: bool) -> None:
        self._path = folder / FILE
        self._limit = limit
        self._read_only = read_only
        self._lock = threading.Lock()
        self._faults = _read(self._path)

    def of(self, process: str) -> Fault | None:
        """Return the last fault of a process that no success followed."""
        return self._faults.get(process)

    def quarantined(self) -> list[Fault]:
        """Return the quarantined slots, by process."""
        return [fault for _, fault in sorted(self._faults.items()) if fault.quarantined]

    def check(self, process: str, slot: int, fingerprint: str, begin_of: Callable[[int], int]) -> None:
        """Refuse a slot that a quarantined one stands before: ComputeError, kind ``quarantined``.

        ``begin_of`` tells behind which slot computing begins: what begins behind the quarantined one meets it not.
        """
        fault = self._faults.get(process)
        if fault is None or not fault.quarantined or not begin_of(slot) < fault.slot <= slot:
            return
        if fault.fingerprint != fingerprint:
            self.forget(process)
            return
        facts = {name: getattr(fault, name) for name in ("process", "slot", "stage", "device", "count")}
        raise ComputeError(
            f"quarantined after {fault.count} faults in a row: {fault.message}",
            where=f"process {process}, slot {fault.slot}",
            remedy=f"when the cause is gone: procession retry {process} --slot {fault.slot}",
            kind=QUARANTINED,
            facts={**facts, "cause": fault.kind, "asked": slot},
        )

    def note(self, process: str, error: ProcessionError, fingerprint: str) -> None:
        """Count a fault; its slot is among the facts of the error."""
        slot = error.facts.get("slot")
        if type(slot) is not int:
            return
        with self._lock:
            before = self._faults.get(process)
            count = before.count + 1 if before and before.slot == slot else 1
            stage, device = (str(error.facts.get(key, "")) for key in ("stage", "device"))
            full = count >= self._limit
            met = Fault(process, slot, fingerprint, count, error.kind, error.what[:500], stage, device, full)
            self._faults[process] = met
            if full:
                self._write()

    def forget(self, process: str) -> Fault | None:
        """Try again: forget the fault of a process, and return what it was."""
        if process not in self._faults:
            return None
        with self._lock:
            fault = self._faults.pop(process, None)
            if fault is not None and fault.quarantined:
                self._write()
            return fault

    def _write(self) -> None:
        if self._read_only:
            return
        rows = [attrs.asdict(fault) for fault in self.quarantined()]
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text(json.dumps(rows, indent=1))
            beside.replace(self._path)
        except OSError:  # a quarantine that cannot be kept holds as long as this kernel
            beside.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Fault]:
    try:
        rows = json.loads(path.read_text())
        return {row["process"]: Fault(**row) for row in rows}
    except (OSError, ValueError, TypeError, KeyError):  # missing, or not ours: the slots are tried again
        return {}
