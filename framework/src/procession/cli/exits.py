"""Exit codes: what the command line answers to a shell.

Rules
-----
* A code follows from the class of an error and its kind, by the two tables below.
* The codes never change their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from procession.errors import (
    CacheError,
    ComputeError,
    ConfigError,
    PluginError,
    ProcessionError,
    RequestError,
    ScheduleError,
    SnapshotError,
)

OK = 0
NO = 1
USAGE = 2
NOT_FOUND = 3
BAD_INPUT = 4
LOCKED = 5
HOST = 6
DEADLINE = 7
INTERRUPTED = 130  # as a shell says of SIGINT
PIPE = 141  # as a shell says of SIGPIPE
TERMINATED = 143  # as a shell says of SIGTERM

MEANINGS: Mapping[int, str] = MappingProxyType(
    {
        OK: "done",
        NO: "the answer is no: a replay differs, a check found problems, a push could not deliver everything",
        USAGE: "the command was not understood",
        NOT_FOUND: "there is no such process, slot, message or path",
        BAD_INPUT: "a definition, a message or a path is wrong",
        LOCKED: "another program writes to the data folder",
        HOST: "this host or node failed; nothing was recorded, try again",
        DEADLINE: "the time given was over; what is done is kept",
        INTERRUPTED: "interrupted; what is done is kept",
        PIPE: "nobody reads the output any more",
        TERMINATED: "ended by SIGTERM; what is done is kept",
    }
)

BY_KIND: Mapping[str, int] = MappingProxyType(
    {
        "not-found": NOT_FOUND,
        "unknown-process": NOT_FOUND,
        "unknown-message": NOT_FOUND,
        "beyond-schedule": NOT_FOUND,
        "missing": NOT_FOUND,
        "missing-blob": NOT_FOUND,
        "not-quarantined": NOT_FOUND,
        "locked": LOCKED,
        "broken-schedule": BAD_INPUT,  # of a schedule made elsewhere
        "deadline": DEADLINE,
        "behind": DEADLINE,
    }
)

BY_CLASS: Mapping[type[ProcessionError], int] = MappingProxyType(
    {
        RequestError: BAD_INPUT,
        ConfigError: BAD_INPUT,
        PluginError: HOST,
        ScheduleError: HOST,
        ComputeError: HOST,
        CacheError: HOST,
        SnapshotError: HOST,
    }
)


def code_of(error: Exception) -> int:
    """Return the exit code of an error.

    >>> code_of(RequestError("no such slot", kind="beyond-schedule")), code_of(RequestError("no slot", kind="slot"))
    (3, 4)
    """
    by_kind = BY_KIND.get(error.kind) if isinstance(error, ProcessionError) else None
    by_class = next((BY_CLASS[cls] for cls in type(error).__mro__ if cls in BY_CLASS), HOST)
    return by_class if by_kind is None else by_kind
