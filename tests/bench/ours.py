"""Ours: the trivial stack and AOS, through the kernel with its default devices, durable as a user has them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from measuring import Row, folder_bytes
from peers import ES_BATCH, ES_BYTES, ES_ONE, FDATASYNC

from aos.module import MissingModuleError, aos_module
from procession import Factory, Kernel, Ok, Process, PureStage, hookimpl
from procession.definitions import definition_of
from procession.machine import Policy, initial_state, transition
from procession.messages import Message
from procession.process import compile_process
from procession.schedules import Submission, Tick, next_assignment


class Counting(PureStage):
    """Count messages, nothing else."""

    def compute(self, state: Message, assignment: Any, pass_number: int) -> Ok:
        """Add one."""
        return Ok(state.put("count", state.get("count", 0) + 1))


class BenchPlugin:
    """Provide the trivial stage."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide counting@1.0."""
        return {"counting@1.0": Factory(lambda options, binding: Counting())}


def _definition(stages: int = 1) -> dict[str, Any]:
    return {"type": "Process", "device-stack": ["counting@1.0"] * stages}


def one_at_a_time(folder: Path, scale: float) -> float:
    """Schedule durably, compute, result committed; one caller: messages a second."""
    count = int(400 * scale)
    with Kernel.open(data=folder, plugins=[BenchPlugin()]) as kernel:
        process = _begun(kernel)
        begun = time.perf_counter()
        for number in range(count):
            process.compute(process.schedule({"data": f"message {number}"}).slot)
        return count / (time.perf_counter() - begun)


def by_hundreds(folder: Path, scale: float) -> float:
    """The same, a hundred messages at once: messages a second."""
    with Kernel.open(data=folder, plugins=[BenchPlugin()]) as kernel:
        return _hundreds(_begun(kernel), int(60 * scale))


def bytes_a_slot(folder: Path, scale: float) -> float:
    """Everything on disk, schedule and cache, a slot."""
    count = int(20 * scale)
    with Kernel.open(data=folder, plugins=[BenchPlugin()]) as kernel:
        _hundreds(_begun(kernel), count)
    return folder_bytes(folder) / (count * 100)


def overhead(folder: Path, scale: float) -> float:
    """The transition of a trivial stage, nothing stored: microseconds a slot."""
    return _transitions(folder, scale, stages=1)


def overhead_of_swapping(folder: Path, scale: float) -> float:
    """What four more stages add, trivial as they are: microseconds a stage."""
    return (_transitions(folder, scale, stages=5) - _transitions(folder, scale, stages=1)) / 4


def large_state(folder: Path, scale: float) -> float:
    """One change in a state of 100,000 keys, stored: microseconds a slot."""
    count = int(200 * scale)
    with Kernel.open(data=folder, plugins=[AccountsPlugin()]) as kernel:
        process = kernel.spawn({"type": "Process", "device-stack": ["accounts@1.0"]})
        process.now()
        process.schedule_many([{"account": number * 7} for number in range(count)])
        begun = time.perf_counter()
        process.now()
        return (time.perf_counter() - begun) / count * 1e6


class Accounts(PureStage):
    """Hold 100,000 accounts and change one a message."""

    def init(self, state: Message, genesis: Any) -> Ok:
        """Open the accounts."""
        return Ok(state.set({"accounts": {f"account-{number}": 0 for number in range(100_000)}}, explicit=True))

    def compute(self, state: Message, assignment: Any, pass_number: int) -> Ok:
        """Count up one account."""
        key = f"accounts/account-{assignment.message.get('account', 0)}"
        return Ok(state.put(key, state.at(key) + 1))


class AccountsPlugin:
    """Provide the large state."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide accounts@1.0."""
        return {"accounts@1.0": Factory(lambda options, binding: Accounts())}


def _begun(kernel: Kernel) -> Process:
    process = kernel.spawn(_definition())
    process.now()
    return process


def _hundreds(process: Process, commits: int) -> float:
    begun = time.perf_counter()
    for number in range(commits):
        process.schedule_many([{"data": f"message {number} {index}"} for index in range(100)])
        process.now()
    return commits * 100 / (time.perf_counter() - begun)


def _transitions(folder: Path, scale: float, *, stages: int) -> float:
    count = int(5_000 * scale)
    with Kernel.open(data=folder, plugins=[BenchPlugin()]) as kernel:
        definition = definition_of(Message({"device": "process@1.0", **_definition(stages)}), kernel.registry)
        stage = compile_process(definition, kernel.registry, lambda _: b"").build()
        head, assignments = None, []
        for number in range(count):
            message = Message({"data": f"message {number}"})
            assignments.append(next_assignment("p" * 43, head, Submission(message, message.id), Tick(number)))
        state = initial_state(definition.message)
        begun = time.perf_counter()
        for assignment in assignments:
            state = transition(stage, state, assignment, Policy()).state
        return (time.perf_counter() - begun) / count * 1e6


# -- AOS

AOS_DEFINITION: dict[str, Any] = {
    "name": "bench",
    "execution-device": "stack@1.0",
    "device-stack": ["wasi@1.0", "json-iface@1.0", "wasm-64@1.0", "patch@1.0", "multipass@1.0"],
    "passes": 2,
    "output-prefix": "wasm",
    "patch-from": "/results/outbox",
}


def aos_slots(folder: Path, scale: float) -> float:
    """AOS 2.0.6 evaluates `1 + 1`, warm, through the whole stack, stored: slots a second."""
    count = int(60 * scale)
    with Kernel.open(aos_file(folder), data=folder / "data") as kernel:
        process = kernel.spawn()
        process.now()
        process.schedule_many([{"action": "Eval", "data": "1 + 1"} for _ in range(count)])
        begun = time.perf_counter()
        process.now()
        return count / (time.perf_counter() - begun)


def aos_file(folder: Path) -> Path:
    """Write the definition of AOS into a folder."""
    file = folder / "aos.toml"
    rows = {**AOS_DEFINITION, "image": str(aos_module()), "random-seed": "bench"}
    file.write_text("[process]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items()))
    return file


def why_no_aos() -> str:
    """Say why AOS cannot be measured here, or nothing."""
    try:
        aos_module()
    except (MissingModuleError, OSError, SubprocessError) as error:
        return str(error)
    return ""


KERNEL_ROWS = [
    Row("trivial stack, durable: one message at a time", "/s", one_at_a_time, ES_ONE),
    Row("trivial stack, durable: one at a time, against the disk", "/s", one_at_a_time, FDATASYNC),
    Row("trivial stack, durable: 100 messages at once", "/s", by_hundreds, ES_BATCH),
    Row("trivial stack: bytes a slot, all files", "bytes", bytes_a_slot, ES_BYTES),
    Row("kernel overhead a slot, nothing stored", "us", overhead),
    Row("one more device in the stack", "us", overhead_of_swapping),
    Row("one change in a state of 100,000 keys, stored", "us", large_state),
]
AOS_ROWS = [Row("AOS 2.0.6, `1 + 1`, warm, whole stack, stored", "/s", aos_slots, absent=why_no_aos())]
