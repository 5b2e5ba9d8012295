"""push@1.0 by path: what is pushed, and the report of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from procession import Message, RequestError
from procession.errors import ComputeError, PluginError

Opener = Callable[..., Any]


def test_a_message_is_scheduled_and_pushed(ground: Opener) -> None:
    """POST without a slot answers results, slot, process and id, and each entry under its index."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    report = on.push(one, {"data": "go", "send": [{"target": two.id, "data": "hello"}, {"target": "nobody"}, {}]})
    (first,), (got,) = one.log(1), two.log(1)
    assert ("go", 1, one.id, first.message_id) == tuple(report[key] for key in ("data", "slot", "process", "id"))
    assert report["outbox"] == one.compute(1)["results"]["outbox"]
    below = {"slot": 1, "process": two.id}
    assert {"id": got.message_id, "target": two.id, "slot": 1, "resulted-in": below} == report["1"]
    missing = {"response": "error", "status": 404, "kind": "unknown-process"}
    assert {
        **missing,
        "target": "nobody",
        "reason": "Could not access target process!",
        "outbox-index": 2,
    } == report["2"]
    assert ("Target process not available.", None, 3) == tuple(
        report["3"][key] for key in ("reason", "target", "outbox-index")
    )


def test_results_come_as_deep_as_asked(ground: Opener) -> None:
    """``result-depth`` says of how many levels the results are in the report; 1 without it."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    on.push(one, {"data": "top", "send": [{"target": two.id, "data": "deep"}]})
    for depth, expected in (
        ("", ("top", None)),
        ("&result-depth=0", (None, None)),
        ("&result-depth=2", ("top", "deep")),
    ):
        report = on.push(one, {}, f"push&slot=1{depth}")
        assert expected == (report.get("data"), report.at("1/resulted-in/data"))


def test_a_push_is_asked_how_it_stands(ground: Opener) -> None:
    """GET gives the report that POST gave, and delivers nothing."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    one.schedule({"send": [{"target": two.id}]})
    with pytest.raises(RequestError, match="was never pushed; POST to push it") as unknown:
        on.kernel.resolve(f"/{one.id}/push&slot=1")
    assert ("not-found", 0) == (unknown.value.kind, two.head.slot)
    report = on.push(one, {}, "push&slot=1")
    assert report == on.kernel.resolve(f"/{one.id}/push&slot=1")
    assert report == on.kernel.resolve(f"/~push@1.0/push&slot=1&target={one.id}")
    assert 1 == two.head.slot


def test_what_is_on_its_way_is_told(ground: Opener) -> None:
    """An entry that is not delivered yet is pending in the report, with how often it was tried."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    one.schedule({"send": [{"target": two.id}]})
    on.host.gate.clear()
    answer = on.push(one, {}, "push&slot=1&push-mode=async")
    reached = _until(lambda: on.kernel.resolve(f"/{one.id}/push&slot=1").get("1"))
    on.host.gate.set()
    assert ("pending", two.id, 0) == tuple(reached[key] for key in ("response", "target", "attempts"))
    assert (f"/{one.id}/push&slot=1", "async", 1) == tuple(answer[key] for key in ("task", "push-mode", "slot"))
    on.pushes.wait(one.id, 1, timeout=60)
    assert 1 == on.kernel.resolve(answer["task"]).at("1/slot")


def test_a_definition_says_how_it_is_pushed(ground: Opener) -> None:
    """``push-mode`` of the definition counts where the request says nothing."""
    on = ground()
    one = on.process("one", **{"push-mode": "async"})
    assert "async" == on.push(one, {"data": 1}).get("push-mode")
    assert None is on.push(one, {"data": 2}, "push&push-mode=sync").get("push-mode")


def test_a_request_may_go_less_deep(ground: Opener) -> None:
    """``max-depth`` lowers the host's depth and never raises it; 0 delivers nothing and says so."""
    on = ground("depth = 3")
    one, two = on.process("one"), on.process("two")
    report = on.push(one, {"send": {"1": {"target": two.id, "count": 99}}}, "push&max-depth=0")
    assert ("stopped", "depth", 0) == (report.at("1/response"), report.at("1/kind"), two.head.slot)
    on.push(one, {}, "push&slot=1&max-depth=1")
    assert (1, 1) == (one.head.slot, two.head.slot)
    on.push(one, {}, "push&slot=1&max-depth=50")
    assert (2, 2) == (one.head.slot, two.head.slot)


def test_a_deep_report_goes_on_elsewhere(ground: Opener) -> None:
    """A report ends where it would be too deep to be read, and says where it goes on."""
    on = ground("depth = 40")
    one, two = on.process("one"), on.process("two")
    report = on.push(one, {"send": {"1": {"target": two.id, "count": 30}}})
    levels = 0
    while "1" in report:
        report, levels = report["1"]["resulted-in"], levels + 1
    assert (24, f"/{one.id}/push&slot=13") == (levels, report["more"])
    assert 14 == on.kernel.resolve(report["more"]).at("1/slot") + 1


