"""The error tree: what went wrong outside of a process.

::

    ProcessionError
    ├── RequestError     the caller's: a path, a message, a slot, an unknown process (4xx)
    ├── ConfigError      the operator's file: every problem at once
    ├── PluginError      an installed distribution: which one, which device
    ├── ScheduleError    the schedule on this disk: a gap, a broken chain, a lock
    ├── ComputeError     this host could not compute; a retry may succeed
    ├── CacheError       a stored record or blob that is missing, foreign or damaged
    └── SnapshotError    snapshot bytes that do not pass their own checks

A message that fails is not in this tree: it is a recorded result at its slot.

Rules
-----
* The text reads *where: what; what to do*, in one line, without a state dump.
* ``kind`` is stable and for machines; texts may change.
* ``facts`` name the process, slot, stage, device, its version and the phase as far as they are known;
  values are JSON scalars. Phases: schedule, build, init, compute, snapshot, restore, rollback, commit, close.
* What a device or an engine says of itself is cut: a state never goes whole into a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

Fact = str | int | float | bool | None
LONGEST = 1000  # characters of what an error says
SAID = 200  # of them, those of another's


class ProcessionError(Exception):
    """Carry one problem as *where: what; what to do*, with a stable kind and facts."""

    default_kind = "error"
    default_remedy = "look into the log of this host"
    default_facts: Mapping[str, Fact] = MappingProxyType({})

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        remedy: str = "",
        kind: str = "",
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        self.what = what if len(what) <= LONGEST else f"{what[:LONGEST]}..."
        self.where = where
        self.remedy = remedy
        self.kind = kind or self.default_kind
        self.facts: dict[str, Fact] = {**self.default_facts, **(facts or {})}
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """Return the whole problem as one line."""
        where = f"{self.where}: " if self.where else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{where}{self.what}{remedy}"

    def told(self) -> dict[str, Fact]:
        """Return the problem for machines: its facts, kind, message and remedy."""
        own = {"kind": self.kind, "message": self.text, "remedy": self.remedy or self.default_remedy}
        return {**self.facts, **own}

    @classmethod
    def of(
        cls, error: BaseException, where: str, facts: Mapping[str, Fact], who: str = "the device"
    ) -> ProcessionError:
        """Return the problem that a device's exception is: a host's error as it is, anything else as one of this class.

        Its kind is ``host-memory`` where memory ended, else ``device-raised``.
        """
        if isinstance(error, ProcessionError) and not isinstance(error, RequestError | ConfigError):
            return error.at(where, **facts)
        kind = "host-memory" if isinstance(error, MemoryError) else "device-raised"
        return cls(f"{who} raised {said(error)}", where=where, kind=kind, facts=facts)

    def at(self, where: str, **facts: Fact) -> ProcessionError:
        """Return the same problem with a place in front and more facts, for a caller that knows more."""
        place = ": ".join(filter(None, (where, self.where)))
        merged = {**facts, **self.facts}
        return type(self)(self.what, where=place, remedy=self.remedy, kind=self.kind, facts=merged)


class RequestError(ProcessionError):
    """Blame the caller: a path, a message, a slot or a process that is not there."""

    default_kind = "bad-request"
    default_remedy = "correct the request"


class ConfigError(ProcessionError):
    """Blame the operator's file, with every problem that was found in it."""

    default_kind = "bad-definition"
    default_remedy = "correct the definition"

    def __init__(self, problems: Sequence[str], *, where: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems), where=where)

    @property
    def text(self) -> str:
        """Return all problems, one a line, each with the file in front."""
        where = f"{self.where}: " if self.where else ""
        return "\n".join(f"{where}{problem}" for problem in self.problems)

    def at(self, where: str, **facts: Fact) -> ConfigError:
        """Return the same problems with a file in front."""
        return ConfigError(self.problems, where=": ".join(filter(None, (where, self.where))))


class PluginError(ProcessionError):
    """Blame an installed distribution; the facts name it and the device."""

    default_kind = "plugin"
    default_remedy = "correct or replace the device"


class ScheduleError(ProcessionError):
    """Refuse a schedule that is not dense, not chained, or held by another program."""

    default_kind = "schedule"
    default_facts = MappingProxyType({"phase": "schedule"})


class ComputeError(ProcessionError):
    """Report that this host could not compute a slot; nothing was recorded."""

    default_kind = "compute"
    default_remedy = "nothing was recorded; a retry may succeed"


class CacheError(ProcessionError):
    """Report a stored record or blob that is missing, foreign or damaged."""

    default_kind = "cache"


class SnapshotError(ProcessionError):
    """Report snapshot bytes that do not pass their own checks."""

    default_kind = "snapshot"


def said(thing: object) -> str:
    """Return what something of another's says of itself, its type in front, in one line that is cut.

    >>> said(ValueError("two\\nlines")), len(said(ValueError("x" * 100_000)))
    ('ValueError: two lines', 215)
    """
    try:
        text = str(thing)
    except Exception:  # noqa: BLE001 # the plugin boundary: it may not even have a text
        text = "(it has no text)"
    shown = " ".join(text[: 2 * SAID].split())
    return f"{type(thing).__name__}: {shown if len(shown) <= SAID else shown[:SAID] + '...'}"
