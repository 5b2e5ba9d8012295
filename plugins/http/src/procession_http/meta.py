"""meta@1.0: what a node tells about itself."""

from __future__ import annotations

from importlib import metadata

import attrs

from procession.errors import RequestError
from procession.kernel import Kernel
from procession.messages import Message
from procession.requests import Keys, Request
from procession.structuring import key_of
from procession_http.settings import HttpSettings, http_settings

NAME = "meta@1.0"
SHOWN = ("body_limit", "header_limit", "header_count", "body_timeout", "request_timeout", "require_signed")


def info(request: Request) -> Message:
    """Tell the version, the address that the node signs with ("": it has none), the devices by role, the limits."""
    kernel = _kernel(request)
    devices: dict[str, list[str]] = {}
    for provision in kernel.registry.provisions():
        devices.setdefault(key_of(provision.role), []).append(provision.name)
    devices.pop("settings", None)
    limits = _limits(http_settings(kernel.settings))
    return Message({"version": _version(), "address": "", "devices": devices, "limits": limits})


def health(request: Request) -> Message:
    """Tell that a request reaches the kernel."""
    return Message({"status": "ok"})


KEYS: Keys = {"info": info, "health": health}


def _kernel(request: Request) -> Kernel:
    if not isinstance(request.processes, Kernel):
        raise RequestError("no kernel is behind this request", where=NAME, kind="not-found")
    return request.processes


def _limits(settings: HttpSettings) -> dict[str, object]:
    return {key_of(name): value for name, value in attrs.asdict(settings).items() if name in SHOWN}


def _version() -> str:
    try:
        return metadata.version("procession")
    except metadata.PackageNotFoundError:  # imported from a source tree that is not installed
        return ""
