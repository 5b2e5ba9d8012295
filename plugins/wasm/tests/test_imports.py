"""What other stages answer to the guest, and what they may touch of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from procession.errors import RequestError
from procession.roles import FunctionType

POWER = """(module
  (import "my_lib" "mul" (func $mul (param i32 i32) (result i32)))
  (func (export "pow") (param $base i32) (param $times i32) (result i32)
    (local $product i32)
    (local.set $product (i32.const 1))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $times)))
        (local.set $product (call $mul (local.get $product) (local.get $base)))
        (local.set $times (i32.sub (local.get $times) (i32.const 1)))
        (br $next)))
    (local.get $product)))"""

TOUCH = """(module
  (import "host" "touch" (func $touch (param {p} {p})))
  (memory {p} 1 3)
  (global $count (mut i32) (i32.const 0))
  (func (export "touch") (param {p} {p}) (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (call $touch (local.get 0) (local.get 1))
    (global.get $count))
  (func (export "load") (param {p}) (result i32) (i32.load8_u (local.get 0))))"""

ANSWERS = """(module
  (import "host" "answer" (func $answer (result {kind})))
  (func (export "ask") (result {kind}) (call $answer)))"""


def test_an_import_answers_the_guest(drive: Callable[..., Any]) -> None:
    """Two to the fifth is 32, each product made by another stage."""
    calls: list[tuple[int, int]] = []

    def mul(guest: Any, one: int, other: int) -> int:
        calls.append((one, other))
        return one * other

    assert (32,) == drive(POWER, {"my_lib.mul": mul}).call("pow", 2, 5)
    assert [(1, 2), (2, 2), (4, 2), (8, 2), (16, 2)] == calls


def test_an_import_is_asked_by_its_type(stage: Callable[..., Any]) -> None:
    """Other stages are asked with module, name and type of the function."""
    asked: list[tuple[str, str, FunctionType]] = []

    def answers(module: str, name: str, kind: FunctionType) -> Any:
        asked.append((module, name, kind))
        return lambda guest, one, other: 0

    stage(POWER, answers)
    assert [("my_lib", "mul", FunctionType(("i32", "i32"), ("i32",)))] == asked


def test_an_import_replaces_the_state(drive: Callable[..., Any]) -> None:
    """What an import puts into the state stays there, and it sees the slot that is computed."""

    def touch(guest: Any, one: int, other: int) -> None:
        guest.state = guest.state.put("seen", f"slot {guest.assignment.slot}, {guest.assignment.message['word']}")

    guest = drive(TOUCH.format(p="i32"), {"host.touch": touch})
    guest.compute({"function": "touch", "parameters": [0, 0], "word": "a word"})
    assert "slot 1, a word" == guest.state["seen"]


@pytest.mark.parametrize("pointer", ["i32", "i64"])
def test_an_import_reads_writes_and_grows(drive: Callable[..., Any], pointer: str) -> None:
    """An import reads, writes and grows the memory, up to the limit of the module."""
    seen: list[Any] = []

    def touch(guest: Any, address: int, size: int) -> None:
        guest.write(address, b"abc")
        seen.append(
            (guest.read(address + 1, size), guest.size(), guest.grow(1), guest.size(), guest.grow(2), guest.size())
        )

    guest = drive(TOUCH.format(p=pointer), {"host.touch": touch})
    assert (1,) == guest.call("touch", 65530, 2)
    assert [(b"bc", 65536, True, 131072, False, 131072)] == seen
    assert (ord("a"),) == guest.call("load", 65530)


@pytest.mark.parametrize("pointer", ["i32", "i64"])
@pytest.mark.parametrize(("address", "size"), [(65535, 2), (-1, 1), (65537, 0), (0, -1), (2**31 - 1, 1)])
def test_a_bad_pointer_stops_the_guest(drive: Callable[..., Any], pointer: str, address: int, size: int) -> None:
    """A pointer outside of the memory is the guest's fault, recorded as a trap, and the slot is rolled back."""
    guest = drive(
        TOUCH.format(p=pointer), {"host.touch": lambda guest, address, size: guest.read(address, size) and None}
    )
    assert (1,) == guest.call("touch", 0, 1)
    assert "trap" == guest.call("touch", address, size).kind
    assert (2,) == guest.call("touch", 65535, 1)


def test_no_memory_means_no_bytes(drive: Callable[..., Any]) -> None:
    """A guest without a memory has no bytes to read, write or grow."""
    seen: list[Any] = []

    def answer(guest: Any) -> int:
        seen.append((guest.size(), guest.grow(1)))
        return len(guest.read(0, 1))

    assert "trap" == drive(ANSWERS.format(kind="i32"), {"host.answer": answer}).call("ask").kind
    assert [(0, False)] == seen


def test_a_host_failure_stays_one(drive: Callable[..., Any]) -> None:
    """What an import raises is raised as it was, records nothing, and leaves no half of a slot."""

    def touch(guest: Any, one: int, other: int) -> None:
        if other == 1:
            raise OSError("the disk is full")

    guest = drive(TOUCH.format(p="i32"), {"host.touch": touch})
    assert (1,) == guest.call("touch", 0, 0)
    root = guest.root()
    with pytest.raises(OSError, match="the disk is full"):
        guest.call("touch", 0, 1)
    assert root == guest.root()
    assert (2,) == guest.call("touch", 0, 0)


@pytest.mark.parametrize(
    ("kind", "answer", "found"),
    [("i32", 2**32 - 1, -1), ("i64", -5, -5), ("f64", 2, 2.0), ("f32", 0.5, 0.5), ("i32", True, 1)],
)
def test_answers_become_their_type(drive: Callable[..., Any], kind: str, answer: Any, found: Any) -> None:
    """A number that an import answers reaches the guest as its type holds it."""
    assert (found,) == drive(ANSWERS.format(kind=kind), {"host.answer": lambda guest: answer}).call("ask")


@pytest.mark.parametrize(("kind", "answer"), [("i32", None), ("i32", 1.5), ("f64", "1"), ("i64", "text")])
def test_an_answer_of_no_type_is_the_hosts_fault(drive: Callable[..., Any], kind: str, answer: Any) -> None:
    """An import that answers what is no number of its type raises; it is a mistake in a device."""
    with pytest.raises(TypeError):
        drive(ANSWERS.format(kind=kind), {"host.answer": lambda guest: answer}).call("ask")


def test_imports_cost_fuel(drive: Callable[..., Any]) -> None:
    """A guest that calls the host without end runs out of fuel."""
    wat = """(module (import "host" "touch" (func $touch))
      (func (export "loop") (loop (call $touch) (br 0))))"""
    calls: list[int] = []
    guest = drive(wat, {"host.touch": lambda guest: calls.append(1)}, fuel=1_000_000)
    assert "out-of-fuel" == guest.call("loop").kind
    assert 100 == len(calls)


def test_unanswered_imports_are_all_named(stage: Callable[..., Any]) -> None:
    """Imports that nobody answers are refused when the stack is complete, all at once, with the device that could."""
    wat = """(module
      (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
      (import "my_lib" "mul" (func (param i32 i32) (result i32)))
      (import "my_lib" "seed" (global i32))
      (import "env" "invoke_v" (func (param i32))))"""
    with pytest.raises(RequestError) as refused:
        stage(wat, {"my_lib.mul": lambda guest, one, other: one * other})
    assert "bad-image" == refused.value.kind
    assert "fd_write(i32, i32, i32, i32), my_lib.seed (a global), env.invoke_v(i32)" in refused.value.text
    assert "my_lib.mul" not in refused.value.text
    assert refused.value.text.startswith("stage 1: wasm-64@1.0 image guest: no device of the stack answers its imports")
    assert refused.value.text.endswith("; add 'wasi@1.0' to the device-stack")


@pytest.mark.parametrize(
    ("module", "devices"),
    [("env", []), ("wasi_snapshot_preview1", ["wasi@1.0"]), ("wasi_unstable", [{"device": "wasi@1.0"}])],
)
def test_wasi_is_advised_only_where_it_helps(stage: Callable[..., Any], module: str, devices: list[Any]) -> None:
    """For other modules, and where wasi@1.0 is in the stack, also in an inner one, another device is asked for."""
    wat = f'(module (import "{module}" "foo" (func)))'
    inner = {"device": "stack@1.0", "device-stack": devices}
    for stack in (devices, [inner]):
        with pytest.raises(RequestError) as refused:
            stage(wat, devices=stack)
        assert refused.value.text.endswith(
            f"no device of the stack answers its imports: {module}.foo(); add one that does"
        )


def test_imports_that_no_python_can_answer_are_refused(stage: Callable[..., Any]) -> None:
    """An import with a vector in its type is refused, whoever would answer it."""
    wat = '(module (import "host" "mix" (func (param v128))))'
    with pytest.raises(RequestError, match=r"host\.mix\(v128\)"):
        stage(wat, lambda module, name, kind: lambda guest, vector: None)


def test_threads_do_not_share_failures(drive: Callable[..., Any]) -> None:
    """Two guests in two threads, one of which fails in its host, each meet their own end."""
    together = threading.Barrier(2, timeout=30)

    def failing(guest: Any) -> int:
        together.wait()
        raise LookupError("of this guest alone")

    def trapping(guest: Any) -> int:
        together.wait()
        return guest.read(0, 1)[0]

    guests = [drive(ANSWERS.format(kind="i32"), {"host.answer": answer}) for answer in (failing, trapping)]
    ends: dict[int, list[Any]] = {0: [], 1: []}

    def run(place: int) -> None:
        for _ in range(50):
            try:
                ends[place].append(guests[place].call("ask").kind)
            except LookupError:
                ends[place].append("raised")

    threads = [threading.Thread(target=run, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {0: ["raised"] * 50, 1: ["trap"] * 50} == ends


def test_a_host_failure_at_the_start_leaves_no_guest(drive: Callable[..., Any]) -> None:
    """What an import raises while the guest is started is raised, and there is no half of a guest after it."""
    wat = """(module
      (import "host" "answer" (func $answer))
      (start $answer)
      (func (export "f")))"""

    full = [False, True]

    def answer(guest: Any) -> None:
        if full.pop(0):
            raise OSError(f"the disk is full in slot {guest.assignment.slot}")

    guest = drive(wat, {"host.answer": answer})
    with pytest.raises(OSError, match="in slot 0"):
        guest.boot()
    assert bytes(32) == guest.root()
