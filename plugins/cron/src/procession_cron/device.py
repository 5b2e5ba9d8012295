"""cron@1.0: leave a request with a node, to be made once or every so often.

``POST /~cron@1.0/once?cron-path=/ID/push`` and ``/every?cron-path=...&interval=5-minutes`` answer the id of a task;
``/stop?task=ID`` ends one, ``/task?task=ID`` tells how it stands. What else the message says is the message of the
request, where its path ends in ``schedule`` or ``push``; any other path is asked by GET.
"""

from __future__ import annotations

import re
from typing import Any, Final

from procession.commitments import committers, message_id
from procession.errors import RequestError
from procession.messages import Message
from procession.paths import parse
from procession.requests import Keys, Request
from procession.settings import seconds
from procession_cron.crons import NAME, Crons, body_of
from procession_cron.settings import SIGNED
from procession_cron.tasks import Task

POSTED: Final = ("schedule", "push")  # keys whose request has a message
OWN: Final = ("cron-path", "interval", "task", "path", "method", "commitments", "committers", "device")
UNITS: Final = {"millisecond": 1, "second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
LONGEST: Final = 366 * 86_400_000  # milliseconds

_INTERVAL = re.compile(r"([0-9]{1,12})-(millisecond|second|minute|hour|day)s?\Z")


def once(request: Request) -> str:
    """Take a request up that is made once, at once."""
    return _left(request, 0)


def every(request: Request) -> str:
    """Take a request up that is made every so often, first after one interval."""
    return _left(request, _interval(request))


def stop(request: Request) -> Message:
    """End a task: its owner may, and anybody one that nobody signed for."""
    task = _task(request)
    if request.method != "POST" and task.owner:
        raise _refused("it changes something", "stop", "POST it", "method")
    if task.owner and task.owner not in committers(request.body):
        raise _refused("it is somebody else's task", "stop", "sign it as who left the task", "forbidden")
    _crons(request).stop(task.id)
    return Message({"message": "Task stopped successfully", "task-id": task.id})


def tell(request: Request) -> Message:
    """Tell how a task stands."""
    task = _task(request)
    return Message(
        {
            "task-id": task.id,
            "state": task.state,
            "cron-path": task.path,
            "interval": task.interval,
            "due": task.due,
            "rounds": task.round,
            "attempts": task.attempts,
            "reason": task.reason,
        }
    )


KEYS: Keys = {"once": once, "every": every, "stop": stop, "task": tell}


def _left(request: Request, interval: int) -> str:
    crons = _crons(request)
    given = _given(request)
    path = given.get("cron-path")
    if not isinstance(path, str) or not path:
        raise _refused("No cron path found in message.", request.key, "give cron-path=/ID/...", "message")
    owner = next(iter(committers(request.body)), "")
    if crons.settings.tasks == SIGNED and not owner:
        raise _refused("nobody signed it", request.key, "sign it, or set [host.cron] tasks", "unsigned")
    posted = _is_posted(path)
    body = body_of(_message(given)) if posted else b""
    name = message_id(request.body) if owner else given.set({"key": request.key}).without("commitments").id
    return crons.add(Task(name, owner, path, body, interval, crons.now() + interval)).id


def _is_posted(path: str) -> bool:
    """Tell whether a path asks for something with a message. RequestError where it is no path that a task may have."""
    steps = parse(path).steps
    if not steps or any(step.device == NAME for step in steps):
        raise _refused(f"{path!r:.80} is no path for a task", "cron-path", "give one such as /ID/push", "path")
    return steps[-1].name in POSTED


def _message(given: Message) -> Message:
    body = given.get("body")
    return body if isinstance(body, Message) else given.without(*OWN)


def _interval(request: Request) -> int:
    text = _given(request).get("interval")
    if text is None:
        raise _refused("No interval found in message.", "every", "give interval=5-minutes", "message")
    match = _INTERVAL.match(str(text))
    if match is None:
        raise _refused(f"Invalid interval value: {text!r:.40}.", "every", "give one such as 5-minutes", "message")
    interval, least = int(match[1]) * UNITS[match[2]], seconds(_crons(request).settings.interval) * 1000
    if not least <= interval <= LONGEST:
        raise _refused(f"Invalid interval value: {text}.", "every", f"give {least:g} milliseconds or more", "message")
    return interval


def _task(request: Request) -> Task:
    name: Any = _given(request).get("task")
    if not isinstance(name, str) or not name:
        raise _refused("No task ID found in message.", request.key, "give task=ID", "message")
    task = _crons(request).get(name)
    if task is None:
        raise _refused("Task not found.", request.key, "give what once or every answered", "not-found")
    return task


def _given(request: Request) -> Message:
    return request.body.set(request.params, explicit=True)


def _crons(request: Request) -> Crons:
    found: Crons = request.processes.companions.get(NAME)
    return found


def _refused(what: str, where: str, remedy: str, kind: str) -> RequestError:
    return RequestError(what, where=where, remedy=remedy, kind=kind)
