"""The system that a guest finds: its clock, its streams, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession.messages import Message
from procession.roles import NOT_HANDLED, Fail, FunctionType
from procession_wasm import natives, syscalls, system
from procession_wasm.natives import Answer
from procession_wasm.wasi import WasiStage

WRITER = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 {p} {p} {p}) (result i32)))
  (memory {p} 1)
  (data ({p}.const 66) "Hello, World!\\n\\ff")
  (func $piece (param $place {p}) (param $at {p}) (param $size {p})
    ({p}.store (local.get $place) (local.get $at))
    ({p}.store offset={size} (local.get $place) (local.get $size)))
  (func (export "say") (param $to i32) (param $first {p}) (param $second {p}) (result i32)
    (call $piece ({p}.const 0) ({p}.const 66) (local.get $first))
    (call $piece ({p}.const {vector}) ({p}.const 66) (local.get $second))
    (call $write (local.get $to) ({p}.const 0) ({p}.const 2) ({p}.const 48)))
  (func (export "written") (result {p}) ({p}.load ({p}.const 48)))
  (func (export "many") (param $count {p}) (result i32)
    (call $write (i32.const 1) ({p}.const 1000) (local.get $count) ({p}.const 48)))
  (func (export "flood") (param $times i32)
    (call $piece ({p}.const 0) ({p}.const 0) ({p}.const 65536))
    (loop $next
      (drop (call $write (i32.const 1) ({p}.const 0) ({p}.const 1) ({p}.const 48)))
      (local.set $times (i32.sub (local.get $times) (i32.const 1)))
      (br_if $next (local.get $times))))
  (func (export "say_and_trap")
    (drop (call $write (i32.const 1) ({p}.const 0) ({p}.const 1) ({p}.const 48)))
    unreachable)
  (func (export "quiet")))"""

SYSTEM = """(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 {p}) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $resolution (param i32 {p}) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param {p} {p}) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param {p} {p}) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 {p} {p} {p}) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 {p}) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "env" "emscripten_date_now" (func $now (result f64)))
  (import "env" "emscripten_resize_heap" (func $resize (param {p}) (result i32)))
  (import "env" "_emscripten_memcpy_js" (func $copy (param {p} {p} {p})))
  (import "env" "_abort_js" (func $abort))
  (import "env" "__assert_fail" (func $assert (param {p} {p} i32 {p})))
  (import "env" "__asyncjs__weavedrive_open" (func $weave (param {p} {p}) (result i32)))
  (import "env" "__syscall_openat" (func $open (param i32 {p} i32 {p}) (result i32)))
  (import "env" "strftime" (func $strftime (param {p} {p} {p} {p}) (result {p})))
  (import "env" "_gmtime_js" (func $gmtime (param i64 {p})))
  (import "env" "_mktime_js" (func $mktime (param {p}) (result i64)))
  (import "env" "_tzset_js" (func $zone (param {p} {p} {p} {p})))
  (memory {p} 1 40)
  (data ({p}.const 500) "%Y-%m-%d %H:%M:%S %z\\00")
  (data ({p}.const 600) "x > 0\\00")
  (func (export "clock") (result i32 i64)
    (call $clock (i32.const 0) (i64.const 1) ({p}.const 8)) (i64.load ({p}.const 8)))
  (func (export "resolution") (result i32 i64) (call $resolution (i32.const 0) ({p}.const 8)) (i64.load ({p}.const 8)))
  (func (export "environ") (result i32 {p} {p})
    ({p}.store ({p}.const 8) ({p}.const 7))
    (call $environ ({p}.const 8) ({p}.const 16)) ({p}.load ({p}.const 8)) ({p}.load ({p}.const 16)))
  (func (export "random") (result i32 i64)
    (i64.store ({p}.const 8) (i64.const 5))
    (call $random ({p}.const 8) ({p}.const 8)) (i64.load ({p}.const 8)))
  (func (export "read") (param i32) (result i32 {p})
    ({p}.store ({p}.const 8) ({p}.const 7))
    (call $read (local.get 0) ({p}.const 0) ({p}.const 0) ({p}.const 8)) ({p}.load ({p}.const 8)))
  (func (export "stat") (param i32) (result i32 i32)
    (call $stat (local.get 0) ({p}.const 8)) (i32.load8_u ({p}.const 8)))
  (func (export "exit") (param i32) (call $exit (local.get 0)) unreachable)
  (func (export "abort") (call $abort))
  (func (export "assert") (call $assert ({p}.const 600) ({p}.const 0) (i32.const 3) ({p}.const 0)))
  (func (export "now") (result f64) (call $now))
  (func (export "resize") (param {p}) (result i32 {p}) (call $resize (local.get 0)) (memory.size))
  (func (export "copy") (result i32) (call $copy ({p}.const 9) ({p}.const 500) ({p}.const 4)) (i32.load ({p}.const 9)))
  (func (export "weave") (result i32) (call $weave ({p}.const 0) ({p}.const 0)))
  (func (export "open") (result i32) (call $open (i32.const 0) ({p}.const 0) (i32.const 0) ({p}.const 0)))
  (func (export "date") (param $at i64) (param $room {p}) (result {p} i64 i64)
    (call $gmtime (local.get $at) ({p}.const 1000))
    (call $strftime ({p}.const 2000) (local.get $room) ({p}.const 500) ({p}.const 1000))
    (i64.load ({p}.const 2000)) (call $mktime ({p}.const 1000)))
  (func (export "zone") (result i32)
    (call $zone ({p}.const 3000) ({p}.const 3008) ({p}.const 3016) ({p}.const 3024)) (i32.load ({p}.const 3016))))"""


