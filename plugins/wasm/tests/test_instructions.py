"""Modules that change what no snapshot holds are told from their code."""

from __future__ import annotations

import pytest
import wasmtime

from procession.errors import RequestError
from procession_wasm import instructions
from procession_wasm.images import Images

EVERYTHING = """(module
  (type $two (func (param i32 i64) (result i32)))
  (tag $t (param i32))
  (table $t 4 funcref)
  (table $x 4 externref)
  (memory 1)
  (elem $e func $f)
  (global $g (mut i64) (i64.const 38))
  (func $f (param i32 i64) (result i32) (local f32 f64 v128 externref)
    (block (result i32) (i32.const -38))
    (if (type $none) (then (nop)) (else (nop)))
    (block $a (loop $b (br_table $a $b $a (local.get 0))))
    (drop (select (result externref) (ref.null extern) (table.get $x (i32.const 0)) (i32.const 1)))
    (drop (select (i32.const 1) (i32.const 2) (i32.const 3)))
    (block $h (result i32) (try_table (catch $t $h) (throw $t (i32.const 0x26))) (i32.const 0))
    drop
    (block $all (try_table (catch_all $all) (call $none)))
    (drop (call_indirect (type $two) (i32.const 1) (i64.const 2) (i32.const 0)))
    (drop (i64.load offset=4000000000 align=1 (i32.const 0)))
    (i64.store8 offset=38 (i32.const 0) (i64.const -1))
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))
    (memory.copy (i32.const 0) (i32.const 0) (i32.const 0))
    (drop (memory.grow (memory.size)))
    (drop (table.size $t))
    (drop (ref.is_null (ref.func $f)))
    (drop (i32.trunc_sat_f64_u (f64.const 0x1.2626262626262p+3)))
    (drop (f32.add (f32.const 38) (f32.const 0x1.26p+3)))
    (local.set 4 (v128.const i32x4 0x26262626 0x26262626 0x26262626 0x26262626))
    (local.set 4 (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (local.get 4) (local.get 4)))
    (local.set 4 (v128.load16_splat offset=38 (i32.const 0)))
    (local.set 4 (v128.load8_lane offset=38 3 (i32.const 0) (local.get 4)))
    (v128.store64_lane 1 (i32.const 0) (local.get 4))
    (local.set 4 (v128.load32_zero (i32.const 38)))
    (drop (i16x8.extract_lane_s 5 (local.get 4)))
    (local.set 4 (f64x2.replace_lane 1 (local.get 4) (f64.const 0)))
    (local.set 4 (f32x4.ceil (i64x2.extmul_high_i32x4_u (local.get 4) (local.get 4))))
    {last}
    (return (i32.const 1)))
  (func $none (type $none))
  (type $none (func)))"""


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ("", ""),
        ("(table.set $x (i32.const 0) (ref.null extern))", "table.set"),
        ("(drop (table.grow $x (ref.null extern) (i32.const 1)))", "table.grow"),
        ("(table.fill $x (i32.const 0) (ref.null extern) (i32.const 1))", "table.fill"),
        ("(table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 1))", "table.copy"),
        ("(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1))", "table.init"),
        ("(elem.drop $e)", "elem.drop"),
    ],
)
def test_an_instruction_that_changes_a_table_is_found(last: str, found: str) -> None:
    """Behind every other instruction, and numbers that look like one, what changes a table is found, or nothing is."""
    wat = EVERYTHING.format(last=last).replace(
        "(if (type $none)", "(local.get 0) (drop) (local.get 0) (if (type $none)"
    )
    content = bytes(wasmtime.wat2wasm(wat))
    assert found == instructions.change_of(content)
    if found:
        with pytest.raises(RequestError, match=f"cannot be restored: it uses {found}; build it without"):
            Images().compiled("an id", content)
    else:
        assert "an id" == Images().compiled("an id", content).id


def test_long_numbers_hide_nothing() -> None:
    """Numbers of more bytes than they need change nothing."""
    long_zero = b"\x41\x80\x80\x80\x80\x00"
    body = b"\0" + long_zero + b"\xd0\x6f\x26\x80\x00" + b"\x0b"
    table = b"\x04\x04\x01\x6f\x00\x01"
    code = b"\x0a" + bytes([len(body) + 2]) + b"\x01" + bytes([len(body)]) + body
    content = b"\0asm\x01\0\0\0" + b"\x01\x04\x01\x60\0\0" + b"\x03\x02\x01\0" + table + code
    wasmtime.Module.validate(wasmtime.Engine(), content)
    assert "table.set" == instructions.change_of(content)


@pytest.mark.parametrize(
    ("handlers", "found"),
    [
        ("", False),
        ("(catch $t $values)", False),
        ("(catch_all $none)", False),
        ("(catch $t $values) (catch_ref $t $both)", True),
        ("(catch_all $none) (catch_all_ref $one)", True),
    ],
)
def test_a_handler_that_keeps_exceptions_is_found(handlers: str, found: bool) -> None:
    """A handler that gives a reference to what it catches is found wherever it stands."""
    table = f"(try_table {handlers} (nop))"
    wat = f"""(module (tag $t (param i32)) (func (local i64) (i64.const 0x1f) drop)
      (func (block $none (block $one (result exnref) (block $both (result i32 exnref) (block $values (result i32)
        (loop {table}) (br $none)) (br $none)) (br $none)) drop)))"""
    assert found is instructions.holds_exceptions(bytes(wasmtime.wat2wasm(wat)))
