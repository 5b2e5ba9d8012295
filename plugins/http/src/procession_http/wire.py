"""Wire: a request in, one kernel call, a reply out; the only room that knows status codes.

Rules
-----
* The path goes to the kernel as it was sent, percent-encoding untouched; no route is made by hand.
* JSON in and out: a map is an object, a bare value stands alone.
* A refusal names kind, text, remedy, facts and an id; what a stranger has no use for (a traceback, a folder
  of this host) is in the log, under that id.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from importlib import metadata
from typing import Any, Final, Protocol
from uuid import uuid4

import attrs

from procession.commitments import committers
from procession.errors import (
    CacheError,
    ComputeError,
    ConfigError,
    PluginError,
    ProcessionError,
    RequestError,
    ScheduleError,
    SnapshotError,
)
from procession.folders import NO_ROOM
from procession.ids import is_id
from procession.jsons import from_json, to_json
from procession.kernel import Kernel
from procession.messages import EMPTY, Message
from procession.requests import Request
from procession_http import openapi
from procession_http.settings import http_settings

TONGUE = "wire@1.0"  # the companion that answers requests of another form
FRONT = "/~meta@1.0/info"  # where a request for nothing is sent
METHODS = {"GET": "GET", "HEAD": "GET", "POST": "POST"}  # what each asks of the kernel
ALLOWED = ", ".join([*METHODS, "OPTIONS"])
CORS = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", ALLOWED),
    ("access-control-allow-headers", "*"),
    ("access-control-expose-headers", "*"),
)
JSON = ("content-type", "application/json")
AGAIN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})  # asked later, it may come out well

# The seconds after which asking again makes sense; None where it does not before somebody has done something.
WAITS: Final[Mapping[str, int | None]] = {"": 1, "closed": 5, "stopping": 5, "wall-clock": 10, "quarantined": None}

# The status of an error: its class, then its kind, "" for any other.
STATUSES: Final[Mapping[type[ProcessionError], Mapping[str, int]]] = {
    RequestError: {
        "": 400,
        "forbidden": 403,
        "unsigned": 403,
        "not-found": 404,
        "unknown-process": 404,
        "unknown-message": 404,
        "unknown-device": 404,
        "beyond-schedule": 404,
        "method": 405,
        "slow": 408,
        "conflict": 409,
        "not-quarantined": 409,
        "too-large": 413,
        "media-type": 415,
        "missing-blob": 422,
        "head-too-large": 431,
    },
    ConfigError: {"": 400},
    PluginError: {"": 500, "unknown-device": 501},
    ScheduleError: {"": 500, "closed": 503, "locked": 503, "deadline": 503, "stopped": 503, "disk-full": 507},
    ComputeError: {
        "": 500,
        "queue-full": 429,
        "behind": 503,
        "busy": 503,
        "closed": 503,
        "deadline": 503,
        "host-memory": 503,
        "host-stack": 503,
        "quarantined": 503,
        "stopping": 503,
        "wall-clock": 503,
        "disk-full": 507,
    },
    CacheError: {"": 500, "closed": 503, "host-memory": 503, "locked": 503, "disk-full": 507},
    SnapshotError: {"": 500, "host-memory": 503, "disk-full": 507},
    ProcessionError: {"": 500},
}
CAUSES = 16  # of an error that are looked at, one behind the other
OURS = (ScheduleError, CacheError, SnapshotError, PluginError)  # their place is a folder or a file of this host

_KEY = re.compile(r"[\x21-\x7e]{1,256}\Z")

log = logging.getLogger("procession.http")


@attrs.frozen
class Asked:
    """Hold a request: the method, the path and query as they were sent, some headers, the whole body."""

    method: str
    target: str
    content_type: str = ""
    content_encoding: str = ""
    idempotency_keys: tuple[str, ...] = ()
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)


@attrs.frozen
class Reply:
    """Hold a reply; the length and the state of the connection are the sender's."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Tongue(Protocol):
    """Answer requests of another form than JSON: what a companion named ``wire@1.0`` does.

    It may also say who the node is, as ``address``, and make itself ready when the node starts, in ``begin``.
    """

    address: str

    def begin(self) -> None:
        """Make ready."""

    def change(self, request: Request) -> Message:
        """Change the node as its operator says, and tell how it stands; RequestError where it is not he."""

    def adopt(self, message: Message) -> Message:
        """Return a message that came as JSON, its commitments checked and in the form that is kept."""

    def answer(
        self, sent: Asked, *, timeout: float, signed: bool
    ) -> tuple[int, Sequence[tuple[str, str]], bytes] | None:
        """Return status, headers and body; None where the request is none of its form."""


