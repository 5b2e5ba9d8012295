"""Undoing a slot by a copy from some slots before and the calls since."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession.errors import ComputeError
from procession.roles import FunctionType
from procession_wasm import trail
from procession_wasm.calls import Call
from procession_wasm.mirror import Mirror
from procession_wasm.stage import WasmStage
from procession_wasm.wasi import WasiStage

GUEST = """(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "env" "emscripten_resize_heap" (func $resize (param i32) (result i32)))
  {more}
  (memory 2 9)
  (global $sum (mut i64) (i64.const 0))
  (global $ratio (mut f64) (f64.const 1))
  (func $tick
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 512)))
    (i64.store (i32.const 4096)
      (i64.xor (i64.rotl (i64.load (i32.const 4096)) (i64.const 7)) (i64.load (i32.const 512)))))
  (func (export "add") (param i64) (result i64)
    (call $tick) {call}
    (global.set $sum (i64.add (global.get $sum) (local.get 0)))
    (global.set $ratio (f64.div (f64.const 1) (f64.convert_i64_s (global.get $sum))))
    (i64.store (i32.const 64) (global.get $sum))
    (f64.store (i32.const 9000) (global.get $ratio))
    (global.get $sum))
  (func (export "grow") (param i32) (result i32)
    (local $grown i32)
    (call $tick)
    (local.set $grown (call $resize (i32.mul (i32.const 65536) (i32.add (memory.size) (local.get 0)))))
    (i32.store8 (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)) (i32.const 7))
    (local.get $grown))
  (func $spoil (call $tick)
    (global.set $sum (i64.const -1)) (memory.fill (i32.const 0) (i32.const 9) (i32.const 70000)))
  (func (export "stop") (call $spoil) unreachable)
  (func (export "grow_and_stop") (call $spoil) (drop (memory.grow (i32.const 1))) unreachable)
  (func (export "work") (param i32) (result i32)
    (loop $more
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $more (local.get 0)))
    (call $tick) (i32.const 3))
  (func (export "spin") (call $spoil) (loop (br 0))))"""
PLAIN = GUEST.format(more="", call="")
STRANGE = GUEST.format(more='(import "host" "see" (func $see))', call="(call $see)")
FUEL = 2_000_000

CALLS = st.one_of(
    st.tuples(st.just("add"), st.integers(-9, 9)),
    st.tuples(st.just("add"), st.integers(-9, 9)),
    st.tuples(st.just("grow"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["stop", "grow_and_stop", "spin", "root", "restore"])),
)


@pytest.fixture
def started(drive: Callable[..., Any]) -> Callable[..., Any]:
    """Start guests behind a wasi@1.0."""
    return lambda wat=PLAIN, **options: drive(wat, WasiStage().answer, fuel=FUEL, **options)


def ends(guest: Any, calls: list[tuple[Any, ...]]) -> list[Any]:
    """Return what each call of a guest comes to, and its live root at the end and where it is asked for."""
    seen = []
    for function, *parameters in calls:
        if function == "restore":
            live = guest.stage.snapshot()
            guest.stage.restore(live.parts, guest.state)
        elif function == "root":
            seen.append(guest.root())
        else:
            answer = guest.call(function, *parameters)
            seen.append(getattr(answer, "kind", answer))
    return [*seen, guest.root()]


def copied_always(started: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """Return the ends of a guest that is copied before every slot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trail, "MOST_SLOTS", 1)
        return ends(started(), calls)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(calls=st.lists(CALLS, max_size=40))
def test_calls_made_again_leave_what_a_copy_would(started: Callable[..., Any], calls: list[tuple[Any, ...]]) -> None:
    """Whatever fails in whatever order, answers, memory and globals are those of a guest copied before every slot."""
    assert copied_always(started, calls) == ends(started(), calls)


QUIET = [("add", number) for number in range(1, 22)]


@pytest.mark.parametrize("broken", ["none made", "the last left out"])
def test_without_the_calls_a_failure_leaves_another_guest(
    started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Where the calls since the copy are not made again, or not all, the guest is not the one it was."""
    calls = [*QUIET, ("stop",), ("add", 5)]
    expected, repeat = copied_always(started, calls), WasmStage._repeat

    def some(stage: WasmStage, instance: Any, step: Any) -> None:
        if broken != "none made" and step.assignment.slot != 21:
            repeat(stage, instance, step)

    monkeypatch.setattr(WasmStage, "_repeat", some)
    assert expected != ends(started(), calls)


def test_a_call_that_ends_otherwise_is_this_hosts_problem(
    started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call made again that answers otherwise raises; once it is right again, the guest goes on."""
    guest = started()
    for number in range(1, 22):
        guest.call("add", number)
    right = Mirror.put_back

    def wrong(mirror: Mirror, instance: Any) -> None:
        right(mirror, instance)
        instance.set_globals((1, 0))

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "put_back", wrong)
        for _ in range(2):
            with pytest.raises(ComputeError, match="made again"):
                guest.call("stop")
    assert (231,) == guest.call("add", 0)


