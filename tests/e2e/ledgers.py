"""The ledger of the examples: its files, and programs that drive it and say what was promised to them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from procession import Kernel, Process
from procession.ids import to_id
from procession.testing import python

ROOT = Path(__file__).resolve().parents[2]
LEDGER = ROOT / "framework" / "examples" / "ledger" / "ledger.toml"
MESSAGES = LEDGER.with_name("messages.jsonl")

IDLE = 60.0  # seconds that a program whose work is done waits to be killed

_DRIVE = "import sys; from e2e.ledgers import drive; drive(*sys.argv[1:])"
_STEP = "import sys; from e2e.ledgers import step; step(*sys.argv[1:])"


def messages(count: int) -> Sequence[Mapping[str, Any]]:
    """Return the first messages of the example."""
    with MESSAGES.open(encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]


def driving(data: Path, count: int, threads: int) -> list[str]:
    """Return the command that drives a ledger by so many threads, each with its share of the messages."""
    return python(_DRIVE, str(data), str(count), str(threads))


def stepping(data: Path, count: int, size: int) -> list[str]:
    """Return the command that schedules messages at once and computes them by so many slots."""
    return python(_STEP, str(data), str(count), str(size))


def keys(count: int) -> list[str]:
    """Return the idempotency keys of the first messages."""
    return [f"message {number}" for number in range(count)]


def drive(data: str, count: str, threads: str) -> None:
    """Schedule messages one by one, each once over all programs that do so, and print every promise when it is made.

    A line is ``scheduled <slot> <message id> <chain>`` or ``computed <slot> <state id>``.
    """
    with Kernel.open(LEDGER, data=data) as kernel:
        process = kernel.spawn()
        shares = [range(start, int(count), int(threads)) for start in range(int(threads))]
        workers = [threading.Thread(target=_drive_share, args=(process, share, int(count))) for share in shares]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        time.sleep(IDLE)


def step(data: str, count: str, size: str) -> None:
    """Schedule messages that have no slot yet, and compute a run of slots after the other, a line for each."""
    with Kernel.open(LEDGER, data=data) as kernel:
        process = kernel.spawn()
        kernel.schedule_many(process.id, messages(int(count)), idempotency_keys=keys(int(count)))
        for slot in range(0, int(count) + 1, int(size)):
            tell(f"computed {slot} {process.compute(slot).id}")
        time.sleep(IDLE)


def tell(line: str) -> None:
    """Print a promise at once, in one write, so that the lines of several threads stay whole."""
    os.write(1, f"{line}\n".encode())


def _drive_share(process: Process, share: range, count: int) -> None:
    offered, names = messages(count), keys(count)
    for number in share:
        assignment = process.schedule(offered[number], idempotency_key=names[number])
        tell(f"scheduled {assignment.slot} {assignment.message_id} {to_id(assignment.chain)}")
        if number % 11 == 0:
            tell(f"computed {assignment.slot} {process.compute(assignment.slot).id}")
