"""Deterministic, durable, replayable processes: a definition plus an ordered schedule of messages."""

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
from procession.hookspecs import hookimpl
from procession.kernel import Kernel, Process
from procession.messages import UNSET, Message
from procession.results import Result
from procession.roles import NOT_HANDLED, Blob, Factory, Fail, Ok, Pass, PureStage, Skip
from procession.schedules import Assignment

__all__ = [
    "NOT_HANDLED",
    "UNSET",
    "Assignment",
    "Blob",
    "CacheError",
    "ComputeError",
    "ConfigError",
    "Factory",
    "Fail",
    "Kernel",
    "Message",
    "Ok",
    "Pass",
    "PluginError",
    "Process",
    "ProcessionError",
    "PureStage",
    "RequestError",
    "Result",
    "ScheduleError",
    "Skip",
    "SnapshotError",
    "hookimpl",
]
