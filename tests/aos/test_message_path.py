"""The path of an AOS message through WASM: no call of the host on it, and no memory lost by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from aos.module import aos_module, aos_pure_module
from aos.needing import needed
from aos.process import OWNER, definition_file
from procession import Kernel, Process
from procession_wasm import stage, texts
from procession_wasm.crossing import Crossing
from procession_wasm.instance import Instance

CODES = (
    "return 1 + 1",
    'error("boom")',
    "syntax error here (",
    'Send({ Target = ao.id, Action = "Ping", Data = "x" })',
    "t = {} for i = 1, 300 do t['k' .. i] = tostring(i) end return #require('json').encode(t)",
    "for i = 1, 100 do pcall(error, i) end return math.random(100)",
    'print("printed")',
    "return os.time()",
)
PADDED = f"return 1 -- {'x' * 4000}"
LARGE = [f"return 1 -- {'x' * ((40 << 10) + number * number * 7919 % (160 << 10))}" for number in range(300)]
LARGEST = f"return 1 -- {'x' * (200 << 10)}"
MANY = 300  # messages
FEW_PAGES = 24


@attrs.frozen
class Opened:
    """Hold a process of an AOS image, and the instances that run for it."""

    process: Process
    keys: Mapping[str, str]
    instances: list[Instance]

    def evaluate(self, *codes: str) -> Any:
        """Evaluate Lua, a message each, and return the results of the last."""
        self.process.schedule_many([{"action": "Eval", "data": code, **self.keys} for code in codes])
        return self.process.now()["results"]

    def pages(self) -> int:
        """Count the pages that hold something."""
        memory = self.instances[-1].memory
        assert memory is not None
        return len(memory.differing(set(), {}))


IMAGES: Mapping[str, tuple[Callable[[], Path], Mapping[str, str]]] = {
    "AOS 2.0.6": (aos_module, {}),
    "aos-2-pure-xs": (aos_pure_module, {"from": OWNER, "owner": OWNER}),
}


@pytest.fixture(params=IMAGES)
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Start a process of each image."""
    yield from opened_image(request.param, tmp_path, monkeypatch)


def opened_image(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Start a process of an image, and note its instances."""
    fetch, keys = IMAGES[name]
    instances: list[Instance] = []

    class Noted(Instance):
        def __init__(self, *given: Any) -> None:
            instances.append(self)
            super().__init__(*given)

    monkeypatch.setattr(stage, "Instance", Noted)
    image = needed(fetch)
    file = definition_file(folder, image, more=f'authority = "{OWNER}"')
    with Kernel.open(file, data=folder / "data") as kernel:
        yield Opened(kernel.spawn(), keys, instances)


@pytest.fixture
def crossings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every call of the host that a guest makes."""
    made: list[str] = []
    original = Crossing.function

    def noted(crossing: Crossing, answer: Any, kind: Any) -> Any:
        def call(*given: Any) -> Any:
            made.append(repr(answer))
            return answer(*given)

        return original(crossing, call, kind)

    monkeypatch.setattr(Crossing, "function", noted)
    return made


def test_no_message_calls_the_host(crossings: list[str], opened: Opened) -> None:
    """Whatever an AOS message does but ask for a date, no call of its guest leaves WASM, the start included."""
    for code in CODES:
        results = opened.evaluate(code)
        assert "ok" == results.at("wasm/type")
        assert [] == crossings, code


def test_a_call_of_the_host_is_counted(crossings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date, which Python breaks down and writes, is two calls of the host."""
    for opened in opened_image("AOS 2.0.6", tmp_path, monkeypatch):
        assert opened.evaluate('return os.date("%Y", 0)')["data"] == "1970"
    assert 2 == len(crossings)


def test_messages_lose_no_memory(opened: Opened) -> None:
    """Some hundreds of messages of 4 KB leave about as many pages as there were."""
    opened.evaluate(*[PADDED] * 20)
    before = opened.pages()
    opened.evaluate(*[PADDED] * MANY)
    assert opened.pages() - before <= FEW_PAGES


def test_large_messages_lose_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of messages of 40 to 200 KiB, for which a stack is too small, leave about as many pages too."""
    for opened in opened_image("aos-2-pure-xs", tmp_path, monkeypatch):
        opened.evaluate(LARGEST, *LARGE[:60])  # until the guest's own heap is as large as it takes
        before = opened.pages()
        opened.evaluate(*LARGE)
        assert opened.pages() - before <= 2 * FEW_PAGES


def test_texts_that_nobody_frees_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken from a heap that frees nothing, and not used again, the same messages leave a page each."""
    monkeypatch.setattr(texts, "_holds", lambda *given: False)
    monkeypatch.setattr(
        Instance, "buffer", property(lambda instance: (0, 0), lambda instance, given: None), raising=False
    )
    for opened in opened_image("aos-2-pure-xs", tmp_path, monkeypatch):
        opened.evaluate(*[PADDED] * 20)
        before = opened.pages()
        opened.evaluate(*[PADDED] * MANY)
        assert opened.pages() - before > MANY
