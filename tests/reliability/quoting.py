"""The figures of the programme on its page: read, held against a session, written anew.

Rules
-----
* A page quotes rows as a session printed them, without the lines of the controls. What did not run is left as it was.
* A row is out of step when the page lacks it, or tells another number of cases than the session asked for.
* Seconds, notes and numbers that a run finds out by itself are of that run, and are in step whatever they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from reliability.programme import HEAD, Fault, aligned, cells_of

BEGIN, END = "<!-- figures: written by tests/reliability -->", "<!-- end of figures -->"
_CELLS = re.compile(r"(\S.*?) {2,}(\d+) +(\d+) +(\d+) +([\d.]+)  (\S.*)")

Row = tuple[tuple[str, ...], list[str]]  # its cells, the lines below it


def quoted(page: str) -> dict[str, Row]:
    """Return the rows that a page quotes, by name."""
    rows: dict[str, Row] = {}
    below: list[str] = []
    for line in page.partition(BEGIN)[2].partition(END)[0].splitlines():
        found = _CELLS.fullmatch(line)
        if found:
            below = []
            rows[found[1]] = found.groups(), below
        elif line.startswith("    "):
            below.append(line)
    return rows


def out_of_step(page: str, rows: Iterable[Fault]) -> Iterator[str]:
    """Yield what a page tells otherwise than these rows of a session."""
    there = quoted(page)
    for row in rows:
        told = there[row.name][0][1] if row.name in there else "no row of it"
        if told != str(row.expected) and not (row.found and row.name in there):
            yield f"{row.name}: the page tells {told}, this run asked for {row.expected}; write it anew by {REMEDY}"


def write_page(page: Path, rows: Mapping[str, Fault]) -> None:
    """Put the rows of a session into a page, between its marks."""
    text = page.read_text("utf-8")
    ran = {name: (cells_of(row), [f"    {note}" for note in row.notes]) for name, row in rows.items()}
    block = "\n".join(["```text", *_lines({**quoted(text), **ran}), "```"])
    before, _, rest = text.partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{block}\n{END}{rest.partition(END)[2]}", "utf-8")


REMEDY = "--reliability-page=framework/docs/reliability.md"


def _lines(rows: Mapping[str, Row]) -> Iterator[str]:
    first, *others = aligned([HEAD, *(cells for cells, _ in rows.values())])
    yield first
    for line, (_, below) in zip(others, rows.values(), strict=True):
        yield line
        yield from below
