"""What runs between an assignment and its result, with the default devices: no more than the slot needs."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from procession import Factory, Kernel, Ok, Process, PureStage, hookimpl, paths

SLOTS = 20  # that are watched, after as many that are not
UNWANTED = ("pluggy", "cattrs", "cattr", "json", "tomllib", "procession/paths.py", "procession/structuring.py")

Work = Callable[[int], object]


class Counting(PureStage):
    """Count messages, and do whatever else a test asks for."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def compute(self, state: Any, assignment: Any, pass_number: int) -> Ok:
        """Add one."""
        self._work(assignment.slot)
        return Ok(state.put("count", state.get("count", 0) + 1))


class Counters:
    """Provide counting@1.0."""

    def __init__(self, work: Work) -> None:
        self._work = work

    @hookimpl
    def procession_stages(self) -> dict[str, Factory]:
        """Provide the stage."""
        return {"counting@1.0": Factory(lambda options, binding: Counting(self._work), summary="count")}


class Watch:
    """Note which functions are called, in any thread, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.called: Counter[str] = Counter()

    def __call__(self, frame: Any, event: str, given: object) -> None:
        """Take what the interpreter tells of a call."""
        if self.on and event == "call":
            self.called[frame.f_code.co_filename] += 1
        elif self.on and event == "c_call":
            self.called[f"{getattr(given, '__module__', None)}.{getattr(given, '__name__', '')}"] += 1

    def unwanted(self) -> set[str]:
        """Return what was called that has no place there."""
        return {part for name in self.called for part in UNWANTED if f"/{part}" in name or name.startswith(f"_{part}.")}


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Watch this thread, and those that begin from now on."""
    watching, before = Watch(), sys.getprofile()
    threading.setprofile(watching)
    sys.setprofile(watching)
    yield watching
    sys.setprofile(before)
    threading.setprofile(before)


@contextmanager
def counting(folder: Path, work: Work = id) -> Iterator[Process]:
    """Begin a process whose worker is warm."""
    with Kernel(data=folder, plugins=[Counters(work)]) as kernel:
        process = kernel.spawn({"type": "Process", "device-stack": ["counting@1.0"]})
        for number in range(SLOTS):
            process.compute(process.schedule({"number": number}).slot)
        yield process


def compute_watched(process: Process, watch: Watch) -> None:
    """Compute slots that are scheduled already, one after the other."""
    for number in range(SLOTS, 2 * SLOTS):
        slot = process.schedule({"number": number}).slot
        watch.on = True
        assert slot == process.compute(slot)["count"] - 1
        watch.on = False


def test_nothing_unwanted_runs_before_a_result(tmp_path: Path, watch: Watch) -> None:
    """Between an assignment and its result nobody asks a hook, parses a path, structures options or writes JSON."""
    with counting(tmp_path) as process:
        compute_watched(process, watch)
    assert set() == watch.unwanted()
    assert any("procession/machine.py" in name for name in watch.called)  # the worker's thread was watched


@pytest.mark.parametrize(
    ("work", "seen"),
    [
        (lambda slot: paths.parse(f"/now/{slot}"), "procession/paths.py"),
        (lambda slot: json.dumps({"slot": slot}, sort_keys=True), "json"),
    ],
)
def test_what_is_unwanted_is_seen(work: Work, seen: str, tmp_path: Path, watch: Watch) -> None:
    """A stage that parses a path, or writes JSON, is seen to do so."""
    with counting(tmp_path, work) as process:
        compute_watched(process, watch)
    assert {seen} == watch.unwanted()


class Hashing:
    """Stand for sha256, and count the byte strings that are hashed."""

    def __init__(self) -> None:
        self.hashed: Counter[bytes] = Counter()

    def __call__(self, content: Any = b"") -> Any:
        """Begin a hash."""
        return Hash(self.hashed, bytearray(content))


class Hash:
    """Be one hash that is told when it is finished."""

    def __init__(self, hashed: Counter[bytes], content: bytearray) -> None:
        self._hashed, self._content = hashed, content

    def update(self, content: Any) -> None:
        """Add bytes."""
        self._content += content

    def copy(self) -> Hash:
        """Return another that begins as this one stands."""
        return Hash(self._hashed, bytearray(self._content))

    def digest(self) -> bytes:
        """Return the hash, and count what was hashed."""
        self._hashed[bytes(self._content)] += 1
        return hashlib.sha256(self._content).digest()

    def hexdigest(self) -> str:
        """Return the hash as text."""
        return self.digest().hex()


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Hashing:
    """Count what the kernel and its plugins hash."""
    counted = Hashing()
    for name, module in list(sys.modules.items()):
        if name.startswith("procession") and vars(module).get("sha256") is hashlib.sha256:
            monkeypatch.setattr(module, "sha256", counted)
    return counted


def test_each_byte_string_is_hashed_once(tmp_path: Path, hashing: Hashing) -> None:
    """From a call of schedule to the result that is told, nothing is hashed a second time."""
    with counting(tmp_path) as process:
        hashing.hashed.clear()
        for number in range(SLOTS, 2 * SLOTS):
            process.compute(process.schedule({"number": number}).slot)
        hashed = Counter(hashing.hashed)
    assert len(hashed) >= 4 * SLOTS  # message, chain, state and seals
    assert {} == {content: times for content, times in hashed.items() if times > 1}


def test_what_is_hashed_twice_is_seen(tmp_path: Path, hashing: Hashing) -> None:
    """A stage that hashes the same for every slot is seen."""
    with counting(tmp_path, lambda slot: hashing(b"the same").digest()):
        assert SLOTS <= hashing.hashed[b"the same"]
