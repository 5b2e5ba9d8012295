"""A plugin of a served node: a device that counts what it computes into a file, and waits where it is told to.

It is found as any plugin is, by an entry point that ``installed`` writes beside it; the environment says where it
counts, and which protection of the node is taken away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from procession import Assignment, Factory, Message, Ok, PureStage, hookimpl
from procession.lines import Line
from procession.roles import Verdict
from procession.worker import Worker
from procession.workers import Workers

COUNTS = "METER_COUNTS"
GATE = "METER_GATE"
WITHOUT = "METER_WITHOUT"
LOOK = 0.005  # seconds between two looks at the gate


class Meter(PureStage):
    """Count the slot, wait for the gate where a message says so, and add an amount.

    Needs: nothing. Reads: ``amount``, ``hold``. Writes: ``sum``. Verdicts: Ok. Snapshot: none.
    """

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Do so."""
        handle = os.open(os.environ[COUNTS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{assignment.process} {assignment.slot}\n".encode())
        os.close(handle)
        while assignment.message.get("hold") and not Path(os.environ[GATE]).exists():
            time.sleep(LOOK)
        return Ok(state.put("sum", state.get("sum", 0) + assignment.message.get("amount", 0)))


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide the device."""
    return {"meter@1.0": Factory(lambda options, binding: Meter())}


def installed(folder: Path) -> Path:
    """Write the entry point of this plugin into a folder, and return it."""
    place = folder / "meters" / "meters-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: meters\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text("[procession]\nmeters = reliability.meters\n")
    return place.parent


def _apart(pool: Workers, line: Line, slot: int, **asked: Any) -> Message:
    """Compute for each caller what is not stored, whoever else does."""
    worker = Worker(line.worker.process, line.worker.services, lambda record: None)
    found = worker.stored(slot, "")
    while found is None:
        found = worker.advance(slot, lambda at: at == slot).states.get(slot)
    worker.drop()
    return found


if os.environ.get(WITHOUT) == "sharing":
    Workers.compute = _apart  # type: ignore[method-assign, assignment] # the control, in a program of its own
