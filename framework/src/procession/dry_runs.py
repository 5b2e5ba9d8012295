"""Dry runs: what a message would give, found by an executor of its own that is thrown away.

Rules
-----
* Nothing of it reaches the schedule, the cache or the live state; its faults are told, and not counted.
* The worker lends its live parts between two batches; the message is computed on the caller's thread.
* Who comes second closes what was lent: the caller, or the worker where the caller is gone already.
"""

from __future__ import annotations

from typing import Any

from procession.lines import Line, Task
from procession.messages import Message
from procession.schedules import Assignment
from procession.worker import Worker
from procession.workers import Workers


def dry_run(workers: Workers, line: Line, assignment: Assignment, deadline: float) -> Message:
    """Return the state after an assignment that follows the head and is never made."""
    lent: list[Any] = []  # an executor, and None once the caller is gone, in the order they came

    def lend(worker: Worker) -> None:
        lent.append(worker.fork(assignment.slot - 1))
        if lent[0] is None:
            lent[1].close()

    try:
        workers.do(line, Task(object(), lend), deadline)
        state: Message = lent[0].step(assignment).state
        return state
    finally:
        lent.append(None)
        if lent[0] is not None:
            lent[0].close()
