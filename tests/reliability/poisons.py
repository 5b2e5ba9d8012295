"""Poisons: messages that fail their slot in every way there is, and the process that takes them.

Rules
-----
* Whatever fails has written before: a guest's memory and globals, a live stage of this host, the state.
* A fault of this host is there as long as ``Acts.broken``; repaired, the same message is computed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

import procession_json_iface
import procession_multipass
import procession_scheduler
import procession_sqlite
import procession_wasm
import procession_zstd
from kernel.devices import Act, Devices, Tape
from procession import Assignment, Factory, Kernel, Message, Ok, PureStage
from procession.ids import hash_id
from procession.roles import Binding, Fail, Pass, Verdict
from procession.testing.fakes import MemoryHost

OWNER = "Owner-0000000000000000000000000000000000000"
WAT = Path(__file__).with_name("poison.wat")
BLOB = b"bytes that a stage asks for at its slot"
DISK = (procession_scheduler, procession_sqlite, procession_zstd)
DEVICES = (procession_json_iface, procession_multipass, procession_wasm)

_GUEST = '{ device = "wasm-64@1.0", image = "poison.wat", fuel = 1_000_000, memory-limit = 2_097_152 }'
STACKS: Mapping[str, str] = {
    "numbers": f'device-stack = ["gate@1.0", "tape@1.0", {_GUEST}, "act@1.0"]',
    "texts": f'passes = 2\ndevice-stack = ["gate@1.0", "tape@1.0", "json-iface@1.0", {_GUEST}, "multipass@1.0"]',
}
_DEFINITION = """
[process]
name = "{shape}"
on-failure = "{policy}"
halt-release = ["{owner}"]
{stack}

[host.snapshots]
every = {every}
"""


@attrs.frozen
class Poison:
    """Hold a message that fails: the kind of its failure, or of the error that this host raises, and of which class."""

    name: str
    message: Mapping[str, Any]
    kind: str
    shape: str = "numbers"
    by_host: bool = False


def _guest(name: str, kind: str, function: str, *parameters: Any) -> Poison:
    return Poison(name, {"function": function, "parameters": list(parameters), "amount": 5}, kind)


def _text(name: str, letter: str, kind: str = "guest") -> Poison:
    return Poison(name, {"data": f"#{letter}", "amount": 5}, kind, "texts")


def _act(name: str, act: str, kind: str, *, by_host: bool = False) -> Poison:
    spoiling = {"function": "add", "parameters": [7], "amount": 5, "act": act}
    return Poison(name, spoiling, kind, by_host=by_host)


POISONS: Sequence[Poison] = (
    _guest("unreachable", "trap", "unreachable"),
    _guest("outside of the memory", "trap", "outside"),
    _guest("division by zero", "trap", "divide"),
    _guest("integer overflow", "trap", "overflow"),
    _guest("no such integer", "trap", "convert"),
    _guest("empty table entry", "trap", "empty"),
    _guest("mistyped table entry", "trap", "mistyped"),
    _guest("endless loop", "out-of-fuel", "spin"),
    _guest("memory bomb", "trap", "hoard"),
    _guest("endless recursion", "stack-overflow", "sink", 1),
    _guest("function that is none", "refused", "missing"),
    _guest("parameter that is no number", "refused", "add", float("nan")),
    _guest("parameter that is huge", "refused", "add", 2**255),
    Poison("parameters that are no list", {"function": "add", "parameters": {"1": 1}, "amount": 5}, "refused"),
    _text("reply that is no JSON", "b"),
    _text("reply that says no", "c"),
    _text("reply with a huge integer", "d"),
    _text("reply with NaN", "e"),
    _text("reply with half a character", "f"),
    _text("reply that is nested too deeply", "g"),
    _text("reply without a response", "h"),
    _text("reply with an outbox that is none", "i"),
    _text("reply that is no UTF-8", "j"),
    _text("reply that is null", "k"),
    _text("reply outside of the memory", "z"),
    Poison("text that finds no memory", {"data": "x" * 20_000, "amount": 5}, "memory-limit", "texts"),
    _act("refused by the last stage", "refuse", "refused"),
    _act("one pass too many", "again", "pass-limit"),
    _act("refused in the second pass", "late", "refused"),
    _act("stage that raises", "raise", "device-raised", by_host=True),
    _act("stage without a verdict", "none", "plugin", by_host=True),
    _act("failure of a kind that is none", "strange", "plugin", by_host=True),
    _act("stage without memory", "memory", "host-memory", by_host=True),
    _act("stage without end", "recurse", "device-raised", by_host=True),
    _act("missing blob", "blob", "device-raised", by_host=True),
    _act("state without a bottom", "deep", "too-deep", by_host=True),
    _act("rollback that raises", "rollback", "device-raised", by_host=True),
)


class Gate(PureStage):
    """Hold a slot until it may go on.

    Needs: nothing. Reads: nothing. Writes: nothing. Verdicts: Ok. Snapshot: none.
    """

    def __init__(self, acts: Acts) -> None:
        super().__init__()
        self._acts = acts

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Wait."""
        if assignment.slot == self._acts.held:
            self._acts.arrived.set()
            assert self._acts.open.wait(60), "nobody opens the gate"
        return Ok(state)


