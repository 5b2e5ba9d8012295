"""A served AOS process under the load of several clients, killed again and again, takes nothing back."""

from __future__ import annotations

import itertools
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx
import pytest

from aos.module import MissingModuleError, aos_module
from aos.process import definition_file
from e2e.ledgers import LEDGER
from e2e.programs import PATIENCE, Node, node
from procession import Kernel
from procession.schedules import check_chain
from procession.testing import command_line, python
from reliability.programme import Programme

FAULT = "kill -9 of a served AOS process under load"
SEED = 20261125
CLIENTS = 4
REPLIES = (10, 60)  # that a node gives from its start until it is killed
CODE = "Counter = (Counter or 0) + 1 return Counter"  # the result of a slot is its number, or a slot is lost

_HASTY = (
    "import sys; from reliability.scenarios import answer_before_writing; answer_before_writing();"
    "from procession.cli import main; sys.argv[0] = 'procession'; sys.exit(main())"
)


@attrs.define
class Client:
    """Post messages and ask for their results, and keep what it was told."""

    name: int
    accepted: dict[str, tuple[int, str]] = attrs.field(factory=dict)  # idempotency key -> slot, message id
    results: dict[int, str] = attrs.field(factory=dict)  # slot -> reply
    asked: str = ""  # the key of a message whose fate it does not know
    numbers: Iterator[int] = attrs.field(factory=itertools.count)

    def work(self, running: Node, replied: threading.Semaphore) -> None:
        """Work until the node is gone, with a message of unknown fate first."""
        with httpx.Client(timeout=PATIENCE) as http:
            while True:
                try:
                    self._ask(http, running)
                except httpx.TransportError:
                    return
                replied.release()

    def _ask(self, http: httpx.Client, running: Node) -> None:
        self.asked = self.asked or f"{self.name}-{next(self.numbers)}"
        place = f"{running.url}/{running.process}"
        message = {"action": "Eval", "data": CODE, "key": self.asked}
        reply = http.post(f"{place}/schedule", json=message, headers={"idempotency-key": self.asked})
        assert 200 == reply.status_code, reply.text
        slot = reply.json()["slot"]
        self.accepted[self.asked] = slot, reply.json()["message-id"]
        self.asked = ""
        self.results[slot] = result_of(http, running, slot)


def result_of(http: httpx.Client, running: Node, slot: int) -> str:
    """Return the result of a slot as the node gives it."""
    reply = http.get(f"{running.url}/{running.process}/compute={slot}/results", timeout=PATIENCE)
    assert 200 == reply.status_code, reply.text
    return reply.text


def test_a_served_process_takes_nothing_back(
    programme: Programme, tmp_path: Path, figure: Callable[[int, int], int]
) -> None:
    """After each kill every acknowledged message has its slot, every result is as it was, and no message has two."""
    kills = figure(10, 60)
    row = programme.fault(FAULT, expected=kills)
    file, data, dice = _aos(tmp_path), tmp_path / "data", random.Random(SEED)
    clients = [Client(name) for name in range(CLIENTS)]
    for done in range(kills + 1):
        with _node(file, data, tmp_path) as running:
            assert_kept(running, data, clients)
            row.held(min(done, 1))
            if done < kills:
                under_load(running, clients, replies=dice.randrange(*REPLIES))
    told = sum(len(client.accepted) for client in clients)
    row.note(f"{CLIENTS} clients, {told} messages acknowledged and their results returned, seed {SEED}")


def test_a_node_that_answers_before_it_writes_is_caught(programme: Programme, tmp_path: Path) -> None:
    """The same kill of a node that tells of a slot and writes it after is seen to lose a message."""
    row = programme.fault(FAULT, expected=0)
    with _node(LEDGER, tmp_path, tmp_path, program=lambda *arguments: python(_HASTY, *arguments)) as running:
        told = [running.post(f"/{running.process}/schedule", {"function": "supply", "n": n}) for n in range(5)]
    client = Client(0, accepted={str(one["slot"]): (one["slot"], one["message-id"]) for one in told})
    assert [1, 2, 3, 4, 5] == [one["slot"] for one in told]
    with pytest.raises(AssertionError, match="acknowledged"):
        assert_scheduled(tmp_path, running.process, [client])
    row.control("a node that answers before it writes loses a message")


def under_load(running: Node, clients: Sequence[Client], *, replies: int) -> None:
    """Kill a node after so many replies to clients that go on asking."""
    replied = threading.Semaphore(0)
    with ThreadPoolExecutor(len(clients)) as pool:
        work = [pool.submit(client.work, running, replied) for client in clients]
        try:
            assert all(replied.acquire(timeout=PATIENCE) for _ in range(replies))
        finally:
            running.child.send_signal(signal.SIGKILL)
    for done in work:
        done.result()


def assert_kept(running: Node, data: Path, clients: Sequence[Client]) -> None:
    """Hold a node that was started again against everything that its clients were told."""
    assert_scheduled(data, running.process, clients)
    for slot, told in [pair for client in clients for pair in client.results.items()]:
        assert told == result_of(running.client, running, slot)
        assert f'"data":"{slot}"' in told.replace(" ", "")


def assert_scheduled(data: Path, process: str, clients: Sequence[Client]) -> None:
    """Hold a schedule against what was acknowledged: dense, chained, a slot for each message."""
    with Kernel.open(data=data, read_only=True) as kernel:
        log = list(kernel.log(process))
        assert kernel.head(process) == check_chain(log, None)
    stored = {(one.slot, one.message_id) for one in log}
    accepted = [told for client in clients for told in client.accepted.values()]
    assert [] == [told for told in accepted if told not in stored], "acknowledged, and not in the schedule"
    keys = [one.message["key"] for one in log if "key" in one.message]
    assert len(keys) == len(set(keys))


@contextmanager
def _node(file: Path, data: Path, folder: Path, *, program: Callable[..., list[str]] = command_line) -> Iterator[Node]:
    with node(file, "--data", data, folder=folder, ending=signal.SIGKILL, program=program) as running:
        yield running


def _aos(folder: Path) -> Path:
    try:
        return definition_file(folder, aos_module())
    except MissingModuleError as reason:
        pytest.skip(str(reason))