def tongue_of(kernel: Kernel) -> Tongue | None:
    """Return what answers requests of another form, where something is installed for it."""
    found: Tongue | None = kernel.companions.get(TONGUE) if TONGUE in kernel.registry.table("companions") else None
    return found


def answer(kernel: Kernel, asked: Asked, *, timeout: float, signed: bool) -> Reply:
    """Answer a request by one kernel call of at most ``timeout`` seconds.

    With ``signed`` a message that nobody vouches for is refused.
    """
    try:
        tongue = tongue_of(kernel)
        told = tongue.answer(asked, timeout=timeout, signed=signed) if tongue else None
        return (
            _reply(told[0], told[2], *told[1])
            if told
            else _answer(kernel, asked, tongue, timeout=timeout, signed=signed)
        )
    except ProcessionError as error:
        return refusal(error, asked)
    except Exception as error:  # noqa: BLE001 - the last boundary before a stranger: a bug is logged, never shown
        return refusal(_unforeseen(error), asked)


def refusal(error: ProcessionError, asked: Asked | None = None) -> Reply:
    """Return the reply that refuses, and log it under its id."""
    status, name = status_of(error), uuid4().hex[:16]
    _log(error, status, name, asked)
    told: dict[str, Any] = {**error.told(), "message": _text(error), "id": name}
    if isinstance(error, ConfigError):
        told["problems"] = list(error.problems)
    wait = WAITS.get(error.kind, WAITS[""]) if status in AGAIN else None
    extra = [("retry-after", str(wait))] if wait is not None else []
    extra += [("allow", ALLOWED)] if status == HTTPStatus.METHOD_NOT_ALLOWED else []
    body = json.dumps({"error": told}, ensure_ascii=False).encode("utf-8", "replace")
    return _reply(status, body, JSON, *extra)


def status_of(error: ProcessionError) -> int:
    """Return the status of an error.

    >>> status_of(RequestError("no such slot", kind="beyond-schedule")), status_of(CacheError("damaged"))
    (404, 500)
    """
    if any(isinstance(cause, OSError) and cause.errno in NO_ROOM for cause in _causes(error)):
        return int(HTTPStatus.INSUFFICIENT_STORAGE)
    kinds = next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)
    return kinds.get(error.kind, kinds[""])


def version() -> str:
    """Return the version of the kernel."""
    try:
        return metadata.version("procession")
    except metadata.PackageNotFoundError:  # imported from a source tree that is not installed
        return ""


