"""The plugin: ``procession serve``, ``meta@1.0``, and the ``[host.http]`` table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from procession.hookspecs import hookimpl
from procession.requests import Keys
from procession_http import meta
from procession_http.settings import HttpSettings

__all__ = ["HttpSettings", "procession_commands", "procession_keys", "procession_settings"]


@hookimpl
def procession_keys() -> Mapping[str, Keys]:
    """Provide meta@1.0."""
    return {meta.NAME: meta.KEYS}


@hookimpl
def procession_settings() -> Mapping[str, type]:
    """Provide the ``[host.http]`` table."""
    return {"http": HttpSettings}


@hookimpl
def procession_commands() -> Sequence[click.Command]:
    """Add ``procession serve``."""
    # Imported when asked for: a kernel that is embedded needs neither a server nor a command line.
    from procession_http.commands import serve

    return [serve]
