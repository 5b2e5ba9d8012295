"""Sealed memory: the same bytes, mapped or copied, that nothing changes."""

from __future__ import annotations

import errno
import gc
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import wasmtime

from procession_wasm import sealed
from procession_wasm.sealed import Sealed

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are no files in memory here")

TEXT = '(module (func (export "f") (result i32) (i32.const 7)))'
CHANGES: dict[str, Callable[[int], object]] = {
    "written": lambda handle: os.pwrite(handle, b"x", 0),
    "grown": lambda handle: os.ftruncate(handle, 1 << 20),
    "shrunk": lambda handle: os.ftruncate(handle, 1),
    "mapped to be written": lambda handle: mmap.mmap(handle, 0),
    "opened anew": lambda handle: Path(f"{sealed.FILES}/{handle}").write_bytes(b"x"),
}


@pytest.fixture
def engine() -> wasmtime.Engine:
    """Return an engine."""
    return wasmtime.Engine()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Map also what is small."""
    monkeypatch.setattr(sealed, "LEAST", 0)


@pytest.fixture
def content(engine: wasmtime.Engine) -> Iterator[Sealed]:
    """Return a compiled module in memory, with something behind it."""
    made = filled(bytes(wasmtime.Module(engine, TEXT).serialize()) + b"behind")
    yield made
    made.close()


def filled(content: bytes) -> Sealed:
    """Return bytes in memory, added in pieces."""
    made = Sealed(len(content))
    for at in range(0, len(content), 1000):
        made.add(memoryview(content)[at : at + 1000])
    made.seal()
    return made


def answer(engine: wasmtime.Engine, content: Sealed) -> object:
    """Return what the function of a module answers."""
    store = wasmtime.Store(engine)
    function = wasmtime.Instance(store, content.module(engine), []).exports(store)["f"]
    assert isinstance(function, wasmtime.Func)
    return function(store)


def held() -> int:
    """Return how many files in memory this program holds open."""
    gc.collect()
    links = [link for link in Path(sealed.FILES).iterdir() if link.is_symlink()]
    return sum("procession image" in str(link.readlink()) for link in links)


def test_a_module_is_the_same_mapped_or_copied(engine: wasmtime.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled module runs from where it is mapped, from a copy, and where the engine may not map it."""
    compiled = bytes(wasmtime.Module(engine, TEXT).serialize()) + b"behind"
    copies: list[int] = []
    copy = wasmtime.Module.deserialize
    monkeypatch.setattr(wasmtime.Module, "deserialize", lambda *given: (copies.append(1), copy(*given))[1])
    found = []
    for least, files in ((0, sealed.FILES), (1 << 30, sealed.FILES), (0, "/nowhere")):
        monkeypatch.setattr(sealed, "LEAST", least)
        monkeypatch.setattr(sealed, "FILES", files)
        with closing(filled(compiled)) as content:
            found.append((answer(engine, content), len(copies), content.read(content.size - 6, 6)))
    assert [(7, 0, b"behind"), (7, 1, b"behind"), (7, 2, b"behind")] == found


def test_what_is_no_module_is_told(engine: wasmtime.Engine) -> None:
    """Bytes that are no compiled form are refused, however they are taken."""
    with closing(filled(b"no machine code")) as content, pytest.raises(wasmtime.WasmtimeError):
        content.module(engine)


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_sealed_stays(change: str, content: Sealed) -> None:
    """Nothing changes sealed bytes, by any handle; without the seal it would."""
    assert content._file is not None
    before = content.read(0, content.size)
    with pytest.raises(OSError, match="not permitted") as caught:
        CHANGES[change](content._file)
    assert (errno.EPERM, before) == (caught.value.errno, content.read(0, content.size))
    with closing(Sealed(1)) as unsealed:
        unsealed.add(memoryview(before))
        assert unsealed._file is not None
        CHANGES[change](unsealed._file)


def test_files_in_memory_are_let_go_of(engine: wasmtime.Engine, content: Sealed) -> None:
    """A module holds what it was mapped from, and nothing is held beyond it."""
    before = held()
    module = content.module(engine)
    content.close()
    assert before == held()
    module.close()
    assert before - 1 == held()


def test_where_no_file_is_to_be_had_it_is_copied(engine: wasmtime.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that gives no file in memory has its modules copied."""
    compiled = bytes(wasmtime.Module(engine, TEXT).serialize())
    monkeypatch.setattr(sealed.os, "memfd_create", refused)
    before = held()
    with closing(filled(compiled)) as content:
        assert (7, before) == (answer(engine, content), held())


def refused(*given: object) -> int:
    """Have no more files."""
    raise OSError(errno.EMFILE, "Too many open files")
