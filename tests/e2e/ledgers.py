"""The ledger of the examples: its files, and programs that drive it and say what was promised to them."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from procession import Kernel, Process
from procession.ids import to_id
from procession.testing import python

ROOT = Path(__file__).resolve().parents[2]
LEDGER = ROOT / "framework" / "examples" / "ledger" / "ledger.toml"
MESSAGES = LEDGER.with_name("messages.jsonl")

_DRIVE = "import sys; from e2e.ledgers import drive; drive(*sys.argv[1:])"


def messages(count: int) -> Sequence[Mapping[str, Any]]:
    """Return the first messages of the example."""
    with MESSAGES.open(encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]


def driving(data: Path, count: int, threads: int) -> list[str]:
    """Return the command that drives a ledger by so many threads, each with its share of the messages."""
    return python(_DRIVE, str(data), str(count), str(threads))


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


def _drive_share(process: Process, share: range, count: int) -> None:
    offered = messages(count)
    for number in share:
        assignment = process.schedule(offered[number], idempotency_key=f"message {number}")
        print(f"scheduled {assignment.slot} {assignment.message_id} {to_id(assignment.chain)}\n", end="", flush=True)
        if number % 11 == 0:
            print(f"computed {assignment.slot} {process.compute(assignment.slot).id}\n", end="", flush=True)
