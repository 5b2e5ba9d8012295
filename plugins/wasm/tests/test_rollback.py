"""A failed slot leaves memory, its size and the globals as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procession.roles import Ok

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
