"""Calls through the engine's C interface: values, ends, and what is impossible."""

from __future__ import annotations

import gc
import math
import struct
from collections.abc import Iterator

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from procession.roles import FunctionType
from procession_wasm.compiler import configured
from procession_wasm.direct import Gate, Window
from procession_wasm.faults import GuestError
from procession_wasm.images import ASKED

KINDS = {"i32": (-(2**31), 2**31 - 1), "i64": (-(2**63), 2**63 - 1)}
MODULE = """(module
  (memory (export "memory") 1 3)
  (func (export "i32") (param i32 i32) (result i32 i32) (local.get 1) (local.get 0))
  (func (export "i64") (param i64 i64) (result i64 i64) (local.get 1) (local.get 0))
  (func (export "f32") (param f32 f32) (result f32 f32) (local.get 1) (local.get 0))
  (func (export "f64") (param f64 f64) (result f64 f64) (local.get 1) (local.get 0))
  (func (export "mixed") (param i32 f64 i64 f32) (result f32 i64 f64 i32)
    (local.get 3) (local.get 2) (local.get 1) (local.get 0))
  (func (export "grow") (drop (memory.grow (i32.const 1))))
  (func (export "trap") unreachable)
  (func (export "loop") (loop (br 0))))"""


class Opened:
    """Hold a module behind its gate."""

    def __init__(self) -> None:
        engine = wasmtime.Engine(configured(wasmtime.Config(), ASKED))
        store = wasmtime.Store(engine)
        store.set_epoch_deadline(1 << 40)
        self.gate = Gate(store)
        self.gate.fuel = 1_000_000
        self.exports = wasmtime.Instance(store, wasmtime.Module(engine, MODULE), []).exports(store)

    def entry(self, name: str, params: str, results: str | None = None) -> object:
        """Return the entry of a function of a type."""
        kind = FunctionType(tuple(params.split()), tuple((params if results is None else results).split()))
        return self.gate.function(self.exports[name], kind)

    def window(self) -> Window:
        """Return the window on the memory."""
        return self.gate.memory(self.exports["memory"], wide=False)


@pytest.fixture(scope="module")
def opened() -> Iterator[Opened]:
    """Open a module."""
    made = Opened()
    yield made
    made.gate.close()


@pytest.mark.parametrize("kind", KINDS)
def test_integers_cross_as_they_are(opened: Opened, kind: str) -> None:
    """An integer of any size that its type holds goes in and comes out, with its sign."""
    swap = opened.entry(kind, f"{kind} {kind}")
    for one in (*KINDS[kind], 0, -1, 7):
        assert (one, 5) == swap(5, one)


@given(st.floats(width=32), st.floats())
def test_floats_cross_as_they_are(opened: Opened, narrow: float, wide: float) -> None:
    """A float goes in and comes out; what is no number stays none."""
    for kind, given_one in (("f32", narrow), ("f64", wide)):
        opened.gate.fuel = 1_000_000
        first, second = opened.entry(kind, f"{kind} {kind}")(0.5, given_one)
        assert (math.copysign(1, given_one), 0.5) == (math.copysign(1, first), second) or math.isnan(given_one)
        assert given_one == first or (math.isnan(given_one) and math.isnan(first))


def test_values_lie_in_their_own_lanes(opened: Opened) -> None:
    """Values of different types do not touch each other."""
    assert (2.5, -3, 1.5, -4) == opened.entry("mixed", "i32 f64 i64 f32", "f32 i64 f64 i32")(-4, 1.5, -3, 2.5)


def test_another_type_is_refused(opened: Opened) -> None:
    """A function is taken as the type that it has, or not at all: nothing checks its calls after."""
    for params, results in (("i32 i64", "i32 i32"), ("i32", "i32 i32"), ("i32 i32", "i32"), ("i32 i32", "i32 f32")):
        with pytest.raises(TypeError, match="where FunctionType"):
            opened.entry("i32", params, results)


def test_ends_are_the_engines(opened: Opened) -> None:
    """A trap and spent fuel are raised as the engine's own; the next call is a good one."""
    for name, code in (("trap", wasmtime.TrapCode.UNREACHABLE), ("loop", wasmtime.TrapCode.OUT_OF_FUEL)):
        opened.gate.fuel = 1_000_000
        with pytest.raises(wasmtime.Trap) as stopped:
            opened.entry(name, "")()
        assert code == stopped.value.trap_code
    opened.gate.fuel = 1_000_000
    assert (2, 1) == opened.entry("i32", "i32 i32")(1, 2)
    assert 0 < opened.gate.fuel < 1_000_000


def test_too_many_or_wrong_arguments_are_refused(opened: Opened) -> None:
    """What does not pack into the type never reaches the engine."""
    swap = opened.entry("i32", "i32 i32")
    for given_ones in ((1,), (1, 2, 3), (1.5, 2), (2**31, 0)):
        with pytest.raises(struct.error):
            swap(*given_ones)


def test_the_window_follows_the_memory(opened: Opened) -> None:
    """What is read and written lies in the memory as it is now, also after it grew; beyond it is the guest's fault."""
    window = opened.window()
    window.write(65530, b"a text")
    assert None is window.text(65530)  # there is no NUL behind it
    for outside in (65531, -6, (1 << 32) - 1):
        with pytest.raises(GuestError, match="outside of its memory"):
            window.write(outside, b"a text.")
        assert None is window.text(-1)
    opened.entry("grow", "")()
    window.write(65536, b"s")
    assert (b"a texts", b"texts\0") == (window.text(65530), window.read(65532, 6))


def test_nothing_goes_through_a_closed_gate() -> None:
    """After the end of a store its functions, its memory and its fuel are out of reach: each says so, none crashes."""
    opened = Opened()
    swap, window = opened.entry("i32", "i32 i32"), opened.window()
    opened.gate.close()
    gc.collect()
    uses = (
        lambda: swap(1, 2),
        lambda: window.text(0),
        lambda: window.write(0, b""),
        lambda: window.read(0, 1),
        lambda: opened.gate.fuel,
        lambda: setattr(opened.gate, "fuel", 1),
    )
    for use in uses:
        with pytest.raises(ValueError, match="closed"):
            use()
