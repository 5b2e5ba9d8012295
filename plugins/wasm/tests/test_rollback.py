"""A failed slot leaves memory, its size and the globals as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procession.roles import Ok
from procession_wasm.instance import Instance
from procession_wasm.memory import LinearMemory

COUNTER = """(module
  (memory {width} 1 10)
  (data ({width}.const 5000) "filled")
  (global $count (mut i64) (i64.const 5))
  (func (export "bump") (param $at {width}) (result i64)
    (i32.store8 (local.get $at) (i32.add (i32.const 1) (i32.load8_u (local.get $at))))
    (global.set $count (i64.add (global.get $count) (i64.const 1)))
    (global.get $count))
  (func (export "look") (param $at {width}) (result i32) (i32.load8_u (local.get $at)))
  (func (export "pages") (result {width}) (memory.size))
  (func (export "ruin") (result i32)
    (memory.fill ({width}.const 0) (i32.const 255) ({width}.const 65536))
    (global.set $count (i64.const -1))
    unreachable)
  (func (export "grow") (param $by {width}) (result {width}) (memory.grow (local.get $by)))
  (func (export "grow_and_ruin")
    (drop (memory.grow ({width}.const 2)))
    (memory.fill ({width}.const 60000) (i32.const 255) ({width}.const 100000))
    unreachable))"""


@pytest.fixture(params=["i32", "i64"])
def counter(request: pytest.FixtureRequest, drive: Callable[..., Any]) -> Any:
    """Boot a guest that counts in its memory and in a global."""
    return drive(COUNTER.format(width=request.param))


@pytest.mark.parametrize("end", ["ruin", "grow_and_ruin"])
def test_a_trap_leaves_nothing(counter: Any, end: str) -> None:
    """After a trap the guest has the bytes, the size and the globals of the slot before."""
    assert [(6,), (7,)] == [counter.call("bump", 100) for _ in range(2)]
    root = counter.root()
    assert "trap" == counter.call(end).kind
    assert root == counter.root()
    assert [(2,), (ord("f"),), (0,), (1,)] == [
        *(counter.call("look", at) for at in (100, 5000, 60000)),
        counter.call("pages"),
    ]
    assert (8,) == counter.call("bump", 100)


def test_another_stage_may_fail_the_slot(counter: Any) -> None:
    """A slot that the guest did well and another stage failed is rolled back all the same."""
    counter.call("bump", 100)
    root = counter.root()
    for function, parameters in (("bump", [100]), ("grow", [3])):
        message = {"function": function, "parameters": parameters}
        assert isinstance(counter.stage.compute(counter.state, counter.assignment(7, message), 1), Ok)
        counter.stage.rollback(7)
        assert root == counter.root()


def test_rollback_of_an_idle_slot_is_nothing(counter: Any) -> None:
    """Rolling back a slot that did not call the guest leaves it as it is."""
    counter.call("bump", 100)
    root = counter.root()
    counter.stage.rollback(9)
    assert root == counter.root()


def test_growth_is_kept_when_the_slot_is_good(counter: Any) -> None:
    """A memory that grew in a good slot stays grown when a later one fails."""
    assert (1,) == counter.call("grow", 2)
    counter.call("bump", 190_000)
    assert "trap" == counter.call("grow_and_ruin").kind
    assert [(3,), (1,)] == [counter.call("pages"), counter.call("look", 190_000)]


def test_a_failed_first_slot_starts_anew(counter: Any) -> None:
    """A slot that began with the start of the guest is rolled back to before it; the next slot starts it again."""
    message = {"function": "bump", "parameters": [100]}
    fresh = counter.root()
    counter.stage.compute(counter.state, counter.assignment(0, message), 1)
    counter.stage.rollback(0)
    assert bytes(32) == counter.root()
    assert None is counter.boot().failure
    assert fresh == counter.root()


SPOILING = """(module
  (memory 1 10)
  (tag $thrown (param i64))
  (table 2 funcref)
  (type $number (func (result i32)))
  (global $stack (mut i32) (i32.const 65536))
  (global $float (mut f32) (f32.const 1.5))
  (global $double (mut f64) (f64.const nan:0x4000000000001))
  (global $vector (mut v128) (v128.const i64x2 1 2))
  (func $spoil
    (global.set $stack (i32.sub (global.get $stack) (i32.const 1024)))
    (global.set $float (f32.const nan:0x200001))
    (global.set $double (f64.const -0))
    (global.set $vector (i8x16.splat (i32.const 7)))
    (memory.fill (global.get $stack) (i32.const 170) (i32.const 1024))
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 9000)))
  (func (export "add") (param i64) (result i64)
    (local $frame i32)
    (global.set $stack (local.tee $frame (i32.sub (global.get $stack) (i32.const 16))))
    (i64.store (local.get $frame) (i64.add (i64.load (i32.const 4096)) (local.get 0)))
    (i64.store (i32.const 4096) (i64.load (local.get $frame)))
    (global.set $stack (i32.add (local.get $frame) (i32.const 16)))
    (i64.load (i32.const 4096)))
  (func (export "unreachable") (call $spoil) unreachable)
  (func (export "divide") (result i32) (call $spoil) (i32.div_s (i32.const 1) (i32.const 0)))
  (func (export "outside") (call $spoil) (i32.store (i32.const -1) (i32.const 0)))
  (func (export "empty") (result i32) (call $spoil) (call_indirect (type $number) (i32.const 0)))
  (func (export "throw") (call $spoil) (throw $thrown (i64.const 5)))
  (func (export "rethrow") (local $caught exnref) (call $spoil)
    (block $h (result i64 exnref) (try_table (catch_ref $thrown $h) (throw $thrown (i64.const 6))) unreachable)
    throw_ref)
  (func (export "spin") (call $spoil) (loop (br 0)))
  (func $deeper (export "sink") (param i32) (call $spoil) (call $deeper (i32.add (local.get 0) (i32.const 1))))
  (func (export "hoard") (call $spoil) (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable))"""
SPOILERS = ("unreachable", "divide", "outside", "empty", "throw", "rethrow", "spin", "sink", "hoard")


def _roots(guest: Any, *, poisoned: bool) -> list[Any]:
    """Return answers and live roots of good slots, with a poison before each, or with none."""
    seen = []
    for poison in SPOILERS * 2:
        if poisoned:
            parameters = (0,) if poison == "sink" else ()
            assert guest.call(poison, *parameters).kind in ("trap", "out-of-fuel", "stack-overflow", "memory-limit")
        seen.append((guest.call("add", 3), guest.root()))
    return seen


def test_nothing_of_a_failed_slot_is_left(drive: Callable[..., Any]) -> None:
    """A guest that failed in every way between its slots is, byte for byte, one that never failed."""
    one, other = (drive(SPOILING, fuel=1_000_000) for _ in range(2))
    assert _roots(one, poisoned=False) == _roots(other, poisoned=True)


def test_only_a_grown_memory_takes_a_new_instance(drive: Callable[..., Any]) -> None:
    """A failed slot is put right in the instance that is there; one that grew its memory costs a new one."""
    guest = drive(SPOILING, fuel=1_000_000)
    assert (3,) == guest.call("add", 3)
    kept = guest.stage._instance
    replaced = {name: (guest.call(name, *((0,) if name == "sink" else ())), guest.stage._instance) for name in SPOILERS}
    assert ["hoard"] == [name for name, (_, instance) in replaced.items() if instance is not kept]


@pytest.mark.parametrize("part", ["set_globals", "put_pages"])
def test_each_restored_part_counts(drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Without the globals, or without the pages, something of a failed slot would be left."""
    good = _roots(drive(SPOILING, fuel=1_000_000), poisoned=False)
    owner = Instance if part == "set_globals" else LinearMemory
    monkeypatch.setattr(owner, part, lambda self, *given: None)
    assert good != _roots(drive(SPOILING, fuel=1_000_000), poisoned=True)
