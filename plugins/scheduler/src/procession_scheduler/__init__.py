"""The plugin: ``scheduler@1.0``, slots on SQLite."""

from __future__ import annotations

from collections.abc import Mapping

from procession.hookspecs import hookimpl
from procession.roles import Factory
from procession_scheduler.scheduler import FileScheduler, SchedulerOptions

__all__ = ["FileScheduler", "SchedulerOptions", "procession_schedulers"]


@hookimpl
def procession_schedulers() -> Mapping[str, Factory]:
    """Provide the scheduler that keeps every process of a data folder in one SQLite file."""
    return {"scheduler@1.0": Factory(FileScheduler, SchedulerOptions, "durable slots, one SQLite file a data folder")}