def test_a_report_holds_so_many_results(ground: Opener) -> None:
    """Results that would make a report too large are left out, and where they are is said."""
    on = ground("fan-out = 1000")
    one, two = on.process("one"), on.process("two")
    report = on.push(one, {"send": [{"target": two.id, "data": "x"}] * 300}, "push&result-depth=2")
    below = [report[str(index)]["resulted-in"] for index in range(1, 301)]
    assert (255, 45) == (sum("data" in each for each in below), sum("more" in each for each in below))


def test_a_process_is_begun(ground: Opener) -> None:
    """A definition that is pushed is begun: its assignment is the answer."""
    on = ground()
    body = Message({"type": "Process", "device": "process@1.0", "name": "new", "device-stack": ["player@1.0"]})
    for path in ("/push", "/~process@1.0/push", "/~push@1.0/push"):
        answer = on.kernel.resolve(path, method="POST", body=body)
        assert ("Assignment", 0, body.id) == (answer["type"], answer["slot"], answer["process"])


def test_a_message_names_its_process(ground: Opener) -> None:
    """A message that is pushed without a process in the path goes to its target."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    body = Message({"target": one.id, "send": [{"target": two.id}]})
    report = on.kernel.resolve("/~process@1.0/push", method="POST", body=body)
    assert (one.id, 1, 1) == (report["process"], report["slot"], two.head.slot)


@pytest.mark.parametrize(
    ("method", "path", "kind", "text"),
    [
        ("POST", "push&slot=-1", "slot", "is no number"),
        ("POST", "push&slot=x", "slot", "is no number"),
        ("POST", "push&slot=7", "beyond-schedule", "slot 7 is beyond the schedule"),
        ("GET", "push&slot=7", "beyond-schedule", "slot 7 is beyond the schedule"),
        ("GET", "push", "slot", "no slot is named"),
        ("POST", "push", "message", "no message to schedule"),
        ("POST", "push&slot=0&max-depth=many", "bad-request", "max-depth: 'many' is no number"),
        ("POST", "push&slot=0&result-depth=-2", "bad-request", "result-depth: '-2' is no number"),
        ("POST", "push&slot=0&push-mode=soon", "bad-request", "'soon' is no mode"),
    ],
)
def test_a_malformed_request_is_refused(ground: Opener, method: str, path: str, kind: str, text: str) -> None:
    """What is wrong with a request is told, with a kind."""
    on = ground()
    with pytest.raises(RequestError, match=text) as refused:
        on.kernel.resolve(f"/{on.process('one').id}/{path}", method=method)
    assert kind == refused.value.kind


@pytest.mark.parametrize("keys", ["max-depth=many", "result-depth=-2", "push-mode=soon", "slot=x"])
def test_a_malformed_request_schedules_nothing(ground: Opener, keys: str) -> None:
    """A message that comes with keys that are no good gets no slot."""
    on = ground()
    one = on.process("one")
    with pytest.raises(RequestError):
        on.push(one, {"data": 1}, f"push&{keys}")
    assert 0 == one.head.slot


def test_a_push_that_is_refused_schedules_nothing(ground: Opener) -> None:
    """Where a push would be refused its message gets no slot, so that it may be sent again; a process is begun."""
    on = ground("queue = 1")
    one, two = on.process("one"), on.process("two")
    on.host.gate.clear()
    on.push(one, {"send": [{"target": two.id}]}, "push&push-mode=async")
    with pytest.raises(ComputeError, match="deliveries are waiting") as refused:
        on.push(one, {"data": 1})
    body = Message({"type": "Process", "device": "process@1.0", "name": "new", "device-stack": ["player@1.0"]})
    assert body.id == on.kernel.resolve("/push", method="POST", body=body)["process"]
    on.host.gate.set()
    assert ("busy", 1) == (refused.value.kind, one.head.slot)


def test_an_index_is_that_of_an_entry(ground: Opener) -> None:
    """Numbers among the results of a process are not taken for entries of its outbox."""
    on = ground()
    one = on.process("one")
    report = on.push(one, {"claim": {"7": {"response": "error"}, "data": "x"}})
    assert ("x", False) == (report["data"], "7" in report)


def test_a_process_that_is_not_here_is_not_pushed(ground: Opener) -> None:
    """Nobody is pushed whom the path does not name or whom nobody knows."""
    on = ground()
    for path in ("/~push@1.0/push&slot=1", f"/~push@1.0/push&slot=0&target={'x' * 43}"):
        with pytest.raises(RequestError) as refused:
            on.kernel.resolve(path, method="POST")
        assert "unknown-process" == refused.value.kind


def test_without_what_delivers_nothing_is_pushed(ground: Opener) -> None:
    """A kernel without the companion of a name says so."""
    with pytest.raises(PluginError, match=r"nothing installed provides 'posh@1\.0'"):
        ground().kernel.companions.get("posh@1.0")


def _until(look: Callable[[], Any]) -> Any:
    waiting = threading.Event()
    for _ in range(6000):
        if found := look():
            return found
        waiting.wait(0.01)
    pytest.fail("it never happened")
