"""The real AOS module as a process: the whole stack, with the devices of this host on disk.

Where there is no npm client to fetch the module with, these tests are skipped and say so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aos.module import aos_module
from aos.needing import needed
from aos.process import (
    LAST,
    PROCESS,
    compared,
    definition_file,
    evaluations,
    load_session,
    schedule_of,
    session_kernel,
)
from determinism.golden import written
from determinism.traces import line, rooted_line, states, trace, without_roots
from procession import Kernel, Process
from procession.cli.lines import entry_of
from procession.ids import to_id
from procession.jsons import to_json
from procession.testing import SteppingClock, command_line, kill_at, python

HALF = 33  # the slot after which the session is stopped
NEVER = "a line that no program prints"
OPENINGS = [
    "return 1 + 1",
    'Handlers.add("Greet", "Greet", function (m) m.reply({ Data = "hello " .. m.Data }) end)',
    'Send({ Target = ao.id, Action = "Ping", Data = "first" }) Send({ Target = "elsewhere", Data = "second" })',
    "co = coroutine.create(function (n) while true do n = n * coroutine.yield(n) end end)",
    "local _, n = coroutine.resume(co, 3) return n",
    "local _, n = coroutine.resume(co, 7) return n",
    'error("boom")',
    "return coroutine.status(co)",
    "return os.time()",
]

_PART = "import sys; from aos.test_aos_process import part; part(*sys.argv[1:])"


@pytest.fixture(scope="module")
def module() -> Path:
    """Return the path of the AOS module."""
    return needed(aos_module)


@pytest.fixture(scope="module")
def recorded(module: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Return the process of the recorded evaluations, taken up through the kernel."""
    folder = tmp_path_factory.mktemp("recorded")
    with Kernel.open(definition_file(folder, module), data=folder / "data") as kernel:
        assert kernel.definition is not None
        yield kernel.load(schedule_of(evaluations()), definition=kernel.definition.message, trust_ids=True)


