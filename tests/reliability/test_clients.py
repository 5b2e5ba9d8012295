"""Many clients of one served node: dense slots, one computation of each, and nobody waits for another's slot."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest

from e2e.programs import Node, node
from reliability.meters import COUNTS, GATE, WITHOUT, installed
from reliability.programme import Programme

CLIENTS = 64
WAITING = 48  # clients that wait on one slow slot
SHARED = "64 clients of one served process"
APART = "a client that waits on a slow slot slows no other process"
LATE = 5.0  # seconds after which a reply counts as none: what takes milliseconds does not come

_DEFINITION = '[process]\nname = "meter"\ndevice-stack = ["meter@1.0"]\n'


@attrs.define
class Client:
    """Hold one connection to a node."""

    node: Node
    timeout: float = 60.0
    seconds: list[float] = attrs.field(factory=list)
    _open: HTTPConnection | None = None

    def ask(self, path: str, message: object = None) -> Any:
        """Return the JSON of a good reply, and note the seconds that it took."""
        begun = time.monotonic()
        place = urlsplit(self.node.url)
        self._open = self._open or HTTPConnection(place.hostname or "", place.port, timeout=self.timeout)
        headers = {"content-type": "application/json"} if message is not None else {}
        body = json.dumps(message) if message is not None else None
        self._open.request("POST" if body else "GET", path, body, headers)
        reply = self._open.getresponse()
        content = reply.read()
        assert 200 == reply.status, content
        self.seconds.append(time.monotonic() - begun)
        return json.loads(content)

    def close(self) -> None:
        """Close the connection."""
        if self._open:
            self._open.close()


@attrs.frozen
class Ground:
    """Hold the folder of a node, the file in which its device counts, and the gate that held slots wait for."""

    folder: Path

    @property
    def counts(self) -> Counter[str]:
        """Return how often each slot was computed."""
        return Counter((self.folder / "counts").read_text().splitlines())

    @contextmanager
    def served(self, settings: str = "") -> Iterator[Node]:
        """Serve a process."""
        file = self.folder / "meter.toml"
        file.write_text(_DEFINITION + settings)
        with node(file, "--data", self.folder / "data", folder=self.folder) as served:
            yield served

    def shut(self) -> None:
        """Shut the gate."""
        (self.folder / "gate").unlink(missing_ok=True)

    def let_go(self) -> None:
        """Open the gate."""
        (self.folder / "gate").touch()


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """Return a ground whose nodes find the device."""
    monkeypatch.syspath_prepend(installed(tmp_path))
    monkeypatch.setenv(COUNTS, str(tmp_path / "counts"))
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    return Ground(tmp_path)


# -- one process


def test_many_clients_share_each_computation(
    ground: Ground, programme: Programme, figure: Callable[[int, int], int]
) -> None:
    """Slots are dense however many post at once, and each is computed once however many ask for it."""
    posts, rounds = figure(8, 100), figure(10, 200)
    fault = programme.fault(SHARED, expected=CLIENTS * posts + rounds)
    with ground.served() as served, crowd(served, CLIENTS + 1) as (alone, *clients):
        together(clients[:1], lambda client: posting(client, posts * 4))
        single = percentile(clients[0].seconds)
        clients[0].seconds.clear()
        answers = [pair for pairs in together(clients, lambda client: posting(client, posts)) for pair in pairs]
        crowded = percentile([second for client in clients for second in client.seconds])
        head = posts * (CLIENTS + 4)
        assert list(range(posts * 4 + 1, head + 1)) == sorted(slot for slot, _ in answers), "slots are dense"
        sums = [state["sum"] for _, state in sorted(answers, key=lambda pair: pair[0])]
        assert list(range(posts * 4 + 1, head + 1)) == sums
        fault.held(CLIENTS * posts)
        for slot in range(head + 1, head + rounds + 1):
            ground.shut()
            alone.ask(f"/{served.process}/schedule", {"amount": 1, "hold": True})
            with waiting(clients, served.process, slot, ground):
                until(lambda: CLIENTS == alone.ask("/~meta@1.0/workers")["workers"][0]["queue"])
            fault.held()
    assert Counter({f"{served.process} {slot}": 1 for slot in range(head + rounds + 1)}) == ground.counts
    fault.note(f"p99 of a request: {single * 1e3:.0f} ms for one client, {crowded * 1e3:.0f} ms for {CLIENTS} at once")


def test_callers_who_share_nothing_compute_more(
    ground: Ground, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a worker for each caller the same slot is computed more than once, and the count says so."""
    monkeypatch.setenv(WITHOUT, "sharing")
    fault = programme.fault(SHARED, expected=0)
    with ground.served() as served, crowd(served, CLIENTS) as clients:
        clients[0].ask(f"/{served.process}/schedule", {"amount": 1, "hold": True})
        with waiting(clients, served.process, 1, ground):
            until(lambda: ground.counts[f"{served.process} 1"] > 1)
    fault.control(f"with a worker for each caller: one slot computed {ground.counts[f'{served.process} 1']} times")