@attrs.define
class Acts:
    """Do what messages say under ``act``, and hold a slot at the gate."""

    broken: bool = True
    built: int = 0
    held: int = -1
    arrived: threading.Event = attrs.field(factory=threading.Event)
    open: threading.Event = attrs.field(factory=threading.Event)

    def devices(self) -> Devices:
        """Return the plugin with the stages."""
        acting = Factory(lambda options, binding: Acting(self, binding))
        return Devices({"gate@1.0": Factory(lambda o, b: Gate(self)), "tape@1.0": Factory(Tape), "act@1.0": acting})


class Acting(Act):
    """Do what a message says, behind all other stages.

    Needs: nothing. Reads: ``act`` of the message. Writes: ``acted``. Verdicts: all. Snapshot: none.
    """

    def __init__(self, acts: Acts, binding: Binding) -> None:
        super().__init__(lambda state, assignment, n: Ok(state))
        self._acts = acts
        self._acts.built += 1
        self._blob = binding.blob

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Any:
        """Act."""
        act = assignment.message.get("act")
        state = state.put("acted", state.get("acted", 0) + 1)
        if act in _ACTING:
            return _ACTING[act](state, pass_number)
        if act == "blob":
            return Ok(state.put("results/blob", self._blob(hash_id(BLOB))))
        broken = _BREAKING.get(act) if self._acts.broken else None
        return broken(state) if broken else Ok(state)

    def rollback(self, slot: int) -> None:
        """Raise where that is broken: half of the stages are rolled back then."""
        if self._acts.broken:
            raise ValueError("no way back")


def _raised(state: Message) -> Verdict:
    raise KeyError(state)


def _unallocated(state: Message) -> Verdict:
    raise MemoryError


def _recursing(state: Message) -> Verdict:
    return _recursing(state)


def _deep(state: Message) -> Verdict:
    inner = Message({})
    for _ in range(100_000):
        inner = Message({"in": inner})
    return Ok(state.put("deep", inner))


def _hoarding(state: Message, pass_number: int) -> Verdict:
    room = bytes(100 << 20)  # untouched, and more than an allocator keeps back for a thread
    hoard = [Message({"number": number, "text": f"{number} " * 50}) for number in range(3_000)]
    whole = b"".join(row.encoded for row in hoard)
    return Ok(state.set({"hoard": {"size": len(whole) + len(room), "last": hoard[-1]}}))


_ACTING: Mapping[Any, Any] = {
    "hoard": _hoarding,
    "refuse": lambda state, n: Fail("refused", "the message says so"),
    "again": lambda state, n: Pass(state),
    "late": lambda state, n: Pass(state) if n == 1 else Fail("refused", "the second pass says so"),
    "rollback": lambda state, n: Fail("refused", "and there may be no way back"),
}
_BREAKING: Mapping[Any, Any] = {
    "raise": _raised,
    "none": lambda state: None,
    "strange": lambda state: Fail("misc", "x"),
    "memory": _unallocated,
    "recurse": _recursing,
    "deep": _deep,
}


@contextmanager
def poisoned_kernel(
    folder: Path, shape: str, policy: str, acts: Acts, *, every: int = 0, disk: bool = True
) -> Iterator[Kernel]:
    """Open a kernel for the process of a shape; in memory it takes its plugins in the other order."""
    folder.mkdir(exist_ok=True)
    (folder / WAT.name).write_bytes(WAT.read_bytes())
    file = folder / "poison.toml"
    file.write_text(
        _DEFINITION.format(shape=shape, policy=policy, owner=OWNER, stack=STACKS[shape], every=every), "utf-8"
    )
    plugins = [acts.devices(), *DEVICES, *(DISK if disk else (MemoryHost(),))]
    with Kernel.open(file, data=folder / "data", plugins=plugins[:: 1 if disk else -1], discover=False) as kernel:
        yield kernel


def good(amount: int, shape: str) -> dict[str, Any]:
    """Return a message that is computed well."""
    call = {"function": "add", "parameters": [amount]} if shape == "numbers" else {"data": "#a"}
    return {**call, "amount": amount}


def release(owner: str, number: int = 1) -> dict[str, Any]:
    """Return a message of an owner that releases a halt."""
    return {"Id": f"Release-{number:034d}0", "Owner": owner, "Tags": [{"name": "Action", "value": "release"}]}


def entries(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages behind slot 0 as a schedule that was made elsewhere."""
    return [
        {"slot": slot, "timestamp": 1_700_000_000_000 + slot, "block-height": 7, "message": message}
        for slot, message in enumerate([{}, *messages])
    ]
