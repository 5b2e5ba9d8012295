"""Duplicates: one message posted by many, over and over, is one slot; many messages are dense slots in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import procession_scheduler
from e2e.programs import Node, node
from kernel.devices import COUNTER, COUNTING, ID, Devices, Schemes, committed
from procession import Kernel, Process
from procession.schedules import check_chain
from procession.testing.fakes import MemoryHost
from procession_scheduler.plans import Draft
from reliability.programme import Programme
from reliability.writers import Posted, by_writers, check_order, post_raw, timed

Figure = Callable[[int, int], int]
ROW = "the same message posted many times by 64 writers"
DISTINCT = "64 writers of distinct messages"
WRITERS = 64
SAME = {"action": "mint", "quantity": 5, "data": "the same"}
SIGNED = committed("the same", **{ID: True})
POSTS: dict[str, Callable[[Process, int], int]] = {
    "idempotency key": lambda process, number: process.schedule(SAME, idempotency_key="one").slot,
    "signature": lambda process, number: process.schedule(SIGNED).slot,
    "both": lambda process, number: process.schedule(SIGNED, idempotency_key=f"key {number % 7}").slot,
}


class Memory(MemoryHost):
    """Keep results and snapshots in memory; the schedule is on the disk."""

    procession_schedulers = None


@contextmanager
def counting(folder: Path) -> Iterator[Process]:
    """Open a process that counts its slots, with the scheduler of this workspace."""
    file = folder / "count.toml"
    file.write_text(COUNTING, "utf-8")
    plugins = [Devices(COUNTER), Memory(), Schemes(), procession_scheduler]
    with Kernel.open(file, data=folder / "data", plugins=plugins, discover=False) as kernel:
        yield kernel.spawn()


def check_once(process: Process, told: list[Posted]) -> int:
    """Hold that all posts were told the one slot that there is beside slot 0, and return it."""
    assert [1] == sorted({posted.slot for posted in told})
    assert process.head == check_chain(list(process.log()), None)
    assert (1, 2) == (process.head.slot, process.now()["count"])
    return process.head.slot


@pytest.mark.parametrize("known_by", POSTS)
def test_the_same_message_is_one_slot(known_by: str, tmp_path: Path, programme: Programme, figure: Figure) -> None:
    """A message that is known by a key or a signature has one slot, whoever posts it, and after a restart too."""
    posts = figure(400, 20_000)
    fault = programme.fault(ROW, expected=posts)
    post = POSTS[known_by]
    with counting(tmp_path) as process:
        told = by_writers(WRITERS, range(posts - WRITERS), timed(lambda number: post(process, number)))
        check_once(process, told)
    with counting(tmp_path) as process:
        told += by_writers(WRITERS, range(WRITERS), timed(lambda number: post(process, number)))
        check_once(process, told)
    fault.held(len(told))


def test_a_cut_connection_makes_no_second_slot(tmp_path: Path, programme: Programme, figure: Figure) -> None:
    """Posts to a node whose callers go away before the answer, and a node that is killed meanwhile, leave one slot."""
    posts = figure(800, 40_000)
    fault = programme.fault(ROW, expected=posts)
    sent, heard = count(1), []
    file = tmp_path / "echo.toml"
    file.write_text('[process]\nname = "echo"\ndevice-stack = ["echo@1.0"]\n', "utf-8")
    with node(file, "--data", tmp_path / "data", folder=tmp_path, ending=signal.SIGKILL) as served:

        def post_until_killed(number: int) -> int | None:
            with suppress(ConnectionError):  # of a node that is gone
                slot = post_same(served, number)
                if next(sent) == posts // 3:
                    served.child.kill()
                return slot
            return None

        heard += by_writers(WRITERS, range(posts), timed(post_until_killed))
    left = posts - next(sent) + 1
    with node(file, "--data", tmp_path / "data", folder=tmp_path) as served:
        heard += by_writers(WRITERS, range(left), timed(lambda number: post_same(served, number)))
        assert 1 == served.get(f"/{served.process}/slot/current")
    assert {1} == {posted.slot for posted in heard}
    fault.held(posts)
    fault.note(f"{len(heard)} answers heard of {posts} posts over HTTP, a third cut before the answer, one kill -9")


def post_same(served: Node, number: int) -> int | None:
    """Post the same message, every third time without hearing the answer."""
    port = urlsplit(served.url).port
    assert port
    return post_raw(port, f"/{served.process}/schedule", SAME, "one", hear=number % 3 > 0)


def test_without_recognition_there_are_many_slots(
    tmp_path: Path, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing recognised every post has a slot of its own."""
    fault = programme.fault(ROW, expected=0)
    monkeypatch.setattr(Draft, "_recognised", lambda draft, offer: None)
    with counting(tmp_path) as process:
        post = POSTS["idempotency key"]
        told = by_writers(WRITERS, range(2 * WRITERS), timed(lambda number: post(process, number)))
        with pytest.raises(AssertionError):
            check_once(process, told)
        assert 2 * WRITERS == process.head.slot
    fault.control("without recognition")


def check_dense(process: Process, told: list[Posted], messages: int) -> None:
    """Hold that every message has one slot, the slots are dense and chained, and follow each other as the posts did."""
    log = list(process.log())
    assert process.head == check_chain(log, None)
    assert list(range(messages + 1)) == [assignment.slot for assignment in log]
    numbers = {assignment.slot: assignment.message.get("n") for assignment in log}
    assert sorted(range(messages)) == sorted(number for slot, number in numbers.items() if slot)
    assert [] == [posted for posted in told if numbers[posted.slot] != posted.number]
    check_order(told)


def test_many_messages_are_dense(tmp_path: Path, programme: Programme, figure: Figure) -> None:
    """Every message is posted by two writers at once, and read and computed by others meanwhile."""
    messages = figure(640, 20_000)
    fault = programme.fault(DISTINCT, expected=messages)
    with counting(tmp_path) as process:

        def post(number: int) -> int:
            slot = process.schedule({"n": number}, idempotency_key=f"message {number}").slot
            if number % 8 == 0:
                assert slot == process.compute(slot)["at-slot"]
            return slot

        jobs = [number for start in range(0, messages, 32) for number in [*range(start, start + 32)] * 2]
        told = by_writers(WRITERS, jobs, timed(post))
        assert 2 * messages == len(told)
        check_dense(process, told, messages)
        assert messages + 1 == process.now()["count"]
    with counting(tmp_path) as process:
        check_dense(process, told, messages)
    fault.held(messages)


def test_slots_out_of_order_are_seen(tmp_path: Path, programme: Programme) -> None:
    """Slots that do not follow the order of the posts, a gap and a message with two slots are each noticed."""
    fault = programme.fault(DISTINCT, expected=0)
    with counting(tmp_path) as process:
        post = timed(lambda number: process.schedule({"n": number}).slot)
        told = [posted for number in range(4) if (posted := post(number))]
        check_dense(process, told, 4)
        first, *rest = told
        late = [Posted(first.number, first.slot, told[-1].ended + 1, told[-1].ended + 2), *rest]
        with pytest.raises(AssertionError):
            check_dense(process, late, 4)
        fault.control("with a slot that is older than its post")
        post(2)
        with pytest.raises(AssertionError):
            check_dense(process, told, 5)
        fault.control("with a message that has two slots")
