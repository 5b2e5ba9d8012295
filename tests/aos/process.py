"""AOS processes for the tests: a definition file, and schedules made elsewhere for it.

Rules
-----
* A schedule brings its clock, so every run of it, in this program or another, is of the same input.
* The session keeps a coroutine alive from its first message to its last, and fails, sends and traps nothing
  that it does not go on from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aos.module import MODULE_ID
from procession import Kernel, Process
from procession.jsons import to_json
from procession.messages import Message

EVALUATIONS = Path(__file__).parent / "aos-2.0.6-evaluations.json"
PROCESS = "Process-000000000000000000000000000000000_A"
OWNER = "Owner-0000000000000000000000000000000000000"
COMPARED = ("output", "messages", "spawns", "assignments", "error")
ROUNDS = 6  # of the session
LAST = 63  # slot of the session

_DEFINITION = """
[process]
name = "vector"
module = "{module}"
image = {image}
passes = 2
output-prefix = "wasm"
{more}
device-stack = ["wasi@1.0", "json-iface@1.0", "wasm-64@1.0", "patch@1.0", "multipass@1.0"]

[process.tags]
data-protocol = "ao"
variant = "ao.TN.1"

{host}
"""

_OPENING = (
    "Counter = 0",
    'Handlers.add("Add", "Add", function (m) Counter = Counter + tonumber(m.Plus) end)',
    "co = coroutine.wrap(function () local n = 0 while true do n = n + 1; coroutine.yield(n) end end) return co()",
)
_ROUND = (
    "return co()",
    "Counter = Counter + co() return Counter",
    'error("boom " .. tostring(co()))',
    'Send({ Target = ao.id, Action = "Ping", Data = tostring(co()) })',
    "t = {} for i = 1, 300 do t['k' .. i] = tostring(i) end return require('json').encode(t):len()",
    "return math.random(1000000)",
    "return tostring({}) .. tostring(print)",
    "return os.time()",
    "syntax error here (",
    "local fine, why = pcall(function () error({ code = co() }) end) return why.code",
)


def definition_file(folder: Path, module: Path, *, more: str = "", host: str = "") -> Path:
    """Write the definition of an AOS process, with more of its keys and a ``[host]`` table, and return its path."""
    file = folder / "aos.toml"
    image = json.dumps(str(module))
    file.write_text(_DEFINITION.format(module=MODULE_ID, image=image, more=more, host=host), "utf-8")
    return file


def stack_of(image: str, *behind: str, **options: Any) -> dict[str, Any]:
    """Return the keys of the stack that AO's modules run in, with stages behind the guest, and options of it."""
    guest = {"device": "wasm-64@1.0", "image": image, **options}
    stack = ["wasi@1.0", "json-iface@1.0", guest, *behind, "multipass@1.0"]
    return {"device-stack": stack, "passes": 2, "output-prefix": "wasm"}


def evaluations() -> Sequence[Mapping[str, Any]]:
    """Return the recorded evaluations: slot, message and result."""
    steps: Sequence[Mapping[str, Any]] = json.loads(EVALUATIONS.read_text("utf-8"))["steps"]
    return steps


def schedule_of(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return evaluations as a schedule that was made elsewhere."""
    return [
        {
            "slot": step["slot"],
            "timestamp": step["message"]["Timestamp"],
            "block-height": step["message"]["Block-Height"],
            "message": step["message"],
        }
        for step in steps
    ]


def session() -> list[dict[str, Any]]:
    """Return a schedule of 64 slots: the process, three openings, and rounds of ten evaluations."""
    process = evaluations()[0]["message"]
    codes = (*_OPENING, *(_ROUND * ROUNDS))
    messages = [process, *(evaluation(slot, code) for slot, code in enumerate(codes, 1))]
    return [
        {
            "slot": slot,
            "timestamp": 1_700_000_000_000 + 1000 * slot,
            "block-height": 1000 + slot // 3,
            "message": message,
        }
        for slot, message in enumerate(messages)
    ]


def session_kernel(folder: Path) -> Kernel:
    """Open a kernel for the definition in a folder."""
    return Kernel.open(folder / "aos.toml", data=folder / "data")


def load_session(kernel: Kernel, upto: int) -> Process:
    """Take up the slots of the session up to one."""
    assert kernel.definition is not None
    return kernel.load(session()[: upto + 1], definition=kernel.definition.message, trust_ids=True)


def compared(raw: Any) -> str:
    """Return what is compared of a response, as JSON: not the meter, nor the patches, which the module leaves empty."""
    message = Message(raw)
    return to_json(Message({key: message[key] for key in COMPARED if key in message}), indent=1)


def evaluation(slot: int, code: str) -> dict[str, Any]:
    """Return a message of the owner that evaluates Lua; each needs a number of its own."""
    return {
        "Id": f"Session-{slot:034d}0",
        "Target": PROCESS,
        "Owner": OWNER,
        "From": OWNER,
        "Tags": [{"name": "Type", "value": "Message"}, {"name": "Action", "value": "Eval"}],
        "Data": code,
    }
