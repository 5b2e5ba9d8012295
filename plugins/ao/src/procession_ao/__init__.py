"""The plugin: the wire of AO beside a kernel, its request devices, and the ``[host.ao]`` table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from procession.hookspecs import hookimpl
from procession.kernel import Kernel
from procession.requests import Keys
from procession.roles import Site
from procession_ao.devices import TABLES
from procession_ao.node import NAME, Node
from procession_ao.settings import TABLE, AoSettings

__all__ = ["AoSettings", "Node"]


@hookimpl
def procession_keys() -> Mapping[str, Keys]:
    """Provide scheduler@1.0, cache@1.0 and wao@1.0."""
    return TABLES


@hookimpl
def procession_companions() -> Mapping[str, Callable[[Kernel, Site], Node]]:
    """Provide what a server asks of each request first."""
    return {NAME: Node}


@hookimpl
def procession_settings() -> Mapping[str, type]:
    """Provide the ``[host.ao]`` table."""
    return {TABLE: AoSettings}
