"""Calls with texts: in as pointers, out as the text behind one, and nothing of the guest's memory lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

ALLOCATOR = """
  (func (export "malloc") (param $size {p}) (result {p}) (local $at {p})
    (local.set $at (global.get $heap))
    (if ({p}.gt_u ({p}.add (local.get $at) (local.get $size)) ({p}.const 60000)) (then (return ({p}.const 0))))
    (global.set $heap ({p}.add (global.get $heap) (local.get $size)))
    (local.get $at))"""
FREE = """
  (func (export "free") (param $at {p})
    (if ({p}.lt_u (local.get $at) (global.get $heap)) (then (global.set $heap (local.get $at)))))"""
STACK = """
  (func (export "emscripten_stack_get_free") (result {p}) ({p}.sub (global.get $stack) ({p}.const 50000)))
  (func (export "stackSave") (result {p}) (global.get $stack))
  (func (export "stackRestore") (param {p}) (global.set $stack (local.get 0)))
  (func (export "stackAlloc") (param $size {p}) (result {p})
    (global.set $stack ({p}.and ({p}.sub (global.get $stack) (local.get $size)) ({p}.const -16)))
    (global.get $stack))"""
HANDLE = """(module
  (memory {p} 1)
  (global $heap (mut {p}) ({p}.const 1024))
  (global $stack (mut {p}) ({p}.const 51000))
  (func (export "first") (param {p} {p}) (result {p}) (local.get 0))
  (func (export "second") (param {p} i32 {p}) (result {p}) (local.get 2))
  (func (export "sum") (param {p} {p}) (result f64) (f64.const 0))
  (func (export "heap") (result {p}) (global.get $heap))
  (func (export "top") (result {p}) (global.get $stack))
  (func (export "ruin") (param {p}) (result {p})
    (memory.fill ({p}.const 0) (i32.const 65) ({p}.const 65536)) ({p}.const 9))
  (func (export "far") (param {p}) (result {p}) ({p}.const -1)){more})"""


def handle(width: str, *parts: str) -> str:
    """Return a module with some ways to allocate."""
    return HANDLE.format(p=width, more="".join(part.format(p=width) for part in parts))


def ask(guest: Any, function: str, *parameters: Any) -> Any:
    """Return the reply to a call that another stage asks for, or the failure."""
    guest.compute({}, call={"function": function, "parameters": parameters})
    return guest.failure or guest.state.private["priv.reply"]


@pytest.mark.parametrize("width", ["i32", "i64"])
@pytest.mark.parametrize(
    "parts", [(ALLOCATOR, FREE), (STACK,), (ALLOCATOR, STACK), (ALLOCATOR, FREE, STACK), (ALLOCATOR,)]
)
def test_texts_go_in_and_one_comes_out(drive: Callable[..., Any], width: str, parts: tuple[str, ...]) -> None:
    """Texts and bytes are passed as pointers, numbers beside them as they are, and the reply is bytes."""
    guest = drive(handle(width, *parts))
    assert "grüße".encode() == ask(guest, "first", "grüße", b"other")
    assert b"b\xff" == ask(guest, "second", "a", 7, b"b\xff")
    assert "ok" == guest.state.at("results/type")
    assert None is guest.state.at("results/output")


@pytest.mark.parametrize("parts", [(ALLOCATOR, FREE), (STACK,), (ALLOCATOR, STACK)])
def test_memory_is_given_back(drive: Callable[..., Any], parts: tuple[str, ...]) -> None:
    """After ten thousand calls heap and stack stand where they stood, and no page more is in use."""
    guest = drive(handle("i32", *parts))
    pages = []
    for _ in range(2):
        ask(guest, "first", "x" * 100, "y")
        pages.append(len(guest.stage.snapshot().parts["memory"]))
        for _ in range(5000):
            ask(guest, "first", "x" * 100, "y")
    assert ((51000,), 1) == (guest.call("top"), len(set(pages)))
    assert guest.call("heap")[0] <= 1024 + 101


def test_a_stack_that_does_not_tell_takes_small_texts(drive: Callable[..., Any]) -> None:
    """Where nothing says how much of the stack is left, texts of together 32 KiB lie on it, larger ones on the heap."""
    silent = STACK.replace("emscripten_stack_get_free", "nothing")
    guest = drive(handle("i64", ALLOCATOR, silent))
    assert b"x" * 5000 == ask(guest, "first", "x" * 5000, "")
    assert ((1024,), (51000,)) == (guest.call("heap"), guest.call("top"))
    ask(guest, "first", "x" * 32760, "")
    assert (1024 + 32761 + 1,) == guest.call("heap")


def test_memory_that_is_not_given_back_runs_out(drive: Callable[..., Any]) -> None:
    """A guest whose heap takes nothing back, and that has no stack to offer, has no room after some hundred calls."""
    guest = drive(handle("i32", ALLOCATOR))
    assert "memory-limit" in [getattr(ask(guest, "first", "x" * 100, "y"), "kind", "") for _ in range(700)]


def test_a_large_text_goes_to_the_heap(drive: Callable[..., Any]) -> None:
    """A text that the stack does not hold twice is allocated, freed or not."""
    guest = drive(handle("i32", ALLOCATOR, STACK))
    assert b"x" * 5000 == ask(guest, "first", "x" * 5000, "")
    assert (1024 + 5001 + 1,) == guest.call("heap")


@pytest.mark.parametrize(
    ("parts", "function", "parameters", "kind"),
    [
        ((), "first", ("a", "b"), "refused"),
        ((STACK,), "first", ("a" * 1000, "b"), "refused"),
        ((ALLOCATOR, FREE), "first", ("a" * 60_000, "b"), "memory-limit"),
        ((ALLOCATOR, FREE), "first", ("a",), "refused"),
        ((ALLOCATOR, FREE), "second", ("a", "b", "c"), "refused"),
        ((ALLOCATOR, FREE), "second", ("a", 1.5, "c"), "refused"),
        ((ALLOCATOR, FREE), "sum", ("a", "b"), "refused"),
        ((ALLOCATOR, FREE), "absent", ("a",), "refused"),
        ((ALLOCATOR, FREE), "ruin", ("a",), "guest"),
        ((ALLOCATOR, FREE), "far", ("a",), "guest"),
    ],
)
def test_a_call_that_cannot_be_is_a_failure(
    drive: Callable[..., Any], parts: tuple[str, ...], function: str, parameters: tuple[Any, ...], kind: str
) -> None:
    """Texts that cannot be passed, and a pointer to no text, are recorded failures, and the next call is good."""
    guest = drive(handle("i64", *parts))
    assert kind == ask(guest, function, *parameters).kind
    if parts:
        assert b"a" == ask(guest, "first", "a", "b")


def test_a_malloc_of_another_type_is_none(drive: Callable[..., Any]) -> None:
    """What is named malloc and takes or gives something else is not used."""
    guest = drive(handle("i32", '(func (export "malloc") (param f64) (result f64) (local.get 0))'))
    assert "refused" == ask(guest, "first", "a", "b").kind


def test_a_guest_without_memory_takes_no_texts(drive: Callable[..., Any]) -> None:
    """A module without a memory has nowhere to put a text."""
    guest = drive('(module (func (export "handle") (param i32) (result i32) (local.get 0)))')
    assert "refused" == ask(guest, "handle", "a").kind