@pytest.fixture(scope="module")
def driven(module: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Return a process that our own scheduler drove through the openings, computed one by one."""
    folder = tmp_path_factory.mktemp("driven")
    with Kernel.open(definition_file(folder, module), data=folder / "data", clock=SteppingClock()) as kernel:
        process = kernel.spawn()
        for code in OPENINGS:
            process.compute(process.schedule({"action": "Eval", "data": code}).slot)
        process.schedule({"action": "Greet", "data": "you"})
        yield process


@pytest.fixture(scope="module")
def uninterrupted(module: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Return the process of the session, in one program that never stops."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    definition_file(folder, module)
    with session_kernel(folder) as kernel:
        yield load_session(kernel, LAST)


@pytest.fixture(scope="module")
def expected(uninterrupted: Process) -> list[str]:
    """Return the trace of the session, slot by slot with live roots."""
    return trace(uninterrupted)


def part(folder: str, upto: str, ending: str) -> None:
    """Compute the session up to a slot and print its lines, in a program that is started for it and may be killed."""
    with session_kernel(Path(folder)) as kernel:
        process = load_session(kernel, int(upto))
        point = kernel._host.cache.latest(process.id, None, with_snapshot=True)  # what is there, and none that is taken
        told = [f"restored from {point and point.slot}", *states(process, range(int(upto) + 1))]
        told += [rooted_line(process, LAST)] if int(upto) == LAST else []
        sys.stdout.write("\n".join(told))
        sys.stdout.flush()
        if ending == "killed":
            os.kill(os.getpid(), signal.SIGKILL)


def said(folder: Path, upto: int, ending: str) -> tuple[int, list[str]]:
    """Run a part in another program; return its exit code and the lines of both its streams."""
    seed = {"PYTHONHASHSEED": str(upto)}
    ended = kill_at(NEVER, python(_PART, str(folder), str(upto), ending), environment=seed)
    return ended.code, ended.output.splitlines()


# -- recorded evaluations


@pytest.mark.parametrize("slot", range(len(evaluations())))
def test_a_recorded_evaluation_comes_out_the_same(slot: int, recorded: Process) -> None:
    """Output, Messages, Spawns, Assignments and Error of a slot are those that were recorded elsewhere."""
    result = evaluations()[slot]["result"]
    assert compared(result) == compared(recorded.compute(slot).at("results/raw"))


def test_the_process_keeps_its_given_id(recorded: Process) -> None:
    """Process and messages have the ids that came with the schedule, a repeated one is found at its first slot."""
    assert PROCESS == recorded.id
    given = [step["message"]["Id"] for step in evaluations()]
    assert given == [assignment.message_id for assignment in recorded.log()]
    assert 1 == recorded.compute(given[10])["at-slot"]


def test_the_command_line_imports_the_evaluations(module: Path, tmp_path: Path) -> None:
    """A schedule file that is imported gives the recorded results, in this program and on the command line."""
    file, data = tmp_path / "schedule.jsonl", tmp_path / "data"
    file.write_text("\n".join(json.dumps(entry) for entry in schedule_of(evaluations())), "utf-8")
    toml = definition_file(tmp_path, module)
    imported = run("import", str(file), "--definition", str(toml), "--trust-ids", "--data", str(data), "--json")
    assert (PROCESS, len(evaluations())) == (imported["process"], imported["slots"])
    shown = run("compute", PROCESS, "results/raw", "--slot", "14", "--data", str(data), "--json")
    assert compared(evaluations()[14]["result"]) == compared(shown)
    with Kernel.open(data=data) as kernel:
        found = [compared(kernel.compute(PROCESS, step["slot"]).at("results/raw")) for step in evaluations()]
    assert [compared(step["result"]) for step in evaluations()] == found


def run(*arguments: str) -> dict[str, object]:
    """Run the command line in another program and return the JSON that it prints."""
    found: dict[str, object] = json.loads(said_by(*arguments))
    return found


def said_by(*arguments: str) -> str:
    """Run the command line in another program, which must end well, and return what it prints."""
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command_line(*arguments), capture_output=True, text=True, env=environment, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def test_an_exported_schedule_is_imported_again(recorded: Process, module: Path, tmp_path: Path) -> None:
    """What a log says of a process is taken up elsewhere, to the same chain and the same state."""
    toml, file, data = definition_file(tmp_path, module), tmp_path / "exported.jsonl", tmp_path / "data"
    file.write_text("\n".join(to_json(entry_of(one.as_message())) for one in recorded.log()), "utf-8")
    imported = run("import", str(file), "--definition", str(toml), "--trust-ids", "--data", str(data), "--json")
    assert to_id(recorded.head.chain) == imported["chain"]
    assert file.read_text("utf-8") == said_by("log", PROCESS, "--jsonl", "--data", str(data)).rstrip("\n")
    with Kernel.open(data=data) as kernel:
        assert recorded.now().id == kernel.process(PROCESS).now().id


# -- messages of our own scheduler


@pytest.mark.parametrize(("slot", "data"), [(1, "2"), (2, "3"), (5, "3"), (6, "21"), (8, "suspended"), (10, "")])
def test_a_process_answers_our_own_messages(slot: int, data: str, driven: Process) -> None:
    """Evaluations, handlers and a coroutine that lives from slot to slot answer as AOS does."""
    assert data == driven.compute(slot).at("results/data")


def test_an_error_of_lua_is_data(driven: Process) -> None:
    """An error is told in the results of its slot, without an outbox, and the process goes on."""
    results = driven.compute(7)["results"]
    assert "boom" in results["data"]
    assert (0, 0) == (len(results["outbox"]), len(driven.compute(8).at("results/outbox")))


def test_the_outbox_is_browsed_by_path(driven: Process) -> None:
    """What a process sends is found below its slot by number, and what it says now at the head."""
    ask = driven.kernel.resolve
    assert "first" == ask(f"/{driven.id}/compute&slot=3/results/outbox/1/data")
    assert "second" == ask(f"/{driven.id}/compute/3/results/outbox/2/data")
    assert driven.id == ask(f"/{driven.id}/compute/results/outbox/1/from-process?slot=3")
    assert "hello you" == ask(f"/{driven.id}/now/results/outbox/1/data")
    assert "" == ask(f"/{driven.id}/now/results/data")


def test_the_clock_of_the_module_is_the_schedule(driven: Process) -> None:
    """The time that the module sees is the timestamp of the assignment."""
    (asked,) = driven.log(9, 9)
    assert str(asked.timestamp) == driven.compute(9).at("results/data")


def test_a_replay_of_our_own_schedule_agrees(driven: Process) -> None:
    """Every stored state of the driven process is found again from slot 0."""
    driven.now()
    assert [(slot, True) for slot in range(11)] == [(row.slot, row.agrees) for row in driven.replay()]


def test_a_guest_that_never_ends_is_stopped(module: Path, tmp_path: Path) -> None:
    """A loop without end, a table without end and an exit are recorded; what each changed before is undone."""
    definition_file(tmp_path, module, more="fuel = 200_000_000\nmemory-limit = 134_217_728")
    endless = ["while true do x = x + 1 end", "for i = 1, 1e9 do x = i; t[i] = tostring(i) end", "x = 2 os.exit(1)"]
    told = []
    for code in ["x, t = 1, {} return x", *endless]:
        with session_kernel(tmp_path) as kernel:
            process = kernel.spawn()
            process.schedule_many([{"action": "Eval", "data": code}, {"action": "Eval", "data": "return x"}])
            results = [process.compute(process.head.slot - back)["results"] for back in (1, 0)]
            told.append((str(results[0].at("error/kind")), results[1].get("data")))
    assert [("None", "1"), ("out-of-fuel", "1"), ("out-of-fuel", "1"), ("trap", "1")] == told


# -- stops, snapshots


def test_the_golden_trace_is_found_again(expected: list[str]) -> None:
    """States and live roots of the session are those that were written down."""
    assert written()["aos"] == expected


def test_the_session_is_worth_stopping(expected: list[str], uninterrupted: Process) -> None:
    """A coroutine yields before and after the stop, messages are sent, errors told, and no slot is refused."""
    results = [uninterrupted.compute(slot)["results"] for slot in range(LAST + 1)]
    assert ["1", "2", "7"] == [results[slot]["data"] for slot in (3, 4, 14)]
    assert 6 == sum(len(result["outbox"]) for result in results)
    assert 12 == sum("error" in result["raw"] for result in results)
    assert {"-"} == {row.split()[3] for row in expected}


@pytest.mark.parametrize(
    ("ending", "code", "host", "restored"),
    [
        ("closed", 0, "", HALF),
        ("killed", -9, '[host.snapshots]\nevery = 7\nreplay-budget = "1h"', 27),
        ("killed", -9, '[host.snapshots]\nreplay-budget = "1h"', None),
    ],
)
def test_a_stop_in_the_middle_changes_nothing(
    ending: str, code: int, host: str, restored: int | None, expected: list[str], module: Path, tmp_path: Path
) -> None:
    """Two programs, the first closed or killed halfway, come to the states and live root of one that never stops."""
    definition_file(tmp_path, module, host=host)
    first = said(tmp_path, HALF, ending)
    second = said(tmp_path, LAST, "closed")
    assert (code, ["restored from None", *without_roots(expected[: HALF + 1])]) == first
    assert (0, [f"restored from {restored}", *without_roots(expected), expected[-1]]) == second


@pytest.mark.parametrize(
    "host",
    [
        "[host.snapshots]\nevery = 1",
        "[host.snapshots]\nevery = 3\n[host.cache]\nkeep = []",
        '[host.snapshots]\nreplay-budget = "5ms"',
        '[host.snapshots]\nreplay-budget = "1h"',
    ],
)
def test_the_cadence_of_snapshots_changes_nothing(host: str, expected: list[str], module: Path, tmp_path: Path) -> None:
    """Snapshots at every slot, every third, by the cost of a replay, or none lead to the same states and live root."""
    definition_file(tmp_path, module, host=host)
    with session_kernel(tmp_path) as kernel:
        process = load_session(kernel, LAST)
        process.compute(LAST)
        last = rooted_line(process, LAST)
        assert (without_roots(expected), expected[-1]) == (states(process, range(LAST + 1)), last)


def test_past_slots_are_computed_from_snapshots(expected: list[str], module: Path, tmp_path: Path) -> None:
    """Slots that are not kept are computed again from the snapshot below them, in any order."""
    definition_file(tmp_path, module, host="[host.snapshots]\nevery = 8\n[host.cache]\nkeep = []")
    with session_kernel(tmp_path) as kernel:
        process = load_session(kernel, LAST)
        process.compute(LAST)
        asked = [50, 3, 31, 32, 15, 0, 62]
        assert [without_roots(expected)[slot] for slot in asked] == [line(process.compute(slot)) for slot in asked]
