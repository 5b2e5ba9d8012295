"""meta@1.0: what a node tells about itself, and what its operator does about a quarantine."""

from __future__ import annotations

import re

import attrs

from procession.errors import RequestError
from procession.kernel import Kernel
from procession.messages import Message
from procession.requests import Keys, Request
from procession.structuring import key_of
from procession_http.settings import HttpSettings, http_settings
from procession_http.wire import tongue_of, version

NAME = "meta@1.0"
_NUMBER = re.compile(r"[0-9]{1,18}\Z")

SHOWN = ("body_limit", "header_limit", "header_count", "body_timeout", "request_timeout", "require_signed")


def info(request: Request) -> Message:
    """Tell the version, the address that the node signs with ("": it has none), the devices by role, the limits.

    A POST with a message changes the node, where something is installed that knows its operator.
    """
    kernel = _kernel(request)
    if request.method == "POST" and request.body:
        return _changed(request, kernel)
    devices: dict[str, list[str]] = {}
    for provision in kernel.registry.provisions():
        devices.setdefault(key_of(provision.role), []).append(provision.name)
    devices.pop("settings", None)
    limits = _limits(http_settings(kernel.settings))
    tongue = tongue_of(kernel)
    address = tongue.address if tongue else ""
    return Message({"version": version(), "address": address, "devices": devices, "limits": limits})


def health(request: Request) -> Message:
    """Tell whether this host keeps up: ``status`` ok or degraded, ``reasons``, what is quarantined, write times."""
    return _kernel(request).health()


def workers(request: Request) -> Message:
    """Tell how each process stands that is live, waited for or quarantined."""
    kernel = _kernel(request)
    rows = {row["process"]: row for row in kernel.workers()}
    for fault in kernel.health()["quarantined"]:  # those too that nobody asked for since the start
        rows.setdefault(fault["process"], _unasked(fault))
    return Message({"workers": [rows[process] for process in sorted(rows)]})


def retry(request: Request) -> Message:
    """Lift the quarantine of a ``slot`` of a ``process``: who asks for it next has it computed."""
    if request.method != "POST":
        raise RequestError("it changes something", where="retry", remedy="POST it", kind="method")
    given = request.body.set(request.params)
    process, slot = given.get("process"), given.get("slot")
    slot = int(slot) if isinstance(slot, str) and _NUMBER.match(slot) else slot
    if not isinstance(process, str) or type(slot) is not int or slot < 0:
        remedy = "give both, such as retry?process=ID&slot=5"
        raise RequestError("names no process and slot", where="retry", remedy=remedy, kind="message")
    return _kernel(request).retry(process, slot)


KEYS: Keys = {"info": info, "health": health, "workers": workers, "retry": retry}


def _changed(request: Request, kernel: Kernel) -> Message:
    tongue = tongue_of(kernel)
    if tongue is None:
        remedy = "say it in [host], or install procession-ao"
        raise RequestError("this node knows no operator", where="info", remedy=remedy, kind="forbidden")
    return tongue.change(request)


def _kernel(request: Request) -> Kernel:
    if not isinstance(request.processes, Kernel):
        raise RequestError("no kernel is behind this request", where=NAME, kind="not-found")
    return request.processes


def _unasked(fault: Message) -> Message:
    unknown = dict.fromkeys(("at-slot", "head", "lag", "snapshot-at"))
    known = {"process": fault["process"], "state": "quarantined", "queue": 0, "bytes": 0}
    return Message({**unknown, **known, "fault": fault.without("process")})


def _limits(settings: HttpSettings) -> dict[str, object]:
    return {key_of(name): value for name, value in attrs.asdict(settings).items() if name in SHOWN}
