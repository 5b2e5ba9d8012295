"""Many at once, and the end of a node in the midst of them: what was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest


def schedule_of(node: Any, process: str) -> dict[int, Any]:
    """Return what every slot of a process holds, by slot."""
    found: dict[int, Any] = {}
    with node.client() as client:
        while True:
            page = client.get(f"/{process}/schedule", params={"from": len(found)}).json()
            found |= {int(slot): row["body"] for slot, row in page["assignments"].items()}
            if not page["continues"]:
                return found


async def posted(node: Any, paths: list[str]) -> list[httpx.Response]:
    """Post a numbered message to each path, all at once, on as many connections."""
    limits = httpx.Limits(max_connections=len(paths))
    timeout = httpx.Timeout(60.0)
    async with httpx.AsyncClient(base_url=node.url, limits=limits, timeout=timeout, trust_env=False) as client:
        calls = [client.post(path, json={"n": number}) for number, path in enumerate(paths)]
        return list(await asyncio.gather(*calls))


def test_five_hundred_requests_at_once_get_dense_slots(start: Any) -> None:
    """500 messages posted at once to two processes are all taken, one slot each, none twice."""
    node = start(requests=600)
    processes = [node.spawn(name=name) for name in ("one", "two")]
    replies = asyncio.run(posted(node, [f"/{processes[number % 2]}/schedule" for number in range(500)]))
    assert {200: 500} == Counter(reply.status_code for reply in replies)
    for process in processes:
        own = [reply for reply in replies if reply.headers["process"] == process]
        told = {int(reply.headers["slot"]): reply.json()["body"] for reply in own}
        schedule = schedule_of(node, process)
        assert list(range(251)) == sorted(schedule)
        assert {slot: schedule[slot] for slot in range(1, 251)} == told
    assert node.is_well()


def test_what_a_full_node_takes_is_there_and_what_it_refuses_is_not(start: Any) -> None:
    """Where 150 messages come at once to a node that takes few, each is either taken or told to come back."""
    node = start(requests=8, threads=2)
    process = node.spawn()
    replies = asyncio.run(posted(node, [f"/{process}/schedule"] * 150))
    taken = [reply for reply in replies if reply.status_code == 200]
    refused = [reply.json()["error"]["kind"] for reply in replies if reply.status_code == 503]
    assert 150 == len(taken) + len(refused)
    assert {"busy"} >= set(refused)
    schedule = schedule_of(node, process)
    assert list(range(len(taken) + 1)) == sorted(schedule)
    told = {int(reply.headers["slot"]): reply.json()["body"] for reply in taken}
    assert {slot: row for slot, row in schedule.items() if slot} == told


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_midst_of_traffic_loses_nothing(start: Any, name: signal.Signals) -> None:
    """Every message that was acknowledged before, during and after the signal is in the schedule of the next run."""
    node = start()
    process = node.spawn()
    acknowledged: dict[int, Any] = {}
    enough = threading.Event()

    def post_on(worker: int) -> None:
        number = 0
        with node.client() as client:
            while True:
                message = {"worker": worker, "number": number}
                try:
                    reply = client.post(f"/{process}/schedule", json=message)
                except httpx.TransportError:
                    return
                if reply.status_code == 200:
                    acknowledged[int(reply.headers["slot"])] = message
                if len(acknowledged) >= 200:
                    enough.set()
                number += 1

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(post_on, worker) for worker in range(8)]
        assert enough.wait(60)
        code = node.stop(name)
        for future in running:
            future.result()
    schedule = schedule_of(start(), process)
    assert 0 == code
    assert {slot: schedule.get(slot) for slot in acknowledged} == acknowledged
    assert list(range(len(schedule))) == sorted(schedule)


def test_what_runs_is_answered_before_the_end(start: Any, tmp_path: Path) -> None:
    """A request that runs when the node is told to stop gets its answer, while nobody new is let in."""
    node = start()
    gate = tmp_path / "gate"
    process = blocked(node, gate)
    with ThreadPoolExecutor(1) as pool, node.client() as client:
        first = pool.submit(client.get, f"/{process}/now/count")
        until(gate.with_suffix(".entered").exists)
        node.running.send_signal(signal.SIGTERM)
        until(lambda: is_deaf(node.port))
        gate.touch()
        reply = first.result()
    assert ((200, "2"), 0) == ((reply.status_code, reply.text), node.running.wait(60))
    assert "Traceback" not in node.log.read_text()


def test_the_end_has_a_bound(start: Any, tmp_path: Path) -> None:
    """A request that outlives the bound is told that the node stops, and what it computes is still kept whole."""
    node = start(drain_timeout="300ms")
    gate = tmp_path / "gate"
    process = blocked(node, gate)
    with ThreadPoolExecutor(1) as pool, node.client() as client:
        first = pool.submit(client.get, f"/{process}/now/count")
        until(gate.with_suffix(".entered").exists)
        node.running.send_signal(signal.SIGTERM)
        reply = first.result()
        gate.touch()
    assert (503, "stopping") == (reply.status_code, reply.json()["error"]["kind"])
    assert (0, False) == (node.running.wait(60), "Traceback" in node.log.read_text())
    with start().client() as client:
        assert "2" == client.get(f"/{process}/now/count").text


def test_a_killed_node_has_what_it_acknowledged(start: Any) -> None:
    """After kill -9 the next run has every acknowledged message, and goes on behind them."""
    node = start()
    process = node.spawn()
    with node.client() as client:
        slots = [client.post(f"/{process}/schedule", json={"n": number}).headers["slot"] for number in range(5)]
    node.stop(signal.SIGKILL)
    again = start()
    assert ["1", "2", "3", "4", "5"] == slots
    assert [0, 1, 2, 3, 4] == [row["n"] for slot, row in sorted(schedule_of(again, process).items()) if slot]
    with again.client() as client:
        assert "6" == client.post(f"/{process}/schedule", json={"n": 5}).headers["slot"]


def blocked(node: Any, gate: Path) -> str:
    """Return a process whose slot 1 waits for a file."""
    process = node.spawn(name="blocked")
    with node.client() as client:
        client.post(f"/{process}/schedule", json={"wait-for": str(gate)})
    return str(process)


def is_deaf(port: int) -> bool:
    """Tell whether nobody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except OSError:
        return True
    return False


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(600):
        if holds():
            return
        threading.Event().wait(0.1)
    raise AssertionError("it did not come to hold")
