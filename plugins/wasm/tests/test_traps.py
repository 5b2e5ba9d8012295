"""How a guest fails: the kind, our text, and nothing left of the slot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procession.errors import ComputeError, RequestError
from procession.results import FAILURE_KINDS
from procession_wasm.images import Image

TRAPS = """(module
  (memory 1 400)
  (table 2 funcref)
  (type $number (func (result i32)))
  (func $other)
  (elem (i32.const 1) $other)
  (tag $thrown)
  (global $depth (mut i32) (i32.const 0))
  (func (export "unreachable") unreachable)
  (func (export "divide") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
  (func (export "overflow") (result i32) (i32.div_s (i32.const -2147483648) (i32.const -1)))
  (func (export "convert") (result i32) (i32.trunc_f64_s (f64.const nan)))
  (func (export "outside") (result i32) (i32.load (i32.const 65536)))
  (func (export "table") (result i32) (call_indirect (type $number) (i32.const 2)))
  (func (export "null") (result i32) (call_indirect (type $number) (i32.const 0)))
  (func (export "signature") (result i32) (call_indirect (type $number) (i32.const 1)))
  (func (export "throw") (throw $thrown))
  (func (export "forever") (loop (br 0)))
  (func $deeper (export "recurse") (global.set $depth (i32.const 1)) (call $deeper))
  (func (export "depth") (result i32) (global.get $depth))
  (func (export "greedy") (result i32)
    (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))
    (i32.const 1))
  (func (export "size") (result i32) (memory.size)))"""


@pytest.mark.parametrize(
    ("function", "kind", "name"),
    [
        ("unreachable", "trap", "unreachable"),
        ("divide", "trap", "integer-division-by-zero"),
        ("overflow", "trap", "integer-overflow"),
        ("convert", "trap", "bad-conversion-to-integer"),
        ("outside", "trap", "memory-out-of-bounds"),
        ("table", "trap", "table-out-of-bounds"),
        ("null", "trap", "indirect-call-to-null"),
        ("signature", "trap", "bad-signature"),
        ("throw", "trap", "uncaught-exception"),
        ("forever", "out-of-fuel", "out-of-fuel"),
        ("recurse", "stack-overflow", "stack-overflow"),
    ],
)
def test_a_trap_is_recorded(drive: Callable[..., Any], function: str, kind: str, name: str) -> None:
    """A trap is a failure of its kind, in one line of ours that names it, and the guest goes on after it."""
    guest = drive(TRAPS, fuel=5_000_000)
    failure = guest.call(function)
    assert kind == failure.kind
    assert kind in FAILURE_KINDS
    assert failure.message.startswith("the guest")
    assert failure.message.endswith(f"({name})")
    assert (0,) == guest.call("depth")


def test_fuel_is_for_a_slot(drive: Callable[..., Any]) -> None:
    """Every slot has all of its fuel, whatever the slots before have spent."""
    wat = """(module (func (export "spin") (param $times i32)
      (loop $next
        (local.set $times (i32.sub (local.get $times) (i32.const 1)))
        (br_if $next (local.get $times)))))"""
    guest = drive(wat, fuel=10_000)
    assert [()] * 20 == [guest.call("spin", 1000) for _ in range(20)]
    assert "out-of-fuel" == guest.call("spin", 100_000).kind
    assert () == guest.call("spin", 1000)


def test_growth_ends_at_the_limit(drive: Callable[..., Any]) -> None:
    """The limit of the definition refuses a growth that the module itself would allow."""
    guest = drive(TRAPS, memory_limit=250 * 65536)
    assert [(1,), (1,)] == [guest.call("greedy") for _ in range(2)]
    assert "trap" == guest.call("greedy").kind
    assert (201,) == guest.call("size")


def test_a_refused_growth_explains_the_trap(drive: Callable[..., Any]) -> None:
    """A guest that gives up after an import refused it memory failed by the memory limit."""
    wat = """(module
      (import "host" "grow" (func $grow (result i32)))
      (memory 1)
      (func (export "grow") (if (i32.eqz (call $grow)) (then unreachable))))"""
    guest = drive(wat, {"host.grow": lambda guest: int(guest.grow(1))}, memory_limit=2 * 65536)
    assert () == guest.call("grow")
    assert "memory-limit" == guest.call("grow").kind


HOARDING = """(module
  (tag $thrown (param i64 i64 i64 i64 i64 i64 i64 i64))
  (global $depth (mut i32) (i32.const 0))
  (func $caught (result exnref)
    (block $h (result i64 i64 i64 i64 i64 i64 i64 i64 exnref)
      (try_table (catch_ref $thrown $h) (throw $thrown {numbers})) unreachable)
    return)
  (func $keep (export "keep") (param i32) (result i32) (local $held exnref)
    (global.set $depth (local.get 0))
    (local.set $held (call $caught))
    (if (local.get 0) (then (drop (call $keep (i32.sub (local.get 0) (i32.const 1))))))
    (ref.is_null (local.get $held)))
  (tag $small)
  (func $mix (export "mix") (param i32) (result i32) (local $held exnref)
    (local.set $held (call $caught))
    (drop (call $caught))
    (block $h (result exnref) (try_table (catch_ref $small $h) (throw $small)) unreachable)
    (local.set $held)
    (if (local.get 0) (then (drop (call $mix (i32.sub (local.get 0) (i32.const 1))))))
    (ref.is_null (local.get $held)))
  (func (export "depth") (result i32) (global.get $depth))
  (func (export "churn") (param i32) (loop $again
    (drop (call $caught))
    (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))""".format(numbers="(i64.const 1) " * 8)


HELD = 83_886_080  # bytes, of which the stack of a guest has no room for more


def test_exceptions_that_are_kept_need_room(drive: Callable[..., Any]) -> None:
    """A guest may throw without end, and keep exceptions as far as its stack goes; its memory limit is beyond them."""
    with pytest.raises(
        RequestError, match=f"exceptions that it keeps may take {HELD} bytes, and memory-limit is {HELD - 1}"
    ):
        drive(HOARDING, memory_limit=HELD - 1)
    guest = drive(HOARDING, memory_limit=HELD)
    assert [(), (0,)] == [guest.call("churn", 100_000), guest.call("keep", 100)]
    assert ["stack-overflow"] * 3 == [guest.call("keep", 500_000).kind for _ in range(3)]
    assert [(), (0,), (0,)] == [guest.call("churn", 1000), guest.call("depth"), guest.call("keep", 100)]


def kept(drive: Callable[..., Any], **options: Any) -> tuple[list[str], list[str]]:
    """Return how calls end that keep about as many exceptions as fit, each in a guest of its own, and all in one."""
    ends, others, guest = list[str](), list[str](), drive(HOARDING, **options)
    for depth in range(660, 690):
        guest.call("churn", depth % 7 + 1)
        guest.call("mix", depth % 50)
        others.append(ended(guest, depth))
        ends.append(ended(drive(HOARDING, **options), depth))
    return ends, others


def ended(guest: Any, depth: int) -> str:
    """Return how a call ends that keeps some exceptions."""
    try:
        return repr(guest.call("keep", depth))
    except ComputeError as failed:
        return failed.kind


def test_what_was_thrown_before_changes_nothing(drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """How a call ends does not depend on exceptions of calls before; with too little room for all of them it would."""
    one, other = kept(drive)
    assert one == other
    monkeypatch.setattr(Image, "held", 0)
    one, other = kept(drive, memory_limit=65536)
    assert one != other


def test_a_host_without_room_for_exceptions_is_no_result(
    drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the engine gets no memory for exceptions the host failed, and the guest goes on as before."""
    monkeypatch.setattr(Image, "held", 0)
    guest = drive(HOARDING, memory_limit=65536)
    with pytest.raises(ComputeError) as failed:
        guest.call("keep", 5000)
    assert "host-memory" == failed.value.kind
    assert (0,) == guest.call("keep", 100)


def test_failures_do_not_depend_on_the_run(drive: Callable[..., Any]) -> None:
    """Two guests that fail in the same way fail in the same words."""
    names = ("divide", "forever", "recurse", "throw")
    one, other = (drive(TRAPS, fuel=5_000_000) for _ in range(2))
    assert [one.call(name) for name in names] == [other.call(name) for name in names]


@pytest.mark.parametrize(
    "wat",
    [
        '(module (func $run unreachable) (start $run) (func (export "f")))',
        '(module (func (export "__wasm_call_ctors") unreachable) (func (export "f")))',
        '(module (memory 1) (data (i32.const 65535) "ab") (func (export "f")))',
        '(module (table 1 funcref) (func $f) (elem (i32.const 1) $f) (func (export "f")))',
    ],
)
def test_a_failed_start_is_recorded(drive: Callable[..., Any], wat: str) -> None:
    """A guest that traps while it is started fails the slot, and every later one in the same way."""
    guest = drive(wat)
    assert "trap" == guest.failure.kind
    assert "refused" == guest.call("f").kind
    assert guest.boot().failure.kind == "trap"
    assert bytes(32) == guest.root()
