"""The programme of faults: how many cases of each must hold, how many held, and whether its control failed.

Rules
-----
* A row counts a case when its invariant held; an assertion that fails is the test's, and marks its row.
* A row with fewer cases than it expects, or with no control shown failing, is a failure of the run.
* A row whose test is skipped is shown with the reason, and asks for nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

HEAD = ("fault", "cases", "held", "controls", "seconds", "result")


@attrs.define
class Fault:
    """Count one row of the programme. Safe to call from many threads.

    ``found`` says that how many cases there are is found out by each run, as the sites of its writes are.
    """

    name: str
    expected: int = 0
    found: bool = False
    cases_held: int = 0
    controls: list[str] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    tests: list[str] = attrs.field(factory=list)
    seconds: float = 0.0
    failed: bool = False
    skipped: str = ""
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def held(self, cases: int = 1) -> None:
        """Count cases whose invariant held."""
        with self._lock:
            self.cases_held += cases

    def note(self, fact: str) -> None:
        """Add one short fact to the table."""
        with self._lock:
            self.notes.append(fact)

    def control(self, what: str) -> None:
        """Say that the same test fails with a protection taken away: which one."""
        with self._lock:
            self.controls.append(what)

    @property
    def result(self) -> str:
        """Return what became of the row, in one or a few words."""
        if self.failed:
            return "FAILED"
        if self.skipped:
            return "skipped"
        if self.cases_held < self.expected:
            return "TOO FEW CASES"
        return "held" if self.controls else "NO CONTROL"


@attrs.define
class Programme:
    """Keep the rows of a session."""

    rows: dict[str, Fault] = attrs.field(factory=dict)
    running: str = ""  # the test that runs, by its pytest id
    judged: bool = False

    def fault(self, name: str, *, expected: int) -> Fault:
        """Open a row of the issue's table; where several tests share it, their cases add up."""
        row = self.rows.setdefault(name, Fault(name))
        row.expected += expected
        row.tests.append(self.running)
        return row

    def told(self, test: str, outcome: str, seconds: float, why: str = "") -> None:
        """Take what pytest says of one phase of a test: ``passed``, ``failed`` or ``skipped``."""
        for row in self.rows.values() if not self.judged else ():
            if test in row.tests:
                row.seconds += seconds
                row.failed |= outcome == "failed"
                row.skipped = row.skipped or (why if outcome == "skipped" else "")

    def judge(self) -> list[str]:
        """Return what is wrong with the rows of tests that did not fail themselves; nothing more is taken after."""
        self.judged = True
        wrong = [row for row in self.rows.values() if row.result in ("TOO FEW CASES", "NO CONTROL")]
        return [f"{row.name}: {row.result.lower()} ({row.cases_held} of {row.expected})" for row in wrong]

    def table(self) -> Iterator[str]:
        """Yield the lines of the table."""
        lines = aligned([HEAD, *(cells_of(row) for row in self.rows.values())])
        for line, row in zip(lines, (None, *self.rows.values()), strict=True):
            yield line
            yield from _remarks(row) if row else ()

    def write(self, path: Path, figures: str) -> None:
        """Write the table as JSON."""
        shown = attrs.filters.exclude("_lock", "tests")
        rows = [{**attrs.asdict(row, filter=shown), "result": row.result} for row in self.rows.values()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"figures": figures, "faults": rows}, indent=1) + "\n", "utf-8")


def cells_of(row: Fault) -> tuple[str, ...]:
    """Return the cells of a row, in the order of ``HEAD``."""
    counts = (str(row.expected), str(row.cases_held), str(len(row.controls)), f"{row.seconds:.1f}")
    return row.name, *counts, row.result


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines whose columns stand below each other, the numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    numbers = [[cell.rjust(width) for cell, width in zip(row[1:5], widths[1:], strict=True)] for row in rows]
    return ["  ".join([row[0].ljust(widths[0]), *cells, row[5]]) for row, cells in zip(rows, numbers, strict=True)]


def _remarks(row: Fault) -> Iterator[str]:
    yield from (f"    {note}" for note in row.notes)
    yield from (f"    control: {what}" for what in row.controls)
    if row.skipped:
        yield f"    skipped: {row.skipped}"
