"""Prepared images: compiled once for a data folder, the same as those that were not kept, and never taken in doubt."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import wasmtime

import procession_wasm
from procession import Kernel
from procession.errors import RequestError
from procession.roles import Site
from procession.testing.fakes import MemoryHost, SteppingClock
from procession_wasm import binary, bounds, compiling, images, prepared, shelves
from procession_wasm.binary import Shape
from procession_wasm.images import Images
from procession_wasm.prepared import Prepared, Store
from procession_wasm.sealed import Sealed

LARGE = f"""(module
  (memory 1 3)
  (tag $t)
  (global (mut i64) (i64.const 3))
  (data (i32.const 16) "{"x" * bounds.SIMPLE_BYTES}")
  (func (export "look") (param i32) (result i32)
    try (result i32)
      (if (i32.eqz (local.get 0)) (then (throw $t)))
      (i32.load8_u (local.get 0))
    catch_all
      i32.const -1
    end))""".encode()
SHAPES = (
    "(module)",
    "(module (memory i64 1 3) (table 2 funcref) (table 1 9 externref) (global v128 (v128.const i64x2 1 2)))",
    """(module (import "a" "f" (func (param i32 f64) (result i64))) (import "a" "g" (global i32))
        (import "b" "t" (table 1 funcref)) (import "b" "\u00e9" (tag)) (memory 1) (global (mut i64) (i64.const 3))
        (data (i32.const -8) "x") (data (global.get 0) "yy") (data "passive") (func $start) (start $start)
        (func (export "\u00e9") (param i32 f64) (result i64) (i64.const 1)) (export "table" (table 0)))""",
    "(module (tag) (tag (param i64 f32)) (func (block (result exnref) (try_table (catch_all_ref 0)) return) drop))",
)
DEFINITION = """
[process]
device-stack = [{ device = "wasm-64@1.0", image = "guest.wat", function = "look" }]
"""


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collect the children that are started."""
    started: list[object] = []

    @contextmanager
    def counted(*given: Any) -> Iterator[Any]:
        with compiling.child(*given) as made:
            started.append(made)
            yield made

    monkeypatch.setattr(images, "child", counted)
    return started


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a place to work at."""
    return Site(tmp_path, False, SteppingClock())


@pytest.fixture
def file(site: Site, children: list[object]) -> Path:
    """Prepare an image, and return the file that is kept of it."""
    Images().compiled("an id", LARGE, site)
    (kept,) = (site.data / prepared.FOLDER).iterdir()
    return kept


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return [path.name for path in folder.iterdir()]


def test_an_image_is_compiled_once_for_a_data_folder(site: Site, file: Path, children: list[object]) -> None:
    """Another kernel finds what was compiled, and knows as much of the image."""
    found = Images().compiled("an id", LARGE, site)
    assert 1 == len(children)
    assert Images().compiled("an id", LARGE).shape == found.shape


@pytest.mark.parametrize("text", SHAPES)
def test_a_shape_is_read_back_as_it_was(text: str) -> None:
    """What is kept of a shape, under one seal with the compiled form, is all of it."""
    shape = binary.shape_of(wasmtime.wat2wasm(text))
    packed = Prepared(shape, b"code").packed()
    content = Sealed(len(packed))
    content.add(memoryview(packed))
    assert (shape, b"code") == (prepared.shape_in(content), content.read(0, 4))


def test_a_kernel_keeps_its_images(tmp_path: Path, children: list[object]) -> None:
    """Two kernels over one data folder compile once, and a slot comes out the same."""
    (tmp_path / "guest.wat").write_bytes(LARGE)
    (tmp_path / "guest.toml").write_text(DEFINITION)
    found = []
    for data in ("one", "one", "two"):
        with opened(tmp_path, data) as kernel:
            process = kernel.spawn()
            process.schedule_many([{"parameters": [place]} for place in (20, 0)])
            found.append([process.compute(slot).at("results/output") for slot in (1, 2)])
    assert 2 == len(children)
    assert [[(ord("x"),), (-1,)]] * 3 == found


def opened(folder: Path, data: str) -> Kernel:
    """Open a kernel for the definition in a folder."""
    return Kernel.open(
        folder / "guest.toml",
        data=folder / data,
        plugins=[MemoryHost(), procession_wasm],
        discover=False,
        clock=SteppingClock(),
    )


def test_a_kernel_that_only_reads_uses_what_is_there(site: Site, file: Path, children: list[object]) -> None:
    """What was kept serves a kernel that may not write; what it compiles itself it does not keep."""
    reading = Site(site.data, True, site.clock)
    Images().compiled("an id", LARGE, reading)
    assert 1 == len(children)
    Images().compiled("another", LARGE + b" ", reading)
    assert (2, [file.name]) == (len(children), names(file.parent))


def test_a_kernel_that_only_reads_makes_no_folder(site: Site, children: list[object]) -> None:
    """Nothing is written into a folder that is only read."""
    Images().compiled("an id", LARGE, Site(site.data, True, site.clock))
    assert [] == names(site.data)


def test_simple_images_are_not_kept(site: Site) -> None:
    """What takes no child to compile is compiled again."""
    Images().compiled("an id", b"(module)", site)
    assert [] == names(site.data)


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-2000] ^= 1
    file.write_bytes(content)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (_flip, "is damaged"),
    "truncated": (lambda file: os.truncate(file, 1000), "is damaged"),
    "open to others": (lambda file: file.chmod(0o644), "is open to others"),
    "in an open folder": (lambda file: file.parent.chmod(0o755), "is open to others"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_in_doubt_is_compiled_again(
    case: str, site: Site, file: Path, children: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged or unsafe image is told once, compiled again, and runs."""
    spoil, reason = SPOILT[case]
    spoil(file)
    with caplog.at_level(logging.WARNING, "procession"):
        known = Images()
        for image_id in ("an id", *map(str, range(images.KEPT)), "an id"):
            known.compiled(image_id, LARGE if image_id == "an id" else b"(module)", site)
    told = [record.getMessage() for record in caplog.records if reason in record.getMessage()]
    assert 1 == len(told)
    assert str(file.parent) in told[0]
    assert len(children) == (3 if case == "in an open folder" else 2)


