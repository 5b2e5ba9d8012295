"""Cron settings: the ``[host.cron]`` table, who may leave tasks with a node and how many."""

from __future__ import annotations

from typing import Any

import attrs

from procession.settings import HostSettings, seconds

TABLE = "cron"
ANYONE, SIGNED = "anyone", "signed"


def _is_count(settings: object, attribute: object, value: int) -> None:
    if not 1 <= value <= 1_000_000:
        raise ValueError(f"{value} is no bound; give 1 to 1000000")


def _is_wait(settings: object, attribute: object, value: str) -> None:
    if seconds(value) <= 0:
        raise ValueError(f"{value!r} is no wait; give more than 0")


def _is_owner(settings: object, attribute: object, value: str) -> None:
    if value not in (ANYONE, SIGNED):
        raise ValueError(f"{value!r:.40} may leave no tasks; give '{ANYONE}' or '{SIGNED}'")


def _count(default: int) -> Any:
    return attrs.field(default=default, validator=_is_count)


def _wait(default: str) -> Any:
    return attrs.field(default=default, validator=_is_wait)


@attrs.frozen
class CronSettings:
    """Say who may leave tasks and how many wait at once, of all and of one signer.

    ``interval`` is the shortest one that is taken; a request that this host failed at is made again after ``backoff``,
    then after twice the time, ``attempts`` in all; it may take as long as ``timeout``.
    """

    tasks: str = attrs.field(default=SIGNED, validator=_is_owner)
    most: int = _count(1000)
    most_of_one: int = _count(100)
    interval: str = _wait("1s")
    attempts: int = _count(16)
    backoff: str = _wait("1s")
    timeout: str = _wait("60s")


def cron_settings(host: HostSettings) -> CronSettings:
    """Return the ``[host.cron]`` table of a kernel's settings; ConfigError lists what is wrong with it."""
    return host.read(TABLE, CronSettings)
