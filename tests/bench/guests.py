"""Guests: AOS and a ledger in WASM, warm and stored, good messages beside those that fail."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from aos.module import MissingModuleError, aos_module, aos_pure_module
from bench.bare import bare
from bench.measuring import Claim, Group, Measure, Subject, cost, itself, one_by_one
from procession import Kernel, Process

AT_ONCE = 25  # messages that are scheduled, apart from what is measured
COLD_SLOTS = 60  # of the stored process that is opened
KIND = "results/error/kind"
FINE, TRAPPED, TWO = (KIND, "ok"), (KIND, "trap"), ("results/data", "2")  # how messages end

OPENING = """
import json, sys, time
from procession import Kernel
begun = time.perf_counter()
with Kernel.open(data=sys.argv[1]) as kernel:
    process = kernel.process(kernel.processes()[0])
    process.compute(process.schedule(json.loads(sys.argv[2])).slot)
    print((time.perf_counter() - begun) * 1e3)
"""

LITTLE, MUCH = 16, 4096  # pages of 64 KiB: 1 MiB, 256 MiB
LEDGER = """(module
  (memory {pages})
  (global $stack (mut i32) (i32.const 65536))
  (func $place (param i32) (result i32)
    (i32.add (i32.const 131072) (i32.shl (i32.rem_u (local.get 0) (i32.const 100000)) (i32.const 3))))
  (func (export "mint") (param $to i32) (param $amount i64) (result i64)
    (i64.store (call $place (local.get $to)) (i64.add (i64.load (call $place (local.get $to))) (local.get $amount)))
    (i64.load (call $place (local.get $to))))
  (func (export "move") (param $from i32) (param $to i32) (param $amount i64)
    (global.set $stack (i32.sub (global.get $stack) (i32.const 64)))
    (i64.store (global.get $stack) (local.get $amount))
    (i64.store (call $place (local.get $to)) (i64.add (i64.load (call $place (local.get $to))) (local.get $amount)))
    (if (i64.lt_s (i64.load (call $place (local.get $from))) (local.get $amount)) (then unreachable))
    (i64.store (call $place (local.get $from)) (i64.sub (i64.load (call $place (local.get $from))) (local.get $amount)))
    (global.set $stack (i32.add (global.get $stack) (i32.const 64)))))"""

AOS_DEFINITION: dict[str, Any] = {
    "execution-device": "stack@1.0",
    "device-stack": ["wasi@1.0", "json-iface@1.0", "wasm-64@1.0", "patch@1.0", "multipass@1.0"],
    "passes": 2,
    "output-prefix": "wasm",
    "patch-from": "/results/outbox",
}


@attrs.frozen
class Image:
    """Hold an AOS image and how it is fetched."""

    name: str
    fetch: Callable[[], Path]
    keys: Mapping[str, str]  # of the definition
    sender: Mapping[str, str]  # keys of each message

    def evaluating(self, code: str) -> Mapping[str, str]:
        """Return a message that evaluates Lua."""
        return {"action": "Eval", "data": code, **self.sender}

    def absent(self) -> str:
        """Say why it is not here, or nothing."""
        try:
            self.fetch()
        except (MissingModuleError, OSError, subprocess.SubprocessError) as error:
            return str(error)
        return ""


OWNER = "Owner-0000000000000000000000000000000000000"
IMAGES = (
    Image("AOS 2.0.6", aos_module, {"name": "bench"}, {}),
    Image("aos-2-pure-xs", aos_pure_module, {"name": "bench", "authority": OWNER}, {"from": OWNER, "owner": OWNER}),
)


def aos_file(folder: Path, image: Image) -> Path:
    """Write the definition of AOS into a folder."""
    file = folder / "aos.toml"
    rows = {**AOS_DEFINITION, **image.keys, "image": str(image.fetch()), "random-seed": "bench"}
    file.write_text("[process]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items()))
    return file


def ledger_file(folder: Path, pages: int) -> Path:
    """Write the definition of the ledger into a folder."""
    (folder / "ledger.wat").write_text(LEDGER.format(pages=pages))
    file = folder / "ledger.toml"
    file.write_text('[process]\ndevice-stack = [{ device = "wasm-64@1.0", image = "ledger.wat", fuel = 1_000_000 }]\n')
    return file


@attrs.frozen
class Guest:
    """Hold what is measured of a process: its file, what comes before, the messages, and how each is to end."""

    file: Callable[[Path], Path]
    before: Sequence[Mapping[str, Any]]
    message: Callable[[int], Mapping[str, Any]]  # by its number
    end: tuple[str, str]  # where in the state, and what stands there, "ok" for nothing

    @contextmanager
    def warm(self, folder: Path) -> Iterator[Measure]:
        """Compute and store messages that are scheduled: microseconds each."""
        with Kernel.open(self.file(folder), data=folder / "data") as kernel:
            process = kernel.spawn()
            process.schedule_many(self.before)
            process.now()
            yield partial(self._computing, process)

    @contextmanager
    def cold(self, folder: Path) -> Iterator[Measure]:
        """Open a stored process and compute its next slot, compiled code being there: milliseconds."""
        data = self._stored(folder)
        yield lambda seconds: self._opening(data)

    @contextmanager
    def begun(self, folder: Path) -> Iterator[Measure]:
        """Do the same in a program that has imported the kernel and nothing else: milliseconds."""
        command = [sys.executable, "-c", OPENING, str(self._stored(folder)), json.dumps(self.message(0))]
        yield lambda seconds: float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    def _stored(self, folder: Path) -> Path:
        """Store a process, and return its data folder."""
        with Kernel.open(self.file(folder), data=folder / "data") as kernel:
            process = kernel.spawn()
            process.schedule_many([*self.before, *map(self.message, range(COLD_SLOTS))])
            process.now()
        return folder / "data"

    def _computing(self, process: Process, seconds: float) -> float:
        spent, done = 0.0, 0
        while spent < seconds or not done:
            process.schedule_many([self.message(done + index) for index in range(AT_ONCE)])
            begun = time.perf_counter()
            state = process.now()
            spent += time.perf_counter() - begun
            done += AT_ONCE
            assert self.end[1] == state.at(self.end[0], "ok"), state.at("results")
        return spent / done * 1e6

    def _opening(self, data: Path) -> float:
        begun = time.perf_counter()
        with Kernel.open(data=data) as kernel:
            process = kernel.process(kernel.processes()[0])
            process.compute(process.schedule(self.message(0)).slot)
            return (time.perf_counter() - begun) * 1e3


def ledger(amount: int = 1, end: tuple[str, str] = FINE, pages: int = LITTLE) -> Guest:
    """Return a ledger whose messages move an amount; one that nobody has traps after it has written."""
    mints = [{"function": "mint", "parameters": [account * 97, 100_000]} for account in range(1000)]

    def move(number: int) -> Mapping[str, Any]:
        return {"function": "move", "parameters": [number % 1000 * 97, number * 31 % 1000 * 97, amount]}

    return Guest(partial(ledger_file, pages=pages), mints, move, end)


def aos(image: Image, code: str = "1 + 1", end: tuple[str, str] = TWO) -> Guest:
    """Return an AOS process that evaluates some code."""
    message = image.evaluating(code)
    return Guest(partial(aos_file, image=image), [image.evaluating("1")], lambda number: message, end)


def poisons(name: str, good: Guest, poison: Guest, absent: Callable[[], str] = str) -> Group:
    """Return the group of messages that are good and of those that fail."""
    fine = Subject(f"{name}: good messages", "us", good.warm, absent)
    bad = Subject(f"{name}: poison messages", "us", poison.warm, absent)
    claim = Claim(f"{name}: poison, beside good messages", (bad.name, fine.name))
    return Group(f"{name}, stored: messages that fail", (fine, bad), (claim,), slices=0.5)


def aos_groups(image: Image) -> Iterator[Group]:
    """Yield what is measured of an AOS image: warm, cold, and its snapshots."""
    name = image.name
    alone, default = (
        Subject(f"{name}: bare wasmtime, {how}", "us", partial(_bare, image, metered=metered), image.absent)
        for how, metered in (("bounded and metered as ours", True), ("as it comes", False))
    )
    stored = Subject(f"{name}: `1 + 1`, computed and stored", "us", aos(image).warm, image.absent)
    beside = (
        Claim(f"{name}: warm and stored, beside bare wasmtime", (stored.name, alone.name), most=1.3),
        Claim(f"{name}: the same, beside the default configuration", (stored.name, default.name)),
    )
    yield Group(f"{name}, warm", (alone, default, stored), beside)
    cold = Subject(f"{name}: a folder opened, to the next slot", "ms", aos(image).cold, image.absent)
    begun = Subject(f"{name}: the same in a program that has just begun", "ms", aos(image).begun, image.absent)
    start = Claim(f"{name}: cold start", (cold.name,), "ms", itself, most=30)
    yield Group(f"{name}, cold", (cold, begun), (start,), measure=one_by_one)


@contextmanager
def _bare(image: Image, folder: Path, *, metered: bool) -> Iterator[Measure]:
    """Evaluate by calls of the prepared image alone: microseconds each."""
    message = image.evaluating("1 + 1")
    with bare(image.fetch(), {**AOS_DEFINITION, **image.keys}, metered=metered) as evaluate:
        answer = json.loads(evaluate(message))["response"]["Output"]["data"]
        assert "2" == answer, answer
        yield cost(lambda: evaluate(message))


SMALL = Subject("WASM ledger in 1 MiB of memory", "us", ledger().warm)
LARGE = Subject("WASM ledger in 256 MiB of memory", "us", ledger(pages=MUCH).warm)
GUESTS = (
    *(group for image in IMAGES for group in aos_groups(image)),
    Group(
        "WASM ledger, stored: much memory",
        (SMALL, LARGE),
        (Claim("WASM ledger: a slot in 256 MiB of memory, beside 1 MiB", (LARGE.name, SMALL.name)),),
        slices=0.5,
    ),
    poisons("WASM ledger", ledger(), ledger(1_000_000_000, TRAPPED)),
    *(poisons(image.name, aos(image), aos(image, "os.exit(1)", TRAPPED), image.absent) for image in IMAGES[:1]),
)