def test_without_the_digest_a_damaged_image_would_be_loaded(
    site: Site, children: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine itself takes code of which a bit was changed: only the digest stands before it."""
    monkeypatch.setattr(shelves, "_digest", lambda place, content: bytes(0 * len(list(content)) + shelves._DIGEST))
    Images().compiled("an id", LARGE, site)
    (kept,) = (site.data / prepared.FOLDER).iterdir()
    _flip(kept)
    Images().compiled("an id", LARGE, site)
    assert 1 == len(children)


@pytest.mark.parametrize("part", ["engine_version", "_abilities", "_host", "source_digest"])
def test_another_engine_host_or_package_prepares_its_own(
    part: str, site: Site, file: Path, children: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another setting compiled is not even looked at."""
    monkeypatch.setattr(prepared, part, lambda *given: "another")
    Images().compiled("an id", LARGE, site)
    assert (2, 2) == (len(children), len(names(file.parent)))


def test_another_configuration_prepares_its_own(
    site: Site, file: Path, children: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switches of the engine are part of the name."""
    monkeypatch.setattr(images, "ASKED", {**images.ASKED, "stack": images.STACK_BYTES * 2})
    Images().compiled("an id", LARGE, site)
    assert (2, 2) == (len(children), len(names(file.parent)))


def test_what_the_engine_does_not_take_is_compiled_again(
    site: Site, file: Path, children: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    """Whole bytes that are no compiled form are told, and replaced."""
    Store(site, images.ASKED).save(LARGE, Prepared(Shape(), b"no machine code"), prepared.IMAGE)
    Images().compiled("an id", LARGE, site)
    assert (2, 1) == (len(children), len(caplog.records))
    Images().compiled("an id", LARGE, site)
    assert 2 == len(children)


def test_what_is_kept_beside_an_image_is_no_image(site: Site, file: Path) -> None:
    """An image whose bytes are those of a module that was generated for another one is read and checked as any is."""
    text = b'(module (import "a" "m" (memory 1)) (func (export "f")))'
    Images().compiled("an id", LARGE, site).compiled_beside(text)
    with pytest.raises(RequestError, match="an import is a memory"):
        Images().compiled("another", text, site)
