"""The recorded evaluations of AOS 2.0.6 through wasi@1.0, json-iface@1.0 and wasm-64@1.0, and a stop in the middle.

``aos-2.0.6-evaluations.json`` holds 18 messages with the answers that another loader gave to them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import procession_json_iface
import procession_multipass
import procession_wasm
from aos.module import MODULE_ID, aos_module
from aos.needing import needed
from aos.process import stack_of
from procession import commitments
from procession import process as builtin
from procession.definitions import definition_of
from procession.ids import hash_id
from procession.messages import Message, decode, encode
from procession.process import Compiled, compile_process
from procession.registry import Registry
from procession.roles import Binding, Live, Part, Site
from procession.schedules import Assignment, Given, Head, Submission, Tick, next_assignment
from procession.testing import MemoryHost, SteppingClock
from procession.testing.trials import Run, reread

RECORDED = Path(__file__).with_name("aos-2.0.6-evaluations.json")
PLUGINS = (builtin, procession_wasm, procession_json_iface, procession_multipass)
COMPARED = ("Output", "Messages", "Spawns", "Assignments", "Error")

HALF = 60  # messages before the stop, and after it
CODES = (
    "x = (x or 0) + {n} return x",
    "table_{n} = {{}} for i = 1, {n} * 20 do table_{n}[i] = tostring(i) end return #table_{n}",
    "co = co or coroutine.wrap(function() local n = 0 while true do n = n + 1 coroutine.yield(n) end end) return co()",
    "Send({{Target = 'a friend', Action = 'Greet', Number = '{n}'}}) return 'sent'",
    "error('failed at {n}')",
    "local n = 0 for i = 1, 30 do if not pcall(error, i) then n = n + 1 end end return n",
    "return tostring({{}}) .. math.random(1000) .. os.time() .. os.date('!%c', {n})",
    "not lua at all (",
    "return #Inbox",
    "return string.rep('{n}', 3000):len()",
)


@pytest.fixture(scope="module")
def module() -> bytes:
    """Fetch AOS, or skip with the reason."""
    return needed(aos_module).read_bytes()


@pytest.fixture(scope="module")
def recorded() -> Any:
    """Read what was recorded."""
    return json.loads(RECORDED.read_text("utf-8"))


def test_every_recorded_evaluation_comes_out_the_same(module: bytes, recorded: Any) -> None:
    """Each of the 18 messages gives the recorded Output, Messages, Spawns, Assignments and Error."""
    schedule = list(imported(recorded))
    with Run(compiled(schedule[0].message, module)) as run:
        rows = [run.step(assignment, look=False) for assignment in schedule]
    expected = [said_by(step["result"]) for step in recorded["steps"]]
    assert 18 == len(expected)
    assert expected == [said_by(row.state["results"]["raw"]) for row in rows]


def test_prepared_images_evaluate_the_same(
    module: bytes, recorded: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Compiled for this run, compiled and kept, or taken from what was kept: all 18 states and live roots are one."""
    schedule = list(imported(recorded))
    site = Site(tmp_path, False, SteppingClock())
    told = []
    for place in (None, site, site, Site(tmp_path, True, SteppingClock())):
        with Run(compiled(schedule[0].message, module, place)) as run:
            told.append([f"{row} {row.state.at('results/raw').id}" for row in map(run.step, schedule)])
    assert 18 == len(told[0])
    assert [told[0]] * 3 == told[1:]
    kept = list((tmp_path / "images").iterdir())
    assert (3, []) == (len(kept), caplog.records)  # the image, and what was generated before and behind it


def test_results_are_browsable(module: bytes, recorded: Any) -> None:
    """Data, outbox and error text of a slot stand under its results."""
    schedule = list(imported(recorded))
    with Run(compiled(schedule[0].message, module)) as run:
        states = [run.step(assignment, look=False).state for assignment in schedule]
    assert "2" == states[1].at("results/data")
    assert ("3", "1") == (states[6].at("results/outbox/1/data"), states[6].at("results/outbox/1/reference"))
    assert recorded["env"]["Process"]["Id"] == states[6].at("results/outbox/1/from-process")
    assert MODULE_ID == states[6].at("results/outbox/1/from-image")
    assert states[11].at("results/data").startswith("\x1b[31mError")
    assert ({}, "hello") == (states[11].at("results/outbox").plain(), states[17].at("results/data"))


def test_unsigned_messages_are_the_owners(module: bytes) -> None:
    """A process that nobody signed takes what nobody signed as its owner's, and evaluates it."""
    definition = definition_for()
    messages = [definition, Message({"action": "Eval", "data": "return Owner == '' and 6 * 7"})]
    with Run(compiled(definition, module)) as run:
        rows = [run.step(assignment, look=False) for assignment in made(messages)]
    assert "42" == rows[1].state.at("results/data")


def test_failures_leave_the_process_alone(module: bytes) -> None:
    """Messages that run for ever, take all memory or leave the module are recorded, and change nothing."""
    codes = ["n = 1", "n = 2 while true do end", "n = 3 os.exit(7)", "return n"]
    definition = definition_for(fuel=300_000_000)
    messages = [definition, *(Message({"action": "Eval", "data": code}) for code in codes)]
    with Run(compiled(definition, module)) as run:
        rows = [run.step(assignment) for assignment in made(messages)]
    assert ["", "", "out-of-fuel", "trap", ""] == [row.failure for row in rows]
    assert rows[1].live_root == rows[2].live_root == rows[3].live_root
    assert "1" == rows[4].state.at("results/data")


