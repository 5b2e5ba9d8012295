"""How long a guest may run on a host, and how it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from procession.errors import ComputeError
from procession.messages import Message
from procession.roles import Fail
from procession_wasm import watches
from procession_wasm.images import Images
from procession_wasm.watches import Allowance, Watch

LOOPING = """(module
  (import "host" "reach" (func $reach))
  (memory 1)
  (global $count (mut i64) (i64.const 0))
  (func $loop (loop $again (br $again)))
  (func $start {start})
  (start $start)
  (func (export "forever")
    (memory.fill (i32.const 0) (i32.const 255) (i32.const 65536))
    (global.set $count (i64.const -1))
    (call $reach)
    (call $loop))
  (func (export "reach_and_trap") (call $reach) unreachable)
  (func (export "bump") (result i64)
    (global.set $count (i64.add (global.get $count) (i64.const 1)))
    (global.get $count)))"""
GUEST = LOOPING.format(start="")


class Seconds:
    """Stand for the clock of this host, and go on only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def pass_by(self, guest: object) -> None:
        """Let a minute pass, as an import."""
        self.now += 60


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    """Put a clock in the place of the host's."""
    clock = Seconds()
    monkeypatch.setattr(watches, "monotonic", clock)
    return clock


def test_a_guest_that_takes_too_long_is_stopped(drive: Callable[..., Any], seconds: Seconds) -> None:
    """Its slot is a failure of this host that says what to raise, and nothing of it is left."""
    guest = drive(GUEST, {"host.reach": seconds.pass_by}, slot_seconds=59)
    assert (1,) == guest.call("bump")
    root = guest.root()
    with pytest.raises(
        ComputeError, match=r"more than 59 s, .* raise slot-timeout in \[host\.workers\].* fuel"
    ) as late:
        guest.call("forever")
    assert ("wall-clock", 59, "wasm-64@1.0", "process") == (
        late.value.kind,
        *(late.value.facts[key] for key in ("seconds", "device", "process")),
    )
    assert root == guest.root()
    assert (2,) == guest.call("bump")


