"""A data folder as a release writes it, frozen for the releases after it.

Run it with the Python of the release, from a checkout of today, once for each release::

    git worktree add /tmp/release TAG && cd /tmp/release && python3 -m venv /tmp/release.venv
    /tmp/release.venv/bin/python -m pip install -r plugins/workspace.txt
    /tmp/release.venv/bin/python tests/tools/older_folder.py tests/reliability/folders/VERSION

It writes ``folder.tar.xz`` and ``expected.json``, what every slot came to. It uses nothing but what every release has.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from procession import Kernel, Process
from procession.testing import SteppingClock

LEDGER = Path(__file__).resolve().parents[2] / "framework" / "examples" / "ledger"
HOST = '\n[host.snapshots]\nevery = 7\nreplay-budget = "1h"\n'
KEY = "the only one"
DIVIDE = """(module
  (import "my_lib" "mul" (func $mul (param i64 i64) (result i64)))
  (memory (export "memory") 1)
  (func (export "divide") (param i64 i64) (result i64)
    (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (local.get 0)))
    (call $mul (i64.load (i32.const 0)) (i64.div_u (local.get 0) (local.get 1)))))
"""
STACK = '[{ device = "wasm-64@1.0", image = "divide.wat", functions = ["divide"] }, "test-device@1.0"]'
DEFINITIONS: Mapping[str, str] = {
    "ledger": (LEDGER / "ledger.toml").read_text("utf-8"),
    "record": f'[process]\nname = "record"\ndevice-stack = {STACK}\n',
    "halt": f'[process]\nname = "halt"\non-failure = "halt"\ndevice-stack = {STACK}\n',
    "echo": '[process]\nname = "echo"\ndevice-stack = ["dedup@1.0", "echo@1.0"]\n',
    "passes": '[process]\nname = "passes"\npasses = 3\ndevice-stack = ["test-device@1.0", "multipass@1.0"]\n',
}


def divisions(*numbers: int) -> list[dict[str, Any]]:
    """Return messages that divide 7 by numbers; by 0 the guest traps."""
    return [{"function": "divide", "parameters": [7, number]} for number in numbers]


def ledger() -> list[dict[str, Any]]:
    """Return messages of the example."""
    lines = (LEDGER / "messages.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines[:40]]


MESSAGES: Mapping[str, Callable[[], Sequence[Mapping[str, Any]]]] = {
    "ledger": ledger,
    "record": lambda: divisions(1, 0, 3, 0, 0, 7, 2, 1),
    "halt": lambda: divisions(1, 2, 0, 3, 4),
    "echo": lambda: [{"data": {"text": f"{n} " * 200, "number": n, "raw": bytes([n]) * 3}} for n in range(20)],
    "passes": lambda: [{"n": n} for n in range(9)],
}


def main(folder: Path) -> None:
    """Write the folder of this release."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        expected = {name: written(Path(place), name) for name in DEFINITIONS}
        archive(Path(place) / "data", folder / "folder.tar.xz")
    told = {"release": version("procession"), "processes": expected}
    (folder / "expected.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", "utf-8")
    print(folder, *(file.stat().st_size for file in folder.iterdir()))


def written(place: Path, name: str) -> dict[str, Any]:
    """Run one process to its end and close it; return what its slots came to."""
    (place / "ledger.wat").write_bytes((LEDGER / "ledger.wat").read_bytes())
    (place / "divide.wat").write_text(DIVIDE, "utf-8")
    file = place / f"{name}.toml"
    file.write_text(DEFINITIONS[name] + HOST, "utf-8")
    with Kernel.open(file, data=place / "data", clock=SteppingClock()) as kernel:
        process = kernel.spawn()
        process.schedule({"data": KEY}, idempotency_key=KEY)
        process.schedule_many(MESSAGES[name]())
        return outcome(process)


def outcome(process: Process) -> dict[str, Any]:
    """Return what the slots of a process come to."""
    head = process.head
    states = [process.compute(slot) for slot in range(head.slot + 1)]
    errors = {str(slot): state.at("results/error/kind") for slot, state in enumerate(states)}
    return {
        "id": process.id,
        "chain": head.chain.hex(),
        "states": [state.id for state in states],
        "errors": {slot: kind for slot, kind in errors.items() if kind},
    }


def archive(data: Path, target: Path) -> None:
    """Pack a data folder, the same bytes for the same files."""
    with tarfile.open(target, "w:xz") as packed:
        for file in sorted(data.rglob("*")):
            if file.is_file() and file.name != "lock" and not file.name.endswith("-shm"):
                entry = packed.gettarinfo(file, arcname=file.relative_to(data).as_posix())
                entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
                with file.open("rb") as content:
                    packed.addfile(entry, content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