@pytest.fixture(params=["i32", "i64"])
def width(request: pytest.FixtureRequest) -> str:
    """Return the type of a pointer."""
    return str(request.param)


@pytest.fixture(params=["within", "python"])
def place(request: pytest.FixtureRequest) -> str:
    """Return where system calls are answered: within WASM, or by their functions in Python."""
    return str(request.param)


class System:
    """Run a guest behind a wasi@1.0."""

    def __init__(self, drive: Callable[..., Any], wat: str, place: str) -> None:
        self.stage = WasiStage()
        self.guest = drive(wat, self.stage.answer if place == "within" else self._function)
        self.guest.state = self.stage.init(Message(), self.guest.assignment(0, {})).state

    def call(self, function: str, *parameters: Any) -> Any:
        """Return the numbers of a call, or the failure."""
        slot = self.guest.assignment(self.guest.slot + 1, {})
        self.guest.state = self.stage.compute(self.guest.state, slot, 1).state
        answered = self.guest.call(function, *parameters)
        if self.guest.failure:
            self.stage.rollback(self.guest.slot)
        return answered

    def _function(self, module: str, name: str, kind: FunctionType) -> Any:
        found = self.stage.answer(module, name, kind)
        return found.function if isinstance(found, Answer) else found

    def stream(self, name: str) -> Any:
        """Return what the slot has written."""
        return self.guest.state.at(f"vfs/dev/{name}")


@pytest.fixture
def writer(drive: Callable[..., Any], width: str, place: str) -> System:
    """Boot a guest that writes."""
    return System(drive, writer_of(width), place)


@pytest.fixture
def plain(drive: Callable[..., Any], width: str, place: str) -> System:
    """Boot a guest that asks for everything else."""
    return System(drive, SYSTEM.format(p=width), place)


def writer_of(width: str) -> str:
    """Return the module that writes."""
    size = 8 if width == "i64" else 4
    return WRITER.format(p=width, size=size, vector=2 * size)


def test_the_files_are_in_the_state() -> None:
    """After init there are three standard files, empty, and their descriptors."""
    state = WasiStage().init(Message({"other": 1}), None).state
    files = [{"filename": f"/dev/{name}", "offset": 0} for name in ("stdin", "stdout", "stderr")]
    expected = {
        "other": 1,
        "vfs": {"dev": {"stdin": "", "stdout": "", "stderr": ""}},
        "file-descriptors": {str(number): file for number, file in enumerate(files)},
    }
    assert Message(expected) == state


def test_writing_is_kept_for_the_slot(writer: System) -> None:
    """What a guest writes stands in the state of its slot, as text where it is text, and the next slot begins empty."""
    assert (0,) == writer.call("say", 1, 13, 5)
    assert ("Hello, World!Hello", "") == (writer.stream("stdout"), writer.stream("stderr"))
    assert (18,) == writer.call("written")
    assert "" == writer.stream("stdout")
    assert (0,) == writer.call("say", 2, 15, 0)
    assert ("", b"Hello, World!\n\xff") == (writer.stream("stdout"), writer.stream("stderr"))
    assert (syscalls.BAD_DESCRIPTOR,) == writer.call("say", 3, 1, 1)


def test_writing_of_a_failed_slot_is_gone(writer: System) -> None:
    """What was written before a trap is in no state."""
    writer.call("say", 1, 5, 0)
    assert "trap" == writer.call("say_and_trap").kind
    writer.call("quiet")
    assert "" == writer.stream("stdout")


def test_writing_is_bounded(writer: System) -> None:
    """A stream keeps one mebibyte of a slot, and the guest is told that all was written."""
    assert () == writer.call("flood", 40)
    assert natives.CAPTURED == len(writer.stream("stdout"))
    assert (65536,) == writer.call("written")
    assert () == writer.call("flood", 1)
    assert 65536 == len(writer.stream("stdout"))


@pytest.mark.parametrize("count", [1025, 2**31 - 1, -1])
def test_pieces_are_bounded(writer: System, count: int) -> None:
    """More pieces than anyone writes at once are refused before they are looked at."""
    assert (syscalls.INVALID,) == writer.call("many", count)


def test_bad_pieces_stop_the_guest(writer: System) -> None:
    """A piece outside of the memory is the guest's fault."""
    assert "trap" == writer.call("say", 1, -1, 0).kind
    assert "" == writer.stream("stdout")


def test_the_clock_is_the_assignments(plain: System) -> None:
    """The time is that of the slot, in nanoseconds or milliseconds, whenever it is computed."""
    assert (0, 1_700_000_001_000_000_000) == plain.call("clock")
    assert (1_700_000_002_000.0,) == plain.call("now")
    assert (0, 1_000_000) == plain.call("resolution")