def test_the_clock_of_the_schedule_alone_is_seen(module: bytes) -> None:
    """The same schedule gives the same states and roots again, and another clock in it other ones."""
    definition = definition_for()
    messages = [definition, *evaluations(6)]
    told = []
    for start in (1000, 1000, 2000):
        with Run(compiled(definition, module)) as run:
            told.append([str(run.step(assignment)) for assignment in made(messages, start)])
    assert told[0] == told[1]
    assert told[0] != told[2]


def test_a_stop_in_the_middle_changes_nothing(module: bytes, tmp_path: Path) -> None:
    """Sixty messages, a snapshot, and sixty more in a new program give what a run without the stop gives."""
    definition = definition_for()
    schedule = list(made([definition, *evaluations(2 * HALF)]))
    with Run(compiled(definition, module)) as run:
        for assignment in schedule[: HALF + 1]:
            run.step(assignment, look=False)
        live = run.stage.snapshot()
        assert live is not None
        folder = written(tmp_path, live.parts, run.state)
        unstopped = [str(run.step(assignment, look=assignment.slot % 10 == 0)) for assignment in schedule[HALF + 1 :]]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONHASHSEED": "7",
    }
    program = f"from aos.test_evaluations_stages import go_on; go_on({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert 0 == done.returncode, done.stderr
    assert unstopped == done.stdout.splitlines()
    assert HALF == len(unstopped)


def go_on(folder: str) -> None:
    """Restore what a folder holds and compute the second half; run by another program."""
    kept = Path(folder)
    parts = {part.name: read(part) for part in (kept / "parts").iterdir()}
    state = decode((kept / "state").read_bytes(), limit=1 << 24)
    assert isinstance(state, Message)
    definition = definition_for()
    schedule = list(made([definition, *evaluations(2 * HALF)]))
    live = Live({name.replace(":", "/"): part for name, part in parts.items()}, b"")
    with Run.restored(compiled(definition, aos_module().read_bytes()), live, reread(state)) as run:
        for assignment in schedule[HALF + 1 :]:
            sys.stdout.write(f"{run.step(assignment, look=assignment.slot % 10 == 0)}\n")


def read(part: Path) -> Part:
    """Read a part of a snapshot: a file, or a folder of numbered pieces."""
    return part.read_bytes() if part.is_file() else {int(file.name): file.read_bytes() for file in part.iterdir()}


def written(folder: Path, parts: Mapping[str, Part], state: Message) -> Path:
    """Write a snapshot and its state, as another program can read them."""
    for name, part in parts.items():
        place = folder / "parts" / name.replace("/", ":")
        pieces = {place: part} if isinstance(part, bytes) else {place / str(at): piece for at, piece in part.items()}
        for file, content in pieces.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    (folder / "state").write_bytes(encode(state))
    return folder


def compiled(definition: Message, module: bytes, site: Site | None = None) -> Compiled:
    """Bind a definition whose image is the module, at a site or at none."""
    registry = Registry((*PLUGINS, MemoryHost()), discover=False)
    blobs = {hash_id(module): module}
    return compile_process(
        definition_of(definition, registry), registry, blobs.__getitem__, partial(Binding, site=site)
    )


def definition_for(**options: Any) -> Message:
    """Return the definition of an unsigned AOS process."""
    image = hash_id(aos_module().read_bytes())
    keys = {"name": "vector", "variant": "ao.TN.1", "type": "Process", "module": MODULE_ID}
    return Message({**stack_of(image, **options), **keys})


def evaluations(count: int) -> list[Message]:
    """Return messages that compute, remember, send, fail and yield."""
    codes = [CODES[number % len(CODES)].format(n=number) for number in range(count)]
    return [Message({"action": "Eval", "data": code, "reference": str(number)}) for number, code in enumerate(codes)]


def made(messages: list[Message], start: int = 1000) -> Iterator[Assignment]:
    """Yield the slots of an unsigned schedule."""
    head = None
    for number, message in enumerate(messages):
        tick = Tick(1_700_000_000_000 + start + number, 1000 + number)
        assignment = next_assignment(messages[0].id, head, Submission(message, message.id), tick)
        head = Head(assignment.slot, assignment.chain)
        yield assignment


def imported(recorded: Any) -> Iterator[Assignment]:
    """Yield the recorded schedule, its ids, owners, times and heights taken as given."""
    head = None
    image = hash_id(aos_module().read_bytes())
    for step in recorded["steps"]:
        message = trusted(step["message"], {**stack_of(image), "module": MODULE_ID} if step["slot"] == 0 else {})
        given = Given(step["slot"], step["message"]["Timestamp"], step["message"]["Block-Height"])
        offered = Submission(message, step["message"]["Id"], given=given)
        assignment = next_assignment(recorded["env"]["Process"]["Id"], head, offered, Tick(0))
        head = Head(assignment.slot, assignment.chain)
        yield assignment


def trusted(message: Mapping[str, Any], more: Mapping[str, Any]) -> Message:
    """Return a recorded message under the id and owner that it came with."""
    keys = {tag["name"]: tag["value"] for tag in message["Tags"]}
    bare = Message({**keys, **more, "target": message["Target"], "data": message["Data"]})
    return commitments.trusted(bare, given_id=message["Id"], owner=message["Owner"], tags=tuple(message["Tags"]))


def said_by(response: Mapping[str, Any]) -> Message:
    """Return what is compared of a response; letter case and order of keys apart."""
    return Message({key: response[name] for key in COMPARED for name in (key, key.lower()) if name in response})
