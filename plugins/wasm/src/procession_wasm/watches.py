"""Watches: how long a guest may run on this host, and how the host stops it before its end.

Rules
-----
* What a watch stops is never a result: fuel is what a definition gives, seconds are what a host has.
* Nothing ticks while no guest runs: the thread that counts the engine's epochs ends a second after the last one.
* No guest runs on the main thread: that is where Python hears signals, and it hears none within a guest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TypeVar

import wasmtime

from procession.errors import ComputeError, Fact
from procession.roles import Binding

TICK = 0.05  # seconds from one look at the clock to the next
SPARE_STACK = 512 << 10  # bytes beside a guest's: of what calls it, and of what it calls
IDLE_TICKS = 20  # without a guest, until the ticking ends

T = TypeVar("T")


def check_stack(needed: int) -> None:
    """Raise ComputeError (kind ``host-stack``) where a thread has no room for a guest: it would end this program."""
    with suppress(ImportError):  # elsewhere than on Unix no limit of the user's decides
        import resource

        given = threading.stack_size() or resource.getrlimit(resource.RLIMIT_STACK)[0]
        if 0 <= given < needed + SPARE_STACK:
            what = f"a thread has {given} bytes of stack here, where a guest may take {needed} and what calls it more"
            remedy = f"give this program more, `ulimit -s {(needed + SPARE_STACK) >> 10}` or beyond"
            raise ComputeError(what, remedy=remedy, kind="host-stack")


class Allowance:
    """Count the seconds that a guest has for one slot, from the first of its calls on."""

    def __init__(self, binding: Binding, slot: int) -> None:
        self.slot = slot
        self._binding = binding
        self._end = monotonic() + binding.slot_seconds
        self._given_up = False

    def give_up(self) -> None:
        """Have the guest stopped at its next step: nobody waits for it any more."""
        self._given_up = True

    def check(self) -> None:
        """Raise ComputeError (kind ``wall-clock``) when there is no more time."""
        if self._given_up:
            raise ComputeError("nobody waits for the guest any more", kind="wall-clock")
        if monotonic() > self._end:
            raise _late(self._binding, self.slot)


class Watch:
    """Run guests of one engine, and have each look at its allowance at every tick."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self.engine = engine
        self._changed = threading.Condition()
        self._users = 0
        self._used = False  # since the last tick
        self._ticker: threading.Thread | None = None
        self._beside: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Be used by one stage more."""
        with self._changed:
            self._users += 1

    def close(self) -> None:
        """Be used by one stage less; with the last of them the threads end."""
        with self._changed:
            self._users -= 1
            if self._users:
                return
            ticker, beside = self._ticker, self._beside
            self._ticker = self._beside = None
            self._changed.notify_all()
        if beside is not None:
            beside.shutdown()
        if ticker is not None:
            ticker.join()

    def run(self, work: Callable[[], T], allowance: Allowance) -> T:
        """Return what work returns; whatever ends the wait for it stops the guest first."""
        if threading.current_thread() is not threading.main_thread():
            self.keep_ticking()
            return work()
        running = Future[T]()  # made before: Ctrl-C may come while the work is being submitted
        try:
            with self._changed:
                beside = self._beside = self._beside or ThreadPoolExecutor(1, thread_name_prefix="procession-guest")
            beside.submit(_fill, running, partial(self.run, work, allowance))
            _wait(running)
        except BaseException:
            allowance.give_up()
            while not running.done() and not running.cancel():  # nothing may touch the guest's memory before
                with suppress(KeyboardInterrupt):
                    _wait(running)
            raise
        return running.result()

    def keep_ticking(self) -> None:
        """Tick for a second more at least; a guest that runs asks for it again at every tick."""
        if self._used and self._ticker is not None:  # it ends only after many ticks that saw nobody
            return
        with self._changed:
            self._used = True
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="procession-ticker", daemon=True)
                self._ticker.start()

    def _tick(self) -> None:
        idle = 0
        with self._changed:
            while self._ticker is threading.current_thread():
                self._changed.wait(TICK)
                self.engine.increment_epoch()
                idle = 0 if self._used else idle + 1
                self._used = False
                if idle == IDLE_TICKS and self._ticker is threading.current_thread():
                    self._ticker = None


def _fill(running: Future[T], work: Callable[[], T]) -> None:
    """Work, unless nobody waits for it any more."""
    if running.set_running_or_notify_cancel():
        try:
            running.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it is raised where somebody waits
            running.set_exception(error)


def _wait(running: Future[T]) -> None:
    """Wait for the end of a guest, and hear signals at every tick: another thread may have been given them."""
    while not running.done():
        with suppress(TimeoutError):
            running.exception(TICK)


def _late(binding: Binding, slot: int) -> ComputeError:
    facts: dict[str, Fact] = {"process": binding.process, "slot": slot, "device": binding.device}
    return ComputeError(
        f"the guest ran for more than {binding.slot_seconds:g} s, all that this host gives a slot",
        remedy="nothing was recorded: raise slot-timeout in [host.workers] and try again; fuel bounds it on every host",
        kind="wall-clock",
        facts={**facts, "stage": binding.number, "seconds": binding.slot_seconds},
    )
