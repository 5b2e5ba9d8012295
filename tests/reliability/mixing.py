"""A machine that does to a host what it does to its model: schedule, compute, push, evict, damage and crash."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import procession_push
import procession_scheduler
import procession_sqlite
import procession_zstd
from procession import Kernel, Message
from procession.errors import ComputeError, RequestError
from procession.schedules import check_chain
from procession.testing.fakes import SteppingClock
from reliability.models import DEFINITIONS, LIMIT, Modelled, devices

SHM = Path("/dev/shm")
STEPS = 50
PATIENCE = 60.0
PLUGINS = (procession_push, procession_scheduler, procession_sqlite, procession_zstd)

_HOST = f"""
[process]
name = "file"
device-stack = ["sum@1.0"]

[host.push]
backoff = "1ms"
backoff-limit = "2ms"
attempts = 10_000

[host.workers]
faults = {LIMIT}
replay = 4"""

SETTINGS = st.builds(
    "\n".join,
    st.tuples(
        st.just(_HOST),
        st.sampled_from(["live = 1", "live = 2", "live = 3\nlive-bytes = 10"]),
        st.sampled_from(['idle-timeout = "1h"', 'idle-timeout = "1h"', 'idle-timeout = "10ms"']),
        st.sampled_from(["", "[host.snapshots]\nevery = 1", "[host.snapshots]\nevery = 3"]),
        st.sampled_from(["", '[host.cache]\nkeep = "all"', "[host.cache]\nkeep = []", "[host.cache]\nlarge-blob = 60"]),
    ),
)
NAMES = st.sampled_from(sorted(DEFINITIONS))
AMOUNTS = st.integers(-9, 9)
KEYS = st.sampled_from(["a", "b"])
PLACES = st.integers(0, 1 << 16)
MESSAGES = st.one_of(
    AMOUNTS.map(lambda n: {"amount": n}),
    st.tuples(AMOUNTS, NAMES).map(lambda pair: {"amount": pair[0], "send": pair[1]}),
    AMOUNTS.map(lambda n: {"amount": n, "refuse": True}),
    st.tuples(AMOUNTS, st.integers(1, LIMIT + 1)).map(lambda pair: {"amount": pair[0], "times": pair[1]}),
)


class Host(RuleBasedStateMachine):
    """Do the same to a host and to its model."""

    plugins: Sequence[object] = PLUGINS

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=SHM if SHM.is_dir() else None))
        self.troubles: Counter[str] = Counter()  # as the stages meet them
        self.expected: Counter[str] = Counter()  # as the model does
        self.processes: dict[str, Modelled] = {}
        self.generation = 0
        self.text = ""
        self.clock = SteppingClock()

    # -- the host

    @initialize(text=SETTINGS)
    def begin(self, text: str) -> None:
        """Open a folder, with one process."""
        self.text = text
        self.kernel = self.opened()
        self.spawn("one")

    def opened(self) -> Kernel:
        """Open the kernel of the folder."""
        file = self.root / "host.toml"
        file.write_text(self.text)
        plugins = [*self.plugins, devices(self.troubles)]
        return Kernel.open(file, data=self.data, plugins=plugins, discover=False, clock=self.clock)

    @property
    def data(self) -> Path:
        """Return the data folder."""
        return self.root / f"data-{self.generation}"

    @rule(text=SETTINGS)
    def reopen(self, text: str) -> None:
        """Close the kernel and open it with other host settings."""
        self.text = text
        self.kernel.close()
        self._restarted()

    @rule()
    def crash(self) -> None:
        """Go on with a copy of the folder, taken while it was open."""
        self._wait_for_rest()
        before, kernel = self.data, self.kernel
        self.generation += 1
        shutil.copytree(before, self.data, ignore=shutil.ignore_patterns("*-shm"))
        self._restarted()
        kernel.close()
        shutil.rmtree(before)

    @rule(place=PLACES, table=st.sampled_from(["records", "blobs"]), lost=st.booleans())
    def damage(self, place: int, table: str, lost: bool) -> None:
        """Flip a byte of a stored record or blob behind the kernel's back, or lose it."""
        dice = Random(place)
        with suppress(apsw.CorruptError), _database(self.data / "cache.sqlite") as db:  # "lose" was there before
            column = {"records": "state", "blobs": "content"}[table]
            rows = db.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid").fetchall()
            if not rows:
                return
            row, content = dice.choice(rows)
            changed = bytearray(content)
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
            change = f"UPDATE {table} SET {column} = :new WHERE rowid = :row"
            forget = f"DELETE FROM {table} WHERE rowid = :row"
            db.execute(forget if lost else change, {"new": bytes(changed), "row": row})

    @rule(place=PLACES)
    def lose(self, place: int) -> None:
        """Lose the cache of a kernel that is closed, or damage it anywhere."""
        self.kernel.close()
        file, dice = self.data / "cache.sqlite", Random(place)
        content = bytearray(file.read_bytes())
        if dice.randrange(2):
            file.unlink()
            shutil.rmtree(self.data / "blobs", ignore_errors=True)
        else:
            at = dice.randrange(len(content))
            content[at : at + 64] = dice.randbytes(len(content[at : at + 64]))
            file.write_bytes(content)
        self._restarted()

    def _restarted(self) -> None:
        self.kernel = self.opened()
        for process in self.processes.values():
            process.restarted()

    def _wait_for_rest(self) -> None:
        """Let processes that are put to rest when they are idle come to rest: what is copied is not written to."""
        if '"10ms"' in self.text:
            self._until(lambda: not self.kernel.workers())

    # -- schedules

    @rule(name=NAMES)
    def spawn(self, name: str) -> None:
        """Begin a process, or find it."""
        process = self.kernel.spawn({"name": name, "random-seed": 1, **DEFINITIONS[name]})
        if name not in self.processes:
            assert 0 == process.head.slot
            self.processes[name] = Modelled(name, process.id, list(process.log()))
        assert self.processes[name].id == process.id

    @rule(name=NAMES, message=MESSAGES, asked=st.integers(0, LIMIT + 1))
    def post(self, name: str, message: dict[str, Any], asked: int) -> None:
        """Add a message, and ask for the head so often."""
        process = self._process(name)
        process.acknowledged(self.kernel.schedule(process.id, self._message(message)))
        for _ in range(asked):
            self.now(name)

    @rule(name=NAMES, amount=AMOUNTS, key=KEYS)
    def post_with_key(self, name: str, amount: int, key: str) -> None:
        """Add a message under a key: once, whatever comes between; another one under the same key is refused."""
        process, message = self._process(name), {"amount": amount}
        held = process.keys.get(key)
        post = partial(self.kernel.schedule, process.id, message, idempotency_key=key)
        if held is not None and process.log[held].message.get("amount") != amount:
            with pytest.raises(RequestError) as caught:
                post()
            assert "conflict" == caught.value.kind
        elif held is not None:
            assert process.log[held] == post()
        else:
            process.acknowledged(post())
            process.keys[key] = process.head

    @rule(name=NAMES, messages=st.lists(MESSAGES, min_size=1, max_size=8))
    def post_many(self, name: str, messages: list[dict[str, Any]]) -> None:
        """Add messages at once."""
        process = self._process(name)
        for assignment in self.kernel.schedule_many(process.id, [self._message(message) for message in messages]):
            process.acknowledged(assignment)

    @rule(name=NAMES, first=PLACES, count=PLACES)
    def read(self, name: str, first: int, count: int) -> None:
        """Read a part of a schedule."""
        process = self._process(name)
        at = first % (process.head + 2)
        assert process.log[at : at + count % 9] == list(self.kernel.read(process.id, at, at + count % 9 - 1))

    # -- results

    @rule(name=NAMES, place=PLACES)
    def compute(self, name: str, place: int) -> None:
        """Ask for a slot, by its number or its message."""
        process = self._process(name)
        slot = place % (process.head + 1)
        self._asked(process, slot, partial(self.kernel.compute, process.id, slot, patient=True))

    @rule(name=NAMES)
    def now(self, name: str) -> None:
        """Ask for the head."""
        process = self._process(name)
        self._asked(process, process.head, self.kernel.process(process.id).now)

    @rule(name=NAMES, place=PLACES, key=st.sampled_from(["sum", "results"]))
    def ask_for_a_key(self, name: str, place: int, key: str) -> None:
        """Ask for a key of a slot."""
        process = self._process(name)
        slot = place % (process.head + 1)
        error = process.expect(slot, self.expected)
        state = self._answer(error, partial(self.kernel.compute, process.id, slot, key=key, patient=True))
        if state is not None and key == "sum":
            assert process.slots[slot].sum == state.get("sum")

    @rule(name=NAMES)
    def newest(self, name: str) -> None:
        """Ask for what is stored; where nothing is, the head is computed."""
        process = self._process(name)
        free = process.is_free(self.expected)
        if process.frontier >= 0 and free:
            state = self.kernel.compute(process.id, None, patient=True)
            process.expect(state["at-slot"], self.expected)
            assert process.slots[state["at-slot"]].sum == state["sum"]

    @rule(name=NAMES, place=PLACES)
    def ask_hastily(self, name: str, place: int) -> None:
        """Ask again and again for a slot that may be far, until it was computed in the background."""
        process = self._process(name)
        slot = place % (process.head + 1)
        if process.is_free(self.expected):
            assert "" == process.expect(process.head, self.expected)
            self._until(partial(self._asked_once, process, slot))

    @rule(name=NAMES)
    def snapshot(self, name: str) -> None:
        """Snapshot a process where it stands."""
        process = self._process(name)
        taken = self.kernel.snapshot(process.id)
        slot = taken["slot"]
        if slot is not None:
            assert slot <= process.frontier
            assert taken["state"] == process.states.setdefault(slot, taken["state"])
            if taken["live-root"]:
                assert taken["live-root"] == process.roots.setdefault(slot, taken["live-root"])

    @rule(name=NAMES, place=PLACES)
    def retry(self, name: str, place: int) -> None:
        """Lift a quarantine, or be told that there is none."""
        process = self._process(name)
        if process.faults:
            assert process.frontier + 1 == self.kernel.retry(process.id)["slot"]
            process.faults = 0
        else:
            with pytest.raises(RequestError):
                self.kernel.retry(process.id, place)

    # -- between processes

    @rule(name=NAMES, place=PLACES)
    def push(self, name: str, place: int) -> None:
        """Push a slot that sends something: its target gets it once."""
        process = self._process(name)
        process.fold()
        slots = list(process.sending())
        slot = slots[place % len(slots)] if slots else -1
        sent = process.slots[slot].sent if slots else ""
        target = next((other for other in self.processes.values() if other.id == sent), None)
        if target is None or not target.is_free(self.expected):
            return
        self.kernel.resolve(f"/{process.id}/push&slot={slot}&max-depth=1", method="POST", timeout=PATIENCE)
        if slot not in process.delivered:
            (assignment,) = self.kernel.read(target.id, target.head + 1, target.head + 1)
            assert (process.id, process.slots[slot].sum) == (
                assignment.message["from-process"],
                assignment.message["amount"],
            )
            target.acknowledged(assignment)
            process.delivered[slot] = (target.name, assignment.slot)
        assert "" == target.expect(process.delivered[slot][1], self.expected)

    # -- what must hold

    @invariant()
    def schedules_end_where_the_model_says(self) -> None:
        """No slot is lost, none is there that was not acknowledged."""
        for process in self.processes.values():
            head, last = self.kernel.head(process.id), process.log[-1]
            assert (last.slot, last.chain) == (head.slot, head.chain)

    def teardown(self) -> None:
        """Hold all of it against the model, where nothing was found yet."""
        try:
            for process in self.processes.values() if sys.exc_info()[0] is None else ():
                self._hold(process)
        finally:
            self.kernel.close()
            shutil.rmtree(self.root)

    def _hold(self, process: Modelled) -> None:
        found = self.kernel.process(process.id)
        log = list(found.log())
        assert process.log == log
        assert found.head == check_chain(log, None)
        process.fold()
        for slot in range(process.frontier + 1):
            self._asked(process, slot, partial(found.compute, slot))
        if process.frontier >= 0:
            assert all(row.agrees for row in found.replay(process.frontier))

    # -- inside

    def _process(self, name: str) -> Modelled:
        if name not in self.processes:
            self.spawn(name)
        return self.processes[name]

    def _message(self, drawn: dict[str, Any]) -> dict[str, Any]:
        message = dict(drawn)
        if "send" in message:
            message["send"] = self._process(message["send"]).id
        times = message.pop("times", 0)
        if times:
            message["trouble"] = f"trouble {len(self.expected)}"
            self.expected[message["trouble"]] = self.troubles[message["trouble"]] = times
        return message

    def _asked(self, process: Modelled, slot: int, ask: Callable[[], Message]) -> None:
        state = self._answer(process.expect(slot, self.expected), ask)
        if state is not None:
            self._compare(process, slot, state)

    def _asked_once(self, process: Modelled, slot: int) -> bool:
        try:
            state = self.kernel.compute(process.id, slot)
        except ComputeError as error:
            assert "behind" == error.kind
            return False
        self._compare(process, slot, state)
        return True

    def _answer(self, error: str, ask: Callable[[], Message]) -> Message | None:
        if not error:
            return ask()
        with pytest.raises(ComputeError) as caught:
            ask()
        assert error == caught.value.kind
        return None

    def _compare(self, process: Modelled, slot: int, state: Message) -> None:
        expected = process.slots[slot]
        total = expected.sum if process.name != "pure" else None
        seen = (slot, expected.sum, total, expected.error, expected.halted)
        assert seen == (
            state["at-slot"],
            state.get("sum"),
            state.get("total"),
            state.at("results/error/kind", ""),
            "halted" in state,
        )
        assert state.id == process.states.setdefault(slot, state.id)
        if process.log[slot].message.get("send") and not expected.error:
            assert expected.sum == state.at("results/outbox/1/amount")

    def _until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, "it did not come to hold"
            threading.Event().wait(0.002)


@contextmanager
def _database(file: Path) -> Iterator[apsw.Connection]:
    """Reach into a database behind its owner's back."""
    with closing(apsw.Connection(str(file))) as db:
        db.set_busy_timeout(10_000)
        yield db


def modelled(host: type[Host], examples: int, *, shrink: bool = True) -> None:
    """Hold a host against its model in so many examples, the same in every run."""
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    run_state_machine_as_test(
        host,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