def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count copies, and calls that are made again."""
    counts = {"copies": 0, "again": 0}
    for owner, name, key in ((Mirror, "take", "copies"), (WasmStage, "_repeat", "again")):
        original = getattr(owner, name)

        def counting(*given: Any, original: Any = original, key: str = key) -> Any:
            counts[key] += 1
            return original(*given)

        monkeypatch.setattr(owner, name, counting)
    return counts


def test_a_quiet_guest_is_copied_ever_less(started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The slots between two copies double up to sixty-four."""
    counts, guest = counted(monkeypatch), started()
    for _ in range(1 + 2 + 4 + 8 + 16 + 32 + 64 + 64):
        guest.call("add", 1)
    assert {"copies": 8, "again": 0} == counts


@pytest.mark.parametrize(
    "pattern", ["stop", "add stop", "add add stop", "add add add add stop stop", "add " * 30 + "stop"]
)
def test_failures_cost_no_more_than_what_went_well(
    started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """However failures lie, there is at most a copy for each slot, and no more is made again than there was."""
    counts, guest = counted(monkeypatch), started()
    names = pattern.split() * 5
    for name in names:
        guest.call(name, *([1] if name == "add" else []))
    good = names.count("add")
    assert counts["copies"] <= len(names)
    assert counts["again"] <= good
    if good < len(names) / 1.9:  # in a row, or every other one
        assert 0 == counts["again"]


def test_long_calls_are_not_made_again(started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """After calls that took long a slot begins with a copy."""
    monkeypatch.setattr(trail, "MOST_COST", 900_000)
    counts, guest = counted(monkeypatch), started()
    for _ in range(20):
        guest.call("work", 100_000)
    guest.call("stop")
    assert counts["copies"] >= 10
    assert counts["again"] <= 2


def test_a_guest_that_sees_more_is_never_called_again(
    drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another stage answers an import, calls are not made again: what it sees may have changed."""
    counts, seen, system = counted(monkeypatch), [], WasiStage()

    def answers(module: str, name: str, kind: Any) -> Any:
        return (lambda guest: seen.append(1)) if module == "host" else system.answer(module, name, kind)

    guest = drive(STRANGE, answers, fuel=FUEL)
    for number in range(10):
        assert (number + 1,) == guest.call("add", 1)
        assert "trap" == guest.call("stop").kind
    assert ({"copies": 11, "again": 0}, 10) == (counts, len(seen))


NAN = """(module
  (memory 1)
  (func (export "divide") (result f64) (f64.div (f64.const 0) (f64.const 0)))
  (func (export "stop") unreachable))"""


def test_a_call_that_is_no_number_comes_to_the_same_again(
    drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that fails after calls that answered NaN is a recorded failure, though NaN is unlike itself."""
    counts, guest = counted(monkeypatch), drive(NAN)
    for _ in range(4):
        (answer,) = guest.call("divide")
        assert answer != answer
    assert "trap" == guest.call("stop").kind
    assert 1 == counts["again"]
    assert answer != guest.call("divide")[0]


def test_a_call_made_again_must_answer_the_same(drive: Callable[..., Any]) -> None:
    """Another number, or another sign of zero, is another answer."""
    step = trail.Step(Call("f", FunctionType((), ("f64",)), ()), drive(NAN).assignment(1, {}), (0.0,), 7)
    step.check((0.0,), 7)
    for answer, fuel in (((-0.0,), 7), ((1.0,), 7), ((0.0,), 8), (b"0", 7)):
        with pytest.raises(ComputeError, match="made again"):
            step.check(answer, fuel)


MIXED = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory i64 1)
  (data (i64.const 0) "\\40\\00\\00\\00\\05\\00\\00\\00")
  (data (i64.const 64) "hello")
  (func (export "hello") (result i32) (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
  (func (export "stop") unreachable))"""


def test_what_is_captured_in_python_is_not_written_again(
    drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that write to a stream which is kept beside the guest are not made again."""
    counts, system = counted(monkeypatch), WasiStage()
    guest = drive(MIXED, system.answer)
    for _ in range(5):
        assert (0,) == guest.call("hello")
    assert "hello" == guest.state.at("vfs/dev/stdout")
    assert "trap" == guest.call("stop").kind
    assert ({"copies": 6, "again": 0}, {}) == (counts, system._captured)
