"""Calls with texts: in as pointers, out as the text behind one, and nothing of the guest's memory lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procession_wasm.instance import Instance

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
FULL = STACK.replace("50000", "50990")  # there is room for no text
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
    assert (1024 + 32768 + 16,) == guest.call("heap")


def test_a_large_text_goes_to_the_heap(drive: Callable[..., Any]) -> None:
    """A text that the stack does not hold twice is laid into a buffer of the heap, which the next one finds again."""
    guest = drive(handle("i32", ALLOCATOR, STACK))
    for size in (5000, 4990, 300, 5000):
        assert b"x" * size == ask(guest, "first", "x" * size, "")
        assert (1024 + 5008 + 16,) == guest.call("heap")
    assert b"x" * 5100 == ask(guest, "first", "x" * 5100, "")
    assert (1024 + 3 * (5008 + 16),) == guest.call("heap")


LARGE = (
    handle("i32", ALLOCATOR, FULL)
    .replace("i32.const 60000", "i32.const 4194304")
    .replace("(memory i32 1)", "(memory 65)")
)
LARGEST = 300_000


def sizes(count: int) -> list[int]:
    """Return sizes of all orders, up to some hundred KiB, which follow from nothing but their number."""
    return [number * number * 7919 % LARGEST >> number % 12 for number in range(count)]


def test_a_heap_that_takes_nothing_back_does_not_grow(drive: Callable[..., Any]) -> None:
    """Ten thousand texts of mixed sizes leave the pages as they are after the largest, and lose at most twice it."""
    guest = drive(LARGE)
    for size in (*sizes(100), LARGEST):
        ask(guest, "first", "x" * size, "y")
    heap, pages = guest.call("heap"), len(guest.stage.snapshot().parts["memory"])
    for size in sizes(10_000):
        assert size == len(ask(guest, "first", "x" * size, "y"))
    assert (heap, pages) == (guest.call("heap"), len(guest.stage.snapshot().parts["memory"]))
    _, kept = guest.stage._instance.buffer
    assert heap[0] - 1024 - kept <= 2 * LARGEST


def test_a_buffer_that_is_forgotten_runs_out(drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the buffer is not known again, the heap has no room after some hundred calls."""
    monkeypatch.setattr(
        Instance, "buffer", property(lambda instance: (0, 0), lambda instance, given: None), raising=False
    )
    guest = drive(handle("i32", ALLOCATOR, FULL))
    assert "memory-limit" in [getattr(ask(guest, "first", "x" * 100, "y"), "kind", "") for _ in range(700)]


def test_a_text_that_fits_is_taken_where_twice_the_buffer_does_not(drive: Callable[..., Any]) -> None:
    """Where the heap has no room for a buffer of twice the size, one that is large enough serves."""
    guest = drive(LARGE)
    for size in (1_500_000, 1_600_000, 10_000, 1_600_000):
        assert size == len(ask(guest, "first", "x" * size, "y"))


def test_a_heap_that_begins_anew_at_each_call_is_asked_each_time(drive: Callable[..., Any]) -> None:
    """A guest without a stack may take its whole heap back: nothing that it gave is thought to be kept."""
    taking = """
      (func (export "echo") (param i32) (result i32)
        (i32.store (call $malloc (i32.const 16)) (i32.const 0x21212121))
        (global.set $heap (i32.const 1024)) (local.get 0))"""
    guest = drive(handle("i32", ALLOCATOR.replace('(export "malloc")', '$malloc (export "malloc")'), taking))
    assert [b"hello world"] * 3 == [ask(guest, "echo", "hello world") for _ in range(3)]


def test_a_restored_guest_has_its_buffer(drive: Callable[..., Any]) -> None:
    """A guest that is restored at any slot has the bytes, buffer included, of one that was never stopped."""
    one = drive(LARGE)
    lives = []
    for size in sizes(40):
        ask(one, "first", "x" * size, "y")
        lives.append(one.stage.snapshot())
    assert 4 <= len({live.parts["buffer"] for live in lives}) <= 20
    for place, live in enumerate(lives[:-1]):
        other = drive(LARGE)
        other.stage.restore(live.parts, other.state)
        assert live == other.stage.snapshot()
        ask(other, "first", "x" * sizes(40)[place + 1], "y")
        assert lives[place + 1] == other.stage.snapshot()


def test_a_failed_call_leaves_the_buffer_as_it_was(drive: Callable[..., Any]) -> None:
    """A larger text of a call that fails takes nothing, whether the guest was copied before it or some calls ago."""
    guest = drive(LARGE)
    for before in (0, 1, 5):
        for _ in range(before):
            ask(guest, "first", "x" * 50, "y")
        heap, buffer = guest.call("heap"), guest.stage._instance.buffer
        assert "guest" == ask(guest, "far", "x" * (5000 << before)).kind
        assert (heap, buffer) == (guest.call("heap"), guest.stage._instance.buffer)


def test_the_root_covers_the_buffer(drive: Callable[..., Any]) -> None:
    """A snapshot with another buffer, or without its own, gives another root."""
    one = drive(LARGE)
    ask(one, "first", "x", "y")
    live = one.stage.snapshot()
    less = {name: part for name, part in live.parts.items() if name != "buffer"}
    for parts in (less, {**live.parts, "buffer": live.parts["buffer"][:-1] + b"\x10"}):
        other = drive(LARGE)
        other.stage.restore(parts, other.state)
        assert live.root != other.root()


def test_a_buffer_lies_anywhere(drive: Callable[..., Any]) -> None:
    """Pointers of 32 bits keep their sign where a buffer reaches beyond the lower half of the memory."""
    wat = (
        handle("i32", ALLOCATOR, FULL)
        .replace("(memory i32 1)", "(memory 32770)")
        .replace("i32.const 60000", "i32.const -9")
    )
    guest = drive(wat.replace("i32.const 1024", "i32.const 0x7fffffe0"), memory_limit=1 << 32)
    assert b"second" == ask(guest, "second", "x" * 70, 7, "second")
    assert b"x" * 90 == ask(guest, "first", "x" * 90, "second")


def test_a_buffer_outside_of_the_memory_is_a_trap(drive: Callable[..., Any]) -> None:
    """A guest that gives what it does not have, or a snapshot that says so, is stopped before anything is written."""
    lying = '(func (export "malloc") (param i32) (result i32) (i32.const 65530))'
    for stack in ("", FULL):
        guest = drive(handle("i32", lying, stack).replace("(memory i32 1)", "(memory 1)"))
        assert "trap" == ask(guest, "first", "a text", "y").kind
    made = drive(LARGE)
    ask(made, "first", "x", "y")
    made.stage.restore({**made.stage.snapshot().parts, "buffer": b"\xff" * 16}, made.state)
    assert "trap" == ask(made, "first", "a text", "y").kind


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
