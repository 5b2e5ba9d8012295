"""Reports: what came of a push, as the field tells it: an entry under its index, and below it what it resulted in.

Rules
-----
* A report is read off the list, so the same one can be asked for while the work goes on and after it.
* An entry is delivered, an error, stopped by a limit, or pending; none is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from procession.messages import Message
from procession.requests import Advance
from procession_push.deliveries import DELIVERED, FAILED, PENDING, Delivery
from procession_push.pushes import LEVELS, Tree

RESULTS = 256  # slots whose results are in one report

# What the field says of an error that is no fault of this host, by kind; 503 where it is.
STATUSES: Mapping[str, int] = MappingProxyType(
    {"no-target": 404, "unknown-process": 404, "not-found": 404, "conflict": 409, "too-large": 413, "message": 400}
)
REASONS: Mapping[str, str] = MappingProxyType(
    {"no-target": "Target process not available.", "unknown-process": "Could not access target process!"}
)


@attrs.define
class Reporter:
    """Make the report of a tree of deliveries, with the results of so many slots in it."""

    processes: Advance
    tree: Tree
    timeout: float | None
    results_left: int = RESULTS

    def report(self, process: str, slot: int, *, result_depth: int, level: int = 0) -> Message:
        """Return the report of a slot, with the results of so many levels."""
        place = {"process": process, "slot": slot}
        rows = self.tree.get((process, slot))
        if rows is None or level == LEVELS:
            return Message({**place, "more": f"/{process}/push&slot={slot}"})
        found: dict[str, Any] = {}
        if result_depth > 0 and any(row.index == 0 and row.state == DELIVERED for row in rows):
            found |= self._results(process, slot)
        for row in rows:
            found |= self._row(row, result_depth - 1, level + 1)
        return Message({**found, **place})

    def _results(self, process: str, slot: int) -> Mapping[str, Any]:
        self.results_left -= 1
        if self.results_left < 0:
            return {"more": f"/{process}/push&slot={slot}"}
        results = self.processes.compute(process, slot, key="results", timeout=self.timeout).get("results")
        if isinstance(results, Message):
            return results.without(*filter(str.isdigit, results))  # an index is an entry's, whatever the process says
        return {} if results is None else {"data": results}

    def _row(self, row: Delivery, result_depth: int, level: int) -> Mapping[str, Any]:
        if row.index == 0:
            return {} if row.state == DELIVERED else _undelivered(row)
        if row.target_slot is None:
            return {str(row.index): {**_undelivered(row), "target": row.target or None, "outbox-index": row.index}}
        below = self.report(row.target, row.target_slot, result_depth=result_depth, level=level)
        told = {"id": row.message_id, "target": row.target, "slot": row.target_slot, "resulted-in": below}
        return {str(row.index): told}


def _undelivered(row: Delivery) -> dict[str, Any]:
    told: dict[str, Any] = {"response": row.state}
    if row.state == FAILED:
        told = {"response": "error", "status": STATUSES.get(row.kind, 503)}
    if row.kind:
        told |= {"kind": row.kind, "reason": REASONS.get(row.kind, row.reason)}
    return told | ({"attempts": row.attempts, "due": row.due} if row.state == PENDING else {})
