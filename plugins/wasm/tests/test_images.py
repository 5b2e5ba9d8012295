"""Which images are refused when a process is spawned, and what is left of those that are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import wasmtime

from procession.errors import RequestError
from procession.roles import FunctionType
from procession_wasm import binary, images
from procession_wasm.images import Images, fingerprint

EVERYTHING = """(module
  (type $unused (func (param i32 i64 f32 f64 v128 externref) (result i32 i64)))
  (import "a" "f" (func $f (type $unused)))
  (import "a" "t" (table 1 2 externref))
  (import "a" "g" (global (mut v128)))
  (import "a" "e" (tag))
  (table $t 3 9 funcref)
  (memory $m i64 2 7)
  (global $a (mut i32) (i32.const -129))
  (global $b f64 (f64.const 1.5))
  (global $c (mut f32) (f32.const 1.5))
  (global $d funcref (ref.func $own))
  (global $e externref (ref.null extern))
  (global $v (mut v128) (v128.const i64x2 1 2))
  (global $x (mut i64) (i64.add (i64.const 1) (i64.const 300)))
  (func $own (param i64) (result f32) (f32.const 0))
  (func $start)
  (start $start)
  (export "own" (func $own))
  (export "f" (func $f))
  (export "t" (table $t))
  (data (memory $m) (i64.const 70000) "abc")
  (data (memory $m) (i64.const 4095) "ab")
  (elem (table $t) (i32.const 0) func $own))"""


def test_a_module_is_read_as_it_is() -> None:
    """Everything that a module says about itself is read from its bytes, kinds that the engine cannot tell included."""
    shape = binary.shape_of(bytes(wasmtime.wat2wasm(EVERYTHING)))
    assert [("f", "function"), ("t", "table"), ("g", "global"), ("e", "tag")] == [
        (w.name, w.kind) for w in shape.imports
    ]
    assert FunctionType(("i32", "i64", "f32", "f64", "v128", "reference"), ("i32", "i64")) == shape.imports[0].type
    assert FunctionType(("i64",), ("f32",)) == shape.function("own")
    assert shape.imports[0].type == shape.function("f")
    assert None is shape.function("t")
    assert (3, 9, False) == tuple(getattr(shape.table("t"), name) for name in ("minimum", "maximum", "wide"))
    assert [binary.Limits(2, 7, True)] == list(shape.memories)
    assert [(1, "i32"), (3, "f32"), (6, "v128"), (7, "i64")] == shape.mutable_globals()
    assert [(70000, 3), (4095, 2)] == [(segment.offset, segment.size) for segment in shape.segments]
    assert frozenset({0, 1, 17}) == binary.pages_of(shape.segments, 4096, 2 * 65536)
    assert 2 == shape.start


def test_an_opened_module_is_valid_and_lets_us_in() -> None:
    """What is added are exports alone, and the module no longer starts by itself."""
    content = bytes(wasmtime.wat2wasm(EVERYTHING))
    opened = binary.opened(content, binary.shape_of(content))
    wasmtime.Module.validate(wasmtime.Engine(), opened)
    shape = binary.shape_of(opened)
    added = ["memory", "global:1", "global:3", "global:6", "global:7", "start"]
    assert ["own", "f", "t", *(f"procession:{name}" for name in added)] == list(shape.exports)
    assert None is shape.start


def test_computed_places_fill_everything() -> None:
    """Data whose place is computed may be anywhere, so every page counts as filled."""
    wat = '(module (memory 1) (data (i32.add (i32.const 1) (i32.const 2)) "x"))'
    shape = binary.shape_of(bytes(wasmtime.wat2wasm(wat)))
    assert frozenset(range(16)) == binary.pages_of(shape.segments, 4096, 65536)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "neither a WASM module nor WAT text"),
        (b"hello", "neither a WASM module nor WAT text"),
        (b"\xff\xfe\x00", "neither a WASM module nor WAT text"),
        (b"\0asm", "neither a WASM module nor WAT text"),
        (b"\0asm\x0d\0\x01\0", "neither a WASM module nor WAT text"),
        (b"\0asm\x01\0\0\0\x01\xff", "neither a WASM module nor WAT text"),
        ("(module (func (result i32)))", "type mismatch"),
        ("(module (memory 1) (memory 1))", "multiple memories"),
        ("(module (memory 1 1 shared))", "threads must be enabled"),
        ('(module (import "a" "m" (memory 1)))', "memories that the module defines"),
        ("(module (global (mut funcref) (ref.null func)))", "a mutable global holds a reference"),
        ('(module (memory 1) (data "passive"))', "a passive piece of data"),
        (
            "(module (tag (param exnref)) (func (block (result exnref) (try_table (catch_all_ref 0)) return) drop))",
            "exceptions that it keeps carry references",
        ),
        (
            "(module (tag (param externref)) (func try catch_all rethrow 0 end))",
            "exceptions that it keeps carry references",
        ),
        ("(module (table 1000001 funcref))", "tables of more than 1000000 elements"),
        ("(module (table 500000 funcref) (table 500001 externref))", "tables of more than 1000000 elements"),
        ('(module (func) (export "procession:x" (func 0)))', "an export begins with 'procession:'"),
        ("(module " + "(global (mut i32) (i32.const 0))" * 257 + ")", "more than 256 mutable globals"),
        ("(module (func (f32x4.relaxed_madd (v128.const i64x2 0 0))))", "neither a WASM module"),
    ],
)
def test_an_image_that_cannot_serve_is_refused(content: str | bytes, what: str) -> None:
    """An image that is no module, or that a snapshot could not hold, is refused in one line with its id."""
    with pytest.raises(RequestError) as refused:
        Images().compiled("an id", content.encode() if isinstance(content, str) else content)
    assert "bad-image" == refused.value.kind
    assert "wasm-64@1.0 image an id" == refused.value.where
    assert what in refused.value.what
    assert "\n" not in refused.value.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "expected at least one module field"),
        (b" \n", "expected at least one module field"),
        (b"hello", "expected `(`"),
        (b"(module\n  (func (i32.add))", "expected `)`"),
        (b"(module\n  (bogus | 1))", "expected valid module field"),
    ],
)
def test_a_broken_text_is_told_by_its_cause(content: bytes, reason: str) -> None:
    """What the parser says is told, not the line that it quotes."""
    with pytest.raises(RequestError) as refused:
        Images().compiled("an id", content)
    assert refused.value.what.endswith(f": {reason}")


def test_a_refused_image_names_its_stage(stage: Callable[..., Any]) -> None:
    """A stage that cannot be built is named by its number and device."""
    with pytest.raises(RequestError, match=r"^stage 1: wasm-64@1\.0 image guest: neither a WASM module"):
        stage("hello")


def test_exceptions_that_are_not_kept_may_carry_references() -> None:
    """A module that keeps nothing of what it catches may throw references, and needs no room for exceptions."""
    wat = "(module (tag (param externref)) (func (block $h (try_table (catch_all $h)))))"
    assert 0 == Images().compiled("an id", wat.encode()).held


def test_exceptions_that_others_throw_need_room_where_they_are_kept() -> None:
    """A module without a tag of its own may keep what an import throws, and then needs as much room."""
    block = "(block $b (result exnref) (try_table (catch_all_ref $b) (call $f)) (unreachable))"
    wat = f'(module (import "env" "f" (func $f)) (func (drop {block})))'
    assert 0 < Images().compiled("an id", wat.encode()).held


def test_an_image_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image above the bound is refused before it is looked at."""
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    with pytest.raises(RequestError, match="11 bytes, at most 10"):
        Images().compiled("an id", b"\0" * 11)
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    monkeypatch.setattr(images, "ADDED_BYTES", 0)
    grows = "(drop (memory.grow (i32.const 0)))"
    with pytest.raises(RequestError, match="bytes once it is opened, at most 100"):
        Images().compiled("an id", f"(module (memory 1) (func {grows}))".encode())


