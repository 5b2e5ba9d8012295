"""AOS behind HTTP: a node started from a definition file, and the four endpoints of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aos.module import MissingModuleError, aos_module
from aos.process import definition_file
from e2e.programs import Node, node, procession

EVALS = ["return 1 + 1", 'Send({ Target = ao.id, Action = "Ping", Data = "hello" })', 'error("boom")', "return #Inbox"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Return a node that serves an AOS process, whose schedule got the evaluations."""
    folder = tmp_path_factory.mktemp("served")
    try:
        definition_file(folder, aos_module())
    except MissingModuleError as reason:
        pytest.skip(str(reason))
    with node(folder / "aos.toml", "--data", folder / "data", folder=folder) as running:
        slots = [
            running.post(f"/{running.process}/schedule", {"action": "Eval", "data": code})["slot"] for code in EVALS
        ]
        assert [1, 2, 3, 4] == slots
        yield running


def test_the_schedule_is_listed(served: Node) -> None:
    """GET schedule gives the assignments, the definition first, each with its message and chain."""
    found = served.get(f"/{served.process}/schedule")
    assert ["0", "1", "2", "3", "4"] == sorted(found["assignments"])
    assert EVALS == [found["assignments"][str(slot)]["body"]["data"] for slot in range(1, 5)]
    assert 5 == len({row["hash-chain"] for row in found["assignments"].values()})
    assert 4 == served.get(f"/{served.process}/slot")["current"]


def test_any_slot_is_computed(served: Node) -> None:
    """GET compute gives the state after a slot by its number in each notation, and by the id of its message."""
    process = served.process
    message = served.get(f"/{process}/schedule")["assignments"]["1"]["message-id"]
    asked = ["compute?slot=1", "compute&slot=1", "compute/1", "compute=1", f"compute/{message}"]
    states = [served.get(f"/{process}/{path}") for path in asked]
    assert [("2", 1)] * len(asked) == [(state["results"]["data"], state["at-slot"]) for state in states]


def test_the_state_is_browsed_by_path(served: Node) -> None:
    """A path below a slot gives what lies there: a value of the outbox, the response of the module whole."""
    process = served.process
    assert "hello" == served.get(f"/{process}/compute&slot=2/results/outbox/1/data")
    assert process == served.get(f"/{process}/compute/2/results/outbox/1/from-process")
    assert "boom" in served.get(f"/{process}/compute&slot=3/results/raw/error")


def test_now_is_the_head(served: Node) -> None:
    """GET now gives the state at the head of the schedule, and any path into it."""
    process = served.process
    assert "1" == served.get(f"/{process}/now/results/data")
    assert 4 == served.get(f"/{process}/now")["at-slot"]


def test_the_command_line_reads_beside_the_node(served: Node) -> None:
    """What the node computed is read from its folder while it runs, and through its URL."""
    data = served.log.parent / "data"
    beside = procession("compute", served.process, "results/data", "--slot", "1", "--data", data, "--json")
    through = procession("now", served.process, "results/data", "--url", served.url, "--json")
    assert [(0, "2"), (0, "1")] == [(ended.code, ended.document) for ended in (beside, through)]


def test_a_node_that_stops_loses_nothing(served: Node, tmp_path: Path) -> None:
    """A second node, of another folder, comes to the same process id, and after its end every slot is there."""
    file, data = served.log.parent / "aos.toml", tmp_path / "data"
    with node(file, "--data", data, folder=tmp_path) as other:
        assert served.process == other.process
        other.post(f"/{other.process}/schedule", {"action": "Eval", "data": "x = 20 return x"})
    with node("--data", data, folder=tmp_path) as again:
        again.post(f"/{served.process}/schedule", {"action": "Eval", "data": "return x + 1"})
        told = [again.get(f"/{served.process}/compute={slot}/results/data") for slot in (1, 2)]
    assert ["20", "21"] == told
