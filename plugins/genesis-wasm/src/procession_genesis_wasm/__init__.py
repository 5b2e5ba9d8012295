"""genesis-wasm@1.0: a module of AO by its id alone, on the devices that run AOS here.

Rules
-----
* Every option of every stage is given here: a tag that a client adds for other readers changes nothing.
* Limits are those of the definition in the words of AO (``500-mb``), else these; both reach the process id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from procession.hookspecs import hookimpl
from procession.messages import Message
from procession.roles import Binding, Blob, Factory, Ok, Pass, PureStage, Verdict
from procession.schedules import Assignment
from procession.stacks import Bound, Stack, StackOptions, build_stack

NAME: Final = "genesis-wasm@1.0"
DEVICES: Final = ("wasi@1.0", "json-iface@1.0", "wasm-64@1.0", "patch@1.0")
PASSES: Final = 2
FUEL: Final = 10_000_000_000
MEMORY: Final = 1 << 30
UNITS: Final[Mapping[str, int]] = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}

_SIZE = re.compile(r"([1-9][0-9]{0,5})-(kb|mb|gb)\Z")


def _is_size(options: object, attribute: object, value: str) -> None:
    if value and not _SIZE.match(value):
        raise ValueError(f"{value!r:.40} is no size; give one such as 500-mb or 1-gb")


@attrs.frozen
class GenesisOptions:
    """Hold what a definition says: its module, and how much memory that may have."""

    module: Blob
    memory_limit: str = attrs.field(default="", validator=_is_size)


class Again(PureStage):
    """Ask for the pass in which the module's answer is read.

    Needs: the stages of this module before it.
    Reads: the number of the pass.
    Writes: nothing.
    Verdicts: Pass before the last pass, Ok in it.
    Snapshot: none.
    """

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Let the stack begin again, once."""
        return Pass(state) if pass_number < PASSES else Ok(state)


def build(options: GenesisOptions, binding: Binding) -> Stack:
    """Build the stack of a module."""
    module = str(options.module)
    stack: list[dict[str, Any]] = [
        {"device": "wasi@1.0"},
        {"device": "json-iface@1.0", "module": module, "image": module, "passes": PASSES},
        {
            "device": "wasm-64@1.0",
            "image": module,
            "function": "",
            "functions": (),
            "fuel": FUEL,
            "memory-limit": memory_of(options.memory_limit),
        },
        {"device": "patch@1.0", "patch-from": "/results/outbox", "patch-to": "/", "patch-mode": "patches"},
    ]
    shape = StackOptions(device_stack=tuple(stack), output_prefix="wasm")
    stages = build_stack(shape, binding).stages
    return Stack([*stages, Bound(str(len(stages) + 1), NAME, Again(), binding.process)], shape)


def memory_of(size: str) -> int:
    """Return the bytes of a size in the words of AO, at most those that a memory of 32 bits has.

    >>> memory_of("500-mb"), memory_of("")
    (524288000, 1073741824)
    """
    match = _SIZE.match(size)
    return min(int(match[1]) * UNITS[match[2]], 4 << 30) if match else MEMORY


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide genesis-wasm@1.0."""
    summary = "run a module of AO by its id"
    return {NAME: Factory(build, GenesisOptions, summary, devices=DEVICES)}
