"""A batch of hostile modules in a program of its own: what it survives, a host survives.

``python wasm_batch.py JSON`` prints a line of JSON for each case, and one at the end with what it took. The
system kills it at its limits, so that also a batch with a protection taken away harms nobody.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

import procession_wasm
from procession import Kernel, ProcessionError
from procession.errors import ComputeError, RequestError
from procession.ids import hash_id
from procession.messages import Message
from procession.roles import Binding, Blob, Fail, Member, Stage
from procession.schedules import Assignment
from procession.testing.fakes import MemoryHost, SteppingClock
from procession_wasm import bounds, compiling
from procession_wasm.images import Images
from procession_wasm.options import WasmOptions
from procession_wasm.stage import WasmStage, build_stage
from procession_wasm.wasi import WasiStage
from procession_wasm.watches import Allowance
from reliability.wasm_modules import FUEL, HOSTILE, LIMIT, Hostile, corpus
from reliability.wasm_mutants import mutant

NOTHING = ""
MUTANT_FUEL, MUTANT_LIMIT = 200_000, 4 << 20

_DEFINITION = """
[process]
device-stack = ["wasi@1.0", {{ device = "wasm-64@1.0", image = "guest.wasm", fuel = {fuel}, memory-limit = {limit} }}]
[host.workers]
slot-timeout = "{seconds}s"
"""


@attrs.frozen
class Limits:
    """Hold what a guest may take; ``without`` names the protection that is taken away."""

    without: str = NOTHING
    seconds: float = 3600

    @property
    def definition(self) -> str:
        """Return the definition of a process of one guest."""
        fuel = 1 << 62 if self.without in ("fuel", "watch") else FUEL
        limit = 1 << 30 if self.without == "limit" else LIMIT
        return _DEFINITION.format(fuel=fuel, limit=limit, seconds=self.seconds)


def main() -> None:
    """Run the batch that the first argument describes."""
    asked = json.loads(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (asked["cpu"], asked["cpu"] + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limits = Limits(asked.get("without", NOTHING), asked.get("seconds", 3600))
    compiling.CPU_SECONDS = asked.get("compiler", compiling.CPU_SECONDS)
    compiling.WALL_SECONDS = 600  # this machine may have other work
    _take_away(limits.without)
    base = _peak(resource.RUSAGE_SELF)
    rows = fixed(asked["names"], limits) if "names" in asked else mutants(asked["seed"], asked["count"])
    for row in rows:
        _say(row)
    peaks = {"grown": _peak(resource.RUSAGE_SELF) - base, "compilers": _peak(resource.RUSAGE_CHILDREN)}
    _say(peaks)


def fixed(names: Sequence[str], limits: Limits) -> Iterator[Mapping[str, Any]]:
    """Yield name, end and seconds of hostile modules, each a process; those that ran, twice."""
    for hostile in HOSTILE:
        if hostile.name in names:
            begun = time.perf_counter()
            end = end_of(hostile, limits)
            seconds = time.perf_counter() - begun
            again = end if hostile.bomb else end_of(hostile, limits)
            yield {"name": hostile.name, "end": end[0], "equal": end == again, "seconds": seconds}


def end_of(hostile: Hostile, limits: Limits) -> tuple[str, ...]:
    """Return how a module ends: the kind of its failure, or of the error, then the ids of all states."""
    with tempfile.TemporaryDirectory(prefix="procession-hostile-") as name:
        folder = Path(name)
        (folder / "guest.wasm").write_bytes(hostile.content)
        (folder / "guest.toml").write_text(limits.definition)
        plugins = [MemoryHost(), procession_wasm]
        with Kernel.open(
            folder / "guest.toml", data=folder / "data", plugins=plugins, discover=False, clock=SteppingClock()
        ) as kernel:
            return _computed(kernel, hostile)


def _computed(kernel: Kernel, hostile: Hostile) -> tuple[str, ...]:
    try:
        process = kernel.spawn()
        process.schedule_many([{"function": hostile.function}] * 2)
        states = [process.compute(slot) for slot in range(3)]
    except RequestError as refused:
        return refused.kind, refused.text
    except ProcessionError as failed:
        return f"raised {failed.kind}", failed.text
    root = str(kernel.snapshot(process.id).get("live-root", ""))
    return str(states[-1].at("results/error/kind", "ok")), root, *(state.id for state in states)


def mutants(seed: int, count: int) -> Iterator[Mapping[str, Any]]:
    """Yield how many mutants came to each end, a row for each hundred of them; two runs of each must be equal."""
    images, sound = Images(), corpus()
    for first in range(0, count, 100):
        ends: Counter[str] = Counter()
        unequal = []
        for number in range(first, min(first + 100, count)):
            content = mutant(random.Random(f"{seed} {number}"), sound)
            one, other = mutant_end(images, content), mutant_end(images, content)
            ends[one[0]] += 1
            unequal += [] if one == other else [number]
        yield {"first": first, "ends": ends, "unequal": unequal}


def mutant_end(images: Images, content: bytes) -> tuple[str, ...]:
    """Return how a mutant ends: the kind of refusal; else what each of some slots came to, and the live root."""
    try:
        options = WasmOptions(Blob(hash_id(content)), fuel=MUTANT_FUEL, memory_limit=MUTANT_LIMIT)
        stage = build_stage(images, options, _binding(content))
        stage.check()
    except RequestError as refused:
        return refused.kind, refused.text
    try:
        return _slots(stage)
    except ComputeError as failed:
        return f"raised {failed.kind}", failed.text
    finally:
        stage.close()


def _slots(stage: WasmStage) -> tuple[str, ...]:
    state = Message()
    ends, kinds = [], []
    for slot, message in enumerate([{}, *_calls(stage)]):
        assignment = _assignment(slot, message)
        verdict = stage.compute(state, assignment, 1) if slot else stage.init(state, assignment)
        if isinstance(verdict, Fail):
            stage.rollback(slot)
            kinds.append(verdict.kind)
            ends.append(verdict.message)
        else:
            ends.append(verdict.state.id)
    live = stage.snapshot()
    assert live is not None
    return kinds[0] if kinds else "ok", *ends, live.root.hex()


def _calls(stage: WasmStage) -> Iterator[Mapping[str, Any]]:
    for name in sorted(stage._choices.functions)[:3]:
        kind = stage._choices.numeric[name]
        yield {"function": name, "parameters": [3.0 if param[0] == "f" else 3 for param in kind.params]}
        yield {"function": name, "parameters": [-1 for _ in kind.params]}


def _assignment(slot: int, message: Mapping[str, Any]) -> Assignment:
    return Assignment(
        "process", slot, 1_700_000_000_000 + slot, 7, "compute", f"message {slot}", bytes(32), Message(message)
    )


def _binding(content: bytes) -> Binding:
    def member(asked: Member) -> Stage:
        raise AssertionError("a guest is made of no other stages")

    return Binding(
        process="process",
        definition=Message({"device-stack": ["wasi@1.0", "wasm-64@1.0"]}),
        number="2",
        device="wasm-64@1.0",
        input_prefix="",
        output_prefix="",
        blob=lambda _: content,
        imports=WasiStage().answer,
        member=member,
        slot_seconds=60,
    )


def _take_away(protection: str) -> None:
    """Run the batch as if a protection were not there."""
    if protection == "compiler":
        bounds.SIMPLE_BYTES = 1 << 30
        bounds.is_simple = lambda content: True
    if protection == "watch":
        Allowance.check = lambda self: None


def _say(row: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def _peak(who: int) -> int:
    return resource.getrusage(who).ru_maxrss * 1024


if __name__ == "__main__":
    main()