# -- two processes


def test_who_waits_on_a_slow_slot_slows_no_other(
    ground: Ground, programme: Programme, figure: Callable[[int, int], int]
) -> None:
    """While many clients wait on a slot that does not end, another process is answered as before."""
    rounds = figure(4, 40)
    fault = programme.fault(APART, expected=rounds)
    with ground.served() as served:
        free, held = interleaved(ground, served, rounds)
        hold(free, held)
    fault.held(rounds)
    usual = [f"{percentile(seconds) * 1e3:.0f}" for seconds in (free, held)]
    fault.note(f"p99 of another process: {usual[0]} ms, {usual[1]} ms while {WAITING} clients wait")


def test_too_few_threads_are_seen(ground: Ground, programme: Programme) -> None:
    """Where waiting clients hold every thread of the node, another process is not answered, and this test sees it."""
    fault = programme.fault(APART, expected=0)
    with ground.served(f"[host.http]\nthreads = {WAITING // 2}\n") as served, pytest.raises((AssertionError, OSError)):
        hold(*interleaved(ground, served, 1))
    fault.control(f"with {WAITING // 2} threads for {WAITING} waiting clients")


def interleaved(ground: Ground, served: Node, rounds: int, count: int = 40) -> tuple[list[float], list[float]]:
    """Return the seconds of requests to one process, in turns while nobody and while many wait for another."""
    free, held = Client(served, LATE), Client(served, LATE)
    slow = served.process
    other = free.ask("/~process@1.0/schedule", {"type": "Process", "name": "other", "device-stack": ["meter@1.0"]})[
        "process"
    ]
    try:
        for turn in range(1, rounds + 1):
            posting(free, count, other)
            ground.shut()
            free.ask(f"/{slow}/schedule", {"amount": 1, "hold": True})
            with crowd(served, WAITING) as clients, waiting(clients, slow, turn, ground):
                posting(held, count, other)
    finally:
        ground.let_go()
        free.close()
        held.close()
    return free.seconds, held.seconds


@contextmanager
def waiting(clients: Sequence[Client], process: str, slot: int, ground: Ground) -> Iterator[None]:
    """Have all clients wait on a slot, and let it go at the end."""
    with ThreadPoolExecutor(len(clients)) as pool:
        asked = [pool.submit(computed, client, slot, process) for client in clients]
        try:
            until(lambda: f"{process} {slot}" in ground.counts)
            yield
        finally:
            ground.let_go()
        assert [slot] * len(clients) == [answer.result()["sum"] for answer in asked]


def hold(free: Sequence[float], held: Sequence[float]) -> None:
    """See that requests take about as long as they did."""
    assert median(held) <= 3 * median(free)
    assert percentile(held) <= 8 * percentile(free)


# -- clients


@contextmanager
def crowd(served: Node, count: int) -> Iterator[list[Client]]:
    """Return clients, each with a connection of its own."""
    clients = [Client(served) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def together(clients: Sequence[Client], work: Callable[[Client], Any]) -> list[Any]:
    """Let all clients do something at one time, and return what they found."""
    barrier = threading.Barrier(len(clients))

    def begun(client: Client) -> Any:
        barrier.wait()
        return work(client)

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(begun, clients))


def posting(client: Client, count: int, process: str = "") -> list[tuple[int, Any]]:
    """Post messages one after the other and ask for the state after each; return slots and states."""
    process = process or client.node.process
    found = []
    for _ in range(count):
        slot = client.ask(f"/{process}/schedule", {"amount": 1})["slot"]
        found.append((slot, computed(client, slot, process)))
    return found


def computed(client: Client, slot: int, process: str = "") -> Any:
    """Return the state after a slot."""
    return client.ask(f"/{process or client.node.process}/compute&slot={slot}")


def percentile(seconds: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return quantiles(seconds, n=100, method="inclusive")[98]


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.01)
