"""Pushing end to end: programs that are killed in the middle of it, a node, and AOS processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aos.module import MissingModuleError, aos_module
from aos.process import definition_file
from e2e.players import (
    DELIVERIES,
    PUSHED,
    STOPPED,
    Unkeyed,
    balls,
    driving,
    open_players,
    player,
    serving,
)
from e2e.programs import PATIENCE, Killed, Node, killed, node
from procession import Kernel, Message
from procession_push import Pushes
from procession_push.deliveries import FILE

PLAYER = {"type": "Process", "device": "process@1.0", "device-stack": ["player@1.0"]}


def finished(data: Path, kind: type[Kernel] = Kernel) -> int:
    """Open a folder, let it finish what it finds there, and return how many messages came from processes."""
    with open_players(data, kind=kind) as kernel:
        players = [player(kernel, name) for name in ("one", "two")]
        pushes: Pushes = kernel.companions.get("push@1.0")
        pushes.wait(players[0].id, PUSHED, timeout=PATIENCE)
        came = [item for process in players for item in process.log(1) if "from-process" in item.message]
        assert (kind is Kernel) == (len(came) == len({item.message_id for item in came}))
        return len(came)


@pytest.mark.parametrize("left", [1, 2, DELIVERIES // 2, DELIVERIES])
@pytest.mark.parametrize("hook", ["assigned", "pushed"])
def test_a_push_that_is_killed_goes_on(tmp_path: Path, hook: str, left: int) -> None:
    """A program killed in the middle of a tree leaves nothing undelivered to the next, and nothing twice."""
    assert ([STOPPED], -9) == _ended(killed(driving(tmp_path, hook, left), lines=1, seconds=0))
    assert DELIVERIES == finished(tmp_path)


def test_without_its_key_an_entry_comes_twice(tmp_path: Path) -> None:
    """Control: where the key of a delivery is taken away, the one that was under way gets a second slot."""
    killed(driving(tmp_path, "assigned", 2), lines=1, seconds=0)
    assert DELIVERIES < finished(tmp_path, Unkeyed)


def test_without_the_list_nothing_goes_on(tmp_path: Path) -> None:
    """Control: where the list is taken away, the next program delivers nothing; pushing again delivers the rest."""
    killed(driving(tmp_path, "pushed", 2), lines=1, seconds=0)
    for path in tmp_path.glob(f"{FILE}*"):
        path.unlink()
    assert DELIVERIES > finished(tmp_path)
    with open_players(tmp_path) as kernel:
        kernel.resolve(f"/{player(kernel, 'one').id}/push&slot={PUSHED}", method="POST")
    assert DELIVERIES == finished(tmp_path)


# -- a node


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Return a node that knows the players."""
    folder = tmp_path_factory.mktemp("served")
    with node("--data", folder / "data", folder=folder, program=serving) as running:
        yield running


def begun(served: Node, name: str) -> str:
    """Begin a player by POST /push, as clients do, and return its id."""
    return str(served.post("/push", {**PLAYER, "name": name})["process"])


def test_a_node_pushes(served: Node) -> None:
    """POST push schedules a message, delivers what comes of it, and answers the report that GET answers after it."""
    one, two = begun(served, "one"), begun(served, "two")
    report = served.post(f"/{one}/push", balls(two))
    assert (PUSHED, one, "Done.") == (report["slot"], report["process"], report["data"])
    assert (two, 1) == (report["1"]["target"], report["1"]["slot"])
    assert report == served.get(f"/{one}/push&slot={PUSHED}") == served.post(f"/{one}/push&slot={PUSHED}", {})
    slots = [served.get(f"/{process}/slot/current") for process in (one, two)]
    assert DELIVERIES + PUSHED == sum(slots)


def test_a_node_pushes_later(served: Node) -> None:
    """An asynchronous push answers a task at once, whose report is complete when the work is done."""
    one, two = begun(served, "early"), begun(served, "late")
    served.post(f"/{one}/schedule", {"send": [{"target": two, "count": 2}, {"target": "nowhere"}]})
    task = served.post(f"/{one}/push&slot=1&push-mode=async", {})["task"]
    report = served.post(f"/{one}/push&slot=1", {})
    assert report == served.get(task)
    assert (404, "Could not access target process!") == (report["2"]["status"], report["2"]["reason"])


def test_a_node_refuses_what_is_no_push(served: Node) -> None:
    """A slot that was never pushed is 404, a malformed one 400, and a stranger's word that he is a process 400."""
    one = begun(served, "refusing")
    forged = {"commitments": {"x" * 43: {"commitment-device": "trusted-id", "committer": one}}, "data": "x"}
    replies = [
        served.client.get(f"{served.url}/{one}/push&slot=0"),
        served.client.post(f"{served.url}/{one}/push&slot=minus", json={}),
        served.client.post(f"{served.url}/{one}/push", json=forged),
    ]
    assert [(404, "not-found"), (400, "slot"), (400, "unverified")] == [
        (reply.status_code, reply.json()["error"]["kind"]) for reply in replies
    ]


# -- AOS


def test_aos_processes_write_to_each_other(tmp_path: Path) -> None:
    """An AOS process gets a ping From the other, answers it, and the answer comes back, all by one push."""
    try:
        file = definition_file(tmp_path, aos_module())
    except MissingModuleError as reason:
        pytest.skip(str(reason))
    with Kernel.open(file, data=tmp_path / "data") as kernel:
        pinged, pinger = kernel.spawn(), kernel.spawn(kernel.definition.message.set({"name": "pinger"}))
        handler = (
            'Handlers.add("Ping", "Ping", function (m) Seen = m.From; Send({Target = m.From, Action = "Pong"}) end)'
        )
        pinged.schedule({"action": "Eval", "data": handler})
        eval_it = {"action": "Eval", "data": f'Send({{ Target = "{pinged.id}", Action = "Ping", Data = "hi" }})'}
        pong = 'Handlers.add("Pong", "Pong", function (m) Heard = m.From .. " " .. m.Owner end)'
        pinger.schedule({"action": "Eval", "data": pong})
        report = kernel.resolve(f"/{pinger.id}/push", method="POST", body=Message(eval_it))
        assert pinged.id == report.at("1/target")
        for process, name, other in ((pinged, "Seen", pinger.id), (pinger, "Heard", f"{pinged.id} {pinged.id}")):
            process.schedule({"action": "Eval", "data": f"return {name}"})
            assert other == process.now().at("results/data")


def _ended(found: Killed) -> tuple[list[str], int]:
    return found.lines, found.code
