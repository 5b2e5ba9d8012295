"""The request devices of AO: scheduler@1.0, cache@1.0 and wao@1.0, as far as clients ask them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from procession import process
from procession.messages import Message
from procession.requests import Keys, Request
from procession_ao.node import NAME, Node
from procession_ao.settings import OPERATOR


def write(request: Request) -> Message:
    """Keep bytes that the operator sends."""
    return _node(request).upload(request, by=OPERATOR)


def cache_module(request: Request) -> Message:
    """Keep the bytes of a module, and tell the id that definitions name it by."""
    node = _node(request)
    return node.upload(request, by=node.settings.uploads)


def _node(request: Request) -> Node:
    found: Node = request.processes.companions.get(NAME)
    return found


TABLES: Final[Mapping[str, Keys]] = MappingProxyType(
    {
        "scheduler@1.0": {"schedule": process.schedule, "slot": process.slot},
        "cache@1.0": {"write": write},
        "wao@1.0": {"cache_module": cache_module},
    }
)
