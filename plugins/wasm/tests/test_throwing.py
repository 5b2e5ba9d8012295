"""Emscripten's longjmp: thrown and caught within WASM, for 32 and 64 bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procession.errors import RequestError
from procession_wasm import shims
from procession_wasm.images import Images

JUMPS = """(module
  (type $inner (func (param i32) (result i64)))
  (import "env" "invoke_ji" (func $invoke (param {p} i32) (result i64)))
  (import "env" "invoke_v" (func $invoke_v (param {p})))
  (import "env" "_emscripten_throw_longjmp" (func $throw))
  (import "host" "fail" (func $fail))
  (memory {p} 1)
  (table $table (export "__indirect_function_table") {t} 4 funcref)
  (elem (table $table) ({tt}.const 0) func $jump $stay $trap $nest)
  (global $stack (mut {p}) ({p}.const 5000))
  (global $threw (mut i32) (i32.const 0))
  (func (export "setThrew") (param {p} i32) (global.set $threw (i32.add (global.get $threw) (i32.const 1))))
  (func (export "{save}") (result {p}) (global.get $stack))
  (func (export "{restore}") (param {p}) (global.set $stack (local.get 0)))
  (func $leak (global.set $stack ({p}.sub (global.get $stack) ({p}.const 16))))
  (func $jump (type $inner) (call $leak) (call $throw) (i64.const 1))
  (func $stay (type $inner) (i64.extend_i32_s (local.get 0)))
  (func $trap (type $inner) (call $leak) unreachable)
  (func $nest (type $inner)
    (if (result i64) (i32.eqz (local.get 0))
      (then (call $throw) (i64.const 0))
      (else (i64.add (i64.const 1)
        (call $invoke ({p}.const 3) (i32.sub (local.get 0) (i32.const 1)))))))
  (func (export "go") (param $index i32) (param $value i32) (result i64 i32 {p})
    (call $invoke {index} (local.get $value))
    (global.get $threw) (global.get $stack))
  (func (export "loose") (call $throw)))"""


def jumps(width: str, names: tuple[str, str] = ("stackSave", "stackRestore"), table: str = "i32") -> str:
    """Return the module for memories of a width."""
    wide = width == "i64"
    return JUMPS.format(
        p=width,
        t="i64" if table == "i64" else "",
        tt=table,
        save=names[0],
        restore=names[1],
        index="(i64.extend_i32_u (local.get $index))" if wide else "(local.get $index)",
    )


@pytest.fixture(
    params=[
        ("i32", ("stackSave", "stackRestore"), "i32"),
        ("i64", ("emscripten_stack_get_current", "_emscripten_stack_restore"), "i32"),
        ("i64", ("emscripten_stack_get_current", "_emscripten_stack_restore"), "i64"),
    ],
    ids=["32", "64", "64-table"],
)
def guest(request: pytest.FixtureRequest, drive: Callable[..., Any]) -> Any:
    """Boot a guest that jumps."""
    functions = ["go", "loose"]
    return drive(jumps(*request.param), {"host.fail": lambda guest: None}, functions=functions)


def test_a_call_without_a_jump_returns(guest: Any) -> None:
    """A function that does not jump gives its answer, and nothing is told."""
    assert (-9, 0, 5000) == guest.call("go", 1, -9)


def test_a_jump_is_caught(guest: Any) -> None:
    """A jump ends at the call that invoked it: an empty answer, the stack as it was, and the guest told."""
    assert (0, 1, 5000) == guest.call("go", 0, 0)
    assert (0, 2, 5000) == guest.call("go", 0, 0)


def test_jumps_nest_without_python(guest: Any) -> None:
    """A thousand calls within calls, more than Python itself could nest, end at the innermost."""
    assert (1001, 1, 5000) == guest.call("go", 3, 1001)


def test_a_trap_is_no_jump(guest: Any) -> None:
    """A trap passes by every call that would catch a jump."""
    assert "trap" == guest.call("go", 2, 0).kind
    assert (4, 0, 5000) == guest.call("go", 1, 4)


def test_a_jump_to_nowhere_is_a_failure(guest: Any) -> None:
    """A jump that no call has invoked is a failure of the guest."""
    failure = guest.call("loose")
    assert ("trap", "the guest trapped (uncaught-exception)") == (failure.kind, failure.message)


@pytest.mark.parametrize("missing", ["__indirect_function_table", "setThrew", "stackSave", "stackRestore"])
def test_a_guest_that_exports_too_little_is_refused(stage: Callable[..., Any], missing: str) -> None:
    """Jumps of a guest that cannot be told about them are answered by nobody."""
    wat = jumps("i32").replace(f'"{missing}"', '"other"')
    with pytest.raises(RequestError, match=r"env\.invoke_ji\(i32, i32\), env\.invoke_v\(i32\), env\._emscripten_throw"):
        stage(wat, {"host.fail": lambda guest: None})


def test_other_stages_are_asked_first(drive: Callable[..., Any]) -> None:
    """A stage that answers an invoke itself is the one that is called."""
    invoked: list[int] = []

    def invoke(guest: Any, index: int, value: int) -> int:
        invoked.append(index)
        return 12

    answers = {"host.fail": lambda guest: None, "env.invoke_ji": invoke}
    assert (12, 0, 5000) == drive(jumps("i32"), answers, functions=["go"]).call("go", 0, 0)
    assert [0] == invoked


def test_shims_are_small_modules() -> None:
    """Both shims are modules of their own, also for a guest that needs neither."""
    shape = Images().compiled("an id", jumps("i32").encode()).shape
    throwing = shims.throwing_of(shape)
    assert ("stackSave", "stackRestore", "i32", False) == (
        throwing.save,
        throwing.restore,
        throwing.pointer,
        throwing.wide_table,
    )
    assert "call_indirect" not in shims.front([], writes=False) + shims.back([], shape, writes=False).text
