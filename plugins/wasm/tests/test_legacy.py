"""Exception handlers of the old kind: what they do once they are rewritten, and which are refused."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import wasmtime

from procession.errors import RequestError
from procession_wasm import handlers
from procession_wasm.blocktypes import LegacyError
from procession_wasm.handlers import Plan, Step
from procession_wasm.images import Images
from procession_wasm.legacy import modernised
from procession_wasm.reader import joined, sections, unsigned

GUEST = """(module
  (tag $t (param i32))
  (tag $pair (param i32 i64))
  (func (export "caught") (param i32) (result i32)
    try (result i32)
      local.get 0
      throw $t
    catch $pair
      drop
    catch $t
      i32.const 1
      i32.add
    catch_all
      i32.const -1
    end)
  (func (export "rethrown") (param i32) (result i32)
    try (result i32)
      try (result i32)
        (throw $pair (local.get 0) (i64.const 30))
      catch_all
        rethrow 0
      end
    catch $pair
      i32.wrap_i64
      i32.add
    end)
  (func (export "delegated") (param i32) (result i32)
    try (result i32)
      try (result i32)
        try (result i32)
          (throw $t (local.get 0))
        delegate 1
      catch_all
        i32.const -1
      end
    catch $t
    end)
  (func $out (param i32) (result i32)
    try (result i32)
      try (result i32)
        (throw $t (local.get 0))
      delegate 1
    catch_all
      i32.const -1
    end)
  (func (export "left") (param i32) (result i32)
    try (result i32)
      (call $out (local.get 0))
    catch $t
    end)
  (func (export "took") (param i32) (result i32)
    local.get 0
    i32.const 5
    try (param i32 i32) (result i32)
      i32.mul
      throw $t
    catch $t
      i32.const 2
      i32.mul
    end)
  (func (export "through") (param i32) (result i32)
    block (result i32)
      try (result i32)
        (br_if 1 (i32.const 10) (local.get 0))
        drop
        (throw $t (i32.const 20))
      catch $t
        (br_if 0 (i32.const 30) (i32.const 0))
        br 1
      end
      drop
      i32.const 40
    end)
  (func (export "traps") (result i32)
    try (result i32)
      unreachable
    catch_all
      i32.const 1
    end)
  (func (export "goes") (param i32)
    (throw $t (local.get 0))))"""


@pytest.mark.parametrize(
    ("function", "parameters", "expected"),
    [
        ("caught", (41,), 42),
        ("rethrown", (12,), 42),
        ("delegated", (42,), 42),
        ("left", (42,), 42),
        ("took", (4,), 40),
        ("through", (1,), 10),
        ("through", (0,), 30),
    ],
)
def test_old_handlers_do_what_they_did(
    drive: Callable[..., Any], function: str, parameters: tuple[int, ...], expected: int
) -> None:
    """What is thrown is caught by the handler that it was meant for, with its values."""
    assert (expected,) == drive(GUEST).call(function, *parameters)


@pytest.mark.parametrize(("function", "parameters", "kind"), [("traps", (), "trap"), ("goes", (1,), "trap")])
def test_what_is_not_caught_fails_the_slot(
    drive: Callable[..., Any], function: str, parameters: tuple[int, ...], kind: str
) -> None:
    """No handler catches a trap, and an exception that nobody catches is one."""
    assert kind == drive(GUEST).call(function, *parameters).kind


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("(throw_ref (ref.null exn)) try end", "function body 1 cannot be rewritten: one function has handlers"),
        ("try catch_all catch_all end", "function body 1 cannot be rewritten: a handler stands where no try has one"),
        ("try end catch_all", "a handler stands where no try has one"),
        ("try rethrow 0 catch_all end", "a rethrow stands outside of the handler that it names"),
        ("try catch_all delegate 0", "a delegate ends what is no try without handlers"),
        ("try catch_all end block delegate 0", "a delegate ends what is no try without handlers"),
        ("try br 7 catch_all end", "ends early, or names what it does not have"),
        ("try (result i32) i32.const 1 i32.const 2 catch_all i32.const 3 end drop", "values remaining on stack"),
        ("try catch_all i32.const 1 end drop", "values remaining on stack"),
        ("try try i32.const 1 delegate 0 catch_all end", "values remaining on stack"),
        ("try (result i32) i32.const 1 try i32.const 2 delegate 0 catch_all i32.const 3 end drop", "values remaining"),
        ("try i32.const 1 delegate 0", "values remaining on stack"),
    ],
)
def test_handlers_that_are_none_are_refused(body: str, what: str) -> None:
    """What no engine would have taken is refused by its reason."""
    with pytest.raises(RequestError, match=what) as refused:
        Images().compiled("an id", f"(module (func) (func {body}))".encode())
    assert "bad-image" == refused.value.kind


def test_other_functions_and_modules_are_left_alone() -> None:
    """A module without old handlers is none to rewrite, and functions without them keep their bytes."""
    modern = "(func $f (block $b (try_table (catch_all $b) (call $f))) (i32.const 6) (drop))"
    assert None is modernised(bytes(wasmtime.wat2wasm(f"(module {modern})")))
    mixed = modernised(bytes(wasmtime.wat2wasm(f"(module {modern} (func try call $f catch_all end))")))
    assert mixed is not None
    untouched = dict(sections(bytes(wasmtime.wat2wasm(f"(module {modern})"))))[10][1:]  # behind the count
    assert untouched in mixed
    assert None is modernised(b"")


def test_malformed_modules_are_refused_and_nothing_else() -> None:
    """Whatever is done to the bytes of a module, it is rewritten, left alone or refused."""
    dice, sound, outcomes = random.Random(4), bytes(wasmtime.wat2wasm(GUEST)), set()
    for _ in range(4000):
        content = bytearray(sound[: dice.randrange(len(sound)) if dice.random() < 0.3 else None])
        for _ in range(dice.randrange(1, 4)):
            if len(content) > 8:
                content[dice.randrange(8, len(content))] = dice.randrange(256)
        try:
            outcomes.add(modernised(bytes(content)) is None)
        except LegacyError:
            outcomes.add("refused")
    assert {True, False, "refused"} == outcomes


SHAPES: dict[str, Callable[[int], bytes]] = {
    "nested": lambda size: b"\x06\x40" * size + b"\x0b" * size,
    "handlers": lambda size: b"\x06\x40" + b"\x07\0" * size + b"\x0b",
    "rethrows": lambda size: b"\x06\x40" * size + b"\x07\0\x09\0\x0b" * size,
    "delegates": lambda size: b"\x06\x40" + b"\x02\x40" * size + b"\x06\x40\x18\0" * size + b"\x0b" * (size + 1),
    "branches": lambda size: b"\x06\x40" * size + (b"\x0c" + unsigned(size)) * size + b"\x0b" * size,
}


def module(code: bytes) -> bytes:
    """Return a module of one function and a tag."""
    body = b"\0" + code + b"\x0b"
    tables = [(1, b"\x01\x60\0\0"), (3, b"\x01\0"), (13, b"\x01\0\0")]
    return joined([*tables, (10, b"\x01" + unsigned(len(body)) + body)])


def growth(shape: Callable[[int], bytes], size: int) -> float:
    """Return by how much the rewriting of a module takes longer that is eight times as large."""
    took = [[_seconds(module(shape(many * size))) for many in (1, 8)] for _ in range(3)]
    return min(large for _, large in took) / min(small for small, _ in took)


def _seconds(content: bytes) -> float:
    begun = time.process_time()
    modern = modernised(content)
    assert modern is not None
    assert len(modern) < 16 * len(content)
    return time.process_time() - begun


@pytest.mark.parametrize("shape", SHAPES)
def test_rewriting_takes_as_long_as_a_module_is_large(shape: str) -> None:
    """However handlers are nested and whatever they name, eight times as many take about eight times as long."""
    assert growth(SHAPES[shape], 1000) < 20


def test_a_rewriting_that_searches_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that looks through the open blocks for each delegate takes much more than eight times as long."""

    def search(self: Plan, step: Step) -> None:
        found, *_ = [taker for own, taker in self._open if own is taker]
        own = self._open.pop()[0]
        assert own is not None
        own.target = found
        found.delegated = True

    monkeypatch.setattr(handlers, "_PLANNED", {**handlers._PLANNED, handlers.DELEGATE: search})
    assert growth(SHAPES["delegates"], 400) > 20
