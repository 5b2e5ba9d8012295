"""What a message may call, with which numbers, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from procession.roles import Fail

FACTORIAL = """(module
  (memory {width} 1)
  (func $fac (export "fac") (param f64) (result f64)
    (if (result f64) (f64.lt (local.get 0) (f64.const 1))
      (then (f64.const 1))
      (else (f64.mul (local.get 0) (call $fac (f64.sub (local.get 0) (f64.const 1))))))))"""

ECHO = """(module
  (memory (export "memory") 1)
  (func (export "i32") (param i32) (result i32) (local.get 0))
  (func (export "i64") (param i64) (result i64) (local.get 0))
  (func (export "f32") (param f32) (result f32) (local.get 0))
  (func (export "f64") (param f64) (result f64) (local.get 0))
  (func (export "pair") (result i64 f64) (i64.const -1) (f64.const 0.5))
  (func (export "nothing"))
  (func (export "malloc") (param i32) (result i32) (local.get 0))
  (func (export "_hidden") (result i32) (i32.const 7))
  (func (export "vector") (result v128) (v128.const i64x2 1 2))
  (func (export "reference") (result funcref) (ref.null func)))"""


@pytest.mark.parametrize("width", ["i32", "i64"])
def test_a_function_is_called_with_numbers(drive: Callable[..., Any], width: str) -> None:
    """Five factorial is 120, beside a memory of 32 and of 64 bit."""
    guest = drive(FACTORIAL.format(width=width))
    assert (120.0,) == guest.call("fac", 5.0)
    assert "ok" == guest.state.at("results/type")


def test_results_stand_below_the_output_prefix(drive: Callable[..., Any]) -> None:
    """The answer of a stage with an output prefix stands below it."""
    guest = drive(FACTORIAL.format(width="i32"), output_prefix="wasm")
    guest.call("fac", 3.0)
    assert {"wasm": {"type": "ok", "output": [6.0]}} == guest.state["results"].plain()


def test_the_default_function_is_called(drive: Callable[..., Any]) -> None:
    """A message that names no function calls the definition's."""
    guest = drive(FACTORIAL.format(width="i32"), function="fac")
    guest.compute({"parameters": [4]})
    assert (24.0,) == guest.state.at("results/output")


def test_nothing_to_call_changes_nothing(drive: Callable[..., Any]) -> None:
    """A message without a function leaves the state as it is where the definition names none either."""
    guest = drive(FACTORIAL.format(width="i32"))
    before = guest.state
    assert before == guest.compute({"parameters": [4]}).state


def test_later_passes_change_nothing(drive: Callable[..., Any]) -> None:
    """The guest is called in pass 1 alone."""
    guest = drive(FACTORIAL.format(width="i32"), function="fac")
    again = guest.stage.compute(guest.state, guest.assignment(0, {"parameters": [4]}), 2)
    assert guest.state == again.state


@pytest.mark.parametrize(
    ("function", "given", "answered"),
    [
        ("i32", -1, -1),
        ("i32", 2**32 - 1, -1),
        ("i32", -(2**31), -(2**31)),
        ("i64", 2**64 - 2, -2),
        ("i64", 2**63 - 1, 2**63 - 1),
        ("f32", 0.1, 0.10000000149011612),
        ("f64", 3, 3.0),
        ("f64", -math.inf, -math.inf),
    ],
)
def test_numbers_pass_through(drive: Callable[..., Any], function: str, given: Any, answered: Any) -> None:
    """A number reaches the guest as its type holds it, and comes back signed."""
    (found,) = drive(ECHO).call(function, given)
    assert (type(answered), answered) == (type(found), found)


def test_there_is_one_nan(drive: Callable[..., Any]) -> None:
    """A NaN in a result has the bytes of any other."""
    guest = drive(ECHO)
    guest.call("f64", math.nan)
    one = guest.state.id
    guest.call("f64", -math.nan)
    assert one == guest.state.id


def test_several_results_are_a_list(drive: Callable[..., Any]) -> None:
    """A function with two results gives both, one with none an empty list."""
    guest = drive(ECHO)
    assert (-1, 0.5) == guest.call("pair")
    assert () == guest.call("nothing")


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("i32", [2**32]),
        ("i32", [-(2**31) - 1]),
        ("i32", [1.0]),
        ("i32", [True]),
        ("i32", ["1"]),
        ("i32", [None]),
        ("i32", []),
        ("i32", [1, 2]),
        ("i64", [2**64]),
        ("f32", [1e39]),
        ("f64", [b"1"]),
        ("f64", [False]),
        ("f64", {"1": 1.0}),
        ("f64", 1.0),
        ("absent", []),
        ("malloc", [8]),
        ("_hidden", []),
        ("vector", []),
        ("reference", []),
        ("memory", []),
        ("procession:memory", []),
        (7, []),
        (None, []),
        (["i32"], [1]),
    ],
)
def test_anything_else_is_refused(drive: Callable[..., Any], function: Any, parameters: Any) -> None:
    """A function that may not be called, or a parameter that is not of its type, is a recorded failure."""
    guest = drive(ECHO).compute({"function": function, "parameters": parameters})
    assert isinstance(guest.failure, Fail)
    assert "refused" == guest.failure.kind
    assert (5,) == guest.call("i32", 5)


def test_the_definition_chooses_the_functions(drive: Callable[..., Any]) -> None:
    """Where the definition lists functions, a message chooses among those, hidden ones included, and no others."""
    guest = drive(ECHO, functions=["_hidden", "i64"], function="f64")
    assert (7,) == guest.call("_hidden")
    assert (1.0,) == guest.call("f64", 1.0)
    assert "refused" == guest.call("i32", 1).kind


def test_messages_cannot_ask_like_a_stage(drive: Callable[..., Any]) -> None:
    """A message's own private rows ask nothing."""
    guest = drive(ECHO)
    before = guest.state
    assert before == guest.compute({"priv.call": {"function": "_hidden", "parameters": []}}).state


def test_another_stage_comes_first(drive: Callable[..., Any]) -> None:
    """A call that another stage asks for is made in place of the message's, whatever the definition lists."""
    guest = drive(ECHO, functions=["i64"])
    guest.compute({"function": "i64", "parameters": [1]}, call={"function": "_hidden", "parameters": ()})
    assert (7,) == guest.state.at("results/output")


def test_another_stage_may_ask_in_vain(drive: Callable[..., Any]) -> None:
    """A call of a function that the image lacks is a recorded failure."""
    guest = drive(ECHO).compute({}, call={"function": "handle", "parameters": ("a", "b")})
    assert "refused" == guest.failure.kind
