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
* ``facts`` name the process, slot, stage, device or key; values are JSON scalars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Fact = str | int | float | bool | None


class ProcessionError(Exception):
    """Carry one problem as *where: what; what to do*, with a stable kind and facts."""

    default_kind = "error"

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        remedy: str = "",
        kind: str = "",
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        self.kind = kind or self.default_kind
        self.facts: dict[str, Fact] = dict(facts or {})
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """Return the whole problem as one line."""
        where = f"{self.where}: " if self.where else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{where}{self.what}{remedy}"

    def at(self, where: str, **facts: Fact) -> ProcessionError:
        """Return the same problem with a place in front, for a caller that knows more."""
        place = f"{where}: {self.where}" if self.where else where
        merged = {**facts, **self.facts}
        return type(self)(self.what, where=place, remedy=self.remedy, kind=self.kind, facts=merged)


class RequestError(ProcessionError):
    """Blame the caller: a path, a message, a slot or a process that is not there."""

    default_kind = "bad-request"


class ConfigError(ProcessionError):
    """Blame the operator's file, with every problem that was found in it."""

    default_kind = "bad-definition"

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
        return ConfigError(self.problems, where=f"{where}: {self.where}" if self.where else where)


class PluginError(ProcessionError):
    """Blame an installed distribution; the facts name it and the device."""

    default_kind = "plugin"


class ScheduleError(ProcessionError):
    """Refuse a schedule that is not dense, not chained, or held by another program."""

    default_kind = "schedule"


class ComputeError(ProcessionError):
    """Report that this host could not compute a slot; nothing was recorded."""

    default_kind = "compute"


class CacheError(ProcessionError):
    """Report a stored record or blob that is missing, foreign or damaged."""

    default_kind = "cache"


class SnapshotError(ProcessionError):
    """Report snapshot bytes that do not pass their own checks."""

    default_kind = "snapshot"
