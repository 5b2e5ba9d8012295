"""What an operator sees of a node and does about it: how processes stand, health, quarantine, a node that is full."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

CROWD = 40  # clients of one slow slot: more than a node had threads before


def test_a_node_tells_how_its_processes_stand(start: Any) -> None:
    """Each process has a row: where it is, how far behind its schedule, who waits, what it holds."""
    node = start()
    process = node.spawn(name="shown")
    with node.client() as client:
        client.post(f"/{process}/schedule", json={"data": "one"})
        client.get(f"/{process}/now")
        client.post(f"/{process}/schedule", json={"data": "two"})
        rows = client.get("/~meta@1.0/workers").json()["workers"]
        assert f'"{rows[0]["process"]}"' == client.get("/~meta@1.0/workers/workers/1/process").text
    (row,) = [row for row in rows if row["process"] == process]
    expected = {"process": process, "state": "idle", "at-slot": 1, "head": 2, "lag": 1, "queue": 0, "bytes": 0}
    assert {**expected, "snapshot-at": 1} == row


def test_a_quarantine_is_told_and_lifted(start: Any, tmp_path: Path) -> None:
    """A slot that this host cannot compute is quarantined, told by workers and health, and computed after a retry."""
    node = start(workers={"faults": 2})
    process, trouble = broken(node, tmp_path)
    with node.client() as client:
        kinds = [client.get(f"/{process}/now").json()["error"]["kind"] for _ in range(3)]
        assert ["device-raised", "device-raised", "quarantined"] == kinds
        refused = client.get(f"/{process}/now")
        told = refused.json()["error"]
        assert (503, False, 1, 2) == (
            refused.status_code,
            "retry-after" in refused.headers,
            told["slot"],
            told["count"],
        )
        assert f"procession retry {process} --slot 1" in told["remedy"]
        assert 200 == client.get(f"/{process}/compute&slot=0").status_code
        health = client.get("/~meta@1.0/health")
        reason = f"process {process} is quarantined at slot 1"
        assert (200, "degraded", True) == (
            health.status_code,
            health.json()["status"],
            reason in health.json()["reasons"],
        )
        assert "quarantined" == row_of(client, process)["state"]
        trouble.unlink()
        lifted = client.post("/~meta@1.0/retry", json={"process": process, "slot": 1})
        assert (200, {"process": process, "slot": 1}) == (lifted.status_code, lifted.json())
        assert "2" == client.get(f"/{process}/now/count").text
        assert reason not in client.get("/~meta@1.0/health").json()["reasons"]


def test_a_quarantine_is_told_by_a_node_that_began_anew(start: Any, tmp_path: Path) -> None:
    """After a restart a quarantined process is told at once, and shown before anybody asks for it."""
    node = start(workers={"faults": 1})
    process, _ = broken(node, tmp_path)
    with node.client() as client:
        client.get(f"/{process}/now")
    assert 0 == node.stop()
    again = start(workers={"faults": 1})
    assert f"warning: process {process} is quarantined at slot 1" in again.log.read_text()
    with again.client() as client:
        row = row_of(client, process)
    assert ("quarantined", 1, None) == (row["state"], row["fault"]["slot"], row["at-slot"])


@pytest.mark.parametrize(
    ("method", "query", "status", "kind"),
    [
        ("GET", "process={process}&slot=1", 405, "method"),
        ("POST", "process={process}&slot=1", 409, "not-quarantined"),
        ("POST", "process={process}", 400, "message"),
        ("POST", "process={process}&slot=-1", 400, "message"),
        ("POST", "process={process}&slot=one", 400, "message"),
        ("POST", "slot=1", 400, "message"),
        ("POST", "process=nobody&slot=1", 404, "unknown-process"),
    ],
)
def test_a_retry_of_nothing_is_refused(node: Any, method: str, query: str, status: int, kind: str) -> None:
    """A retry is posted, names a process and a slot, and that slot is quarantined."""
    process = node.spawn(name="well")
    with node.client() as client:
        reply = client.request(method, f"/~meta@1.0/retry?{query.format(process=process)}")
    assert (status, kind) == (reply.status_code, reply.json()["error"]["kind"])


def test_a_node_that_takes_signed_messages_alone_can_be_operated(start: Any, tmp_path: Path) -> None:
    """A retry is no message to be scheduled; named in the query it needs no signature."""
    node = start(require_signed=True)
    with node.client() as client:
        process = node.told["process"]
        reply = client.post(f"/~meta@1.0/retry?process={process}&slot=1")
    assert (409, "not-quarantined") == (reply.status_code, reply.json()["error"]["kind"])


def test_a_full_queue_answers_at_once(start: Any, tmp_path: Path) -> None:
    """Beyond the callers that may wait for one process, the next one is told to come back; stored slots are read."""
    node = start(workers={"queue": 1})
    process, gate = blocked(node, tmp_path)
    with ThreadPoolExecutor(1) as pool, node.client() as client:
        first = pool.submit(get, node, f"/{process}/now/count")
        until(gate.with_suffix(".entered").exists)
        refused = client.get(f"/{process}/now/count")
        assert (429, "queue-full", "1") == (
            refused.status_code,
            refused.json()["error"]["kind"],
            refused.headers["retry-after"],
        )
        assert "0" == client.get(f"/{process}/compute&slot=0/at-slot").text
        gate.touch()
        assert (200, "2") == first.result()


def test_a_process_far_behind_is_computed_in_the_background(start: Any) -> None:
    """A request before which many slots lie is told how many, and finds the process further when it comes back."""
    node = start(workers={"replay": 5})
    process = node.spawn(name="behind")
    with node.client() as client:
        for number in range(20):
            client.post(f"/{process}/schedule", json={"n": number})
        refused = client.get(f"/{process}/now/count")
        told = refused.json()["error"]
        facts = {key: told[key] for key in ("kind", "slot", "at", "left")}
        assert (503, "1") == (refused.status_code, refused.headers["retry-after"])
        assert {"kind": "behind", "slot": 20, "at": -1, "left": 21} == facts
        until(lambda: client.get(f"/{process}/now/count").status_code == 200)
        assert "21" == client.get(f"/{process}/now/count").text


def test_a_slot_that_hangs_is_given_up(start: Any, tmp_path: Path) -> None:
    """Who waits for a slot that runs too long is told so, and when a retry makes sense."""
    node = start(workers={"slot_timeout": "1ms"})
    process, gate = blocked(node, tmp_path)
    with node.client() as client:
        refused = client.get(f"/{process}/now/count")
        gate.touch()
        assert (503, "wall-clock", "10") == (
            refused.status_code,
            refused.json()["error"]["kind"],
            refused.headers["retry-after"],
        )
        assert "2" == client.get(f"/{process}/now/count").text


def test_a_crowd_at_a_slow_slot_holds_up_nobody_else(start: Any, tmp_path: Path) -> None:
    """While many clients wait for a slot of one process, another process is computed and answered."""
    node = start()
    process, gate = blocked(node, tmp_path)
    other = node.spawn(name="other")
    with ThreadPoolExecutor(CROWD) as pool, node.client() as client:
        crowd = [pool.submit(get, node, f"/{process}/now/count") for _ in range(CROWD)]
        until(lambda: row_of(client, process)["queue"] == CROWD)
        assert "1" == client.get(f"/{other}/now/count").text
        gate.touch()
        assert [(200, "2")] * CROWD == [one.result() for one in crowd]


def test_with_few_threads_a_crowd_would_hold_up_others(start: Any, tmp_path: Path) -> None:
    """The control: where the crowd takes every thread, another process is not reached."""
    node = start(threads=2)
    process, gate = blocked(node, tmp_path)
    other = node.spawn(name="other")
    with ThreadPoolExecutor(8) as pool, node.client() as client:
        crowd = [pool.submit(get, node, f"/{process}/now/count") for _ in range(8)]
        until(lambda: row_of(client, process)["queue"] == 2)
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"/{other}/now/count", timeout=1)
        gate.touch()
        assert [(200, "2")] * 8 == [one.result() for one in crowd]


@pytest.mark.parametrize("path", ["info", "health", "workers"])
def test_a_full_node_answers_its_operator(start: Any, tmp_path: Path, path: str) -> None:
    """Where every place is taken, what computes nothing is answered all the same."""
    node = start(requests=1, threads=1)
    process, gate = blocked(node, tmp_path)
    with ThreadPoolExecutor(1) as pool, node.client() as client:
        first = pool.submit(get, node, f"/{process}/now/count")
        until(gate.with_suffix(".entered").exists)
        assert (503, 200) == (
            client.get(f"/{process}/slot").status_code,
            client.get(f"/~meta@1.0/{path}").status_code,
        )
        nested = client.get(f"/~meta@1.0/{path}?x=(/{process}/now)")
        assert 503 == nested.status_code, "what could compute stands in the line of all"
        gate.touch()
        assert (200, "2") == first.result()


def test_a_slot_that_never_ends_keeps_no_node_running(start: Any, tmp_path: Path) -> None:
    """A node whose slot hangs is told to stop, tells who waits, and ends within its bounds; nothing is lost."""
    node = start(drain_timeout="100ms", request_timeout="10m", workers={"drain_timeout": "10ms"})
    process, gate = blocked(node, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get, node, f"/{process}/now/count")
        until(gate.with_suffix(".entered").exists)
        assert 0 == node.stop(signal.SIGTERM)
        assert 503 == first.result()[0]
    gate.touch()
    assert "Traceback" not in node.log.read_text()
    with start().client() as client:
        assert "2" == client.get(f"/{process}/now/count").text


def broken(node: Any, folder: Path) -> tuple[str, Path]:
    """Return a process whose slot 1 cannot be computed while a file is there, and the file."""
    trouble = folder / "trouble"
    trouble.touch()
    process = node.spawn(name="broken")
    with node.client() as client:
        client.post(f"/{process}/schedule", json={"raise-while": str(trouble)})
        client.get(f"/{process}/compute&slot=0")
    return str(process), trouble


def blocked(node: Any, folder: Path) -> tuple[str, Path]:
    """Return a process whose slot 1 waits for a file, and the file."""
    gate = folder / "gate"
    process = node.spawn(name="blocked")
    with node.client() as client:
        client.get(f"/{process}/compute&slot=0")
        client.post(f"/{process}/schedule", json={"wait-for": str(gate)})
    return str(process), gate


def row_of(client: Any, process: str) -> Any:
    """Return how a process stands."""
    rows = client.get("/~meta@1.0/workers").json()["workers"]
    return next(row for row in rows if row["process"] == process)


def get(node: Any, path: str) -> tuple[int, str]:
    """Return status and text of a reply, on a connection of its own."""
    with node.client() as client:
        reply = client.get(path)
    return reply.status_code, reply.text


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(600):
        if holds():
            return
        threading.Event().wait(0.1)
    raise AssertionError("it did not come to hold")
