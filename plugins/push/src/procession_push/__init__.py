"""The plugin: ``push@1.0``, what works behind it, the ``[host.push]`` table, and ``procession push``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import click

from procession.hookspecs import hookimpl
from procession.kernel import Kernel
from procession.requests import Keys
from procession.roles import Site
from procession_push import device
from procession_push.pushes import NAME, Pushes
from procession_push.settings import TABLE, PushSettings

__all__ = ["PushSettings", "Pushes"]


@hookimpl
def procession_keys() -> Mapping[str, Keys]:
    """Provide push@1.0."""
    return {NAME: device.KEYS}


@hookimpl
def procession_companions() -> Mapping[str, Callable[[Kernel, Site], Pushes]]:
    """Provide what delivers."""
    return {NAME: Pushes}


@hookimpl
def procession_settings() -> Mapping[str, type]:
    """Provide the ``[host.push]`` table."""
    return {TABLE: PushSettings}


@hookimpl
def procession_commands() -> Sequence[click.Command]:
    """Add ``procession push``."""
    # Imported when asked for: a kernel that is embedded needs no command line.
    from procession_push.commands import push

    return [push]
