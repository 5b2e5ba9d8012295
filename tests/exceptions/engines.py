"""Engines: what the calls of a module come to where old handlers are run as they are, and where they are rewritten."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import wasmtime

from procession_wasm.blocktypes import LegacyError
from procession_wasm.compiler import configured
from procession_wasm.images import ASKED
from procession_wasm.legacy import modernised

Parameters: TypeAlias = Sequence[tuple[str, str]]  # type and number
Outcomes: TypeAlias = list[Any] | None  # of each call its values or its end, and what was mixed; None: not valid

FUEL = 100_000_000
RUNNER = Path(__file__).with_name("run.mjs")
_TRAPS = {"UNREACHABLE": "unreachable", "INTEGER_DIVISION_BY_ZERO": "divide by zero"}


@attrs.frozen
class Case:
    """Hold a module of the old kind, and what is called of it."""

    content: bytes
    calls: Sequence[tuple[str, Parameters]] = ()


def node() -> str | None:
    """Return the path of a node that runs modules of the old kind, if there is one."""
    return shutil.which("node")


def by_node(program: str, cases: Sequence[Case]) -> list[Outcomes]:
    """Return what the calls of each module come to in V8."""
    asked = [{"wasm": base64.b64encode(case.content).decode(), "calls": case.calls} for case in cases]
    done = subprocess.run(
        [program, str(RUNNER)], input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=False
    )
    assert 0 == done.returncode, done.stderr
    found: list[Outcomes] = json.loads(done.stdout)
    return found


def by_rewriting(cases: Sequence[Case]) -> Iterator[Outcomes]:
    """Yield what the calls of each module come to in the engine of this device, once it is rewritten."""
    engine = wasmtime.Engine(configured(wasmtime.Config(), ASKED))
    for case in cases:
        yield _outcomes(engine, case)


def _outcomes(engine: wasmtime.Engine, case: Case) -> Outcomes:
    try:
        modern = modernised(case.content)
        content = case.content if modern is None else modern
        wasmtime.Module.validate(engine, content)
    except (LegacyError, wasmtime.WasmtimeError):
        return None
    if not case.calls:
        return []
    store = wasmtime.Store(engine)
    store.set_epoch_deadline(1 << 40)
    store.set_fuel(FUEL)
    exports = wasmtime.Instance(store, wasmtime.Module(engine, content), []).exports(store)
    return [[_ended(store, exports, *call), str(_of(exports, "mixed").value(store))] for call in case.calls]


def _of(exports: Any, name: str) -> Any:
    return exports[name]


def _ended(store: wasmtime.Store, exports: Any, name: str, parameters: Parameters) -> list[str] | str:
    exports["begin"](store)
    try:
        found = exports[name](store, *(float(text) if kind == "f64" else int(text) for kind, text in parameters))
    except wasmtime.Trap as trap:
        return "exception" if trap.trap_code is None else _TRAPS[trap.trap_code.name]
    values = [] if found is None else found if isinstance(found, list) else [found]
    return [f"{value:.0f}" if isinstance(value, float) else str(value) for value in values]
