"""The testing kit: contracts that a plugin's tests subclass, fakes, trials and crashes.

What is not asked for is not imported, so that pytest can rewrite the asserts of the contracts first
and a program that wants a fake needs no pytest.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from procession.testing.caches import CacheContract
    from procession.testing.crash import Ended, command_line, kill_at, python
    from procession.testing.fakes import MemoryHost, SteppingClock
    from procession.testing.schedulers import SchedulerContract
    from procession.testing.snapshotters import SnapshotterContract
    from procession.testing.stages import StageContract
    from procession.testing.trials import Run, Trial

__all__ = [
    "CacheContract",
    "Ended",
    "MemoryHost",
    "Run",
    "SchedulerContract",
    "SnapshotterContract",
    "StageContract",
    "SteppingClock",
    "Trial",
    "command_line",
    "kill_at",
    "python",
]

_ROOMS = MappingProxyType(
    {
        "CacheContract": "caches",
        "Ended": "crash",
        "MemoryHost": "fakes",
        "Run": "trials",
        "SchedulerContract": "schedulers",
        "SnapshotterContract": "snapshotters",
        "StageContract": "stages",
        "SteppingClock": "fakes",
        "Trial": "trials",
        "command_line": "crash",
        "kill_at": "crash",
        "python": "crash",
    }
)


def __getattr__(name: str) -> object:
    """Import the room of a name when it is asked for."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