def test_there_is_nothing_else(plain: System) -> None:
    """There is no environment, no input, no file, no randomness and no weave drive."""
    assert (0, 0, 0) == plain.call("environ")
    assert (syscalls.NO_SYSTEM, 5) == plain.call("random")
    assert [(0, 0), (8, 7)] == [plain.call("read", descriptor) for descriptor in (0, 5)]
    assert [(0, 2), 8] == [plain.call("stat", 1), plain.call("stat", 9)[0]]
    assert [(0,), (-44,)] == [plain.call("weave"), plain.call("open")]


def test_memory_is_copied_and_grown(plain: System) -> None:
    """Emscripten's copy and growth work on the memory, growth by steps and up to the limit."""
    assert (int.from_bytes(b"%Y-%", "little"),) == plain.call("copy")
    assert [(1, 1), (1, 17), (1, 33), (1, 40), (0, 40)] == [
        plain.call("resize", size) for size in (65536, 65537, 33 * 65536, 40 * 65536, 40 * 65536 + 1)
    ]
    assert (0, 40) == plain.call("resize", -1)


def test_the_end_is_recorded(plain: System) -> None:
    """Exit, abort and a failed assertion stop the guest as a trap that says which."""
    said = {name: plain.call(name, *given).message for name, given in (("exit", [3]), ("abort", []), ("assert", []))}
    assert {
        "exit": "the guest left with exit code 3",
        "abort": "the guest aborted",
        "assert": "the guest aborted: an assertion failed: x > 0",
    } == said


def test_dates_are_in_utc(plain: System) -> None:
    """A second is broken down, written out and put together again, all in UTC."""
    day = int.from_bytes(b"2023-11-", "little")
    assert (25, day, 1_700_000_000) == plain.call("date", 1_700_000_000, 26)
    assert (0, day, 1_700_000_000) == plain.call("date", 1_700_000_000, 25)
    assert (int.from_bytes(b"UTC\0", "little"),) == plain.call("zone")


@given(
    st.sampled_from([*syscalls.WASI, *system.WASI, "fd_write"]), st.lists(st.sampled_from(["f32", "f64"]), min_size=1)
)
def test_another_signature_is_not_answered(name: str, params: list[str]) -> None:
    """A call that the image declares in a type that it does not have is not answered."""
    kind = FunctionType(tuple(params), ("i64",))
    assert NOT_HANDLED is WasiStage().answer("wasi_snapshot_preview1", name, kind)


def test_unknown_calls_are_not_answered() -> None:
    """What is in no table is not answered, nor is another module's."""
    kind = FunctionType(("i32",), ("i32",))
    stage = WasiStage()
    assert [NOT_HANDLED] * 3 == [
        stage.answer("wasi_snapshot_preview1", "fd_teleport", kind),
        stage.answer("env", "fd_close", kind),
        stage.answer("elsewhere", "fd_close", kind),
    ]
    assert 0 == stage.answer("wasi_unstable", "fd_close", kind)(None, 1)


ADDRESSES = st.sampled_from([0, 1, 66, 100, 65519, 65535, 65536, 65537, 1 << 20, -1, -8, -(1 << 31), (1 << 31) - 1])
CALLS = st.one_of(
    st.tuples(st.just("say"), st.integers(-1, 4), ADDRESSES, ADDRESSES),
    st.tuples(st.just("many"), st.integers(-2, 1026)),
    st.tuples(st.just("flood"), st.sampled_from([1, 15, 16, 17])),
    st.tuples(st.sampled_from(["written", "say_and_trap", "quiet"])),
)


@pytest.mark.parametrize("width", ["i32", "i64"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(calls=st.lists(CALLS, max_size=6))
def test_both_places_answer_the_same(drive: Callable[..., Any], width: str, calls: list[tuple[Any, ...]]) -> None:
    """Whatever a guest writes, within WASM it comes to the same answers, streams and memory as in Python."""
    systems = [System(drive, writer_of(width), place) for place in ("within", "python")]
    for function, *parameters in calls:
        answers = [one.call(function, *parameters) for one in systems]
        ends = [answer.kind if isinstance(answer, Fail) else answer for answer in answers]
        assert ends[0] == ends[1]
        seen = [(one.stream("stdout"), one.stream("stderr"), one.guest.root()) for one in systems]
        assert seen[0] == seen[1]


def test_a_difference_of_the_places_is_seen(drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that keeps a byte less than its function does is found by comparing what both kept."""
    shorter = natives.BODIES["fd_write"].text.replace(
        "(local.get $at) (local.get $size))", "(local.get $at) ({p}.const 1))"
    )
    monkeypatch.setattr(natives, "BODIES", {**natives.BODIES, "fd_write": natives.Body(shorter)})
    streams = []
    for place in ("within", "python"):
        system = System(drive, writer_of("i64"), place)
        system.call("say", 1, 13, 5)
        streams.append(system.stream("stdout"))
    assert ["HH", "Hello, World!Hello"] == streams
