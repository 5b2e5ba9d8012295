"""push@1.0: deliver the outbox of a slot, and tell what came of it.

``POST /ID/push`` schedules a message and pushes its slot; with ``slot`` it pushes that one. ``GET /ID/push&slot=3``
tells how a push stands and does nothing. ``push-mode``, ``result-depth`` and ``max-depth`` are keys of the path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from procession import process
from procession.errors import RequestError
from procession.hosts import beyond_schedule
from procession.messages import Message
from procession.requests import Keys, Request
from procession_push.pushes import NAME, Pushes, Tree
from procession_push.reports import Reporter

TIMEOUT = 600.0  # seconds a caller waits who does not say
SYNC, ASYNC = "sync", "async"
_NUMBER = re.compile(r"[0-9]{1,18}\Z")


def push(request: Request) -> Message:
    """Push a slot, or schedule a message and push its slot; or tell how a push stands."""
    slot = _number(request, "slot")
    _check(request)
    if request.method != "POST":
        return _standing(request, slot)
    if slot is not None:
        return _pushed(request, _named(request), slot)
    if not _defines(request):
        _pushes(request).check()
    assignment = process.schedule(request)
    if assignment.at("body/type") == "Process":
        return assignment
    return _pushed(request, assignment["process"], assignment["slot"])


KEYS: Keys = {"push": push}


def _check(request: Request) -> None:
    """Refuse keys that are no good before anything is done."""
    _number(request, "max-depth")
    _number(request, "result-depth")
    _known_mode(request.params.get("push-mode", SYNC))


def _defines(request: Request) -> bool:
    message = request.body.get("body", request.body)
    return isinstance(message, Message) and message.get("type") == "Process"


def _pushed(request: Request, name: str, slot: int) -> Message:
    place = _place(request, name, slot)
    mode = _mode(request, name)
    pushes = _pushes(request)
    pushes.push(name, slot, depth=_number(request, "max-depth"))
    if mode == ASYNC:
        return Message({**place, "push-mode": ASYNC, "task": f"/{name}/push&slot={slot}"})
    tree = pushes.wait(name, slot, timeout=TIMEOUT if request.timeout is None else request.timeout)
    return Message({**_report(request, tree, place), **place})


def _standing(request: Request, slot: int | None) -> Message:
    name = _named(request)
    if slot is None:
        raise RequestError(
            "no slot is named", where="push", remedy="give one, push&slot=3, or POST a message", kind="slot"
        )
    place = _place(request, name, slot)
    tree = _pushes(request).below(name, slot)
    if not tree:
        text = f"slot {slot} of {name} was never pushed"
        raise RequestError(text, where="push", remedy="POST to push it", kind="not-found")
    return Message({**_report(request, tree, place), **place})


def _report(request: Request, tree: Tree, place: Mapping[str, Any]) -> Message:
    depth = _number(request, "result-depth")
    reporter = Reporter(request.processes, tree, request.timeout)
    return reporter.report(place["process"], place["slot"], result_depth=1 if depth is None else depth)


def _pushes(request: Request) -> Pushes:
    found: Pushes = request.processes.companions.get(NAME)
    return found


def _place(request: Request, name: str, slot: int) -> dict[str, Any]:
    """Return the process, the slot and the id of its message. RequestError where the schedule does not go that far."""
    head = request.processes.head(name)
    if slot > head.slot:
        raise beyond_schedule(name, slot, head.slot)
    (assignment,) = request.processes.read(name, slot, slot)
    return {"process": name, "slot": slot, "id": assignment.message_id}


def _mode(request: Request, name: str) -> str:
    """Return the mode: the request's, else the definition's, else sync."""
    (genesis,) = request.processes.read(name, 0, 0)
    return _known_mode(request.params.get("push-mode", genesis.message.get("push-mode", SYNC)))


def _known_mode(mode: Any) -> str:
    if mode not in (SYNC, ASYNC):
        raise RequestError(f"{mode!r:.40} is no mode", where="push-mode", remedy=f"give {SYNC} or {ASYNC}")
    return str(mode)


def _named(request: Request) -> str:
    name = request.process or request.params.get("target")
    if not isinstance(name, str) or not name:
        remedy = "put its id in front, /ID/push"
        raise RequestError("no process is named", where="push", remedy=remedy, kind="unknown-process")
    return name


def _number(request: Request, key: str) -> int | None:
    value = request.params.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not _NUMBER.match(str(value)):
        kind = "slot" if key == "slot" else ""
        raise RequestError(f"{value!r:.60} is no number", where=key, remedy="give 0, 1, 2, ...", kind=kind)
    return int(value)
