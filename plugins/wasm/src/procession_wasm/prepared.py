"""Prepared images: an image rewritten, checked and compiled, and where that is kept.

Rules
-----
* What is kept belongs to one image, engine, configuration, host, processor and version of this package: another one
  of them is another name. A module that was generated is never taken for an image, which was checked.
* What cannot be kept or taken is told once and made again; it never stops a process.
"""

from __future__ import annotations

import json
import logging
import platform
import sys
import threading
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from procession.registry import source_digest
from procession.roles import Site
from procession_wasm.binary import Shape
from procession_wasm.sealed import Sealed
from procession_wasm.shapes import shape_read, written
from procession_wasm.shelves import Shelf, ShelfError, is_possible

FOLDER = "images"  # in the data folder
IMAGE, BESIDE = "image", "beside"

_LENGTH_BYTES = 4
_PROCESSORS = Path("/proc/cpuinfo")
_HOST = Path("/etc/machine-id")  # told to nobody, so that others cannot name what this host would take

log = logging.getLogger("procession")


@attrs.frozen
class Prepared:
    """Hold what is kept of an image: what it says about itself, None for a module beside one, and its compiled form."""

    shape: Shape | None
    artefact: bytes

    def packed(self) -> bytes:
        """Return it as bytes: the compiled form is in front, for an engine begins at the first."""
        told = written(self.shape) if self.shape is not None else b""
        return self.artefact + told + len(told).to_bytes(_LENGTH_BYTES)


def shape_in(content: Sealed) -> Shape | None:
    """Return what packed bytes, which this version of the package has written, say of the module before it."""
    end = content.size - _LENGTH_BYTES
    length = int.from_bytes(content.read(end, _LENGTH_BYTES))
    return shape_read(content.read(end - length, length)) if length else None


class Store:
    """Keep prepared images of a kernel in its data folder; a kernel that only reads uses what is there."""

    def __init__(self, site: Site, configuration: Mapping[str, Any]) -> None:
        self._shelf = Shelf(site.data / FOLDER) if is_possible() else None
        self._read_only = site.read_only
        self._setting = json.dumps([_setting(), configuration], sort_keys=True)
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def load(self, content: bytes, kind: str) -> Sealed | None:
        """Return what is kept of an image, or of a module beside one, packed and to be closed, if anything is."""
        if self._shelf is None:
            return None
        try:
            return self._shelf.load(self._name(content, kind))
        except ShelfError as error:
            self.tell(str(error))
            return None

    def save(self, content: bytes, prepared: Prepared, kind: str) -> None:
        """Keep an image, or a module beside one, where this kernel may write."""
        if self._shelf is None or self._read_only:
            return
        try:
            self._shelf.save(self._name(content, kind), prepared.packed())
        except ShelfError as error:
            self.tell(str(error))

    def tell(self, reason: str) -> None:
        """Say once why an image is compiled again."""
        with self._lock:
            new = reason not in self._told
            self._told.add(reason)
        if new and self._shelf is not None:
            log.warning("%s: a compiled image is not used, and compiled again: %s", self._shelf.folder, reason)

    def _name(self, content: bytes, kind: str) -> str:
        return sha256(f"{kind} {sha256(content).hexdigest()} {self._setting}".encode()).hexdigest()


@cache
def engine_version() -> str:
    """Return the version of the engine, which a program imports once."""
    return metadata.version("wasmtime")


def _setting() -> list[str]:
    """Return what the compiled form depends on beside the image and the configuration."""
    sources = source_digest("procession_wasm")  # the versions of all that rewrites, checks and opens
    return [engine_version(), sources, sys.platform, platform.machine(), _abilities(), _host()]


@cache
def _abilities() -> str:
    """Return what this processor can do, as far as the system tells."""
    try:
        with _PROCESSORS.open(encoding="utf-8", errors="replace") as lines:
            return next((line.strip() for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


@cache
def _host() -> str:
    """Return which host this is, as far as the system tells."""
    try:
        return _HOST.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