def test_without_the_watch_fuel_alone_bounds(
    drive: Callable[..., Any], seconds: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the watch stops a guest for its time: without it the guest runs on and spends its fuel."""
    monkeypatch.setattr(Allowance, "check", lambda self: None)
    guest = drive(GUEST, {"host.reach": seconds.pass_by}, slot_seconds=59, fuel=300_000_000)
    assert "out-of-fuel" == guest.call("forever").kind


def test_spent_fuel_is_a_result_in_any_time(drive: Callable[..., Any]) -> None:
    """A guest that spends its fuel within its time fails as its definition says."""
    guest = drive(GUEST, {"host.reach": lambda guest: None}, slot_seconds=3600, fuel=1_000_000)
    assert [Fail("out-of-fuel", "the guest spent its fuel (out-of-fuel)")] * 2 == [guest.call("forever")] * 2


def test_a_start_that_takes_too_long_is_stopped(
    stage: Callable[..., Any], drive: Callable[..., Any], seconds: Seconds
) -> None:
    """A guest that loops while it starts is stopped too, and starts anew at the next try."""
    wat = LOOPING.format(start="(call $reach) (call $loop)")
    genesis = drive(GUEST, {"host.reach": seconds.pass_by}).assignment(0, {})
    guest = stage(wat, {"host.reach": seconds.pass_by}, slot_seconds=59, image="another")
    for _ in range(2):
        with pytest.raises(ComputeError, match="more than 59 s"):
            guest.init(Message(), genesis)
        assert bytes(32) == guest.snapshot().root


def test_the_time_is_for_all_of_a_slot(drive: Callable[..., Any], seconds: Seconds) -> None:
    """The start and the call of one slot share its time; another slot, and another try, have all of it."""
    guest = drive(LOOPING.format(start="(call $reach)"), {"host.reach": seconds.pass_by}, slot_seconds=90)
    first = guest.assignment(0, {"function": "forever"})
    with pytest.raises(ComputeError, match="more than 90 s"):
        guest.stage.compute(guest.state, first, 1)
    assert guest.boot().failure is None
    seconds.now += 1000
    assert (1,) == guest.call("bump")


def test_time_that_ends_between_two_calls_stops_the_second(drive: Callable[..., Any], seconds: Seconds) -> None:
    """What the host does before a call is stopped by no clock; the guest is, and the next slot has its own time."""
    guest = drive(GUEST, {"host.reach": lambda guest: None}, slot_seconds=59)
    first, second = (guest.assignment(1, {"function": name}) for name in ("bump", "forever"))
    guest.stage.compute(guest.state, first, 1)
    seconds.now += 60
    guest.stage._image.watch.engine.increment_epoch()
    with pytest.raises(ComputeError, match="more than 59 s"):
        guest.stage.compute(guest.state, second, 1)
    guest.slot = 1
    assert (1,) == guest.call("bump")


def test_a_trap_is_a_result_though_time_ended_with_it(drive: Callable[..., Any], seconds: Seconds) -> None:
    """A guest that trapped has failed by itself; asking it why is stopped by no clock."""

    def reach(caller: object) -> None:
        seconds.pass_by(caller)
        guest.stage._image.watch.engine.increment_epoch()

    guest = drive(GUEST, {"host.reach": reach}, slot_seconds=59)
    assert "trap" == guest.call("reach_and_trap").kind
    assert (1,) == guest.call("bump")


@pytest.fixture
def _hearing_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_hearing_ctrl_c")
def test_ctrl_c_stops_a_guest(drive: Callable[..., Any]) -> None:
    """Ctrl-C ends an endless guest on the main thread, and the guest goes on from before the slot."""
    guest = drive(GUEST, {"host.reach": lambda guest: os.kill(os.getpid(), signal.SIGINT)}, fuel=1 << 62)
    assert (1,) == guest.call("bump")
    root = guest.root()
    with pytest.raises(KeyboardInterrupt):
        guest.call("forever")
    assert root == guest.root()
    assert (2,) == guest.call("bump")


@pytest.mark.usefixtures("_hearing_ctrl_c")
@pytest.mark.parametrize("begun", [True, False])
def test_ctrl_c_while_a_guest_is_being_started_stops_it(
    drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """Ctrl-C before anybody waits for a guest leaves none running, and none that starts after."""
    runs, goes_on = threading.Event(), threading.Event()
    guest = drive(GUEST, {"host.reach": lambda guest: runs.set()}, fuel=1 << 62)
    assert (1,) == guest.call("bump")
    root, submit = guest.root(), ThreadPoolExecutor.submit

    def interrupted(beside: ThreadPoolExecutor, *given: Any) -> None:
        if not begun:
            submit(beside, goes_on.wait, 60)
        submit(beside, *given)
        if begun:
            assert runs.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ThreadPoolExecutor, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            guest.stage.compute(guest.state, guest.assignment(2, {"function": "forever"}), 1)
    goes_on.set()
    assert root == guest.root()
    assert (2,) == guest.call("bump")
    assert begun is runs.is_set()


def test_ctrl_c_within_what_the_host_does_in_a_store(
    drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C that is heard while the host itself works in a store is no engine's error, and stops no later slot."""
    presses = [KeyboardInterrupt()]
    ticked = Watch.keep_ticking

    def hearing(watch: Watch) -> None:
        if threading.current_thread() is threading.main_thread() and presses:
            raise presses.pop()
        ticked(watch)

    monkeypatch.setattr(Watch, "keep_ticking", hearing)
    guest = drive(GUEST, {"host.reach": lambda guest: None})
    guest.stage._image.watch.engine.increment_epoch()
    with pytest.raises(KeyboardInterrupt):
        guest.call("bump")
    assert [] == presses
    assert "trap" == guest.call("reach_and_trap").kind
    assert (1,) == guest.call("bump")


def test_a_guest_that_is_stopped_stops_no_other(drive: Callable[..., Any], seconds: Seconds) -> None:
    """Guests of one engine have their own time each: one goes on while the other is stopped."""
    begun, goes_on = threading.Event(), threading.Event()

    def reach(guest: object) -> None:
        begun.set()
        goes_on.wait(60)

    patient = drive(GUEST, {"host.reach": reach}, slot_seconds=3600, fuel=300_000_000)
    hasty = drive(GUEST, {"host.reach": seconds.pass_by}, slot_seconds=59)
    ends: list[Any] = []
    thread = threading.Thread(target=lambda: ends.append(patient.call("forever").kind))
    thread.start()
    assert begun.wait(60)
    with pytest.raises(ComputeError, match="more than 59 s"):
        hasty.call("forever")
    goes_on.set()
    thread.join()
    assert ["out-of-fuel"] == ends


def test_ticking_ends_by_itself(drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Some ticks after the last guest the ticker is gone; the next guest has another."""
    monkeypatch.setattr(watches, "TICK", 0.001)
    guest = drive(GUEST, {"host.reach": lambda guest: None})
    for expected in (1, 2):
        assert (expected,) == guest.call("bump")
        _ticker().join(60)
        assert None is _ticker()


def _ticker() -> Any:
    return next((thread for thread in threading.enumerate() if thread.name == "procession-ticker"), None)


def test_threads_end_with_the_last_stage(images: Images, drive: Callable[..., Any]) -> None:
    """Stages of one kernel share their threads; the last that closes ends them."""
    guests = [drive(GUEST, {"host.reach": lambda guest: None}) for _ in range(2)]
    assert [(1,), (1,)] == [guest.call("bump") for guest in guests]
    guests[0].stage.close()
    names = {"procession-ticker", "procession-guest_0"}
    assert names <= {thread.name for thread in threading.enumerate()}
    guests[1].stage.close()
    assert not names & {thread.name for thread in threading.enumerate()}


DEEP = """
import sys
from procession_wasm import images, stage, watches
from procession_wasm.options import WasmOptions
from conftest import IMAGE, Blob, Drive, binding_of

watches.SPARE_STACK = int(sys.argv[1])
wat = b'(module (func $f (export "f") (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1))))'
made = stage.build_stage(images.Images(), WasmOptions(image=Blob(IMAGE)), binding_of(wat, {}))
print(Drive(made).boot().call("f", 1).kind)
"""


def deep(stack: int, spare: int = watches.SPARE_STACK) -> subprocess.CompletedProcess[str]:
    """Run a guest that nests without end in a program with so many KiB of stack a thread."""
    program = ["sh", "-c", f'ulimit -s {stack}; exec "$0" -c "$1" {spare}', sys.executable, DEEP]
    return subprocess.run(program, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60, check=False)


def test_a_guest_needs_room_on_a_thread() -> None:
    """A guest that nests without end fails where a thread has room for it, and is refused where it has none."""
    assert "stack-overflow\n" == deep(1536).stdout
    refused = deep(1024)
    assert (1, True) == (refused.returncode, "ulimit -s 1536" in refused.stderr), refused.stderr


def test_without_room_a_guest_ends_the_program() -> None:
    """Where nobody looks at the stack, the program ends by a signal."""
    assert -signal.SIGSEGV == deep(1024, spare=-(1 << 20)).returncode
