"""Findings: what is wrong in a data folder, where, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

import attrs

OPEN = 64  # runs of slots that may go on at one time


class Mend(Enum):
    """Name what a repair does. Each loses nothing: the schedule proves what it takes away."""

    COMPUTE = "compute-again"
    PARTS = "compute-parts"
    DROP = "drop-beyond-schedule"
    SNAPSHOT = "drop-snapshot"
    ANEW = "begin-cache-anew"
    ASIDE = "move-aside"
    REMOVE = "remove-left-over"


PLANS = {
    Mend.COMPUTE: "--repair drops it and computes it again",
    Mend.PARTS: "--repair computes it again, and it must come out the same",
    Mend.DROP: "--repair drops it; the slot is computed when the schedule has it",
    Mend.SNAPSHOT: "--repair drops the snapshot, and the next one is taken when it is due",
    Mend.ANEW: "--repair moves it aside, and its results are computed again when they are asked for",
    Mend.ASIDE: "--repair moves it aside; a snapshot is taken anew, an image comes again with its definition file",
    Mend.REMOVE: "--repair removes it",
}


@attrs.frozen
class Finding:
    """Hold one thing that is wrong: what, in which file, of which process and slots, and what to do.

    Without a ``mend`` nothing can be done that would lose nothing; ``todo`` then says what an operator may do.
    """

    what: str
    file: str
    process: str = ""
    first: int | None = None
    last: int | None = None
    mend: Mend | None = None
    todo: str = ""

    @property
    def plan(self) -> str:
        """Return what to do."""
        return PLANS[self.mend] if self.mend else self.todo

    @property
    def place(self) -> str:
        """Return where it is, as a line begins."""
        slots = "" if self.first is None else f"slot {self.first}"
        if self.first != self.last:
            slots = f"slots {self.first} to {self.last}"
        return ", ".join(part for part in (self.process and f"process {self.process}", slots, self.file) if part)

    @property
    def text(self) -> str:
        """Return the whole as one line."""
        return f"{self.place}: {self.what}; {self.plan}" if self.plan else f"{self.place}: {self.what}"

    def as_document(self) -> dict[str, object]:
        """Return it as it is printed for machines."""
        shown = {key: getattr(self, key) for key in ("process", "first", "last", "file", "what")}
        return {**shown, "repair": self.mend.value if self.mend else None, "todo": self.plan}

    def follows(self, other: Finding) -> bool:
        """Tell whether this is the same as another, one slot further."""
        if self.first is None or other.last is None or self.first != other.last + 1:
            return False
        return attrs.evolve(self, first=None, last=None) == attrs.evolve(other, first=None, last=None)


def joined(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings, the same at slots that follow one another as one.

    >>> [found.place for found in joined(Finding("gone", "f", "P", slot, slot) for slot in (1, 2, 3, 5))]
    ['process P, slots 1 to 3, f', 'process P, slot 5, f']
    """
    going: list[Finding] = []
    for finding in findings:
        before = next((one for one in going if finding.follows(one)), None)
        if before is not None:
            going[going.index(before)] = attrs.evolve(before, last=finding.last)
            continue
        going.append(finding)
        if len(going) > OPEN:
            yield going.pop(0)
    yield from going
