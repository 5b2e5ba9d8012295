"""A mixed process and its schedule: every device of the workspace that computes, and each way to fail.

Rules
-----
* The schedule brings its clock: slots, times and block heights are given.
* Values of every type, many keys at once, and keys that come and go are in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

OWNER = "Owner-0000000000000000000000000000000000000"
WAT = Path(__file__).with_name("mixed.wat")

_GUEST = '{ device = "wasm-64@1.0", image = "mixed.wat", fuel = 2_000_000, memory-limit = 2_097_152 }'
_LIVE = f'"test-device@1.0", "wasi@1.0", {_GUEST}'

# What makes the shapes of the process: one stack, a stack in a stack, a map, two guests, one that halts.
SHAPES: Mapping[str, str] = {
    "mixed": f"""
passes = 2
output-prefix = "wasm"
patch-from = "results/outbox"
patch-to = "kept"
dedup-limit = 12
on-failure = "record"
device-stack = ["dedup@1.0", {_LIVE}, "write@1.0", "patch@1.0", "multipass@1.0"]
""",
    "nested": f"""
passes = 2
output-prefix = "wasm"
device-stack = [
  {{ device = "stack@1.0", output-prefix = "inner", device-stack = [{_LIVE}] }},
  "write@1.0",
  "multipass@1.0",
]
""",
    "map": f"""
mode = "Map"
device-stack = [{_LIVE}, "write@1.0"]
""",
    "two guests": f"""
device-stack = [{_LIVE}, {_GUEST.replace("2_000_000", "100_000")}, "write@1.0"]
""",
    "halting": f'''
on-failure = "halt"
halt-release = ["{OWNER}"]
device-stack = [{_LIVE}, "write@1.0"]
''',
}

_DEFINITION = """
[process]
name = "{shape}"
{rows}

[process.tags]
note = "Grüße, 世界 🌍"
limits = {{ least = -1, share = 0.1, deep = {{ deeper = [1, "two", [3.0, true]] }} }}

{host}
"""


def definition_file(folder: Path, *, shape: str = "mixed", host: str = "") -> Path:
    """Write the definition of a shape with a ``[host]`` table, and its image beside it, and return its path."""
    (folder / WAT.name).write_bytes(WAT.read_bytes())
    file = folder / "mixed.toml"
    file.write_text(_DEFINITION.format(shape=shape, rows=SHAPES[shape], host=host), "utf-8")
    return file


def schedule(shape: str = "mixed") -> list[dict[str, Any]]:
    """Return the schedule, as one that was made elsewhere; its slot 0 takes all its keys from the definition."""
    rest = _halts() if shape == "halting" else [*_failures(), *_values(), *_repeats(), *_patches()]
    messages: list[Mapping[str, Any]] = [{}, *_calls(), *rest]
    return [
        {
            "slot": slot,
            "timestamp": 1_700_000_000_000 + 977 * slot,
            "block-height": 1_000_000 + slot // 4,
            "message": message,
        }
        for slot, message in enumerate(messages)
    ]


def _call(function: str, *parameters: float, **rows: Any) -> dict[str, Any]:
    return {"function": function, "parameters": list(parameters), **rows}


def _calls() -> list[dict[str, Any]]:
    return [
        _call("add", 5),
        _call("add", -(2**62), note="large"),
        _call("clock"),
        _call("product", 6, 7),
        _call("ratio", 1.0, 3.0),
        _call("ratio", 0.0, 0.0),
        _call("ratio", 1e308, 1e-308),
        _call("spread", 3),
    ]


def _failures() -> list[dict[str, Any]]:
    failing = [_call("stop"), _call("outside"), _call("spin"), _call("sink", 1), _call("malloc", 1), _call("add", 1.5)]
    after = [_call("add", 1, after=number) for number in range(len(failing))]
    return [message for pair in zip(failing, after, strict=True) for message in pair] + [_call("spread", 100)]


def _values() -> list[dict[str, Any]]:
    many = {f"Account-{number}": {"balance": number * number, "share": number / 7} for number in range(90)}
    fewer = {f"Account-{number}": {"balance": -1} for number in range(0, 90, 3)}
    odd = {
        "none": None,
        "true": True,
        "one": 1,
        "float": 1.0,
        "zero": -0.0,
        "wide": 2**255,
        "bytes": b"\x00\xff",
        "text": "\u0000é\U0001f30d",
        "Ünïcode-Kéy": "kept",
        "list": [[], {}, [None, {"a": b""}]],
        "long": "x" * 5000,
    }
    return [
        {"write": {"accounts": many}},
        {"write": {"accounts": fewer}},
        {"write": {"odd": odd}},
        {"write": {"odd": "gone"}},
    ]


def _repeats() -> list[dict[str, Any]]:
    same = _call("add", 10, reference="again")
    return [same, same, _call("add", 3), same]


def _patches() -> list[dict[str, Any]]:
    patch = {"method": "PATCH", "prices": {"apple": 3, "pear": 0.5}}
    outbox = {
        "1": patch,
        "2": {"target": "elsewhere", "data": "sent"},
        "3": {"method": "PATCH", "prices": {"apple": 4}},
    }
    return [{"write": {"results": {"outbox": outbox}}}, {"write": {"results": {"outbox": {"1": {"target": "x"}}}}}, {}]


def _halts() -> list[dict[str, Any]]:
    failing = [_call("stop"), _call("spin"), {"refuse": True}]
    halted = [_call("add", 1), _release(1, "a stranger"), _call("spread", 1)]
    return [
        message
        for number, failure in enumerate(failing, 2)
        for message in (failure, *halted, _release(number, OWNER), _call("add", number))
    ]


def _release(number: int, owner: str) -> dict[str, Any]:
    return {"Id": f"Release-{number:034d}0", "Owner": owner, "Tags": [{"name": "Action", "value": "release"}]}
