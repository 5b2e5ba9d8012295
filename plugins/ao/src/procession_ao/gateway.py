"""Gateway: what clients look up by GraphQL before they spawn: modules by their ids, processes by owner and tags.

The language of queries is not spoken: of a query only its rows of tags are read, and of its variables
``transactionIds`` and ``owners``.

Rules
-----
* Only what this node holds is found, and a process only by who signed its definition.
* The newest processes come first, and no more of them are looked at than `LOOKED_AT`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from procession.commitments import committers
from procession.ids import is_id
from procession.kernel import Kernel
from procession.messages import Message
from procession_ao.results import tags_of

ASKED: Final = 100  # ids of one query
FOUND: Final = 10  # processes of one answer
LOOKED_AT: Final = 1000  # processes of one query
QUERY: Final = 10_000  # characters

_BLOCK: Final = {"id": "", "height": 0, "timestamp": 0}
_MODULE_TAGS: Final = (
    ("Data-Protocol", "ao"),
    ("Variant", "ao.TN.1"),
    ("Type", "Module"),
    ("Module-Format", "wasm64-unknown-emscripten-draft_2024_02_15"),
    ("Input-Encoding", "JSON-V1"),
    ("Output-Encoding", "JSON-V1"),
)
_ROW = re.compile(r'name:\s*"([^"]*)",?\s*values:\s*\[([^\]]*)\]')
_TEXT = re.compile(r'"([^"]*)"')


def transactions(kernel: Kernel, given: Any) -> dict[str, Any]:
    """Return what a query finds."""
    asked = given if isinstance(given, Message) else Message({})
    found = [*_modules(kernel, _texts(asked, "transactionids")), *islice(_processes(kernel, asked), FOUND)]
    return {"data": {"transactions": {"edges": [{"node": node} for node in found]}}}


def _modules(kernel: Kernel, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    tags = [{"name": name, "value": value} for name, value in _MODULE_TAGS]
    for name in islice(filter(is_id, names), ASKED):
        if name in kernel.aliases:
            yield _node(name, "", tags)


def _processes(kernel: Kernel, asked: Message) -> Iterator[dict[str, Any]]:
    owners, wanted = set(_texts(asked, "owners")), _wanted(asked.get("query"))
    if not owners or "Process" not in wanted.get("type", ()):
        return
    for process in islice(reversed(kernel.processes()), LOOKED_AT):
        definition = kernel.read(process, 0, 0)[0].message
        owner = next((owner for owner in committers(definition) if owner in owners), None)
        tags = tags_of(definition)
        if owner is not None and _meets(tags, wanted):
            yield _node(process, owner, tags)


def _wanted(query: Any) -> dict[str, list[str]]:
    """Return the values that a query takes of each tag, by the names of tags in lower case."""
    text = query if isinstance(query, str) and len(query) <= QUERY else ""
    return {name.lower(): _TEXT.findall(values) for name, values in _ROW.findall(text)}


def _meets(tags: Iterable[Mapping[str, str]], wanted: Mapping[str, list[str]]) -> bool:
    given = {tag["name"].lower(): tag["value"] for tag in tags}
    return all(given.get(name) in values for name, values in wanted.items())


def _node(name: str, owner: str, tags: list[dict[str, str]]) -> dict[str, Any]:
    return {"id": name, "owner": {"address": owner}, "tags": tags, "block": dict(_BLOCK)}


def _texts(asked: Message, key: str) -> tuple[str, ...]:
    listed = asked.at(f"variables/{key}", ())
    return tuple(text for text in listed if isinstance(text, str)) if isinstance(listed, tuple) else ()
