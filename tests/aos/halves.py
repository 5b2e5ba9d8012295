"""A long AOS session in two halves: 240 messages that compute, remember, send, fail and yield, on either image.

Some are ever larger, up to 240 KB: more than the stack of a guest takes.

Run as a program of its own for each half: ``run(folder, image, first, last, ending)`` prints a line a slot.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aos.module import MODULE_ID, aos_module, aos_pure_module
from determinism.traces import line
from procession import Kernel, Process

HALF, LAST = 120, 240
EVERY = 7  # slots between snapshots
ROOTS = 20  # slots between live roots that are told, in the second half
OWNER = "Owner-0000000000000000000000000000000000000"
IMAGES: Mapping[str, Callable[[], Path]] = {"aos-2.0.6": aos_module, "aos-2-pure-xs": aos_pure_module}
SENDERS: Mapping[str, Mapping[str, str]] = {"aos-2.0.6": {}, "aos-2-pure-xs": {"from": OWNER, "owner": OWNER}}

_CODES = (
    "x = (x or 0) + {n} return x",
    "table_{n} = {{}} for i = 1, {n} * 5 do table_{n}[i] = tostring(i) end return #table_{n}",
    "co = co or coroutine.wrap(function() local n = 0 while true do n = n + 1 coroutine.yield(n) end end) return co()",
    "Send({{Target = 'a friend', Action = 'Greet', Number = '{n}'}}) return 'sent'",
    "error('failed at {n}')",
    "local n = 0 for i = 1, 30 do if not pcall(error, i) then n = n + 1 end end return n",
    "return tostring({{}}) .. math.random(1000) .. os.time()",
    "not lua at all (",
    "table_{n} = nil collectgarbage() return #Inbox",
    "return string.rep('{n}', 3000):len() -- {more}",
)
_DEFINITION = """
[process]
name = "halves"
module = "{module}"
authority = "{owner}"
image = {image}
passes = 2
output-prefix = "wasm"
device-stack = ["wasi@1.0", "json-iface@1.0", "wasm-64@1.0", "patch@1.0", "multipass@1.0"]

[host.snapshots]
every = {every}
replay-budget = "1h"
"""


def schedule(image: str, last: int) -> list[dict[str, Any]]:
    """Return the session up to a slot as a schedule that was made elsewhere, times and all."""
    codes = [_CODES[number % len(_CODES)].format(n=number, more="x" * 1000 * number) for number in range(last)]
    evaluations = [{"action": "Eval", "data": code, **SENDERS[image]} for code in codes]
    rows = [{}, *({**message, "reference": str(number)} for number, message in enumerate(evaluations))]
    times = [{"timestamp": 1_700_000_000_000 + 1000 * slot, "block-height": 1000 + slot} for slot in range(len(rows))]
    return [{"slot": slot, "message": row, **times[slot]} for slot, row in enumerate(rows)]


def opened(folder: Path, image: str) -> Kernel:
    """Open a kernel for the session in a folder."""
    file = folder / "halves.toml"
    path = json.dumps(str(IMAGES[image]()))
    file.write_text(_DEFINITION.format(module=MODULE_ID, owner=OWNER, image=path, every=EVERY), "utf-8")
    return Kernel.open(file, data=folder / "data")


def loaded(kernel: Kernel, image: str, last: int) -> Process:
    """Take up the slots of the session up to one."""
    assert kernel.definition is not None
    return kernel.load(schedule(image, last), definition=kernel.definition.message, trust_ids=True)


def run(folder: str, image: str, first: str, last: str, ending: str) -> None:
    """Compute slots one by one, print where it began and a line for each, and end as it is told."""
    with opened(Path(folder), image) as kernel:
        process = loaded(kernel, image, int(last))
        for slot in range(int(first), int(last) + 1):
            sys.stdout.write(f"{told_of(process, slot)}\n")
        sys.stdout.flush()
        if ending == "killed":
            os.kill(os.getpid(), signal.SIGKILL)


def told_of(process: Process, slot: int) -> str:
    """Compute a slot and tell its state, what was answered and, at some slots of the second half, its live root."""
    state = process.compute(slot)
    rooted = slot > HALF and slot % ROOTS == 0
    root = process.kernel.snapshot(process.id)["live-root"] if rooted else ""
    return f"{line(state, root)} {state.at('results/data', '')!r:.40}"
