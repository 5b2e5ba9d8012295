"""The plugin: ``cron@1.0``, what works behind it, and the ``[host.cron]`` table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from procession.hookspecs import hookimpl
from procession.kernel import Kernel
from procession.requests import Keys
from procession.roles import Site
from procession_cron import device
from procession_cron.crons import NAME, Crons
from procession_cron.settings import TABLE, CronSettings

__all__ = ["CronSettings", "Crons"]


@hookimpl
def procession_keys() -> Mapping[str, Keys]:
    """Provide cron@1.0."""
    return {NAME: device.KEYS}


@hookimpl
def procession_companions() -> Mapping[str, Callable[[Kernel, Site], Crons]]:
    """Provide what makes the requests."""
    return {NAME: Crons}


@hookimpl
def procession_settings() -> Mapping[str, type]:
    """Provide the ``[host.cron]`` table."""
    return {TABLE: CronSettings}
