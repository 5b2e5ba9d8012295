"""Guests: what a message costs that fails, beside one that does not, in the same process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import Row
from ours import aos_file, why_no_aos

from procession import Kernel

LEDGER = """(module
  (memory 16)
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


def ledger_good(folder: Path, scale: float) -> float:
    """Transfers that a ledger in WASM makes: messages a second."""
    return _ledger(folder, scale, amount=1)


def ledger_poison(folder: Path, scale: float) -> float:
    """Transfers on which the ledger traps, having written already: messages a second."""
    return _ledger(folder, scale, amount=1_000_000_000)


def aos_good(folder: Path, scale: float) -> float:
    """AOS evaluates `1 + 1`: messages a second."""
    return _aos(folder, scale, "1 + 1")


def aos_poison(folder: Path, scale: float) -> float:
    """AOS leaves by `os.exit()`, a trap: messages a second."""
    return _aos(folder, scale, "os.exit(1)")


def _ledger(folder: Path, scale: float, *, amount: int) -> float:
    (folder / "ledger.wat").write_text(LEDGER)
    file = folder / "ledger.toml"
    file.write_text('[process]\ndevice-stack = [{ device = "wasm-64@1.0", image = "ledger.wat", fuel = 1_000_000 }]\n')
    before = [{"function": "mint", "parameters": [account * 97, 100_000]} for account in range(1000)]
    moves = [
        {"function": "move", "parameters": [number % 1000 * 97, number * 31 % 1000 * 97, amount]}
        for number in range(int(1000 * scale))
    ]
    return _rate(file, before, moves, "ok" if amount == 1 else "trap")


def _aos(folder: Path, scale: float, code: str) -> float:
    messages = [{"action": "Eval", "data": code} for _ in range(int(60 * scale))]
    return _rate(aos_file(folder), [{"action": "Eval", "data": "1"}], messages, "ok" if code == "1 + 1" else "trap")


def _rate(file: Path, before: Sequence[Mapping[str, Any]], messages: Sequence[Mapping[str, Any]], end: str) -> float:
    with Kernel.open(file, data=file.parent / "data") as kernel:
        process = kernel.spawn()
        process.schedule_many(before)
        process.now()
        process.schedule_many(messages)
        begun = time.perf_counter()
        state = process.now()
        seconds = time.perf_counter() - begun
        assert end == state.at("results/error/kind", "ok"), state.at("results")
        return len(messages) / seconds


GOOD, AOS_GOOD = "WASM ledger, stored: good messages", "AOS 2.0.6, stored: good messages"
GUEST_ROWS = [
    Row("WASM ledger, stored: good messages", "/s", ledger_good),
    Row("WASM ledger, stored: poison messages", "/s", ledger_poison, GOOD),
    Row("AOS 2.0.6, stored: good messages", "/s", aos_good, absent=why_no_aos()),
    Row("AOS 2.0.6, stored: poison messages", "/s", aos_poison, AOS_GOOD, absent=why_no_aos()),
]
