"""Dry runs: what a message would give, found by an executor of its own that is thrown away.

Rules
-----
* Nothing of it reaches the schedule, the cache or the live state; its faults are told, and not counted.
* The worker lends its live parts between two batches; the message is computed on the caller's thread.
"""

from __future__ import annotations

from procession.executors import Executor
from procession.lines import Line, Task
from procession.messages import Message
from procession.schedules import Assignment
from procession.workers import Workers


def dry_run(workers: Workers, line: Line, assignment: Assignment, deadline: float) -> Message:
    """Return the state after an assignment that follows the head and is never made."""
    lent: list[Executor] = []
    try:
        workers.do(line, Task(object(), lambda worker: lent.append(worker.fork(assignment.slot - 1))), deadline)
        return lent[0].step(assignment).state
    finally:
        for executor in lent:
            executor.close()
