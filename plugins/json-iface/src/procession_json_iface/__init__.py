"""The device json-iface@1.0: JSON between a process and its module."""

from __future__ import annotations

from collections.abc import Mapping

from procession.hookspecs import hookimpl
from procession.roles import Factory
from procession_json_iface.stage import JsonInterface, JsonOptions


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide the JSON interface."""
    return {"json-iface@1.0": Factory(JsonInterface, JsonOptions, "speak JSON with a module's handle")}
