"""Companions: what plugins have work beside a kernel, for as long as it is open."""

from __future__ import annotations

from typing import Any

from procession.errors import PluginError
from procession.hosts import close_all
from procession.registry import Registry
from procession.roles import Companion, Site


class Companions:
    """Hold the companions of one kernel, by name."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._open: dict[str, Companion] = {}

    def open(self, kernel: Any, site: Site) -> None:
        """Build them, sorted by name; where one does not build the kernel is closed again."""
        try:
            for name, build in sorted(self._registry.table("companions").items()):
                self._open[name] = build(kernel, site)
        except BaseException:
            kernel.close()
            raise

    def get(self, name: str) -> Any:
        """Return what works under a name; PluginError where nothing does."""
        if name not in self._open:
            raise PluginError(self._registry.missing("companions", name), kind="unknown-device")
        return self._open[name]

    def close(self) -> None:
        """Close them all."""
        close_all([companion.close for companion in self._open.values()])
