"""Push settings: the ``[host.push]`` table, how far a push goes and how often a delivery is tried.

Rules
-----
* Every tree of deliveries has an end, whatever the processes in it do.
* None of it reaches a process id; what a limit stops can be pushed on from where it stopped.
"""

from __future__ import annotations

from typing import Any

import attrs

from procession.settings import HostSettings, seconds

TABLE = "push"
MOST = (1 << 31) - 1  # of anything that is counted


def _count(default: int, *, least: int = 1) -> Any:
    def check(settings: object, attribute: object, value: int) -> None:
        if not least <= value <= MOST:
            raise ValueError(f"{value} is no bound; give {least} to {MOST}")

    return attrs.field(default=default, validator=check)


def _is_wait(settings: object, attribute: object, value: str) -> None:
    seconds(value)


def _wait(default: str) -> Any:
    return attrs.field(default=default, validator=_is_wait)


@attrs.frozen
class PushSettings:
    """Bound what pushes do.

    ``depth`` is how many deliveries may follow one from the other, ``fan_out`` how many entries of one slot are
    delivered, ``messages`` how many of one push; ``queue`` is how much may wait in all, ``threads`` how many
    processes are worked on at once. An attempt waits for a slot as long as ``timeout``. Where this host failed it is
    repeated after ``backoff``, then after twice the time, up to ``backoff_limit``, ``attempts`` in all.
    """

    depth: int = _count(16, least=0)
    fan_out: int = _count(256)
    messages: int = _count(10_000)
    queue: int = _count(100_000)
    threads: int = _count(4)
    attempts: int = _count(16)
    backoff: str = _wait("1s")
    backoff_limit: str = _wait("5m")
    timeout: str = _wait("60s")
    drain_timeout: str = _wait("10s")


def push_settings(host: HostSettings) -> PushSettings:
    """Return the ``[host.push]`` table of a kernel's settings; ConfigError lists what is wrong with it."""
    return host.read(TABLE, PushSettings)