def test_a_missing_image_is_refused(stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are not there are refused when the stage is built."""
    with pytest.raises(RequestError, match="not there"):
        stage("(module)", image="elsewhere")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"function": "absent"}, "no function of numbers named absent"),
        ({"functions": ["f", "vector"]}, "no function of numbers named vector"),
        ({"functions": ["memory"]}, "named memory"),
        ({"memory_limit": 65536}, "begins with 131072 bytes of memory, and memory-limit is 65536"),
    ],
)
def test_a_definition_that_does_not_fit_is_refused(
    stage: Callable[..., Any], options: dict[str, Any], what: str
) -> None:
    """A definition that asks of an image what it does not have is refused when the stage is built."""
    wat = '(module (memory (export "memory") 2) (func (export "f")) (func (export "vector") (param v128)))'
    with pytest.raises(RequestError, match=what):
        stage(wat, **options)


@pytest.mark.parametrize(
    "options", [{"fuel": 0}, {"fuel": 1 << 63}, {"memory_limit": 65535}, {"memory_limit": 1 << 40}]
)
def test_options_have_bounds(stage: Callable[..., Any], options: dict[str, int]) -> None:
    """A limit out of its range is refused and says the range."""
    with pytest.raises(ValueError, match="out of range; give"):
        stage("(module)", **options)


def test_an_image_is_compiled_once() -> None:
    """A kernel compiles an image once while it is in use, and forgets the one used longest ago."""
    made = Images()
    first = made.compiled("0", b"(module)")
    assert first is made.compiled("0", b"(module)")
    for number in range(1, images.KEPT + 1):
        made.compiled(str(number), b"(module)")
    assert first is not made.compiled("0", b"(module)")


def test_the_fingerprint_names_the_engine() -> None:
    """What fuel and traps depend on is named, and no place or time."""
    found = fingerprint()
    assert {"wasmtime", "flags"} == set(found)
    assert found["wasmtime"].startswith("50.")
    assert "cranelift_nan_canonicalization" in found["flags"]