def headless(error: ProcessionError) -> bytes:
    """Return the bytes of a refusal where no request could be read; the connection ends with it."""
    reply = refusal(error)
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    lines += [f"content-length: {len(reply.body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + reply.body


# -- inside


def _answer(kernel: Kernel, asked: Asked, tongue: Tongue | None, *, timeout: float, signed: bool) -> Reply:
    if asked.method == "OPTIONS":
        return _reply(HTTPStatus.NO_CONTENT)
    method = METHODS.get(asked.method)
    if method is None:
        raise RequestError(
            f"{asked.method!r:.40} is no way to ask", where="method", remedy=f"use {ALLOWED}", kind="method"
        )
    if method == "GET" and asked.target == "/":
        return _reply(HTTPStatus.FOUND, b"", ("location", FRONT))
    if method == "GET" and asked.target == openapi.TARGET:
        told = openapi.description(http_settings(kernel.settings), version())
        return _reply(HTTPStatus.OK, json.dumps(told).encode(), JSON)
    body = tongue.adopt(_message(asked)) if tongue and asked.body else _message(asked)
    if signed and method == "POST" and body:
        _refuse_unsigned(body)
    key = _idempotency_key(asked.idempotency_keys)
    value = kernel.resolve(asked.target, method=method, body=body, timeout=timeout, idempotency_key=key)
    return _reply(HTTPStatus.OK, to_json(value).encode(), JSON, *(_place(value) if method == "POST" else ()))


def _message(asked: Asked) -> Message:
    if not asked.body:
        return EMPTY
    _refuse_foreign(asked)
    value = from_json(asked.body, limit=len(asked.body))
    if not isinstance(value, Message):
        raise RequestError("the body is no message", where="body", remedy="send a JSON object", kind="message")
    return value


def _refuse_foreign(asked: Asked) -> None:
    media, _, parameters = asked.content_type.lower().partition(";")
    charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters)
    is_json = media.strip() in ("", "application/json") or media.strip().endswith("+json")
    if not is_json or (charset and charset[1] not in ("utf-8", "utf8", "us-ascii")):
        raise RequestError(
            f"a body of {asked.content_type!r:.80}",
            where="content-type",
            remedy="send application/json in UTF-8",
            kind="media-type",
        )
    if asked.content_encoding.strip().lower() not in ("", "identity"):
        what = f"a body packed as {asked.content_encoding!r:.40}"
        raise RequestError(what, where="content-encoding", remedy="send it as it is", kind="media-type")


def _refuse_unsigned(body: Message) -> None:
    message = body.get("body", body)
    if not isinstance(message, Message) or not committers(message):
        raise RequestError(
            "nobody signed this message, and this node takes signed ones alone",
            where="schedule",
            remedy="sign it, or ask for a node whose [host.http] does not say require-signed",
            kind="unsigned",
        )


def _idempotency_key(given: tuple[str, ...]) -> str | None:
    if not given:
        return None
    if len(given) > 1 or not _KEY.match(given[0]):
        raise RequestError(
            "is no key", where="idempotency-key", remedy="send one, of 1 to 256 visible ASCII characters", kind="header"
        )
    return given[0]


def _place(value: Any) -> tuple[tuple[str, str], ...]:
    """Return the headers from which a client learns where its message went."""
    if not isinstance(value, Message) or value.get("type") != "Assignment":
        return ()
    process, message, slot = value.get("process"), value.get("message-id"), value.get("slot")
    if type(slot) is not int or not (isinstance(process, str) and is_id(process)):
        return ()
    named = (("id", message),) if isinstance(message, str) and is_id(message) else ()
    return (("process", process), ("slot", str(slot)), *named)


def _unforeseen(error: Exception) -> ProcessionError:
    full = isinstance(error, OSError) and error.errno in NO_ROOM
    what, kind = ("the disk is full", "disk-full") if full else ("this node failed", "internal")
    if isinstance(error, MemoryError):
        what, kind = "this host has no memory left for it", "host-memory"
    told = ComputeError(what, remedy="ask again later; its log has the cause under this id", kind=kind)
    told.__cause__ = error
    return told


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    for _ in range(CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def _text(error: ProcessionError) -> str:
    if not isinstance(error, OURS):
        return error.text
    return f"{error.what}; {error.remedy}" if error.remedy else error.what


def _log(error: ProcessionError, status: int, name: str, asked: Asked | None) -> None:
    line = f"{asked.method} {asked.target:.200}" if asked else "no request"
    ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR and error.kind != "behind"  # that is no trouble, and comes often
    level = logging.INFO if not ours else logging.WARNING if status == HTTPStatus.SERVICE_UNAVAILABLE else logging.ERROR
    traced = ours and (level == logging.ERROR or error.__cause__ is not None)
    log.log(level, "%s %s: %s: %s", name, line, status, error.text, exc_info=error if traced else None)


def _reply(status: int, body: bytes = b"", *headers: tuple[str, str]) -> Reply:
    return Reply(int(status), body, (*headers, ("cache-control", "no-store"), *CORS))
