"""The image aos-2-pure-xs, rewritten, against V8, which runs its old exception handlers as they are.

Where there is no node or no npm client, this is skipped and says so.
"""

from __future__ import annotations

import json
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from aos.module import MissingModuleError, aos_pure_module
from exceptions.engines import node
from procession_wasm.compiler import configured
from procession_wasm.images import ASKED
from procession_wasm.legacy import modernised

TIME = 1_700_000_000_000_000_000
RUNNER = Path(__file__).with_name("evaluate.mjs")
OWNER = "FOOBAR"
PROCESS = {
    "Id": "AOS",
    "Owner": OWNER,
    "Tags": [{"name": "Name", "value": "Thomas"}, {"name": "Authority", "value": OWNER}],
}
CODES = (
    "return 1 + 1",
    'error("boom")',
    "local n = 0 for i = 1, 300 do if not pcall(error, { i }) then n = n + 1 end end return n",
    'Send({ Target = "a friend", Data = "hello" }) return 5',
    "syntax error here (",
    "co = coroutine.wrap(function () for i = 1, 9 do coroutine.yield(i) end error('dead') end) return co()",
    "local t = {} for i = 1, 12 do t[i] = tostring(pcall(co)) end return table.concat(t, ',')",
    "local function f(n) if n == 0 then error('deep') end return (f(n - 1)) end return pcall(f, 150)",
    "local function f(n) return n == 0 and error('x') or pcall(f, n - 1) end return f(100)",
    "return tostring({}) .. math.random(10000)",
)


def test_the_image_answers_as_it_does_in_v8() -> None:
    """Answers and the whole memory after each message are those of the image that nobody rewrote."""
    program = node()
    if program is None:
        pytest.skip("there is no node to run old exception handlers with")
    try:
        image = aos_pure_module()
    except MissingModuleError as missing:
        pytest.skip(str(missing))
    texts = [_texts(number, code) for number, code in enumerate(CODES * 2)]
    assert by_node(program, image, texts) == by_rewriting(image, texts)


def _texts(number: int, code: str) -> list[str]:
    message = {
        "From": OWNER,
        "Owner": OWNER,
        "Target": "AOS",
        "Id": str(number),
        "Module": "W",
        "Block-Height": "1",
        "Tags": [{"name": "Action", "value": "Eval"}],
        "Data": code,
    }
    return [json.dumps(message), json.dumps({"Process": PROCESS})]


def by_node(program: str, image: Path, texts: list[list[str]]) -> list[list[str]]:
    """Return each answer, and the digest of the memory after it, in V8."""
    asked = json.dumps({"image": str(image), "time": str(TIME), "texts": texts})
    done = subprocess.run([program, str(RUNNER)], input=asked, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == done.returncode, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


def by_rewriting(image: Path, texts: list[list[str]]) -> list[list[str]]:
    """Return each answer, and the digest of the memory after it, in the engine of this device."""
    modern = modernised(image.read_bytes())
    assert modern is not None
    guest = Guest(modern)
    return [guest.answer(given) for given in texts]


class Guest:
    """Run an AOS image whose imports answer 0, but for its clock."""

    def __init__(self, content: bytes) -> None:
        engine = wasmtime.Engine(configured(wasmtime.Config(), ASKED))
        self._store = wasmtime.Store(engine)
        self._store.set_fuel(1 << 60)
        self._store.set_epoch_deadline(1 << 40)
        module = wasmtime.Module(engine, content)
        imports = [self._import(wanted) for wanted in module.imports]
        self._exports: Any = wasmtime.Instance(self._store, module, imports).exports(self._store)
        for name in ("emscripten_stack_init", "_initialize"):
            if name in self._exports:
                self._exports[name](self._store)

    def answer(self, given: list[str]) -> list[str]:
        """Return the answer to some texts, and the digest of the memory then."""
        start = self._exports["handle"](self._store, *map(self._put, given))
        memory = self._exports["memory"]
        content = bytes(memory.read(self._store, 0, memory.data_len(self._store)))
        return [content[start : content.index(0, start)].decode(), sha256(content).hexdigest()]

    def _import(self, wanted: wasmtime.ImportType) -> wasmtime.Func:
        kind = wanted.type
        assert isinstance(kind, wasmtime.FuncType)

        def answer(*given: int) -> int | None:
            if wanted.name == "clock_time_get":
                self._exports["memory"].write(self._store, TIME.to_bytes(8, "little"), given[2])
            return 0 if kind.results else None

        return wasmtime.Func(self._store, kind, answer)

    def _put(self, text: str) -> int:
        content = text.encode() + b"\0"
        pointer: int = self._exports["malloc"](self._store, len(content))
        self._exports["memory"].write(self._store, content, pointer)
        return pointer
