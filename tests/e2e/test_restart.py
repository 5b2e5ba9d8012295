"""Killed at any point and started again, a ledger comes to the same state id, and keeps every promise it made."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import httpx
import pytest

from e2e.ledgers import LEDGER, MESSAGES, driving, keys, messages, stepping
from e2e.programs import Ended, killed, node, procession
from procession import Kernel, Process
from procession.ids import to_id
from procession.schedules import check_chain
from procession.testing import command_line

COUNT = 700  # messages that are scheduled one by one
DICE = random.Random(20261124)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the state ids of the first slots, computed by one program that never stops."""
    with Kernel.open(LEDGER, data=tmp_path_factory.mktemp("uninterrupted")) as kernel:
        process = kernel.spawn()
        process.schedule_many(messages(COUNT))
        return [process.compute(slot).id for slot in range(COUNT + 1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Return what ``procession run`` says of all messages when nothing stops it."""
    return run(tmp_path_factory.mktemp("whole"))


def run(data: Path) -> Ended:
    """Run the example to its end."""
    return procession("run", LEDGER, "--messages", MESSAGES, "--data", data, "--json")


def assert_kept(process: Process, promised: Iterable[str]) -> None:
    """Hold a process against every line that a killed program had printed."""
    stored = list(process.log())
    assert process.head == check_chain(stored, None)
    made = {f"scheduled {one.slot} {one.message_id} {to_id(one.chain)}" for one in stored}
    rows = [line.split() for line in promised]
    assert [] == [line for line in promised if line.startswith("scheduled") and line not in made]
    computed = {int(slot): state for word, slot, state, *_ in rows if word == "computed"}
    if computed:
        assert max(computed) <= process.kernel.compute(process.id, None)["at-slot"]
    assert computed == {slot: process.compute(slot).id for slot in computed}


@pytest.mark.parametrize(
    ("threads", "points"),
    [
        (1, [(1, 0.0), (2, 0.0), (3, 0.001), (150, 0.0), (1, 0.02), (40, 0.05), (7, 0.11)]),
        (4, [(1, 0.0), (9, 0.004), (90, 0.0), (1, 0.07)]),
    ],
)
def test_promises_outlive_a_kill(
    threads: int, points: list[tuple[int, float]], uninterrupted: list[str], tmp_path: Path
) -> None:
    """Every slot and state that a caller was told is there after each kill, and the rest goes on from it."""
    promised: list[str] = []
    for lines, seconds in points:
        told = killed(driving(tmp_path, COUNT, threads), lines=lines, seconds=seconds * (1 + DICE.random()))
        assert -9 == told.code
        promised += told.lines
        with Kernel.open(LEDGER, data=tmp_path) as kernel:
            assert_kept(kernel.spawn(), promised)
    with Kernel.open(LEDGER, data=tmp_path) as kernel:
        process = kernel.spawn()
        kernel.schedule_many(process.id, messages(COUNT), idempotency_keys=keys(COUNT))
        assert COUNT == process.head.slot
        if threads == 1:
            assert uninterrupted == [process.compute(slot).id for slot in range(COUNT + 1)]
        assert all(row.agrees or not row.stored_id for row in process.replay())


def test_a_run_that_is_killed_by_slot_goes_on(uninterrupted: list[str], tmp_path: Path) -> None:
    """A program that computes runs of slots, killed at ever other slots, comes to the states of one that never is."""
    for size, lines in ((1, 5), (19, 3), (2, 90), (50, 5), (7, 60), (100, 4), (23, 22)):
        told = killed(stepping(tmp_path, COUNT, size), lines=lines, seconds=0.0)
        assert -9 == told.code
        rows = [line.split() for line in told.lines]
        assert [uninterrupted[int(slot)] for _, slot, _ in rows] == [state for *_, state in rows]
    with Kernel.open(LEDGER, data=tmp_path) as kernel:
        process = kernel.spawn()
        assert uninterrupted == [process.compute(slot).id for slot in range(COUNT + 1)]
        assert all(row.agrees for row in process.replay())


def test_a_run_that_is_killed_by_time_goes_on(whole: Ended, tmp_path: Path) -> None:
    """The same command, killed after ever other times from its start, comes to the same state and live root."""
    command = command_line("run", str(LEDGER), "--messages", str(MESSAGES), "--data", str(tmp_path))
    seconds = [0.2 + 0.13 * number + 0.1 * DICE.random() for number in range(9)]
    codes = [killed(command, lines=0, seconds=wait).code for wait in seconds]
    assert -9 == codes[0]
    assert {-9, 0} >= set(codes)
    assert_same_run(whole, run(tmp_path))


def assert_same_run(whole: Ended, again: Ended) -> None:
    """Compare two runs of the example but for what the clock reached: the chain, and what was scheduled when.

    A run that found every result stored has no live state, and tells no live root.
    """
    assert (0, 0) == (whole.code, again.code)
    keys = ("process", "slots", "failures", "results", "state")
    assert [whole.document[key] for key in keys] == [again.document[key] for key in keys]
    assert again.document["live-root"] in (None, whole.document["live-root"])


def test_a_node_that_is_killed_keeps_what_it_accepted(tmp_path: Path) -> None:
    """Each message that a node answered with a slot is at that slot after kill -9, and a second node goes on."""
    accepted: list[tuple[int, str]] = []
    with node(LEDGER, "--data", tmp_path / "data", folder=tmp_path, ending=signal.SIGKILL) as running:
        for number, message in zip(range(60), messages(60), strict=True):
            told = running.post(f"/{running.process}/schedule", message)
            accepted.append((told["slot"], told["message-id"]))
            if number % 9 == 0:
                running.get(f"/{running.process}/now")
    with node("--data", tmp_path / "data", folder=tmp_path) as again:
        rows = again.get(f"/{running.process}/schedule")["assignments"]
        assert accepted == [(slot, rows[str(slot)]["message-id"]) for slot, _ in accepted]
        assert 61 == again.post(f"/{running.process}/schedule", {"function": "supply"})["slot"]


def test_a_node_that_dies_under_load_keeps_what_it_accepted(tmp_path: Path) -> None:
    """A node that is killed between requests of a busy client has every message for which it answered 200."""
    accepted: list[tuple[int, str]] = []
    with node(LEDGER, "--data", tmp_path / "data", folder=tmp_path, ending=signal.SIGKILL) as running:
        for number in count():
            if number == 40:
                running.child.send_signal(signal.SIGKILL)
            try:
                told = running.client.post(
                    f"{running.url}/{running.process}/schedule", json={"function": "supply", "n": number}
                )
            except httpx.TransportError:
                break
            accepted.append((told.json()["slot"], told.json()["message-id"]))
    with Kernel.open(data=tmp_path / "data") as kernel:
        stored = [(one.slot, one.message_id) for one in kernel.log(running.process)]
    assert len(accepted) >= 40
    assert accepted == stored[1 : len(accepted) + 1]


def test_a_lost_cache_is_computed_again(whole: Ended, tmp_path: Path) -> None:
    """Results, snapshots and images may vanish: the schedule and the definition file give all of them again."""
    first = run(tmp_path)
    shutil.rmtree(tmp_path / "blobs", ignore_errors=True)
    for file in tmp_path.glob("cache.sqlite*"):
        file.unlink()
    again = run(tmp_path)
    assert first.document["chain"] == again.document["chain"]
    assert_same_run(whole, again)
