"""Companions: the modules that are generated around the guests of one image, each compiled once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import wasmtime

KEPT = 16  # of an image: as a rule there are two, more where stacks answer its imports in different ways


class Companions:
    """Compile generated modules for an image, and keep them as long as it is kept."""

    def __init__(self, compiled: Callable[[bytes], wasmtime.Module]) -> None:
        self._compiled = compiled
        self._lock = threading.Lock()
        self._kept: dict[str, wasmtime.Module] = {}

    def module(self, text: str) -> wasmtime.Module:
        """Return the module of a WAT text."""
        with self._lock:
            found = self._kept.get(text)
            if found is None:
                found = self._compiled(text.encode())
                if len(self._kept) >= KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[text] = found
            return found
