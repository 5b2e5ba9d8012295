"""HTTP settings: the ``[host.http]`` table, where a node listens and what it lets a peer do.

Rules
-----
* Everything that a peer sends has a bound on its size and on its time.
* A bound is refused at start if nothing could pass it.
"""

from __future__ import annotations

from typing import Any

import attrs

from procession.settings import HostSettings, seconds

TABLE = "http"


def _is_host(settings: object, attribute: object, value: str) -> None:
    if not value:
        raise ValueError("names nothing; give an address of this machine, 0.0.0.0 for all")


def _is_port(settings: object, attribute: object, value: int) -> None:
    if not 0 <= value <= 65535:
        raise ValueError(f"{value} is no port; give 0 (any that is free) to 65535")


def _is_positive(settings: object, attribute: object, value: int) -> None:
    if value < 1:
        raise ValueError(f"{value} lets nothing pass; give 1 or more")


def _is_wait(settings: object, attribute: object, value: str) -> None:
    if seconds(value) <= 0:
        raise ValueError(f"{value!r} lets nothing pass; give more than 0")


def _count(default: int) -> Any:
    return attrs.field(default=default, validator=_is_positive)


def _wait(default: str) -> Any:
    return attrs.field(default=default, validator=_is_wait)


@attrs.frozen
class HttpSettings:
    """Say where a node listens and what it lets a peer do; sizes in bytes, waits as durations.

    ``head_timeout`` and ``body_timeout`` bound the receipt of a request, ``idle_timeout`` the pause between two
    on one connection, ``send_timeout`` the time in which a peer takes no 64 KiB of what it asked for,
    ``request_timeout`` the computing, ``drain_timeout`` what is still running when the node stops.
    ``bodies_limit`` are the bytes of all bodies held at once, ``requests`` those that run or wait for a thread.
    """

    host: str = attrs.field(default="127.0.0.1", validator=_is_host)
    port: int = attrs.field(default=8734, validator=_is_port)
    body_limit: int = _count(16 << 20)
    bodies_limit: int = _count(128 << 20)
    header_limit: int = _count(64 << 10)
    header_count: int = _count(256)
    head_timeout: str = _wait("10s")
    body_timeout: str = _wait("60s")
    idle_timeout: str = _wait("30s")
    send_timeout: str = _wait("30s")
    request_timeout: str = _wait("60s")
    drain_timeout: str = _wait("30s")
    threads: int = _count(384)
    requests: int = _count(384)
    connections: int = _count(512)
    require_signed: bool = False


def http_settings(host: HostSettings) -> HttpSettings:
    """Return the ``[host.http]`` table of a kernel's settings; ConfigError lists what is wrong with it."""
    return host.read(TABLE, HttpSettings)
