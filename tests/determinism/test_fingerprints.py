"""Fingerprints name the source of every device, so that no snapshot of another one is ever taken up."""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

from procession import process as builtin
from procession import registry as room
from procession.registry import Registry


def test_the_source_of_every_stage_is_in_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """However a plugin binds its factories, its own sources and the kernel's are what the fingerprint covers."""
    asked: list[str] = []
    monkeypatch.setattr(room, "source_digest", lambda module: asked.append(module.partition(".")[0]) or module)
    registry = Registry((builtin,))
    for provision in registry.provisions():
        if provision.role == "stages":
            registry.fingerprint([provision.name])
    registry.close()
    providing = {entry.module for entry in metadata.entry_points(group=room.GROUP)}
    stages = {name for name in providing if hasattr(__import__(name), "procession_stages")}
    assert {*stages, "procession"} == set(asked)


def test_a_change_of_a_source_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same devices from other sources have another fingerprint, and from the same ones the same."""
    found = []
    for digest in ("one", "one", "two"):
        monkeypatch.setattr(room, "source_digest", lambda module, digest=digest: digest)
        registry = Registry((builtin,))
        found.append(registry.fingerprint(["stack@1.0", "wasm-64@1.0"]))
        registry.close()
    assert (found[0], True) == (found[1], found[1] != found[2])


def test_sources_are_those_that_were_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes changes nothing of what runs; imported again, it is another source."""
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "a_source_of_this_test.py"
    found = []
    for content, again in (("one = 1", True), ("two = 2", False), ("two = 2", True)):
        file.write_text(content)
        if again:
            sys.modules.pop(file.stem, None)
            import_module(file.stem)
        found.append(room.source_digest(file.stem))
    monkeypatch.delitem(sys.modules, file.stem)
    assert (found[0], True) == (found[1], found[1] != found[2])
